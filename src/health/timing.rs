//! When a check is asked and how many answers flip it, as the configuration says; and how long the next probe waits.

use std::num::NonZeroU32;
use std::time::Duration;

use super::{State, Streak};

/// After a failure that says that asking does harm: so many times the interval, at most [`SLOW_MAX`], but never
/// sooner than usual.
const SLOW_FACTOR: u32 = 10;
const SLOW_MAX: Duration = Duration::from_secs(30);

/// When a check is asked and how many answers flip it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Timing {
    /// Time between two probes.
    pub interval: Duration,
    /// Time between two probes while some but not all of rise or fall are seen; never longer than `interval`.
    pub fast_interval: Duration,
    /// Time between two probes while the check is down.
    pub down_interval: Duration,
    /// Longest time that one probe may take; never longer than `interval`.
    pub timeout: Duration,
    /// Good probes in a row that bring it up.
    pub rise: NonZeroU32,
    /// Bad probes in a row that take it down.
    pub fall: NonZeroU32,
    /// What it is before the first probe.
    pub initial: Initial,
}

/// `check.NAME.initial`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Initial {
    /// Unknown: the first probe decides at once.
    Unknown,
    /// Up until `fall` probes say otherwise.
    Up,
    /// Down until `rise` probes say otherwise.
    Down,
}

impl Initial {
    /// As a state.
    pub fn state(self) -> State {
        match self {
            Self::Unknown => State::Unknown,
            Self::Up => State::Up,
            Self::Down => State::Down,
        }
    }
}

/// How urgently a pool wants to know more than each of its checks does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// As configured.
    Usual,
    /// The pool looks for a leader: every check is asked as if it were in transition.
    Searching,
}

impl Timing {
    /// A row of results, of which nothing is known.
    pub fn streak(&self) -> Streak {
        Streak::new(self.rise.get(), self.fall.get(), self.initial.state())
    }

    /// How long the next probe waits after this row of results.
    pub fn pace(&self, streak: &Streak, urgency: Urgency) -> Duration {
        if streak.in_transition() || urgency == Urgency::Searching {
            self.fast_interval
        } else if streak.state() == State::Down {
            self.down_interval
        } else {
            self.interval
        }
    }

    /// How long it waits when asking does harm.
    pub fn slow_pace(&self) -> Duration {
        self.interval.saturating_mul(SLOW_FACTOR).min(SLOW_MAX).max(self.interval).max(self.down_interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Sign;

    const TIMING: Timing = Timing {
        interval: Duration::from_secs(2),
        fast_interval: Duration::from_millis(500),
        down_interval: Duration::from_secs(10),
        timeout: Duration::from_secs(1),
        rise: NonZeroU32::new(2).unwrap(),
        fall: NonZeroU32::new(3).unwrap(),
        initial: Initial::Unknown,
    };

    #[test]
    fn a_check_is_asked_at_its_own_pace_up_down_and_between() {
        let mut streak = TIMING.streak();
        assert_eq!(TIMING.pace(&streak, Urgency::Usual), TIMING.fast_interval);
        streak.see(Sign::Good);
        assert_eq!(TIMING.pace(&streak, Urgency::Usual), TIMING.interval);
        assert_eq!(TIMING.pace(&streak, Urgency::Searching), TIMING.fast_interval);
        streak.see(Sign::Bad);
        assert_eq!(TIMING.pace(&streak, Urgency::Usual), TIMING.fast_interval);
        streak.condemn();
        assert_eq!(TIMING.pace(&streak, Urgency::Usual), TIMING.down_interval);
        streak.see(Sign::Good);
        assert_eq!(TIMING.pace(&streak, Urgency::Usual), TIMING.fast_interval);
    }

    #[test]
    fn asking_that_does_harm_is_rare_but_never_more_frequent_than_usual() {
        let rows = [(1, 10), (2, 20), (5, 30), (60, 60)];
        for (interval, expected) in rows {
            let timing = Timing { interval: Duration::from_secs(interval), down_interval: Duration::ZERO, ..TIMING };
            assert_eq!(timing.slow_pace(), Duration::from_secs(expected), "{interval}");
        }
    }
}
