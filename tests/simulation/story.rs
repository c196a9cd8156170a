//! A story: a queue of events brings the world, traffic, operators and reloads to the program, step by step, and the
//! rules look at every step.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write};
use std::hash::{BuildHasher, Hasher};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::balance::rng::Rng;
use evenkeel::config::model::{OnDown, Reads};
use evenkeel::control::overrides::{Force, TakeBack};
use evenkeel::control::state_file::{self, State};
use evenkeel::health::agenda::QuestionId;
use evenkeel::health::judge::Answer;
use evenkeel::pool::pick::Ask;
use evenkeel::pool::{Backend, Lease, Local, Notice, Order, Override, Symptom};
use foldhash::fast::FixedState;

use super::chance::Chance;
use super::counts::Counts;
use super::plot::Plot;
use super::program::{Deed, Program, machine_of, wall};
use super::rules::{Rules, View};
use super::world::{Answers, Life, Path, World};

/// A time without events, after which everything must be as the world is.
const CALM: Duration = Duration::from_secs(120);
/// A request waits so long before it has failed.
const LATE: Duration = Duration::from_millis(700);

#[derive(Debug)]
enum Event {
    ProbeEnds(QuestionId, Answer),
    Request,
    /// A request has waited in vain.
    Late(usize, Symptom),
    SessionEnds(usize),
    World,
    Flap(u32),
    Operator,
    Reload,
    Sample,
    CalmEnds,
}

/// Work that holds a lease.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) pool: Arc<str>,
    pub(crate) reads: Reads,
    pub(crate) lease: Lease,
    pub(crate) since: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    Rough,
    Calm,
}

pub(crate) struct Story {
    now: Duration,
    chance: Chance,
    plot: Plot,
    world: World,
    program: Program,
    rules: Rules,
    queue: BTreeMap<(Duration, u64), Event>,
    queued: u64,
    rng: Rng,
    locals: HashMap<Arc<str>, Local, FixedState>,
    sessions: BTreeMap<usize, Session>,
    next_session: usize,
    /// Every backend that ever was.
    backends: HashMap<u64, Arc<Backend>, FixedState>,
    weather: Weather,
    folder: tempfile::TempDir,
    history: History,
    pub(crate) counts: Counts,
}

impl Story {
    pub(crate) fn begin(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let plot = Plot::new(&mut chance);
        let world = World::new(&plot.machines, plot.roles);
        let now = Duration::from_secs(100);
        let program = Program::start(plot.config(), State::default(), chance.next(), now);
        let mut story = Self {
            now,
            rng: Rng::seeded(chance.next()),
            chance,
            plot,
            world,
            program,
            rules: Rules::default(),
            queue: BTreeMap::new(),
            queued: 0,
            locals: HashMap::default(),
            sessions: BTreeMap::new(),
            next_session: 0,
            backends: HashMap::default(),
            weather: Weather::Rough,
            folder: tempfile::tempdir().expect("a folder for the state file"),
            history: History::default(),
            counts: Counts::default(),
        };
        for event in [Event::Request, Event::World, Event::Operator, Event::Reload, Event::Sample] {
            story.plan(Duration::from_secs(1), event);
        }
        story
    }

    fn plan(&mut self, after: Duration, event: Event) {
        self.queued += 1;
        self.queue.insert((self.now + after, self.queued), event);
    }

    /// The next thing happens.
    pub(crate) fn step(&mut self) {
        let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
        let due = self.program.next_due(self.now);
        self.now = self.now.max(queued.map_or(due, |queued| queued.min(due)));
        if let Some(first) = self.queue.first_entry().filter(|first| first.key().0 <= self.now) {
            let event = first.remove();
            self.happen(&event);
        }
        self.program.act(self.now);
        self.hear_notices();
        self.look();
    }

    /// Takes note of what the program has done, and holds it against the rules.
    fn look(&mut self) {
        let deeds = std::mem::take(&mut self.program.deeds);
        for deed in &deeds {
            self.history.take(format_args!("{:?} {deed:?}", self.now));
            self.counts.note(deed);
            match deed {
                Deed::Asked { id, question: (machine, port), timeout, .. } => {
                    let machine = self.world.machines.get(machine);
                    let found = machine.map(|it| it.probe(*port == 0, *timeout, &mut self.chance));
                    let (takes, answer) = found.unwrap_or((Duration::ZERO, Answer::Bad));
                    self.plan(takes, Event::ProbeEnds(*id, answer));
                }
                Deed::Followed => {
                    let all = self.program.table.pools.iter().flat_map(|pool| &pool.backends);
                    self.backends.extend(all.map(|it| (it.slot.serial, Arc::clone(it))));
                }
                _ => {}
            }
        }
        let view = View { program: &self.program, world: &self.world, sessions: &self.sessions, now: self.now };
        self.rules.look(&view, &deeds, &mut self.counts);
        if self.queued.is_multiple_of(16) {
            self.count_leases();
        }
    }

    /// Ends what is open; what has happened, as a number, and how much of what.
    pub(crate) fn end(mut self) -> (u64, Counts) {
        self.sessions.clear();
        self.count_leases();
        (self.history.0, self.counts)
    }

