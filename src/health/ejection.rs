//! Taking out a backend whose probes are fine while its answers to traffic are broken (half bodies, garbage).
//!
//! Five broken answers in a row cost it 10 s, each repetition twice as long, 5 min at most. The last one that is up in
//! its pool is never taken out: a broken answer now and then is better than none at all.

use std::time::Duration;

/// Broken answers in a row that take a backend out.
pub const BAD_ANSWERS: u32 = 5;
/// How long the first time is.
pub const FIRST: Duration = Duration::from_secs(10);
/// How long it is at most.
pub const LONGEST: Duration = Duration::from_secs(300);

/// Whether one backend is out for broken answers, and how often it was lately.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ejection {
    until: Option<Duration>,
    /// Times in a row, each before [`LONGEST`] had passed since the one before.
    strikes: u32,
    ended: Duration,
}

impl Ejection {
    /// A broken answer came: `failures` in a row by now, `others_up` other backends of the pool could take over. The
    /// time (since any fixed moment, like `now`) until which the backend is out, if that was one too many.
    pub fn see(&mut self, failures: u32, others_up: usize, now: Duration) -> Option<Duration> {
        if self.until.is_some() || failures < BAD_ANSWERS || others_up == 0 {
            return None;
        }
        if self.strikes > 0 && now.saturating_sub(self.ended) >= LONGEST {
            self.strikes = 0;
        }
        let length = FIRST.saturating_mul(1 << self.strikes.min(8)).min(LONGEST);
        self.strikes = self.strikes.saturating_add(1);
        self.until = Some(now + length);
        self.until
    }

    /// Whether it is out.
    pub fn is_out(&self) -> bool {
        self.until.is_some()
    }

    /// Ends it when its time has come; whether it did.
    pub fn end_if_due(&mut self, now: Duration) -> bool {
        self.until.is_some_and(|until| until <= now) && self.end(now)
    }

    /// Ends it before its time, because nobody else is left; whether it was out.
    pub fn end(&mut self, now: Duration) -> bool {
        self.ended = now;
        self.until.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn five_broken_answers_in_a_row_cost_ten_seconds() {
        let mut ejection = Ejection::default();
        assert_eq!(ejection.see(4, 1, s(1)), None);
        assert_eq!(ejection.see(5, 1, s(1)), Some(s(11)));
        assert!(ejection.is_out());
        assert_eq!(ejection.see(6, 1, s(2)), None, "it is out already");
        assert!(!ejection.end_if_due(s(10)));
        assert!(ejection.end_if_due(s(11)));
        assert!(!ejection.is_out());
    }

    #[test]
    fn the_last_one_up_is_never_taken_out() {
        let mut ejection = Ejection::default();
        assert_eq!(ejection.see(500, 0, s(1)), None);
        assert!(!ejection.is_out());
    }

    #[test]
    fn repetition_doubles_up_to_five_minutes_and_good_behaviour_forgets() {
        let mut ejection = Ejection::default();
        let mut now = s(0);
        for expected in [10, 20, 40, 80, 160, 300, 300, 300, 300, 300, 300] {
            assert_eq!(ejection.see(5, 1, now), Some(now + s(expected)));
            now += s(expected);
            assert!(ejection.end_if_due(now));
        }
        now += LONGEST;
        assert_eq!(ejection.see(5, 1, now), Some(now + FIRST));
    }

    #[test]
    fn it_can_be_ended_early() {
        let mut ejection = Ejection::default();
        assert!(!ejection.end(s(0)));
        ejection.see(5, 1, s(0));
        assert!(ejection.end(s(3)));
        assert!(!ejection.end_if_due(s(20)));
    }
}
