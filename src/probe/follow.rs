//! Following a new table by difference: what stays keeps its judge and its streaks, what is new is asked, what has gone
//! is forgotten.

use std::collections::{BinaryHeap, HashMap, HashSet};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::handle::Follow;
use super::names::{Names, Whereabouts};
use super::question::Question;
use super::schedule::Runner;
use super::watched::{Kind, Watch, Watched};
use crate::config::model::{Address, CheckKind, Initial, Timing, Way};
use crate::health::agenda::{Asked, Asker, QuestionId};
use crate::health::judge::{Location, Plan, Planned, Source};
use crate::health::{Judge, Mode, State, Urgency};
use crate::pool::{Backend, Override, Pool};

/// Knocking at a backend without checks that traffic could not reach: one answer decides, either way.
const KNOCK: Timing = Timing {
    interval: Duration::from_secs(1),
    fast_interval: Duration::from_secs(1),
    down_interval: Duration::from_secs(1),
    timeout: Duration::from_secs(1),
    rise: NonZeroU32::MIN,
    fall: NonZeroU32::MIN,
    initial: Initial::Up,
};
/// Its name among the checks.
const KNOCK_NAME: &str = "tcp (asked because traffic failed)";
/// Active backends remembered of pools that are in no table now: one that comes back finds its own again.
const MAX_REMEMBERED: usize = 10_000;

/// Gives a verdict to every new backend that needs no probe and no judge for one.
pub(super) fn settle_at_once(pools: &[Arc<Pool>], overrides: &[Override]) {
    for pool in pools {
        let (checks, policy) = (&pool.config.checks, &pool.config.policy);
        if policy.mode != Mode::ActiveActive || pool.config.follows.is_some() {
            continue;
        }
        let initial = |check: usize| checks.get(check).map_or(State::Unknown, |check| check.timing.initial.state());
        let verdict = if checks.is_empty() { State::Up } else { policy.healthy_when.eval(&initial) };
        if verdict == State::Unknown {
            continue;
        }
        let mut settled = 0;
        for backend in &pool.backends {
            let is_ordered = overrides.iter().any(|it| it.pool == backend.pool && it.backend == backend.name);
            if backend.state() == State::Unknown && backend.site().is_some() && !is_ordered {
                backend.set_state(verdict);
                settled += 1;
            }
        }
        if settled > 0 {
            pool.refresh();
        }
    }
}

impl Runner {
    /// Follows these pools and no others.
    pub(super) fn follow(&mut self, order: &Follow) {
        let now = self.now();
        self.agenda.forget_askers();
        let mut named = Vec::new();
        let mut followed = HashSet::with_capacity(self.watched.len());
        for (at, pool) in order.pools.iter().enumerate() {
            for (position, backend) in pool.backends.iter().enumerate() {
                let serial = backend.slot.serial;
                followed.insert(serial);
                if let Address::Name(name, _) = &backend.address {
                    named.push((Arc::clone(name), serial));
                }
                self.watch(at, position, pool, backend, now);
            }
        }
        // Who comes later is new to everybody.
        self.past = None;
        self.close_accounts_but(&followed);
        self.watched.retain(|serial, _| followed.contains(serial));
        self.agenda.prune();
        self.names.follow(&named);
        self.verdicts.events.incidents.forget_pools(|name| order.pools.iter().any(|pool| *pool.config.name == *name));
        self.seat_judges(&order.pools, now);
        self.start_asking(now);
        self.pass_on_orders(&[]);
        self.plan_samples(now);
        self.dismiss_curious();
        // Each was built from states that may have flipped before it was followed.
        order.pools.iter().for_each(|pool| self.verdicts.changed(pool));
        self.done.order = order.number;
        tracing::debug!(backends = followed.len(), questions = self.agenda.len(), "probes follow the configuration");
    }

