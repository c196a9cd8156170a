//! Each change that takes effect gets a record: what it meant for sockets and connections is measured around it, and what
//! drains is followed to its end.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::task::spawn_blocking;

use super::control::{Control, flows};
use super::reload::Cause;
use crate::control::handover::Ending;
use crate::control::records::{Accepted, Connections, Drained, Record, Records, Sockets, State, UPGRADE};
use crate::pool::Backend;
use crate::route::{Listener, Table};

/// What was accepted so long before a change and after it is part of its record.
const WINDOW: Duration = Duration::from_secs(5);
/// Changes whose end is waited for at once; of more, the oldest is left as it is.
const MAX_UNDER_WAY: usize = 50;

/// What control remembers for the sake of records.
#[derive(Debug, Default)]
pub(super) struct Recording {
    pace: Pace,
    under_way: VecDeque<UnderWay>,
}

/// How many connections have been accepted, as time goes by.
#[derive(Debug, Default)]
struct Pace {
    by_listener: HashMap<Arc<str>, u64>,
    sum: u64,
    /// Sums of the last seconds, oldest first.
    past: VecDeque<(Instant, u64)>,
}

/// A change whose end is not known yet.
#[derive(Debug)]
struct UnderWay {
    generation: u64,
    since: Instant,
    /// What had been accepted by then.
    accepted: u64,
    /// Connections of listeners that are gone.
    listeners: Vec<Arc<AtomicU32>>,
    /// Backends that are gone.
    backends: Vec<Arc<Backend>>,
    /// The process before this one says how it ends.
    is_told: bool,
}

/// How things are before a change.
#[derive(Debug)]
pub(super) struct Measured {
    begun: Instant,
    before: u64,
    accepted: Accepted,
    open: u64,
    sockets: usize,
    opened: usize,
    gone: Vec<Arc<AtomicU32>>,
    backends: Vec<Arc<Backend>>,
}

impl Pace {
    /// All that has been accepted up to now. Listeners come and go: what each has counted more than when it was last looked
    /// at is what counts.
    fn look(&mut self, table: &Table) -> u64 {
        let mut now = HashMap::new();
        for listener in &table.listeners {
            let name = &listener.config.name;
            let count = listener.stats.sum_here(|it| &it.connections);
            self.sum += count.saturating_sub(self.by_listener.get(name).copied().unwrap_or(0));
            now.insert(Arc::clone(name), count);
        }
        self.by_listener = now;
        self.sum
    }

    /// Remembers this second.
    fn note(&mut self, table: &Table) {
        let (now, sum) = (Instant::now(), self.look(table));
        self.past.push_back((now, sum));
        while self.past.len() > 1 && self.past[1].0.elapsed() >= WINDOW {
            self.past.pop_front();
        }
    }

    /// What was accepted in the last seconds.
    fn lately(&mut self, table: &Table) -> Accepted {
        let sum = self.look(table);
        let (since, before) = self.past.front().map_or((Duration::ZERO, sum), |(at, before)| (at.elapsed(), *before));
        Accepted { before: sum - before, before_seconds: seconds(since), after: None, after_seconds: 0 }
    }
}

/// Rounded to whole ones.
fn seconds(time: Duration) -> u64 {
    (time + Duration::from_millis(500)).as_secs()
}

impl Control {
    /// How things are before what is bound is put to work.
    pub(super) fn measured(&mut self, begun: Instant, new: &Table, opened: usize) -> Measured {
        let old = self.published.load();
        let gone = old.listeners.iter().filter(|listener| !lives_on(listener, new));
        Measured {
            begun,
            before: old.generation,
            accepted: self.recording.pace.lately(&old),
            open: u64::from(self.workers.open.load(Relaxed) + flows(&old)),
            sockets: self.listeners.count(),
            opened,
            gone: gone.map(|listener| Arc::clone(&listener.open)).collect(),
            backends: old.leaving(new),
        }
    }

    /// It has taken effect: begins its record.
    pub(super) fn record_change(&mut self, was: Measured, cause: &Cause, new: &Table) {
        let (now, opened) = (self.listeners.count(), was.opened);
        let kept = now.saturating_sub(opened);
        let draining: u64 = was.gone.iter().map(|open| u64::from(open.load(Relaxed))).sum();
        let work = was.backends.iter().map(|backend| u64::from(backend.in_flight())).sum();
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let record = Record {
            generation: new.generation,
            before: was.before,
            at: Timestamp::now(),
            why: cause.words(),
            owner: cause.owner(),
            reason: cause.reason(),
            took_micros: u64::try_from(was.begun.elapsed().as_micros()).unwrap_or(u64::MAX),
            sockets: Sockets {
                kept: count(kept),
                opened: count(opened),
                closed: count(was.sockets.saturating_sub(kept)),
                handed_over: 0,
            },
            connections: Connections {
                open: was.open,
                kept: was.open.saturating_sub(draining),
                draining,
                ..Connections::default()
            },
            work: Drained { draining: work, drained: 0 },
            accepted: was.accepted,
            state: State::Draining,
            drained_after_ms: (draining + work == 0).then_some(0),
        };
        let accepted = self.recording.pace.look(new);
        self.follow(record, accepted, was.gone, was.backends);
    }

