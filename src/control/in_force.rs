//! What is in force: the generation, where it comes from, and whether it waits for its confirmation.
//!
//! Layers, lowest first: what the files said when they were last read; above it what was sent, or gone back to, since
//! then; above that the orders of operators, which `orders` has. `server` writes this, `admin` shows it.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use super::history::Generation;

/// What is in force.
#[derive(Debug, Clone, Default)]
pub struct InForce {
    /// What the files said when they were last read; the text is left out.
    pub files: Option<Generation>,
    /// What is above it, by `apply` or `rollback`: then this is in force. The text is left out.
    pub above: Option<Generation>,
    /// Whether it is taken back unless somebody confirms it.
    pub awaiting: Option<Awaiting>,
    /// The last change that was taken back.
    pub taken_back: Option<TakenBack>,
    /// The files that it was read from, with those that they name.
    pub read: Vec<PathBuf>,
}

/// A change that waits for its confirmation.
#[derive(Debug, Clone)]
pub struct Awaiting {
    /// Its number.
    pub generation: u64,
    /// What it would be taken back to.
    pub before: u64,
    /// Until when.
    pub until: Timestamp,
    /// What must hold meanwhile, as it was said.
    pub guard: Option<Arc<str>>,
    /// Who wanted it.
    pub owner: Option<String>,
}

/// A change that was taken back.
#[derive(Debug, Clone)]
pub struct TakenBack {
    /// Its number.
    pub generation: u64,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub why: String,
}

impl InForce {
    /// The generation in force; `None`: nothing yet.
    pub fn generation(&self) -> Option<&Generation> {
        self.above.as_ref().or(self.files.as_ref())
    }

    /// Its hash; empty where there is none yet.
    pub fn hash(&self) -> &str {
        self.generation().map_or("", |generation| &generation.hash)
    }
}
