//! The program's own life (readiness, reloads, the way to ask for one), and what operators order.

pub mod counted;
pub mod drill;
pub mod guard;
pub mod handover;
pub mod history;
pub mod in_force;
mod judge;
pub mod numbers;
pub mod orders;
pub mod overrides;
pub mod plan;
pub mod records;
pub mod state_file;
pub mod traces;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::config::Written;
use guard::Guard;
use in_force::InForce;

/// The program's own state, for the admin port.
#[derive(Debug, Default)]
pub struct Life {
    phase: AtomicU64,
    /// Reloads that took effect.
    pub reloads: AtomicU64,
    /// Reloads that were refused.
    pub reloads_refused: AtomicU64,
    /// 1 when the last reload was refused; 0 when it took effect or there was none.
    pub last_reload_refused: AtomicU64,
    /// When the last reload took effect, seconds since 1970; 0 before the first.
    pub last_reload_at: AtomicU64,
    /// How long the last reload took, microseconds.
    pub last_reload_micros: AtomicU64,
    /// Times that the state file was written.
    pub state_writes: AtomicU64,
    /// Times that it could not be written.
    pub state_write_failures: AtomicU64,
    /// Lines of access logs dropped because whoever takes them is too slow or gone.
    pub access_log_dropped: Arc<AtomicU64>,
    /// Spans that a collector took.
    pub spans_exported: Arc<AtomicU64>,
    /// Spans dropped because the collector was too slow or gone.
    pub spans_dropped: Arc<AtomicU64>,
    /// 1 while another process makes itself ready to take over, and afterwards. Writer: `server`.
    pub handing_over: AtomicU64,
    in_force: Mutex<InForce>,
}

/// Where in its life the program is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not everything is bound, or first probes are under way.
    Starting,
    /// Serving.
    Ready,
    /// Told to stop; still serving or finishing.
    Stopping,
}

impl Life {
    /// Where in its life the program is.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Stopping,
        }
    }

    /// Whether nothing may be ordered any more, since another process would not know of it.
    pub fn is_handing_over(&self) -> bool {
        self.handing_over.load(Relaxed) != 0
    }

    /// What is in force.
    pub fn in_force(&self) -> InForce {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Called by `server` only.
    pub fn note(&self, change: impl FnOnce(&mut InForce)) {
        change(&mut self.in_force.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Called by `server` only.
    pub fn enter(&self, phase: Phase) {
        let number = match phase {
            Phase::Starting => 0,
            Phase::Ready => 1,
            Phase::Stopping => 2,
        };
        self.phase.store(number, Relaxed);
    }
}

/// A wish for another configuration.
#[derive(Debug)]
pub struct ReloadRequest {
    /// Which one.
    pub wanted: Wanted,
    /// Who wants it.
    pub who: Who,
    /// The hashes that what is in force may have, where whoever asks knows what it is; `None`: any.
    pub only_over: Option<Vec<String>>,
    /// What came of it.
    pub answer: oneshot::Sender<Result<Done, Unchanged>>,
}

/// Who wants something, and why, as far as that was said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Who {
    /// Who.
    pub owner: Option<String>,
    /// Why; empty: not said.
    pub reason: String,
}

/// Which configuration is wanted.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    /// What the files say now.
    Files,
    /// What an earlier generation said.
    Generation(u64),
    /// This.
    Sent(Written, Terms),
    /// The one that waits for its confirmation, for good.
    Confirmed,
    /// The one before that.
    TakenBack,
    /// What is in force, in the file as well.
    Saved,
}

/// On which terms a configuration takes effect.
#[derive(Debug, Clone, PartialEq)]
pub enum Terms {
    /// Until the files are read again.
    Open,
    /// It is taken back after this time, unless somebody confirms it, or as soon as the guard does not hold.
    Unless(Duration, Option<Guard>),
}

/// What came of a wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// For the operator.
    pub message: String,
    /// The generation in force.
    pub generation: u64,
    /// Its hash.
    pub hash: String,
}

/// Why everything is as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unchanged {
    /// The configuration has problems; the text shows them.
    Problems(String),
    /// Something waits for its confirmation, or nothing does.
    Conflict(String),
    /// Something else is in force than whoever asks has seen.
    Stale(String),
}

impl std::fmt::Display for Unchanged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Problems(text) | Self::Conflict(text) | Self::Stale(text) => f.write_str(text),
        }
    }
}

/// Where to ask for a reload.
pub type ReloadSender = mpsc::Sender<ReloadRequest>;

/// A time for people, to the second.
pub fn written_at(at: jiff::Timestamp) -> String {
    let second = jiff::Timestamp::from_second(at.as_second()).unwrap_or(at);
    second.to_string().replace('T', " ")
}

/// A length of time for people, in its two largest units: `2h 5m`.
pub fn span(length: std::time::Duration) -> String {
    let whole = length.as_secs();
    match whole {
        0..60 => format!("{whole}s"),
        60..3_600 => format!("{}m {}s", whole / 60, whole % 60),
        3_600..86_400 => format!("{}h {}m", whole / 3_600, whole % 3_600 / 60),
        _ => format!("{}d {}h", whole / 86_400, whole % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn spans_show_two_units() {
        for (seconds, text) in [(0, "0s"), (59, "59s"), (61, "1m 1s"), (3_600, "1h 0m"), (90_000, "1d 1h")] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }
}