    fn watch(&mut self, at: usize, position: usize, pool: &Pool, backend: &Arc<Backend>, now: Duration) {
        let serial = backend.slot.serial;
        let watched = self.watched.entry(serial).or_insert_with(|| Watched::new(Arc::clone(backend)));
        (watched.pool, watched.position) = (at, position);
        watched.kind = if source(pool) == Source::Traffic { Kind::Unchecked } else { Kind::Checked };
        locate(&self.names, watched);
        let mut old = std::mem::take(&mut watched.checks);
        if watched.kind == Kind::Unchecked
            && let Some(knocking) = old.iter().position(|check| *check.name == *KNOCK_NAME)
        {
            let id = self
                .agenda
                .ask(&Arc::new(knock(backend, pool.config.way.as_ref())), Asker { backend: serial, check: 0 });
            watched.checks.push(Watch { question: id, ..old.swap_remove(knocking) });
        }
        for (number, check) in pool.config.checks.iter().enumerate() {
            let question = Arc::new(Question::of(check, &backend.address).among(&self.questions));
            let id = self.agenda.ask(&question, Asker { backend: serial, check: number });
            let same = old.iter().position(|known| known.name == check.name && known.question == id);
            let past = self.past.as_ref().and_then(|past| past.find(backend, &check.name, &question));
            let watch = match same {
                Some(same) => Watch { timing: check.timing, ..old.swap_remove(same) },
                None => Watch { past, ..Watch::new(Arc::clone(&check.name), id, check.timing) },
            };
            // Of one that is new, nothing is known: the answer that others wait for would come too late.
            if same.is_none() && past.is_none() && check.timing.initial == Initial::Unknown {
                self.agenda.soon(id, now);
            }
            watched.checks.push(watch);
        }
        let mut statuses = backend.checks();
        let status = |check: &Watch| {
            let known = statuses.iter().position(|status| status.name == check.name);
            known.map_or_else(|| check.status(), |known| statuses.swap_remove(known))
        };
        backend.set_checks(watched.checks.iter().map(status).collect());
    }

    /// Gives each pool its judge: the one that it had, or a new one.
    fn seat_judges(&mut self, pools: &[Arc<Pool>], now: Duration) {
        let before = std::mem::take(&mut self.pools);
        let judges = std::mem::take(&mut self.judges);
        let mut known: HashMap<Arc<str>, Judge> =
            before.iter().map(|pool| Arc::clone(&pool.config.name)).zip(judges).collect();
        self.followed = pools.iter().map(|pool| pool.config.follows.map(|index| index.0 as usize)).collect();
        self.followers = vec![Vec::new(); pools.len()];
        for (at, pool) in pools.iter().enumerate() {
            let plan = self.plan(pool);
            let name = &pool.config.name;
            let judge = if let Some(mut judge) = known.remove(name) {
                judge.replan(plan, now);
                judge
            } else {
                Judge::new(plan, self.remembered.get(name).map(AsRef::as_ref), now)
            };
            self.judges.push(judge);
            if let Some(followers) = self.followed[at].and_then(|followed| self.followers.get_mut(followed)) {
                followers.push(at);
            }
        }
        self.pools = pools.to_vec();
        for at in 0..pools.len() {
            self.copy_verdicts(at);
        }
        if self.remembered.len() > MAX_REMEMBERED {
            self.remembered.retain(|name, _| pools.iter().any(|pool| pool.config.name == *name));
        }
        self.planned = vec![None; pools.len()];
        self.dues = BinaryHeap::new();
        self.restless = (0..pools.len()).collect();
        self.done.unsettled = self.judges.iter().map(Judge::unsettled).sum();
    }

    fn plan(&self, pool: &Pool) -> Plan {
        let backends = pool.backends.iter().zip(&pool.config.members).map(|(backend, member)| {
            let watched = self.watched.get(&backend.slot.serial);
            Planned {
                id: backend.slot.serial,
                name: Arc::clone(&backend.name),
                standing: member.standing,
                location: watched.map_or(Location::Known, Watched::location),
                stands: backend.verdict(),
                checks: watched.into_iter().flat_map(|it| &it.checks).map(Watch::planned).collect(),
            }
        });
        Plan { policy: pool.config.policy.clone(), source: source(pool), backends: backends.collect() }
    }

