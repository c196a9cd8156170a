//! The schedule explains a backend: puts together what it knows when somebody asks why.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::explanation::{CheckExplanation, Explanation, Traffic};
use super::schedule::Runner;
use super::watched::{Watch, Watched};
use crate::config::model::Check;
use crate::health::{Says, State};
use crate::pool::Pool;

impl Runner {
    /// Everything that led to the verdict on a backend; `None` where no such pool or backend is followed.
    pub(super) fn explain(&self, pool: &str, backend: &str) -> Option<Explanation> {
        let pool = self.pools.iter().find(|known| *known.config.name == *pool)?;
        let backend = pool.backends.iter().find(|known| *known.name == *backend)?;
        let watched = self.watched.get(&backend.slot.serial)?;
        let ordered = |it: &&crate::pool::Override| it.pool == backend.pool && it.backend == backend.name;
        Some(Explanation {
            pool: Arc::clone(&backend.pool),
            backend: Arc::clone(&backend.name),
            address: backend.address.clone(),
            verdict: backend.verdict(),
            lasted: backend.in_state_for(),
            because: because(watched),
            checks: self.explain_checks(pool, watched),
            traffic: Traffic {
                failures_in_a_row: backend.failures(),
                error_share: None,
                latency: Duration::from_micros(u64::from(backend.latency_micros())),
                ejected: None,
                disagreement: None,
            },
            follows: None,
            active: None,
            overrides: self.overrides.iter().filter(ordered).cloned().collect(),
        })
    }

    fn explain_checks(&self, pool: &Pool, watched: &Watched) -> Vec<CheckExplanation> {
        let configured = watched.checks.iter().filter_map(|watch| {
            let check = pool.config.checks.iter().find(|check| check.name == watch.name)?;
            Some(self.explain_check(check, watch))
        });
        configured.collect()
    }

    fn explain_check(&self, check: &Check, watch: &Watch) -> CheckExplanation {
        let asked = self.agenda.get(watch.question);
        let asked_at: Option<SocketAddr> = asked.and_then(|asked| self.whereabouts(&asked.question).ok());
        let due = asked.and_then(super::agenda::Asked::due);
        CheckExplanation {
            check: check.clone(),
            state: watch.streak.state(),
            says: watch.last_good.as_ref().map_or_else(Says::default, |kept| {
                kept.report.result.as_ref().map(|found| found.says).unwrap_or_default()
            }),
            against: watch.streak.against(),
            needed: watch.streak.needed(),
            next_in: due.map(|due| due.saturating_duration_since(Instant::now())),
            asked_at,
            last_good: watch.last_good.clone(),
            last_bad: watch.last_bad.clone(),
        }
    }
}

/// The causes, the weightiest first.
fn because(watched: &Watched) -> Vec<String> {
    let mut causes = Vec::new();
    causes.extend(watched.unresolved.clone());
    for check in watched.checks.iter().filter(|check| check.streak.state() == State::Down) {
        let Some(kept) = &check.last_bad else { continue };
        if let Err(failure) = &kept.report.result {
            causes.push(format!("check {}: {failure}", check.name));
        }
    }
    causes
}
