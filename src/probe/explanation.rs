//! Why a backend is what it is: everything that led to its verdict, as the schedule knows it, for whoever asks.
//!
//! Made on request, never while nothing is asked. Secrets are masked already.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::report::Report;
use crate::config::model::{Address, Check, Site};
use crate::health::{Says, State, Verdict};
use crate::pool::Override;

/// Everything that led to the verdict on one backend.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// Its pool.
    pub pool: Arc<str>,
    /// Its name.
    pub backend: Arc<str>,
    /// Where it answers, as configured.
    pub address: Address,
    /// The verdict.
    pub verdict: Verdict,
    /// How long the state has stood.
    pub lasted: Duration,
    /// Why it is what it is, in sentences, the weightiest first: "check mysql: connect: connection refused".
    pub because: Vec<String>,
    /// `healthy_when` with each check's state is laid out by whoever shows it.
    pub checks: Vec<CheckExplanation>,
    /// What traffic says.
    pub traffic: Traffic,
    /// The pool that this one follows, where it has no checks of its own.
    pub follows: Option<Arc<str>>,
    /// The active backend of a pool that has one.
    pub active: Option<Arc<str>>,
    /// What operators have said of it.
    pub overrides: Vec<Override>,
}

/// One check of the backend.
#[derive(Debug, Clone)]
pub struct CheckExplanation {
    /// As configured.
    pub check: Check,
    /// What the row of results makes of it.
    pub state: State,
    /// What its last good answer said.
    pub says: Says,
    /// Results in a row that speak against the state, and how many would flip it.
    pub against: u32,
    /// See `against`.
    pub needed: u32,
    /// When it is asked next.
    pub next_in: Option<Duration>,
    /// The address that it is asked at, where that is known.
    pub asked_at: Option<Site>,
    /// The last good answer.
    pub last_good: Option<Kept>,
    /// The last failure.
    pub last_bad: Option<Kept>,
}

/// A report that was kept.
#[derive(Debug, Clone)]
pub struct Kept {
    /// When the probe ended.
    pub at: Timestamp,
    /// What it found.
    pub report: Arc<Report>,
}

/// What traffic says of a backend.
#[derive(Debug, Clone, Default)]
pub struct Traffic {
    /// Failures since the last success.
    pub failures_in_a_row: u32,
    /// Failed share of the requests of the last window, where there were any.
    pub error_share: Option<f32>,
    /// Response time of the recent past.
    pub latency: Duration,
    /// Out because of what traffic saw, for so long still, and why.
    pub ejected: Option<(Duration, String)>,
    /// Probes and traffic contradict each other: which way.
    pub disagreement: Option<&'static str>,
}
