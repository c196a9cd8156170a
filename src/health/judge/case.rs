//! What a judge knows of one backend: its checks, what traffic and operators say, and what follows for it alone.

use std::borrow::Cow;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use super::action::{Because, Disagreement};
use super::plan::{Leave, Location, Orders, Planned, PlannedCheck, Rank, Source};
use super::ramp::Ramp;
use super::serving::Standpoint;
use super::steady::{Rules, Steady};
use super::traffic::{InARow, Traffic};
use crate::health::{
    Ejection, Policy, ProbeFails, Role, Says, Sign, Standing, State, Streak, Symptom, Verdict, Wish, evidence,
};

/// Shares that checks tell are rounded to steps of so many percent: each change lays out anew what may serve.
const SHARE_STEP: u16 = 5;
/// More than ten times the configured weight says nothing more.
const SHARE_MAX: u16 = 1_000;

#[derive(Debug)]
pub(super) struct Case {
    pub(super) id: u64,
    pub(super) name: Arc<str>,
    pub(super) standing: Standing,
    pub(super) checks: Vec<Checked>,
    pub(super) location: Location,
    /// What the pool that this one follows says of it.
    pub(super) followed: Option<Verdict>,
    pub(super) orders: Orders,
    /// The deadline of a drain that was kept already.
    pub(super) cut: Option<Duration>,
    pub(super) steady: Steady,
    pub(super) ejection: Ejection,
    /// Why it is out.
    pub(super) ejected_for: String,
    pub(super) traffic: Traffic,
    /// What traffic says, until the probes that it brought have ended.
    suspicion: Option<Symptom>,
    /// A probe was good although traffic had failed.
    vouched: Vouched,
    pub(super) disagreement: Option<Disagreement>,
    /// What was last said of that.
    pub(super) told: Option<Disagreement>,
    /// Up because traffic is fine, although its probes fail.
    pub(super) kept: Kept,
    pub(super) ramp: Option<Ramp>,
    /// Since when it may have the work of a pool with one active backend.
    pub(super) fit_since: Option<Duration>,
    /// When it last answered well.
    pub(super) heard: Duration,
    /// What was last decided.
    pub(super) verdict: Verdict,
    /// What happened last that could change it.
    pub(super) because: Because,
}

/// One check of a backend.
#[derive(Debug)]
pub(super) struct Checked {
    name: Arc<str>,
    question: u64,
    pub(super) streak: Streak,
    /// What its last good answer said, while it is up.
    pub(super) says: Says,
    /// Evidence has brought a probe that has not ended.
    suspected: Suspected,
}

/// The answer to one probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is good, and says this.
    Good(Says),
    /// It is bad.
    Bad,
    /// The balancer could not ask: this says nothing of the backend.
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Suspected {
    No,
    Yes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vouched {
    No,
    Yes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    No,
    Yes,
}

/// What an answer has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing that a verdict depends on.
    Nothing,
    /// Something: the pool is to be looked at.
    Something,
}

impl Checked {
    fn new(planned: &PlannedCheck) -> Self {
        let streak = planned.timing.streak();
        let (streak, says) = match planned.past {
            Some(past) => (streak.resumed(past.state, past.against), past.says),
            None => (streak, Says::default()),
        };
        Self { name: Arc::clone(&planned.name), question: planned.question, streak, says, suspected: Suspected::No }
    }

    /// As it was; its streak goes on by the new numbers.
    fn carried_over(mut self, planned: &PlannedCheck) -> Self {
        self.streak.retune(planned.timing.rise.get(), planned.timing.fall.get());
        self
    }

    fn is_up(&self) -> bool {
        self.streak.state() == State::Up
    }
}

impl Case {
    pub(super) fn new(planned: &Planned) -> Self {
        let known = match planned.stands.state {
            State::Unknown => State::Unknown,
            State::Down => State::Down,
            _ => State::Up,
        };
        Self {
            id: planned.id,
            name: Arc::clone(&planned.name),
            standing: planned.standing,
            checks: planned.checks.iter().map(Checked::new).collect(),
            location: planned.location,
            followed: None,
            orders: Orders::default(),
            cut: None,
            steady: Steady::new(known),
            ejection: Ejection::default(),
            ejected_for: String::new(),
            traffic: Traffic::default(),
            suspicion: None,
            vouched: Vouched::No,
            disagreement: None,
            told: None,
            kept: Kept::No,
            ramp: None,
            fit_since: None,
            heard: Duration::ZERO,
            verdict: planned.stands,
            because: Because::said("it is new"),
        }
    }

