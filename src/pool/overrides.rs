//! What operators have said of backends: kept by `control`, obeyed by `probe`, shown by `admin`.
//!
//! A reload never changes them. One that names a pool or backend that no configuration has any more is kept, and
//! obeyed again when the name comes back, until it expires or is taken back.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

/// One word of an operator on one backend. At most one of each [`Kind`](OrderKind) for a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// Its pool.
    pub pool: Arc<str>,
    /// Its name.
    pub backend: Arc<str>,
    /// What is to be done.
    pub order: Order,
    /// Who said it.
    pub owner: Arc<str>,
    /// Why.
    pub reason: Arc<str>,
    /// When it was said.
    pub since: Timestamp,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
}

/// What an operator wants of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// No new work; what is open may finish, at most for `deadline` since it was said, then it is cut.
    Drain {
        /// `None`: for as long as it takes.
        deadline: Option<Duration>,
    },
    /// No work at all, and probes decide nothing.
    Maintenance,
    /// This many percent of its configured weight.
    Weight(u16),
    /// In a pool with one active backend: this one, as soon as it may serve.
    Promote,
    /// In a pool with one active backend: any but this one.
    Demote,
}

/// What an order is about; a later one of the same kind takes the place of the earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderKind {
    /// Drain or maintenance.
    Standing,
    /// The weight.
    Weight,
    /// Who is the active one. One `Promote` for each pool; a promote takes back the demote of the same backend.
    Succession,
}

impl Order {
    /// What it is about.
    pub fn kind(self) -> OrderKind {
        match self {
            Self::Drain { .. } | Self::Maintenance => OrderKind::Standing,
            Self::Weight(_) => OrderKind::Weight,
            Self::Promote | Self::Demote => OrderKind::Succession,
        }
    }

    /// The word that the command line, the API and the state file use.
    pub fn word(self) -> &'static str {
        match self {
            Self::Drain { .. } => "drain",
            Self::Maintenance => "maintenance",
            Self::Weight(_) => "weight",
            Self::Promote => "promote",
            Self::Demote => "demote",
        }
    }
}
