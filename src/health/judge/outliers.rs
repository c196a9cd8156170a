//! `outliers`: when traffic alone speaks against a backend whose probes are fine, and how many may be out at once.

use std::fmt;
use std::time::Duration;

use super::traffic::{Seen, Traffic};
use crate::health::{Outliers, Symptom};

/// Nobody is slow below this, whatever the others need: the difference is noise.
const LATENCY_FLOOR: Duration = Duration::from_millis(1);

/// What speaks against a backend.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Outlier {
    /// So many failures in a row, the last one of this kind.
    Failures(u32, Symptom),
    /// This share of so many requests.
    Errors { share: f32, requests: u64 },
    /// Its own response time against the median of the others.
    Latency { own: Duration, median: Duration },
}

impl fmt::Display for Outlier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failures(count, symptom) => write!(f, "{}: {count} in a row", symptom.phrase()),
            Self::Errors { share, requests } => write!(f, "{:.0} % of {requests} requests failed", share * 100.0),
            Self::Latency { own, median } => {
                write!(f, "it needs {own:.1?} for an answer, the others {median:.1?}")
            }
        }
    }
}

/// Whether so many failures in a row are too many.
pub(super) fn by_failures(rules: &Outliers, failures: u32, symptom: Symptom) -> Option<Outlier> {
    let limit = rules.failures?.get();
    (failures >= limit).then_some(Outlier::Failures(failures, symptom))
}

/// Whether the window's errors are too many.
pub(super) fn by_errors(rules: &Outliers, traffic: &Traffic) -> Option<Outlier> {
    let (limit, seen) = (rules.errors?, traffic.seen()?);
    let share = traffic.error_share()?;
    (seen.requests >= u64::from(rules.requests) && share >= limit)
        .then_some(Outlier::Errors { share, requests: seen.requests })
}

/// Which backends (by their position in `seen`) are too slow against the others.
pub(super) fn by_latency(rules: &Outliers, seen: &[Option<Seen>]) -> Vec<(usize, Outlier)> {
    let Some(factor) = rules.latency else { return Vec::new() };
    let counts = |seen: &Seen| seen.requests >= u64::from(rules.requests) && seen.latency > Duration::ZERO;
    let mut sorted: Vec<(Duration, usize)> =
        seen.iter().enumerate().filter_map(|(at, seen)| seen.filter(counts).map(|seen| (seen.latency, at))).collect();
    sorted.sort_unstable();
    if sorted.len() < 2 {
        return Vec::new();
    }
    let mut slow = Vec::new();
    for (rank, (own, at)) in sorted.iter().enumerate() {
        // The median of the list without this one; of an even number, the lower one.
        let middle = (sorted.len() - 2) / 2;
        let median = sorted[if middle < rank { middle } else { middle + 1 }].0;
        if *own > LATENCY_FLOOR && *own > median.mul_f32(factor) {
            slow.push((*at, Outlier::Latency { own: *own, median }));
        }
    }
    slow
}

/// How many of `count` backends may be out at once.
pub(super) fn most_ejected(rules: &Outliers, count: usize) -> usize {
    // A third of three is one, whatever 0.33333 is as a binary fraction.
    let most = f64::from(rules.max_ejected) * count as f64 + 1e-4;
    (1..=count).take_while(|out| *out as f64 <= most).count()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::super::traffic::Tally;
    use super::*;

    fn rules() -> Outliers {
        Outliers { failures: NonZeroU32::new(5), errors: Some(0.2), latency: Some(3.0), ..Outliers::default() }
    }

    #[test]
    fn failures_in_a_row_count_from_the_limit_on() {
        assert_eq!(by_failures(&rules(), 4, Symptom::Reset), None);
        assert_eq!(by_failures(&rules(), 5, Symptom::Reset), Some(Outlier::Failures(5, Symptom::Reset)));
        assert_eq!(by_failures(&Outliers { failures: None, ..rules() }, 500, Symptom::Reset), None);
    }

    #[test]
    fn a_share_of_errors_counts_when_there_were_requests_enough() {
        let rows = [(19, 19, false), (20, 3, false), (20, 4, true), (100, 19, false), (100, 100, true)];
        for (requests, errors, expected) in rows {
            let mut traffic = Traffic::default();
            traffic.add(Tally::default(), Duration::ZERO, Duration::from_secs(10));
            let tally = Tally { requests, errors, latency: Duration::ZERO };
            traffic.add(tally, Duration::from_secs(5), Duration::from_secs(10));
            assert_eq!(by_errors(&rules(), &traffic).is_some(), expected, "{errors} of {requests}");
        }
    }

    #[test]
    fn who_is_slow_is_slow_against_the_median_of_the_others() {
        // milliseconds of each, who is slow
        let rows: &[(&[u64], &[usize])] = &[
            (&[10], &[]),
            (&[10, 31], &[1]),
            (&[10, 29], &[]),
            (&[10, 11, 12, 40], &[3]),
            (&[40, 10, 41, 12, 11], &[0, 2]),
            (&[0, 0, 100], &[]),
            (&[10, 10, 1_000, 1_000], &[2, 3]),
        ];
        for (latencies, expected) in rows {
            let seen: Vec<_> = latencies
                .iter()
                .map(|ms| Some(Seen { requests: 20, errors: 0, latency: Duration::from_millis(*ms) }))
                .collect();
            let mut slow: Vec<usize> = by_latency(&rules(), &seen).into_iter().map(|(at, _)| at).collect();
            slow.sort_unstable();
            assert_eq!(&slow, expected, "{latencies:?}");
        }
        let idle = Seen { requests: 19, errors: 0, latency: Duration::from_secs(9) };
        let busy = Seen { requests: 20, errors: 0, latency: Duration::from_millis(2) };
        assert_eq!(by_latency(&rules(), &[Some(idle), Some(busy), Some(busy), None]), []);
        let micros = |micros| Some(Seen { requests: 20, errors: 0, latency: Duration::from_micros(micros) });
        assert_eq!(by_latency(&rules(), &[micros(100), micros(100), micros(900)]), [], "noise");
    }

    #[test]
    fn never_more_than_the_share() {
        let rows = [(0.5, 1, 0), (0.5, 2, 1), (0.5, 3, 1), (1.0, 3, 3), (0.1, 9, 0), (0.1, 10, 1), (0.7, 10, 7)];
        for (share, count, expected) in rows {
            assert_eq!(most_ejected(&Outliers { max_ejected: share, ..rules() }, count), expected, "{share} {count}");
        }
    }

    #[test]
    fn sentences_name_the_numbers() {
        let latency = Outlier::Latency { own: Duration::from_millis(1_500), median: Duration::from_millis(20) };
        let rows = [
            (Outlier::Failures(5, Symptom::BadAnswer), "answers are broken: 5 in a row"),
            (Outlier::Errors { share: 0.254, requests: 59 }, "25 % of 59 requests failed"),
            (latency, "it needs 1.5s for an answer, the others 20.0ms"),
        ];
        for (outlier, expected) in rows {
            assert_eq!(outlier.to_string(), expected);
        }
    }
}
