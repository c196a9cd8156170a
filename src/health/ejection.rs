//! Taking a backend out for a while because traffic speaks against it although its probes are fine.
//!
//! Each repetition lasts twice as long, up to a limit; who has behaved for as long as that limit starts anew.

use std::time::Duration;

use super::Outliers;

/// Whether one backend is out because of traffic, and how often it was lately.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ejection {
    until: Option<Duration>,
    /// Times in a row, each before the longest time had passed since the one before.
    strikes: u32,
    ended: Duration,
}

impl Ejection {
    /// Takes it out at `now`, a time since any fixed moment; until when.
    pub fn begin(&mut self, rules: &Outliers, now: Duration) -> Duration {
        if self.strikes > 0 && now.saturating_sub(self.ended) >= rules.time_max {
            self.strikes = 0;
        }
        let length = rules.time.saturating_mul(1 << self.strikes.min(16)).min(rules.time_max.max(rules.time));
        self.strikes = self.strikes.saturating_add(1);
        let until = now + length;
        self.until = Some(until);
        until
    }

    /// Until when it is out.
    pub fn until(&self) -> Option<Duration> {
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
        let was = self.until.take().is_some();
        if was {
            self.ended = now;
        }
        was
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn it_ends_when_its_time_has_come() {
        let mut ejection = Ejection::default();
        assert!(!ejection.is_out());
        assert_eq!(ejection.begin(&Outliers::default(), s(1)), s(11));
        assert!(ejection.is_out());
        assert!(!ejection.end_if_due(s(10)));
        assert!(ejection.end_if_due(s(11)));
        assert!(!ejection.is_out());
    }

    #[test]
    fn repetition_doubles_up_to_the_longest_time_and_good_behaviour_forgets() {
        let (rules, mut ejection, mut now) = (Outliers::default(), Ejection::default(), s(0));
        for expected in [10, 20, 40, 80, 160, 300, 300, 300, 300, 300, 300] {
            assert_eq!(ejection.begin(&rules, now), now + s(expected));
            now += s(expected);
            assert!(ejection.end_if_due(now));
        }
        now += rules.time_max;
        assert_eq!(ejection.begin(&rules, now), now + rules.time);
    }

    #[test]
    fn it_can_be_ended_early() {
        let mut ejection = Ejection::default();
        assert!(!ejection.end(s(0)));
        ejection.begin(&Outliers::default(), s(0));
        assert!(ejection.end(s(3)));
        assert!(!ejection.end_if_due(s(20)));
    }
}
