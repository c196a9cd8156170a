//! One thing that was looked at: how it is, and what to do about it.

use serde::Serialize;

use crate::cli::terminal::{Ink, Page, Paint};

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// Nothing is to be done.
    Ok,
    /// It will do, and could be better.
    Advice,
    /// It will not work, or not as the configuration says.
    Fault,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was looked at, one word.
    pub(super) topic: &'static str,
    pub(super) level: Level,
    /// How it is, one sentence.
    pub(super) what: String,
    /// What to do about it, one sentence; nothing where nothing is to be done.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) remedy: String,
}

impl Finding {
    pub(super) fn ok(topic: &'static str, what: impl Into<String>) -> Self {
        Self { topic, level: Level::Ok, what: what.into(), remedy: String::new() }
    }

    pub(super) fn advice(topic: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { topic, level: Level::Advice, what: what.into(), remedy: remedy.into() }
    }

    pub(super) fn fault(topic: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { topic, level: Level::Fault, what: what.into(), remedy: remedy.into() }
    }
}

/// All of them for a terminal, the remedy of each below it.
pub(super) fn page(findings: &[Finding], paint: Paint) -> String {
    let mut page = Page::default();
    for finding in findings {
        let (word, ink) = match finding.level {
            Level::Ok => ("ok", Ink::Green),
            Level::Advice => ("advice", Ink::Yellow),
            Level::Fault => ("fault", Ink::Red),
        };
        page.line(format!("{}  {:<13} {}", ink.on(&format!("{word:<6}"), paint), finding.topic, finding.what));
        if !finding.remedy.is_empty() {
            page.line(format!("{:22}-> {}", "", finding.remedy));
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (faults, advice) = (count(Level::Fault), count(Level::Advice));
    page.line(match (faults, advice) {
        (0, 0) => "nothing is in the way".to_owned(),
        (0, _) => format!("nothing is in the way; advice: {advice}"),
        _ => format!("faults: {faults}, advice: {advice}"),
    });
    page.finish()
}
