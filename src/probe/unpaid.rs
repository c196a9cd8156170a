//! Probes that something brings out of turn: evidence of traffic, and judges who want to know now. Each costs a token
//! of one budget, so that no flood of failures becomes a flood of probes.

use std::time::Duration;

use super::schedule::Runner;
use crate::health::agenda::QuestionId;
use crate::health::judge::Response;
use crate::pool::{Evidence, Symptom};

/// A probe that waits for the budget.
#[derive(Debug)]
pub(super) enum Unpaid {
    /// Traffic failed; at most one for each backend.
    Evidence(Evidence, Response),
    /// The judge of its pool wants to hear the backend of this number.
    Ask(u64),
}

impl Runner {
    pub(super) fn take_evidence(&mut self, evidence: Evidence) {
        let now = self.now();
        let backend = &evidence.backend;
        let Some(watched) = self.watched.get(&backend.slot.serial) else { return backend.evidence_taken() };
        let (pool, position) = (watched.pool, watched.position);
        self.note_symptom(backend, evidence.symptom);
        let Some(judge) = self.judges.get_mut(pool) else { return backend.evidence_taken() };
        let response = judge.traffic_failed(position, evidence.symptom, backend.in_a_row(), now);
        if judge.is_restless() {
            self.restless.push(pool);
        }
        // Its probes have just been good. Each broken answer is to be counted, not each probe that is due.
        let answered = |id: QuestionId| self.agenda.would_wait(id, now);
        let is_known = response == Response::Probe
            && evidence.symptom == Symptom::BadAnswer
            && self.questions(pool, position).into_iter().all(answered);
        if response == Response::Nothing || is_known {
            return backend.evidence_taken();
        }
        self.unpaid.push_back(Unpaid::Evidence(evidence, response));
    }

    /// Brings the probes that the budget allows.
    pub(super) fn pay(&mut self, now: Duration) {
        while let Some(unpaid) = self.unpaid.pop_front() {
            if !self.budget.take(now) {
                self.unpaid.push_front(unpaid);
                break;
            }
            match unpaid {
                Unpaid::Evidence(evidence, response) => self.bring_probe(&evidence, response, now),
                Unpaid::Ask(serial) => {
                    let Some(watched) = self.watched.get(&serial) else { continue };
                    for id in self.questions(watched.pool, watched.position) {
                        self.agenda.urge(id, now);
                    }
                }
            }
        }
    }

    fn bring_probe(&mut self, evidence: &Evidence, response: Response, now: Duration) {
        let backend = &evidence.backend;
        let Some(watched) = self.watched.get(&backend.slot.serial) else { return backend.evidence_taken() };
        let (pool, position) = self.source_of(watched.pool, watched.position);
        if response == Response::Knock {
            self.start_knocking(backend.slot.serial);
        }
        let questions = self.questions(pool, position);
        let Some(judge) = self.judges.get_mut(pool).filter(|_| !questions.is_empty()) else {
            return backend.evidence_taken();
        };
        judge.suspect(position, evidence.symptom);
        for id in questions {
            self.agenda.urge(id, now);
            // Where it is under way already.
            self.expect_answer(id);
        }
    }

    /// What the checks of a backend ask, or of the one that it follows.
    fn questions(&self, pool: usize, position: usize) -> Vec<QuestionId> {
        let (pool, position) = self.source_of(pool, position);
        let backend = self.pools.get(pool).and_then(|pool| pool.backends.get(position));
        let watched = backend.and_then(|backend| self.watched.get(&backend.slot.serial));
        watched.into_iter().flat_map(|watched| &watched.checks).map(|check| check.question).collect()
    }

    /// Where the verdict of a backend comes from: itself, or the one that it follows.
    fn source_of(&self, pool: usize, position: usize) -> (usize, usize) {
        let mut source = pool;
        // Nobody follows himself: the configuration sees to it, and no chain is longer than there are pools.
        for _ in 0..self.pools.len() {
            match self.followed.get(source) {
                Some(Some(followed)) => source = *followed,
                _ => break,
            }
        }
        (source, position)
    }
}
