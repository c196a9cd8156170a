//! What a check of type `agent` says to the agent.

use std::sync::Arc;

use crate::config::model::AgentCheck;
use crate::config::section::Section;
use crate::config::units::Fault;

pub(super) fn agent(section: &Section<'_>) -> Option<AgentCheck> {
    if !section.has("port") {
        section.missing("port", "write port = 8081: where the agent listens, which is not where the backend serves");
        return None;
    }
    let send = if section.has("send") { Some(section.parsed("send", send)?) } else { None };
    Some(AgentCheck { send })
}

fn send(text: &str) -> Result<Arc<str>, Fault> {
    match text.len() {
        0 => Err(Fault::new("text", "an empty text says nothing", "empty").help("take the key out")),
        1..=4096 => Ok(text.into()),
        _ => Err(Fault::new("text", "`send` is too long", "longer than 4 KiB").help("agents read one short line")),
    }
}
