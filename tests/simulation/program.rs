//! The program of a story: tables, judges, agenda, budget and orders, put together as the schedule of probes does it, but
//! told the time, and without sockets. What it does to the world it says in [`Deed`]s.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::config::model::{Config, OnDown};
use evenkeel::control::overrides::Overrides;
use evenkeel::control::state_file::State;
use evenkeel::health::agenda::{Agenda, Asker, Next, QuestionId, Room};
use evenkeel::health::evidence::Budget;
use evenkeel::health::judge::{Action, Answer, InARow, Location, Plan, Planned, PlannedCheck, Response, Source};
use evenkeel::health::{Initial, Judge, State as Health, Symptom, Timing, Urgency};
use evenkeel::pool::{Backend, Bell, Evidence, Notice, Override, Pool};
use evenkeel::probe::orders_of;
use evenkeel::route::{Foundation, Table};
use foldhash::fast::FixedState;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Probes under way at once.
pub(crate) const MOST_AT_ONCE: usize = 8;
/// Probes that evidence brings: so many a second, and a burst.
pub(crate) const EVIDENCE_PER_SECOND: u32 = 10;
pub(crate) const EVIDENCE_BURST: u32 = 20;
/// Without anything to do it looks up this often.
const IDLE: Duration = Duration::from_secs(60);
/// The budget is asked again no sooner: the clock of a story moves only when somebody wants it to.
const TICK: Duration = Duration::from_micros(1);

const KNOCK: Timing = Timing {
    interval: Duration::from_secs(1),
    fast_interval: Duration::from_secs(1),
    down_interval: Duration::from_secs(1),
    timeout: Duration::from_secs(1),
    rise: NonZeroU32::MIN,
    fall: NonZeroU32::MIN,
    initial: Initial::Up,
};

/// What is asked: of which machine, at which port; port 0 is a knock.
pub(crate) type Question = (u32, u16);

/// A pool, and a backend's position in it.
pub(crate) type Seat = (usize, usize);

/// What the program has done.
#[derive(Debug)]
pub(crate) enum Deed {
    Asked {
        id: QuestionId,
        question: Question,
        timeout: Duration,
        /// The shortest time after which it may be asked again without evidence.
        pace: Duration,
    },
    /// An answer has come back.
    Answered,
    /// It was given to a check.
    Heard {
        seat: Seat,
        check: usize,
        answer: Answer,
        row: InARow,
    },
    /// Probes of these questions were brought forward for a token of the budget.
    Paid(Vec<QuestionId>),
    Suspected(Seat, Symptom),
    Knocks(Seat),
    KnocksNoMore(Seat),
    Concluded {
        pool: usize,
        actions: Vec<Action>,
    },
    /// Another configuration.
    Followed,
    /// The time of so many orders is over.
    OrdersEnd(usize),
}

#[derive(Debug)]
enum Unpaid {
    Evidence(Evidence, Response),
    Ask(u64),
}

#[derive(Debug, Clone, Copy)]
struct Watch {
    question: QuestionId,
    timing: Timing,
}

#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) table: Table,
    pub(crate) judges: Vec<Judge>,
    pub(crate) overrides: Overrides,
    /// The active backends, by pool.
    remembered: BTreeMap<String, String>,
    foundation: Foundation,
    pub(crate) evidence: UnboundedReceiver<Evidence>,
    pub(crate) notices: UnboundedReceiver<Notice>,
    seats: HashMap<u64, Seat, FixedState>,
    watched: HashMap<u64, Vec<Watch>, FixedState>,
    agenda: Agenda<Question>,
    under_way: usize,
    budget: Budget,
    unpaid: VecDeque<Unpaid>,
    pub(crate) deeds: Vec<Deed>,
}

/// The wall's time at a moment of the story.
pub(crate) fn wall(now: Duration) -> Timestamp {
    let gone = SignedDuration::try_from(now).expect("stories are short");
    Timestamp::UNIX_EPOCH.checked_add(gone).expect("stories are short")
}

/// The machine that a backend runs on: the last part of its address.
pub(crate) fn machine_of(backend: &Backend) -> u32 {
    match backend.socket_address().map(|address| address.ip()) {
        Some(std::net::IpAddr::V4(ip)) => u32::from(ip.octets()[3]),
        other => panic!("{other:?} is no machine of the story"),
    }
}

