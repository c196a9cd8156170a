//! Counters of the last seconds: how fast they grow, and what most answers took meanwhile.
//!
//! Pure: the time comes with the view. Of another process there is another window: its counters are others.

use std::collections::{HashMap, VecDeque};

use evenkeel::admin::view::{BackendView, Overview};

/// How far back it looks: long enough for a quiet number, short enough to see what happens now.
const SECONDS: f64 = 5.0;

/// The views of the last seconds, as far as they count something.
#[derive(Debug, Default)]
pub(super) struct Window {
    counted: VecDeque<Counted>,
    bounds: Vec<f64>,
}

#[derive(Debug, Default)]
struct Counted {
    at: f64,
    backends: HashMap<(String, String), Counts>,
    pools: HashMap<String, Vec<u64>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    picks: u64,
    errors: u64,
}

/// How fast something goes, a second; nothing where it has been seen once only.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Pace {
    pub(super) requests: Option<f64>,
    pub(super) errors: Option<f64>,
}

impl Window {
    /// Adds a view that has come at a time in seconds.
    pub(super) fn add(&mut self, view: &Overview, at: f64) {
        let is_later = self.counted.back().is_none_or(|last| at > last.at);
        if !is_later || self.bounds != view.bounds {
            self.counted.clear();
        }
        self.bounds.clone_from(&view.bounds);
        let mut counted = Counted { at, ..Counted::default() };
        for pool in &view.pools {
            counted.pools.insert(pool.name.clone(), pool.took.clone());
            for backend in &pool.backends {
                let counts = Counts { picks: backend.picks, errors: errors(backend) };
                counted.backends.insert((pool.name.clone(), backend.name.clone()), counts);
            }
        }
        self.counted.push_back(counted);
        // One that is older than the window stays: what has happened since is what the window is about.
        while self.counted.get(1).is_some_and(|next| next.at <= at - SECONDS) {
            self.counted.pop_front();
        }
    }

    /// How fast a backend works.
    pub(super) fn pace(&self, pool: &str, backend: &str) -> Pace {
        let key = (pool.to_owned(), backend.to_owned());
        let mut seen = self.counted.iter().filter_map(|it| Some((it.at, *it.backends.get(&key)?)));
        let (Some((begun, first)), Some((ended, last))) = (seen.next(), seen.next_back()) else {
            return Pace::default();
        };
        let grown = |from: u64, to: u64| Some(to.saturating_sub(from) as f64 / (ended - begun));
        Pace { requests: grown(first.picks, last.picks), errors: grown(first.errors, last.errors) }
    }

    /// How long an answer of a pool took at most, of this share of them; nothing where there were none.
    pub(super) fn took(&self, pool: &str, share: f64) -> Option<f64> {
        let mut seen = self.counted.iter().filter_map(|it| it.pools.get(pool));
        let (first, last) = (seen.next()?, seen.next_back()?);
        let before = |at: usize| first.get(at).copied().unwrap_or_default();
        let grown: Vec<u64> = last.iter().enumerate().map(|(at, now)| now.saturating_sub(before(at))).collect();
        quantile(&self.bounds, &grown, share)
    }
}

fn errors(backend: &BackendView) -> u64 {
    backend.failures + backend.responses.get("5xx").copied().unwrap_or_default()
}

/// Where this share of counts by upper bounds ends, evenly spread within each; what is longer than all bounds is as long as
/// the last one.
fn quantile(bounds: &[f64], counts: &[u64], share: f64) -> Option<f64> {
    let all: u64 = counts.iter().sum();
    let wanted = all as f64 * share;
    let mut below = 0.0;
    for (at, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let count = *count as f64;
        if below + count >= wanted {
            let lower = at.checked_sub(1).and_then(|at| bounds.get(at)).copied().unwrap_or(0.0);
            let upper = bounds.get(at).copied().unwrap_or(lower);
            return Some(lower + (upper - lower) * ((wanted - below) / count));
        }
        below += count;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_answers_is_found_within_its_bucket() {
        let bounds = [0.01, 0.1, 1.0];
        let close = |found: Option<f64>, wanted: f64| assert!((found.unwrap() - wanted).abs() < 1e-9, "{found:?}");
        close(quantile(&bounds, &[10, 0, 0, 0], 0.5), 0.005);
        close(quantile(&bounds, &[5, 5], 0.5), 0.01);
        close(quantile(&bounds, &[0, 100, 0, 0], 0.99), 0.0991);
        close(quantile(&bounds, &[1, 0, 0, 1], 0.99), 1.0);
        assert_eq!(quantile(&bounds, &[0, 0], 0.5), None);
    }
}
