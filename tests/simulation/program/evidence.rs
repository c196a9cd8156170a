//! Probes that something brings out of turn, as the schedule of probes does it: each for a token of the budget.

use std::sync::Arc;
use std::time::Duration;

use evenkeel::health::Symptom;
use evenkeel::health::agenda::{Asker, QuestionId};
use evenkeel::health::judge::{PlannedCheck, Response};
use evenkeel::pool::Evidence;

use super::{Deed, KNOCK, Program, Seat, Watch, machine_of};

/// A probe that waits for the budget.
#[derive(Debug)]
pub(super) enum Unpaid {
    Evidence(Evidence, Response),
    Ask(u64),
}

impl Program {
    pub(super) fn take_evidence(&mut self, evidence: Evidence, now: Duration) {
        let backend = &evidence.backend;
        let Some((pool, position)) = self.seats.get(&backend.slot.serial).copied() else {
            return backend.evidence_taken();
        };
        let response = self.judges[pool].traffic_failed(position, evidence.symptom, backend.in_a_row(), now);
        let (root, _) = self.root(pool);
        let questions = self.questions((root, position));
        let is_known = response == Response::Probe
            && evidence.symptom == Symptom::BadAnswer
            && questions.iter().all(|id| self.agenda.would_wait(*id, now));
        if response == Response::Nothing || is_known {
            return backend.evidence_taken();
        }
        self.unpaid.push_back(Unpaid::Evidence(evidence, response));
    }

    pub(super) fn pay(&mut self, now: Duration) {
        while let Some(unpaid) = self.unpaid.pop_front() {
            if !self.budget.take(now) {
                self.unpaid.push_front(unpaid);
                return;
            }
            let questions = match unpaid {
                Unpaid::Ask(serial) => self.seats.get(&serial).map_or_else(Vec::new, |seat| self.questions(*seat)),
                Unpaid::Evidence(evidence, response) => self.bring_probe(&evidence, response),
            };
            for id in &questions {
                self.agenda.urge(*id, now);
            }
            self.deeds.push(Deed::Paid(questions));
        }
    }

    fn bring_probe(&mut self, evidence: &Evidence, response: Response) -> Vec<QuestionId> {
        let backend = &evidence.backend;
        let serial = backend.slot.serial;
        let Some(seat) = self.seats.get(&serial).copied() else {
            backend.evidence_taken();
            return Vec::new();
        };
        if response == Response::Knock {
            let id = self.agenda.ask(&Arc::new((machine_of(backend), 0)), Asker { backend: serial, check: 0 });
            self.watched.insert(serial, vec![Watch { question: id, timing: KNOCK }]);
            self.judges[seat.0]
                .knock(seat.1, &PlannedCheck { name: "knock".into(), question: id, timing: KNOCK, past: None });
            self.deeds.push(Deed::Knocks(seat));
        }
        let seat = (self.root(seat.0).0, seat.1);
        let questions = self.questions(seat);
        if questions.is_empty() {
            backend.evidence_taken();
            return questions;
        }
        self.judges[seat.0].suspect(seat.1, evidence.symptom);
        self.deeds.push(Deed::Suspected(seat, evidence.symptom));
        questions
    }

    pub(super) fn stop_knocking(&mut self, seat: Seat, id: QuestionId) {
        let serial = self.table.pools[seat.0].backends[seat.1].slot.serial;
        self.judges[seat.0].stop_knocking(seat.1);
        self.watched.insert(serial, Vec::new());
        if let Some(asked) = self.agenda.get_mut(id) {
            asked.askers.retain(|asker| asker.backend != serial);
        }
        self.agenda.prune();
        self.deeds.push(Deed::KnocksNoMore(seat));
    }

    fn questions(&self, (pool, position): Seat) -> Vec<QuestionId> {
        let serial = self.table.pools[pool].backends[position].slot.serial;
        self.watched[&serial].iter().map(|watch| watch.question).collect()
    }
}
