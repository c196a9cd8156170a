//! Consistent hashing: a key goes to the same backend on every balancer and across restarts, and when one of n backends
//! leaves only about 1/n of the keys move (Maglev, Eisenbud et al., NSDI 2016, §3.4).
//!
//! Called by `pool` for source, uri, header and cookie balance. Building costs some milliseconds at most and happens on
//! control; a lookup is one remainder and one list access. Give **all** configured backends and weight 0 to those that
//! may not serve now: the size of the table follows their number, and keys would move with it.
//!
//! # Why these sizes?
//!
//! A hundred entries for each backend keep shares within one percent of even. A prime makes every step a walk through
//! the whole table. The sizes are a short ladder, not the next prime, because another size moves nearly every key: a
//! pool that grows from 11 to 12 backends must not. From 656 backends on shares get coarser, at no fewer than ten
//! entries each, because a table beyond 256 KiB no longer stays in the processor's second-level cache.

/// Table sizes, and up to how many backends each serves.
const SIZES: [(usize, u32); 5] = [(10, 1_009), (40, 4_099), (160, 16_411), (6_553, 65_537), (65_537, 655_373)];

/// A table from keys to positions of backends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maglev(Box<[u32]>);

impl Maglev {
    /// A table over backends, each with the hash of what identifies it and its weight; weight 0 gets no key.
    pub fn new(backends: &[(u64, u16)]) -> Self {
        let size = size_for(backends.len());
        let heaviest = backends.iter().map(|(_, weight)| u32::from(*weight)).max().unwrap_or(0);
        if heaviest == 0 {
            return Self(Box::new([0]));
        }
        let mut walks: Vec<Walk> = (0..)
            .zip(backends)
            .filter(|(_, (_, weight))| *weight > 0)
            .map(|(index, backend)| Walk::new(index, *backend, heaviest, size))
            .collect();
        let mut table = vec![FREE; size as usize];
        let mut left = size;
        loop {
            for walk in &mut walks {
                walk.credit += u32::from(walk.weight);
                if walk.credit < heaviest {
                    continue;
                }
                walk.credit -= heaviest;
                walk.take_entry(&mut table);
                left -= 1;
                if left == 0 {
                    return Self(table.into_boxed_slice());
                }
            }
        }
    }

    /// Position of the backend for a key (see [`super::hash`]); 0 where none has a weight.
    #[inline]
    pub fn lookup(&self, key: u64) -> u32 {
        self.0[(key % self.0.len() as u64) as usize]
    }
}

const FREE: u32 = u32::MAX;

/// One backend's way through the table, in an order of its own.
struct Walk {
    index: u32,
    weight: u16,
    /// Weight saved up; an entry costs the heaviest one's weight.
    credit: u32,
    at: u32,
    step: u32,
    size: u32,
}

impl Walk {
    fn new(index: u32, (identity, weight): (u64, u16), heaviest: u32, size: u32) -> Self {
        // Start and step must not depend on each other; the identity is mixed once more for the second.
        let mixed = identity.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
        let at = (identity % u64::from(size)) as u32;
        let step = (mixed % u64::from(size - 1)) as u32 + 1;
        // This much credit gives everyone an entry in the first round, however light it is.
        Self { index, weight, credit: heaviest - u32::from(weight), at, step, size }
    }

    fn take_entry(&mut self, table: &mut [u32]) {
        while table[self.at as usize] != FREE {
            self.advance();
        }
        table[self.at as usize] = self.index;
        self.advance();
    }

    fn advance(&mut self) {
        self.at += self.step;
        if self.at >= self.size {
            self.at -= self.size;
        }
    }
}

/// The smallest size of the ladder that is large enough; beyond it, a prime of ten entries for each.
fn size_for(backends: usize) -> u32 {
    match SIZES.iter().find(|(most, _)| backends <= *most) {
        Some((_, size)) => *size,
        None => next_prime(backends as u32 * 10),
    }
}

fn next_prime(from: u32) -> u32 {
    // There is a prime between every number and its double.
    (from..from.saturating_mul(2)).find(|n| is_prime(*n)).unwrap_or(from)
}

fn is_prime(n: u32) -> bool {
    n > 1 && (2..=n.isqrt()).all(|divisor| !n.is_multiple_of(divisor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::hash;

    fn backends(n: usize, weight: impl Fn(usize) -> u16) -> Vec<(u64, u16)> {
        (0..n).map(|index| (hash(format!("10.0.0.{index}:80").as_bytes()), weight(index))).collect()
    }

    fn keys() -> impl Iterator<Item = u64> {
        (0..50_000_u32).map(|key| hash(&key.to_le_bytes()))
    }

    fn shares(maglev: &Maglev, n: usize) -> Vec<f64> {
        let mut counts = vec![0_u32; n];
        maglev.0.iter().for_each(|index| counts[*index as usize] += 1);
        counts.iter().map(|count| f64::from(*count) / maglev.0.len() as f64).collect()
    }

    #[test]
    fn all_sizes_are_prime() {
        assert!(SIZES.iter().all(|(_, size)| is_prime(*size)));
        assert!(is_prime(size_for(100_000)));
    }

    #[test]
    fn equal_backends_get_equal_shares() {
        for n in [1, 2, 3, 10, 11, 100, 655] {
            let shares = shares(&Maglev::new(&backends(n, |_| 1)), n);
            assert!(shares.iter().all(|share| (share * n as f64 - 1.0).abs() < 0.02), "{n}: {shares:?}");
        }
    }

    #[test]
    fn weights_are_kept_within_a_few_percent() {
        let weight = |index: usize| [1, 2, 3, 10][index % 4];
        let sum: f64 = (0..8).map(|index| f64::from(weight(index))).sum();
        let shares = shares(&Maglev::new(&backends(8, weight)), 8);
        for (index, share) in shares.iter().enumerate() {
            let ideal = f64::from(weight(index)) / sum;
            assert!((share / ideal - 1.0).abs() < 0.05, "{index}: {share} for {ideal}");
        }
    }

    #[test]
    fn losing_one_of_n_moves_about_its_own_keys_only() {
        for n in [3_usize, 10, 50, 500] {
            let before = Maglev::new(&backends(n, |_| 1));
            let after = Maglev::new(&backends(n, |index| u16::from(index != 1)));
            let moved = keys().filter(|key| before.lookup(*key) != after.lookup(*key)).count();
            let share = moved as f64 / 50_000.0;
            assert!(share < 1.0 / n as f64 + 0.04, "{n}: {share} moved");
            assert!(keys().all(|key| after.lookup(key) != 1));
        }
    }

    #[test]
    fn even_the_lightest_of_many_gets_a_key() {
        let n = 10_000;
        let shares = shares(&Maglev::new(&backends(n, |index| if index == 77 { 1 } else { 256 })), n);
        assert!(shares.iter().all(|share| *share > 0.0));
    }

    #[test]
    fn a_table_of_nobody_answers_zero() {
        assert_eq!(Maglev::new(&[]).lookup(99), 0);
        assert_eq!(Maglev::new(&[(5, 0)]).lookup(99), 0);
    }
}
