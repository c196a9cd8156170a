//! The queue in front of backends that are full: whose turn it is when a place at one becomes free.
//!
//! Used by `proxy` for work that found every backend at its `connections_max`, and by leases that end. Clients take
//! turns, and each client's work goes in the order in which it came: one with a thousand requests delays another by one.
//! A place is handed from the lease that ends to the work that is next, whichever workers these are on; nobody else can
//! take it meanwhile, and nobody but the next is woken.
//!
//! # Why is no turn ever lost?
//!
//! Whoever ends gives the place back and then looks whether somebody waits; whoever waits says so and then looks for a
//! place. Both are sequentially consistent, so one of the two sees the other. A place handed to work that is gone
//! comes back by drop, and goes on to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::Backend;

/// Who waits for places at the backends of a pool. Outlives the pool of each generation.
#[derive(Debug, Default)]
pub struct Queue {
    /// Those that wait for any backend. Writers: whoever comes and goes, under the lock.
    any: AtomicU32,
    /// All of them. The same.
    all: AtomicU32,
    lines: Mutex<Lines>,
}

/// What somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// A backend that does the work.
    Work,
    /// One that takes reads for standbys.
    Reads,
    /// The one that holds this serial number of a slot: the client stays with it.
    One(u64),
}

/// A place at a backend that is full for everybody else; given back by drop.
#[derive(Debug)]
pub struct Seat(Option<Arc<Backend>>);

/// A turn in the queue; given up by drop.
#[derive(Debug)]
pub struct Turn {
    queue: Arc<Queue>,
    who: Who,
    number: u64,
    seat: oneshot::Receiver<Seat>,
}

/// Another client had less in the queue, which was full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Displaced;

#[derive(Debug, Default)]
struct Lines {
    /// Grows with each turn and each round.
    next: u64,
    grants: u64,
    by_client: BTreeMap<Who, Line>,
    /// Whose line is next, for each of what is wanted.
    rounds: BTreeMap<(Wanted, u64), IpAddr>,
    /// The lines by their length.
    lengths: BTreeSet<(usize, Who)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Who {
    wanted: Wanted,
    client: IpAddr,
}

/// What one client waits for, in the order in which it came.
#[derive(Debug)]
struct Line {
    round: u64,
    waiters: BTreeMap<u64, Waiter>,
}

#[derive(Debug)]
struct Waiter {
    /// Slots of the backends where it has failed.
    avoids: Vec<u32>,
    seat: oneshot::Sender<Seat>,
}

impl Queue {
    /// Whether somebody waits for any backend: then nobody who comes now is served first.
    #[inline]
    pub fn is_waited_for(&self) -> bool {
        self.any.load(SeqCst) > 0
    }

    /// Takes a turn behind all that this client waits for already. Whoever has one must see to it that places that are
    /// free now are offered.
    pub fn turn(self: &Arc<Self>, wanted: Wanted, client: IpAddr, avoids: &[u32]) -> Turn {
        let who = Who { wanted, client: subscriber(client) };
        let (sender, seat) = oneshot::channel();
        let number = self.lock().push(who, Waiter { avoids: avoids.to_vec(), seat: sender }, self);
        Turn { queue: Arc::clone(self), who, number, seat }
    }

    /// Makes whoever has most in the queue give up the last of it, if that is more than this client has and gets.
    pub fn displace(&self, wanted: Wanted, client: IpAddr) -> Result<(), Displaced> {
        let who = Who { wanted, client: subscriber(client) };
        let mut lines = self.lock();
        let own = lines.by_client.get(&who).map_or(0, |line| line.waiters.len());
        let Some((length, longest)) = lines.lengths.last().copied() else { return Err(Displaced) };
        if length <= own + 1 {
            return Err(Displaced);
        }
        let last = lines.by_client.get(&longest).and_then(|line| line.waiters.keys().next_back().copied());
        let displaced = last.and_then(|number| lines.remove(longest, number, self));
        drop(lines);
        // Its end wakes who waits at the other one.
        displaced.map(drop).ok_or(Displaced)
    }

