//! The program of a story: tables, judges, agenda and budgets, put together as the schedule of probes does it, but with
//! a queue of events instead of sockets and clocks.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use evenkeel::balance::rng::Rng;
use evenkeel::config::model::{Initial, OnDown, Reads};
use evenkeel::health::agenda::{Agenda, Asker, Next, QuestionId, Room};
use evenkeel::health::evidence::Budget;
use evenkeel::health::judge::{
    Action, Answer, Leave, Location, Orders, Plan, Planned, PlannedCheck, Rank, Response, Source,
};
use evenkeel::health::{Judge, Role, State, Symptom, Timing, Urgency, Wish};
use evenkeel::pool::pick::Ask;
use evenkeel::pool::{Backend, Bell, Evidence, Lease, Local, Pool};
use evenkeel::route::{Foundation, Table};
use foldhash::fast::FixedState;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::chance::Chance;
use super::plot::Plot;
use super::rules::Rules;
use super::world::{Life, Machine};

/// Probes under way at once.
pub(crate) const MOST_AT_ONCE: usize = 8;
/// Probes that evidence brings: so many a second, and a burst.
pub(crate) const EVIDENCE_PER_SECOND: u32 = 10;
pub(crate) const EVIDENCE_BURST: u32 = 20;
/// A time without events, after which everything must be as the world is.
const CALM: Duration = Duration::from_secs(120);

const KNOCK: Timing = Timing {
    interval: Duration::from_secs(1),
    fast_interval: Duration::from_secs(1),
    down_interval: Duration::from_secs(1),
    timeout: Duration::from_secs(1),
    rise: std::num::NonZeroU32::MIN,
    fall: std::num::NonZeroU32::MIN,
    initial: Initial::Up,
};

/// What is asked: of which machine, at which port; port 0 is a knock.
type Question = (u32, u16);

#[derive(Debug)]
enum Event {
    ProbeEnds(QuestionId, Answer),
    Traffic,
    /// A request has waited in vain.
    Late(usize, Symptom),
    SessionEnds(usize),
    World,
    Operator,
    Reload,
    Sample,
    CalmEnds,
}

enum Unpaid {
    Evidence(Evidence, Response),
    Ask(u64),
}

/// Work that holds a lease.
pub(crate) struct Session {
    pub(crate) pool: String,
    pub(crate) lease: Lease,
}

/// What happened in a story, so that a test can tell that its rules had something to hold against.
#[derive(Debug, Default, Clone)]
pub(crate) struct Counts {
    verdicts: u64,
    leaders: u64,
    ejections: u64,
    holds: u64,
    cut: u64,
    lost: u64,
    picks: u64,
    evidence: u64,
    knocks: u64,
    reloads: u64,
    restarts: u64,
    orders: u64,
    alarms: u64,
    disagreements: u64,
    calms: u64,
    ramps: u64,
}

impl Counts {
    fn all(&mut self) -> [&mut u64; 16] {
        let Self { verdicts, leaders, ejections, holds, cut, lost, picks, evidence, knocks, .. } = self;
        let Self { reloads, restarts, orders, alarms, disagreements, calms, ramps, .. } = self;
        [
            verdicts,
            leaders,
            ejections,
            holds,
            cut,
            lost,
            picks,
            evidence,
            knocks,
            reloads,
            restarts,
            orders,
            alarms,
            disagreements,
            calms,
            ramps,
        ]
    }

    pub(crate) fn add(&mut self, other: &Self) {
        let mut other = other.clone();
        for (sum, more) in self.all().into_iter().zip(other.all()) {
            *sum += *more;
        }
    }

    /// Everything that a rule is about has happened often.
    pub(crate) fn assert_rich(&self) {
        let counts = self.clone().all().map(|count| *count);
        assert!(counts.iter().all(|count| *count > 50), "{self:?}");
    }
}

