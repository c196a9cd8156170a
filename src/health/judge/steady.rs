//! Hysteresis of a verdict: it must hold for a while before it counts (`settle`), and a backend that goes up and down
//! too often waits before it counts as up again (`flaps`).
//!
//! The first verdict counts at once, so that a start waits for nothing.

use std::collections::VecDeque;
use std::time::Duration;

use crate::health::{Flaps, Settle, State};

/// A hold is at most so many times the configured one.
const HOLD_MAX: u32 = 10;

/// What counts of one backend's verdict.
#[derive(Debug, Clone)]
pub(super) struct Steady {
    /// Unknown, up or down.
    state: State,
    /// Another verdict, and since when it has held.
    pending: Option<(State, Duration)>,
    /// When the state flipped, lately.
    flips: VecDeque<Duration>,
    /// Up, but kept out until then.
    held: Option<Duration>,
    /// Holds in a row.
    holds: u32,
    /// When the last one ended.
    released: Duration,
}

/// The rules that it goes by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules<'p> {
    pub(super) settle: Settle,
    pub(super) flaps: Option<&'p Flaps>,
}

impl Steady {
    /// As it stands.
    pub(super) fn new(state: State) -> Self {
        Self { state, pending: None, flips: VecDeque::new(), held: None, holds: 0, released: Duration::ZERO }
    }

    /// What counts, without any hold.
    pub(super) fn state(&self) -> State {
        self.state
    }

    /// Until when it is kept out although it is up.
    pub(super) fn held(&self) -> Option<Duration> {
        self.held
    }

    /// The checks say `raw`; whether the state flipped from one that was known.
    pub(super) fn see(&mut self, raw: State, now: Duration, rules: Rules<'_>) -> Option<State> {
        if rules.flaps.is_none() || self.held.is_some_and(|until| until <= now) {
            self.release(now);
        }
        if raw == State::Unknown || raw == self.state {
            self.pending = None;
            return None;
        }
        if self.state == State::Unknown {
            self.state = raw;
            return None;
        }
        let since = self.pending.filter(|(pending, _)| *pending == raw).map_or(now, |(_, since)| since);
        self.pending = Some((raw, since));
        if since + wait(raw, rules.settle) > now {
            return None;
        }
        self.pending = None;
        self.state = raw;
        self.flipped(now, rules.flaps);
        Some(raw)
    }

    /// When time alone changes something.
    pub(super) fn due(&self, settle: Settle) -> Option<Duration> {
        let settled = self.pending.map(|(raw, since)| since + wait(raw, settle));
        [settled, self.held].into_iter().flatten().min()
    }

    /// Ends a hold, because it is over or because nobody else is left; whether there was one.
    pub(super) fn release(&mut self, now: Duration) -> Option<Duration> {
        let held = self.held.take();
        if held.is_some() {
            self.released = now;
        }
        held
    }

    fn flipped(&mut self, now: Duration, flaps: Option<&Flaps>) {
        let Some(flaps) = flaps else {
            self.flips.clear();
            return;
        };
        let (max, within) = (flaps.max.get() as usize, flaps.within);
        self.flips.push_back(now);
        while self.flips.len() > max || self.flips.front().is_some_and(|flip| *flip + within < now) {
            self.flips.pop_front();
        }
        self.release(now);
        if self.state != State::Up || self.flips.len() < max {
            return;
        }
        let longest = flaps.hold.saturating_mul(HOLD_MAX);
        if now.saturating_sub(self.released) > longest {
            self.holds = 0;
        }
        self.held = Some(now + flaps.hold.saturating_mul(1 << self.holds.min(8)).min(longest));
        self.holds = self.holds.saturating_add(1);
    }
}

