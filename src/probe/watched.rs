//! One backend under watch: its checks, and the verdict over them. Decides by `health`; touches no clock and no socket.

use std::sync::Arc;

use super::agenda::QuestionId;
use super::explanation::Kept;
use super::report::{Layer, Report};
use super::transcript::Transcript;
use crate::clock;
use crate::config::model::{Initial, Timing};
use crate::health::{Ejection, Sign, State, Streak, Symptom, evidence};
use crate::pool::{Backend, CheckStatus, Pool};

#[derive(Debug)]
pub(super) struct Watched {
    pub(super) backend: Arc<Backend>,
    /// The pool as the current table has it.
    pub(super) pool: Arc<Pool>,
    pub(super) checks: Vec<Watch>,
    pub(super) ejection: Ejection,
    /// Why its name has no address.
    pub(super) unresolved: Option<String>,
    /// What traffic says, until the probes that it brought have ended.
    pub(super) suspicion: Option<Symptom>,
}

/// One check of a backend.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) name: Arc<str>,
    pub(super) question: QuestionId,
    pub(super) streak: Streak,
    pub(super) timing: Timing,
    /// Evidence has brought a probe that has not ended.
    pub(super) suspected: bool,
    pub(super) last_good: Option<Kept>,
    pub(super) last_bad: Option<Kept>,
}

/// Why a verdict changed, for people.
#[derive(Debug)]
pub(super) struct Cause {
    pub(super) check: Option<Arc<str>>,
    pub(super) layer: Option<Layer>,
    pub(super) reason: String,
    /// What the probe did, where one decided.
    pub(super) transcript: Transcript,
}

impl Cause {
    /// No probe decided it.
    pub(super) fn said(reason: impl Into<String>) -> Self {
        Self { check: None, layer: None, reason: reason.into(), transcript: Transcript::default() }
    }
}

impl Watch {
    pub(super) fn new(name: Arc<str>, question: QuestionId, timing: Timing) -> Self {
        let streak = Streak::new(timing.rise.get(), timing.fall.get(), initial(timing.initial));
        Self { name, question, streak, timing, suspected: false, last_good: None, last_bad: None }
    }

    pub(super) fn status(&self) -> CheckStatus {
        CheckStatus {
            name: Arc::clone(&self.name),
            state: self.streak.state(),
            reason: Arc::from("not asked yet"),
            duration: std::time::Duration::ZERO,
            at: clock::millis(),
            certificate_expires: None,
        }
    }
}

/// The state that a check has before its first probe.
pub(super) fn initial(initial: Initial) -> State {
    match initial {
        Initial::Unknown => State::Unknown,
        Initial::Up => State::Up,
        Initial::Down => State::Down,
    }
}

impl Watched {
    pub(super) fn new(backend: Arc<Backend>, pool: Arc<Pool>) -> Self {
        Self { backend, pool, checks: Vec::new(), ejection: Ejection::default(), unresolved: None, suspicion: None }
    }

    /// What is to be said of the backend; unknown where nothing can be said yet.
    pub(super) fn verdict(&self) -> State {
        if self.unresolved.is_some() || self.ejection.is_out() {
            return State::Down;
        }
        if self.backend.socket_address().is_none() {
            return State::Unknown;
        }
        let state = |check: usize| self.checks.get(check).map_or(State::Unknown, |check| check.streak.state());
        if self.is_unchecked() {
            // At most the one knock that traffic brought.
            return if self.checks.is_empty() { State::Up } else { state(0) };
        }
        self.pool.config.policy.healthy_when.eval(&state)
    }

    /// The configuration has no check for it.
    pub(super) fn is_unchecked(&self) -> bool {
        self.pool.config.checks.is_empty()
    }

    /// Takes the answer to the question of one check: why the check flipped, if it did.
    pub(super) fn see(&mut self, check: usize, kept: &Kept) -> Option<Cause> {
        let (position, report) = (check, &*kept.report);
        let check = self.checks.get_mut(check)?;
        let last = if report.result.is_ok() { &mut check.last_good } else { &mut check.last_bad };
        *last = Some(kept.clone());
        let sign = if report.result.is_ok() { Sign::Good } else { Sign::Bad };
        let layer = report.result.as_ref().err().map(|failure| failure.layer);
        count(&self.backend, report);
        let suspected = std::mem::replace(&mut check.suspected, false);
        let mut agreed = false;
        // What the balancer lacked itself says nothing of the backend.
        let flip = if layer == Some(Layer::Local) {
            None
        } else {
            agreed = sign == Sign::Bad
                && self.suspicion.is_some_and(|symptom| evidence::agrees(symptom, self.backend.failures()));
            if agreed { check.streak.condemn() } else { check.streak.see(sign) }
        };
        let state = check.streak.state();
        let cause = flip.map(|_state| Cause {
            check: Some(Arc::clone(&check.name)),
            layer,
            reason: match &report.result {
                Ok(found) => found.what.to_string(),
                Err(failure) if agreed => format!("{} (traffic failed too)", failure.what),
                Err(failure) => failure.what.clone(),
            },
            transcript: report.transcript.clone(),
        });
        self.backend.update_check(position, |status| tell(status, state, report));
        if suspected {
            self.drop_settled_suspicion();
        }
        cause
    }

    /// No probe that evidence brought is left: traffic may bring another.
    pub(super) fn drop_settled_suspicion(&mut self) {
        if self.suspicion.is_some() && !self.checks.iter().any(|check| check.suspected) {
            self.suspicion = None;
            self.backend.evidence_taken();
        }
    }
}

fn count(backend: &Backend, report: &Report) {
    match &report.result {
        Ok(_) => backend.probes.good.inc(),
        Err(failure) => backend.probes.bad[failure.layer.index()].inc(),
    }
    backend.probes.duration.observe(report.took);
}

fn tell(status: &mut CheckStatus, state: State, report: &Report) {
    status.state = state;
    match &report.result {
        // The same answer as last time, almost always.
        Ok(found) if *found.what == *status.reason => {}
        Ok(found) => status.reason = Arc::from(&*found.what),
        Err(failure) => status.reason = Arc::from(failure.to_string()),
    }
    status.duration = report.took;
    status.at = clock::millis();
    if report.transcript.certificate_expires.is_some() {
        status.certificate_expires = report.transcript.certificate_expires;
    }
}
