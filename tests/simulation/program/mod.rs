//! The program of a story: tables, judges, agenda, budget and orders, put together as the schedule of probes does it, but
//! told the time, and without sockets. What it does to the world it says in [`Deed`]s.

mod evidence;
mod following;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::config::model::{Config, OnDown};
use evenkeel::control::overrides::Overrides;
use evenkeel::control::state_file::State;
use evenkeel::health::agenda::{Agenda, Asker, Next, QuestionId, Room};
use evenkeel::health::evidence::Budget;
use evenkeel::health::judge::{Action, Answer, InARow, Source};
use evenkeel::health::{Initial, Judge, Symptom, Timing};
use evenkeel::pool::{Backend, Bell, Evidence, Notice, Pool};
use evenkeel::route::{Foundation, Table};
use foldhash::fast::FixedState;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use evidence::Unpaid;

/// Probes under way at once.
pub(crate) const MOST_AT_ONCE: usize = 8;
/// Probes that evidence brings: so many a second, and a burst.
pub(crate) const EVIDENCE_PER_SECOND: u32 = 2;
pub(crate) const EVIDENCE_BURST: u32 = 4;
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
    match backend.site().and_then(|site| site.ip()).map(|address| address.ip()) {
        Some(std::net::IpAddr::V4(ip)) => u32::from(ip.octets()[3]),
        other => panic!("{other:?} is no machine of the story"),
    }
}

impl Program {
    /// Starts with what a state file holds.
    pub(crate) fn start(config: Arc<Config>, state: State, seed: u64, now: Duration) -> Self {
        let ((sender, evidence), (worker, notices)) = (unbounded_channel(), unbounded_channel());
        let foundation = Foundation {
            workers: 1,
            evidence: sender,
            bell: Arc::new(Bell::default()),
            sinks: Arc::default(),
            traces: None,
        };
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
