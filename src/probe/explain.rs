//! The schedule explains a backend: puts together what it knows when somebody asks why.

use std::sync::Arc;
use std::time::Duration;

use super::explanation::{CheckExplanation, Explanation, Traffic};
use super::schedule::Runner;
use super::watched::{Watch, Watched};
use crate::config::model::Check;
use crate::health::agenda::Asked;
use crate::health::judge::Disagreement;
use crate::health::{Expression, Judge, Says, State};
use crate::pool::{Backend, Override};

impl Runner {
    /// Everything that led to the verdict on a backend; `None` where no such pool or backend is followed.
    pub(super) fn explain(&self, pool: &str, backend: &str) -> Option<Explanation> {
        let at = self.pools.iter().position(|known| *known.config.name == *pool)?;
        let pool = self.pools.get(at)?;
        let judge = self.judges.get(at)?;
        let position = pool.backends.iter().position(|known| *known.name == *backend)?;
        let backend = pool.backends.get(position)?;
        let watched = self.watched.get(&backend.slot.serial)?;
        let followed = self.followed.get(at).copied().flatten().and_then(|followed| self.pools.get(followed));
        let is_of = |it: &&Override| it.pool == backend.pool && it.backend == backend.name;
        let mut because = judge.remarks(position, self.now());
        if let Some(followed) = followed {
            because.push(format!("it follows {} of pool {}", backend.name, followed.config.name));
        }
        because.extend(causes(watched, judge, &pool.config.policy.healthy_when));
        let checks = watched.checks.iter().enumerate().filter_map(|(number, watch)| {
            let check = pool.config.checks.iter().find(|check| check.name == watch.name)?;
            Some(self.explain_check(check, watch, judge, (position, number)))
        });
        Some(Explanation {
            pool: Arc::clone(&backend.pool),
            backend: Arc::clone(&backend.name),
            address: backend.address.clone(),
            verdict: backend.verdict(),
            lasted: backend.in_state_for(),
            because,
            checks: checks.collect(),
            traffic: self.explain_traffic(backend, judge, position),
            follows: followed.map(|followed| Arc::clone(&followed.config.name)),
            active: judge.holder().cloned(),
            overrides: self.overrides.iter().filter(is_of).cloned().collect(),
        })
    }

    fn explain_traffic(&self, backend: &Backend, judge: &Judge, position: usize) -> Traffic {
        let left = |until: Duration| until.saturating_sub(self.now());
        Traffic {
            failures_in_a_row: backend.in_a_row().failures,
            error_share: judge.error_share(position),
            latency: Duration::from_micros(u64::from(backend.latency_micros())),
            ejected: judge.ejected(position).map(|(until, why)| (left(until), why.to_owned())),
            disagreement: judge.disagreement(position).map(Disagreement::sentence),
        }
    }

    fn explain_check(&self, check: &Check, watch: &Watch, judge: &Judge, at: (usize, usize)) -> CheckExplanation {
        let asked = self.agenda.get(watch.question);
        let (streak, says) = judge
            .check(at.0, at.1)
            .map_or_else(|| (watch.timing.streak(), Says::default()), |(streak, says)| (streak.clone(), says));
        CheckExplanation {
            check: check.clone(),
            state: streak.state(),
            says,
            against: streak.against(),
            needed: streak.needed(),
            next_in: asked.and_then(Asked::due).map(|due| due.saturating_sub(self.now())),
            asked_at: asked.and_then(|asked| self.whereabouts(&asked.question).ok()),
            last_good: watch.last_good.clone(),
            last_bad: watch.last_bad.clone(),
        }
    }
}

/// What is wrong with the name, and the checks that are down: those first by which the backend is what it is.
fn causes(watched: &Watched, judge: &Judge, healthy_when: &Expression) -> Vec<String> {
    if let Some(why) = &watched.unresolved {
        // Every check says the same.
        return vec![format!("resolve: {why}")];
    }
    let state = |at: usize| judge.check(watched.position, at).map_or(State::Unknown, |(streak, _)| streak.state());
    let blamed = healthy_when.blame(&state);
    let mut causes = Vec::new();
    for (number, watch) in watched.checks.iter().enumerate().filter(|(number, _)| state(*number) == State::Down) {
        if let Some(kept) = &watch.last_bad
            && let Err(failure) = &kept.report.result
        {
            let slowness = super::watched::slowness(failure.pace, &watch.timing);
            causes.push((!blamed.contains(&number), format!("check {}: {failure}{slowness}", watch.name)));
        }
    }
    causes.sort_by_key(|(beside_the_point, _)| *beside_the_point);
    causes.into_iter().map(|(_, cause)| cause).collect()
}