    /// A pool that follows another begins with what is decided there.
    fn copy_verdicts(&mut self, at: usize) {
        let Some(followed) = self.followed.get(at).copied().flatten() else { return };
        let Some(pool) = self.pools.get(followed) else { return };
        let verdicts: Vec<_> = pool.backends.iter().map(|backend| backend.verdict()).collect();
        for (position, verdict) in verdicts.into_iter().enumerate() {
            if let Some(judge) = self.judges.get_mut(at) {
                judge.followed(position, verdict);
            }
        }
    }

    /// Plans the first attempts of what is new, and earlier ones of what is to be asked more often.
    fn start_asking(&mut self, now: Duration) {
        let (watched, judges) = (&self.watched, &self.judges);
        let check_of = |asker: Asker| {
            let watched = watched.get(&asker.backend)?;
            let (streak, _) = judges.get(watched.pool)?.check(watched.position, asker.check)?;
            Some((streak, watched.checks.get(asker.check)?.timing))
        };
        let pace = |asked: &Asked<Question>| {
            let checks = asked.askers.iter().filter_map(|asker| check_of(*asker));
            checks.map(|(streak, timing)| timing.pace(streak, Urgency::Usual)).min().unwrap_or(KNOCK.interval)
        };
        self.agenda.begin(now, |asked| {
            let mut checks = asked.askers.iter().filter_map(|asker| check_of(*asker));
            checks.all(|(streak, _)| streak.state() != State::Unknown).then(|| pace(asked))
        });
        self.agenda.hasten(now, pace);
    }

    /// Traffic cannot reach a backend that has no checks: asks whether its port is open.
    pub(super) fn start_knocking(&mut self, serial: u64) {
        let Some(watched) = self.watched.get_mut(&serial) else { return };
        let way = self.pools.get(watched.pool).and_then(|pool| pool.config.way.as_ref());
        let question = Arc::new(knock(&watched.backend, way));
        let id = self.agenda.ask(&question, Asker { backend: serial, check: 0 });
        let watch = Watch::new(Arc::from(KNOCK_NAME), id, KNOCK);
        watched.backend.set_checks(vec![watch.status()]);
        if let Some(judge) = self.judges.get_mut(watched.pool) {
            judge.knock(watched.position, &watch.planned());
            self.restless.push(watched.pool);
        }
        watched.checks.push(watch);
    }

    /// Its port is open: it is one without checks again.
    pub(super) fn stop_knocking(&mut self, serial: u64, question: QuestionId) {
        if let Some(watched) = self.watched.get_mut(&serial) {
            watched.checks.clear();
            watched.backend.set_checks(Vec::new());
            if let Some(judge) = self.judges.get_mut(watched.pool) {
                judge.stop_knocking(watched.position);
                self.restless.push(watched.pool);
            }
        }
        if let Some(asked) = self.agenda.get_mut(question) {
            asked.askers.retain(|asker| asker.backend != serial);
        }
        self.agenda.prune();
    }
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

pub(super) fn knock(backend: &Backend, way: Option<&Arc<Way>>) -> Question {
    Question::new(CheckKind::Tcp, backend.address.clone(), KNOCK.timeout).by(way)
}

/// A new backend whose name is known already has its address at once.
fn locate(names: &Names, watched: &mut Watched) {
    let Address::Name(name, port) = &watched.backend.address else { return };
    match names.whereabouts(name) {
        Whereabouts::Known(ip) => watched.backend.set_socket_address(SocketAddr::new(ip, *port)),
        Whereabouts::Nowhere(why) => watched.unresolved = Some(why),
        Whereabouts::Pending => {}
    }
}