    /// Gives the free places of a backend to those whose turn it is.
    pub fn offer(&self, backend: &Arc<Backend>) {
        let mut seat = None;
        while self.all.load(SeqCst) > 0 {
            let Some(waiter) = self.lock().call(backend, &mut seat, self) else { return };
            // Only one that is going at this very moment does not take it.
            seat = seat.and_then(|seat| waiter.seat.send(seat).err());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, wanted: Wanted, add: impl Fn(&AtomicU32)) {
        if !matches!(wanted, Wanted::One(_)) {
            add(&self.any);
        }
        add(&self.all);
    }
}

impl Lines {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn push(&mut self, who: Who, waiter: Waiter, queue: &Queue) -> u64 {
        let number = self.number();
        if let Some(line) = self.by_client.get_mut(&who) {
            self.lengths.remove(&(line.waiters.len(), who));
            line.waiters.insert(number, waiter);
            self.lengths.insert((line.waiters.len(), who));
        } else {
            self.rounds.insert((who.wanted, number), who.client);
            self.by_client.insert(who, Line { round: number, waiters: BTreeMap::from([(number, waiter)]) });
            self.lengths.insert((1, who));
        }
        queue.count(who.wanted, |count| {
            count.fetch_add(1, SeqCst);
        });
        number
    }

    fn remove(&mut self, who: Who, number: u64, queue: &Queue) -> Option<Waiter> {
        let line = self.by_client.get_mut(&who)?;
        let length = line.waiters.len();
        let waiter = line.waiters.remove(&number)?;
        self.lengths.remove(&(length, who));
        if length == 1 {
            self.rounds.remove(&(who.wanted, line.round));
            self.by_client.remove(&who);
        } else {
            self.lengths.insert((length - 1, who));
        }
        queue.count(who.wanted, |count| {
            count.fetch_sub(1, SeqCst);
        });
        Some(waiter)
    }

    /// Whoever is next at this backend, with a place at it; `None` where nobody wants it or it has none.
    fn call(&mut self, backend: &Arc<Backend>, seat: &mut Option<Seat>, queue: &Queue) -> Option<Waiter> {
        let serves = backend.verdict().serves;
        let mut kinds = [
            Some(Wanted::One(backend.slot.serial)),
            serves.work().then_some(Wanted::Work),
            serves.reads().then_some(Wanted::Reads),
        ];
        // None of them is always the first.
        kinds.rotate_left((self.grants % 3) as usize);
        let next = kinds.into_iter().flatten().find_map(|wanted| self.next_of(wanted, backend.slot.index));
        let (who, number) = next?;
        if seat.is_none() {
            *seat = Some(Seat::take(backend)?);
        }
        self.grants += 1;
        let waiter = self.remove(who, number, queue);
        self.go_behind(who);
        waiter
    }

    fn next_of(&self, wanted: Wanted, slot: u32) -> Option<(Who, u64)> {
        self.rounds.range((wanted, 0)..=(wanted, u64::MAX)).find_map(|(_, client)| {
            let who = Who { wanted, client: *client };
            let mut waiters = self.by_client.get(&who)?.waiters.iter();
            waiters.find(|(_, waiter)| !waiter.avoids.contains(&slot)).map(|(number, _)| (who, *number))
        })
    }

    /// The client's next turn comes after one of everybody else's.
    fn go_behind(&mut self, who: Who) {
        let round = self.number();
        if let Some(line) = self.by_client.get_mut(&who) {
            self.rounds.remove(&(who.wanted, line.round));
            self.rounds.insert((who.wanted, round), who.client);
            line.round = round;
        }
    }
}

// === impl Turn ===

impl Turn {
    /// The place, once it is this one's turn.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Seat, Displaced>> {
        std::pin::Pin::new(&mut self.seat).poll(context).map_err(|_closed| Displaced)
    }

    /// Whether it waits for this.
    pub fn is_for(&self, wanted: Wanted) -> bool {
        self.who.wanted == wanted
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // A place that has come meanwhile is given back when the receiver goes, outside of the lock.
        drop(self.queue.lock().remove(self.who, self.number, &self.queue));
    }
}

// === impl Seat ===

impl Seat {
    /// A place, if there is one.
    pub(super) fn take(backend: &Arc<Backend>) -> Option<Self> {
        backend.try_slot().then(|| Self(Some(Arc::clone(backend))))
    }

