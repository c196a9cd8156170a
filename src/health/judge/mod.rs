//! The judge of one pool: takes what happens, with the time, and says what follows. Sans-IO: no socket, clock, task or
//! global; the schedule of probes and the simulation drive the same code.
//!
//! Events are cheap: one backend is looked at, and the pool is marked where something has changed that a verdict
//! depends on. [`Judge::conclude`] then looks at the whole pool once, however much has happened since: states, who has
//! the work, who serves what, alarms. Times are durations since any fixed moment, the same for all calls.

mod action;
mod alarm;
mod case;
mod leader;
mod outliers;
mod place;
mod plan;
mod ramp;
mod serving;
mod steady;
mod succession;
mod told;
mod traffic;
mod verdicts;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;

pub use action::{Action, Because, Disagreement};
pub use alarm::{Alarm, AlarmKind};
pub use case::Answer;
pub use plan::{Leave, Location, Orders, Past, Plan, Planned, PlannedCheck, Rank, Source};
pub use traffic::{InARow, Tally};

use alarm::Alarms;
use case::{Case, Heard, Kept};
use outliers::Outlier;
use place::Place;
use serving::Standpoint;

use super::evidence::deserves_knock;
use super::{Failover, Mode, Policy, ProbeFails, Role, State, Symptom, TrafficFails, Urgency, Verdict};

/// Decides for one pool.
#[derive(Debug)]
pub struct Judge {
    policy: Policy,
    source: Source,
    cases: Vec<Case>,
    /// Positions in the order of succession.
    order: Vec<usize>,
    place: Place,
    alarms: Alarms,
    actions: Vec<Action>,
    mood: Mood,
    /// When time alone changes something.
    due: Option<Duration>,
    /// When shares alone were last changed.
    shares_changed: Option<Duration>,
}

/// Whether something has happened since the last conclusion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Calm,
    Restless,
}

/// What is to be done about a failure of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Response {
    /// Nothing.
    Nothing,
    /// Its checks are to be asked.
    Probe,
    /// It has no checks: knock at its port.
    Knock,
}

impl Judge {
    /// A judge who knows nothing yet. `incumbent` names the active one of before, where somebody remembers.
    pub fn new(plan: Plan, incumbent: Option<&str>, now: Duration) -> Self {
        let cases: Vec<Case> = plan.backends.iter().map(Case::new).collect();
        let incumbent = incumbent.and_then(|name| cases.iter().position(|case| *case.name == *name));
        let place = Place::new(incumbent, now);
        let mut judge = Self {
            policy: plan.policy,
            source: plan.source,
            order: Vec::new(),
            cases,
            place,
            alarms: Alarms::default(),
            actions: Vec::new(),
            mood: Mood::Restless,
            due: None,
            shares_changed: None,
        };
        judge.put_in_order();
        judge
    }

    /// A new configuration of the same pool: what is the same goes on as it was.
    pub fn replan(&mut self, plan: Plan, now: Duration) {
        let names: Vec<Arc<str>> = self.cases.iter().map(|case| Arc::clone(&case.name)).collect();
        let mut known: HashMap<u64, Case, FixedState> = self.cases.drain(..).map(|case| (case.id, case)).collect();
        let case = |planned: &Planned| match known.remove(&planned.id) {
            Some(mut case) => {
                case.replan(planned);
                case
            }
            None => Case::new(planned),
        };
        self.cases = plan.backends.iter().map(case).collect();
        for at in 0..self.cases.len() {
            self.end_evidence(at, Case::forget_settled_suspicion);
        }
        let cases = &self.cases;
        let find = |at: usize| names.get(at).and_then(|name| cases.iter().position(|case| case.name == *name));
        self.place.move_to(find, now);
        (self.policy, self.source) = (plan.policy, plan.source);
        self.put_in_order();
        self.mood = Mood::Restless;
    }

    fn put_in_order(&mut self) {
        self.order = (0..self.cases.len()).collect();
        self.order.sort_by_key(|at| (self.cases[*at].standing as u8, *at));
    }

    // === what happens ===

