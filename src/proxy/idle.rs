//! Idle connections to backends, of one worker: the last one in is the first one out, so that the rest grows cold and goes.
//!
//! Hot path: no allocation once warm, no lock, and no system call but one for a request that cannot be repeated.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::net::stream::Stream;
use crate::pool::Backend;

/// A connection that has been idle for longer than this is not used for a request that cannot be repeated: the backend
/// may be closing it at this moment, and nobody could tell whether the request was carried out.
const FRESH: Duration = Duration::from_secs(1);

/// Idle connections by the number of their backend.
#[derive(Debug, Default)]
pub struct Idle(RefCell<Vec<Option<Set>>>);

#[derive(Debug)]
struct Set {
    backend: Arc<Backend>,
    connections: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    stream: Stream,
    since: Instant,
    lifetime: Duration,
}

/// For which requests a connection is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// It may be repeated when the connection turns out dead.
    Repeatable,
    /// It may not.
    Once,
}

impl Idle {
    /// A connection to the backend on which nothing has happened since.
    #[inline]
    pub fn take(&self, backend: &Backend, wanted: Wanted, now: Instant) -> Option<Stream> {
        let mut sets = self.0.borrow_mut();
        let set = sets.get_mut(backend.slot.index as usize)?.as_mut()?;
        if set.backend.slot.serial != backend.slot.serial {
            return None;
        }
        if wanted == Wanted::Once && now.saturating_duration_since(set.connections.last()?.since) >= FRESH {
            // They stay for requests that may be repeated.
            return None;
        }
        while let Some(entry) = set.connections.pop() {
            set.count();
            let too_old = now.saturating_duration_since(entry.since) >= entry.lifetime;
            let mut stream = entry.stream;
            let mut quiet = || match wanted {
                Wanted::Repeatable => stream.is_quiet(),
                Wanted::Once => stream.is_quiet_for_sure(),
            };
            if !too_old && quiet() && stream.place == backend.moves() {
                return Some(stream);
            }
        }
        None
    }

    /// Keeps a connection, unless there are `most` already or the backend is no longer one or gets no more work.
    #[inline]
    pub fn keep(&self, backend: &Arc<Backend>, stream: Stream, now: Instant, lifetime: Duration, most: usize) {
        if backend.is_retired() || backend.is_out() || stream.place != backend.moves() {
            return;
        }
        let mut sets = self.0.borrow_mut();
        let index = backend.slot.index as usize;
        if sets.len() <= index {
            sets.resize_with(index + 1, || None);
        }
        let set = sets[index].get_or_insert_with(|| Set { backend: Arc::clone(backend), connections: Vec::new() });
        if set.backend.slot.serial != backend.slot.serial {
            *set = Set { backend: Arc::clone(backend), connections: Vec::new() };
        }
        if set.connections.len() < most {
            set.connections.push(Entry { stream, since: now, lifetime });
            set.count();
        }
    }

    /// Closes what there is to the backend.
    pub fn forget(&self, backend: &Backend) {
        if let Some(set) = self.0.borrow_mut().get_mut(backend.slot.index as usize) {
            *set = None;
        }
    }

    /// Closes what is too old, what the backend has closed, and what leads to backends that are no longer or get no more
    /// work.
    pub fn sweep(&self) {
        let now = Instant::now();
        for place in self.0.borrow_mut().iter_mut() {
            let Some(set) = place else { continue };
            set.connections.retain_mut(|entry| {
                now.saturating_duration_since(entry.since) < entry.lifetime && entry.stream.is_quiet()
            });
            set.count();
            if set.connections.is_empty() || set.backend.is_retired() || set.backend.is_out() {
                *place = None;
            }
        }
    }
}

impl Set {
    fn count(&self) {
        self.backend.stats.mine().idle.set(self.connections.len() as u64);
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        self.backend.stats.mine().idle.set(0);
    }
}
