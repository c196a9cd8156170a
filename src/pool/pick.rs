//! Choosing a backend, and the lease on it.
//!
//! Hot path: no allocation, no lock while nothing flips, no formatting.
//!
//! # Why does a lease not hold the backend itself?
//!
//! Whoever counts the holders of a backend over all workers pays two locked operations for each request, on a line of memory
//! that every worker writes: a third of what a pick costs, on one worker alone. So each worker holds a backend once, and
//! its leases share that: counting them is the worker's own affair.

use std::rc::Rc;
use std::sync::Arc;

use super::group::Group;
use super::preferences::Near;
use super::ready::{Far, Layout};
use super::{Backend, Pool, Ready, Seat, Stick, Wanted};
use crate::balance::Balance;
use crate::balance::rng::Rng;
use crate::config::model::Reads;

/// What a piece of work asks of a pick.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ask {
    /// The hash to spread by, for the picks by key.
    pub key: Option<u64>,
    /// Which backends do.
    pub reads: Reads,
    /// Which zone comes first, by [`Pool::near`].
    pub near: Near,
    /// Where it belongs, in pools whose clients stay.
    pub stick: Stick,
}

/// One use of a backend. Held by whoever forwards; dropping it gives the slot back.
#[derive(Debug)]
pub struct Lease {
    backend: Rc<Hold>,
    /// [`Pool::version`] of what it was chosen from.
    version: u64,
}

impl Lease {
    fn new(backend: Rc<Hold>, version: u64) -> Self {
        backend.0.take_slot();
        Self { backend, version }
    }

    /// Where there is a limit: `None` without a place.
    fn within(backend: Rc<Hold>, version: u64) -> Option<Self> {
        // Made only with a place: a lease that goes gives one back.
        if backend.0.try_slot() { Some(Self { backend, version }) } else { None }
    }

    /// The backend.
    #[inline]
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend.0
    }

    /// [`Pool::version`] of what it was chosen from.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether the open work of the backend has been told to end since this began.
    #[inline]
    pub fn is_cut(&self) -> bool {
        self.version < self.backend.0.cut_before()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.backend.0.give_slot_back();
    }
}

/// What a worker remembers of a pool between two picks.
#[derive(Debug)]
pub struct Local {
    version: u64,
    ready: Arc<Ready>,
    turns: Turns,
    held: Held,
}

/// A worker's hold on a backend.
#[derive(Debug)]
struct Hold(Arc<Backend>);

/// The backends that a worker holds, for each group by position; those that it has picked since `ready` changed.
#[derive(Debug, Default)]
struct Held {
    /// Of the first group, which most pools have and no other.
    first: Vec<Option<Rc<Hold>>>,
    others: Vec<Vec<Option<Rc<Hold>>>>,
    /// Of those that clients stay with, by position in the pool.
    stayed_with: Vec<Option<Rc<Hold>>>,
}

impl Held {
    #[inline]
    fn of(&mut self, group: &Group, position: usize) -> Rc<Hold> {
        let set = if group.number == 0 { &mut self.first } else { self.other(group.number) };
        if let Some(Some(held)) = set.get(position) {
            return Rc::clone(held);
        }
        if set.len() < group.backends.len() {
            set.resize(group.backends.len(), None);
        }
        let held = Rc::new(Hold(Arc::clone(&group.backends[position])));
        set[position] = Some(Rc::clone(&held));
        held
    }

    fn stayed_with(&mut self, at: usize, backend: &Arc<Backend>) -> Rc<Hold> {
        if self.stayed_with.len() <= at {
            self.stayed_with.resize(at + 1, None);
        }
        Rc::clone(self.stayed_with[at].get_or_insert_with(|| Rc::new(Hold(Arc::clone(backend)))))
    }

    fn other(&mut self, group: usize) -> &mut Vec<Option<Rc<Hold>>> {
        if self.others.len() < group {
            self.others.resize_with(group, Vec::new);
        }
        &mut self.others[group - 1]
    }

    fn forget(&mut self) {
        self.first.clear();
        self.others.clear();
        self.stayed_with.clear();
    }
}

