//! How many connections each client has open at a listener, over all workers.
//!
//! Only who has one open is remembered, so that there are never more entries than connections. Who leaves is taken off by
//! drop. Looked at once for each connection, where the listener has a limit: one lock of one shard, held for a look-up.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock;

/// Clients that are looked up at once by several workers seldom meet in one of so many.
const SHARDS: usize = 16;

/// A refusal is said so often at most, milliseconds: whoever tries again and again would fill the log as well.
const SAID_EVERY: u64 = 10_000;

type Shard = Mutex<HashMap<Key, u32, RandomState>>;

/// Who has connections open.
#[derive(Debug, Default)]
pub struct Crowd {
    shards: [Shard; SHARDS],
    /// Keyed anew in each process: nobody can choose addresses that meet in one shard.
    hasher: RandomState,
    /// When a refusal may be said again, by [`clock::millis`]; written by whichever worker says it.
    next_said: AtomicU64,
}

/// A client: an address, or a network of 64 bits in IPv6, which is what one subscriber has (RFC 6177).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    V4([u8; 4]),
    V6(u64),
}

/// One connection of a client, counted until it is dropped.
#[derive(Debug)]
pub struct Presence {
    crowd: Arc<Crowd>,
    key: Key,
}

impl Crowd {
    /// Counts one more connection of a client; `None` where it has `most` already.
    pub fn enter(self: &Arc<Self>, client: IpAddr, most: NonZeroU32) -> Option<Presence> {
        let key = Key::of(client);
        // Whoever panicked here, which nobody does, would have left whole numbers.
        let mut shard = self.shard(key).lock().unwrap_or_else(PoisonError::into_inner);
        let open = shard.entry(key).or_default();
        if *open >= most.get() {
            return None;
        }
        *open += 1;
        drop(shard);
        Some(Presence { crowd: Arc::clone(self), key })
    }

    /// Whether it is time to say that somebody was refused.
    pub fn may_say(&self) -> bool {
        let now = clock::millis();
        let due = |next| (next <= now).then_some(now + SAID_EVERY);
        self.next_said.fetch_update(Relaxed, Relaxed, due).is_ok()
    }

    fn shard(&self, key: Key) -> &Shard {
        &self.shards[(self.hasher.hash_one(key) % SHARDS as u64) as usize]
    }
}

impl Key {
    fn of(client: IpAddr) -> Self {
        match client.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut shard = self.crowd.shard(self.key).lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut entry) = shard.entry(self.key) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn most(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn remembered(crowd: &Crowd) -> usize {
        crowd.shards.iter().map(|shard| shard.lock().unwrap().len()).sum()
    }

    #[test]
    fn each_client_has_its_own_and_who_leaves_is_forgotten() {
        let crowd = Arc::new(Crowd::default());
        let enter = |text: &str| crowd.enter(address(text), most(2));
        let (first, second, other) = (enter("10.0.0.1"), enter("::ffff:10.0.0.1"), enter("10.0.0.2"));
        assert!(first.is_some() && second.is_some() && other.is_some());
        assert!(enter("10.0.0.1").is_none());
        drop(first);
        assert!(enter("10.0.0.1").is_some());
        drop((second, other));
        assert_eq!(remembered(&crowd), 0);
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let crowd = Arc::new(Crowd::default());
        let first = crowd.enter(address("2001:db8::1"), most(1));
        assert!(first.is_some() && crowd.enter(address("2001:db8::ffff:2"), most(1)).is_none());
        assert!(crowd.enter(address("2001:db8:0:1::1"), most(1)).is_some());
    }

    #[test]
    fn several_threads_together_let_in_exactly_so_many() {
        let crowd = Arc::new(Crowd::default());
        let entered: Mutex<Vec<Presence>> = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        entered.lock().unwrap().extend(crowd.enter(address("10.0.0.1"), most(777)));
                        drop(crowd.enter(address("10.0.0.2"), most(777)));
                    }
                });
            }
        });
        assert_eq!(entered.lock().unwrap().len(), 777);
        assert_eq!(remembered(&crowd), 1);
    }

    #[test]
    fn refusals_are_said_once_in_a_while() {
        let crowd = Crowd::default();
        assert_eq!([crowd.may_say(), crowd.may_say(), crowd.may_say()], [true, false, false]);
    }
}
