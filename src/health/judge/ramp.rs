//! `slow_start`: a backend that comes back while others serve begins with a small share, which grows step by step.

use std::time::Duration;

/// The share that it begins with, percent.
const FIRST: u16 = 10;
/// Steps to the whole share: each lays out anew what may serve.
const STEPS: u32 = 20;

/// A backend on its way to its whole share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ramp {
    begun: Duration,
}

impl Ramp {
    pub(super) fn begin(now: Duration) -> Self {
        Self { begun: now }
    }

    /// Percent of its share now, and when the next step is due; `None` when it has arrived.
    pub(super) fn share(self, now: Duration, length: Duration) -> Option<(u16, Duration)> {
        let gone = now.saturating_sub(self.begun);
        if gone >= length {
            return None;
        }
        let step = (gone.as_nanos() * u128::from(STEPS) / length.as_nanos()) as u32;
        let share = u32::from(FIRST) + u32::from(100 - FIRST) * step / STEPS;
        // Rounded up, or the step would be looked at a moment too early.
        let next = self.begun + length * (step + 1) / STEPS + Duration::from_nanos(1);
        Some((share as u16, next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_grows_in_few_steps_from_a_tenth_to_the_whole() {
        let (begun, length) = (Duration::from_millis(7_003), Duration::from_millis(10_007));
        let ramp = Ramp::begin(begun);
        let mut now = begun;
        let mut shares = Vec::new();
        while let Some((share, next)) = ramp.share(now, length) {
            assert!(next > now);
            shares.push(share);
            now = next;
        }
        assert_eq!((shares.first(), shares.last(), shares.len()), (Some(&10), Some(&95), 20));
        assert!(shares.is_sorted_by(|a, b| a < b), "{shares:?}");
        assert!(now >= begun + length && now < begun + length + Duration::from_millis(1));
        assert_eq!(ramp.share(begun, Duration::ZERO), None);
    }
}
