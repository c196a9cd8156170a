//! Durations in buckets, whose bounds are the same for the whole process.
//!
//! The bounds are told once, before anything is counted; a histogram of other bounds would be another metric.
//!
//! Hot path: no allocation, no lock, no formatting.

use std::sync::OnceLock;
use std::time::Duration;

use super::Counter;

/// Bounds that there may be: each is a line for each pool in every scrape.
pub const MAX_BOUNDS: usize = 24;

/// Upper bounds where nothing else is told, microseconds.
pub const USUAL_BOUNDS_MICROS: &[u64] = &[
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000,
];

static BOUNDS_MICROS: OnceLock<Vec<u64>> = OnceLock::new();

/// Tells the bounds, microseconds, ascending, at most [`MAX_BOUNDS`] of them. To be called once, before anything is
/// counted; whoever comes second is not heard.
pub fn set_bounds_micros(bounds: &[u64]) {
    BOUNDS_MICROS.get_or_init(|| bounds.iter().copied().take(MAX_BOUNDS).collect());
}

/// Upper bounds of all histograms, microseconds; one further bucket holds what is longer.
#[inline]
pub fn bounds_micros() -> &'static [u64] {
    BOUNDS_MICROS.get().map_or(USUAL_BOUNDS_MICROS, Vec::as_slice)
}

/// Durations in buckets, each count in its own bucket only (not cumulative).
#[derive(Debug, Default)]
pub struct Histogram {
    /// Counts by [`bounds_micros`], one more for what is longer; the rest stays empty.
    pub buckets: [Counter; MAX_BOUNDS + 1],
    /// Sum of all, microseconds.
    pub sum_micros: Counter,
}

impl Histogram {
    /// Counts one duration; the bucket that it is in.
    #[inline]
    pub fn observe(&self, duration: Duration) -> usize {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = bounds_micros().partition_point(|bound| *bound < micros);
        if let Some(count) = self.buckets.get(bucket) {
            count.inc();
        }
        self.sum_micros.add(micros);
        bucket
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_bucket_of_the_first_bound_that_it_does_not_exceed() {
        let histogram = Histogram::default();
        for (micros, bucket) in [(0, 0), (500, 0), (501, 1), (1_000, 1), (10_000_000, 13), (10_000_001, 14)] {
            assert_eq!(histogram.observe(Duration::from_micros(micros)), bucket, "{micros}");
        }
        assert_eq!(histogram.buckets.iter().map(Counter::get).sum::<u64>(), 6);
        assert_eq!(histogram.sum_micros.get(), 20_002_002);
    }
}
