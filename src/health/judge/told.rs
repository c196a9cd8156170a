//! What a judge tells whoever asks: verdicts, alarms, and what is remarked on beside them. Changes nothing.

use std::sync::Arc;
use std::time::Duration;

use super::case::Case;
use super::{Alarm, Disagreement, Judge, Mode, Mood, Source, State, Urgency, Verdict};
use crate::health::{Says, Streak};

impl Judge {
    /// Whether [`Judge::conclude`] has something to do before [`Judge::due`].
    pub fn is_restless(&self) -> bool {
        self.mood == Mood::Restless || !self.actions.is_empty()
    }

    /// When time alone changes something.
    pub fn due(&self) -> Option<Duration> {
        self.due
    }

    /// Whether traffic is to be sampled once a second: where the policy looks at it, and where no answer to a check
    /// would tell that what failed is well again.
    pub fn wants_samples(&self) -> bool {
        let fails = |case: &Case| case.disagreement == Some(Disagreement::TrafficFails) && case.checks.is_empty();
        self.policy.wants_samples() || self.cases.iter().any(fails)
    }

    /// How urgently the pool wants to know.
    pub fn urgency(&self) -> Urgency {
        // What has just been heard may have cost the leader its place.
        let unsure = self.place.holder.is_none() || self.mood == Mood::Restless;
        let searching = unsure && matches!(self.policy.mode, Mode::Leader(_));
        if searching && self.source != Source::Followed { Urgency::Searching } else { Urgency::Usual }
    }

    /// What the row of answers makes of a check, and what its last good answer said.
    pub fn check(&self, backend: usize, check: usize) -> Option<(&Streak, Says)> {
        let check = self.cases.get(backend)?.checks.get(check)?;
        Some((&check.streak, check.says))
    }

    /// What was last decided of a backend.
    pub fn verdict(&self, backend: usize) -> Verdict {
        self.cases.get(backend).map_or(Verdict::UNKNOWN, |case| case.verdict)
    }

    /// Whether a backend has checks, perhaps only a knock.
    pub fn is_checked(&self, backend: usize) -> bool {
        self.cases.get(backend).is_some_and(|case| !case.checks.is_empty())
    }

    /// Why a backend is what it is beyond its checks, the weightiest first.
    pub fn remarks(&self, backend: usize, now: Duration) -> Vec<String> {
        let Some(case) = self.cases.get(backend) else { return Vec::new() };
        let mut remarks = case.remarks(now);
        remarks.extend(self.remark_on_place(backend));
        remarks
    }

    /// Until when a backend is out because of traffic, and why.
    pub fn ejected(&self, backend: usize) -> Option<(Duration, &str)> {
        let case = self.cases.get(backend)?;
        Some((case.ejection.until()?, &case.ejected_for))
    }

    /// Until when a backend is out because it went up and down too often.
    pub fn held(&self, backend: usize) -> Option<Duration> {
        self.cases.get(backend)?.steady.held()
    }

    /// How probes and traffic contradict each other.
    pub fn disagreement(&self, backend: usize) -> Option<Disagreement> {
        self.cases.get(backend)?.disagreement
    }

    /// Failed share of a backend's requests in the window, where it is known.
    pub fn error_share(&self, backend: usize) -> Option<f32> {
        self.cases.get(backend)?.traffic.error_share()
    }

    /// Who has the work of a pool with one active backend.
    pub fn holder(&self) -> Option<&Arc<str>> {
        self.cases.get(self.place.holder?).map(|case| &case.name)
    }

    /// Who has it or had it last.
    pub fn incumbent(&self) -> Option<&Arc<str>> {
        self.cases.get(self.place.incumbent?).map(|case| &case.name)
    }

    /// The alarms that are raised.
    pub fn alarms(&self) -> &[Alarm] {
        self.alarms.list()
    }

    /// Backends that are up.
    pub fn up(&self) -> usize {
        self.cases.iter().filter(|case| case.verdict.state == State::Up).count()
    }

    /// Backends without a verdict.
    pub fn unsettled(&self) -> usize {
        self.cases.iter().filter(|case| case.verdict.state == State::Unknown).count()
    }
}
