//! What must hold at every moment, whatever happens. The rules keep books of their own, by what was answered and ordered,
//! and believe the judges nothing.

mod alarms;
mod calm;
mod flips;
mod out;
mod place;
mod probes;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use evenkeel::health::judge::{Action, Answer, InARow, Judge, Rank, Source};
use evenkeel::health::{Mode, Role, Says, State, Symptom, Timing, Verdict, evidence};
use evenkeel::pool::{Order, Pool};

use super::counts::Counts;
use super::program::{Deed, Program, Seat, source, wall};
use super::story::Session;
use super::world::World;
use flips::Steady;
use probes::Probes;

/// At a start, and after a reload, a choice may wait so long for those who have not answered.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pools of which nothing was heard are looked at each so many steps.
const ROUND: u64 = 16;

/// All that is to be seen.
pub(crate) struct View<'a> {
    pub(crate) program: &'a Program,
    pub(crate) world: &'a World,
    pub(crate) sessions: &'a BTreeMap<usize, Session>,
    pub(crate) now: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// By pool and position.
    books: Vec<Vec<Book>>,
    probes: Probes,
    /// Who has the work of each pool with one active backend, or had it last.
    incumbents: BTreeMap<String, String>,
    /// Pools that have not chosen since a restart.
    newborn: BTreeSet<String>,
    /// When the configuration in force was taken up.
    followed: Duration,
    looks: u64,
}

/// What a backend has been through.
#[derive(Debug)]
struct Book {
    serial: u64,
    rows: Vec<Row>,
    suspicion: Option<Symptom>,
    verdict: Verdict,
    steady: Steady,
    ejected: Option<Duration>,
    held: Option<Duration>,
    /// Since when it may have the work.
    fit_since: Option<Duration>,
}

/// The answers to one check.
#[derive(Debug, Clone)]
struct Row {
    state: State,
    /// Those in a row that speak against it.
    against: u32,
    rise: u32,
    fall: u32,
    says: Says,
}

/// What operators have ordered of one backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Orders {
    maintenance: bool,
    drained: bool,
    /// When what is open at one that drains is cut.
    cut_at: Option<Duration>,
    weight: Option<u16>,
    rank: Option<Rank>,
}

impl Orders {
    fn demoted(self) -> bool {
        self.rank == Some(Rank::Demoted)
    }

    fn promoted(self) -> bool {
        self.rank == Some(Rank::Promoted)
    }

    fn leaves_alone(self) -> bool {
        self.maintenance || self.drained || self.weight == Some(0)
    }
}

impl Row {
    fn new(timing: Option<&Timing>) -> Self {
        let (rise, fall) = timing.map_or((1, 1), |timing| (timing.rise.get(), timing.fall.get()));
        // A knock is asked of one that was up.
        let state = timing.map_or(State::Up, |timing| timing.initial.state());
        Self { state, against: 0, rise, fall, says: Says::default() }
    }

    fn hear(&mut self, answer: Answer, condemned: bool) {
        let (towards, needed) = match answer {
            Answer::Lost => return,
            Answer::Good(_) => (State::Up, self.rise),
            Answer::Bad if condemned => (State::Down, 1),
            Answer::Bad => (State::Down, self.fall),
        };
        self.against = if self.state == towards { 0 } else { self.against + 1 };
        if self.state != towards && (self.state == State::Unknown || self.against >= needed) {
            (self.state, self.against) = (towards, 0);
        }
        match answer {
            Answer::Good(says) if self.state == State::Up => self.says = says,
            _ if self.state != State::Up => self.says = Says::default(),
            _ => {}
        }
    }
}

impl View<'_> {
    fn pools(&self) -> impl Iterator<Item = (usize, &Pool, &Judge)> {
        let pools = self.program.table.pools.iter().zip(&self.program.judges);
        pools.enumerate().map(|(at, (pool, judge))| (at, &**pool, judge))
    }

    fn pool(&self, at: usize) -> (&Pool, &Judge) {
        (&self.program.table.pools[at], &self.program.judges[at])
    }

    /// What is in force for a backend, by what operators have said; nothing is, beyond its time.
    fn orders(&self, pool: &Pool, position: usize) -> Orders {
        let mut orders = Orders::default();
        let backend = &pool.backends[position];
        for one in self.program.overrides.list() {
            assert!(one.until.is_none_or(|until| until > wall(self.now)), "an order beyond its time: {one:?}");
            if one.pool != backend.pool || one.backend != backend.name {
                continue;
            }
            let since = || Duration::try_from(one.since.duration_since(wall(Duration::ZERO))).unwrap_or_default();
            match one.order {
                Order::Drain { deadline } => {
                    orders.drained = true;
                    orders.cut_at = deadline.map(|deadline| since() + deadline);
                }
                Order::Maintenance => orders.maintenance = true,
                Order::Weight(percent) => orders.weight = Some(percent),
                Order::Promote => orders.rank = Some(Rank::Promoted),
                Order::Demote => orders.rank = Some(Rank::Demoted),
            }
        }
        orders
    }
}

impl Rules {
    pub(crate) fn restarted(&mut self) {
        self.books.clear();
        self.probes = Probes::default();
        self.newborn = self.incumbents.keys().cloned().collect();
    }

