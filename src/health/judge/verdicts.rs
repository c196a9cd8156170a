//! The conclusion: one look at the whole pool after something has happened or time has passed.

use std::time::Duration;

use super::action::Action;
use super::alarm::{Alarm, AlarmKind, Change};
use super::case::Case;
use super::place::{Outcome, is_fit};
use super::plan::{Leave, Location, Source};
use super::ramp::Ramp;
use super::serving::{self, Readers, Standpoint};
use super::{Judge, Mode, Mood};
use crate::health::{Role, Serves, State, Verdict};

/// Shares alone change what may serve no more often than this.
const SHARES_APART: Duration = Duration::from_millis(250);

impl Judge {
    /// What follows from all that has happened, at `now`.
    pub fn conclude(&mut self, now: Duration) -> Vec<Action> {
        if self.mood == Mood::Restless || self.due.is_some_and(|due| due <= now) {
            self.mood = Mood::Calm;
            self.look(now);
        }
        std::mem::take(&mut self.actions)
    }

    fn look(&mut self, now: Duration) {
        for case in &mut self.cases {
            case.examine(&self.policy, self.source, now);
        }
        if !self.cases.iter().any(|case| self.could_work(case)) {
            self.pardon(now);
        }
        let field = self.field();
        let needy = self.in_need(&field);
        let outcome = self.give_place(&needy, now);
        let serves = self.give_work(&field, &needy);
        let ramps_due = self.start_slowly(&field, &serves, now);
        let shares_due = self.decide(&field, &serves, now);
        self.tell_disagreements();
        self.cut_drained(now);
        self.raise(&field, &needy, &outcome);
        let cases = self.cases.iter().filter_map(|case| case.due(&self.policy)).min();
        self.due = [cases, outcome.due, ramps_due, shares_due].into_iter().flatten().min();
    }

    /// Whether it could do the pool's work as it is.
    fn could_work(&self, case: &Case) -> bool {
        match (self.source, &self.policy.mode) {
            (Source::Followed, _) => case.state() == State::Up && case.followed.is_some_and(|it| it.serves.work()),
            (_, Mode::ActiveActive) => case.standpoint().may_work(),
            (_, Mode::Leader(_)) => {
                case.state() == State::Up && case.role() == Some(Role::Active) && !case.is_demoted()
            }
            (_, Mode::ActiveStandby(_)) => is_fit(case) && !case.is_demoted(),
        }
    }

    /// Nobody is left: whoever is only kept out comes back. A bad one is better than none.
    fn pardon(&mut self, now: Duration) {
        for case in &mut self.cases {
            let ended = case.ejection.end(now);
            if case.steady.release(now).is_some() || ended {
                case.readmitted("no other is left, so its time out is over");
            }
        }
    }

    fn give_work(&self, field: &[Standpoint], needy: &[usize]) -> Vec<Serves> {
        match (self.source, &self.policy.mode) {
            (Source::Followed, _) => self.cases.iter().map(serves_as_followed).collect(),
            (_, Mode::ActiveActive) if needy.is_empty() => serving::shared(field),
            (_, Mode::ActiveActive) => {
                let serves = |at: usize| if needy.contains(&at) { Serves::Both } else { Serves::Nothing };
                (0..field.len()).map(serves).collect()
            }
            (_, Mode::Leader(_)) => serving::single(field, self.place.holder, Readers::ByRole),
            (_, Mode::ActiveStandby(_)) => serving::single(field, self.place.holder, Readers::All),
        }
    }

    /// Whoever comes back while others serve begins with a small share; when the next step is due.
    fn start_slowly(&mut self, field: &[Standpoint], serves: &[Serves], now: Duration) -> Option<Duration> {
        let length = self.policy.slow_start;
        let ramps = self.policy.mode == Mode::ActiveActive && self.source != Source::Followed && !length.is_zero();
        let mut others = false;
        for (case, (stand, serves)) in self.cases.iter_mut().zip(field.iter().zip(serves)) {
            let was_out = matches!(case.verdict.state, State::Down | State::Draining | State::Maintenance);
            if !ramps || !serves.work() || case.ramp.is_some_and(|ramp| ramp.share(now, length).is_none()) {
                case.ramp = None;
            } else if stand.is_up() && was_out && !case.verdict.serves.work() {
                case.ramp = Some(Ramp::begin(now));
            }
            others |= serves.work() && case.ramp.is_none();
        }
        if !others {
            self.cases.iter_mut().for_each(|case| case.ramp = None);
        }
        let next = self.cases.iter().filter_map(|case| case.ramp?.share(now, length));
        next.map(|(_, due)| due).min()
    }

