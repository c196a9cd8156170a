//! Probes that somebody asked for: all checks of some backends, now, and the answers collected.
//!
//! The questions are those of the schedule, so an answer counts for the verdict like any other, and nobody is asked
//! twice at once.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::handle::Probed;
use super::report::Report;
use super::schedule::Runner;
use crate::health::agenda::{Asked, Asker, QuestionId};

/// Somebody who waits for answers; dropped without an answer when he waits no more.
#[derive(Debug)]
pub(super) struct Curious {
    /// What is not answered yet.
    wanted: Vec<Wanted>,
    answers: Vec<Probed>,
    /// Taken when all answers are there.
    answer: Option<oneshot::Sender<Option<Vec<Probed>>>>,
}

#[derive(Debug)]
struct Wanted {
    question: QuestionId,
    asker: Asker,
    /// The attempt that starts from now on; one that is under way already may have seen what is past.
    attempt: u64,
}

impl Runner {
    pub(super) fn probe_now(
        &mut self,
        pool: &str,
        backend: Option<&str>,
        answer: oneshot::Sender<Option<Vec<Probed>>>,
    ) {
        let now = self.now();
        let found = self.pools.iter().find(|known| *known.config.name == *pool);
        let backends = found.into_iter().flat_map(|pool| &pool.backends);
        let serials: Vec<u64> = backends
            .filter(|known| backend.is_none_or(|backend| *known.name == *backend))
            .map(|backend| backend.slot.serial)
            .collect();
        let mut wanted = Vec::new();
        for backend in serials.iter().copied() {
            let Some(watched) = self.watched.get(&backend) else { continue };
            for (check, watch) in watched.checks.iter().enumerate() {
                if let Some(attempt) = self.agenda.now(watch.question, now) {
                    wanted.push(Wanted { question: watch.question, asker: Asker { backend, check }, attempt });
                }
            }
        }
        if wanted.is_empty() {
            // Nobody waits for it any more: he knows enough.
            let _ = answer.send((!serials.is_empty()).then(Vec::new));
            return;
        }
        self.curious.push(Curious { wanted, answers: Vec::new(), answer: Some(answer) });
    }

    /// A question has been answered: whoever asked for that hears it.
    pub(super) fn tell_curious(&mut self, id: QuestionId, report: &Arc<Report>) {
        if self.curious.is_empty() {
            return;
        }
        let watched = &self.watched;
        let attempts = self.agenda.get(id).map_or(0, Asked::attempts);
        for curious in &mut self.curious {
            for wanted in curious.wanted.extract_if(.., |it| it.question == id && it.attempt <= attempts) {
                let Some(watched) = watched.get(&wanted.asker.backend) else { continue };
                let Some(check) = watched.checks.get(wanted.asker.check) else { continue };
                let (backend, check) = (Arc::clone(&watched.backend.name), Arc::clone(&check.name));
                curious.answers.push(Probed { backend, check, report: Arc::clone(report) });
            }
        }
        self.dismiss_curious();
    }

    /// Lets go of those who have all answers, or wait no more; questions that nobody asks any more get none.
    pub(super) fn dismiss_curious(&mut self) {
        let agenda = &self.agenda;
        self.curious.retain_mut(|curious| {
            curious.wanted.retain(|wanted| agenda.get(wanted.question).is_some());
            if curious.wanted.is_empty()
                && let Some(answer) = curious.answer.take()
            {
                // As above.
                let _ = answer.send(Some(std::mem::take(&mut curious.answers)));
            }
            curious.answer.as_ref().is_some_and(|answer| !answer.is_closed())
        });
    }
}