impl Program {
    /// Starts with what a state file holds.
    pub(crate) fn start(config: Arc<Config>, state: State, seed: u64, now: Duration) -> Self {
        let ((sender, evidence), (worker, notices)) = (unbounded_channel(), unbounded_channel());
        let foundation = Foundation { workers: 1, evidence: sender, bell: Arc::new(Bell::default()) };
        foundation.bell.add(worker);
        let mut program = Self {
            table: Table::build(config, None, &foundation),
            judges: Vec::new(),
            overrides: Overrides::new(state.overrides),
            remembered: state.active,
            foundation,
            evidence,
            notices,
            seats: HashMap::default(),
            watched: HashMap::default(),
            agenda: Agenda::new(seed),
            under_way: 0,
            budget: Budget::new(EVIDENCE_PER_SECOND, EVIDENCE_BURST),
            unpaid: VecDeque::new(),
            deeds: Vec::new(),
        };
        program.follow(Vec::new(), now);
        program
    }

    /// What must survive a restart.
    pub(crate) fn state(&self) -> State {
        State { overrides: self.overrides.list().to_vec(), active: self.remembered.clone() }
    }

    pub(crate) fn reload(&mut self, config: Arc<Config>, now: Duration) {
        let table = Table::build(config, Some(&self.table), &self.foundation);
        for backend in self.table.leaving(&table) {
            backend.retire();
        }
        let before = std::mem::replace(&mut self.table, table);
        self.follow(before.pools, now);
    }

    // === following a table ===

    fn follow(&mut self, before: Vec<Arc<Pool>>, now: Duration) {
        self.agenda.forget_askers();
        self.seats.clear();
        let mut old = std::mem::take(&mut self.watched);
        for (at, pool) in self.table.pools.iter().enumerate() {
            for (position, backend) in pool.backends.iter().enumerate() {
                let serial = backend.slot.serial;
                self.seats.insert(serial, (at, position));
                let known = old.remove(&serial).unwrap_or_default();
                let mut watches = Vec::new();
                for (check, (question, timing)) in questions(pool, backend, &known).into_iter().enumerate() {
                    let id = self.agenda.ask(&Arc::new(question), Asker { backend: serial, check });
                    if known.iter().all(|known| known.question != id) && timing.initial == Initial::Unknown {
                        self.agenda.soon(id, now);
                    }
                    watches.push(Watch { question: id, timing });
                }
                self.watched.insert(serial, watches);
            }
        }
        self.agenda.prune();
        self.seat_judges(before, now);
        self.start_asking(now);
        self.pass_on_orders();
        self.table.pools.iter().for_each(|pool| pool.refresh());
        self.deeds.push(Deed::Followed);
    }

    fn seat_judges(&mut self, before: Vec<Arc<Pool>>, now: Duration) {
        let names = before.into_iter().map(|pool| pool.config.name.to_string());
        let mut known: BTreeMap<String, Judge> = names.zip(std::mem::take(&mut self.judges)).collect();
        for pool in &self.table.pools {
            let (name, plan) = (&*pool.config.name, self.plan(pool));
            self.judges.push(match known.remove(name) {
                Some(mut judge) => {
                    judge.replan(plan, now);
                    judge
                }
                None => Judge::new(plan, self.remembered.get(name).map(String::as_str), now),
            });
        }
        for (at, pool) in self.table.pools.iter().enumerate() {
            let Some(followed) = pool.config.follows else { continue };
            for (position, backend) in self.table.pools[followed.0 as usize].backends.iter().enumerate() {
                self.judges[at].followed(position, backend.verdict());
            }
        }
    }

    fn plan(&self, pool: &Pool) -> Plan {
        let backends = pool.backends.iter().zip(&pool.config.members).map(|(backend, member)| {
            let names = pool.config.checks.iter().map(|check| Arc::clone(&check.name)).chain([Arc::from("knock")]);
            let checks = self.watched[&backend.slot.serial].iter().zip(names);
            let check =
                |(watch, name): (&Watch, _)| PlannedCheck { name, question: watch.question, timing: watch.timing };
            Planned {
                id: backend.slot.serial,
                name: Arc::clone(&backend.name),
                standing: member.standing,
                location: Location::Known,
                stands: backend.verdict(),
                checks: checks.map(check).collect(),
            }
        });
        Plan { policy: pool.config.policy.clone(), source: source(pool), backends: backends.collect() }
    }

    fn start_asking(&mut self, now: Duration) {
        let (seats, judges, watched) = (&self.seats, &self.judges, &self.watched);
        let check_of = |asker: &Asker| {
            let (pool, position) = *seats.get(&asker.backend)?;
            let (streak, _) = judges[pool].check(position, asker.check)?;
            Some((streak, watched.get(&asker.backend)?.get(asker.check)?.timing))
        };
        let pace = |askers: &[Asker]| {
            let checks = askers.iter().filter_map(check_of);
            checks.map(|(streak, timing)| timing.pace(streak, Urgency::Usual)).min().unwrap_or(KNOCK.interval)
        };
        self.agenda.begin(now, |asked| {
            let mut checks = asked.askers.iter().filter_map(check_of);
            checks.all(|(streak, _)| streak.state() != Health::Unknown).then(|| pace(&asked.askers))
        });
        self.agenda.hasten(now, |asked| pace(&asked.askers));
    }

