//! The way of a flow to its backend: a socket of its own and a lease.
//!
//! Hot path: no lock, no formatting; a first datagram is kept until the backend has said anything.

use std::io;
use std::sync::Arc;

use crate::metrics::{PerWorker, PoolStats};
use crate::net::datagram::Line;
use crate::pool::{Backend, Lease, Pool, Symptom};
use crate::proxy::attempt::{Search, Tried, cause_of};
use crate::proxy::outcome::Cause;

/// Longer datagrams are not kept: questions are short.
const MAX_KEPT: usize = 2048;

/// The way to one backend.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) line: Line,
    pub(super) lease: Lease,
    /// Counts for the backend's pool.
    pub(super) pool: Arc<PerWorker<PoolStats>>,
    /// Whether a probe can find out what has become of the backend. One without checks would be asked by TCP whether its
    /// port is open, which says nothing of a port of UDP.
    is_checked: bool,
    /// [`Backend::moves`] when it was opened.
    place: u32,
    /// The last datagram, while the backend has said nothing: the system may report that nobody has got it.
    kept: Vec<u8>,
    /// Datagrams from the client.
    pub(super) asked: u64,
    /// Datagrams from the backend.
    pub(super) answered: u64,
    /// The system has said that nobody is there.
    pub(super) broken: bool,
}

/// Why a datagram did not leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsent {
    /// The system did not take this one; it says nothing of the backend.
    ThisOne,
    /// The backend cannot be reached.
    Unreachable(Cause),
}

impl Unsent {
    /// Why, as it is counted.
    pub(super) fn cause(self) -> Cause {
        match self {
            Self::ThisOne => Cause::Local,
            Self::Unreachable(cause) => cause,
        }
    }
}

impl Leg {
    /// Sends `bytes` to a backend that is not among `tried`, by the pool's balance; to the next one where that cannot be
    /// reached. Nothing has been answered yet, so trying elsewhere is always safe.
    ///
    /// # Errors
    /// Why it went to nobody.
    pub(super) fn reach(search: &Search<'_>, tried: &mut Tried, bytes: &[u8]) -> Result<Self, Cause> {
        let pool = search.pool();
        let mut why = Cause::NoBackend;
        for attempt in 0..=pool.config.retry.attempts {
            if attempt > 0 {
                pool.stats.mine().retries.inc();
            }
            let Some(lease) = search.worker.pick(search.view, search.pool, &search.ask, tried) else { break };
            let stats = lease.backend().stats.mine();
            stats.picks.inc();
            tried.push(lease.backend().slot.index);
            match Self::open(lease, pool, bytes) {
                Ok(leg) => return Ok(leg),
                Err(Cause::Local) => return Err(Cause::Local),
                Err(cause) => why = cause,
            }
        }
        Err(why)
    }

    fn open(lease: Lease, pool: &Pool, bytes: &[u8]) -> Result<Self, Cause> {
        let backend = Arc::clone(lease.backend());
        let opened = Self::connect(lease, pool).and_then(|mut leg| match leg.send(bytes) {
            Ok(()) | Err(Unsent::ThisOne) => Ok(leg),
            Err(Unsent::Unreachable(cause)) => Err(cause),
        });
        match &opened {
            Ok(_) => backend.stats.mine().connects.inc(),
            Err(cause) => {
                backend.stats.mine().connect_failures.inc();
                if let Some(symptom) = cause.symptom().filter(|_| is_checked(pool)) {
                    backend.suspect(symptom);
                }
            }
        }
        opened
    }

    fn connect(lease: Lease, pool: &Pool) -> Result<Self, Cause> {
        let place = lease.backend().moves();
        let address = lease.backend().site().and_then(|site| site.ip()).ok_or(Cause::ConnectFailed)?;
        let line = Line::by_to(pool.way.as_ref(), address).map_err(|error| cause_of(&error))?;
        let (stats, is_checked) = (Arc::clone(&pool.stats), is_checked(pool));
        let kept = Vec::new();
        Ok(Self { line, lease, pool: stats, is_checked, place, kept, asked: 0, answered: 0, broken: false })
    }

    /// Its backend.
    pub(super) fn backend(&self) -> &Arc<Backend> {
        self.lease.backend()
    }

    /// Whether the backend has moved to another address.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.backend().moves() != self.place
    }

    /// Sends a datagram of the client.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), Unsent> {
        self.line.send(bytes).map_err(|error| unsent(&error))?;
        self.asked += 1;
        self.backend().stats.mine().sent_bytes.add(bytes.len() as u64);
        self.pool.mine().received_bytes.add(bytes.len() as u64);
        if self.answered == 0 && bytes.len() <= MAX_KEPT {
            self.kept.clear();
            self.kept.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// Takes what the backend has sent; its length.
    pub(super) fn take(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let length = self.line.take(room)?;
        self.answered += 1;
        self.kept = Vec::new();
        self.backend().stats.mine().received_bytes.add(length as u64);
        self.pool.mine().sent_bytes.add(length as u64);
        Ok(length)
    }

    /// The system has said that a datagram did not get there.
    pub(super) fn breaks(&mut self, cause: Cause) {
        self.broken = true;
        self.backend().stats.mine().connect_failures.inc();
        if let Some(symptom) = cause.symptom() {
            self.suspect(symptom);
        }
    }

    /// Asks for a probe.
    pub(super) fn suspect(&self, symptom: Symptom) {
        if self.is_checked {
            self.backend().suspect(symptom);
        }
    }

    /// The datagram that nobody has got, as far as it was kept.
    pub(super) fn give_back(&mut self) -> Option<Vec<u8>> {
        let kept = std::mem::take(&mut self.kept);
        (!kept.is_empty()).then_some(kept)
    }
}

fn is_checked(pool: &Pool) -> bool {
    !pool.config.checks.is_empty() || pool.config.follows.is_some()
}

/// What the system says of a datagram that it did not send. One that is too long (EMSGSIZE), or that finds no room, says
/// nothing of the backend.
fn unsent(error: &io::Error) -> Unsent {
    const EMSGSIZE: i32 = 90;
    match cause_of(error) {
        // EAGAIN and ENOBUFS among them: the system has no room right now.
        Cause::Local => Unsent::ThisOne,
        _ if error.raw_os_error() == Some(EMSGSIZE) => Unsent::ThisOne,
        cause => Unsent::Unreachable(cause),
    }
}
