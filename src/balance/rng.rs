//! Random numbers for picking: one word of state, one multiplication a number, no global.
//!
//! Every worker owns one, so that no cache line is shared. Wyrand's mixing is far better than spreading load needs; it
//! is not for secrets. The same seed gives the same numbers, which makes picks repeatable in tests.
//!
//! Hot path: no allocation, no lock, no formatting.

/// A generator of random numbers.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// A generator that always gives the same numbers for the same seed; any seed is good.
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0xa076_1d64_78bd_642f);
        let product = u128::from(self.0) * u128::from(self.0 ^ 0xe703_7ed1_a0b4_28db);
        (product >> 64) as u64 ^ product as u64
    }

    /// A number below `n`; 0 for `n` = 0. By multiplication instead of remainder: the bias is below n / 2^32.
    #[inline]
    pub fn below(&mut self, n: u32) -> u32 {
        let high = self.next_u64() >> 32;
        ((high * u64::from(n)) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let draw = |seed| {
            let mut rng = Rng::seeded(seed);
            (0..8).map(|_| rng.next_u64()).collect::<Vec<_>>()
        };
        assert_eq!(draw(0), draw(0));
        assert_ne!(draw(0), draw(1));
    }

    #[test]
    fn numbers_stay_below_the_bound() {
        let mut rng = Rng::seeded(7);
        for n in [1, 2, 3, 10, u32::MAX] {
            assert!((0..1_000).all(|_| rng.below(n) < n));
        }
        assert_eq!(rng.below(0), 0);
    }

    #[test]
    fn every_number_below_the_bound_is_drawn_about_equally_often() {
        let mut rng = Rng::seeded(42);
        let mut counts = [0_u32; 7];
        for _ in 0..70_000 {
            counts[rng.below(7) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
    }
}
