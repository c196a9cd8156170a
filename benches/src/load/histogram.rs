//! Times in buckets that are 6 % wide.

use std::time::Duration;

#[derive(Clone)]
pub struct Histogram(Vec<u64>);

impl Default for Histogram {
    fn default() -> Self {
        Self(vec![0; 64 * 16])
    }
}

impl Histogram {
    pub fn add(&mut self, time: Duration) {
        let nanos = (time.as_nanos() as u64).max(16);
        let power = nanos.ilog2();
        let within = (nanos >> (power - 4)) & 15;
        self.0[(power as usize) * 16 + within as usize] += 1;
    }

    /// The time in microseconds that this share of all stays below.
    pub fn micros(&self, share: f64) -> f64 {
        let goal = (self.0.iter().sum::<u64>() as f64 * share) as u64;
        let mut seen = 0;
        for (at, count) in self.0.iter().enumerate() {
            seen += count;
            if seen > goal {
                let (power, within) = (at / 16, at % 16);
                return (16 + within + 1) as f64 * 2_f64.powi(power as i32 - 4) / 1_000.0;
            }
        }
        0.0
    }
}
