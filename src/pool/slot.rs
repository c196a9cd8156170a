//! Small dense numbers for live things, so that workers keep their own facts about them in plain lists.

use std::sync::{Mutex, PoisonError};

static FREE: Mutex<Slots> = Mutex::new(Slots { free: Vec::new(), next: 0, serial: 0 });

struct Slots {
    free: Vec<u32>,
    next: u32,
    serial: u64,
}

/// A number that no other living thing has; given back by drop. `serial` tells two owners of one number apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Slot {
    /// The number: small, and used again.
    pub index: u32,
    /// Never used again.
    pub serial: u64,
}

impl Slot {
    /// Takes the lowest number at hand.
    pub fn take() -> Self {
        let mut slots = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        slots.serial += 1;
        let serial = slots.serial;
        let index = slots.free.pop().unwrap_or_else(|| {
            slots.next += 1;
            slots.next - 1
        });
        Self { index, serial }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        FREE.lock().unwrap_or_else(PoisonError::into_inner).free.push(self.index);
    }
}
