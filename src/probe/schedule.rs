//! The schedule of attempts: asks every question in time, gives the answers to the checks that want them, and takes
//! evidence of traffic.
//!
//! One task on control's thread ([`Runner::run`]) owns all of its state; attempts are tasks of their own and end in a
//! report. Whoever publishes tables holds the handle, [`Schedule`]. Health survives a reload because the live
//! backends do: what is followed again under the same name keeps its streaks.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState as FastState;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::agenda::{Agenda, QuestionId, Wish};
use super::curious::Curious;
use super::explanation::Kept;
use super::handle::{Ends, Order, Progress, Schedule};
use super::names::{Change, Names, Whereabouts};
use super::question::{Question, attempt};
use super::report::{Failure, Layer, Report};
use super::transcript::Transcript;
use super::verdicts::Verdicts;
use super::watched::{Cause, Watched};
use crate::config::model::Address;
use crate::health::evidence::{Budget, deserves_knock};
use crate::health::{State, Symptom};
use crate::pool::events::Events;
use crate::pool::{Evidence, Override, Pool};

/// Probes at once. Each holds a descriptor; and a thousand that wait for dead machines must leave room for the others.
const MAX_IN_FLIGHT: usize = 1_024;
/// Questions asked because of evidence: so many a second over all, and a burst.
const EVIDENCE_PER_SECOND: u32 = 50;
const EVIDENCE_BURST: u32 = 100;
/// With more questions than this, the runner wakes on a beat and starts what is due together: waking for each one
/// would cost more than asking it.
const CROWD: usize = 500;
const BEAT: Duration = Duration::from_millis(5);
/// Without anything to do the runner looks up this often.
const IDLE: Duration = Duration::from_secs(60);

impl Schedule {
    /// A schedule that follows nothing yet, and what makes it run: spawn [`Runner::run`] on control's thread. It ends
    /// when the last handle is dropped.
    pub fn new(evidence: mpsc::UnboundedReceiver<Evidence>, events: Arc<Events>) -> (Self, Runner) {
        let (handle, ends) = Self::handle();
        let runner = Runner {
            ends,
            evidence,
            done: Progress::default(),
            born: Instant::now(),
            agenda: Agenda::new(),
            names: Names::new(),
            pools: Vec::new(),
            overrides: Arc::default(),
            watched: HashMap::default(),
            verdicts: Verdicts::new(events),
            attempts: JoinSet::new(),
            budget: Budget::new(EVIDENCE_PER_SECOND, EVIDENCE_BURST),
            unpaid: VecDeque::new(),
            ejected: BinaryHeap::new(),
            curious: Vec::new(),
        };
        (handle, runner)
    }
}

/// Asks and decides. See [`Schedule::new`].
#[derive(Debug)]
pub struct Runner {
    ends: Ends,
    evidence: mpsc::UnboundedReceiver<Evidence>,
    pub(super) done: Progress,
    born: Instant,
    pub(super) agenda: Agenda,
    pub(super) names: Names,
    /// As the current table has them.
    pub(super) pools: Vec<Arc<Pool>>,
    pub(super) overrides: Arc<Vec<Override>>,
    pub(super) watched: HashMap<u64, Watched, FastState>,
    pub(super) verdicts: Verdicts,
    attempts: JoinSet<(QuestionId, Report)>,
    budget: Budget,
    /// Evidence that waits for the budget; at most one for each backend.
    unpaid: VecDeque<Evidence>,
    /// When which backend's ejection ends.
    ejected: BinaryHeap<Reverse<(Instant, u64)>>,
    /// Those who wait for a probe.
    pub(super) curious: Vec<Curious>,
}

