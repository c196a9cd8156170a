//! The order of a weighted round-robin, worked out when what may serve changes, so that a pick is one list access.
//!
//! Called by `pool` when it publishes what may serve; round-robin walks the result, random draws a position of it.
//! Turns of one backend lie as far apart as its weight permits: 5, 1, 1 gives no run of five. Backends of equal weight
//! share one group that takes its turns as a whole and hands them around, which keeps light backends apart too.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// Longest order without scaling, beside [`TURNS_PER_BACKEND`] for each backend: a few pages, built in microseconds.
const TURNS_BASE: u64 = 4_096;

/// Turns that each backend adds to the longest order, so that weights keep their meaning in large pools.
const TURNS_PER_BACKEND: u64 = 4;

/// The order in which positions of `weights` take their turns; walk it in a circle.
///
/// Weights count against each other only: they are divided by what they have in common, and scaled down where the
/// order would be too long. A weight of 0 takes no turn, every other at least one. Equal weights give 0, 1, 2, ….
pub fn interleave(weights: &[u32]) -> Vec<u32> {
    let turns = turns(weights);
    let mut groups: BTreeMap<Reverse<u32>, Vec<u32>> = BTreeMap::new();
    for (index, turns) in turns.iter().enumerate().filter(|(_, turns)| **turns > 0) {
        groups.entry(Reverse(*turns)).or_default().push(index as u32);
    }
    let groups: Vec<Group> = groups
        .into_iter()
        .map(|(Reverse(turns), indices)| Group { share: turns * indices.len() as u32, indices })
        .collect();

    let length = groups.iter().map(|group| group.share as usize).sum();
    let mut order = Vec::with_capacity(length);
    let mut next: BinaryHeap<_> = groups.iter().enumerate().map(|(at, group)| Reverse((group.due(0), at, 0))).collect();
    while let Some(Reverse((_, at, taken))) = next.pop() {
        let group = &groups[at];
        order.push(group.indices[taken as usize % group.indices.len()]);
        if taken + 1 < group.share {
            next.push(Reverse((group.due(taken + 1), at, taken + 1)));
        }
    }
    order
}

/// Backends of equal weight.
struct Group {
    indices: Vec<u32>,
    /// Turns that all of them take together.
    share: u32,
}

impl Group {
    /// When turn number `turn` is due, as a fraction of the whole order in 2^-40: in the middle of its own stretch.
    fn due(&self, turn: u32) -> u64 {
        (((2 * u128::from(turn) + 1) << 39) / u128::from(self.share)) as u64
    }
}

/// Turns of each: the weights in their lowest terms, scaled down where their sum is too large.
fn turns(weights: &[u32]) -> Vec<u32> {
    let common = weights.iter().fold(0, |common, weight| greatest_common_divisor(common, *weight)).max(1);
    let sum: u64 = weights.iter().map(|weight| u64::from(*weight) / u64::from(common)).sum();
    let limit = TURNS_BASE + TURNS_PER_BACKEND * weights.len() as u64;
    let scaled = |weight: u64| if sum <= limit { weight } else { ((weight * limit + sum / 2) / sum).max(1) };
    weights
        .iter()
        .map(|weight| u64::from(*weight) / u64::from(common))
        .map(|weight| if weight == 0 { 0 } else { scaled(weight) as u32 })
        .collect()
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_orders_are_as_smooth_as_weights_permit() {
        let rows: [(&[u32], &[u32]); 8] = [
            (&[], &[]),
            (&[0, 0], &[]),
            (&[7], &[0]),
            (&[1, 1, 1], &[0, 1, 2]),
            (&[10, 0, 10], &[0, 2]),
            (&[2, 1], &[0, 1, 0]),
            (&[5, 1, 1], &[0, 1, 0, 0, 0, 2, 0]),
            (&[100, 200], &[1, 0, 1]),
        ];
        for (weights, order) in rows {
            assert_eq!(interleave(weights), order, "{weights:?}");
        }
    }

    #[test]
    fn each_takes_turns_by_its_weight() {
        let weights = [256, 3, 17, 90, 1, 0, 128];
        let order = interleave(&weights);
        for (index, weight) in weights.iter().enumerate() {
            assert_eq!(order.iter().filter(|turn| **turn == index as u32).count(), *weight as usize);
        }
    }

    #[test]
    fn turns_of_one_backend_lie_evenly() {
        let weights = [50, 30, 20, 10, 5, 5];
        let order = interleave(&weights);
        let sum = order.len();
        for (index, weight) in weights.iter().enumerate() {
            let at: Vec<_> = (0..sum).filter(|turn| order[*turn] == index as u32).collect();
            let ideal = sum.div_ceil((*weight / 5) as usize);
            for (this, next) in at.iter().zip(at.iter().skip(1).copied().chain([at[0] + sum])) {
                assert!(next - this <= 2 * ideal, "{index} waits {} turns, {ideal} would be ideal", next - this);
            }
        }
    }

    #[test]
    fn ten_thousand_equal_weights_are_taken_in_turn() {
        assert!(interleave(&vec![40; 10_000]).into_iter().eq(0..10_000));
    }

    #[test]
    fn a_long_order_is_scaled_down_and_forgets_nobody() {
        let weights: Vec<u32> = (0..10_000).map(|index| if index % 2 == 0 { 256 } else { 255 }).chain([1]).collect();
        let order = interleave(&weights);
        assert!(order.len() < 70_000, "{}", order.len());
        let mut seen = vec![false; weights.len()];
        for turn in order {
            seen[turn as usize] = true;
        }
        assert!(seen.iter().all(|seen| *seen));
    }
}