    /// Tells the judges what operators have ordered.
    pub(crate) fn pass_on_orders(&mut self) {
        for (pool, judge) in self.table.pools.iter().zip(&mut self.judges) {
            for (position, backend) in pool.backends.iter().enumerate() {
                let is_meant = |it: &&Override| it.pool == backend.pool && it.backend == backend.name;
                let these: Vec<&Override> = self.overrides.list().iter().filter(is_meant).collect();
                judge.ordered(position, orders_of(&these, Timestamp::UNIX_EPOCH), || "an operator".to_owned());
            }
        }
    }

    // === time ===

    /// When it wants to do something by itself.
    pub(crate) fn next_due(&mut self, now: Duration) -> Duration {
        let has_room = Room::of(self.under_way, MOST_AT_ONCE) == Room::All;
        let agenda = if has_room { self.agenda.next_due() } else { None };
        let judges = self.judges.iter().filter_map(Judge::due).min();
        let paid = (!self.unpaid.is_empty()).then(|| now + self.budget.wait().max(TICK));
        let expiry = self.overrides.next_expiry().map(|at| {
            Duration::try_from(at.duration_since(Timestamp::UNIX_EPOCH)).expect("no order ends before the story began")
        });
        [agenda, judges, paid, expiry].into_iter().flatten().min().unwrap_or(now + IDLE)
    }

    /// Whatever is due.
    pub(crate) fn act(&mut self, now: Duration) {
        let ended = self.overrides.expire(wall(now)).len();
        if ended > 0 {
            self.pass_on_orders();
            self.deeds.push(Deed::OrdersEnd(ended));
        }
        while let Ok(evidence) = self.evidence.try_recv() {
            self.take_evidence(evidence, now);
        }
        let before = self.deeds.len();
        self.conclude(now);
        self.pay(now);
        while let Some(id) = self.agenda.pop(now, Room::of(self.under_way, MOST_AT_ONCE)) {
            self.ask(id, now);
        }
        self.conclude(now);
        self.publish(before);
    }

    /// Copies the counters of traffic, where a policy looks at them.
    pub(crate) fn sample(&mut self, now: Duration) {
        for (judge, pool) in self.judges.iter_mut().zip(&self.table.pools) {
            if judge.wants_samples() {
                for (position, backend) in pool.backends.iter().enumerate() {
                    judge.sampled(position, backend.tally(), backend.in_a_row(), now);
                }
                judge.weigh_samples(now);
            }
        }
    }

    // === probes ===

    fn ask(&mut self, id: QuestionId, now: Duration) {
        let Some(asked) = self.agenda.get(id) else { return };
        let timings = asked.askers.iter().filter_map(|asker| self.watched.get(&asker.backend)?.get(asker.check));
        let timings: Vec<Timing> = timings.map(|watch| watch.timing).collect();
        let pace = timings.iter().map(|it| it.interval.min(it.fast_interval).min(it.down_interval)).min();
        let timeout = timings.iter().map(|timing| timing.timeout).max();
        let (question, pace) = (*asked.question, pace.unwrap_or(KNOCK.interval));
        self.agenda.started(id, now);
        self.under_way += 1;
        self.deeds.push(Deed::Asked { id, question, timeout: timeout.unwrap_or(KNOCK.timeout), pace });
    }

    /// Gives an answer to every check that wants it, and plans the next attempt.
    pub(crate) fn digest(&mut self, id: QuestionId, answer: Answer, now: Duration) {
        self.under_way -= 1;
        self.deeds.push(Deed::Answered);
        let Some(asked) = self.agenda.get(id) else { return };
        let good = matches!(answer, Answer::Good(_));
        let mut next = Next { interval: Duration::MAX, calm: true, good, slow: None };
        let mut healed = Vec::new();
        for asker in asked.askers.clone() {
            self.deliver(asker, answer, now, &mut next);
            let seat = self.seats.get(&asker.backend);
            healed.extend(seat.filter(|seat| good && source(&self.table.pools[seat.0]) == Source::Traffic));
        }
        if next.interval == Duration::MAX {
            next.interval = IDLE;
        }
        self.agenda.ended(id, now, next);
        for seat in healed {
            self.stop_knocking(seat, id);
        }
    }

    fn deliver(&mut self, asker: Asker, answer: Answer, now: Duration, next: &mut Next) {
        let Some(seat) = self.seats.get(&asker.backend).copied() else { return };
        let (pool, position) = seat;
        let backend = &self.table.pools[pool].backends[position];
        let mut row = backend.in_a_row();
        for follower in self.followers(pool) {
            row = row.max(self.table.pools[follower].backends[position].in_a_row());
        }
        let tally = (answer == Answer::Bad).then(|| backend.tally());
        self.judges[pool].probed((position, asker.check), answer, row, tally, now);
        self.deeds.push(Deed::Heard { seat, check: asker.check, answer, row });
        let Some((streak, _)) = self.judges[pool].check(position, asker.check) else { return };
        let timing = self.watched[&asker.backend][asker.check].timing;
        next.calm &= !streak.in_transition();
        next.interval = next.interval.min(timing.pace(streak, self.judges[pool].urgency()));
    }

