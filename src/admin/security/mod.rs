//! How well this process is protected, and what of it others can reach: each point with its remedy.
//!
//! The process looks at itself, so that it works in a container as well: `process` at its rights, `exposed` at what
//! accepts, `secrets` at files. Nothing is changed, and no secret is told.

mod exposed;
mod process;
mod secrets;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::AdminState;
use crate::confinement::{self, Reach};

/// `GET /api/v1/security`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SecurityView {
    /// The number of the process.
    pub pid: u32,
    /// Whether anything is weak.
    pub weak: bool,
    /// What was looked at.
    pub findings: Vec<FindingView>,
    /// The files within reach, where Landlock limits them.
    pub within_reach: Option<ReachView>,
}

/// One point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FindingView {
    /// What was looked at, one word.
    pub topic: String,
    /// How it is.
    pub level: Level,
    /// The same in a sentence.
    pub what: String,
    /// What to do about it; empty where nothing is to be done.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

/// How something is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Well.
    Ok,
    /// It could be better.
    Weak,
}

/// Folders and files within reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReachView {
    /// What may be read, with all below.
    pub read: Vec<String>,
    /// Where files and sockets may be made and written.
    pub write: Vec<String>,
    /// What may be run.
    pub run: Vec<String>,
}

impl FindingView {
    fn ok(topic: &str, what: impl Into<String>) -> Self {
        Self { topic: topic.to_owned(), level: Level::Ok, what: what.into(), remedy: String::new() }
    }

    fn weak(topic: &str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { topic: topic.to_owned(), level: Level::Weak, what: what.into(), remedy: remedy.into() }
    }
}

/// Looks at everything. Reads files: not for control's thread.
pub(super) fn report(state: &AdminState) -> SecurityView {
    let table = state.table.load();
    let config = &table.config;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut findings = process::judge(&status, config);
    let admin = state.admin();
    findings.extend(exposed::judge(config, &admin));
    findings.extend(secrets::judge(&state.life.in_force().read, &admin.tokens));
    let here = confinement::here().filter(|here| !here.reach.read.is_empty());
    SecurityView {
        pid: std::process::id(),
        weak: findings.iter().any(|finding| finding.level == Level::Weak),
        findings,
        within_reach: here.map(|here| shown(&here.reach)),
    }
}

fn shown(reach: &Reach) -> ReachView {
    let list = |paths: &[std::path::PathBuf]| paths.iter().map(|path| path.display().to_string()).collect();
    ReachView { read: list(&reach.read), write: list(&reach.write), run: list(&reach.run) }
}
