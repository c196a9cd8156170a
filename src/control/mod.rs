//! The program's own life (readiness, reloads, the way to ask for one), and what operators order.

pub mod history;
mod judge;
pub mod orders;
pub mod overrides;
pub mod plan;
pub mod state_file;
pub mod traces;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::sync::{mpsc, oneshot};

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
    /// Who wants it, as far as that was said.
    pub owner: Option<String>,
    /// One sentence for the operator (accepted), or the rendered problems (refused).
    pub answer: oneshot::Sender<Result<String, String>>,
}

/// Which configuration is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// What the files say now.
    Files,
    /// What an earlier generation said.
    Generation(u64),
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
