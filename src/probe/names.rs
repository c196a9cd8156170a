//! Backends given by host name: where each name points now. Looked up at the start and every [`EVERY`].
//!
//! An address that works is kept as long as the name still has it, and also while the name server does not answer: a
//! fault of the name service must not take backends down. Only a name that never had an address is a failure.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::report::plain;
use crate::health::agenda::QuestionId;

/// Time between two lookups of a name.
const EVERY: Duration = Duration::from_secs(10);
/// Longest time that a lookup may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Lookups at once: each holds a thread, and a name server has limits of its own.
const MAX_LOOKUPS: usize = 16;

type Found = (Arc<str>, Result<Vec<IpAddr>, String>);

#[derive(Debug)]
pub(super) struct Names {
    known: HashMap<Arc<str>, Name>,
    lookups: JoinSet<Found>,
    permits: Arc<Semaphore>,
    next: Instant,
}

#[derive(Debug, Default)]
struct Name {
    address: Option<IpAddr>,
    trouble: Option<String>,
    /// Serials of the backends that have this name.
    backends: Vec<u64>,
    /// Questions that wait for the first lookup.
    waiting: Vec<QuestionId>,
}

/// Where a name points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Whereabouts {
    Known(IpAddr),
    /// The first lookup is under way.
    Pending,
    /// It has no address; the sentence says why.
    Nowhere(String),
}

/// A lookup changed what is known.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) backends: Vec<u64>,
    pub(super) waiting: Vec<QuestionId>,
    pub(super) now: Whereabouts,
}

impl Names {
    pub(super) fn new() -> Self {
        Self {
            known: HashMap::new(),
            lookups: JoinSet::new(),
            permits: Arc::new(Semaphore::new(MAX_LOOKUPS)),
            next: Instant::now() + EVERY,
        }
    }

    /// These backends (by serial) have names, and no others; new names are looked up at once.
    pub(super) fn follow(&mut self, users: &[(Arc<str>, u64)]) {
        for name in self.known.values_mut() {
            name.backends.clear();
        }
        for (name, backend) in users {
            if !self.known.contains_key(name) {
                self.look_up(Arc::clone(name));
            }
            self.known.entry(Arc::clone(name)).or_default().backends.push(*backend);
        }
        self.known.retain(|_, name| !name.backends.is_empty());
    }

    pub(super) fn whereabouts(&self, name: &str) -> Whereabouts {
        match self.known.get(name) {
            Some(Name { address: Some(address), .. }) => Whereabouts::Known(*address),
            Some(Name { trouble: Some(trouble), .. }) => Whereabouts::Nowhere(trouble.clone()),
            _ => Whereabouts::Pending,
        }
    }

    /// `question` is named by [`Names::found`] when the first lookup of `name` ends.
    pub(super) fn wait(&mut self, name: &str, question: QuestionId) {
        if let Some(name) = self.known.get_mut(name) {
            name.waiting.push(question);
        }
    }

    /// When [`Names::refresh`] is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        (!self.known.is_empty()).then_some(self.next)
    }

    /// Looks up every name again, when it is time.
    pub(super) fn refresh(&mut self, now: Instant) {
        if now < self.next {
            return;
        }
        self.next = now + EVERY;
        // With lookups still under way the name service is slow; more of them would not help.
        if self.lookups.is_empty() {
            let names: Vec<Arc<str>> = self.known.keys().cloned().collect();
            for name in names {
                self.look_up(name);
            }
        }
    }

    fn look_up(&mut self, name: Arc<str>) {
        let permits = Arc::clone(&self.permits);
        self.lookups.spawn(async move {
            // The semaphore is never closed; without a permit the lookup goes on all the same.
            let _permit = permits.acquire_owned().await;
            let found = match tokio::time::timeout(TIMEOUT, tokio::net::lookup_host((&*name, 0))).await {
                Ok(Ok(addresses)) => Ok(addresses.map(|address| address.ip()).collect()),
                Ok(Err(error)) => Err(plain(&error)),
                Err(_elapsed) => Err(format!("no answer within {TIMEOUT:?}")),
            };
            (name, found)
        });
    }

    /// Waits for a lookup to end; `None` at once when none is under way. What it changed, if anything.
    pub(super) async fn found(&mut self) -> Option<Option<Change>> {
        let found = self.lookups.join_next().await?;
        Some(found.ok().and_then(|(name, found)| self.learn(&name, found)))
    }

    fn learn(&mut self, name: &str, found: Result<Vec<IpAddr>, String>) -> Option<Change> {
        let known = self.known.get_mut(name)?;
        let waiting = std::mem::take(&mut known.waiting);
        let backends = known.backends.clone();
        match (found.map(|list| keep_or_first(known.address, &list)), known.address) {
            (Ok(Some(new)), old) => {
                known.address = Some(new);
                known.trouble = None;
                let changed = old != Some(new) || !waiting.is_empty();
                changed.then_some(Change { backends, waiting, now: Whereabouts::Known(new) })
            }
            (Ok(None) | Err(_), Some(_working)) => None,
            (failed, None) => {
                let why = failed.err().unwrap_or_else(|| "it has no address".to_owned());
                let why = format!("`{name}` has no address: {why}");
                known.trouble = Some(why.clone());
                Some(Change { backends, waiting, now: Whereabouts::Nowhere(why) })
            }
        }
    }
}

fn keep_or_first(current: Option<IpAddr>, list: &[IpAddr]) -> Option<IpAddr> {
    current.filter(|address| list.contains(address)).or_else(|| list.first().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn an_address_is_kept_while_the_name_has_it_or_cannot_be_looked_up() {
        let mut names = Names::new();
        names.known.insert(Arc::from("db"), Name { backends: vec![7], waiting: vec![3], ..Name::default() });
        assert_eq!(names.whereabouts("db"), Whereabouts::Pending);
        let change = names.learn("db", Err("no such name".to_owned())).unwrap();
        assert_eq!((change.backends, change.waiting), (vec![7], vec![3]));
        assert!(matches!(names.whereabouts("db"), Whereabouts::Nowhere(why) if why.contains("no such name")));
        let change = names.learn("db", Ok(vec![ip("10.0.0.1"), ip("10.0.0.2")])).unwrap();
        assert_eq!(change.now, Whereabouts::Known(ip("10.0.0.1")));
        assert!(names.learn("db", Ok(vec![ip("10.0.0.2"), ip("10.0.0.1")])).is_none(), "it still has it");
        assert!(names.learn("db", Err("no answer".to_owned())).is_none());
        assert!(names.learn("db", Ok(vec![])).is_none());
        assert_eq!(names.whereabouts("db"), Whereabouts::Known(ip("10.0.0.1")));
        let change = names.learn("db", Ok(vec![ip("10.0.0.2")])).unwrap();
        assert_eq!(change.now, Whereabouts::Known(ip("10.0.0.2")));
        names.follow(&[]);
        assert_eq!(names.whereabouts("db"), Whereabouts::Pending);
        assert!(names.next_due().is_none());
    }
}