    /// A new configuration: what is the same goes on.
    pub(super) fn replan(&mut self, planned: &Planned) {
        self.name = Arc::clone(&planned.name);
        self.standing = planned.standing;
        self.location = planned.location;
        let mut old = std::mem::take(&mut self.checks);
        let check = |planned: &PlannedCheck| {
            let same = |known: &Checked| known.name == planned.name && known.question == planned.question;
            match old.iter().position(same) {
                Some(at) => old.swap_remove(at).carried_over(planned),
                None => Checked::new(planned),
            }
        };
        self.checks = planned.checks.iter().map(check).collect();
        self.because = Because::said("the configuration has changed");
    }

    // === what happens ===

    /// Takes the answer to one check.
    pub(super) fn hear(&mut self, at: usize, answer: Answer, row: InARow, now: Duration) -> Heard {
        self.traffic.row = row;
        let suspicion = self.suspicion;
        let Some(check) = self.checks.get_mut(at) else { return Heard::Nothing };
        let mut note = None;
        let flip = match answer {
            Answer::Lost => None,
            Answer::Good(_) => check.streak.see(Sign::Good),
            Answer::Bad if suspicion.is_some_and(|symptom| evidence::agrees(symptom, row.suspicions)) => {
                note = Some(Cow::Borrowed("traffic failed too"));
                check.streak.condemn()
            }
            Answer::Bad => check.streak.see(Sign::Bad),
        };
        let mut heard = if flip.is_some() { Heard::Something } else { Heard::Nothing };
        if check.is_up() {
            if let Answer::Good(says) = answer
                && check.says != says
            {
                check.says = says;
                heard = Heard::Something;
            }
        } else {
            check.says = Says::default();
        }
        if heard == Heard::Something {
            self.because = Because::Check(at, note);
        }
        if let Answer::Good(_) = answer {
            self.heard = now;
            if row.failures > 0 {
                self.vouched = Vouched::Yes;
            }
        }
        if row.failures == 0 && self.disagreement == Some(Disagreement::TrafficFails) {
            heard = Heard::Something;
        }
        heard
    }

    /// The probe of one check has been silent for long: whether it goes down, since traffic says the same.
    pub(super) fn silent(&mut self, at: usize, row: InARow) -> bool {
        self.traffic.row = row;
        let agrees = self.suspicion.is_some_and(|symptom| evidence::agrees(symptom, row.suspicions));
        let check = self.checks.get_mut(at).filter(|check| agrees && check.suspected == Suspected::Yes);
        let flip = check.and_then(|check| check.streak.condemn());
        if flip.is_some() {
            self.because = Because::Check(at, Some(Cow::Borrowed("traffic gets none either")));
        }
        flip.is_some()
    }

    /// The probe of one check has ended; whether it was the last one that evidence had brought.
    pub(super) fn evidence_ends(&mut self, at: usize) -> Option<Symptom> {
        let check = self.checks.get_mut(at)?;
        if std::mem::replace(&mut check.suspected, Suspected::No) == Suspected::No {
            return None;
        }
        self.forget_settled_suspicion()
    }

    /// No probe that evidence brought is left.
    pub(super) fn forget_settled_suspicion(&mut self) -> Option<Symptom> {
        if self.checks.iter().any(|check| check.suspected == Suspected::Yes) { None } else { self.suspicion.take() }
    }

    /// Evidence brings probes of all its checks.
    pub(super) fn suspect(&mut self, symptom: Symptom) {
        self.suspicion = Some(symptom);
        self.checks.iter_mut().for_each(|check| check.suspected = Suspected::Yes);
    }

    /// Traffic failed again; whether a probe has been good meanwhile, so that traffic alone speaks against it.
    pub(super) fn traffic_failed(&mut self, row: InARow) -> bool {
        if row.failures < self.traffic.row.failures {
            self.vouched = Vouched::No;
        }
        self.traffic.row = row;
        self.vouched == Vouched::Yes
    }

