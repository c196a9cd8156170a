//! Records of changes as the API shows them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::AdminState;
use crate::control::records::Record;

/// `GET /api/v1/changes`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ChangesView {
    /// The number of the process that says so.
    pub pid: u32,
    /// All that are kept, oldest first.
    pub changes: Vec<Record>,
}

/// All of them.
pub(super) fn changes(state: &AdminState) -> ChangesView {
    ChangesView { pid: std::process::id(), changes: state.records.list() }
}
