//! One backend under watch: where its judge has it, and what its checks last saw.

use std::sync::Arc;
use std::time::Duration;

use super::explanation::Kept;
use super::report::{Layer, Pace, Report};
use super::transcript::Transcript;
use crate::clock;
use crate::health::agenda::QuestionId;
use crate::health::incident::Toll;
use crate::health::judge::{Location, Past, PlannedCheck};
use crate::health::{State, Timing};
use crate::pool::{Backend, CheckStatus};

#[derive(Debug)]
pub(super) struct Watched {
    pub(super) backend: Arc<Backend>,
    /// Position of its pool, and its own there.
    pub(super) pool: usize,
    pub(super) position: usize,
    pub(super) checks: Vec<Watch>,
    /// Why its name has no address.
    pub(super) unresolved: Option<String>,
    pub(super) kind: Kind,
    /// What had been counted when all was still well.
    pub(super) calm: Toll,
}

/// Where its checks come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The configuration.
    Checked,
    /// Traffic: at most one knock.
    Unchecked,
}

/// One check of a backend.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) name: Arc<str>,
    pub(super) question: QuestionId,
    pub(super) timing: Timing,
    /// What a process before this one has seen of it.
    pub(super) past: Option<Past>,
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

    /// With the check and the layer, where there are any.
    pub(super) fn sentence(&self) -> String {
        let check = self.check.as_ref().map_or_else(String::new, |check| format!("check {check}: "));
        let layer = self.layer.map_or_else(String::new, |layer| format!("{}: ", layer.word()));
        format!("{check}{layer}{}", self.reason)
    }
}

impl Watch {
    pub(super) fn new(name: Arc<str>, question: QuestionId, timing: Timing) -> Self {
        Self { name, question, timing, past: None, last_good: None, last_bad: None }
    }

    pub(super) fn planned(&self) -> PlannedCheck {
        PlannedCheck { name: Arc::clone(&self.name), question: self.question, timing: self.timing, past: self.past }
    }

    pub(super) fn status(&self) -> CheckStatus {
        CheckStatus {
            name: Arc::clone(&self.name),
            state: self.timing.initial.state(),
            reason: Arc::from("not asked yet"),
            duration: Duration::ZERO,
            at: clock::millis(),
            certificate_expires: None,
        }
    }

    pub(super) fn keep(&mut self, kept: &Kept) {
        let last = if kept.report.result.is_ok() { &mut self.last_good } else { &mut self.last_bad };
        *last = Some(kept.clone());
    }

    /// The newest answer.
    pub(super) fn last(&self) -> Option<&Kept> {
        match (&self.last_good, &self.last_bad) {
            (Some(good), Some(bad)) => Some(if good.at > bad.at { good } else { bad }),
            (good, bad) => good.as_ref().or(bad.as_ref()),
        }
    }

    /// What the newest answer was, as the cause of a change.
    pub(super) fn cause(&self, note: Option<&str>) -> Cause {
        let Some(kept) = self.last() else { return Cause::said("it has not been asked yet") };
        let note = note.map_or_else(String::new, |note| format!(" ({note})"));
        let (layer, what) = match &kept.report.result {
            Ok(found) => (None, found.what.to_string()),
            Err(failure) => (Some(failure.layer), format!("{}{}", failure.what, slowness(failure.pace, &self.timing))),
        };
        let transcript = kept.report.transcript.clone();
        Cause { check: Some(Arc::clone(&self.name)), layer, reason: format!("{what}{note}"), transcript }
    }
}

/// What is said of a check that is asked less often because asking does harm.
pub(super) fn slowness(pace: Pace, timing: &Timing) -> String {
    match pace {
        Pace::Usual => String::new(),
        Pace::Slow => format!("; asked every {:?} only, since asking does harm", timing.slow_pace()),
    }
}

impl Watched {
    pub(super) fn new(backend: Arc<Backend>) -> Self {
        Self {
            backend,
            pool: 0,
            position: 0,
            checks: Vec::new(),
            unresolved: None,
            kind: Kind::Checked,
            calm: Toll::default(),
        }
    }

    /// Whether its address is known.
    pub(super) fn location(&self) -> Location {
        if self.unresolved.is_some() {
            Location::Nowhere
        } else if self.backend.site().is_none() {
            Location::Pending
        } else {
            Location::Known
        }
    }

    /// It has no checks but a knock that traffic brought.
    pub(super) fn is_knocked_at(&self) -> bool {
        self.kind == Kind::Unchecked && !self.checks.is_empty()
    }

    /// Shows what a check has found.
    pub(super) fn tell(&self, check: usize, state: State, report: &Report) {
        count(&self.backend, report);
        self.show(check, state, report);
    }

    /// The same for what is not an answer.
    pub(super) fn show(&self, check: usize, state: State, report: &Report) {
        let Some(watch) = self.checks.get(check) else { return };
        self.backend.update_check(check, |status| tell(status, state, report, &watch.timing));
    }
}

fn count(backend: &Backend, report: &Report) {
    match &report.result {
        Ok(_) => backend.probes.good.inc(),
        Err(failure) => backend.probes.bad[failure.layer.index()].inc(),
    }
    backend.probes.duration.observe(report.took);
}

fn tell(status: &mut CheckStatus, state: State, report: &Report, timing: &Timing) {
    status.state = state;
    match &report.result {
        // The same answer as last time, almost always.
        Ok(found) if *found.what == *status.reason => {}
        Ok(found) => status.reason = Arc::from(&*found.what),
        Err(failure) => status.reason = Arc::from(format!("{failure}{}", slowness(failure.pace, timing))),
    }
    status.duration = report.took;
    status.at = clock::millis();
    if report.transcript.certificate_expires.is_some() {
        status.certificate_expires = report.transcript.certificate_expires;
    }
}
