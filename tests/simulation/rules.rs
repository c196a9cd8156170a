//! What must hold at every moment, whatever happens. The rules keep books of their own and believe the judges nothing.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use evenkeel::config::model::Reads;
use evenkeel::health::judge::{Action, Answer, Because, InARow, Leave, Orders, Rank};
use evenkeel::health::{Failback, Failover, Judge, Mode, Role, Serves, State, Symptom, Verdict, evidence};
use evenkeel::pool::{Lease, Pool};
use evenkeel::route::Table;

use super::house::{EVIDENCE_BURST, EVIDENCE_PER_SECOND, House, MOST_AT_ONCE, Session, machine_of};

/// What an answer and a turn of the loop may take beside the intervals.
const SLACK: Duration = Duration::from_millis(300);

type Key = (String, String);

#[derive(Debug, Default)]
pub(crate) struct Rules {
    books: BTreeMap<Key, Book>,
    /// When each pool of one active backend last had another one, and whom a restart must find again.
    incumbents: BTreeMap<String, String>,
    paid: VecDeque<Duration>,
}

/// What a backend has been through.
#[derive(Debug, Default)]
struct Book {
    serial: u64,
    checks: Vec<Row>,
    suspicion: Option<Symptom>,
    /// When its state flipped by its checks.
    flips: VecDeque<Duration>,
    down_at: Duration,
    /// Since when it may have the work.
    fit_since: Option<Duration>,
    verdict: Option<Verdict>,
}

/// The answers to one check.
#[derive(Debug, Default, Clone)]
struct Row {
    good: u32,
    bad: u32,
    up: Option<bool>,
    since: Duration,
}

fn key(pool: &Pool, position: usize) -> Key {
    (pool.config.name.to_string(), pool.backends[position].name.to_string())
}

impl Rules {
    // === the books ===

    pub(crate) fn follow(&mut self, table: &Table) {
        let mut books = BTreeMap::new();
        for pool in &table.pools {
            for (position, backend) in pool.backends.iter().enumerate() {
                let key = key(pool, position);
                let mut book = self.books.remove(&key).unwrap_or_default();
                if book.serial != backend.slot.serial {
                    book = Book { serial: backend.slot.serial, ..Book::default() };
                }
                book.checks.resize(pool.config.checks.len(), Row::default());
                books.insert(key, book);
            }
        }
        self.books = books;
    }

    pub(crate) fn restarted(&mut self) {
        self.books.clear();
    }

    pub(crate) fn knocked(&mut self, pool: &Pool, position: usize) {
        let book = self.books.get_mut(&key(pool, position)).unwrap();
        book.checks = vec![Row { up: Some(true), ..Row::default() }];
    }

    pub(crate) fn suspected(&mut self, pool: &Pool, position: usize, symptom: Symptom) {
        self.books.get_mut(&key(pool, position)).unwrap().suspicion = Some(symptom);
    }

    pub(crate) fn heard(
        &mut self,
        pool: &Pool,
        position: usize,
        check: usize,
        answer: Answer,
        row: InARow,
        now: Duration,
    ) {
        let timing = pool.config.checks.get(check).map(|check| check.timing);
        let (rise, fall) = timing.map_or((1, 1), |timing| (timing.rise.get(), timing.fall.get()));
        let book = self.books.get_mut(&key(pool, position)).unwrap();
        // Evidence counts for the probes that it brought, at the longest for all that follow until it is taken.
        let condemned = book.suspicion.is_some_and(|symptom| evidence::agrees(symptom, row.suspicions));
        let Some(check) = book.checks.get_mut(check) else { return };
        let first = check.up.is_none();
        let up = match answer {
            Answer::Lost => return,
            Answer::Good(_) => {
                (check.good, check.bad) = (check.good + 1, 0);
                (check.good >= rise || first).then_some(true)
            }
            Answer::Bad => {
                (check.good, check.bad) = (0, check.bad + 1);
                (check.bad >= fall || first || condemned).then_some(false)
            }
        };
        if up.is_some() && up != check.up {
            (check.up, check.since) = (up, now);
        }
    }

    // === budgets ===

    pub(crate) fn asked(&mut self, in_flight: usize) {
        assert!(in_flight <= MOST_AT_ONCE, "{in_flight} probes at once");
    }