/// Whose turn it is, for each group of a pool.
#[derive(Debug)]
struct Turns {
    /// Of the first group, which most pools have and no other.
    first: usize,
    others: Vec<usize>,
}

impl Turns {
    #[inline]
    fn of(&mut self, group: usize) -> &mut usize {
        if group == 0 {
            return &mut self.first;
        }
        if self.others.len() < group {
            self.others.resize(group, self.first);
        }
        &mut self.others[group - 1]
    }
}

impl Local {
    /// Remembers nothing; `seed` spreads the workers' first turns.
    pub fn new(seed: u64) -> Self {
        let turns = Turns { first: seed as usize, others: Vec::new() };
        Self { version: u64::MAX, ready: Arc::default(), turns, held: Held::default() }
    }

    /// What may serve, as of now.
    #[inline]
    pub fn ready(&mut self, pool: &Pool) -> &Arc<Ready> {
        let version = pool.version();
        if version != self.version {
            (self.version, self.ready) = pool.current();
            self.held.forget();
        }
        &self.ready
    }
}

impl Pool {
    /// Picks a backend that may serve and is not among `tried` (numbers of slots), by the pool's balance.
    #[inline]
    pub fn pick(&self, local: &mut Local, rng: &mut Rng, ask: &Ask, tried: &[u32]) -> Option<Lease> {
        local.ready(self);
        if ask.stick != Stick::Free {
            match self.pick_own(local, rng, ask, tried) {
                Own::Lease(lease) => return Some(lease),
                Own::Full => return None,
                Own::Gone => {}
            }
        }
        let Local { version, ready, turns, held } = local;
        let balance = &self.config.balance;
        let (group, position) = match ready.plain() {
            Some(group) if tried.is_empty() => (group, group.choose(balance, &mut turns.first, rng, ask.key)),
            _ if ready.is_limited() => return self.pick_with_room(local, rng, ask, tried),
            _ => choose(balance, ready.layout(ask), turns, rng, ask.key, tried)?,
        };
        Some(Lease::new(held.of(group, position), *version))
    }

    /// The same where there are limits: one that is full is passed over while others are not. `None` where all are, and
    /// where others wait for a place already.
    fn pick_with_room(&self, local: &mut Local, rng: &mut Rng, ask: &Ask, tried: &[u32]) -> Option<Lease> {
        if self.live.queue.is_waited_for() {
            return None;
        }
        let Local { version, ready, turns, held } = local;
        let (balance, layout) = (&self.config.balance, ready.layout(ask));
        let (group, position) = choose(balance, layout, turns, rng, ask.key, tried)?;
        if let Some(lease) = Lease::within(held.of(group, position), *version) {
            return Some(lease);
        }
        let groups = std::iter::once(&layout.near).chain(layout.far.as_ref().map(|far| &far.group));
        for group in groups {
            let mut others = group.others_with_room(balance, rng, tried);
            let lease = others.find_map(|position| Lease::within(held.of(group, position), *version));
            if lease.is_some() {
                return lease;
            }
        }
        None
    }

    /// The backend that work belongs to, which it may stay with and is not among `tried`.
    pub fn own(&self, ask: &Ask, tried: &[u32]) -> Option<&Arc<Backend>> {
        let Stick::To(at) = ask.stick else { return None };
        let own = self.backends.get(at as usize)?;
        let may_stay = own.is_stayed_with(ask.reads) && !own.is_retired();
        (may_stay && !tried.contains(&own.slot.index)).then_some(own)
    }

    fn pick_own(&self, local: &mut Local, rng: &mut Rng, ask: &Ask, tried: &[u32]) -> Own {
        let Local { version, ready, turns, held } = local;
        match ask.stick {
            Stick::Free => Own::Gone,
            Stick::To(at) => {
                let Some(own) = self.own(ask, tried) else { return Own::Gone };
                Lease::within(held.stayed_with(at as usize, own), *version).map_or(Own::Full, Own::Lease)
            }
            Stick::In(near) => {
                let Some(group) = ready.in_zone(ask, near) else { return Own::Gone };
                let balance = &self.config.balance;
                let first = group.choose(balance, turns.of(group.number), rng, ask.key);
                let others = group.others_with_room(balance, rng, tried);
                let untried = !tried.contains(&group.backends[first].slot.index);
                let lease = untried
                    .then_some(first)
                    .into_iter()
                    .chain(others)
                    .find_map(|position| Lease::within(held.of(group, position), *version));
                lease.map_or(Own::Gone, Own::Lease)
            }
        }
    }

