//! The schedule of attempts: asks every question in time, and gives the answers to whoever judges the pools.
//!
//! One task on control's thread ([`Runner::run`]) owns all of its state; attempts are tasks of their own and end in a
//! report. What is decided, `health` decides (one [`Judge`] for each pool); this only brings it what happens, and
//! carries out what it wants. Health survives a reload because the judges do.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState as FastState;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::curious::Curious;
use super::drilled::Whose;
use super::explanation::Kept;
use super::handle::{Ends, Order, Progress, Schedule};
use super::names::{Change, Names, Whereabouts};
use super::past::Memory;
use super::question::{Alive, Question};
use super::report::{Failure, Layer, Pace, Report};
use super::silent::Silences;
use super::transcript::Transcript;
use super::unpaid::Unpaid;
use super::verdicts::Verdicts;
use super::watched::Watched;
use crate::config::model::{Address, Site};
use crate::health::Judge;
use crate::health::agenda::{Agenda, Asker, Next, QuestionId, Room};
use crate::health::evidence::Budget;
use crate::health::incident::Accountant;
use crate::health::judge::{Answer, Location};
use crate::pool::events::Events;
use crate::pool::{Backend, Evidence, Override, Pool};

/// Probes at once before anybody says otherwise. Each holds a descriptor.
const MOST_AT_ONCE: usize = 1_024;
/// Questions asked because of evidence: so many a second over all, and a burst.
const EVIDENCE_PER_SECOND: u32 = 50;
const EVIDENCE_BURST: u32 = 100;
/// With more questions than this, the runner wakes on a beat and starts what is due together: waking for each one
/// would cost more than asking it.
const CROWD: usize = 500;
const BEAT: Duration = Duration::from_millis(5);
/// Without anything to do the runner looks up this often.
const IDLE: Duration = Duration::from_secs(60);
/// How often an end looks whether the last attempt is over.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How often traffic is sampled, for the pools whose rules look at it.
pub(super) const SAMPLE_EVERY: Duration = Duration::from_secs(1);

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
            born_at: Timestamp::now(),
            most_at_once: MOST_AT_ONCE,
            agenda: Agenda::new(RandomState::new().hash_one(0_u8)),
            questions: Alive::default(),
            names: Names::new(),
            pools: Vec::new(),
            followed: Vec::new(),
            followers: Vec::new(),
            judges: Vec::new(),
            restless: Vec::new(),
            planned: Vec::new(),
            dues: BinaryHeap::new(),
            remembered: HashMap::new(),
            past: None,
            overrides: Arc::default(),
            obeyed: Vec::new(),
            watched: HashMap::default(),
            verdicts: Verdicts::new(events),
            attempts: JoinSet::new(),
            budget: Budget::new(EVIDENCE_PER_SECOND, EVIDENCE_BURST),
            unpaid: VecDeque::new(),
            silences: Silences::default(),
            curious: Vec::new(),
            next_sample: None,
            accountant: Accountant::default(),
            unsettled_accounts: Vec::new(),
        };
        (handle, runner)
    }
}

/// Asks, and carries out what is decided. See [`Schedule::new`].
#[derive(Debug)]
pub struct Runner {
    pub(super) ends: Ends,
    evidence: mpsc::UnboundedReceiver<Evidence>,
    pub(super) done: Progress,
    born: Instant,
    /// The wall's time at that moment.
    pub(super) born_at: Timestamp,
    pub(super) most_at_once: usize,
    pub(super) agenda: Agenda<Question>,
    /// Those of the agenda, and those that have left it and are still worked on.
    pub(super) questions: Alive,
    pub(super) names: Names,
    /// As the current table has them.
    pub(super) pools: Vec<Arc<Pool>>,
    /// Whom each pool follows, and who follow it.
    pub(super) followed: Vec<Option<usize>>,
    pub(super) followers: Vec<Vec<usize>>,
    /// One for each of `pools`.
    pub(super) judges: Vec<Judge>,
    /// Pools of which something has been heard.
    pub(super) restless: Vec<usize>,
    /// When each pool is to be looked at because time has passed; `dues` has an entry for each.
    pub(super) planned: Vec<Option<Duration>>,
    pub(super) dues: BinaryHeap<Reverse<(Duration, usize)>>,
    /// The active backends, by pool, of this and earlier lives.
    pub(super) remembered: HashMap<Arc<str>, Arc<str>>,
    /// What a process before this one knew, until the first table is followed.
    pub(super) past: Option<Memory>,
    pub(super) overrides: Arc<Vec<Override>>,
    /// Those who wait until what they have ordered is published.
    obeyed: Vec<oneshot::Sender<()>>,
    pub(super) watched: HashMap<u64, Watched, FastState>,
    pub(super) verdicts: Verdicts,
    pub(super) attempts: JoinSet<(QuestionId, Whose, Report)>,
    pub(super) budget: Budget,
    /// Probes that wait for the budget.
    pub(super) unpaid: VecDeque<Unpaid>,
    /// Probes that evidence has brought, until they have had the time that an answer usually takes.
    pub(super) silences: Silences,
    /// Those who wait for a probe.
    pub(super) curious: Vec<Curious>,
    pub(super) next_sample: Option<Duration>,
    pub(super) accountant: Accountant,
    /// Backends in an incident of which something was decided that is not published yet.
    pub(super) unsettled_accounts: Vec<(Arc<Pool>, Arc<Backend>)>,
}

