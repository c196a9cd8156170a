//! A drill: a fault is put in the way to one backend, for traffic and probes alike, and what that costs is counted.
//!
//! Whoever holds the [`Drill`] holds the fault; dropping it takes it away. It also ends by itself at its deadline, whatever
//! becomes of its holder. Nobody but the backend in question is touched, and connections that stand go on.

mod abort;

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

pub use abort::Abort;

use super::counted::of_pool;
use super::numbers::Count;
use super::orders::{Refused, find};
use super::overrides::Force;
use super::{Life, Phase};
use crate::config::model::{Destination, HttpVersion, PoolIndex, Protocol};
use crate::health::State;
use crate::health::incident::Toll;
use crate::net::fault::{By, Fault, Kind};
use crate::pool::events::{Event, EventKind, Events};
use crate::pool::incidents::toll;
use crate::pool::{Backend, Pool};
use crate::route::Table;

/// Longest drill: whoever watches it does so on one connection of the admin port, which lasts for ten minutes.
pub const MAX_LENGTH: Duration = Duration::from_secs(540);

/// What an operator wants.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The pool.
    pub pool: String,
    /// The backend.
    pub backend: String,
    /// The fault.
    pub kind: Kind,
    /// For how long.
    pub lasts: Duration,
    /// What ends it before that.
    pub abort: Abort,
    /// Who, and why.
    pub by: By,
    /// Whether the pool may be left without anybody who is up.
    pub force: Force,
}

/// A drill that runs.
#[derive(Debug)]
pub struct Drill {
    pool: Arc<Pool>,
    backend: Arc<Backend>,
    fault: Arc<Fault>,
    abort: Abort,
    events: Arc<Events>,
    began: Instant,
    lasts: Duration,
    count_before: Count,
    toll_before: Toll,
    /// Why it has ended; for the event.
    ended: Option<Ending>,
}

/// Why a drill has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Its time was over.
    Over,
    /// The condition for its abort came true.
    Aborted(String),
    /// The backend is in the configuration no more.
    Removed,
    /// The program stops, or another process has taken over.
    Stopping,
    /// Whoever watched it has gone.
    Left,
}

impl Ending {
    /// For people.
    pub fn sentence(&self) -> String {
        match self {
            Self::Over => "its time was over".to_owned(),
            Self::Aborted(why) => format!("aborted: {why}"),
            Self::Removed => "the backend is in the configuration no more".to_owned(),
            Self::Stopping => "this process stops, or another has taken over".to_owned(),
            Self::Left => "whoever watched it has gone".to_owned(),
        }
    }

    /// One word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Over => "over",
            Self::Aborted(_) => "aborted",
            Self::Removed => "removed",
            Self::Stopping => "stopping",
            Self::Left => "left",
        }
    }
}

/// How far a drill is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Since its begin.
    pub elapsed: Duration,
    /// What the backend is now.
    pub state: State,
    /// Whether no work is given to it.
    pub is_out: bool,
    /// What its pool has counted since.
    pub count: Count,
    /// What it has cost.
    pub toll: Toll,
}

impl Drill {
    /// Puts the fault in the way.
    ///
    /// # Errors
    /// Why not.
    pub fn begin(table: &Table, wish: Wish, events: &Arc<Events>) -> Result<Self, Refused> {
        let Wish { pool, backend, kind, lasts, abort, by, force } = wish;
        find(table, &pool, &backend)?;
        let found = table.pools.iter().enumerate().find(|(_, known)| *known.config.name == *pool);
        let Some((at, pool)) = found else { return Err(Refused::Unknown(format!("there is no pool `{pool}`"))) };
        let Some(backend) = pool.backends.iter().find(|known| *known.name == *backend) else {
            return Err(Refused::Unknown(format!("pool `{}` has no backend `{backend}`", pool.config.name)));
        };
        makes_sense(table, at, pool, kind).map_err(Refused::Conflict)?;
        is_safe(pool, backend, force).map_err(Refused::Conflict)?;
        let fault = Arc::new(Fault::new(kind, lasts, by));
        let drill = Self {
            pool: Arc::clone(pool),
            backend: Arc::clone(backend),
            fault: Arc::clone(&fault),
            abort,
            events: Arc::clone(events),
            began: Instant::now(),
            lasts,
            count_before: of_pool(pool),
            toll_before: toll(pool, backend),
            ended: None,
        };
        backend.set_fault(Some(fault));
        let by = &drill.fault.by;
        let reason = if by.reason.is_empty() { String::new() } else { format!(": {}", by.reason) };
        drill.tell(EventKind::Drill, format!("drill by {}: {kind} for {lasts:?}{reason}", by.owner));
        Ok(drill)
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        Progress {
            elapsed: self.began.elapsed(),
            state: self.backend.state(),
            is_out: self.backend.is_out(),
            count: of_pool(&self.pool).since(&self.count_before),
            toll: toll(&self.pool, &self.backend).since(self.toll_before),
        }
    }