    /// Where it is.
    pub fn backend(&self) -> Option<&Arc<Backend>> {
        self.0.as_ref()
    }

    /// Becomes a lease, which gives it back in its place.
    pub(super) fn into_backend(mut self) -> Option<Arc<Backend>> {
        self.0.take()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(backend) = self.0.take() {
            backend.give_slot_back();
        }
    }
}

/// Who has an address of IPv6 has 2^64 of them.
fn subscriber(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Waker;

    use super::*;
    use crate::balance::rng::Rng;
    use crate::pool::town::Town;
    use crate::pool::{Ask, Lease, Local, Pool};

    fn client(number: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, number])
    }

    fn poll(turn: &mut Turn) -> Option<Result<Seat, Displaced>> {
        match turn.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(seat) => Some(seat),
            Poll::Pending => None,
        }
    }

    /// The turns of these clients at one backend that takes one at a time, in the order in which they come up.
    fn order(clients: &[u8]) -> Vec<u8> {
        let mut town = Town::new(&[(", connections_max = 1", 0)], "", |_| {});
        let first = town.pick(Ask::default(), &[]).expect("there is room for one");
        assert!(town.pick(Ask::default(), &[]).is_none(), "and for no more");
        let turns = clients.iter().map(|number| (*number, town.pool.turn(Wanted::Work, client(*number), &[])));
        let mut turns: Vec<_> = turns.collect();
        let mut served = Vec::new();
        drop(first);
        while !turns.is_empty() {
            assert!(town.pick(Ask::default(), &[]).is_none(), "nobody comes before those who wait");
            let mut ready: Vec<_> = turns.extract_if(.., |(_, turn)| poll_kept(turn)).collect();
            assert_eq!(ready.len(), 1, "one place, one turn");
            served.push(ready[0].0);
            ready.clear();
        }
        assert!(town.pick(Ask::default(), &[]).is_some());
        served
    }

    /// Whether it is its turn; the place stays in the turn's hands and goes on when that goes.
    fn poll_kept(turn: &mut Turn) -> bool {
        !turn.seat.is_empty()
    }

    #[test]
    fn clients_take_turns_and_each_keeps_its_order() {
        assert_eq!(order(&[1, 1, 1, 1, 2, 3]), [1, 2, 3, 1, 1, 1]);
        assert_eq!(order(&[1, 1, 2, 2, 1, 2]), [1, 2, 1, 2, 1, 2]);
        assert_eq!(order(&[3, 2, 1]), [3, 2, 1]);
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let (one, two, other): (IpAddr, IpAddr, IpAddr) =
            ("fd00::1".parse().unwrap(), "fd00::ffff:2".parse().unwrap(), "fd00:0:0:1::1".parse().unwrap());
        assert_eq!(subscriber(one), subscriber(two));
        assert_ne!(subscriber(one), subscriber(other));
        assert_eq!(subscriber(client(1)), client(1));
    }

    #[test]
    fn a_full_backend_is_passed_over_until_all_are_full() {
        let mut town = Town::new(&[(", connections_max = 1", 0), (", connections_max = 2", 0)], "", |_| {});
        let mut held: Vec<Lease> = (0..3).map(|_| town.pick(Ask::default(), &[]).unwrap()).collect();
        held.sort_by_key(|lease| lease.backend().name.to_string());
        let names: Vec<_> = held.iter().map(|lease| lease.backend().name.to_string()).collect();
        assert_eq!(names, ["a", "b", "b"]);
        assert!(town.pick(Ask::default(), &[]).is_none());
        drop(held.pop());
        assert_eq!(&*town.pick(Ask::default(), &[]).unwrap().backend().name, "b");
    }

    #[test]
    fn who_has_failed_at_a_backend_is_not_called_there() {
        let mut town = Town::new(&[(", connections_max = 1", 0), (", connections_max = 1", 0)], "", |_| {});
        let mut held: Vec<Lease> = (0..2).map(|_| town.pick(Ask::default(), &[]).unwrap()).collect();
        held.sort_by_key(|lease| lease.backend().name.to_string());
        let avoids = [town.backend('a').slot.index];
        let mut first = town.pool.turn(Wanted::Work, client(1), &avoids);
        let mut second = town.pool.turn(Wanted::Work, client(1), &[]);
        drop(held.remove(0));
        assert!(poll(&mut first).is_none());
        let seat = poll(&mut second).unwrap().unwrap();
        assert_eq!(&*seat.backend().unwrap().name, "a");
        drop(held);
        assert!(matches!(poll(&mut first), Some(Ok(seat)) if &*seat.backend().unwrap().name == "b"));
    }

    #[test]
    fn whoever_has_most_gives_way_and_nobody_else() {
        let town = Town::new(&[(", connections_max = 1", 0)], "", |_| {});
        let queue = &town.pool.live.queue;
        let held = Seat::take(town.backend('a')).unwrap();
        let mut turns: Vec<_> = (0..3).map(|_| town.pool.turn(Wanted::Work, client(1), &[])).collect();
        assert_eq!(queue.displace(Wanted::Work, client(1)), Err(Displaced), "not for oneself");
        assert_eq!(queue.displace(Wanted::Work, client(2)), Ok(()));
        assert_eq!(poll(&mut turns[2]).map(Result::err), Some(Some(Displaced)), "the last that has come");
        let _second = town.pool.turn(Wanted::Work, client(2), &[]);
        assert_eq!(queue.displace(Wanted::Work, client(2)), Err(Displaced), "two and two is fair");
        assert!(poll(&mut turns[0]).is_none());
        drop(held);
        assert!(poll(&mut turns[0]).unwrap().is_ok());
    }

    #[test]
    fn the_end_of_a_limit_lets_all_in() {
        let mut town = Town::new(&[(", connections_max = 1", 0)], "", |_| {});
        let _held = town.pick(Ask::default(), &[]).unwrap();
        let mut turn = town.pool.turn(Wanted::Work, client(1), &[]);
        town.say("a", crate::health::Verdict { connections: std::num::NonZeroU16::new(2), ..crate::pool::town::WELL });
        town.pool.live.queue.offer(town.backend('a'));
        assert!(poll(&mut turn).is_some(), "an agent's word counts instead of the configuration's");
    }

    /// One piece of work: a pick, or a turn and then the place.
    async fn work(pool: &Pool, local: &mut Local, rng: &mut Rng, client: IpAddr) -> Lease {
        if let Some(lease) = pool.pick(local, rng, &Ask::default(), &[]) {
            return lease;
        }
        let mut turn = pool.turn(Wanted::Work, client, &[]);
        pool.offer_places(local, &Ask::default());
        let seat = std::future::poll_fn(|context| turn.poll(context)).await.expect("nobody is displaced");
        pool.seated(local, seat, Wanted::Work, &Ask::default()).expect("it serves")
    }

    #[test]
    fn no_turn_is_lost_and_no_limit_exceeded_between_threads() {
        const MOST: usize = 3;
        let town = Town::new(&[(", connections_max = 3", 0)], "", |_| {});
        let pool = &town.pool;
        let (now, peak) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for thread in 0..8_u8 {
                let (now, peak) = (&now, &peak);
                scope.spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                    let (mut local, mut rng) = (Local::new(1), Rng::seeded(u64::from(thread)));
                    for round in 0..3_000 {
                        let work = work(pool, &mut local, &mut rng, client(thread));
                        let time = std::time::Duration::from_secs(20);
                        let lease = runtime.block_on(async { tokio::time::timeout(time, work).await });
                        let lease = lease.expect("its turn comes");
                        peak.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                        if round % 7 == 0 {
                            std::thread::yield_now();
                        }
                        now.fetch_sub(1, SeqCst);
                        drop(lease);
                    }
                });
            }
        });
        assert!(peak.load(SeqCst) <= MOST, "{peak:?}");
        assert_eq!(town.backend('a').in_flight(), 0);
        assert!(!pool.live.queue.is_waited_for());
    }
}