impl Runner {
    /// Runs until [`Schedule::end`], or until the last [`Schedule`] is dropped.
    pub async fn run(mut self) {
        loop {
            let wake = self.born + self.next_due();
            tokio::select! {
                biased;
                order = self.ends.orders.recv() => match order {
                    Some(Order::End { ended }) => {
                        self.end().await;
                        // Nobody may have waited for it.
                        let _ = ended.send(());
                        return;
                    }
                    Some(order) => self.obey(order),
                    None => return,
                },
                Some(evidence) = self.evidence.recv() => self.take_evidence(evidence),
                Some(ended) = self.attempts.join_next() => {
                    let mut ended = Some(ended);
                    while let Some(attempt) = ended {
                        // An attempt is never cancelled; one that panicked has said so itself.
                        if let Ok((id, whose, report)) = attempt {
                            self.digest(id, whose, report);
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
            self.act();
        }
    }

    /// The judges' time: since the schedule was born.
    pub(super) fn now(&self) -> Duration {
        self.born.elapsed()
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Follow(follow) => self.follow(&follow),
            Order::Override { overrides, obeyed } => {
                self.override_with(overrides);
                self.obeyed.push(obeyed);
            }
            Order::Remember(incumbents) => self.remembered.extend(incumbents),
            Order::Limit(most) => self.most_at_once = most,
            Order::TakeUp(past) => self.past = Some(Memory::new(past)),
            Order::Recall { answer } => {
                // Whoever asked does not want to know any more.
                let _ = answer.send(self.recall());
            }
            Order::Explain { pool, backend, answer } => {
                // Whoever asked does not want to know any more.
                let _ = answer.send(self.explain(&pool, &backend));
            }
            Order::Probe { pool, backend, answer } => self.probe_now(&pool, backend.as_deref(), answer),
            // Taken by `run`.
            Order::End { .. } => {}
        }
    }

    /// Lets go of all questions. Attempts are broken off, except those that go on by themselves because they must not be.
    async fn end(self) {
        let questions = self.questions.clone();
        drop(self);
        while !questions.is_alone() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Whatever is due.
    fn act(&mut self) {
        self.names.refresh(Instant::now());
        let now = self.now();
        self.sample(now);
        self.conclude(now);
        self.pay(now);
        self.look_at_silences(now);
        while let Some(id) = self.agenda.pop(now, Room::of(self.attempts.len(), self.most_at_once)) {
            self.ask(id, now);
        }
        // A question whose name has no address is answered without being asked.
        self.conclude(now);
        self.verdicts.publish();
        self.settle_accounts();
        for obeyed in self.obeyed.drain(..) {
            // Whoever ordered may not have waited for it.
            let _ = obeyed.send(());
        }
        if *self.ends.progress.borrow() != self.done {
            self.ends.progress.send_replace(self.done);
        }
    }

    fn next_due(&mut self) -> Duration {
        let now = self.now();
        let mut wake = now + IDLE;
        if Room::of(self.attempts.len(), self.most_at_once) == Room::All
            && let Some(due) = self.agenda.next_due()
        {
            wake = wake.min(if self.agenda.len() > CROWD { on_the_beat(due) } else { due });
        }
        if let Some(due) = self.names.next_due() {
            wake = wake.min(due.saturating_duration_since(self.born));
        }
        if let Some(Reverse((due, _))) = self.dues.peek() {
            wake = wake.min(*due);
        }
        if let Some(due) = self.silences.next() {
            wake = wake.min(due);
        }
        if !self.unpaid.is_empty() {
            wake = wake.min(now + self.budget.wait());
        }
        wake.min(self.next_sample.unwrap_or(wake))
    }

    fn ask(&mut self, id: QuestionId, now: Duration) {
        let Some(asked) = self.agenda.get(id) else { return };
        let question = Arc::clone(&asked.question);
        match self.whereabouts(&question) {
            Ok(address) => {
                self.agenda.started(id, now);
                self.expect_answer(id);
                self.attempt(id, &question, &address);
            }
            Err(Whereabouts::Nowhere(why)) => {
                self.agenda.started(id, now);
                let result = Err(Failure::new(Layer::Resolve, why));
                self.digest(id, Whose::All, Report { result, took: Duration::ZERO, transcript: Transcript::default() });
            }
            Err(_pending) => {
                if let Address::Name(name, _) = &question.at {
                    self.agenda.parked(id);
                    self.names.wait(name, id);
                }
            }
        }
    }

    pub(super) fn whereabouts(&self, question: &Question) -> Result<Site, Whereabouts> {
        match &question.at {
            Address::Socket(address) => Ok(Site::Ip(*address)),
            Address::Name(name, port) => match self.names.whereabouts(name) {
                Whereabouts::Known(ip) => Ok(Site::Ip(SocketAddr::new(ip, *port))),
                other => Err(other),
            },
            Address::Unix(name) => Ok(Site::Unix(name.clone())),
        }
    }

    /// Gives an answer to every check that wants it, and plans the next attempt.
    fn digest(&mut self, id: QuestionId, whose: Whose, report: Report) {
        let Some(asked) = self.agenda.get_mut(id) else { return };
        let askers = std::mem::take(&mut asked.askers);
        let now = self.now();
        let kept = Kept { at: Timestamp::now(), report: Arc::new(report) };
        let (good, slow) = match &kept.report.result {
            Ok(_) => (true, false),
            Err(failure) => (false, failure.pace == Pace::Slow),
        };
        let mut next = Next { interval: Duration::MAX, calm: true, good, slow: None };
        let mut done_knocking = None;
        for asker in &askers {
            if !self.is_for(whose, *asker) {
                continue;
            }
            self.deliver(*asker, &kept, now, &mut next);
            let is_knock = self.watched.get(&asker.backend).is_some_and(Watched::is_knocked_at);
            if good && is_knock {
                done_knocking = Some(asker.backend);
            }
        }
        if let Some(asked) = self.agenda.get_mut(id) {
            asked.askers = askers;
        }
        if matches!(whose, Whose::Aside(_)) {
            // The others' attempt says when the next one is due.
            return;
        }
        // Every asker has gone meanwhile: the next `follow` prunes the question.
        if next.interval == Duration::MAX {
            next.interval = IDLE;
        }
        if !slow {
            next.slow = None;
        }
        self.agenda.ended(id, self.now(), next);
        self.tell_curious(id, &kept.report);
        if let Some(backend) = done_knocking {
            self.stop_knocking(backend, id);
        }
    }

    /// Gives an answer to one check, and asks how long the next one may wait.
    fn deliver(&mut self, asker: Asker, kept: &Kept, now: Duration, next: &mut Next) {
        let row = self.in_a_row(asker);
        let Some(watched) = self.watched.get_mut(&asker.backend) else { return };
        let (pool, position) = (watched.pool, watched.position);
        let (Some(judge), Some(watch)) = (self.judges.get_mut(pool), watched.checks.get_mut(asker.check)) else {
            return;
        };
        watch.keep(kept);
        let timing = watch.timing;
        let answer = match &kept.report.result {
            Ok(found) => Answer::Good(found.says),
            Err(failure) if failure.layer == Layer::Local => Answer::Lost,
            Err(_) => Answer::Bad,
        };
        let backend = &watched.backend;
        let tally = (answer == Answer::Bad).then(|| backend.tally());
        judge.probed((position, asker.check), answer, row, tally, now);
        if let Some((streak, _)) = judge.check(position, asker.check) {
            next.calm &= !streak.in_transition();
            next.interval = next.interval.min(timing.pace(streak, judge.urgency()));
            let slow = timing.slow_pace();
            next.slow = Some(next.slow.map_or(slow, |other| other.max(slow)));
            watched.tell(asker.check, streak.state(), &kept.report);
        }
        if judge.is_restless() {
            self.restless.push(pool);
        }
        if answer != Answer::Lost {
            self.note_probe(asker.backend, answer != Answer::Bad);
        }
    }

    /// A name points elsewhere, or nowhere.
    fn moved(&mut self, change: &Change) {
        let now = self.now();
        for serial in &change.backends {
            let Some(watched) = self.watched.get_mut(serial) else { continue };
            let (location, because) = match &change.now {
                Whereabouts::Known(ip) => {
                    if let Some(port) = watched.backend.address.port() {
                        watched.backend.set_socket_address(SocketAddr::new(*ip, port));
                    }
                    watched.unresolved = None;
                    for check in &watched.checks {
                        self.agenda.urge(check.question, now);
                    }
                    (Location::Known, format!("its name points to {ip}"))
                }
                Whereabouts::Nowhere(why) => {
                    watched.unresolved = Some(why.clone());
                    (Location::Nowhere, why.clone())
                }
                Whereabouts::Pending => continue,
            };
            if let Some(judge) = self.judges.get_mut(watched.pool) {
                judge.located(watched.position, location, because);
                self.restless.push(watched.pool);
            }
        }
        for question in &change.waiting {
            self.agenda.urge(*question, now);
        }
    }
}

/// The next beat at or after `due`.
fn on_the_beat(due: Duration) -> Duration {
    let over = due.as_micros() % BEAT.as_micros();
    if over == 0 { due } else { due + BEAT.saturating_sub(Duration::from_micros(u64::try_from(over).unwrap_or(0))) }
}