fn wait(raw: State, settle: Settle) -> Duration {
    if raw == State::Up { settle.up } else { settle.down }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn letter(state: State) -> char {
        match state {
            State::Up => 'u',
            State::Down => 'd',
            _ => '?',
        }
    }

    /// One look a second at what the checks say; what counts after each.
    fn run(steady: &mut Steady, raw: &str, from: u64, rules: Rules<'_>) -> String {
        let looks = raw.chars().zip(from..);
        looks
            .map(|(raw, second)| {
                let raw = match raw {
                    'u' => State::Up,
                    'd' => State::Down,
                    _ => State::Unknown,
                };
                steady.see(raw, s(second), rules);
                letter(if steady.held().is_some() { State::Down } else { steady.state() })
            })
            .collect()
    }

    #[test]
    fn a_verdict_counts_when_it_has_held_for_its_time() {
        let rows: &[(u64, u64, &str, &str)] = &[
            (0, 0, "udud", "udud"),
            (0, 0, "??d?u", "??ddu"),
            (3, 2, "u", "u"),
            (3, 2, "d", "d"),
            (3, 2, "uddd", "uuud"),
            (3, 2, "ududdd", "uuuuud"),
            (3, 2, "duuuu", "ddddu"),
            (3, 2, "duuduuuu", "dddddddu"),
            (3, 2, "ud?ddd", "uuuuud"),
        ];
        for (up, down, raw, expected) in rows {
            let rules = Rules { settle: Settle { up: s(*up), down: s(*down) }, flaps: None };
            let mut steady = Steady::new(State::Unknown);
            assert_eq!(&run(&mut steady, raw, 0, rules), expected, "up {up}, down {down}, {raw}");
        }
    }

    #[test]
    fn time_alone_is_enough_and_is_announced() {
        let rules = Rules { settle: Settle { up: s(3), down: s(2) }, flaps: None };
        let mut steady = Steady::new(State::Up);
        assert_eq!(steady.see(State::Down, s(10), rules), None);
        assert_eq!(steady.due(rules.settle), Some(s(12)));
        assert_eq!(steady.see(State::Down, s(12), rules), Some(State::Down));
        assert_eq!(steady.due(rules.settle), None);
    }

    #[test]
    fn too_many_flips_cost_a_hold_that_doubles() {
        let flaps = Flaps { max: NonZeroU32::new(4).unwrap(), within: s(60), hold: s(5) };
        let rules = Rules { settle: Settle::default(), flaps: Some(&flaps) };
        let mut steady = Steady::new(State::Up);
        //                                       the fourth flip is up again: held for 5 s
        assert_eq!(run(&mut steady, "ududuuuuuuu", 0, rules), "udud".to_owned() + "dddddu" + "u");
        assert_eq!(steady.held(), None);
        assert_eq!(run(&mut steady, "du", 11, rules), "dd", "held again");
        assert_eq!(steady.held(), Some(s(12 + 10)), "twice as long");
        assert_eq!(run(&mut steady, "dduu", 13, rules), "dddd", "down ends the hold, up begins one");
        assert_eq!(steady.held(), Some(s(15 + 20)));
        assert!(steady.release(s(17)).is_some());
        assert_eq!(run(&mut steady, "u", 18, rules), "u", "nobody else was left");
        let calm = 18 + 50 + 61;
        assert_eq!(run(&mut steady, "dudu", calm, rules), "dudd");
        assert_eq!(steady.held(), Some(s(calm + 3 + 5)), "calm forgets");
    }

    #[test]
    fn a_hold_never_grows_beyond_ten_times() {
        let flaps = Flaps { max: NonZeroU32::MIN, within: s(60), hold: s(2) };
        let rules = Rules { settle: Settle::default(), flaps: Some(&flaps) };
        let mut steady = Steady::new(State::Up);
        let mut longest = s(0);
        for second in 0..40 {
            steady.see(if second % 2 == 0 { State::Down } else { State::Up }, s(second), rules);
            longest = longest.max(steady.held().map_or(s(0), |until| until.saturating_sub(s(second))));
        }
        assert_eq!(longest, s(20));
    }
}