pub(crate) struct House {
    pub(crate) now: Duration,
    chance: Chance,
    plot: Plot,
    pub(crate) machines: BTreeMap<u32, Machine>,
    queue: BTreeMap<(Duration, u64), Event>,
    queued: u64,
    pub(crate) table: Table,
    foundation: Foundation,
    evidence: UnboundedReceiver<Evidence>,
    pub(crate) judges: Vec<Judge>,
    seats: HashMap<u64, (usize, usize), FixedState>,
    agenda: Agenda<Question>,
    /// The questions of each backend, by its serial.
    asked: HashMap<u64, Vec<(QuestionId, Timing)>, FixedState>,
    in_flight: usize,
    budget: Budget,
    unpaid: VecDeque<Unpaid>,
    pub(crate) orders: BTreeMap<(String, String), Orders>,
    remembered: BTreeMap<String, String>,
    locals: HashMap<String, Local, FixedState>,
    rng: Rng,
    pub(crate) sessions: BTreeMap<usize, Session>,
    next_session: usize,
    pub(crate) calm: bool,
    rules: Rules,
    history: u64,
    pub(crate) counts: Counts,
}

impl House {
    pub(crate) fn build(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let plot = Plot::new(&mut chance);
        let role = |number: u32| plot.has_roles.then_some(if number == 0 { Role::Active } else { Role::Standby });
        let machines = plot.machines.iter().map(|number| (*number, Machine::new(role(*number)))).collect();
        let (sender, evidence) = unbounded_channel();
        let foundation = Foundation { workers: 1, evidence: sender, bell: Arc::new(Bell::default()) };
        let table = Table::build(plot.config(), None, &foundation);
        let mut house = Self {
            now: Duration::from_secs(100),
            rng: Rng::seeded(chance.next()),
            agenda: Agenda::new(chance.next()),
            chance,
            plot,
            machines,
            queue: BTreeMap::new(),
            queued: 0,
            table,
            foundation,
            evidence,
            judges: Vec::new(),
            seats: HashMap::default(),
            asked: HashMap::default(),
            in_flight: 0,
            budget: Budget::new(EVIDENCE_PER_SECOND, EVIDENCE_BURST),
            unpaid: VecDeque::new(),
            orders: BTreeMap::new(),
            remembered: BTreeMap::new(),
            locals: HashMap::default(),
            sessions: BTreeMap::new(),
            next_session: 0,
            calm: false,
            rules: Rules::default(),
            history: 0,
            counts: Counts::default(),
        };
        house.follow();
        for event in [Event::Traffic, Event::World, Event::Operator, Event::Reload, Event::Sample] {
            house.plan(Duration::from_secs(1), event);
        }
        house
    }

    fn plan(&mut self, after: Duration, event: Event) {
        self.queued += 1;
        self.queue.insert((self.now + after, self.queued), event);
    }

    /// Gives back what is open; the story as a number.
    pub(crate) fn close(mut self) -> (u64, Counts) {
        self.sessions.clear();
        self.rules.leases(&self.table, &self.sessions);
        (self.history, self.counts)
    }

    // === time ===

    /// The next thing happens.
    pub(crate) fn step(&mut self) {
        self.now = self.now.max(self.next());
        if let Some((key, _)) = self.queue.first_key_value().filter(|((at, _), _)| *at <= self.now) {
            let key = *key;
            let event = self.queue.remove(&key).unwrap();
            self.happen(event);
        }
        while let Ok(evidence) = self.evidence.try_recv() {
            self.take_evidence(evidence);
        }
        self.conclude();
        self.pay();
        while let Some(id) = self.agenda.pop(self.now, Room::of(self.in_flight, MOST_AT_ONCE)) {
            self.ask(id);
        }
        let mut rules = std::mem::take(&mut self.rules);
        rules.moment(self);
        self.rules = rules;
    }