    // === evidence ===

    fn take_evidence(&mut self, evidence: Evidence, now: Duration) {
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

    fn pay(&mut self, now: Duration) {
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
            self.judges[seat.0].knock(seat.1, &PlannedCheck { name: "knock".into(), question: id, timing: KNOCK });
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

    fn stop_knocking(&mut self, seat: Seat, id: QuestionId) {
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

    // === decisions ===

    fn conclude(&mut self, now: Duration) {
        let wants = |judge: &Judge| judge.is_restless() || judge.due().is_some_and(|due| due <= now);
        while let Some(pool) = self.judges.iter().position(wants) {
            let actions = self.judges[pool].conclude(now);
            for action in &actions {
                self.carry_out(pool, action);
            }
            self.deeds.push(Deed::Concluded { pool, actions });
        }
    }

    fn carry_out(&mut self, pool: usize, action: &Action) {
        match action {
            Action::Verdict { backend, now, .. } => {
                self.table.pools[pool].backends[*backend].set_verdict(*now);
                for follower in self.followers(pool) {
                    self.judges[follower].followed(*backend, *now);
                }
            }
            Action::Ask(backend) => {
                self.unpaid.push_back(Unpaid::Ask(self.table.pools[pool].backends[*backend].slot.serial));
            }
            Action::EvidenceTaken(backend) => {
                for pool in self.followers(pool).into_iter().chain([pool]) {
                    self.table.pools[pool].backends[*backend].evidence_taken();
                }
            }
            Action::Leader { .. } => {
                for (judge, pool) in self.judges.iter().zip(&self.table.pools) {
                    if let Some(incumbent) = judge.incumbent() {
                        self.remembered.insert(pool.config.name.to_string(), incumbent.to_string());
                    }
                }
            }
            Action::Lost(_) | Action::Cut(_) | Action::Disagreement(..) | Action::Raised(_) | Action::Eased(_) => {}
        }
    }

    /// Makes the data path see what was decided since, and only then tells who has fallen and whose sessions end.
    fn publish(&self, since: usize) {
        let pools = &self.table.pools;
        let actions = || {
            self.deeds[since..].iter().flat_map(|deed| match deed {
                Deed::Concluded { pool, actions } => actions.iter().map(|action| (*pool, action)).collect(),
                _ => Vec::new(),
            })
        };
        for (pool, action) in actions() {
            if matches!(action, Action::Verdict { .. }) {
                pools[pool].refresh();
            }
        }
        for (pool, action) in actions() {
            let concerned = self.followers(pool).into_iter().chain([pool]).map(|at| &pools[at]);
            match action {
                Action::Verdict { backend, .. } if pools[pool].backends[*backend].has_fallen() => {
                    pools[pool].backend_went_down(&pools[pool].backends[*backend]);
                }
                Action::Lost(backend) => concerned
                    .filter(|it| it.config.on_role_loss == OnDown::Close)
                    .for_each(|it| it.cut(&it.backends[*backend])),
                Action::Cut(backend) => concerned.for_each(|it| it.cut(&it.backends[*backend])),
                _ => {}
            }
        }
    }

    fn followers(&self, pool: usize) -> Vec<usize> {
        let follows = |it: &Pool| it.config.follows.is_some_and(|followed| followed.0 as usize == pool);
        (0..self.table.pools.len()).filter(|at| follows(&self.table.pools[*at])).collect()
    }

    /// The pool where it is decided who has the work of this one.
    pub(crate) fn root(&self, pool: usize) -> (usize, &Pool) {
        let root = self.table.pools[pool].config.follows.map_or(pool, |followed| followed.0 as usize);
        (root, &self.table.pools[root])
    }
}

pub(crate) fn source(pool: &Pool) -> Source {
    if pool.config.follows.is_some() {
        Source::Followed
    } else if pool.config.checks.is_empty() {
        Source::Traffic
    } else {
        Source::Checks
    }
}

/// What is asked of a backend: its checks, or the knock that goes on.
fn questions(pool: &Pool, backend: &Backend, known: &[Watch]) -> Vec<(Question, Timing)> {
    let machine = machine_of(backend);
    if source(pool) == Source::Traffic {
        return known.iter().map(|_| ((machine, 0), KNOCK)).collect();
    }
    pool.config.checks.iter().map(|check| ((machine, check.port.unwrap_or(80)), check.timing)).collect()
}
