//! Who of several is the least loaded: the comparisons behind least-requests, p2c and peak-ewma.
//!
//! Called by `pool` at each pick, over positions of what may serve. Costs are plain numbers, smaller is better, and all
//! comparisons include the request about to be given, so that an idle backend of weight 2 comes before one of weight 1.
//!
//! Hot path: no allocation, no lock, no formatting.

use super::rng::Rng;

/// Position of the smallest cost; `None` for nobody.
///
/// Among equals it is the first at or after `start`, in a circle: a caller that counts `start` up spreads idle time evenly.
#[inline]
pub fn least(costs: impl ExactSizeIterator<Item = u64>, start: usize) -> Option<usize> {
    let start = start.checked_rem(costs.len())?;
    let mut best: Option<(u64, usize)> = None;
    for (at, cost) in costs.enumerate() {
        let better = match best {
            None => true,
            Some((least, chosen)) => cost < least || (cost == least && chosen < start && at >= start),
        };
        if better {
            best = Some((cost, at));
        }
    }
    best.map(|(_, at)| at)
}

/// The cheaper of two distinct positions below `n`, drawn by chance; 0 for `n` of 0 or 1.
///
/// To draw by weight, give the length of an order of [`super::sequence::interleave`] and look up positions there.
#[inline]
pub fn p2c(rng: &mut Rng, n: u32, cost: impl Fn(u32) -> u64) -> u32 {
    if n < 2 {
        return 0;
    }
    let one = rng.below(n);
    let other = rng.below(n - 1);
    let other = if other >= one { other + 1 } else { other };
    if cost(other) < cost(one) { other } else { one }
}

/// What a request costs at a backend of this weight: its share of one, so that a pick multiplies and never divides.
/// Weights count against each other only; they may be as fine as a percent of a configured one.
pub fn unit(weight: u32) -> u32 {
    (1 << 31) / weight.max(1)
}

/// Cost of one more request by work in flight, for least-requests and p2c; `unit` is [`unit()`] of the backend's weight.
#[inline]
pub fn requests_cost(in_flight: u32, unit: u32) -> u64 {
    (u64::from(in_flight) + 1) * u64::from(unit)
}

/// Cost of one more request by recent response time and work in flight, for peak-ewma.
///
/// A backend that never answered (`latency_micros` 0) is tried with one request, and avoided until that one is back:
/// cheap, it would get everything at once.
#[inline]
pub fn ewma_cost(latency_micros: u32, in_flight: u32, unit: u32) -> u64 {
    let latency = match (latency_micros, in_flight) {
        (0, 0) => return 0,
        (0, _) => UNKNOWN_LATENCY_MICROS,
        (known, _) => u64::from(known),
    };
    latency.saturating_mul(requests_cost(in_flight, unit))
}

/// Stands for the response time of a backend whose first answer is still awaited: worse than any real one.
const UNKNOWN_LATENCY_MICROS: u64 = 600_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_loaded_for_its_weight_is_chosen() {
        type Row = (&'static [(u32, u32)], Option<usize>);
        let rows: [Row; 7] = [
            (&[], None),
            (&[(9, 1)], Some(0)),
            (&[(2, 1), (1, 1), (3, 1)], Some(1)),
            (&[(0, 1), (0, 2)], Some(1)),
            (&[(1, 1), (4, 3)], Some(1)),
            (&[(u32::MAX, 256), (0, 1)], Some(1)),
            (&[(1, 25_600), (1, 25_601)], Some(1)),
        ];
        for (loads, chosen) in rows {
            let costs = loads.iter().map(|(in_flight, weight)| requests_cost(*in_flight, unit(*weight)));
            assert_eq!(least(costs, 0), chosen, "{loads:?}");
        }
    }

    #[test]
    fn equals_take_turns_by_the_start() {
        let costs = [2, 1, 1, 6, 1];
        let chosen: Vec<_> = (0..7).filter_map(|start| least(costs.into_iter(), start)).collect();
        assert_eq!(chosen, [1, 1, 2, 4, 4, 1, 1]);
    }

    #[test]
    fn two_choices_avoid_the_worst_always() {
        let mut rng = Rng::seeded(3);
        let cost = |at: u32| if at == 2 { 1_000 } else { 1 };
        assert!((0..10_000).all(|_| p2c(&mut rng, 4, cost) != 2));
        assert_eq!(p2c(&mut rng, 1, cost), 0);
        assert_eq!(p2c(&mut rng, 0, cost), 0);
    }

    #[test]
    fn two_choices_among_equals_spread_evenly() {
        let mut rng = Rng::seeded(3);
        let mut counts = [0_u32; 5];
        (0..50_000).for_each(|_| counts[p2c(&mut rng, 5, |_| 1) as usize] += 1);
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_slow_or_busy_backend_costs_more() {
        let cost = |latency, in_flight, weight| ewma_cost(latency, in_flight, unit(weight));
        assert!(cost(200, 0, 1) > cost(100, 0, 1));
        assert!(cost(100, 1, 1) > cost(100, 0, 1));
        assert!(cost(100, 0, 2) < cost(100, 0, 1));
        assert_eq!(cost(100, 1, 2), cost(100, 0, 1));
    }

    #[test]
    fn a_new_backend_gets_one_request_and_no_more_until_it_answers() {
        let cost = |latency, in_flight| ewma_cost(latency, in_flight, unit(100));
        assert!(cost(0, 0) < ewma_cost(1, 0, unit(25_600)));
        assert!(cost(0, 1) > cost(60_000_000, 8));
        assert!(cost(0, 1) < cost(0, 2));
        assert!(ewma_cost(u32::MAX, u32::MAX, unit(1)) > 0);
    }
}
