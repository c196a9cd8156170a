//! The flows of one socket, and who makes room when there are too many.
//!
//! Hot path to look up: no allocation, no lock, no formatting.
//!
//! # Who makes room?
//!
//! Whoever can forge addresses can fill the list. So a flow whose client has gone on after an answer, which nobody does
//! who cannot hear, keeps its place; of the others the one that has been quiet for longest makes room, or nearly: a clock
//! with one hand (second chance), because an order by the last datagram would cost each datagram.

use std::collections::{HashMap, VecDeque};
use std::rc::{Rc, Weak};
use std::time::Instant;

use foldhash::quality::RandomState;

use super::flow::{Flow, Key};

/// Flows that are looked at for one that makes room: where so many in a row have just been heard of, the last one goes.
const MAX_LOOKS: usize = 16;

/// The flows of one socket.
#[derive(Debug, Default)]
pub(super) struct Flows {
    /// Seeded by the system: clients choose the keys.
    by_key: HashMap<Key, Rc<Flow>, RandomState>,
    /// Those that may have to make room, and when they were last heard of as far as the hand has seen. Of some that are
    /// gone, too.
    young: VecDeque<(Weak<Flow>, Instant)>,
}

impl Flows {
    /// The flow of a client.
    #[inline]
    pub(super) fn get(&self, key: &Key) -> Option<Rc<Flow>> {
        self.by_key.get(key).cloned()
    }

    /// A new one.
    pub(super) fn add(&mut self, flow: &Rc<Flow>) {
        self.by_key.insert(flow.key, Rc::clone(flow));
        if self.young.len() > 64 + 2 * self.by_key.len() {
            self.young.retain(|(flow, _)| flow.upgrade().is_some_and(|flow| !flow.is_settled()));
        }
        while self.young.front().is_some_and(|(flow, _)| flow.strong_count() == 0) {
            self.young.pop_front();
        }
        self.young.push_back((Rc::downgrade(flow), flow.last()));
    }

    /// Takes out one that has to make room.
    pub(super) fn displace(&mut self) -> Option<Rc<Flow>> {
        let mut looks = 0;
        while let Some((flow, last)) = self.young.pop_front() {
            let Some(flow) = flow.upgrade().filter(|flow| self.has(flow) && !flow.is_settled()) else { continue };
            looks += 1;
            if flow.last() > last && looks < MAX_LOOKS {
                self.young.push_back((Rc::downgrade(&flow), flow.last()));
                continue;
            }
            self.by_key.remove(&flow.key);
            return Some(flow);
        }
        None
    }

    /// Takes out one that has ended.
    pub(super) fn remove(&mut self, flow: &Rc<Flow>) {
        // Another one may have its key by now.
        if self.has(flow) {
            self.by_key.remove(&flow.key);
        }
    }

    fn has(&self, flow: &Rc<Flow>) -> bool {
        self.by_key.get(&flow.key).is_some_and(|known| Rc::ptr_eq(known, flow))
    }

    /// Takes out all of them.
    pub(super) fn clear(&mut self) -> Vec<Rc<Flow>> {
        self.young.clear();
        self.by_key.drain().map(|(_, flow)| flow).collect()
    }
}