    fn next(&mut self) -> Duration {
        let queue = self.queue.first_key_value().map(|((at, _), _)| *at);
        let room = Room::of(self.in_flight, MOST_AT_ONCE) == Room::All;
        let agenda = if room { self.agenda.next_due() } else { None };
        let judges = self.judges.iter().filter_map(Judge::due).min();
        let paid = (!self.unpaid.is_empty()).then(|| self.now + self.budget.wait());
        [queue, agenda, judges, paid].into_iter().flatten().min().unwrap()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::ProbeEnds(id, answer) => self.digest(id, answer),
            Event::Traffic => self.traffic(),
            Event::Late(session, symptom) => {
                if let Some(session) = self.sessions.remove(&session) {
                    session.lease.backend().stats.mine().failures.inc();
                    session.lease.backend().suspect(symptom);
                }
            }
            Event::SessionEnds(session) => {
                self.sessions.remove(&session);
            }
            Event::World => self.world(),
            Event::Operator => self.operator(),
            Event::Reload => self.reload(),
            Event::Sample => self.sample(),
            Event::CalmEnds => {
                let mut rules = std::mem::take(&mut self.rules);
                rules.calm(self);
                self.rules = rules;
                self.counts.calms += 1;
                self.calm = false;
            }
        }
    }

    // === as the schedule does it ===

    fn follow(&mut self) {
        self.agenda.forget_askers();
        self.seats.clear();
        let mut asked: HashMap<u64, Vec<(QuestionId, Timing)>, FixedState> = HashMap::default();
        let mut plans = Vec::new();
        for (at, pool) in self.table.pools.iter().enumerate() {
            let mut planned = Vec::new();
            for (position, (backend, member)) in pool.backends.iter().zip(&pool.config.members).enumerate() {
                let serial = backend.slot.serial;
                self.seats.insert(serial, (at, position));
                let checks = questions(pool, backend, self.asked.get(&serial));
                let mut ids = Vec::new();
                for (number, (question, check)) in checks.iter().enumerate() {
                    let id = self.agenda.ask(question, Asker { backend: serial, check: number });
                    if self.asked.get(&serial).is_none_or(|known| known.iter().all(|(known, _)| *known != id)) {
                        self.agenda.soon(id, self.now);
                    }
                    ids.push((id, check.timing));
                }
                planned.push(Planned {
                    id: serial,
                    name: Arc::clone(&backend.name),
                    standing: member.standing,
                    location: Location::Known,
                    stands: backend.verdict(),
                    checks: checks
                        .into_iter()
                        .map(|(_, check)| check)
                        .zip(&ids)
                        .map(|(check, (id, _))| PlannedCheck { question: *id, ..check })
                        .collect(),
                });
                asked.insert(serial, ids);
            }
            plans.push(Plan { policy: pool.config.policy.clone(), source: source(pool), backends: planned });
        }
        self.asked = asked;
        self.agenda.prune();
        self.seat_judges(plans);
        let (seats, judges, known) = (&self.seats, &self.judges, &self.asked);
        let check_of = |asker: Asker| {
            let (pool, position) = *seats.get(&asker.backend)?;
            let (streak, _) = judges[pool].check(position, asker.check)?;
            Some((streak, known.get(&asker.backend)?.get(asker.check)?.1))
        };
        let pace = |askers: &[Asker]| {
            let checks = askers.iter().filter_map(|asker| check_of(*asker));
            checks.map(|(streak, timing)| timing.pace(streak, Urgency::Usual)).min().unwrap_or(KNOCK.interval)
        };
        self.agenda.begin(self.now, |asked| {
            let mut checks = asked.askers.iter().filter_map(|asker| check_of(*asker));
            checks.all(|(streak, _)| streak.state() != State::Unknown).then(|| pace(&asked.askers))
        });
        self.agenda.hasten(self.now, |asked| pace(&asked.askers));
        self.pass_on_orders();
        self.rules.follow(&self.table);
        self.conclude();
        for pool in &self.table.pools {
            pool.refresh();
        }
    }

    fn seat_judges(&mut self, plans: Vec<Plan>) {
        let names: Vec<String> = self.table.pools.iter().map(|pool| pool.config.name.to_string()).collect();
        let mut known: BTreeMap<String, Judge> = BTreeMap::new();
        for judge in std::mem::take(&mut self.judges) {
            // Pools keep their names and places in a story.
            known.insert(names[known.len()].clone(), judge);
        }
        for (name, plan) in names.iter().zip(plans) {
            let judge = match known.remove(name) {
                Some(mut judge) => {
                    judge.replan(plan, self.now);
                    judge
                }
                None => Judge::new(plan, self.remembered.get(name).map(String::as_str), self.now),
            };
            self.judges.push(judge);
        }
        for (at, pool) in self.table.pools.iter().enumerate() {
            if let Some(followed) = pool.config.follows {
                for (position, backend) in self.table.pools[followed.0 as usize].backends.iter().enumerate() {
                    self.judges[at].followed(position, backend.verdict());
                }
            }
        }
    }

    fn ask(&mut self, id: QuestionId) {
        let Some(asked) = self.agenda.get(id) else { return };
        let (machine, port) = *asked.question;
        let timeout = match port {
            0 => KNOCK.timeout,
            _ => self.asked[&asked.askers[0].backend][asked.askers[0].check].1.timeout,
        };
        self.agenda.started(id, self.now);
        self.in_flight += 1;
        self.rules.asked(self.in_flight);
        let (takes, answer) = match self.machines.get(&machine) {
            Some(machine) if port == 0 && machine.life == Life::Ill => (Duration::ZERO, Answer::Good(machine.says())),
            Some(machine) => machine.probe(&mut self.chance, timeout),
            None => (Duration::ZERO, Answer::Bad),
        };
        self.plan(takes, Event::ProbeEnds(id, answer));
    }

    fn digest(&mut self, id: QuestionId, answer: Answer) {
        self.in_flight -= 1;
        let Some(asked) = self.agenda.get_mut(id) else { return };
        let askers = asked.askers.clone();
        let good = matches!(answer, Answer::Good(_));
        let mut next = Next { interval: Duration::MAX, calm: true, good, slow: None };
        let mut healed = Vec::new();
        for asker in askers {
            let Some((pool, position)) = self.seats.get(&asker.backend).copied() else { continue };
            let backend = &self.table.pools[pool].backends[position];
            let followers =
                self.table.pools.iter().filter(|it| it.config.follows.is_some_and(|it| it.0 as usize == pool));
            let row = followers.fold(backend.in_a_row(), |row, pool| row.max(pool.backends[position].in_a_row()));
            let tally = (answer == Answer::Bad).then(|| backend.tally());
            self.judges[pool].probed((position, asker.check), answer, row, tally, self.now);
            self.rules.heard(&self.table.pools[pool], position, asker.check, answer, row, self.now);
            let Some((streak, _)) = self.judges[pool].check(position, asker.check) else { continue };
            let timing = self.asked[&asker.backend][asker.check].1;
            next.calm &= !streak.in_transition();
            next.interval = next.interval.min(timing.pace(streak, self.judges[pool].urgency()));
            if good && source(&self.table.pools[pool]) == Source::Traffic {
                healed.push((asker.backend, pool, position));
            }
        }
        if next.interval == Duration::MAX {
            next.interval = Duration::from_secs(60);
        }
        self.agenda.ended(id, self.now, next);
        for (serial, pool, position) in healed {
            self.judges[pool].stop_knocking(position);
            self.asked.insert(serial, Vec::new());
            if let Some(asked) = self.agenda.get_mut(id) {
                asked.askers.retain(|asker| asker.backend != serial);
            }
            self.agenda.prune();
        }
    }

    fn take_evidence(&mut self, evidence: Evidence) {
        let backend = &evidence.backend;
        let Some((pool, position)) = self.seats.get(&backend.slot.serial).copied() else {
            return backend.evidence_taken();
        };
        self.counts.evidence += 1;
        let response = self.judges[pool].traffic_failed(position, evidence.symptom, backend.in_a_row(), self.now);
        if response == Response::Nothing {
            return backend.evidence_taken();
        }
        self.unpaid.push_back(Unpaid::Evidence(evidence, response));
    }

    fn pay(&mut self) {
        while let Some(unpaid) = self.unpaid.pop_front() {
            if !self.budget.take(self.now) {
                self.unpaid.push_front(unpaid);
                break;
            }
            self.rules.paid(self.now);
            match unpaid {
                Unpaid::Ask(serial) => {
                    for (id, _) in self.asked.get(&serial).cloned().unwrap_or_default() {
                        self.agenda.urge(id, self.now);
                    }
                }
                Unpaid::Evidence(evidence, response) => self.bring_probe(&evidence, response),
            }
        }
    }

    fn bring_probe(&mut self, evidence: &Evidence, response: Response) {
        let backend = &evidence.backend;
        let serial = backend.slot.serial;
        let Some((pool, position)) = self.seats.get(&serial).copied() else { return backend.evidence_taken() };
        let source = self.table.pools[pool].config.follows.map_or(pool, |followed| followed.0 as usize);
        if response == Response::Knock {
            self.counts.knocks += 1;
            let machine = machine_of(backend);
            let id = self.agenda.ask(&Arc::new((machine, 0)), Asker { backend: serial, check: 0 });
            self.asked.insert(serial, vec![(id, KNOCK)]);
            self.judges[pool].knock(position, &PlannedCheck { name: "knock".into(), question: id, timing: KNOCK });
            self.rules.knocked(&self.table.pools[pool], position);
        }
        let asked = self.table.pools[source].backends[position].slot.serial;
        let questions = self.asked.get(&asked).cloned().unwrap_or_default();
        if questions.is_empty() {
            return backend.evidence_taken();
        }
        self.judges[source].suspect(position, evidence.symptom);
        self.rules.suspected(&self.table.pools[source], position, evidence.symptom);
        for (id, _) in questions {
            self.agenda.urge(id, self.now);
        }
    }

    fn conclude(&mut self) {
        // Once for each step of a chain of pools that follow each other.
        for _ in 0..2 {
            for pool in 0..self.judges.len() {
                let was = self.judges[pool].holder().cloned();
                let actions = self.judges[pool].conclude(self.now);
                self.note(pool, &actions);
                for action in &actions {
                    self.carry_out(pool, action);
                }
                let pools = &self.table.pools;
                if actions.iter().any(|action| matches!(action, Action::Verdict { .. })) {
                    pools[pool].refresh();
                }
                self.rules.concluded(
                    &self.table,
                    pool,
                    &self.judges[pool],
                    was.as_deref(),
                    &actions,
                    &self.orders,
                    self.now,
                );
                self.cut(pool, &actions);
                if let Some(incumbent) = self.judges[pool].incumbent() {
                    self.remembered.insert(self.table.pools[pool].config.name.to_string(), incumbent.to_string());
                }
            }
        }
    }

    fn carry_out(&mut self, pool: usize, action: &Action) {
        match action {
            Action::Verdict { backend, now, .. } => {
                self.counts.verdicts += 1;
                self.counts.ramps += u64::from(now.share < 100 && now.serves.work());
                self.table.pools[pool].backends[*backend].set_verdict(*now);
                for (at, other) in self.table.pools.iter().enumerate() {
                    if other.config.follows.is_some_and(|followed| followed.0 as usize == pool) {
                        self.judges[at].followed(*backend, *now);
                    }
                }
            }
            Action::Ask(backend) => {
                self.unpaid.push_back(Unpaid::Ask(self.table.pools[pool].backends[*backend].slot.serial));
            }
            Action::EvidenceTaken(backend) => {
                for (at, other) in self.table.pools.iter().enumerate() {
                    if at == pool || other.config.follows.is_some_and(|followed| followed.0 as usize == pool) {
                        other.backends[*backend].evidence_taken();
                    }
                }
            }
            Action::Leader { .. } => self.counts.leaders += 1,
            Action::Disagreement(_, Some(_)) => self.counts.disagreements += 1,
            Action::Raised(_) => self.counts.alarms += 1,
            Action::Lost(_) | Action::Cut(_) | Action::Disagreement(_, None) | Action::Eased(_) => {}
        }
    }

    /// Sessions end that must not go on, in this pool and those that follow it.
    fn cut(&mut self, pool: usize, actions: &[Action]) {
        for action in actions {
            let (backend, close) = match action {
                Action::Lost(backend) => (*backend, None),
                Action::Cut(backend) => (*backend, Some(())),
                _ => continue,
            };
            for (at, other) in self.table.pools.iter().enumerate() {
                let follows = other.config.follows.is_some_and(|followed| followed.0 as usize == pool);
                let wanted = close.is_some() || other.config.on_role_loss == OnDown::Close;
                if (at == pool || follows) && wanted {
                    other.cut(&other.backends[backend]);
                    self.counts.cut += 1;
                }
            }
        }
        let pools = &self.table.pools;
        let before = self.sessions.len();
        self.sessions.retain(|_, session| {
            let closes =
                pools.iter().any(|pool| *pool.config.name == *session.pool && pool.config.on_down == OnDown::Close);
            !session.lease.is_cut() && !(closes && session.lease.backend().has_fallen())
        });
        self.counts.lost += (before - self.sessions.len()) as u64;
    }

    fn note(&mut self, pool: usize, actions: &[Action]) {
        for action in actions {
            let mut hasher = FixedState::with_seed(self.history).build_hasher();
            hasher.write(format!("{:?} {pool} {action:?}", self.now).as_bytes());
            self.history = hasher.finish();
            if std::env::var_os("EVENKEEL_TELL").is_some() {
                println!("{:?} {} {action:?}", self.now, self.table.pools[pool].config.name);
            }
        }
    }

    fn pass_on_orders(&mut self) {
        for (pool, judge) in self.table.pools.iter().zip(&mut self.judges) {
            for (position, backend) in pool.backends.iter().enumerate() {
                let key = (pool.config.name.to_string(), backend.name.to_string());
                let orders = self.orders.get(&key).copied().unwrap_or_default();
                judge.ordered(position, orders, || "an operator".to_owned());
            }
        }
    }

    fn sample(&mut self) {
        for (judge, pool) in self.judges.iter_mut().zip(&self.table.pools) {
            if judge.wants_samples() {
                for (position, backend) in pool.backends.iter().enumerate() {
                    judge.sampled(position, backend.tally(), backend.in_a_row(), self.now);
                }
                judge.weigh_samples(self.now);
            }
            self.counts.ejections += (0..pool.backends.len()).filter(|at| judge.ejected(*at).is_some()).count() as u64;
            self.counts.holds += (0..pool.backends.len()).filter(|at| judge.held(*at).is_some()).count() as u64;
        }
        self.plan(Duration::from_secs(1), Event::Sample);
    }

    // === what the world does ===

    fn traffic(&mut self) {
        let pool = Arc::clone(&self.table.pools[self.chance.below(self.table.pools.len())]);
        let reads = if self.chance.percent(30) { Reads::Standby } else { Reads::Active };
        let name = pool.config.name.to_string();
        let seed = self.chance.next();
        let local = self.locals.entry(name.clone()).or_insert_with(|| Local::new(seed));
        let ask = Ask { reads, ..Ask::default() };
        if let Some(lease) = pool.pick(local, &mut self.rng, &ask, &[]) {
            self.counts.picks += 1;
            self.rules.picked(&lease, reads);
            self.serve(Session { pool: name, lease });
        }
        let pause = self.chance.ms(5, 60);
        self.plan(pause, Event::Traffic);
    }

    fn serve(&mut self, session: Session) {
        let backend = Arc::clone(session.lease.backend());
        let number = machine_of(&backend);
        let Some(machine) = self.machines.get(&number) else { return };
        let stats = backend.stats.mine();
        stats.picks.inc();
        match machine.life {
            _ if machine.cut_off => self.wait_in_vain(session, Symptom::ConnectTimeout),
            Life::Hung => self.wait_in_vain(session, Symptom::Late),
            Life::Dead => {
                stats.connect_failures.inc();
                stats.failures.inc();
                backend.suspect(Symptom::Refused);
            }
            Life::Well | Life::Ill if machine.broken => {
                stats.failures.inc();
                let symptom = self.chance.of(&[Symptom::BadAnswer, Symptom::Reset]);
                backend.suspect(symptom);
            }
            // Some that are ill for their probes serve all the same.
            Life::Ill if number % 2 == 0 => {
                stats.responses[4].inc();
                backend.answered(self.chance.ms(1, 20));
            }
            Life::Well | Life::Ill => {
                stats.responses[1].inc();
                backend.answered(self.chance.ms(1, 20));
                if self.chance.percent(20) {
                    let length = self.chance.ms(100, 60_000);
                    let id = self.open(session);
                    self.plan(length, Event::SessionEnds(id));
                }
            }
        }
    }

    fn wait_in_vain(&mut self, session: Session, symptom: Symptom) {
        session.lease.backend().suspect(Symptom::Silent);
        let id = self.open(session);
        self.plan(Duration::from_millis(700), Event::Late(id, symptom));
    }

    fn open(&mut self, session: Session) -> usize {
        self.next_session += 1;
        self.sessions.insert(self.next_session, session);
        self.next_session
    }

    fn world(&mut self) {
        let pause = self.chance.of(&[(20, 200), (300, 3_000), (300, 3_000), (3_000, 20_000)]);
        let pause = self.chance.ms(pause.0, pause.1);
        self.plan(pause, Event::World);
        if self.calm {
            return;
        }
        if self.chance.percent(1) {
            return self.begin_calm();
        }
        let (roles, now) = (self.plot.has_roles, self.now);
        if roles && self.chance.percent(25) {
            return self.move_leader();
        }
        let numbers: Vec<u32> = self.machines.keys().copied().collect();
        let machine = self.machines.get_mut(&self.chance.of(&numbers)).unwrap();
        machine.since = now;
        match self.chance.below(12) {
            0 | 1 => machine.life = Life::Dead,
            2 => machine.life = Life::Hung,
            3 => machine.life = Life::Ill,
            4 => machine.cut_off = !machine.cut_off,
            5 => machine.broken = !machine.broken,
            6 => machine.wish = self.chance.of(&[Wish::Work, Wish::Work, Wish::Drain, Wish::Maintenance]),
            7 => machine.share = self.chance.of(&[None, None, Some(0), Some(30), Some(250)]),
            _ => {
                machine.life = Life::Well;
                machine.cut_off = false;
                machine.broken = false;
                machine.wish = Wish::Work;
            }
        }
    }

    /// The leader steps back, somebody steps forward, or both lead for a while.
    fn move_leader(&mut self) {
        let numbers: Vec<u32> = self.machines.keys().copied().collect();
        let (now, to) = (self.now, self.chance.of(&numbers));
        let epoch = 1 + self.machines.values().map(|machine| machine.epoch).max().unwrap_or(0);
        let way = self.chance.below(3);
        for (number, machine) in &mut self.machines {
            let role = match way {
                // A planned move: one leads, all others follow.
                0 => {
                    if *number == to {
                        Role::Active
                    } else {
                        Role::Standby
                    }
                }
                // A gap: nobody leads.
                1 => Role::Standby,
                // Two lead.
                _ if *number == to => Role::Active,
                _ => continue,
            };
            if machine.role != Some(role) {
                machine.role = Some(role);
                machine.since = now;
            }
            if *number == to {
                machine.epoch = epoch;
            }
        }
    }

    /// The world heals, and nothing happens for long.
    fn begin_calm(&mut self) {
        self.calm = true;
        self.orders.clear();
        self.pass_on_orders();
        let numbers: Vec<u32> = self.machines.keys().copied().filter(|it| self.plot.machines.contains(it)).collect();
        let leader = self.chance.of(&numbers);
        for (number, machine) in &mut self.machines {
            let role = self.plot.has_roles.then_some(if *number == leader { Role::Active } else { Role::Standby });
            *machine = Machine { since: self.now, epoch: machine.epoch, ..Machine::new(role) };
        }
        self.plan(CALM, Event::CalmEnds);
    }

    fn operator(&mut self) {
        let pause = self.chance.ms(2_000, 20_000);
        self.plan(pause, Event::Operator);
        if self.calm {
            return;
        }
        self.counts.orders += 1;
        let pool = &self.table.pools[self.chance.below(self.table.pools.len())];
        let name = pool.config.name.to_string();
        let backend = pool.backends[self.chance.below(pool.backends.len())].name.to_string();
        let until = self.chance.percent(70).then(|| self.now + Duration::from_secs(10));
        let choice = self.chance.below(8);
        if choice == 4 {
            // One promote for each pool.
            for ((_, _), orders) in self.orders.iter_mut().filter(|((pool, _), _)| *pool == name) {
                orders.rank = orders.rank.filter(|rank| *rank != Rank::Promoted);
            }
        }
        let orders = self.orders.entry((name, backend)).or_default();
        match choice {
            0 => orders.leave = Some(Leave::Drain { until }),
            1 => orders.leave = Some(Leave::Maintenance),
            2 => orders.weight = Some(self.chance.of(&[0, 10, 200])),
            3 => orders.rank = Some(Rank::Demoted),
            4 => orders.rank = Some(Rank::Promoted),
            _ => self.orders.clear(),
        }
        self.pass_on_orders();
    }

    fn reload(&mut self) {
        let pause = self.chance.ms(5_000, 60_000);
        self.plan(pause, Event::Reload);
        if self.calm {
            return;
        }
        match self.chance.below(5) {
            0 => {
                let number = self.plot.grow(&mut self.chance);
                let role = self.plot.has_roles.then_some(Role::Standby);
                self.machines.insert(number, Machine { since: self.now, ..Machine::new(role) });
            }
            1 if self.plot.machines.len() > 2 => {
                let gone = self.chance.below(self.plot.machines.len());
                let number = self.plot.machines.remove(gone);
                self.machines.remove(&number);
            }
            2 => self.plot.machines.reverse(),
            3 => return self.restart(),
            _ => {}
        }
        self.counts.reloads += 1;
        self.table = Table::build(self.plot.config(), Some(&self.table), &self.foundation);
        self.follow();
    }

    /// The program ends and begins anew; only the state file is left.
    fn restart(&mut self) {
        self.counts.restarts += 1;
        self.sessions.clear();
        self.rules.leases(&self.table, &self.sessions);
        self.judges.clear();
        self.locals.clear();
        self.unpaid.clear();
        self.asked.clear();
        self.agenda = Agenda::new(self.chance.next());
        self.in_flight = 0;
        self.queue.retain(|_, event| !matches!(event, Event::ProbeEnds(..) | Event::Late(..) | Event::SessionEnds(_)));
        self.rules.restarted();
        self.table = Table::build(self.plot.config(), None, &self.foundation);
        self.follow();
    }
}

