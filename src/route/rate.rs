//! How often somebody may ask: GCRA, exact over all workers, in memory that does not grow with the number of clients.
//!
//! For each key one moment is kept: when its steady pace would be due again. Keys live in sets of `WAYS`; where a set is
//! full, the key whose moment is earliest gives way: one that is due already is as if it were not there, and beyond
//! those it is the one that has asked least. Whoever asks most is never forgotten by a flood of others.
//!
//! Hot path, where a rate is configured: one hash and one lock of one set, held for some twenty nanoseconds. Exactness
//! under several workers needs one of them to see what the other has counted.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::config::model::{Per, Rate};

/// Keys in a set.
const WAYS: usize = 32;
/// Sets of a rate: 65536 keys in all, of 16 bytes each, 1 MiB.
const SETS: usize = 2048;

/// Who is counted.
#[derive(Debug, Clone, Copy)]
pub enum Key<'a> {
    /// A client; those of one IPv6 network of 64 bits are one.
    Client(IpAddr),
    /// The value of a field or cookie.
    Text(&'a [u8]),
    /// All together.
    All,
}

/// A rate at work.
#[derive(Debug)]
pub struct Limiter {
    sets: Box<[Mutex<Vec<Slot>>]>,
    /// Keyed anew in each process: nobody can choose addresses that meet in one set.
    hasher: RandomState,
    /// Nanoseconds between two requests at the steady pace.
    step: u64,
    /// So far ahead of it one may be.
    ahead: u64,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    key: u64,
    /// When the next request is due at the steady pace, nanoseconds of [`crate::clock::nanos`].
    due: u64,
}

impl Limiter {
    /// Nobody has asked yet.
    pub fn new(rate: &Rate) -> Self {
        let every = u64::try_from(rate.every.as_nanos()).unwrap_or(u64::MAX);
        let step = (every / u64::from(rate.requests.get())).max(1);
        let sets = if rate.per == Per::All { 1 } else { SETS };
        Self {
            sets: (0..sets).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            step,
            ahead: step.saturating_mul(u64::from(rate.burst.get()) - 1),
        }
    }

    /// Counts a request that comes now.
    ///
    /// # Errors
    /// It comes too early: by so much. It is not counted then.
    pub fn ask(&self, key: Key<'_>, now: u64) -> Result<(), Duration> {
        let key = self.hash(key);
        let set = &self.sets[(key >> 32) as usize % self.sets.len()];
        // Whoever panicked here, which nobody does, would have left a whole slot.
        let mut slots = set.lock().unwrap_or_else(PoisonError::into_inner);
        let at = place(&mut slots, key, now);
        let slot = &mut slots[at];
        let due = slot.due.max(now);
        let early = (due - now).saturating_sub(self.ahead);
        if early > 0 {
            return Err(Duration::from_nanos(early));
        }
        slot.due = due.saturating_add(self.step);
        Ok(())
    }

    fn hash(&self, key: Key<'_>) -> u64 {
        match key {
            Key::All => 0,
            Key::Client(IpAddr::V4(address)) => self.hasher.hash_one(address.octets()),
            Key::Client(IpAddr::V6(address)) => self.hasher.hash_one(&address.octets()[..8]),
            Key::Text(text) => self.hasher.hash_one((1_u8, text)),
        }
    }
}

/// The slot of a key: its own, one that has become free, a new one, or the one that gives way.
fn place(slots: &mut Vec<Slot>, key: u64, now: u64) -> usize {
    if let Some(at) = slots.iter().position(|slot| slot.key == key) {
        return at;
    }
    let new = Slot { key, due: 0 };
    let earliest = slots.iter().enumerate().min_by_key(|(_, slot)| slot.due).map(|(at, slot)| (at, slot.due));
    match earliest {
        Some((at, due)) if due <= now || slots.len() == WAYS => {
            slots[at] = new;
            at
        }
        _ => {
            slots.push(new);
            slots.len() - 1
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn limiter(per: Per, requests: u32, burst: u32) -> Limiter {
        let number = |number| NonZeroU32::new(number).unwrap();
        Limiter::new(&Rate { per, requests: number(requests), every: Duration::from_secs(1), burst: number(burst) })
    }

    fn client(number: u32) -> Key<'static> {
        Key::Client(IpAddr::V4(number.into()))
    }

    #[test]
    fn a_burst_passes_and_then_the_steady_pace() {
        let limiter = limiter(Per::Client, 10, 3);
        let pass = |now| limiter.ask(client(1), now).is_ok();
        assert_eq!([pass(SECOND), pass(SECOND), pass(SECOND), pass(SECOND)], [true, true, true, false]);
        assert_eq!(limiter.ask(client(1), SECOND), Err(Duration::from_millis(100)), "who was refused is not counted");
        assert_eq!(limiter.ask(client(1), SECOND + 60_000_000), Err(Duration::from_millis(40)));
        assert_eq!([pass(SECOND + 100_000_000), pass(SECOND + 100_000_000)], [true, false]);
        assert!(limiter.ask(client(2), SECOND).is_ok(), "another one");
        // After a long silence it is a burst again, not more.
        let later = 100 * SECOND;
        assert_eq!([pass(later), pass(later), pass(later), pass(later)], [true, true, true, false]);
    }

    #[test]
    fn clients_of_one_ipv6_network_are_one() {
        let limiter = limiter(Per::Client, 1, 1);
        let ask = |text: &str| limiter.ask(Key::Client(text.parse().unwrap()), SECOND).is_ok();
        assert_eq!([ask("2001:db8::1"), ask("2001:db8::ffff:2"), ask("2001:db8:0:1::1")], [true, false, true]);
    }

    #[test]
    fn several_threads_together_let_pass_exactly_what_the_rate_says() {
        for per in [Per::Client, Per::All] {
            let limiter = limiter(per.clone(), 1000, 500);
            let key = if per == Per::All { Key::All } else { client(7) };
            let passed = std::sync::atomic::AtomicU64::new(0);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for turn in 0..20_000_u64 {
                            // Each thread comes at every tenth of a millisecond of two seconds.
                            if limiter.ask(key, SECOND + turn * 100_000).is_ok() {
                                passed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                            }
                        }
                    });
                }
            });
            let passed = passed.into_inner();
            // The burst, and one for each millisecond behind it.
            assert!((2499..=2500).contains(&passed), "{per:?}: {passed}");
        }
    }

    #[test]
    fn a_million_keys_take_no_more_memory_and_do_not_wash_out_who_asks_most() {
        let limiter = limiter(Per::Client, 1, 10);
        for _ in 0..10 {
            assert!(limiter.ask(client(0), SECOND).is_ok());
        }
        for other in 1..1_000_000 {
            assert!(limiter.ask(client(other), SECOND).is_ok());
        }
        assert!(limiter.ask(client(0), SECOND).is_err());
        let kept: usize = limiter.sets.iter().map(|set| set.lock().unwrap().capacity()).sum();
        assert!(kept <= SETS * WAYS, "{kept}");
    }
}
