//! The place of the active one in a pool that has one: who holds it, who held it last, and how it changes hands.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::action::Action;
use super::case::Case;
use super::leader::{self, Claim, Past};
use super::plan::{Location, Source};
use super::serving::Standpoint;
use super::succession::{self, Fitness};
use super::{Judge, Mode};
use crate::health::{AllDown, Failback, Role, State};

/// A choice that somebody who has not answered yet could turn over waits for him so long: at a start, whoever answers
/// first must not get the work for that alone.
const PATIENCE: Duration = Duration::from_secs(5);

/// The place of the active one.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    /// Who has the work.
    pub(super) holder: Option<usize>,
    /// Who has it or had it last.
    pub(super) incumbent: Option<usize>,
    /// How long a choice may wait for those who have not answered.
    patience: Duration,
    /// Since when two claim it.
    pub(super) conflict: Option<Duration>,
}

/// Who gets the work, and what else is to be said of that.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    holder: Option<usize>,
    /// Those that claim it.
    pub(super) claimants: Vec<usize>,
    /// An earlier one that waits for an operator.
    pub(super) waiting: Option<usize>,
    /// When time alone changes it.
    pub(super) due: Option<Duration>,
    /// Why nobody has it; `None` while it is too early to say.
    pub(super) vacant: Option<&'static str>,
}

impl Place {
    pub(super) fn new(incumbent: Option<usize>, now: Duration) -> Self {
        Self { incumbent, patience: now + PATIENCE, ..Self::default() }
    }

    /// Other backends are there now; `find` says where each is.
    pub(super) fn move_to(&mut self, find: impl Fn(usize) -> Option<usize>, now: Duration) {
        self.holder = self.holder.and_then(&find);
        self.incumbent = self.incumbent.and_then(&find);
        self.patience = now + PATIENCE;
    }
}

/// Whether it may have the work of an active-standby pool, but for the words of operators.
pub(super) fn is_fit(case: &Case) -> bool {
    case.state() == State::Up && !matches!(case.role(), Some(Role::Standby | Role::Read))
}

impl Judge {
    /// Whether one of several has the work.
    pub(super) fn has_place(&self) -> bool {
        self.source != Source::Followed && !matches!(self.policy.mode, Mode::ActiveActive)
    }

    /// Gives the place to whoever is to have it.
    pub(super) fn give_place(&mut self, needy: &[usize], now: Duration) -> Outcome {
        if !self.has_place() {
            self.place.holder = None;
            return Outcome::default();
        }
        let past = Past { incumbent: self.place.incumbent, promoted: self.cases.iter().position(Case::is_promoted) };
        let mut outcome = match self.policy.mode {
            Mode::Leader(rule) => {
                let claims: Vec<Claim> = self.cases.iter().map(claim).collect();
                let choice = leader::choose(&claims, past, rule);
                let mut outcome = self.unless_hasty(choice.holder, choice.hasty, now);
                self.settle_conflict(&choice.claimants, now);
                if outcome.holder.is_none() && outcome.due.is_none() {
                    let two = choice.claimants.len() > 1;
                    outcome.vacant =
                        Some(if two { "two say that they are active" } else { "nobody says that it is active" });
                }
                outcome.claimants = choice.claimants;
                outcome
            }
            Mode::ActiveStandby(rules) => {
                let fitness: Vec<Fitness> = self.cases.iter_mut().map(|case| fitness(case, now)).collect();
                let choice = succession::choose(&fitness, &self.order, past, rules, now);
                let mut outcome = self.unless_hasty(choice.holder, choice.hasty, now);
                if outcome.holder.is_none() && outcome.due.is_none() {
                    let waits = fitness.iter().any(|it| matches!(it, Fitness::Fit(_)));
                    outcome.vacant = Some(if waits {
                        "the active one is out, and `failover` is manual"
                    } else {
                        "none may have the work"
                    });
                }
                outcome.waiting = choice.waiting;
                outcome.due = outcome.due.or(choice.due);
                outcome
            }
            Mode::ActiveActive => Outcome::default(),
        };
        if let [in_need, ..] = needy {
            outcome.holder = Some(*in_need);
            outcome.vacant = None;
        }
        self.hand_over(&outcome, past);
        outcome
    }

    fn unless_hasty(&self, holder: Option<usize>, hasty: bool, now: Duration) -> Outcome {
        if hasty && now < self.place.patience {
            Outcome { due: Some(self.place.patience), ..Outcome::default() }
        } else {
            Outcome { holder, ..Outcome::default() }
        }
    }

    /// Two that claim the work are asked again at once: one of them may have spoken before the other took over.
    fn settle_conflict(&mut self, claimants: &[usize], now: Duration) {
        if claimants.len() < 2 {
            self.place.conflict = None;
        } else if self.place.conflict.is_none() {
            self.place.conflict = Some(now);
            let stale = claimants.iter().filter(|at| self.cases[**at].heard < now);
            self.actions.extend(stale.map(|at| Action::Ask(*at)));
        }
    }