    /// The answer to one check of one backend has come. `row` is what traffic says of it just then, `tally` its
    /// counters; they are wanted with bad answers.
    pub fn probed(
        &mut self,
        (backend, check): (usize, usize),
        answer: Answer,
        row: InARow,
        tally: Option<Tally>,
        now: Duration,
    ) {
        let window = if self.policy.wants_samples() { self.policy.outliers.window } else { traffic::FOR_EVER };
        let Some(case) = self.cases.get_mut(backend) else { return };
        if let Some(tally) = tally {
            case.traffic.add(tally, now, window);
        }
        let heard = case.hear(check, answer, row, now);
        self.end_evidence(backend, |case| case.evidence_ends(check));
        // Each answer may confirm that there are two leaders.
        if heard == Heard::Something || self.place.conflict.is_some() {
            self.mood = Mood::Restless;
        }
    }

    /// A probe that evidence has brought gets no answer either, for much longer than usual; it still may. Whether that is
    /// enough.
    ///
    /// With traffic that gets no answer at the same time, it is: two witnesses agree that nobody is there, and the rest of
    /// the probe's time would only be lost. Under load that makes everything slow, some answers still come, and
    /// each of them ends the row of what traffic holds against the backend.
    pub fn silent(&mut self, (backend, check): (usize, usize), row: InARow) -> bool {
        let condemned = self.cases.get_mut(backend).is_some_and(|case| case.silent(check, row));
        if condemned {
            self.mood = Mood::Restless;
        }
        condemned
    }

    /// A request or connection failed at a backend: what is to be done. Where that is a probe, and the budget allows
    /// it, [`Judge::suspect`] follows.
    pub fn traffic_failed(&mut self, backend: usize, symptom: Symptom, row: InARow, now: Duration) -> Response {
        let source = self.source;
        let Some(case) = self.cases.get_mut(backend) else { return Response::Nothing };
        // One that is down is asked anyway, and one that is unknown is being asked.
        if case.verdict.state != State::Up {
            return Response::Nothing;
        }
        let vouched = case.traffic_failed(row);
        let unchecked = source == Source::Traffic && case.checks.is_empty();
        let response = match source {
            _ if unchecked && deserves_knock(symptom, row.suspicions) => Response::Knock,
            _ if unchecked => Response::Nothing,
            _ => Response::Probe,
        };
        // What a probe could tell is asked first: most failures in a row are a death, and that is no matter of traffic.
        let answered = matches!(symptom, Symptom::BadAnswer | Symptom::Status);
        if (vouched || answered || response == Response::Nothing)
            && let Some(outlier) = outliers::by_failures(&self.policy.outliers, row.failures, symptom)
        {
            self.speak_against(backend, &outlier, now);
        }
        response
    }

    /// Traffic brings probes of this backend: what they find counts more.
    pub fn suspect(&mut self, backend: usize, symptom: Symptom) {
        if let Some(case) = self.cases.get_mut(backend) {
            case.suspect(symptom);
        }
    }

    /// A backend without checks is asked whether its port is open; that is its only check from now on.
    pub fn knock(&mut self, backend: usize, check: &PlannedCheck) {
        if let Some(case) = self.cases.get_mut(backend) {
            case.knock(check);
            self.mood = Mood::Restless;
        }
    }

    /// Its port is open: it is one without checks again.
    pub fn stop_knocking(&mut self, backend: usize) {
        self.end_evidence(backend, Case::stop_knocking);
        if let Some(case) = self.cases.get_mut(backend) {
            case.because = Because::said("its port is open");
        }
        self.mood = Mood::Restless;
    }

    /// A sample of one backend's traffic, once a second where [`Judge::wants_samples`].
    pub fn sampled(&mut self, backend: usize, tally: Tally, row: InARow, now: Duration) {
        let window = self.policy.outliers.window;
        let Some(case) = self.cases.get_mut(backend) else { return };
        case.traffic.add(tally, now, window);
        case.traffic.row = row;
        // It stays as long as traffic is fine, and comes back when it is fine again.
        let doubtful = self.policy.disagree.probe_fails == ProbeFails::Keep && case.kept == Kept::Yes;
        if doubtful || case.disagreement == Some(Disagreement::TrafficFails) {
            self.mood = Mood::Restless;
        }
    }

