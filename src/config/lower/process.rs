//! `[process]`: who the program becomes, and what it can still reach then. Whether this machine has such a user and such
//! a kernel is found out at the start: a configuration may be judged elsewhere.

use std::sync::Arc;

use super::super::model::{Confine, Process};
use super::super::section::{Choice, Section};
use super::super::units::Fault;
use super::super::vocabulary::PROCESS;

const CONFINE: Choice<Confine> = Choice {
    words: &[("off", Confine::Off), ("best-effort", Confine::BestEffort), ("required", Confine::Required)],
    foreign: &[("on", "best-effort"), ("yes", "best-effort"), ("true", "best-effort"), ("strict", "required")],
    later: &[],
};

pub(super) fn process(top: &Section<'_>) -> Process {
    let Some(section) = top.section("process", &PROCESS) else { return Process::default() };
    let user = section.parsed("user", |text| name(text, "user", "evenkeel"));
    let group = section.parsed("group", |text| name(text, "group", "evenkeel"));
    if section.has("group") && !section.has("user") {
        section
            .missing("user", "write user = \"evenkeel\": a group alone leaves the program with the rights of its user");
    }
    Process {
        user,
        group,
        landlock: section.choice("landlock", &CONFINE).unwrap_or_default(),
        seccomp: section.choice("seccomp", &CONFINE).unwrap_or_default(),
    }
}

/// A name as passwd(5) has it, or a number.
fn name(text: &str, what: &str, example: &str) -> Result<Arc<str>, Fault> {
    let fault = |message: String, label: &str| {
        Fault::new("text", message, label).help(format!("write {what} = \"{example}\", or a number such as \"65532\""))
    };
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b':' | b'/' | b','));
    if text.is_empty() || !is_plain {
        return Err(fault(format!("`{text}` is not the name of a {what}"), "a name or a number"));
    }
    if what == "user" && (text == "root" || text.parse::<u32>() == Ok(0)) {
        return Err(fault("the program cannot become root".to_owned(), "gives nothing away"));
    }
    Ok(text.into())
}
