//! Backends that are picked from together, laid out so that a pick is a few loads.
//!
//! Made by control with the rest of what may serve. Hot path to read: no allocation, no lock, no formatting.

use std::cell::Cell;
use std::sync::Arc;

use super::Backend;
use super::spread::{Server, Spread};
use crate::balance::Balance;
use crate::balance::load::{ewma_cost, least, p2c, requests_cost, unit};
use crate::balance::rng::Rng;
use crate::balance::sequence::interleave;
use crate::config::model::{self, Member};
use crate::health::Verdict;

/// Up to this many backends, least-requests looks at all of them; beyond, at as many drawn by chance, because a look
/// at each of 10,000 backends would cost more than the request.
const LOOKS_EXACT_MAX: usize = 128;
/// Backends that are drawn in a larger group.
const DRAWS: usize = 32;

/// Backends that are picked from together.
#[derive(Debug, Default)]
pub struct Group {
    /// In the order of the configuration.
    pub backends: Vec<Arc<Backend>>,
    /// What a request costs at each, by its weight.
    units: Vec<u32>,
    /// Positions in `backends` in the order of smooth weighted round-robin.
    order: Vec<u32>,
    /// For the picks by key: positions in `backends` by the key's hash.
    spread: Option<Spread>,
    /// Work in flight at which each is full; empty where nothing asks.
    full_at: Vec<u32>,
    /// Its number among the groups of a pool: each worker walks each of them at its own pace.
    pub(super) number: usize,
}

/// A backend that may serve, while what may serve is laid out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    /// Its number among the pool's members.
    pub index: usize,
    pub member: &'a Member,
    pub backend: &'a Arc<Backend>,
    pub verdict: Verdict,
}

impl Candidate<'_> {
    /// Its weight in percent of the unit that the configuration counts in; never 0 for one that serves.
    pub(super) fn weight(&self) -> u32 {
        (u32::from(self.member.weight) * u32::from(self.verdict.share)).max(1)
    }
}

