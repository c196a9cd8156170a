//! What traffic says of one backend: failures in a row, and requests, errors and response times over a window.
//!
//! Samples are copies of counters that only grow. They come once a second where the pool needs them, and with each
//! failed probe otherwise, so that "the probe fails, but traffic is fine" can be told from silence.

use std::collections::VecDeque;
use std::time::Duration;

/// Samples kept: a window is looked at in so many steps at most.
const MAX_SAMPLES: u32 = 32;

/// The window of whoever samples only now and then: from the first sample on.
pub(super) const FOR_EVER: Duration = Duration::from_secs(1 << 40);

/// Failures of traffic since its last success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InARow {
    /// All of them, with mere suspicions: an answer that is slow to come.
    pub suspicions: u32,
    /// Those that cost a request or a connection.
    pub failures: u32,
}

impl InARow {
    /// The worse of two, number by number.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self { suspicions: self.suspicions.max(other.suspicions), failures: self.failures.max(other.failures) }
    }
}

/// Counters of a backend at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Requests that ended, well or not.
    pub requests: u64,
    /// Those that failed or were answered with 5xx.
    pub errors: u64,
    /// Response time of the recent past; zero before the first answer.
    pub latency: Duration,
}

/// What happened within the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) requests: u64,
    pub(super) errors: u64,
    /// The shortest of the response times sampled: one slow answer does not make a slow backend.
    pub(super) latency: Duration,
}

/// What traffic says of one backend.
#[derive(Debug, Clone, Default)]
pub(super) struct Traffic {
    pub(super) row: InARow,
    samples: VecDeque<(Duration, Tally)>,
}

impl Traffic {
    /// Takes a sample; those that are older than the window leave, but for the one at its edge.
    pub(super) fn add(&mut self, tally: Tally, now: Duration, window: Duration) {
        let is_early = self.samples.len() >= 2
            && self.samples.get(self.samples.len() - 2).is_some_and(|(at, _)| *at + window / MAX_SAMPLES > now);
        if is_early {
            // Only the newest one matters until the next step.
            self.samples.pop_back();
        }
        self.samples.push_back((now, tally));
        while self.samples.get(1).is_some_and(|(at, _)| *at + window <= now) {
            self.samples.pop_front();
        }
    }

    /// Forgets the samples.
    pub(super) fn forget(&mut self) {
        self.samples.clear();
    }

    /// What happened between the oldest and the newest sample; `None` with fewer than two.
    pub(super) fn seen(&self) -> Option<Seen> {
        let ((_, first), (_, last)) = (self.samples.front()?, self.samples.back()?);
        if self.samples.len() < 2 {
            return None;
        }
        Some(Seen {
            requests: last.requests.saturating_sub(first.requests),
            errors: last.errors.saturating_sub(first.errors),
            latency: self.samples.iter().map(|(_, tally)| tally.latency).min().unwrap_or_default(),
        })
    }

    /// Failed share of the window's requests, where there were any.
    pub(super) fn error_share(&self) -> Option<f32> {
        let seen = self.seen().filter(|seen| seen.requests > 0)?;
        Some(seen.errors as f32 / seen.requests as f32)
    }

    /// Requests went well in the window, and none failed.
    pub(super) fn is_fine(&self) -> bool {
        self.row.failures == 0 && self.seen().is_some_and(|seen| seen.requests > 0 && seen.errors == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn tally(requests: u64, errors: u64, latency_ms: u64) -> Tally {
        Tally { requests, errors, latency: Duration::from_millis(latency_ms) }
    }

    #[test]
    fn a_window_slides() {
        let mut traffic = Traffic::default();
        assert_eq!(traffic.seen(), None);
        for second in 0..60 {
            traffic.add(tally(100 * second, second.saturating_sub(30), 5 + second % 3), s(second), s(10));
            assert!(traffic.samples.len() <= 12, "{}", traffic.samples.len());
        }
        let seen = traffic.seen().unwrap();
        assert_eq!((seen.requests, seen.errors, seen.latency), (1_000, 10, Duration::from_millis(5)));
        assert_eq!(traffic.error_share(), Some(0.01));
    }

    #[test]
    fn frequent_samples_do_not_pile_up() {
        let mut traffic = Traffic::default();
        for milli in 0..20_000 {
            traffic.add(tally(milli, 0, 1), Duration::from_millis(milli), s(10));
        }
        assert!(traffic.samples.len() <= 2 + MAX_SAMPLES as usize, "{}", traffic.samples.len());
        let seen = traffic.seen().unwrap();
        assert!((10_000..10_700).contains(&seen.requests), "{seen:?}");
    }

    #[test]
    fn silence_is_not_fine_and_neither_is_one_failure() {
        let rows = [(0, 0, 0, false), (1, 0, 0, true), (100, 1, 0, false), (100, 0, 1, false)];
        for (requests, errors, failures, expected) in rows {
            let mut traffic = Traffic::default();
            assert!(!traffic.is_fine());
            traffic.add(tally(7, 3, 1), s(1), s(10));
            traffic.add(tally(7 + requests, 3 + errors, 1), s(3), s(10));
            traffic.row.failures = failures;
            assert_eq!(traffic.is_fine(), expected, "{requests} {errors} {failures}");
        }
    }
}
