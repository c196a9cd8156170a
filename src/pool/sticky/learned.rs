//! What is remembered of clients: for each value that somebody is known by, the backend that it belongs to.
//!
//! Shared by all workers, in parts with a lock each, which is held for one lookup. Bounded: there are two sets, and when
//! the younger one is full the older one is forgotten, with whoever has not come since it was closed.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use foldhash::fast::FixedState;

use crate::clock;

/// Parts: more than workers that ask at the same moment.
const SHARDS: usize = 16;

/// Backends by the hash of what a client is known by.
#[derive(Debug)]
pub(super) struct Table {
    shards: [Mutex<Shard>; SHARDS],
    /// Of the values: nobody can choose them so that they fall together.
    hasher: RandomState,
    /// Most in a set of a part.
    most: usize,
    expire_millis: u64,
}

#[derive(Debug, Default)]
struct Shard {
    young: HashMap<u64, Entry, FixedState>,
    old: HashMap<u64, Entry, FixedState>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Serial number of the backend's slot.
    serial: u64,
    /// When it was last asked for, [`clock::millis`].
    at: u64,
}

impl Table {
    pub(super) fn new(entries: usize, expire: Duration) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            most: entries.div_ceil(SHARDS * 2),
            expire_millis: u64::try_from(expire.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// The backend of whoever is known by this, who has been seen with it.
    pub(super) fn find(&self, value: &[u8]) -> Option<u64> {
        self.find_at(value, clock::millis())
    }

    /// Remembers it.
    pub(super) fn learn(&self, value: &[u8], serial: u64) {
        self.learn_at(value, serial, clock::millis());
    }

    fn find_at(&self, value: &[u8], now: u64) -> Option<u64> {
        let key = self.hasher.hash_one(value);
        let mut shard = self.shard(key);
        let known = shard.young.get(&key).or_else(|| shard.old.get(&key)).copied()?;
        if now.saturating_sub(known.at) >= self.expire_millis {
            return None;
        }
        shard.put(key, Entry { at: now, ..known }, self.most);
        Some(known.serial)
    }

    fn learn_at(&self, value: &[u8], serial: u64, now: u64) {
        let key = self.hasher.hash_one(value);
        self.shard(key).put(key, Entry { serial, at: now }, self.most);
    }

    fn shard(&self, key: u64) -> std::sync::MutexGuard<'_, Shard> {
        self.shards[(key >> 60) as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn put(&mut self, key: u64, entry: Entry, most: usize) {
        if self.young.len() >= most && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(table: &Table, client: u32, now: u64) -> Option<u64> {
        table.find_at(&client.to_le_bytes(), now)
    }

    #[test]
    fn whoever_comes_again_in_time_is_remembered() {
        let table = Table::new(1000, Duration::from_millis(100));
        table.learn_at(&1_u32.to_le_bytes(), 7, 0);
        assert_eq!(find(&table, 2, 0), None);
        for now in [50, 149, 248] {
            assert_eq!(find(&table, 1, now), Some(7), "each visit counts: {now}");
        }
        assert_eq!(find(&table, 1, 348), None);
        table.learn_at(&1_u32.to_le_bytes(), 8, 400);
        assert_eq!(find(&table, 1, 400), Some(8));
    }

    #[test]
    fn it_never_holds_more_than_it_may_and_keeps_who_comes() {
        let table = Table::new(1600, Duration::from_secs(1000));
        table.learn_at(&0_u32.to_le_bytes(), 7, 0);
        for client in 1..50_000_u32 {
            table.learn_at(&client.to_le_bytes(), 9, 1);
            assert_eq!(find(&table, 0, 1), Some(7));
        }
        let held: usize =
            table.shards.iter().map(|shard| shard.lock().unwrap()).map(|it| it.young.len() + it.old.len()).sum();
        assert!(held <= 1600, "{held}");
        let last = (49_900..50_000).filter(|client| find(&table, *client, 1).is_some()).count();
        assert_eq!(last, 100, "those of late are all there");
    }
}
