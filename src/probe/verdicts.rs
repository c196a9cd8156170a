//! Carries out what the judges want: writes verdicts, says what has changed, and makes the data path see it.
//!
//! The only writer of [`crate::pool::Backend::set_verdict`] once the schedule follows a backend. Pools are refreshed once
//! for each turn of the runner, however much changed in it; only then are workers told who has fallen, and whose
//! sessions end, so that whoever has to go elsewhere finds the others.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use super::news::{Flip, News};
use super::schedule::{Runner, SAMPLE_EVERY};
use super::unpaid::Unpaid;
use super::watched::{Cause, Watched};
use crate::config::model::OnDown;
use crate::health::judge::{Action, Because};
use crate::health::{Serves, State, Verdict};
use crate::pool::events::Events;
use crate::pool::{Backend, Pool, Remarks};

/// What was decided in this turn and is not published yet.
#[derive(Debug)]
pub(super) struct Verdicts {
    pub(super) events: Arc<Events>,
    changed: Vec<Arc<Pool>>,
    fallen: Vec<(Arc<Pool>, Arc<Backend>)>,
    cut: Vec<(Arc<Pool>, Arc<Backend>)>,
}

impl Verdicts {
    pub(super) fn new(events: Arc<Events>) -> Self {
        Self { events, changed: Vec::new(), fallen: Vec::new(), cut: Vec::new() }
    }

    /// What may serve in this pool has changed.
    pub(super) fn changed(&mut self, pool: &Arc<Pool>) {
        if !self.changed.iter().any(|known| Arc::ptr_eq(known, pool)) {
            self.changed.push(Arc::clone(pool));
        }
    }

    /// Makes the data path see what was decided.
    pub(super) fn publish(&mut self) {
        for pool in self.changed.drain(..) {
            pool.refresh();
        }
        for (pool, backend) in self.fallen.drain(..) {
            pool.backend_went_down(&backend);
        }
        for (pool, backend) in self.cut.drain(..) {
            pool.cut(&backend);
        }
    }
}

impl Runner {
    /// Has the judges conclude who have heard something or whose time has come, and those who follow them.
    pub(super) fn conclude(&mut self, now: Duration) {
        while let Some(Reverse((due, pool))) = self.dues.peek().copied()
            && due <= now
        {
            self.dues.pop();
            if self.planned.get(pool) == Some(&Some(due)) {
                self.restless.push(pool);
            }
        }
        let mut leaders_changed = false;
        // Each round goes one step down a chain of pools that follow each other.
        while !self.restless.is_empty() {
            let mut round = std::mem::take(&mut self.restless);
            round.sort_unstable();
            round.dedup();
            for pool in round {
                leaders_changed |= self.conclude_pool(pool, now);
            }
        }
        if leaders_changed {
            self.publish_incumbents();
        }
    }

    fn conclude_pool(&mut self, at: usize, now: Duration) -> bool {
        let Some(judge) = self.judges.get_mut(at) else { return false };
        let unsettled = judge.unsettled();
        let actions = judge.conclude(now);
        self.done.unsettled = (self.done.unsettled + judge.unsettled()).saturating_sub(unsettled);
        let due = judge.due();
        if self.planned.get(at) != Some(&due) {
            if let Some(planned) = self.planned.get_mut(at) {
                *planned = due;
            }
            self.dues.extend(due.map(|due| Reverse((due, at))));
        }
        let leaders_changed = actions.iter().any(|action| matches!(action, Action::Leader { .. }));
        let alarms_changed = actions.iter().any(|action| matches!(action, Action::Raised(_) | Action::Eased(_)));
        for action in actions {
            self.carry_out(at, action);
        }
        self.remark(at);
        self.plan_samples_of(at, now + SAMPLE_EVERY);
        if let (Some(judge), Some(pool)) = (self.judges.get(at), self.pools.get(at)) {
            if leaders_changed {
                pool.set_leader(judge.holder().cloned());
            }
            if alarms_changed || !judge.alarms().is_empty() {
                pool.set_alarms(judge.alarms());
            }
        }
        leaders_changed
    }

    fn carry_out(&mut self, at: usize, action: Action) {
        let Some(pool) = self.pools.get(at).map(Arc::clone) else { return };
        match action {
            Action::Verdict { backend, was, now: verdict, because } => {
                self.decide(at, &pool, backend, was, verdict, &because);
                for follower in self.followers.get(at).into_iter().flatten() {
                    if let Some(judge) = self.judges.get_mut(*follower) {
                        judge.followed(backend, verdict);
                        self.restless.push(*follower);
                    }
                }
            }
            Action::Lost(backend) => self.cut(at, backend, |pool| pool.config.on_role_loss == OnDown::Close),
            Action::Cut(backend) => {
                self.tell_cut(at, backend);
                self.cut(at, backend, |_| true);
            }
            Action::Ask(backend) => {
                if let Some(backend) = pool.backends.get(backend) {
                    self.unpaid.push_back(Unpaid::Ask(backend.slot.serial));
                }
            }
            Action::EvidenceTaken(backend) => {
                let pools = self.followers.get(at).into_iter().flatten().copied().chain([at]);
                for pool in pools.filter_map(|at| self.pools.get(at)) {
                    pool.backends.get(backend).into_iter().for_each(|backend| backend.evidence_taken());
                }
            }
            Action::Leader { was, now, because } => {
                News::Leader { was: was.as_ref(), now: now.as_ref(), because: &because }
                    .tell(&pool, &self.verdicts.events);
            }
            Action::Disagreement(backend, disagreement) => {
                if let Some(backend) = pool.backends.get(backend) {
                    News::Disagreement { backend, disagreement }.tell(&pool, &self.verdicts.events);
                }
            }
            Action::Raised(alarm) => News::Raised(&alarm).tell(&pool, &self.verdicts.events),
            Action::Eased(alarm) => News::Eased(&alarm).tell(&pool, &self.verdicts.events),
        }
    }

