//! The incidents of this run, for API, page and metrics: those that go on, the last ones that have ended, and what
//! they add up to for each pool.
//!
//! Written by the schedule of probes, read by the admin port. Nothing of it is on the path of a request.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Backend, Pool};
use crate::health::incident::{Incident, Origin, Toll};
use crate::metrics::BackendStats;

/// Ended incidents that are kept; the oldest leaves first.
pub const MAX_INCIDENTS: usize = 500;

/// Upper bounds of what passes from the first sign to detection, and until a backend is out of rotation, microseconds.
pub const REACTION_BOUNDS_MICROS: &[u64] = &[
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 30_000_000, 60_000_000,
];

/// The same of whole incidents.
pub const DURATION_BOUNDS_MICROS: &[u64] = &[
    1_000_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    600_000_000,
    1_800_000_000,
    3_600_000_000,
    14_400_000_000,
    86_400_000_000,
];

/// Times by their buckets.
#[derive(Debug, Clone)]
pub struct Spread {
    /// Upper bounds, microseconds.
    pub bounds_micros: &'static [u64],
    /// So many in each, and one more for what is longer; not cumulative.
    pub counts: Vec<u64>,
    /// Sum of all.
    pub sum: Duration,
}

impl Spread {
    fn new(bounds_micros: &'static [u64]) -> Self {
        Self { bounds_micros, counts: vec![0; bounds_micros.len() + 1], sum: Duration::ZERO }
    }

    fn add(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = self.bounds_micros.partition_point(|bound| *bound < micros);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.sum += time;
    }
}

/// What the incidents of one pool and one origin add up to.
#[derive(Debug, Clone)]
pub struct Figures {
    /// Incidents that began.
    pub begun: u64,
    /// From the first sign to the verdict.
    pub detection: Spread,
    /// From the first sign until no request was given to the backend any more.
    pub rotation: Spread,
    /// From the first sign to the end.
    pub duration: Spread,
    /// What those that have ended have cost.
    pub toll: Toll,
}

impl Figures {
    fn new() -> Self {
        Self {
            begun: 0,
            detection: Spread::new(REACTION_BOUNDS_MICROS),
            rotation: Spread::new(REACTION_BOUNDS_MICROS),
            duration: Spread::new(DURATION_BOUNDS_MICROS),
            toll: Toll::default(),
        }
    }
}

/// An incident with its number, counted from 1 since the start.
#[derive(Debug, Clone)]
pub struct Numbered {
    /// Its number.
    pub number: u64,
    /// What it is.
    pub incident: Incident,
}

/// The incidents.
#[derive(Debug, Default)]
pub struct Incidents(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    last: u64,
    open: HashMap<u64, Numbered>,
    ended: VecDeque<Numbered>,
    figures: HashMap<(Arc<str>, Origin), Figures>,
}

impl Incidents {
    /// One has begun, or is further on. `id` is the backend's number.
    pub fn goes_on(&self, id: u64, incident: &Incident) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.open.get_mut(&id) {
            known.incident.clone_from(incident);
            return;
        }
        kept.last += 1;
        let number = kept.last;
        kept.open.insert(id, Numbered { number, incident: incident.clone() });
        let figures = kept.figures_of(incident);
        figures.begun += 1;
        figures.detection.add(incident.detection());
    }

    /// It has ended; its number.
    pub fn ended(&self, id: u64, incident: Incident) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Numbered { number, .. }) = kept.open.remove(&id) else { return };
        let figures = kept.figures_of(&incident);
        incident.rotation().into_iter().for_each(|time| figures.rotation.add(time));
        incident.duration().into_iter().for_each(|time| figures.duration.add(time));
        figures.toll.failed += incident.toll.failed;
        figures.toll.retried += incident.toll.retried;
        figures.toll.held += incident.toll.held;
        figures.toll.cut += incident.toll.cut;
        if kept.ended.len() == MAX_INCIDENTS {
            kept.ended.pop_front();
        }
        kept.ended.push_back(Numbered { number, incident });
    }

    /// All that are kept, by their numbers.
    pub fn list(&self) -> Vec<Numbered> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = kept.ended.iter().chain(kept.open.values()).cloned().collect();
        all.sort_unstable_by_key(|numbered| numbered.number);
        all
    }

    /// What they add up to, by pool and origin; nothing of pools that have had none.
    pub fn figures(&self) -> Vec<(Arc<str>, Origin, Figures)> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = kept.figures.iter();
        let mut all: Vec<_> = all.map(|((pool, origin), it)| (Arc::clone(pool), *origin, it.clone())).collect();
        all.sort_by(|a, b| (&a.0, a.1.word()).cmp(&(&b.0, b.1.word())));
        all
    }

    /// Those of pools that are there no more add up no further.
    pub fn forget_pools(&self, stays: impl Fn(&str) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).figures.retain(|(pool, _), _| stays(pool));
    }
}

impl Kept {
    fn figures_of(&mut self, incident: &Incident) -> &mut Figures {
        self.figures.entry((Arc::clone(&incident.pool), incident.origin)).or_insert_with(Figures::new)
    }
}

/// What has been counted of a backend and of its pool so far.
pub fn toll(pool: &Pool, backend: &Backend) -> Toll {
    let sum = |counter: fn(&BackendStats) -> &crate::metrics::Counter| backend.stats.sum_here(counter);
    Toll {
        failed: sum(|it| &it.lost),
        retried: sum(|it| &it.retried),
        held: pool.stats.sum_here(|it| &it.held),
        cut: sum(|it| &it.cut) + sum(|it| &it.broken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::incident::End;

    fn incident(began: u64) -> Incident {
        let at = Duration::from_millis;
        Incident {
            pool: "portal".into(),
            backend: "p1".into(),
            origin: Origin::Failure,
            because: String::new(),
            first_failed_request: Some(at(began)),
            first_failed_probe: None,
            detected: at(began + 3),
            out_of_rotation: Some(at(began + 4)),
            last_failed_request: None,
            ended: None,
            before: Toll::default(),
            toll: Toll { failed: 1, ..Toll::default() },
        }
    }

    #[test]
    fn incidents_are_numbered_added_up_and_kept_within_bounds() {
        let incidents = Incidents::default();
        for number in 0..MAX_INCIDENTS as u64 + 3 {
            let one = incident(number * 10);
            incidents.goes_on(1, &one);
            incidents.goes_on(1, &one);
            let ended = Some((one.detected + Duration::from_secs(2), End::Recovered));
            incidents.ended(1, Incident { ended, ..one });
        }
        incidents.goes_on(2, &incident(9));
        let list = incidents.list();
        assert_eq!(list.len(), MAX_INCIDENTS + 1);
        assert_eq!((list[0].number, list[MAX_INCIDENTS].number), (4, MAX_INCIDENTS as u64 + 4));
        let figures = incidents.figures();
        assert_eq!(figures.len(), 1);
        let (_, origin, figures) = &figures[0];
        assert_eq!((*origin, figures.begun, figures.toll.failed), (Origin::Failure, 504, 503));
        assert_eq!(figures.detection.counts[2], 504, "3 ms is in the bucket up to 5 ms");
        assert_eq!(figures.rotation.counts.iter().sum::<u64>(), 503, "one is not over");
        assert_eq!(figures.duration.counts[1], 503, "2 s and a little are in the bucket up to 5 s");
        incidents.forget_pools(|_| false);
        assert!(incidents.figures().is_empty());
    }
}
