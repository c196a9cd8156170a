//! Probes of backends in a drill: they meet the fault that traffic meets, and only they do.
//!
//! A question that several backends share is asked as usual for those that are spared, and once more for each that is
//! drilled.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::follow::knock;
use super::question::{Question, attempt};
use super::schedule::Runner;
use super::watched::Kind;
use crate::config::model::Site;
use crate::health::agenda::{Asker, QuestionId};

/// Whom the report of an attempt is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// Everybody who has asked.
    All,
    /// Those who are not in a drill.
    Spared,
    /// The one who has asked, by its number, and is in a drill.
    One(u64),
    /// One of those who have asked and is in a drill, beside the others' attempt.
    Aside(u64),
}

impl Runner {
    /// Begins the attempts at a question.
    pub(super) fn attempt(&mut self, id: QuestionId, question: &Arc<Question>, site: &Site) {
        let askers = self.agenda.get(id).map(|asked| asked.askers.clone()).unwrap_or_default();
        let drilled: BTreeSet<u64> = askers.iter().map(|it| it.backend).filter(|it| self.is_drilled(*it)).collect();
        let is_shared = askers.iter().any(|asker| !drilled.contains(&asker.backend)) || drilled.len() > 1;
        for serial in &drilled {
            let asker = askers.iter().find(|asker| asker.backend == *serial);
            let Some(question) = asker.and_then(|asker| self.faulty(*asker)) else { continue };
            let whose = if is_shared { Whose::Aside(*serial) } else { Whose::One(*serial) };
            let site = site.clone();
            self.attempts.spawn(async move { (id, whose, attempt(question, site).await) });
        }
        if drilled.is_empty() || is_shared {
            let whose = if drilled.is_empty() { Whose::All } else { Whose::Spared };
            let (question, site) = (Arc::clone(question), site.clone());
            self.attempts.spawn(async move { (id, whose, attempt(question, site).await) });
        }
    }

    /// Whether a report is for a check.
    pub(super) fn is_for(&self, whose: Whose, asker: Asker) -> bool {
        match whose {
            Whose::All => true,
            Whose::Spared => !self.is_drilled(asker.backend),
            Whose::One(serial) | Whose::Aside(serial) => asker.backend == serial,
        }
    }

    fn is_drilled(&self, serial: u64) -> bool {
        self.watched.get(&serial).is_some_and(|watched| watched.backend.fault().is_some())
    }

    /// What a check asks, with the fault in its way.
    fn faulty(&self, asker: Asker) -> Option<Arc<Question>> {
        let watched = self.watched.get(&asker.backend)?;
        let (backend, pool) = (&watched.backend, self.pools.get(watched.pool)?);
        let fault = backend.fault()?;
        let question = match watched.kind {
            Kind::Unchecked => knock(backend, pool.config.way.as_ref()),
            Kind::Checked => Question::of(pool.config.checks.get(asker.check)?, &backend.address),
        };
        Some(Arc::new(question.among(&self.questions).into_fault(fault)))
    }
}