    /// All backends have been sampled: who stands out?
    pub fn weigh_samples(&mut self, now: Duration) {
        let rules = &self.policy.outliers;
        let is_up = |case: &Case| case.verdict.state == State::Up;
        let seen: Vec<_> = self.cases.iter().map(|case| case.traffic.seen().filter(|_| is_up(case))).collect();
        let by_errors = |(at, case): (usize, &Case)| {
            seen.get(at)?.as_ref()?;
            Some((at, outliers::by_errors(rules, &case.traffic)?))
        };
        let mut found: Vec<(usize, Outlier)> = self.cases.iter().enumerate().filter_map(by_errors).collect();
        found.extend(outliers::by_latency(rules, &seen));
        for (backend, outlier) in found {
            if self.cases.get(backend).is_some_and(is_up) {
                self.speak_against(backend, &outlier, now);
            }
        }
    }

    /// Where the name of a backend points has changed.
    pub fn located(&mut self, backend: usize, location: Location, because: impl Into<String>) {
        if let Some(case) = self.cases.get_mut(backend) {
            case.location = location;
            case.because = Because::said(because.into());
            self.mood = Mood::Restless;
        }
    }

    /// What operators want, for each backend by position; `because` names who and why.
    pub fn ordered(&mut self, backend: usize, orders: Orders, because: impl FnOnce() -> String) {
        let Some(case) = self.cases.get_mut(backend) else { return };
        if case.orders != orders {
            case.orders = orders;
            case.because = Because::said(because());
            self.mood = Mood::Restless;
        }
    }

    /// The pool that this one follows has decided.
    pub fn followed(&mut self, backend: usize, verdict: Verdict) {
        let Some(case) = self.cases.get_mut(backend) else { return };
        if case.followed != Some(verdict) {
            case.followed = Some(verdict);
            case.because = Because::said("the pool that it follows has decided so");
            self.mood = Mood::Restless;
        }
    }

    // === inside ===

    fn end_evidence(&mut self, backend: usize, end: impl FnOnce(&mut Case) -> Option<Symptom>) {
        if self.cases.get_mut(backend).and_then(end).is_some() {
            self.actions.push(Action::EvidenceTaken(backend));
        }
    }

    /// Traffic speaks against a backend whose probes are fine: it leaves for a while, or that is only said.
    fn speak_against(&mut self, backend: usize, outlier: &Outlier, now: Duration) {
        let may_leave = self.policy.disagree.traffic_fails == TrafficFails::Eject && self.may_eject(backend);
        let policy = &self.policy;
        let Some(case) = self.cases.get_mut(backend) else { return };
        if case.ejection.is_out() {
            return;
        }
        if !matches!(outlier, Outlier::Latency { .. }) {
            if case.disagreement != Some(Disagreement::TrafficFails) {
                self.mood = Mood::Restless;
            }
            case.disagreement = Some(Disagreement::TrafficFails);
        }
        if may_leave {
            case.eject(policy, outlier.to_string(), now);
            self.mood = Mood::Restless;
        }
    }

    /// Never more than the set share, and never one without whom nobody is left.
    fn may_eject(&self, backend: usize) -> bool {
        let out = self.cases.iter().filter(|case| case.ejection.is_out()).count();
        out < outliers::most_ejected(&self.policy.outliers, self.cases.len()) && self.others(backend) > 0
    }

    /// How many others could take over what a backend does.
    fn others(&self, backend: usize) -> usize {
        let works = |case: &Case| case.verdict.serves.work();
        let is_worker = self.cases.get(backend).is_some_and(works);
        let stands = |case: &Case| case.verdict.state == State::Up && !case.is_kept_out();
        let takes_over = |case: &&Case| {
            if !is_worker {
                return stands(case);
            }
            match (self.source, &self.policy.mode) {
                (Source::Followed, _) => stands(case) && works(case),
                (_, Mode::ActiveActive) => stands(case) && case.role() != Some(Role::Standby),
                // The truth lies with the backends: traffic cannot make another one the leader.
                (_, Mode::Leader(_)) => false,
                (_, Mode::ActiveStandby(rules)) => {
                    rules.failover == Failover::Automatic && stands(case) && place::is_fit(case)
                }
            }
        };
        self.cases.iter().enumerate().filter(|(at, case)| *at != backend && takes_over(case)).count()
    }

    fn field(&self) -> Vec<Standpoint> {
        self.cases.iter().map(Case::standpoint).collect()
    }
}
