//! What has been counted, by name: of listeners, pools, backends and of the program itself. The process that takes over
//! adds it to its own counters, so that none of them ever goes back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

use crate::control::Life;
use crate::metrics::carry::{self, Sums};
use crate::route::Table;

/// Counts by name. What is zero is left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    program: Sums,
    listeners: BTreeMap<String, Sums>,
    pools: BTreeMap<String, Counted>,
    /// How far the process that says so is with its end; older programs say nothing of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
}

/// How a process ends that has handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ending {
    /// Its last generation, by which it is known.
    pub generation: u64,
    /// Connections that it still has.
    pub open: u32,
    /// Those that it has cut, because their time was over.
    pub cut: u32,
    /// Whether it says nothing more.
    pub ended: bool,
    /// Connections that it has accepted in the last seconds before it let go …
    pub accepted: u64,
    /// … which were so many.
    pub accepted_seconds: u64,
}

/// Of one pool.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
struct Counted {
    own: Sums,
    leader_changes: u64,
    backends: BTreeMap<String, Sums>,
    probes: BTreeMap<String, Sums>,
}

/// Counters of the program itself.
fn program(life: &Life) -> [(&'static str, &AtomicU64); 7] {
    [
        ("reloads", &life.reloads),
        ("reloads_refused", &life.reloads_refused),
        ("state_writes", &life.state_writes),
        ("state_write_failures", &life.state_write_failures),
        ("access_log_dropped", &life.access_log_dropped),
        ("spans_exported", &life.spans_exported),
        ("spans_dropped", &life.spans_dropped),
    ]
}

impl Ledger {
    /// All that has been counted so far.
    pub fn of(table: &Table, life: &Life) -> Self {
        let program = program(life).map(|(name, count)| (name.to_owned(), count.load(Relaxed)));
        let listeners = table.listeners.iter().map(|it| (it.config.name.to_string(), carry::sums(&it.stats)));
        let pools = table.pools.iter().map(|pool| {
            let probes = |backend: &crate::pool::Backend| {
                let mut sums = Sums::new();
                carry::collect(&backend.probes, &mut sums);
                sums
            };
            let backends = || pool.backends.iter().map(|it| (it.name.to_string(), it));
            let counted = Counted {
                own: carry::sums(&pool.stats),
                leader_changes: pool.leader_changes(),
                backends: filled(backends().map(|(name, it)| (name, carry::sums(&it.stats)))),
                probes: filled(backends().map(|(name, it)| (name, probes(it)))),
            };
            (pool.config.name.to_string(), counted)
        });
        Self {
            program: program.into_iter().filter(|it| it.1 > 0).collect(),
            listeners: filled(listeners),
            pools: pools.collect(),
            ending: None,
        }
    }

    /// What has been counted since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let none = Counted::default();
        let pools = self.pools.iter().filter_map(|(name, now)| {
            let before = before.pools.get(name).unwrap_or(&none);
            let more = Counted {
                own: more(&now.own, &before.own),
                leader_changes: now.leader_changes.saturating_sub(before.leader_changes),
                backends: more_each(&now.backends, &before.backends),
                probes: more_each(&now.probes, &before.probes),
            };
            (more != Counted::default()).then(|| (name.clone(), more))
        });
        Self {
            program: more(&self.program, &before.program),
            listeners: more_each(&self.listeners, &before.listeners),
            pools: pools.collect(),
            ending: None,
        }
    }

    /// Whether nothing has been counted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds it to what is counted here. What the table does not have is passed over. Called on control's thread only, which
    /// is the one writer of what others have counted.
    pub fn add(&self, table: &Table, life: &Life) {
        for (name, count) in program(life) {
            count.fetch_add(self.program.get(name).copied().unwrap_or(0), Relaxed);
        }
        for listener in &table.listeners {
            if let Some(sums) = self.listeners.get(&*listener.config.name) {
                carry::add(listener.stats.inherited(), sums);
            }
        }
        for pool in &table.pools {
            let Some(counted) = self.pools.get(&*pool.config.name) else { continue };
            carry::add(pool.stats.inherited(), &counted.own);
            pool.count_leader_changes(counted.leader_changes);
            for backend in &pool.backends {
                if let Some(sums) = counted.backends.get(&*backend.name) {
                    carry::add(backend.stats.inherited(), sums);
                }
                if let Some(sums) = counted.probes.get(&*backend.name) {
                    carry::add(&backend.probes, sums);
                }
            }
        }
    }
}

fn filled(all: impl Iterator<Item = (String, Sums)>) -> BTreeMap<String, Sums> {
    all.filter(|(_, sums)| !sums.is_empty()).collect()
}

fn more(now: &Sums, before: &Sums) -> Sums {
    let more = now.iter().map(|(name, now)| (name, now.saturating_sub(before.get(name).copied().unwrap_or(0))));
    more.filter(|(_, more)| *more > 0).map(|(name, more)| (name.clone(), more)).collect()
}

fn more_each(now: &BTreeMap<String, Sums>, before: &BTreeMap<String, Sums>) -> BTreeMap<String, Sums> {
    let none = Sums::new();
    filled(now.iter().map(|(name, now)| (name.clone(), more(now, before.get(name).unwrap_or(&none)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(responses: u64, reloads: u64) -> Ledger {
        let sums: Sums = [("responses.1".to_owned(), responses)].into();
        let counted = Counted { own: sums.clone(), backends: [("a".to_owned(), sums)].into(), ..Counted::default() };
        Ledger {
            program: [("reloads".to_owned(), reloads)].into(),
            pools: [("p".to_owned(), counted)].into(),
            ..Ledger::default()
        }
    }

    #[test]
    fn what_has_been_said_is_not_said_again() {
        let (first, second) = (ledger(5, 1), ledger(7, 1));
        assert_eq!(second.since(&first), Ledger { program: Sums::new(), ..ledger(2, 0) });
        assert!(second.since(&second).is_empty());
        // Of a pool that is new since then, all is news.
        assert_eq!(second.since(&Ledger::default()), second);
    }
}