    pub(crate) fn paid(&mut self, now: Duration) {
        self.paid.push_back(now);
        while self.paid.front().is_some_and(|at| *at + Duration::from_secs(5) < now) {
            self.paid.pop_front();
        }
        let most = (EVIDENCE_BURST + 5 * EVIDENCE_PER_SECOND + 1) as usize;
        assert!(self.paid.len() <= most, "{} probes out of turn in 5 s", self.paid.len());
    }

    // === leases ===

    pub(crate) fn picked(&mut self, lease: &Lease, reads: Reads) {
        let serves = lease.backend().verdict().serves;
        let may = if reads == Reads::Active { serves.work() } else { serves != Serves::Nothing };
        assert!(may, "{} got work and serves {serves:?}", lease.backend().name);
    }

    /// Every lease that is open, and no other, counts as work in flight.
    pub(crate) fn leases(&self, table: &Table, sessions: &BTreeMap<usize, Session>) {
        for pool in &table.pools {
            for backend in &pool.backends {
                let held = sessions.values().filter(|it| it.lease.backend().slot.serial == backend.slot.serial).count();
                assert_eq!(backend.in_flight() as usize, held, "leases of {}", backend.name);
            }
        }
    }

    // === conclusions ===

    #[expect(clippy::too_many_arguments, reason = "all that a conclusion is about")]
    pub(crate) fn concluded(
        &mut self,
        table: &Table,
        at: usize,
        judge: &Judge,
        was: Option<&str>,
        actions: &[Action],
        orders: &BTreeMap<Key, Orders>,
        now: Duration,
    ) {
        let pool = &table.pools[at];
        for action in actions {
            match action {
                Action::Verdict { backend, was, now: verdict, because } => {
                    let book = self.books.get_mut(&key(pool, *backend)).unwrap();
                    book.verdict = Some(*verdict);
                    let outside = judge.ejected(*backend).is_some() || judge.held(*backend).is_some();
                    if let Because::Check(..) = because
                        && !outside
                    {
                        flip_was_due(pool, *backend, book, (*was, *verdict), now);
                    }
                }
                Action::EvidenceTaken(backend) => self.books.get_mut(&key(pool, *backend)).unwrap().suspicion = None,
                _ => {}
            }
        }
        let empty = Orders::default();
        for position in 0..pool.backends.len() {
            let key = key(pool, position);
            let order = orders.get(&key).unwrap_or(&empty);
            let book = self.books.get_mut(&key).unwrap();
            let verdict = judge.verdict(position);
            let fit = verdict.state == State::Up && !matches!(verdict.role, Some(Role::Standby | Role::Read));
            book.fit_since = if fit { book.fit_since.or(Some(now)) } else { None };
            orders_are_obeyed(&key, order, verdict);
        }
        if pool.config.follows.is_none() {
            self.hand_over_was_due(pool, judge, was, orders, now);
        }
        if let Some(holder) = judge.holder() {
            self.incumbents.insert(pool.config.name.to_string(), holder.to_string());
        }
        assert!(judge.due().is_none_or(|due| due > now), "a judge wakes for nothing");
    }

    /// The place changes hands only as the policy says.
    fn hand_over_was_due(
        &self,
        pool: &Pool,
        judge: &Judge,
        was: Option<&str>,
        orders: &BTreeMap<Key, Orders>,
        now: Duration,
    ) {
        let (Some(was), Some(holder)) = (was, judge.holder().map(AsRef::as_ref)) else { return };
        let Mode::ActiveStandby(rules) = &pool.config.policy.mode else { return };
        let place = |name: &str| pool.backends.iter().position(|backend| *backend.name == *name);
        let (Some(from), Some(to)) = (place(was), place(holder)) else { return };
        let rank = |name: &str| orders.get(&(pool.config.name.to_string(), name.to_owned())).and_then(|it| it.rank);
        if from == to || rank(holder) == Some(Rank::Promoted) || rank(was) == Some(Rank::Demoted) {
            return;
        }
        let book = |position| &self.books[&key(pool, position)];
        let story = || format!("{was} to {holder} at {now:?}, {rules:?}");
        if judge.verdict(to).state != State::Up {
            assert!(judge.up() == 0, "work went to one that is down: {}", story());
        } else if book(from).fit_since.is_some() {
            let well_for = now - book(to).fit_since.unwrap();
            let may = match rules.failback {
                Failback::AtOnce => to < from,
                Failback::After(wait) => to < from && well_for >= wait,
                Failback::Never | Failback::Manual => false,
            };
            assert!(may, "failback against the policy: {}, well for {well_for:?}", story());
        } else {
            assert_eq!(rules.failover, Failover::Automatic, "failover against the policy: {}", story());
        }
    }

