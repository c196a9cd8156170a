//! `[upgrade]`: where a new process asks for the work of this one, and how long it may take until it is ready.

use std::time::Duration;

use super::super::model::{UnixName, Upgrade};
use super::super::section::Section;
use super::super::substitute;
use super::super::units::Fault;
use super::super::vocabulary::UPGRADE;

/// The names of 10,000 backends may have to be looked up, and each of them asked, before a new process is ready.
const TIMEOUT: Duration = Duration::from_secs(60);

pub(super) fn upgrade(top: &Section<'_>) -> Upgrade {
    let Some(section) = top.section("upgrade", &UPGRADE) else { return Upgrade { socket: None, timeout: TIMEOUT } };
    Upgrade { socket: socket(&section), timeout: section.duration("timeout").unwrap_or(TIMEOUT) }
}

/// A file, so that its rights say who may take over; beside the configuration where its path is relative.
fn socket(section: &Section<'_>) -> Option<UnixName> {
    let text = section.text("socket")?;
    let node = &section.entry("socket")?.node;
    let usual = "write socket = \"/run/evenkeel/upgrade.sock\"";
    let path = text.strip_prefix("unix:").unwrap_or(text);
    if path.starts_with('@') {
        let fault = Fault::new("text", format!("`{text}` has no file"), "anybody may connect to it");
        section.fault(node, fault.help(format!("the rights of a file say who may take over; {usual}")));
        return None;
    }
    let whole = std::path::absolute(substitute::resolve(section.cx, node.at, path)).unwrap_or_default();
    match format!("unix:{}", whole.display()).parse() {
        Ok(name) if !path.is_empty() && !path.ends_with('/') => Some(name),
        Ok(_) => {
            let fault = Fault::new("text", format!("`{text}` is not the path of a socket"), "a folder, or nothing");
            section.fault(node, fault.help(usual));
            None
        }
        Err(why) => {
            let fault = Fault::new("text", format!("`{text}` is not the path of a socket"), why);
            section.fault(node, fault.help(usual));
            None
        }
    }
}
