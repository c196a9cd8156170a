//! What a judge is told of its pool: policy and backends by the configuration, orders by operators.

use std::sync::Arc;
use std::time::Duration;

use crate::health::{Policy, Says, Standing, State, Timing, Verdict};

/// What the configuration says of a pool.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its rules.
    pub policy: Policy,
    /// Where its verdicts come from.
    pub source: Source,
    /// Its backends, in the order of the configuration: the judge names them by their position.
    pub backends: Vec<Planned>,
}

/// Where the verdicts of a pool come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Its checks.
    Checks,
    /// It has none: every backend is up unless a knock that traffic brought says otherwise.
    Traffic,
    /// Another pool, backend by backend.
    Followed,
}

/// One backend.
#[derive(Debug, Clone)]
pub struct Planned {
    /// Tells it from every other that ever was: what has the same number keeps what is known of it.
    pub id: u64,
    /// Its name.
    pub name: Arc<str>,
    /// Whether it works always.
    pub standing: Standing,
    /// Whether its address is known.
    pub location: Location,
    /// The verdict that stands already; counts for a backend that is new to the judge.
    pub stands: Verdict,
    /// Its checks, in the order in which the policy's expressions number them.
    pub checks: Vec<PlannedCheck>,
}

/// One check of a backend.
#[derive(Debug, Clone)]
pub struct PlannedCheck {
    /// Its name; with the same name and the same question, the results so far go on counting.
    pub name: Arc<str>,
    /// Number of the question.
    pub question: u64,
    /// Rise, fall, and the state before the first answer.
    pub timing: Timing,
    /// What another process has seen of it; counts for a check that is new to the judge.
    pub past: Option<Past>,
}

/// What a process before this one has seen of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Past {
    /// What its answers made of it.
    pub state: State,
    /// Answers in a row that spoke against that.
    pub against: u32,
    /// What its last good answer said.
    pub says: Says,
}

/// Whether a backend's address is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Location {
    /// It is.
    Known,
    /// Its name is being looked up for the first time.
    Pending,
    /// Its name has no address.
    Nowhere,
}

/// What operators have ordered of one backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Orders {
    /// To leave it alone.
    pub leave: Option<Leave>,
    /// Percent of its weight.
    pub weight: Option<u16>,
    /// Its place among those that may be the active one.
    pub rank: Option<Rank>,
}

/// How a backend is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// No new work; what is open is cut at the time given.
    Drain {
        /// Since the judge's fixed moment.
        until: Option<Duration>,
    },
    /// No work at all.
    Maintenance,
}

/// Who is to be the active one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// This one, as soon as it may serve.
    Promoted,
    /// Any but this one.
    Demoted,
}