impl Group {
    /// Lays out `chosen`; `backends` are all of the pool.
    pub(super) fn of(config: &model::Pool, backends: &[Arc<Backend>], chosen: &[Candidate<'_>], number: usize) -> Self {
        let weights: Vec<u32> = chosen.iter().map(Candidate::weight).collect();
        let by_key = matches!(config.balance, Balance::Source | Balance::Uri | Balance::Header(_) | Balance::Cookie(_));
        let servers = || {
            let server = |it: &Candidate<'_>| Server { member: it.index, share: it.verdict.share };
            chosen.iter().map(server).collect::<Vec<_>>()
        };
        Self {
            order: interleave(&weights),
            units: weights.iter().map(|weight| unit(*weight)).collect(),
            spread: (by_key && !chosen.is_empty()).then(|| Spread::over(config, backends, &servers())),
            full_at: config.zones.spill_at.map_or_else(Vec::new, |most| full_at(most.get(), chosen)),
            backends: chosen.iter().map(|it| Arc::clone(it.backend)).collect(),
            number,
        }
    }

    /// Position of the backend that the balance gives the work to. Not for an empty group.
    #[inline]
    pub(super) fn choose(&self, balance: &Balance, turn: &mut usize, rng: &mut Rng, key: Option<u64>) -> usize {
        let count = self.backends.len();
        match balance {
            Balance::RoundRobin => self.in_turn(turn),
            Balance::LeastRequests if count <= LOOKS_EXACT_MAX => {
                *turn = turn.wrapping_add(1);
                least((0..count).map(|position| self.load(position)), *turn % count).unwrap_or(0)
            }
            Balance::LeastRequests => {
                let drawn: [usize; DRAWS] = std::array::from_fn(|_| rng.below(count as u32) as usize);
                least(drawn.iter().map(|position| self.load(*position)), 0).map_or(0, |draw| drawn[draw])
            }
            Balance::Random => self.order[rng.below(self.order.len() as u32) as usize] as usize,
            Balance::P2c => p2c(rng, count as u32, |position| self.load(position as usize)) as usize,
            Balance::PeakEwma => self.quicker(rng) as usize,
            Balance::First => 0,
            Balance::Source | Balance::Uri | Balance::Header(_) | Balance::Cookie(_) => match (&self.spread, key) {
                (Some(spread), Some(key)) => spread.lookup(key),
                // A request without the header or cookie belongs to nobody: spread it.
                _ => self.in_turn(turn),
            },
        }
    }

    #[inline]
    fn load(&self, position: usize) -> u64 {
        requests_cost(self.backends[position].in_flight(), self.units[position])
    }

    #[inline]
    fn in_turn(&self, turn: &mut usize) -> usize {
        *turn = turn.wrapping_add(1);
        if *turn >= self.order.len() {
            *turn %= self.order.len();
        }
        self.order[*turn] as usize
    }

    /// The quicker of two drawn by chance. The other's remembered response time shrinks a little: without work it would
    /// learn nothing new, and a single slow answer would keep it idle for ever.
    #[inline]
    fn quicker(&self, rng: &mut Rng) -> u32 {
        let drawn = Cell::new([u32::MAX; 2]);
        let chosen = p2c(rng, self.backends.len() as u32, |position| {
            drawn.set([drawn.get()[1], position]);
            let backend = &self.backends[position as usize];
            ewma_cost(backend.latency_micros(), backend.in_flight(), self.units[position as usize])
        });
        let other = drawn.get().into_iter().find(|position| *position != chosen);
        if let Some(backend) = other.and_then(|position| self.backends.get(position as usize)) {
            backend.passed_over();
        }
        chosen
    }

    /// Whether every backend has as much in flight as `spill_at` grants it. `position` is the one that the work is about
    /// to go to: where that one has room, nobody else is looked at.
    #[inline]
    pub(super) fn is_full(&self, position: usize, rng: &mut Rng) -> bool {
        self.has_no_room(position) && self.has_no_room_at_all(rng)
    }

    fn has_no_room(&self, position: usize) -> bool {
        self.full_at.get(position).is_some_and(|full| self.backends[position].in_flight() >= *full)
    }

    fn has_no_room_at_all(&self, rng: &mut Rng) -> bool {
        let count = self.backends.len();
        if count <= LOOKS_EXACT_MAX {
            return (0..count).all(|position| self.has_no_room(position));
        }
        (0..DRAWS).all(|_| self.has_no_room(rng.below(count as u32) as usize))
    }

    /// Position of a backend not tried yet, from a place drawn by chance on (`first`: the next in order). Only retries come here; they
    /// leave the turn alone, or of two backends the one that fails would have the turn each time.
    pub(super) fn another(&self, balance: &Balance, rng: &mut Rng, tried: &[u32]) -> Option<usize> {
        let count = self.backends.len();
        let start = if *balance == Balance::First { 0 } else { rng.below(count as u32) as usize };
        self.untried_from(start, tried).next()
    }

    fn untried_from<'t>(&'t self, start: usize, tried: &'t [u32]) -> impl Iterator<Item = usize> + use<'t> {
        let count = self.backends.len();
        let positions = (0..count).map(move |step| (start + step) % count);
        positions.filter(|position| !tried.contains(&self.backends[*position].slot.index))
    }

    /// The same for work whose first choice is full: those that are not, from a place drawn by chance on.
    pub(super) fn others_with_room<'t>(
        &'t self,
        balance: &Balance,
        rng: &mut Rng,
        tried: &'t [u32],
    ) -> impl Iterator<Item = usize> + use<'t> {
        let count = self.backends.len() as u32;
        let start = if *balance == Balance::First { 0 } else { rng.below(count.max(1)) as usize };
        self.untried_from(start, tried).filter(|position| self.backends[*position].has_room())
    }
}

/// `spill_at` is meant for a backend of average weight; heavier ones are full later, those with a part of their share
/// earlier.
fn full_at(most: u32, chosen: &[Candidate<'_>]) -> Vec<u32> {
    let sum: u64 = chosen.iter().map(|it| u64::from(it.member.weight) * 100).sum();
    let count = chosen.len() as u64;
    let full = |it: &Candidate<'_>| (u64::from(most) * u64::from(it.weight()) * count).div_ceil(sum.max(1));
    chosen.iter().map(|it| u32::try_from(full(it)).unwrap_or(u32::MAX).max(1)).collect()
}