    /// A name without checks: its first and only check is a knock at its port.
    pub(super) fn knock(&mut self, planned: &PlannedCheck) {
        self.checks = vec![Checked::new(planned)];
    }

    pub(super) fn stop_knocking(&mut self) -> Option<Symptom> {
        self.checks.clear();
        self.suspicion.take()
    }

    pub(super) fn eject(&mut self, policy: &Policy, why: String, now: Duration) {
        let until = self.ejection.begin(&policy.outliers, now);
        self.because = Because::said(format!("{why}; out for {:.0?}", until.saturating_sub(now)));
        self.ejected_for = why;
        self.vouched = Vouched::No;
    }

    /// Comes back from an ejection, because its time is over or because nobody else is left.
    pub(super) fn readmitted(&mut self, why: &'static str) {
        self.because = Because::said(why);
        self.traffic.forget();
        self.vouched = Vouched::No;
    }

    // === what follows ===

    /// Brings what depends on time up to date.
    pub(super) fn examine(&mut self, policy: &Policy, source: Source, now: Duration) {
        if self.ejection.end_if_due(now) {
            self.readmitted("its time out is over");
        }
        let said = self.says(policy, source);
        let is_fine = self.traffic.is_fine();
        let stays = policy.disagree.probe_fails == ProbeFails::Keep
            && self.location == Location::Known
            && self.steady.state() == State::Up
            && is_fine;
        self.kept = if said == State::Down && stays { Kept::Yes } else { Kept::No };
        let counts = if self.kept == Kept::Yes { State::Up } else { said };
        let was_held = self.steady.held().is_some();
        let flip = self.steady.see(counts, now, Rules { settle: policy.settle, flaps: policy.flaps.as_ref() });
        if was_held && self.steady.held().is_none() && flip.is_none() {
            self.because = Because::said("the hold for flapping is over");
        }
        self.disagreement = match self.disagreement {
            _ if self.kept == Kept::Yes => Some(Disagreement::ProbeFails),
            _ if flip == Some(State::Down) && is_fine => Some(Disagreement::ProbeFails),
            Some(Disagreement::ProbeFails) if said == State::Down && flip.is_none() => Some(Disagreement::ProbeFails),
            Some(Disagreement::TrafficFails) if said == State::Up && self.still_fails() => {
                Some(Disagreement::TrafficFails)
            }
            _ => None,
        };
        let is_calm = self.checks.iter().all(|check| check.is_up() && check.streak.against() == 0);
        if is_calm && !policy.wants_samples() {
            self.traffic.forget();
        }
    }

    fn still_fails(&self) -> bool {
        self.ejection.is_out() || self.traffic.row.failures > 0 || self.traffic.error_share().is_some_and(|it| it > 0.0)
    }

    /// What its checks say, or whoever speaks for them.
    fn says(&self, policy: &Policy, source: Source) -> State {
        match (self.location, source) {
            (Location::Nowhere, _) => State::Down,
            (Location::Pending, _) => State::Unknown,
            (_, Source::Followed) => match self.followed.map_or(State::Unknown, |verdict| verdict.state) {
                State::Draining | State::Maintenance => State::Up,
                other => other,
            },
            // At most the one knock that traffic brought.
            (_, Source::Traffic) => self.checks.first().map_or(State::Up, |knock| knock.streak.state()),
            (_, Source::Checks) => policy.healthy_when.eval(&|check| self.check_state(check)),
        }
    }

    pub(super) fn check_state(&self, check: usize) -> State {
        self.checks.get(check).map_or(State::Unknown, |check| check.streak.state())
    }

    /// The state, with everything that speaks for or against it.
    pub(super) fn state(&self) -> State {
        if self.orders.leave == Some(Leave::Maintenance) {
            return State::Maintenance;
        }
        match self.steady.state() {
            State::Up if self.is_kept_out() => State::Down,
            State::Up => self.willing(),
            other => other,
        }
    }

    /// Well, but out: because of what traffic saw, or because it flaps.
    pub(super) fn is_kept_out(&self) -> bool {
        self.ejection.is_out() || self.steady.held().is_some()
    }