impl Runner {
    /// Runs until the last [`Schedule`] is dropped.
    pub async fn run(mut self) {
        loop {
            let wake = self.next_due();
            tokio::select! {
                biased;
                order = self.ends.orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => return,
                },
                Some(evidence) = self.evidence.recv() => self.take_evidence(evidence),
                Some(ended) = self.attempts.join_next() => {
                    let mut ended = Some(ended);
                    while let Some(attempt) = ended {
                        // An attempt is never cancelled; one that panicked has said so itself.
                        if let Ok((id, report)) = attempt {
                            self.digest(id, report);
                        }
                        ended = self.attempts.try_join_next();
                    }
                }
                Some(change) = self.names.found() => {
                    if let Some(change) = change {
                        self.moved(&change);
                    }
                }
                () = tokio::time::sleep_until(wake) => {}
            }
            self.act(Instant::now());
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Follow(follow) => self.follow(&follow),
            Order::Override(overrides) => self.overrides = overrides,
            Order::Remember(_) => {}
            Order::Explain { pool, backend, answer } => {
                // Whoever asked does not want to know any more.
                let _ = answer.send(self.explain(&pool, &backend));
            }
            Order::Probe { pool, backend, answer } => self.probe_now(&pool, backend.as_deref(), answer),
        }
    }

    /// Whatever is due.
    fn act(&mut self, now: Instant) {
        self.names.refresh(now);
        self.readmit(now);
        while let Some(evidence) = self.unpaid.pop_front() {
            if !self.budget.take(now - self.born) {
                self.unpaid.push_front(evidence);
                break;
            }
            self.bring_probe(&evidence, now);
        }
        while let Some(id) = self.agenda.pop(now, self.attempts.len() < MAX_IN_FLIGHT) {
            self.ask(id, now);
        }
        self.verdicts.publish();
        self.done.unsettled = self.verdicts.unsettled();
        if *self.ends.progress.borrow() != self.done {
            self.ends.progress.send_replace(self.done);
        }
    }

    fn next_due(&mut self) -> Instant {
        let now = Instant::now();
        let mut wake = now + IDLE;
        if self.attempts.len() < MAX_IN_FLIGHT
            && let Some(due) = self.agenda.next_due()
        {
            wake = wake.min(if self.agenda.len() > CROWD { self.on_the_beat(due) } else { due });
        }
        if let Some(due) = self.names.next_due() {
            wake = wake.min(due);
        }
        if let Some(Reverse((due, _))) = self.ejected.peek() {
            wake = wake.min(*due);
        }
        if !self.unpaid.is_empty() {
            wake = wake.min(now + self.budget.wait());
        }
        wake
    }

    /// The next beat at or after `due`.
    fn on_the_beat(&self, due: Instant) -> Instant {
        let over = due.saturating_duration_since(self.born).as_micros() % BEAT.as_micros();
        if over == 0 { due } else { due + BEAT - Duration::from_micros(u64::try_from(over).unwrap_or(0)) }
    }

    fn ask(&mut self, id: QuestionId, now: Instant) {
        let Some(asked) = self.agenda.get(id) else { return };
        let question = Arc::clone(&asked.question);
        match self.whereabouts(&question) {
            Ok(address) => {
                self.agenda.started(id, now);
                self.attempts.spawn(async move { (id, attempt(question, address).await) });
            }
            Err(Whereabouts::Nowhere(why)) => {
                self.agenda.started(id, now);
                let result = Err(Failure::new(Layer::Resolve, why));
                self.digest(id, Report { result, took: Duration::ZERO, transcript: Transcript::default() });
            }
            Err(_pending) => {
                if let Address::Name(name, _) = &question.at {
                    self.agenda.parked(id);
                    self.names.wait(name, id);
                }
            }
        }
    }

    pub(super) fn whereabouts(&self, question: &Question) -> Result<SocketAddr, Whereabouts> {
        match &question.at {
            Address::Socket(address) => Ok(*address),
            Address::Name(name, port) => match self.names.whereabouts(name) {
                Whereabouts::Known(ip) => Ok(SocketAddr::new(ip, *port)),
                other => Err(other),
            },
        }
    }

    /// Gives an answer to every check that wants it, and plans the next attempt.
    fn digest(&mut self, id: QuestionId, report: Report) {
        let report = Kept { at: Timestamp::now(), report: Arc::new(report) };
        let Some(asked) = self.agenda.get_mut(id) else { return };
        let askers = std::mem::take(&mut asked.askers);
        let mut wish = Wish { interval: Duration::MAX, calm: true, good: report.report.result.is_ok() };
        let mut done_knocking = None;
        for asker in &askers {
            let Some(watched) = self.watched.get_mut(&asker.backend) else { continue };
            let cause = watched.see(asker.check, &report);
            if let Some(check) = watched.checks.get(asker.check) {
                let moving = check.streak.in_transition();
                wish.calm &= !moving;
                wish.interval =
                    wish.interval.min(if moving { check.timing.fast_interval } else { check.timing.interval });
            }
            let is_healed_knock = watched.is_unchecked() && report.report.result.is_ok();
            if let Some(cause) = cause {
                self.decide(asker.backend, &cause);
            }
            if is_healed_knock {
                done_knocking = Some(asker.backend);
            }
        }
        if let Some(asked) = self.agenda.get_mut(id) {
            asked.askers = askers;
        }
        // Every asker has gone meanwhile: the next `follow` prunes the question.
        if wish.interval == Duration::MAX {
            wish.interval = IDLE;
        }
        self.agenda.ended(id, Instant::now(), wish);
        self.tell_curious(id, &report.report);
        if let Some(backend) = done_knocking {
            self.stop_knocking(backend, id);
        }
    }

    /// The verdict over one backend's checks may have changed.
    pub(super) fn decide(&mut self, backend: u64, cause: &Cause) {
        let Some(watched) = self.watched.get(&backend) else { return };
        if self.verdicts.decide(watched, cause) == Some(State::Down) && self.verdicts.up_in(&watched.pool) == 0 {
            let pool = Arc::clone(&watched.pool);
            self.pardon(&pool);
        }
    }

    fn take_evidence(&mut self, evidence: Evidence) {
        let now = Instant::now();
        let backend = &evidence.backend;
        let serial = backend.slot.serial;
        let Some(watched) = self.watched.get_mut(&serial) else { return backend.evidence_taken() };
        // One that is down is asked anyway, and one that is unknown is being asked.
        if backend.state() != State::Up {
            return backend.evidence_taken();
        }
        let failures = backend.failures();
        if evidence.symptom == Symptom::BadAnswer {
            let others = self.verdicts.up_in(&watched.pool).saturating_sub(1);
            if let Some(until) = watched.ejection.see(failures, others, now - self.born) {
                self.ejected.push(Reverse((self.born + until, serial)));
                let reason = format!("answers are broken: {failures} in a row");
                self.decide(serial, &Cause::said(reason));
                return backend.evidence_taken();
            }
            // Its probes have just been good. Each broken answer is to be counted, not each probe that is due.
            let answered = |id: QuestionId| self.agenda.would_wait(id, now);
            if watched.checks.iter().all(|check| answered(check.question)) {
                return backend.evidence_taken();
            }
        }
        if watched.checks.is_empty() && !deserves_knock(evidence.symptom, failures) {
            return backend.evidence_taken();
        }
        self.unpaid.push_back(evidence);
    }

    fn bring_probe(&mut self, evidence: &Evidence, now: Instant) {
        let serial = evidence.backend.slot.serial;
        if self.watched.get(&serial).is_some_and(|watched| watched.checks.is_empty()) {
            self.start_knocking(serial);
        }
        let Some(watched) = self.watched.get_mut(&serial) else { return evidence.backend.evidence_taken() };
        watched.suspicion = Some(evidence.symptom);
        for check in &mut watched.checks {
            check.suspected = true;
            self.agenda.urge(check.question, now);
        }
    }

    /// Ends the ejections whose time has come.
    fn readmit(&mut self, now: Instant) {
        while let Some(Reverse((due, serial))) = self.ejected.peek().copied()
            && due <= now
        {
            self.ejected.pop();
            let since_birth = now - self.born;
            if self.watched.get_mut(&serial).is_some_and(|watched| watched.ejection.end_if_due(since_birth)) {
                self.decide(serial, &Cause::said("the time out for broken answers is over"));
            }
        }
    }

    /// Nobody of this pool is left: whoever is out for broken answers only comes back.
    fn pardon(&mut self, pool: &Arc<Pool>) {
        let since_birth = Instant::now() - self.born;
        for backend in &pool.backends {
            let serial = backend.slot.serial;
            if self.watched.get_mut(&serial).is_some_and(|watched| watched.ejection.end(since_birth)) {
                self.decide(serial, &Cause::said("no other is left, so its time out for broken answers is over"));
            }
        }
    }

    /// A name points elsewhere, or nowhere.
    fn moved(&mut self, change: &Change) {
        let now = Instant::now();
        for serial in &change.backends {
            let Some(watched) = self.watched.get_mut(serial) else { continue };
            let cause = match &change.now {
                Whereabouts::Known(ip) => {
                    let address = SocketAddr::new(*ip, watched.backend.address.port());
                    watched.backend.set_socket_address(Some(address));
                    watched.unresolved = None;
                    for check in &watched.checks {
                        self.agenda.urge(check.question, now);
                    }
                    Cause::said(format!("its name points to {ip}"))
                }
                Whereabouts::Nowhere(why) => {
                    watched.unresolved = Some(why.clone());
                    Cause { layer: Some(Layer::Resolve), ..Cause::said(why.clone()) }
                }
                Whereabouts::Pending => continue,
            };
            self.decide(*serial, &cause);
        }
        for question in &change.waiting {
            self.agenda.urge(*question, now);
        }
    }
}