    /// A lease is work in flight, and nothing else is.
    fn count_leases(&mut self) {
        let mut held: HashMap<u64, u32, FixedState> = HashMap::default();
        for session in self.sessions.values() {
            *held.entry(session.lease.backend().slot.serial).or_default() += 1;
        }
        for (serial, backend) in &self.backends {
            let (counted, held) = (backend.in_flight(), held.get(serial).copied().unwrap_or(0));
            assert_eq!(counted, held, "leases of {}/{}: counted and held", backend.pool, backend.name);
        }
        self.counts.leases += 1;
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::ProbeEnds(id, answer) => self.program.digest(id, answer, self.now),
            Event::Request => self.request(),
            Event::Late(session, symptom) => {
                if let Some(session) = self.sessions.remove(&session) {
                    session.lease.backend().stats.mine().failures.inc();
                    session.lease.backend().suspect(symptom);
                }
            }
            Event::SessionEnds(session) => {
                self.sessions.remove(&session);
            }
            Event::World => self.disturb(),
            Event::Flap(machine) => {
                if let Some(again) = self.world.flap(machine, self.now) {
                    self.plan(again, Event::Flap(machine));
                }
            }
            Event::Operator => self.operator(),
            Event::Reload => self.reload(),
            Event::Sample => {
                self.program.sample(self.now);
                self.plan(Duration::from_secs(1), Event::Sample);
            }
            Event::CalmEnds => self.end_calm(),
        }
    }

    // === traffic ===

    fn request(&mut self) {
        let pool = Arc::clone(&self.program.table.pools[self.chance.below(self.program.table.pools.len())]);
        let reads = if self.chance.percent(30) { Reads::Standby } else { Reads::Active };
        let client = Ipv4Addr::new(10, self.chance.of(&[1, 9]), 0, 1);
        let ask = Ask { reads, near: pool.near(client.into()), ..Ask::default() };
        let (seed, now) = (self.chance.next(), self.now);
        let local = self.locals.entry(Arc::clone(&pool.config.name)).or_insert_with(|| Local::new(seed));
        if let Some(lease) = pool.pick(local, &mut self.rng, &ask, &[]) {
            self.counts.picks += 1;
            self.history.take(format_args!("{}", lease.backend().name));
            Rules::picked(&pool, &lease, &ask, client);
            self.serve(Session { pool: Arc::clone(&pool.config.name), reads, lease, since: now });
        }
        let pause = self.chance.ms(5, 60);
        self.plan(pause, Event::Request);
    }

    fn serve(&mut self, session: Session) {
        let backend = Arc::clone(session.lease.backend());
        let number = machine_of(&backend);
        let Some(machine) = self.world.machines.get(&number) else { return };
        let stats = backend.stats.mine();
        stats.picks.inc();
        match (machine.life, machine.answers) {
            _ if machine.path == Path::Cut => self.wait_in_vain(session, Symptom::ConnectTimeout),
            (Life::Hung, _) => self.wait_in_vain(session, Symptom::Late),
            (Life::Dead, _) => {
                stats.connect_failures.inc();
                stats.failures.inc();
                backend.suspect(Symptom::Refused);
            }
            (_, Answers::Broken) => {
                stats.failures.inc();
                let symptom = self.chance.of(&[Symptom::BadAnswer, Symptom::Reset]);
                backend.suspect(symptom);
            }
            // Some that are ill say so to traffic, others do their work all the same.
            (Life::Ill, _) if number.is_multiple_of(2) => {
                stats.responses[4].inc();
                backend.answered(self.chance.ms(1, 20));
            }
            (_, answers) => {
                stats.responses[1].inc();
                let (least, most) = if answers == Answers::Slow { (300, 500) } else { (1, 20) };
                backend.answered(self.chance.ms(least, most));
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
        self.plan(LATE, Event::Late(id, symptom));
    }

    fn open(&mut self, session: Session) -> usize {
        self.next_session += 1;
        self.sessions.insert(self.next_session, session);
        self.next_session
    }

    /// As workers do: sessions end when they are told, and not before.
    fn hear_notices(&mut self) {
        let before = self.sessions.len();
        while let Ok(notice) = self.program.notices.try_recv() {
            let pools = &self.program.table.pools;
            match notice {
                Notice::Ready => {}
                Notice::Cut(_) => self.sessions.retain(|_, session| !session.lease.is_cut()),
                Notice::Down(backend) => {
                    let closes = |pool: &str| {
                        let pool = pools.iter().find(|it| *it.config.name == *pool);
                        pool.is_some_and(|it| it.config.on_down == OnDown::Close)
                    };
                    self.sessions.retain(|_, session| {
                        !(Arc::ptr_eq(session.lease.backend(), &backend) && closes(&session.pool))
                    });
                }
            }
        }
        self.counts.sessions_ended += (before - self.sessions.len()) as u64;
    }

    // === the world, and who works on it ===

    fn disturb(&mut self) {
        let (least, most) = self.chance.of(&[(20, 200), (300, 3_000), (300, 3_000), (3_000, 20_000)]);
        let pause = self.chance.ms(least, most);
        self.plan(pause, Event::World);
        if self.weather == Weather::Calm {
            return;
        }
        if self.chance.percent(2) {
            return self.begin_calm();
        }
        if let Some((machine, again)) = self.world.disturb(self.now, &mut self.chance) {
            self.plan(again, Event::Flap(machine));
        }
    }

    /// The world heals, and nothing happens for long.
    fn begin_calm(&mut self) {
        self.weather = Weather::Calm;
        self.world.heal(&self.plot.machines, self.now, &mut self.chance);
        for one in self.program.overrides.list().to_vec() {
            for what in [TakeBack::Absence, TakeBack::Weight, TakeBack::Promotion] {
                let taken = self.program.overrides.clear((&one.pool, &one.backend), what, "all", Force::Yes);
                taken.expect("with force, everything is taken back");
            }
        }
        self.program.pass_on_orders();
        self.plan(CALM, Event::CalmEnds);
    }

    fn end_calm(&mut self) {
        let view = View { program: &self.program, world: &self.world, sessions: &self.sessions, now: self.now };
        self.rules.calm(&view);
        // Whatever evidence there was, its probes have ended: traffic is heard again.
        let all: Vec<Arc<Backend>> = self.program.table.pools.iter().flat_map(|pool| pool.backends.clone()).collect();
        for backend in all {
            backend.suspect(Symptom::Silent);
            assert!(!self.program.evidence.is_empty(), "traffic's word on {} is not heard any more", backend.name);
            self.program.act(self.now);
        }
        self.counts.calms += 1;
        self.weather = Weather::Rough;
    }

    fn operator(&mut self) {
        let pause = self.chance.ms(3_000, 30_000);
        self.plan(pause, Event::Operator);
        if self.weather == Weather::Calm {
            return;
        }
        let pool = &self.program.table.pools[self.chance.below(self.program.table.pools.len())];
        let backend = &pool.backends[self.chance.below(pool.backends.len())];
        let (pool, backend) = (Arc::clone(&backend.pool), Arc::clone(&backend.name));
        let order = match self.chance.below(12) {
            0 => Order::Drain { deadline: self.chance.percent(70).then_some(Duration::from_secs(10)) },
            1 => Order::Maintenance,
            2 => Order::Weight(self.chance.of(&[0, 10, 200])),
            3 | 4 => Order::Demote,
            5 => Order::Promote,
            _ => {
                let what = self.chance.of(&[TakeBack::Absence, TakeBack::Weight, TakeBack::Promotion]);
                let overrides = &mut self.program.overrides;
                overrides.clear((&pool, &backend), what, "b", Force::Yes).expect("with force, it is taken back");
                return self.program.pass_on_orders();
            }
        };
        let lasts = self.chance.ms(1_000, 30_000);
        let until = self.chance.percent(90).then(|| wall(self.now + lasts));
        let (owner, reason, since) = ("a".into(), "".into(), wall(self.now));
        let new = Override { pool, backend, order, owner, reason, since, until };
        self.program.overrides.set(new, Force::Yes).expect("there is room");
        self.program.pass_on_orders();
        self.counts.orders += 1;
    }

    fn reload(&mut self) {
        let pause = self.chance.ms(5_000, 60_000);
        self.plan(pause, Event::Reload);
        if self.weather == Weather::Calm {
            return;
        }
        match self.chance.below(7) {
            0 => {
                let number = self.plot.grow(&mut self.chance);
                self.world.add(number, self.now);
            }
            1 if self.plot.machines.len() > 2 => {
                let gone = self.chance.below(self.plot.machines.len());
                self.world.machines.remove(&self.plot.machines.remove(gone));
            }
            2 => self.plot.machines.reverse(),
            3 => self.plot.change_mood(&mut self.chance),
            4 | 5 => return self.restart(),
            _ => {}
        }
        self.counts.reloads += 1;
        self.program.reload(self.plot.config(), self.now);
    }

    /// The program ends and begins anew; only the state file is left.
    fn restart(&mut self) {
        self.counts.restarts += 1;
        self.sessions.clear();
        self.count_leases();
        self.backends.clear();
        self.locals.clear();
        self.queue.retain(|_, event| !matches!(event, Event::ProbeEnds(..) | Event::Late(..) | Event::SessionEnds(_)));
        let place = self.folder.path().join("state.json");
        let file = state_file::place(Some(&place), None).expect("it has a place");
        file.save(&self.program.state()).expect("it can be written");
        let state = file.load().expect("it can be read");
        self.rules.restarted();
        self.program = Program::start(self.plot.config(), state, self.chance.next(), self.now);
    }
}

/// All that has happened, as one number.
#[derive(Debug, Default)]
struct History(u64);

impl History {
    fn take(&mut self, what: fmt::Arguments<'_>) {
        struct Digest<H>(H);
        impl<H: Hasher> Write for Digest<H> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0.write(text.as_bytes());
                Ok(())
            }
        }
        let mut digest = Digest(FixedState::with_seed(self.0).build_hasher());
        digest.write_fmt(what).expect("a digest takes everything");
        self.0 = digest.0.finish();
    }
}