    // === every moment ===

    pub(crate) fn moment(&mut self, house: &House) {
        for (pool, judge) in house.table.pools.iter().zip(&house.judges) {
            let mode = match pool.config.follows {
                Some(followed) => &house.table.pools[followed.0 as usize].config.policy.mode,
                None => &pool.config.policy.mode,
            };
            let work: Vec<_> = pool.backends.iter().filter(|backend| backend.verdict().serves.work()).collect();
            if *mode != Mode::ActiveActive {
                let names: Vec<_> = work.iter().map(|backend| &*backend.name).collect();
                assert!(names.len() <= 1, "two have the work of {}: {names:?}", pool.config.name);
            }
            for (position, backend) in pool.backends.iter().enumerate() {
                assert_eq!(backend.verdict(), judge.verdict(position), "what is published is what was decided");
            }
            self.nobody_is_out_for_nothing(pool, judge, &house.orders);
            if let Mode::Leader(_) = mode {
                self.leaders_step_back_in_time(pool, judge, house);
            }
        }
        for session in house.sessions.values() {
            assert!(!session.lease.is_cut(), "a session outlives its end");
        }
        if house.now.as_micros() % 16 == 0 {
            self.leases(&house.table, &house.sessions);
        }
    }

    /// Never more are ejected than the share, and never those without whom nobody is left.
    fn nobody_is_out_for_nothing(&self, pool: &Pool, judge: &Judge, orders: &BTreeMap<Key, Orders>) {
        let count = pool.backends.len();
        let out: Vec<usize> = (0..count).filter(|at| judge.ejected(*at).is_some()).collect();
        let held: Vec<usize> = (0..count).filter(|at| judge.held(*at).is_some()).collect();
        let share = pool.config.policy.outliers.max_ejected;
        // A reload may take away those that are in.
        let most = (share * (count + 1) as f32 + 0.001) as usize;
        assert!(out.len() <= most, "{} of {count} are ejected", out.len());
        if pool.config.follows.is_some() || pool.config.policy.mode != Mode::ActiveActive {
            return;
        }
        if pool.backends.iter().any(|backend| backend.verdict().serves.work()) {
            return;
        }
        for at in out.into_iter().chain(held) {
            let key = key(pool, at);
            let is_left_alone = orders.get(&key).is_some_and(|it| it.leave.is_some() || it.weight == Some(0));
            let well = self.books[&key].checks.iter().all(|check| check.up == Some(true));
            assert!(!well || is_left_alone, "{} is kept out, and nobody is left", key.1);
        }
    }

    /// Who says that it leads no more, or is dead, has no work when the checks had time to find out.
    fn leaders_step_back_in_time(&self, pool: &Pool, judge: &Judge, house: &House) {
        let checked = pool.config.follows.map_or(pool, |followed| &house.table.pools[followed.0 as usize]);
        let (timing, policy) = (checked.config.checks[0].timing, &checked.config.policy);
        let usual = timing.interval.max(timing.down_interval) + timing.timeout + SLACK;
        let hard = usual + (timing.fast_interval + timing.timeout) * timing.fall.get() + policy.settle.down;
        for (position, backend) in pool.backends.iter().enumerate() {
            let verdict = backend.verdict();
            let Some(machine) = house.machines.get(&machine_of(backend)) else { continue };
            let is_kept = judge.disagreement(position).is_some();
            if !verdict.serves.work() || verdict.state != State::Up || is_kept || house.now < machine.since {
                continue;
            }
            let gone = house.now - machine.since;
            if !machine.answers() {
                assert!(gone < 2 * hard, "{} is dead for {gone:?} and has the work", backend.name);
            } else if machine.role != Some(Role::Active) {
                // One probe may be lost by a fault of the balancer's own.
                assert!(gone < 2 * usual, "{} leads no more for {gone:?} and has the work", backend.name);
            }
        }
    }