    /// Looks at what the program has done, and at what has come of it.
    pub(crate) fn look(&mut self, view: &View<'_>, deeds: &[Deed], counts: &mut Counts) {
        let (mut heard, mut decided) = (BTreeSet::new(), BTreeSet::new());
        for deed in deeds {
            self.write_down(view, deed, counts);
            match deed {
                Deed::Followed => decided.extend(0..self.books.len()),
                Deed::Heard { seat, .. } => _ = heard.insert(seat.0),
                Deed::Concluded { pool, .. } => _ = decided.insert(*pool),
                _ => {}
            }
        }
        self.looks += 1;
        if self.looks.is_multiple_of(ROUND) {
            decided.extend(0..self.books.len());
            self.sessions_end_in_time(view);
            self.work_leaves_in_time(view);
        }
        for pool in heard.union(&decided) {
            self.flips_are_due(view, *pool, counts);
        }
        for pool in decided {
            self.who_is_out_may_be(view, pool, counts);
            self.the_place_is_given_by_the_policy(view, pool, counts);
            self.work_is_given_by_the_verdicts(view, pool);
            Self::alarms_say_what_is(view, pool);
            assert!(view.pool(pool).1.due().is_none_or(|due| due > view.now), "a judge wakes for nothing");
        }
    }

    fn write_down(&mut self, view: &View<'_>, deed: &Deed, counts: &mut Counts) {
        match deed {
            Deed::Followed => self.follow(view),
            Deed::Asked { id, pace, .. } => self.probes.asked(*id, *pace, view.now, counts),
            Deed::Answered => self.probes.answered(),
            Deed::OrdersEnd(_) => {}
            Deed::Paid(questions) => self.probes.paid(questions, view.now, counts),
            Deed::Heard { seat, check, answer, row } => self.hear(view, *seat, *check, (*answer, *row)),
            Deed::Suspected(seat, symptom) => self.book(*seat).suspicion = Some(*symptom),
            Deed::Knocks(seat) => self.book(*seat).rows = vec![Row::new(None)],
            Deed::KnocksNoMore(seat) => self.book(*seat).rows.clear(),
            Deed::Concluded { pool, actions } => {
                for action in actions {
                    self.note(view, *pool, action);
                }
            }
        }
    }

    fn book(&mut self, (pool, position): Seat) -> &mut Book {
        &mut self.books[pool][position]
    }

    fn follow(&mut self, view: &View<'_>) {
        let mut known: BTreeMap<u64, Book> =
            std::mem::take(&mut self.books).into_iter().flatten().map(|book| (book.serial, book)).collect();
        for (_, pool, _) in view.pools() {
            let name = pool.config.name.to_string();
            if self.incumbents.get(&name).is_some_and(|it| pool.backends.iter().all(|backend| *backend.name != **it)) {
                self.incumbents.remove(&name);
            }
            let mut book = |serial: u64| {
                known.remove(&serial).unwrap_or_else(|| Book {
                    serial,
                    rows: pool.config.checks.iter().map(|check| Row::new(Some(&check.timing))).collect(),
                    suspicion: None,
                    verdict: Verdict::UNKNOWN,
                    steady: Steady::default(),
                    ejected: None,
                    held: None,
                    fit_since: None,
                })
            };
            self.books.push(pool.backends.iter().map(|backend| book(backend.slot.serial)).collect());
        }
        self.followed = view.now;
        self.probes.excuse_all();
    }

    /// `rise` good answers in a row bring a check up, `fall` bad ones take it down, or one where traffic agrees.
    fn hear(&mut self, view: &View<'_>, seat: Seat, check: usize, (answer, row): (Answer, InARow)) {
        let book = self.book(seat);
        let condemned = book.suspicion.is_some_and(|symptom| evidence::agrees(symptom, row.suspicions));
        let Some(known) = book.rows.get_mut(check) else { return };
        known.hear(answer, condemned);
        let (pool, judge) = view.pool(seat.0);
        if let Some((streak, says)) = judge.check(seat.1, check) {
            let name = &pool.backends[seat.1].name;
            let found = (streak.state(), says);
            assert_eq!(found, (known.state, known.says), "check {check} of {name} after {answer:?}: {known:?}");
        }
    }

    fn note(&mut self, view: &View<'_>, pool: usize, action: &Action) {
        match action {
            Action::Verdict { backend, was, now, .. } => {
                let book = self.book((pool, *backend));
                assert_eq!(book.verdict, *was, "a verdict that nobody was told");
                book.verdict = *now;
                let fit = is_fit(*now);
                book.fit_since = if fit { book.fit_since.or(Some(view.now)) } else { None };
            }
            Action::EvidenceTaken(backend) => self.book((pool, *backend)).suspicion = None,
            _ => {}
        }
    }

    /// What the checks of a backend say.
    fn said(&self, view: &View<'_>, seat: Seat) -> State {
        let (pool, rows) = (view.pool(seat.0).0, &self.books[seat.0][seat.1].rows);
        match source(pool) {
            Source::Traffic => rows.first().map_or(State::Up, |row| row.state),
            _ => pool.config.policy.healthy_when.eval(&|check| rows.get(check).map_or(State::Unknown, |row| row.state)),
        }
    }
}

/// Whether it may have the work of a pool with one active backend, but for its mode.
fn is_fit(verdict: Verdict) -> bool {
    verdict.state == State::Up && !matches!(verdict.role, Some(Role::Standby | Role::Read))
}

/// Whether it could do the pool's work as it is.
fn could_work(view: &View<'_>, at: usize, position: usize) -> bool {
    let (pool, judge) = view.pool(at);
    let verdict = judge.verdict(position);
    let demoted = view.orders(pool, position).demoted();
    match (&pool.config.policy.mode, pool.config.follows) {
        (_, Some(_)) => {
            let (root, _) = view.program.root(at);
            verdict.state == State::Up && view.program.judges[root].verdict(position).serves.work()
        }
        (Mode::ActiveActive, _) => verdict.state == State::Up && verdict.role != Some(Role::Standby),
        (Mode::Leader(_), _) => verdict.state == State::Up && verdict.role == Some(Role::Active) && !demoted,
        (Mode::ActiveStandby(_), _) => is_fit(verdict) && !demoted,
    }
}