/// The machine that a backend runs on: the last part of its address.
pub(crate) fn machine_of(backend: &Backend) -> u32 {
    let address = backend.socket_address().unwrap();
    address.ip().to_string().rsplit('.').next().unwrap().parse().unwrap()
}

fn source(pool: &Pool) -> Source {
    if pool.config.follows.is_some() {
        Source::Followed
    } else if pool.config.checks.is_empty() {
        Source::Traffic
    } else {
        Source::Checks
    }
}

/// What is asked of a backend: its checks, or the knock that goes on.
fn questions(
    pool: &Pool,
    backend: &Backend,
    known: Option<&Vec<(QuestionId, Timing)>>,
) -> Vec<(Arc<Question>, PlannedCheck)> {
    let machine = machine_of(backend);
    if source(pool) == Source::Traffic {
        let knock = PlannedCheck { name: "knock".into(), question: 0, timing: KNOCK };
        return known.into_iter().flatten().map(|_| (Arc::new((machine, 0)), knock.clone())).collect();
    }
    let planned = pool.config.checks.iter().map(|check| {
        let question = (machine, check.port.unwrap_or(80));
        (Arc::new(question), PlannedCheck { name: Arc::clone(&check.name), question: 0, timing: check.timing })
    });
    planned.collect()
}