    /// This process has the work of the one before it: begins the record of that.
    pub(super) fn record_upgrade(&mut self, before: u64, ending: Option<&Ending>, took: Duration, handed_over: usize) {
        let table = self.published.load();
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let open = ending.map_or(0, |ending| u64::from(ending.open));
        let record = Record {
            generation: table.generation,
            before,
            at: Timestamp::now(),
            why: UPGRADE.to_owned(),
            took_micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            sockets: Sockets {
                handed_over: count(handed_over),
                opened: count(self.listeners.count().saturating_sub(handed_over)),
                ..Sockets::default()
            },
            connections: Connections { open, draining: open, ..Connections::default() },
            accepted: Accepted {
                before: ending.map_or(0, |ending| ending.accepted),
                before_seconds: ending.map_or(0, |ending| ending.accepted_seconds),
                ..Accepted::default()
            },
            state: State::Draining,
            ..Record::default()
        };
        let accepted = self.recording.pace.look(&table);
        self.follow(record, accepted, Vec::new(), Vec::new());
        if let Some(last) = self.recording.under_way.back_mut() {
            last.is_told = ending.is_some();
        }
    }

    fn follow(&mut self, record: Record, accepted: u64, listeners: Vec<Arc<AtomicU32>>, backends: Vec<Arc<Backend>>) {
        let (generation, since) = (record.generation, Instant::now());
        self.records.add(record);
        save(&self.records);
        let change = UnderWay { generation, since, accepted, listeners, backends, is_told: false };
        self.recording.under_way.push_back(change);
        if self.recording.under_way.len() > MAX_UNDER_WAY {
            self.recording.under_way.pop_front();
        }
    }

    /// Once a second: how far what drains has come.
    pub(super) fn look_at_records(&mut self) {
        self.recording.pace.note(&self.published.load());
        let (sum, records) = (self.recording.pace.sum, Arc::clone(&self.records));
        let before = self.recording.under_way.len();
        self.recording.under_way.retain(|change| !change.look(sum, &records));
        if self.recording.under_way.len() < before {
            save(&records);
        }
    }

    /// What the process after this one is told of how this one ends.
    pub(super) fn ending(&mut self) -> Ending {
        let table = self.published.load();
        let Accepted { before, before_seconds, .. } = self.recording.pace.lately(&table);
        let open = self.workers.open.load(Relaxed) + flows(&table);
        Ending {
            generation: table.generation,
            open,
            accepted: before,
            accepted_seconds: before_seconds,
            ..Ending::default()
        }
    }
}

impl UnderWay {
    /// Says what has come of it since; whether all has.
    fn look(&self, accepted: u64, records: &Records) -> bool {
        let connections: u64 = self.listeners.iter().map(|open| u64::from(open.load(Relaxed))).sum();
        let work: u64 = self.backends.iter().map(|backend| u64::from(backend.in_flight())).sum();
        let since = self.since.elapsed();
        let is_over = since >= WINDOW;
        let mut is_done = false;
        records.amend(self.generation, |record| {
            if record.accepted.after.is_none() && is_over {
                record.accepted.after = Some(accepted - self.accepted);
                record.accepted.after_seconds = seconds(since);
            }
            if self.is_told {
                // The process before this one says the rest, on its line.
                is_done = is_over;
                return;
            }
            record.connections.drained = record.connections.draining.saturating_sub(connections);
            record.work.drained = record.work.draining.saturating_sub(work);
            if connections + work == 0 && record.drained_after_ms.is_none() {
                record.drained_after_ms = Some(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
            }
            is_done = is_over && connections + work == 0;
            if is_done {
                record.state = if record.why == UPGRADE { State::Unknown } else { State::Done };
            }
        });
        is_done
    }
}

/// Whether what a listener has open goes on after a change: by its name, or by an address that another one has now.
fn lives_on(listener: &Listener, new: &Table) -> bool {
    new.listeners.iter().any(|it| {
        let same_name = it.config.name == listener.config.name;
        let same_site = it.config.binds.iter().any(|site| listener.config.binds.contains(site));
        same_name || (same_site && it.config.protocol == listener.config.protocol)
    })
}

/// The disk may be slow: control does not wait for it.
pub(super) fn save(records: &Arc<Records>) {
    let records = Arc::clone(records);
    spawn_blocking(move || records.save());
}
