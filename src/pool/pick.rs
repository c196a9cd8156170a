//! Choosing a backend, and the lease on it.
//!
//! Hot path: no allocation, no lock while nothing flips, no formatting.

use std::cell::Cell;
use std::sync::Arc;

use super::{Backend, Pool, Ready};
use crate::balance::Balance;
use crate::balance::load::{ewma_cost, least, p2c, requests_cost};
use crate::balance::rng::Rng;

/// Up to this many backends, least-requests looks at all of them; beyond, at as many drawn by chance, because a look
/// at each of 10,000 backends would cost more than the request.
const LEAST_EXACT_MAX: usize = 128;
/// Backends that least-requests draws in a larger pool.
const LEAST_DRAWS: usize = 32;

/// One use of a backend. Held by whoever forwards; dropping it gives the slot back.
#[derive(Debug)]
pub struct Lease(Arc<Backend>);

impl Lease {
    fn new(backend: &Arc<Backend>) -> Self {
        backend.take_slot();
        Self(Arc::clone(backend))
    }

    /// The backend.
    #[inline]
    pub fn backend(&self) -> &Arc<Backend> {
        &self.0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.give_slot_back();
    }
}

/// What a worker remembers of a pool between two picks.
#[derive(Debug)]
pub struct Local {
    version: u64,
    ready: Arc<Ready>,
    cursor: usize,
}

impl Local {
    /// Remembers nothing; `seed` spreads the workers' first turns.
    pub fn new(seed: u64) -> Self {
        Self { version: u64::MAX, ready: Arc::new(Ready::nothing()), cursor: seed as usize }
    }

    /// What may serve, as of now.
    #[inline]
    pub fn ready(&mut self, pool: &Pool) -> &Arc<Ready> {
        let version = pool.version();
        if version != self.version {
            (self.version, self.ready) = pool.current();
        }
        &self.ready
    }
}

impl Pool {
    /// Picks a backend that may serve and is not among `tried` (numbers of slots), by the pool's balance.
    /// `key` is the hash to spread by, for the picks by key.
    #[inline]
    pub fn pick(&self, local: &mut Local, rng: &mut Rng, key: Option<u64>, tried: &[u32]) -> Option<Lease> {
        local.ready(self);
        let ready = &local.ready;
        if ready.backends.is_empty() {
            return None;
        }
        if !tried.is_empty() && self.config.balance == Balance::RoundRobin {
            return another(&self.config.balance, ready, rng, tried);
        }
        let position = choose(&self.config.balance, ready, &mut local.cursor, rng, key);
        let backend = &ready.backends[position];
        if tried.is_empty() || !tried.contains(&backend.slot.index) {
            return Some(Lease::new(backend));
        }
        another(&self.config.balance, ready, rng, tried)
    }
}

#[inline]
fn choose(balance: &Balance, ready: &Ready, cursor: &mut usize, rng: &mut Rng, key: Option<u64>) -> usize {
    let count = ready.backends.len();
    let load = |position: usize| (ready.backends[position].in_flight(), ready.weights[position]);
    match balance {
        Balance::RoundRobin => in_turn(ready, cursor),
        Balance::LeastRequests if count <= LEAST_EXACT_MAX => {
            *cursor = cursor.wrapping_add(1);
            least((0..count).map(load), *cursor % count).unwrap_or(0)
        }
        Balance::LeastRequests => {
            let drawn: [usize; LEAST_DRAWS] = std::array::from_fn(|_| rng.below(count as u32) as usize);
            least(drawn.iter().map(|position| load(*position)), 0).map_or(0, |draw| drawn[draw])
        }
        Balance::Random => ready.order[rng.below(ready.order.len() as u32) as usize] as usize,
        Balance::P2c => p2c(rng, count as u32, |position| {
            let (in_flight, weight) = load(position as usize);
            requests_cost(in_flight, weight)
        }) as usize,
        Balance::PeakEwma => quicker(ready, rng) as usize,
        Balance::First => 0,
        Balance::Source | Balance::Uri | Balance::Header(_) | Balance::Cookie(_) => match (&ready.maglev, key) {
            (Some(spread), Some(key)) => spread.lookup(key),
            // A request without the header or cookie belongs to nobody: spread it.
            _ => in_turn(ready, cursor),
        },
    }
}

/// The quicker of two drawn by chance. The other's remembered response time shrinks a little: without work it would
/// learn nothing new, and a single slow answer would keep it idle for ever.
#[inline]
fn quicker(ready: &Ready, rng: &mut Rng) -> u32 {
    let drawn = Cell::new([u32::MAX; 2]);
    let chosen = p2c(rng, ready.backends.len() as u32, |position| {
        drawn.set([drawn.get()[1], position]);
        let backend = &ready.backends[position as usize];
        ewma_cost(backend.latency_micros(), backend.in_flight(), ready.weights[position as usize])
    });
    let other = drawn.get().into_iter().find(|position| *position != chosen);
    if let Some(backend) = other.and_then(|position| ready.backends.get(position as usize)) {
        backend.passed_over();
    }
    chosen
}

#[inline]
fn in_turn(ready: &Ready, cursor: &mut usize) -> usize {
    *cursor = cursor.wrapping_add(1);
    if *cursor >= ready.order.len() {
        *cursor %= ready.order.len();
    }
    ready.order[*cursor] as usize
}

/// A backend not tried yet, from a place drawn by chance on (`first`: the next in order). Only retries come here; they
/// leave the cursor alone, or of two backends the one that fails would have the turn each time.
fn another(balance: &Balance, ready: &Ready, rng: &mut Rng, tried: &[u32]) -> Option<Lease> {
    let count = ready.backends.len();
    let start = if *balance == Balance::First { 0 } else { rng.below(count as u32) as usize };
    (0..count)
        .map(|step| &ready.backends[(start + step) % count])
        .find(|backend| !tried.contains(&backend.slot.index))
        .map(Lease::new)
}
