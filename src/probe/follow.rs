//! Following a new table by difference: what stays keeps its streaks, what is new is asked, what has gone is forgotten.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::agenda::{Asked, Asker, QuestionId};
use super::handle::Follow;
use super::names::{Names, Whereabouts};
use super::question::Question;
use super::schedule::Runner;
use super::watched::{Cause, Watch, Watched, initial};
use crate::config::model::{Address, Check, CheckKind, Initial, Timing};
use crate::health::State;
use crate::pool::{Backend, Pool};

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

/// Gives a verdict to every new backend that needs no probe for one.
pub(super) fn settle_at_once(pools: &[Arc<Pool>]) {
    for pool in pools {
        let checks = &pool.config.checks;
        let verdict = pool
            .config
            .policy
            .healthy_when
            .eval(&|check| checks.get(check).map_or(State::Unknown, |check| initial(check.timing.initial)));
        let verdict = if checks.is_empty() { State::Up } else { verdict };
        if verdict == State::Unknown {
            continue;
        }
        let mut settled = 0;
        for backend in &pool.backends {
            if backend.state() == State::Unknown && backend.socket_address().is_some() {
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
        let now = Instant::now();
        self.agenda.forget_askers();
        let mut named = Vec::new();
        let mut followed = HashSet::with_capacity(self.watched.len());
        for pool in &order.pools {
            for backend in &pool.backends {
                let serial = backend.slot.serial;
                followed.insert(serial);
                if let Address::Name(name, _) = &backend.address {
                    named.push((Arc::clone(name), serial));
                }
                self.watch(pool, backend, now);
            }
        }
        self.watched.retain(|serial, _| followed.contains(serial));
        self.agenda.prune();
        self.names.follow(&named);
        let watched = &self.watched;
        self.agenda.begin(now, |asked| {
            let mut checks = asked.askers.iter().filter_map(|asker| check_of(watched, *asker));
            checks.all(|check| check.streak.state() != State::Unknown).then(|| pace(watched, asked))
        });
        self.agenda.hasten(now, |asked| pace(watched, asked));
        self.verdicts.recount(&order.pools);
        for pool in &order.pools {
            for backend in &pool.backends {
                self.decide(backend.slot.serial, &Cause::said("the configuration has changed"));
            }
            // It was built from states that may have flipped before it was followed.
            pool.refresh();
        }
        self.pools.clone_from(&order.pools);
        self.dismiss_curious();
        self.done.order = order.number;
        tracing::debug!(backends = followed.len(), questions = self.agenda.len(), "probes follow the configuration");
    }

    fn watch(&mut self, pool: &Arc<Pool>, backend: &Arc<Backend>, now: Instant) {
        let serial = backend.slot.serial;
        let watched = self.watched.entry(serial).or_insert_with(|| Watched::new(Arc::clone(backend), Arc::clone(pool)));
        watched.pool = Arc::clone(pool);
        locate(&self.names, watched);
        let mut old = std::mem::take(&mut watched.checks);
        let mut statuses = backend.checks();
        if watched.is_unchecked()
            && let Some(knocking) = old.iter().position(|check| *check.name == *KNOCK_NAME)
        {
            let id = self.agenda.ask(&knock(backend), Asker { backend: serial, check: 0 });
            watched.checks.push(Watch { question: id, ..old.swap_remove(knocking) });
        }
        for (position, check) in pool.config.checks.iter().enumerate() {
            let question = Arc::new(Question::of(check, &backend.address));
            let id = self.agenda.ask(&question, Asker { backend: serial, check: position });
            let same = old.iter().position(|known| known.name == check.name && known.question == id);
            let check = match same {
                Some(same) => carried_over(old.swap_remove(same), check),
                None => Watch::new(Arc::clone(&check.name), id, check.timing),
            };
            if check.streak.state() == State::Unknown {
                self.agenda.soon(id, now);
            }
            watched.checks.push(check);
        }
        watched.drop_settled_suspicion();
        let status = |check: &Watch| {
            let known = statuses.iter().position(|status| status.name == check.name);
            known.map_or_else(|| check.status(), |known| statuses.swap_remove(known))
        };
        backend.set_checks(watched.checks.iter().map(status).collect());
    }

    /// Traffic cannot reach a backend that has no checks: asks whether its port is open.
    pub(super) fn start_knocking(&mut self, serial: u64) {
        let Some(watched) = self.watched.get_mut(&serial) else { return };
        let question = knock(&watched.backend);
        let id = self.agenda.ask(&question, Asker { backend: serial, check: 0 });
        let check = Watch::new(Arc::from(KNOCK_NAME), id, KNOCK);
        watched.backend.set_checks(vec![check.status()]);
        watched.checks.push(check);
    }

    /// Its port is open: it is one without checks again.
    pub(super) fn stop_knocking(&mut self, serial: u64, question: QuestionId) {
        if let Some(watched) = self.watched.get_mut(&serial) {
            watched.checks.clear();
            watched.backend.set_checks(Vec::new());
        }
        if let Some(asked) = self.agenda.get_mut(question) {
            asked.askers.retain(|asker| asker.backend != serial);
        }
        self.agenda.prune();
    }
}

fn knock(backend: &Backend) -> Arc<Question> {
    Arc::new(Question::new(CheckKind::Tcp, backend.address.clone(), KNOCK.timeout))
}

/// The check as it was; its streak goes on by the new numbers.
fn carried_over(known: Watch, check: &Check) -> Watch {
    let mut streak = known.streak;
    streak.retune(check.timing.rise.get(), check.timing.fall.get());
    Watch { streak, timing: check.timing, ..known }
}

/// A new backend whose name is known already has its address at once.
fn locate(names: &Names, watched: &mut Watched) {
    let Address::Name(name, port) = &watched.backend.address else { return };
    match names.whereabouts(name) {
        Whereabouts::Known(ip) => watched.backend.set_socket_address(Some(SocketAddr::new(ip, *port))),
        Whereabouts::Nowhere(why) => watched.unresolved = Some(why),
        Whereabouts::Pending => {}
    }
}

fn check_of(watched: &HashMap<u64, Watched, impl std::hash::BuildHasher>, asker: Asker) -> Option<&Watch> {
    watched.get(&asker.backend)?.checks.get(asker.check)
}

/// The shortest interval of those who ask.
fn pace(watched: &HashMap<u64, Watched, impl std::hash::BuildHasher>, asked: &Asked) -> Duration {
    let checks = asked.askers.iter().filter_map(|asker| check_of(watched, *asker));
    checks.map(|check| check.timing.interval).min().unwrap_or(KNOCK.interval)
}