    /// Whether each of those that claim the work has said so after the conflict began.
    pub(super) fn is_conflict_confirmed(&self, claimants: &[usize]) -> bool {
        let Some(since) = self.place.conflict else { return false };
        claimants.iter().all(|at| self.cases.get(*at).is_some_and(|case| case.heard >= since))
    }

    fn hand_over(&mut self, outcome: &Outcome, past: Past) {
        let (was, now) = (self.place.holder, outcome.holder);
        self.place.incumbent = now.or(self.place.incumbent);
        if was == now {
            return;
        }
        self.place.holder = now;
        let because = self.why_handed_over(outcome, past);
        let name = |at: Option<usize>| at.and_then(|at| self.cases.get(at)).map(|case| Arc::clone(&case.name));
        self.actions.push(Action::Leader { was: name(was), now: name(now), because });
        self.actions.extend(was.map(Action::Lost));
        if now.is_none() && matches!(self.policy.mode, Mode::Leader(_)) {
            // Somebody leads already, or will at once.
            let others = self.cases.iter().enumerate();
            let others = others.filter(|(at, case)| Some(*at) != was && case.state() == State::Up);
            self.actions.extend(others.map(|(at, _)| Action::Ask(at)));
        }
    }

    fn why_handed_over(&self, outcome: &Outcome, past: Past) -> Cow<'static, str> {
        let Some(case) = outcome.holder.and_then(|at| self.cases.get(at)) else {
            return outcome.vacant.unwrap_or("nobody has answered yet").into();
        };
        if case.state() != State::Up {
            return "all are down, and `all_down` wants somebody to have the work".into();
        }
        if case.is_promoted() {
            return "an operator has promoted it".into();
        }
        let before = past.incumbent.filter(|before| Some(*before) != outcome.holder).and_then(|at| self.cases.get(at));
        match (&self.policy.mode, before) {
            (Mode::Leader(_), _) => "it says that it is active".into(),
            (_, None) => "it is the first in the list that may have the work".into(),
            (_, Some(before)) if before.is_demoted() => format!("an operator has demoted {}", before.name).into(),
            (_, Some(before)) if is_fit(before) => self.why_failed_back().into(),
            (_, Some(before)) => format!("{} is {}", before.name, before.state().word()).into(),
        }
    }

    fn why_failed_back(&self) -> String {
        match &self.policy.mode {
            Mode::ActiveStandby(rules) => match rules.failback {
                Failback::After(wait) => format!("it is earlier in the list and has been well for {wait:?}"),
                _ => "it is earlier in the list and well again".to_owned(),
            },
            _ => String::new(),
        }
    }

    /// What is to be said of a backend that is well and has no work.
    pub(super) fn remark_on_place(&self, backend: usize) -> Option<String> {
        let case = self.cases.get(backend)?;
        if !self.has_place() || case.state() != State::Up || self.place.holder == Some(backend) {
            return None;
        }
        if case.is_demoted() {
            return Some("an operator has demoted it".to_owned());
        }
        let holder = self.holder().map_or_else(|| "nobody".to_owned(), ToString::to_string);
        let claims = matches!(self.policy.mode, Mode::Leader(_)) && case.role() == Some(Role::Active);
        Some(if claims {
            format!("it says that it is active, but {holder} has the work")
        } else {
            format!("{holder} has the work")
        })
    }

    /// Those that get work although all are down.
    pub(super) fn in_need(&self, field: &[Standpoint]) -> Vec<usize> {
        let all_down = &self.policy.all_down;
        let is_over = |it: &Standpoint| matches!(it.state, State::Up | State::Unknown);
        if matches!(all_down, AllDown::Fail | AllDown::Hold)
            || self.source == Source::Followed
            || field.iter().any(is_over)
        {
            return Vec::new();
        }
        let is_allowed = |case: &Case| {
            let out = case.location != Location::Known || case.is_left_alone();
            let serves = match all_down {
                AllDown::ServeWhen(when) => when.eval(&|check| case.check_state(check)) == State::Up,
                _ => true,
            };
            case.state() == State::Down && !out && serves
        };
        let allowed: Vec<usize> = (0..self.cases.len()).filter(|at| is_allowed(&self.cases[*at])).collect();
        if !self.has_place() {
            return super::serving::in_need(field, &allowed);
        }
        let mut best = self.place.incumbent.into_iter().chain(self.order.iter().copied());
        best.find(|at| allowed.contains(at) && !self.cases[*at].is_demoted()).into_iter().collect()
    }
}

fn claim(case: &Case) -> Claim {
    match case.state() {
        State::Unknown => Claim::Undecided,
        State::Up if case.role() == Some(Role::Active) && !case.is_demoted() => Claim::Active { epoch: case.epoch() },
        _ => Claim::None,
    }
}

fn fitness(case: &mut Case, now: Duration) -> Fitness {
    let fit = is_fit(case);
    case.fit_since = if fit { case.fit_since.or(Some(now)) } else { None };
    match case.fit_since {
        _ if case.is_demoted() => Fitness::Demoted,
        Some(since) => Fitness::Fit(since),
        None if case.state() == State::Unknown => Fitness::Undecided,
        None => Fitness::Unfit,
    }
}