    /// Writes one verdict, and says so where it is another state or role.
    fn decide(&mut self, at: usize, pool: &Arc<Pool>, position: usize, was: Verdict, now: Verdict, because: &Because) {
        let Some(backend) = pool.backends.get(position) else { return };
        let lasted = backend.in_state_for();
        backend.set_verdict(now);
        self.verdicts.changed(pool);
        if backend.has_fallen() && !(was.state == State::Down && was.serves == Serves::Nothing) {
            self.verdicts.fallen.push((Arc::clone(pool), Arc::clone(backend)));
        }
        let Some(watched) = self.watched.get(&backend.slot.serial) else { return };
        let cause = cause(watched, because);
        if was.state != now.state {
            match now.state {
                State::Up => backend.probes.flips_up.inc(),
                State::Down => backend.probes.flips_down.inc(),
                _ => {}
            }
            let left_up = self.judges.get(at).map_or(0, crate::health::Judge::up);
            let flip = Flip {
                backend,
                was: was.state,
                now: now.state,
                lasted,
                cause: &cause,
                left_up,
                backends: pool.backends.len(),
            };
            flip.tell(&self.verdicts.events);
        } else if was.role != now.role && now.state != State::Unknown {
            News::Role { backend, was: was.role, now: now.role, because: &cause.reason }
                .tell(pool, &self.verdicts.events);
        }
        let backend = Arc::clone(backend);
        self.note_verdict(pool, &backend, (was, now), &cause);
    }

    /// Says what a drain's deadline is about to cut, of the backend and of whoever follows it.
    fn tell_cut(&self, at: usize, backend: usize) {
        let followers = self.followers.get(at).into_iter().flatten().copied();
        for pool in followers.chain([at]).filter_map(|at| self.pools.get(at)) {
            if let Some(backend) = pool.backends.get(backend)
                && backend.in_flight() > 0
            {
                News::Cut { backend, in_flight: backend.in_flight() }.tell(pool, &self.verdicts.events);
            }
        }
    }

    /// Ends the sessions of a backend, and those of whoever follows it, where `close` says so.
    fn cut(&mut self, at: usize, backend: usize, close: impl Fn(&Pool) -> bool) {
        let followers = self.followers.get(at).into_iter().flatten().copied();
        for pool in followers.chain([at]).filter_map(|at| self.pools.get(at)) {
            if let Some(backend) = pool.backends.get(backend).filter(|_| close(pool)) {
                self.verdicts.cut.push((Arc::clone(pool), Arc::clone(backend)));
            }
        }
    }

    /// What is remarked on the backends beside their verdicts.
    fn remark(&self, at: usize) {
        let (Some(judge), Some(pool)) = (self.judges.get(at), self.pools.get(at)) else { return };
        for (position, backend) in pool.backends.iter().enumerate() {
            let remarks = Remarks {
                ejected: judge.ejected(position).is_some(),
                flapping: judge.held(position).is_some(),
                disagreement: judge.disagreement(position),
            };
            let was = backend.set_remarks(remarks);
            backend.probes.ejections.add(u64::from(remarks.ejected && !was.ejected));
            backend.probes.holds.add(u64::from(remarks.flapping && !was.flapping));
        }
    }

    fn publish_incumbents(&mut self) {
        for (judge, pool) in self.judges.iter().zip(&self.pools) {
            if let Some(incumbent) = judge.incumbent() {
                self.remembered.insert(Arc::clone(&pool.config.name), Arc::clone(incumbent));
            }
        }
        let mut incumbents: Vec<_> = self.remembered.iter().map(|(pool, name)| (pool.clone(), name.clone())).collect();
        incumbents.sort_unstable();
        self.ends.incumbents.send_replace(Arc::new(incumbents));
    }
}

fn cause(watched: &Watched, because: &Because) -> Cause {
    match because {
        Because::Check(check, note) => match watched.checks.get(*check) {
            Some(watch) => watch.cause(note.as_deref()),
            None => Cause::said("its checks are others now"),
        },
        Because::Said(sentence) => {
            let unresolved = watched.unresolved.as_ref().is_some_and(|why| *why == **sentence);
            let layer = unresolved.then_some(super::Layer::Resolve);
            Cause { layer, ..Cause::said(sentence.clone()) }
        }
    }
}
