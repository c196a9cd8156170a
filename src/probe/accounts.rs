//! The accounts of incidents: what the schedule hears and decides goes to the accountant, who makes figures of it.
//!
//! An incident goes on over a reload that keeps its backend, and ends with one that takes it away.

use std::collections::HashSet;
use std::sync::Arc;

use super::schedule::Runner;
use super::watched::{Cause, Watched};
use crate::clock;
use crate::health::incident::{End, Fall, Origin, Witness};
use crate::health::{State, Symptom, Verdict};
use crate::pool::incidents::toll;
use crate::pool::{Backend, Pool};

impl Runner {
    /// Traffic failed at a backend.
    pub(super) fn note_symptom(&mut self, backend: &Backend, symptom: Symptom) {
        if backend.state() != State::Up {
            return;
        }
        let serial = backend.slot.serial;
        let Some(watched) = self.watched.get_mut(&serial) else { return };
        if watched.checks.is_empty()
            && !self.accountant.has_signs(serial)
            && let Some(pool) = self.pools.get(watched.pool)
        {
            // No probe ever says that all is well.
            watched.calm = toll(pool, backend);
        }
        // A request that waits for too long is the first sign of a machine that is gone, long before it has failed.
        let since = backend.failing_since().filter(|_| symptom.is_failure());
        self.accountant.saw(serial, Witness::Traffic, since.unwrap_or_else(clock::now));
    }

    /// A probe of a backend has ended.
    pub(super) fn note_probe(&mut self, serial: u64, is_good: bool) {
        let Some(watched) = self.watched.get_mut(&serial) else { return };
        let backend = &watched.backend;
        if backend.state() != State::Up {
            return;
        }
        if !is_good {
            self.accountant.saw(serial, Witness::Probe, clock::now());
        } else if backend.in_a_row().failures == 0
            && let Some(pool) = self.pools.get(watched.pool)
        {
            watched.calm = toll(pool, backend);
            self.accountant.calm(serial);
        }
    }

    /// A verdict has changed and is about to be published.
    pub(super) fn note_verdict(
        &mut self,
        pool: &Arc<Pool>,
        backend: &Arc<Backend>,
        (was, now): (Verdict, Verdict),
        cause: &Cause,
    ) {
        let serial = backend.slot.serial;
        if was.state == State::Up && now.state == State::Down {
            let before = self.watched.get(&serial).map(|watched| watched.calm).unwrap_or_default();
            let fall = Fall {
                pool: Arc::clone(&pool.config.name),
                backend: Arc::clone(&backend.name),
                origin: if backend.fault().is_some() { Origin::Drill } else { Origin::Failure },
                because: cause.sentence(),
                before,
            };
            self.accountant.fell(serial, fall, clock::now());
        }
        if self.accountant.is_open(serial) {
            self.unsettled_accounts.push((Arc::clone(pool), Arc::clone(backend)));
        }
    }

    /// What was decided is published: who has left the rotation has left it now, and who is up is up.
    pub(super) fn settle_accounts(&mut self) {
        for (pool, backend) in std::mem::take(&mut self.unsettled_accounts) {
            let serial = backend.slot.serial;
            let now = clock::now();
            if backend.is_out() {
                self.accountant.left_rotation(serial, now);
            }
            let open = self.accountant.open().find(|(id, _)| *id == serial);
            if let Some((_, incident)) = open {
                self.verdicts.events.incidents.goes_on(serial, incident);
            }
            if backend.state() == State::Up {
                self.close_account(&pool, &backend, End::Recovered);
            }
        }
    }

    /// Backends that no table has any more are in no incident.
    pub(super) fn close_accounts_but(&mut self, followed: &HashSet<u64>) {
        let gone: Vec<u64> = self.accountant.open().map(|(id, _)| id).filter(|id| !followed.contains(id)).collect();
        for serial in gone {
            let Some(Watched { backend, pool, .. }) = self.watched.get(&serial) else { continue };
            // Still the pools of before.
            let Some(pool) = self.pools.get(*pool).map(Arc::clone) else { continue };
            let backend = Arc::clone(backend);
            self.close_account(&pool, &backend, End::Removed);
        }
        self.accountant.forget_signs(|id| followed.contains(&id));
    }

    fn close_account(&mut self, pool: &Pool, backend: &Backend, end: End) {
        let (serial, toll) = (backend.slot.serial, toll(pool, backend));
        let incident = self.accountant.ended(serial, end, toll, backend.last_failure(), clock::now());
        if let Some(incident) = incident {
            self.verdicts.events.incidents.ended(serial, incident);
        }
        if let Some(watched) = self.watched.get_mut(&serial) {
            watched.calm = toll;
        }
    }
}