    /// Writes the verdicts that have changed; when shares that had to wait are due.
    fn decide(&mut self, field: &[Standpoint], serves: &[Serves], now: Duration) -> Option<Duration> {
        let length = self.policy.slow_start;
        let next = self.shares_changed.map(|at| at + SHARES_APART);
        let waiting = next.filter(|next| now < *next);
        let (mut postponed, mut shared) = (None, None);
        for (at, case) in self.cases.iter_mut().enumerate() {
            let ramp = case.ramp.and_then(|ramp| ramp.share(now, length)).map_or(100, |(share, _)| u32::from(share));
            let share = u16::try_from(u32::from(case.share()) * ramp / 100).unwrap_or(u16::MAX).max(1);
            let (state, role) = (field[at].state, field[at].role);
            let verdict = Verdict { state, role, serves: serves[at], share, connections: case.connections() };
            if verdict == case.verdict {
                continue;
            }
            let only_share = Verdict { share, ..case.verdict } == verdict;
            if only_share && waiting.is_some() {
                postponed = waiting;
                continue;
            }
            if only_share {
                shared = Some(now);
            }
            let was = std::mem::replace(&mut case.verdict, verdict);
            self.actions.push(Action::Verdict { backend: at, was, now: verdict, because: case.because.clone() });
        }
        self.shares_changed = shared.or(self.shares_changed);
        postponed
    }

    fn tell_disagreements(&mut self) {
        for (at, case) in self.cases.iter_mut().enumerate() {
            if case.disagreement != case.told {
                case.told = case.disagreement;
                self.actions.push(Action::Disagreement(at, case.disagreement));
            }
        }
    }

    /// Ends the sessions of those whose time to drain is over.
    fn cut_drained(&mut self, now: Duration) {
        for (at, case) in self.cases.iter_mut().enumerate() {
            if let Some(Leave::Drain { until: Some(until) }) = case.orders.leave
                && until <= now
                && case.cut != Some(until)
            {
                case.cut = Some(until);
                self.actions.push(Action::Cut(at));
            }
        }
    }

    fn raise(&mut self, field: &[Standpoint], needy: &[usize], outcome: &Outcome) {
        let mut alarms = Vec::new();
        let mut alarm = |kind, message| alarms.push(Alarm { kind, message });
        let names = |which: &mut dyn Iterator<Item = usize>| {
            which.map(|at| &*self.cases[at].name).collect::<Vec<_>>().join(", ")
        };
        let (up, count) = (field.iter().filter(|it| it.is_up()).count(), field.len());
        let is_known = field.iter().all(|it| it.state != State::Unknown);
        if is_known && up < self.policy.min_healthy as usize {
            let wanted = self.policy.min_healthy;
            alarm(AlarmKind::MinHealthy, format!("{up} of {count} backends are up, `min_healthy` wants {wanted}"));
        }
        if self.is_conflict_confirmed(&outcome.claimants) {
            let claimants = names(&mut outcome.claimants.iter().copied());
            let has = self.holder().map_or_else(|| "nobody".to_owned(), ToString::to_string);
            alarm(AlarmKind::TwoLeaders, format!("{claimants} say that they are active; {has} has the work"));
        }
        if let Some(why) = outcome.vacant {
            alarm(AlarmKind::NoLeader, format!("nobody has the work: {why}"));
        }
        if let (Some(waiting), Some(holder)) = (outcome.waiting, self.holder()) {
            let name = names(&mut std::iter::once(waiting));
            alarm(
                AlarmKind::FailbackWaiting,
                format!("{name} is well again and may be promoted; {holder} has the work"),
            );
        }
        let mut held = (0..count).filter(|at| self.cases[*at].steady.held().is_some()).peekable();
        if held.peek().is_some() {
            let held = names(&mut held);
            alarm(AlarmKind::Flapping, format!("kept out for going up and down too often: {held}"));
        }
        if !needy.is_empty() {
            let those = names(&mut needy.iter().copied());
            alarm(AlarmKind::ServingDown, format!("all are down; work goes to {those} all the same"));
        }
        let changes = self.alarms.become_these(alarms);
        self.actions.extend(changes.into_iter().map(|change| match change {
            Change::Raised(alarm) => Action::Raised(alarm),
            Change::Eased(alarm) => Action::Eased(alarm),
        }));
    }
}

fn serves_as_followed(case: &Case) -> Serves {
    let Some(followed) = case.followed else { return Serves::Nothing };
    match case.state() {
        State::Up => followed.serves,
        // It serves although it is down, and nothing of its own speaks against it.
        State::Down if followed.state == State::Down && case.location == Location::Known && !case.is_left_alone() => {
            followed.serves
        }
        _ => Serves::Nothing,
    }
}