    /// Gives the places that are free to those whose turn it is.
    pub fn offer_places(&self, local: &mut Local, ask: &Ask) {
        let free = local.ready(self).layout(ask).backends().chain(self.own(ask, &[]));
        free.filter(|backend| backend.has_room()).for_each(|backend| self.live.queue.offer(backend));
    }

    /// What a pick would have given, where a place was waited for; `None` where that backend may serve the work no more.
    pub fn seated(&self, local: &mut Local, seat: Seat, wanted: Wanted, ask: &Ask) -> Option<Lease> {
        local.ready(self);
        let verdict = seat.backend()?.verdict();
        let serves = match wanted {
            Wanted::Work => verdict.serves.work(),
            Wanted::Reads => verdict.serves.reads(),
            Wanted::One(_) => self.own(ask, &[]).is_some(),
        };
        let backend = if serves { seat.into_backend()? } else { return None };
        Some(Lease { backend: Rc::new(Hold(backend)), version: local.version })
    }
}

/// What the backend (or zone) that work belongs to has for it.
enum Own {
    Lease(Lease),
    /// It is to wait for a place there.
    Full,
    /// It may go anywhere.
    Gone,
}

/// A group, and a position in it.
type Chosen<'r> = (&'r Group, usize);

/// For pools with zones or roles, and for retries.
fn choose<'r>(
    balance: &Balance,
    layout: &'r Layout,
    turns: &mut Turns,
    rng: &mut Rng,
    key: Option<u64>,
    tried: &[u32],
) -> Option<Chosen<'r>> {
    let near = &layout.near;
    if near.backends.is_empty() {
        return None;
    }
    if !tried.is_empty() {
        return choose_again(balance, layout, turns, rng, key, tried);
    }
    match &layout.far {
        None => Some((near, near.choose(balance, turns.of(near.number), rng, key))),
        Some(far) => Some(choose_zone(balance, layout, far, turns, rng, key)),
    }
}

/// The preferred zone, or another: where part of it is down (a key stays or goes for good while nothing changes), and
/// where it is full and another zone is not.
fn choose_zone<'r>(
    balance: &Balance,
    layout: &'r Layout,
    far: &'r Far,
    turns: &mut Turns,
    rng: &mut Rng,
    key: Option<u64>,
) -> Chosen<'r> {
    let drawn = match key {
        _ if far.stay == super::ready::ALL => 0,
        // Maglev takes a remainder of the whole key; its upper half says little of that.
        Some(key) => (key >> 32) as u32,
        None => rng.next_u64() as u32,
    };
    let (group, other) = if drawn <= far.stay { (&layout.near, &far.group) } else { (&far.group, &layout.near) };
    let position = group.choose(balance, turns.of(group.number), rng, key);
    if group.is_full(position, rng) {
        let elsewhere = other.choose(balance, turns.of(other.number), rng, key);
        if !other.is_full(elsewhere, rng) {
            return (other, elsewhere);
        }
    }
    (group, position)
}

/// For retries.
fn choose_again<'r>(
    balance: &Balance,
    layout: &'r Layout,
    turns: &mut Turns,
    rng: &mut Rng,
    key: Option<u64>,
    tried: &[u32],
) -> Option<Chosen<'r>> {
    if *balance != Balance::RoundRobin {
        let (group, position) = choose(balance, layout, turns, rng, key, &[])?;
        if !tried.contains(&group.backends[position].slot.index) {
            return Some((group, position));
        }
    }
    if let Some(untried) = layout.near.another(balance, rng, tried) {
        return Some((&layout.near, untried));
    }
    let far = &layout.far.as_ref()?.group;
    Some((far, far.another(balance, rng, tried)?))
}
