//! PURE: what a backend's failure was, in figures: first signs, detection, out of rotation, recovery, and what it cost.
//!
//! The schedule of probes tells what happens to each backend; what comes out is one [`Incident`] for each fall of a
//! backend that was up. A sign alone is none: it is forgotten with the next good answer.
//!
//! # From when on does an incident cost?
//!
//! From the last good answer before it. Whoever hears of the first failure cannot say what was counted a moment before
//! or after it, on other threads; what was counted when all was still well is known.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// What has been counted of a backend and of its pool so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Toll {
    /// Requests and connections that failed for the client, with this backend as the last one that was tried.
    pub failed: u64,
    /// Attempts that failed at it and were made again elsewhere.
    pub retried: u64,
    /// Requests of its pool that waited because nobody could serve.
    pub held: u64,
    /// Connections, tunnels and answers that broke off or were cut.
    pub cut: u64,
}

impl Toll {
    /// What has been added since.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            failed: self.failed.saturating_sub(before.failed),
            retried: self.retried.saturating_sub(before.retried),
            held: self.held.saturating_sub(before.held),
            cut: self.cut.saturating_sub(before.cut),
        }
    }
}

/// Who saw a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Witness {
    /// A request or connection.
    Traffic,
    /// A probe.
    Probe,
}

/// What may be behind a fall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Nobody has ordered it.
    Failure,
    /// A drill.
    Drill,
}

impl Origin {
    /// The word in metrics and API.
    pub fn word(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Drill => "drill",
        }
    }
}

/// One failure of one backend. Moments are times since the program started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// Its pool.
    pub pool: Arc<str>,
    /// Its name.
    pub backend: Arc<str>,
    /// What is behind it.
    pub origin: Origin,
    /// Why it went down, in the words of the verdict.
    pub because: String,
    /// The first request that failed, or got no answer for suspiciously long, where traffic saw it.
    pub first_failed_request: Option<Duration>,
    /// The first probe that failed, where one did before the verdict.
    pub first_failed_probe: Option<Duration>,
    /// The verdict became down.
    pub detected: Duration,
    /// No request was given to it any more; `None`: some still are.
    pub out_of_rotation: Option<Duration>,
    /// The last request that failed.
    pub last_failed_request: Option<Duration>,
    /// The verdict became up again, or the backend left the configuration.
    pub ended: Option<(Duration, End)>,
    /// What was counted before it.
    pub before: Toll,
    /// What it has cost, once it has ended.
    pub toll: Toll,
}

/// How an incident ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The backend is up again.
    Recovered,
    /// It is in the configuration no more.
    Removed,
}

impl Incident {
    /// The first sign of it.
    pub fn began(&self) -> Duration {
        let signs = [self.first_failed_request, self.first_failed_probe].into_iter().flatten();
        signs.min().unwrap_or(self.detected).min(self.detected)
    }

    /// From the first sign to the verdict.
    pub fn detection(&self) -> Duration {
        self.detected.saturating_sub(self.began())
    }

    /// From the first sign until no request was given to it any more.
    pub fn rotation(&self) -> Option<Duration> {
        Some(self.out_of_rotation?.saturating_sub(self.began()))
    }

    /// From the first sign to the end.
    pub fn duration(&self) -> Option<Duration> {
        Some(self.ended?.0.saturating_sub(self.began()))
    }
}

/// Keeps the accounts: one entry for each backend that shows signs or is down, so never more than there are backends.
#[derive(Debug, Default)]
pub struct Accountant {
    signs: HashMap<u64, Signs>,
    open: HashMap<u64, Incident>,
}

/// What was seen of a backend that is still up.
#[derive(Debug, Clone, Copy)]
struct Signs {
    request: Option<Duration>,
    probe: Option<Duration>,
}

/// A fall, as its verdict says it.
#[derive(Debug, Clone)]
pub struct Fall {
    /// The pool.
    pub pool: Arc<str>,
    /// The backend.
    pub backend: Arc<str>,
    /// What is behind it.
    pub origin: Origin,
    /// Why.
    pub because: String,
    /// What had been counted at the last good answer.
    pub before: Toll,
}

impl Accountant {
    /// A failure was seen at a backend, by its number.
    pub fn saw(&mut self, id: u64, witness: Witness, at: Duration) {
        if self.open.contains_key(&id) {
            return;
        }
        let signs = self.signs.entry(id).or_insert(Signs { request: None, probe: None });
        let first = match witness {
            Witness::Traffic => &mut signs.request,
            Witness::Probe => &mut signs.probe,
        };
        first.get_or_insert(at);
    }

    /// It has given a good answer while it is up: signs of before meant nothing.
    pub fn calm(&mut self, id: u64) {
        if !self.signs.is_empty() {
            self.signs.remove(&id);
        }
    }

