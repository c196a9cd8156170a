//! What failures of traffic are worth: when they bring a probe, and when a probe that fails too settles the matter.
//!
//! Traffic alone never takes a checked backend down (a client can provoke a reset), and one lost probe alone does not
//! either. Both together do, at once: that is how a killed backend leaves in milliseconds and not in `interval * fall`.

use std::time::Duration;

/// How traffic saw a backend fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symptom {
    /// The connection was refused, or the address is unreachable.
    Refused,
    /// The connection could not be made in time.
    ConnectTimeout,
    /// An established connection broke before an answer.
    Reset,
    /// It has not answered for suspiciously long; it still may.
    Silent,
    /// It has not answered in time: the request has failed.
    Late,
    /// It sent something that is no answer, or half of one.
    BadAnswer,
    /// It answered with a status that the pool retries elsewhere.
    Status,
}

impl Symptom {
    /// For people.
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Refused => "connections are refused",
            Self::ConnectTimeout => "connections cannot be made in time",
            Self::Reset => "connections break",
            Self::Silent => "answers are slow to come",
            Self::Late => "answers do not come in time",
            Self::BadAnswer => "answers are broken",
            Self::Status => "answers have a status that is tried elsewhere",
        }
    }

    /// Whether it cost a request or a connection, and is no mere suspicion.
    pub fn is_failure(self) -> bool {
        self != Self::Silent
    }
}

/// Failures in a row after which a backend without checks is asked whether its port is open.
pub const UNCHECKED_FAILURES: u32 = 3;

/// Whether traffic that failed like this, so many times in a row, suffices to take a check down together with one
/// probe that failed.
pub fn agrees(symptom: Symptom, failures: u32) -> bool {
    match symptom {
        Symptom::Refused | Symptom::Reset | Symptom::ConnectTimeout => failures >= 1,
        // One slow or odd answer is a matter of that request.
        Symptom::Silent | Symptom::Late | Symptom::BadAnswer | Symptom::Status => failures >= 2,
    }
}

/// Whether a backend without any check is to be asked if its port is open.
pub fn deserves_knock(symptom: Symptom, failures: u32) -> bool {
    matches!(symptom, Symptom::Refused | Symptom::ConnectTimeout) && failures >= UNCHECKED_FAILURES
}

/// How many probes evidence may bring: so many a second over all backends, and a burst.
#[derive(Debug, Clone)]
pub struct Budget {
    per_second: f64,
    burst: f64,
    tokens: f64,
    at: Duration,
}

impl Budget {
    /// A full budget.
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self {
            per_second: f64::from(per_second),
            burst: f64::from(burst),
            tokens: f64::from(burst),
            at: Duration::ZERO,
        }
    }

    /// Takes one token at `now`, a time since any fixed moment.
    pub fn take(&mut self, now: Duration) -> bool {
        let gone = now.saturating_sub(self.at).as_secs_f64();
        self.tokens = (self.tokens + gone * self.per_second).min(self.burst);
        self.at = self.at.max(now);
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }

    /// How long until one token is there.
    pub fn wait(&self) -> Duration {
        Duration::from_secs_f64(((1.0 - self.tokens) / self.per_second).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_and_a_failed_probe_agree_as_the_symptom_deserves() {
        let rows = [
            (Symptom::Refused, 1, true),
            (Symptom::Reset, 1, true),
            (Symptom::ConnectTimeout, 1, true),
            (Symptom::Silent, 1, false),
            (Symptom::Silent, 2, true),
            (Symptom::Late, 1, false),
            (Symptom::Late, 2, true),
            (Symptom::BadAnswer, 1, false),
            (Symptom::BadAnswer, 2, true),
            (Symptom::Status, 1, false),
            (Symptom::Status, 2, true),
            (Symptom::Refused, 0, false),
            (Symptom::ConnectTimeout, 0, false),
        ];
        for (symptom, failures, expected) in rows {
            assert_eq!(agrees(symptom, failures), expected, "{symptom:?} {failures}");
        }
    }

    #[test]
    fn only_a_closed_door_makes_an_unchecked_backend_suspect() {
        let rows = [
            (Symptom::Refused, 2, false),
            (Symptom::Refused, 3, true),
            (Symptom::ConnectTimeout, 3, true),
            (Symptom::Reset, 9, false),
            (Symptom::BadAnswer, 9, false),
        ];
        for (symptom, failures, expected) in rows {
            assert_eq!(deserves_knock(symptom, failures), expected, "{symptom:?} {failures}");
        }
    }

    #[test]
    fn a_budget_allows_its_burst_and_then_its_rate() {
        let mut budget = Budget::new(50, 100);
        let now = Duration::from_secs(7);
        assert_eq!((0..200).filter(|_| budget.take(now)).count(), 100);
        assert_eq!(budget.wait(), Duration::from_millis(20));
        let later = now + Duration::from_secs(1);
        assert_eq!((0..200).filter(|_| budget.take(later)).count(), 50);
        assert!(!budget.take(now), "a clock that goes back gives nothing");
        assert_eq!((0..500).filter(|_| budget.take(later + Duration::from_secs(3600))).count(), 100);
    }
}
