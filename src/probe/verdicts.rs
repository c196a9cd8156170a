//! Verdicts, written: the state of a backend, what the data path is told of it, its counters, the log and the events.
//!
//! The only writer of [`crate::pool::Backend::set_state`] once the schedule follows a backend. Pools are refreshed once
//! for each turn of the runner, however many of their backends flipped in it.

use std::collections::HashMap;
use std::sync::Arc;

use super::flip::Flip;
use super::watched::{Cause, Watched};
use crate::health::State;
use crate::pool::events::Events;
use crate::pool::{Backend, Pool};

#[derive(Debug)]
pub(super) struct Verdicts {
    events: Arc<Events>,
    /// Backends that are up, by pool.
    up: HashMap<Arc<str>, usize>,
    unsettled: usize,
    changed: Vec<Arc<Pool>>,
    fallen: Vec<(Arc<Pool>, Arc<Backend>)>,
}

impl Verdicts {
    pub(super) fn new(events: Arc<Events>) -> Self {
        Self { events, up: HashMap::new(), unsettled: 0, changed: Vec::new(), fallen: Vec::new() }
    }

    /// Backends of the pool that are up.
    pub(super) fn up_in(&self, pool: &Pool) -> usize {
        self.up.get(&pool.config.name).copied().unwrap_or(0)
    }

    /// Backends without a verdict.
    pub(super) fn unsettled(&self) -> usize {
        self.unsettled
    }

    /// Counts anew: other backends are followed now.
    pub(super) fn recount(&mut self, pools: &[Arc<Pool>]) {
        self.up.clear();
        self.unsettled = 0;
        for pool in pools {
            let count = |state| pool.backends.iter().filter(|backend| backend.state() == state).count();
            self.up.insert(Arc::clone(&pool.config.name), count(State::Up));
            self.unsettled += count(State::Unknown);
        }
    }

    /// Writes the verdict where it has changed, and says so; the new state then.
    pub(super) fn decide(&mut self, watched: &Watched, cause: &Cause) -> Option<State> {
        let backend = &watched.backend;
        let (was, now) = (backend.state(), watched.verdict());
        // Nothing is not known any more because a reload added a check: the old verdict stands until then.
        if now == was || now == State::Unknown {
            return None;
        }
        let lasted = backend.in_state_for();
        backend.set_state(now);
        let up = self.up.entry(Arc::clone(&watched.pool.config.name)).or_default();
        match now {
            State::Up => {
                *up += 1;
                backend.probes.flips_up.inc();
            }
            _ => {
                *up = up.saturating_sub(usize::from(was == State::Up));
                backend.probes.flips_down.inc();
                self.fallen.push((Arc::clone(&watched.pool), Arc::clone(backend)));
            }
        }
        let left_up = *up;
        if was == State::Unknown {
            self.unsettled = self.unsettled.saturating_sub(1);
        }
        if !self.changed.iter().any(|pool| Arc::ptr_eq(pool, &watched.pool)) {
            self.changed.push(Arc::clone(&watched.pool));
        }
        let backends = watched.pool.backends.len();
        Flip { backend, was, now, lasted, cause, left_up, backends }.tell(&self.events);
        Some(now)
    }

    /// Makes the data path see what was decided.
    pub(super) fn publish(&mut self) {
        for pool in self.changed.drain(..) {
            pool.refresh();
        }
        for (pool, backend) in self.fallen.drain(..) {
            pool.backend_went_down(&backend);
        }
    }
}