    /// Whether it has to end now, and why.
    pub fn must_end(&self, life: &Life, progress: &Progress) -> Option<Ending> {
        if life.phase() == Phase::Stopping {
            return Some(Ending::Stopping);
        }
        if self.backend.is_retired() {
            return Some(Ending::Removed);
        }
        if let Some(why) = self.abort.judge(&self.count_before, &progress.count) {
            return Some(Ending::Aborted(why));
        }
        (progress.elapsed >= self.lasts).then_some(Ending::Over)
    }

    /// Takes the fault away. What it has cost may still be asked.
    pub fn end(&mut self, ending: Ending) {
        if self.ended.is_some() {
            return;
        }
        // Another fault may be there, if this one's time was over.
        if self.backend.fault().is_some_and(|fault| Arc::ptr_eq(&fault, &self.fault)) {
            self.backend.set_fault(None);
        }
        self.fault.end();
        let cost = self.progress().toll;
        let Toll { failed, retried, held, cut } = cost;
        self.tell(
            EventKind::DrillOver,
            format!(
                "the drill is over after {:.1?}: {}; requests failed {failed}, retried {retried}, held {held}; \
                 connections cut {cut}",
                self.began.elapsed(),
                ending.sentence()
            ),
        );
        self.ended = Some(ending);
    }

    /// Whether the backend is as well as it was: up, or in no table any more.
    pub fn has_recovered(&self) -> bool {
        self.backend.state() == State::Up || self.backend.is_retired()
    }

    fn tell(&self, kind: EventKind, message: String) {
        tracing::warn!(pool = %self.backend.pool, backend = %self.backend.name, "{message}");
        self.events.add(Event {
            at: Timestamp::now(),
            pool: Some(Arc::clone(&self.backend.pool)),
            backend: Some(Arc::clone(&self.backend.name)),
            kind,
            message,
        });
    }
}

impl Drop for Drill {
    fn drop(&mut self) {
        self.end(Ending::Left);
    }
}

/// Whether the pool's traffic can meet this fault at all.
fn makes_sense(table: &Table, at: usize, pool: &Pool, kind: Kind) -> Result<(), String> {
    let name = &pool.config.name;
    if let Some(PoolIndex(followed)) = pool.config.follows {
        let followed = table.pools.get(followed as usize).map_or("?", |pool| &pool.config.name);
        return Err(format!(
            "pool `{name}` follows pool `{followed}`, whose probes decide: a drill here meets no probe"
        ));
    }
    let uses = |protocol: Protocol| {
        let listeners = table.listeners.iter().filter(move |listener| listener.config.protocol == protocol);
        let destinations = listeners.flat_map(|listener| {
            listener.config.routes.iter().map(|route| &route.destination).chain(&listener.config.destination)
        });
        destinations.flat_map(Destination::pools).any(|PoolIndex(index)| index as usize == at)
    };
    if uses(Protocol::Udp) {
        return Err(format!("pool `{name}` serves datagrams, which have no connection that a fault could meet"));
    }
    match kind {
        Kind::Errors(_) if uses(Protocol::Tcp) => {
            Err(format!("pool `{name}` serves TCP, which has no status to answer: use refuse, blackhole or slow"))
        }
        Kind::Errors(_) if pool.config.http == HttpVersion::V2 => Err(format!(
            "pool `{name}` speaks HTTP/2, in which drills do not answer yet: use refuse, blackhole or slow"
        )),
        _ => Ok(()),
    }
}

/// Whether somebody else does the work meanwhile.
fn is_safe(pool: &Pool, backend: &Backend, force: Force) -> Result<(), String> {
    let name = &pool.config.name;
    if let Some((other, fault)) = pool.backends.iter().find_map(|other| Some((other, other.fault()?))) {
        return Err(format!(
            "there is a drill of `{name}/{}` already, by {}; one at a time",
            other.name, fault.by.owner
        ));
    }
    if backend.state() != State::Up {
        return Err(format!("`{}` is {} already: a drill would show nothing", backend.name, backend.state().word()));
    }
    let others = pool.backends.iter().filter(|other| other.name != backend.name && other.state() == State::Up);
    if others.count() == 0 && force == Force::No {
        return Err(format!(
            "`{}` is the last backend of pool `{name}` that is up: requests would fail; `--force` drills it all the same",
            backend.name
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_of_a_drill_has_its_sentence() {
        let aborted = Ending::Aborted("too many errors".to_owned());
        assert_eq!((aborted.word(), aborted.sentence().as_str()), ("aborted", "aborted: too many errors"));
        for ending in [Ending::Over, Ending::Removed, Ending::Stopping, Ending::Left] {
            assert!(!ending.sentence().is_empty() && !ending.word().contains(' '));
        }
    }
}