    /// Nothing has happened for long: everything is as the world is.
    pub(crate) fn calm(&mut self, house: &House) {
        for (pool, judge) in house.table.pools.iter().zip(&house.judges) {
            let name = &pool.config.name;
            for (position, backend) in pool.backends.iter().enumerate() {
                let verdict = judge.verdict(position);
                let story = || format!("{name}/{}: {:?}", backend.name, judge.remarks(position, house.now));
                assert_eq!((verdict.state, verdict.share), (State::Up, 100), "in calm: {}", story());
                assert_eq!(verdict.role, house.machines[&machine_of(backend)].role.filter(|_| **name != *"plain"));
            }
            let waits =
                |kind: evenkeel::health::judge::AlarmKind| kind == evenkeel::health::judge::AlarmKind::FailbackWaiting;
            let few = |kind| kind == evenkeel::health::judge::AlarmKind::MinHealthy && pool.backends.len() < 3;
            let alarms: Vec<_> = judge.alarms().iter().filter(|it| !waits(it.kind) && !few(it.kind)).collect();
            assert!(alarms.is_empty(), "in calm: {alarms:?}");
            let workers = pool.backends.iter().filter(|backend| backend.verdict().serves.work());
            let workers: Vec<u32> = workers.map(|backend| machine_of(backend)).collect();
            let mode = match pool.config.follows {
                Some(followed) => &house.table.pools[followed.0 as usize].config.policy.mode,
                None => &pool.config.policy.mode,
            };
            match mode {
                Mode::ActiveActive => assert_eq!(workers.len(), pool.backends.len(), "in calm all of {name} work"),
                Mode::ActiveStandby(_) => assert_eq!(workers.len(), 1, "in calm one of {name} works"),
                Mode::Leader(_) => {
                    let leads = |it: &u32| house.machines[it].role == Some(Role::Active);
                    assert!(workers.len() == 1 && workers.iter().all(leads), "in calm {workers:?} of {name} lead");
                }
            }
        }
    }
}

/// A state flips by its checks only when these have said so often enough, and long enough.
fn flip_was_due(pool: &Pool, position: usize, book: &mut Book, (was, verdict): (Verdict, Verdict), now: Duration) {
    let policy = &pool.config.policy;
    let story = || format!("{}/{} at {now:?}: {:?}", pool.config.name, pool.backends[position].name, book.checks);
    let is_in = |state| matches!(state, State::Up | State::Draining);
    match (was.state, verdict.state) {
        (from, State::Down) if is_in(from) => {
            let since = book.checks.iter().filter(|check| check.up == Some(false)).map(|check| check.since).min();
            let settled = since.is_some_and(|since| now >= since + policy.settle.down);
            assert!(settled, "down before its time: {}", story());
            book.down_at = now;
            book.flips.push_back(now);
        }
        (State::Down, to) if is_in(to) => {
            let up = book.checks.iter().all(|check| check.up == Some(true));
            let since = book.checks.iter().map(|check| check.since).max().unwrap_or_default();
            assert!(up && now >= since + policy.settle.up, "up before its time: {}", story());
            book.flips.push_back(now);
            let Some(flaps) = policy.flaps else { return };
            while book.flips.front().is_some_and(|flip| *flip + flaps.within < now) {
                book.flips.pop_front();
            }
            let many = book.flips.len() > flaps.max.get() as usize;
            assert!(!many || now >= book.down_at + flaps.hold, "flaps on: {:?} {}", book.flips, story());
        }
        _ => {}
    }
}

fn orders_are_obeyed(key: &Key, order: &Orders, verdict: Verdict) {
    let maintained = order.leave == Some(Leave::Maintenance);
    assert!(!maintained || verdict.state == State::Maintenance, "{key:?} is {verdict:?} under maintenance");
    let is_left_alone = order.leave.is_some() || order.weight == Some(0);
    assert!(!is_left_alone || verdict.serves == Serves::Nothing, "{key:?} serves against {order:?}");
    let demoted = order.rank == Some(Rank::Demoted);
    assert!(!demoted || verdict.role.is_none() || !verdict.serves.work(), "{key:?} has the work and is demoted");
}