    /// It was up, and is down.
    pub fn fell(&mut self, id: u64, fall: Fall, now: Duration) {
        let signs = self.signs.remove(&id).unwrap_or(Signs { request: None, probe: None });
        let Fall { pool, backend, origin, because, before } = fall;
        self.open.entry(id).or_insert(Incident {
            pool,
            backend,
            origin,
            because,
            first_failed_request: signs.request,
            first_failed_probe: signs.probe,
            detected: now,
            out_of_rotation: None,
            last_failed_request: None,
            ended: None,
            before,
            toll: Toll::default(),
        });
    }

    /// No request is given to it any more.
    pub fn left_rotation(&mut self, id: u64, now: Duration) {
        if let Some(incident) = self.open.get_mut(&id) {
            incident.out_of_rotation.get_or_insert(now);
        }
    }

    /// It is up again, or gone. `last_failure`: when traffic last failed there.
    pub fn ended(
        &mut self,
        id: u64,
        end: End,
        toll: Toll,
        last_failure: Option<Duration>,
        now: Duration,
    ) -> Option<Incident> {
        self.signs.remove(&id);
        let mut incident = self.open.remove(&id)?;
        incident.last_failed_request = last_failure.filter(|last| *last >= incident.began());
        incident.toll = toll.since(incident.before);
        incident.ended = Some((now, end));
        Some(incident)
    }

    /// Incidents that have not ended.
    pub fn open(&self) -> impl Iterator<Item = (u64, &Incident)> {
        self.open.iter().map(|(id, incident)| (*id, incident))
    }

    /// Whether something was seen of it that may become one.
    pub fn has_signs(&self, id: u64) -> bool {
        self.signs.contains_key(&id)
    }

    /// Whether a backend is in one.
    pub fn is_open(&self, id: u64) -> bool {
        self.open.contains_key(&id)
    }

    /// Forgets signs of backends that are there no more.
    pub fn forget_signs(&mut self, stays: impl Fn(u64) -> bool) {
        self.signs.retain(|id, _| stays(*id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn fall(before: Toll) -> Fall {
        let (pool, backend) = ("portal".into(), "p1".into());
        Fall { pool, backend, origin: Origin::Failure, because: "connection refused".to_owned(), before }
    }

    #[test]
    fn an_incident_runs_from_its_first_sign_to_the_recovery() {
        let mut accountant = Accountant::default();
        let before = Toll { failed: 2, retried: 10, held: 1, cut: 0 };
        accountant.saw(7, Witness::Traffic, at(1_000));
        accountant.saw(7, Witness::Traffic, at(1_001));
        accountant.saw(7, Witness::Probe, at(1_003));
        accountant.fell(7, fall(before), at(1_004));
        accountant.left_rotation(7, at(1_005));
        accountant.left_rotation(7, at(2_000));
        accountant.saw(7, Witness::Probe, at(1_500));
        assert!(accountant.is_open(7));
        let toll = Toll { failed: 2, retried: 15, held: 1, cut: 3 };
        let done = accountant.ended(7, End::Recovered, toll, Some(at(1_010)), at(9_000)).unwrap();
        assert_eq!((done.detection(), done.rotation(), done.duration()), (at(4), Some(at(5)), Some(at(8_000))));
        assert_eq!(done.first_failed_probe, Some(at(1_003)));
        assert_eq!(done.last_failed_request, Some(at(1_010)));
        assert_eq!(done.toll, Toll { failed: 0, retried: 5, held: 0, cut: 3 });
        assert_eq!(accountant.ended(7, End::Recovered, toll, None, at(9_001)), None, "it ends once");
    }

    #[test]
    fn a_sign_that_a_good_answer_follows_is_no_part_of_what_comes_later() {
        let mut accountant = Accountant::default();
        accountant.saw(1, Witness::Probe, at(10));
        accountant.calm(1);
        accountant.fell(1, fall(Toll::default()), at(500));
        let done = accountant.ended(1, End::Removed, Toll::default(), Some(at(20)), at(600)).unwrap();
        assert_eq!((done.first_failed_probe, done.detection()), (None, at(0)));
        assert_eq!(done.last_failed_request, None, "that was before it");
        assert_eq!(done.rotation(), None, "it got work to its end");
        assert_eq!(done.ended, Some((at(600), End::Removed)));
    }

    #[test]
    fn a_second_verdict_changes_nothing_of_the_first() {
        let mut accountant = Accountant::default();
        accountant.fell(1, fall(Toll::default()), at(5));
        accountant.fell(1, fall(Toll { failed: 9, ..Toll::default() }), at(50));
        assert_eq!(accountant.open().map(|(id, it)| (id, it.detected)).collect::<Vec<_>>(), [(1, at(5))]);
    }
}