    fn willing(&self) -> State {
        if matches!(self.orders.leave, Some(Leave::Drain { .. })) || self.orders.weight == Some(0) {
            return State::Draining;
        }
        let wishes = self.answers().map(|says| if says.share == Some(0) { Wish::Drain } else { says.wish });
        match wishes.max_by_key(|wish| *wish as u8).unwrap_or_default() {
            Wish::Work => State::Up,
            Wish::Drain => State::Draining,
            Wish::Maintenance => State::Maintenance,
        }
    }

    /// What is said by whoever is up.
    fn answers(&self) -> impl Iterator<Item = Says> + '_ {
        let followed = self.followed.map(|verdict| Says {
            wish: match verdict.state {
                State::Draining => Wish::Drain,
                State::Maintenance => Wish::Maintenance,
                _ => Wish::Work,
            },
            role: verdict.role,
            share: Some(verdict.share),
            connections: verdict.connections,
            epoch: None,
        });
        followed.into_iter().chain(self.checks.iter().filter(|check| check.is_up()).map(|check| check.says))
    }

    pub(super) fn role(&self) -> Option<Role> {
        self.answers().find_map(|says| says.role)
    }

    pub(super) fn epoch(&self) -> Option<u64> {
        self.answers().find_map(|says| says.epoch)
    }

    /// Percent of its weight, but for a slow start.
    pub(super) fn share(&self) -> u16 {
        let said = self.answers().filter_map(|says| says.share).min().unwrap_or(100);
        let said = if said > SHARE_STEP { (said + SHARE_STEP / 2) / SHARE_STEP * SHARE_STEP } else { said };
        let share = u32::from(said.min(SHARE_MAX)) * u32::from(self.orders.weight.unwrap_or(100)) / 100;
        u16::try_from(share).unwrap_or(SHARE_MAX).clamp(1, SHARE_MAX)
    }

    /// How much work it takes at once, where a check tells.
    pub(super) fn connections(&self) -> Option<NonZeroU16> {
        self.answers().filter_map(|says| says.connections).min()
    }

    pub(super) fn standpoint(&self) -> Standpoint {
        Standpoint { state: self.state(), role: self.role(), standing: self.standing }
    }

    /// Whether an operator has taken it out.
    pub(super) fn is_left_alone(&self) -> bool {
        self.orders.leave.is_some() || self.orders.weight == Some(0)
    }

    pub(super) fn is_demoted(&self) -> bool {
        self.orders.rank == Some(Rank::Demoted)
    }

    pub(super) fn is_promoted(&self) -> bool {
        self.orders.rank == Some(Rank::Promoted)
    }

    /// When time alone changes something.
    pub(super) fn due(&self, policy: &Policy) -> Option<Duration> {
        let cut = match self.orders.leave {
            Some(Leave::Drain { until }) if until != self.cut => until,
            _ => None,
        };
        [self.steady.due(policy.settle), self.ejection.until(), cut].into_iter().flatten().min()
    }

    /// Why it is what it is beyond its checks, the weightiest first.
    pub(super) fn remarks(&self, now: Duration) -> Vec<String> {
        let mut remarks = Vec::new();
        match self.orders.leave {
            Some(Leave::Maintenance) => remarks.push("an operator has taken it out for maintenance".to_owned()),
            Some(Leave::Drain { .. }) => remarks.push("an operator drains it".to_owned()),
            None => {}
        }
        if let Some(until) = self.ejection.until() {
            let left = until.saturating_sub(now);
            remarks.push(format!("{}; it stays out for another {left:.0?}", self.ejected_for));
        }
        if let Some(until) = self.steady.held() {
            let left = until.saturating_sub(now);
            remarks.push(format!("it went up and down too often and stays out for another {left:.0?}"));
        }
        if self.kept == Kept::Yes {
            remarks.push("its probes fail, but traffic is fine, and `disagree` says that it stays".to_owned());
        } else if let Some(disagreement) = self.disagreement {
            remarks.push(disagreement.sentence().to_owned());
        }
        if self.steady.state() == State::Up && !self.is_kept_out() && self.orders.leave.is_none() {
            match self.willing() {
                State::Draining => remarks.push("it wants no new work".to_owned()),
                State::Maintenance => remarks.push("it says that it is in maintenance".to_owned()),
                _ => {}
            }
        }
        remarks
    }
}
