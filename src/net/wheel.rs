//! Deadlines of a worker's connections: one coarse wheel for each thread.
//!
//! Setting a deadline is a store. A connection has at most one visit of the wheel ahead of it; when the visit comes
//! early, because the deadline has been moved meanwhile, the wheel makes a new one. So a request costs no timer
//! operation at all, and a connection that comes and goes takes over the visit of the one before it.
//!
//! Precision is [`TICK`]; no deadline fires early. Hot path: no allocation once warm, no lock, no system call.

use std::cell::RefCell;
use std::task::{Context, Waker};
use std::time::Duration;

/// How often the wheel turns.
pub const TICK: Duration = Duration::from_millis(20);
/// Slots of the wheel: one turn is 82 s; what is further away is visited once a turn.
const SLOTS: u32 = 4096;
const NEVER: u32 = u32::MAX;

thread_local! {
    static WHEEL: RefCell<Wheel> = RefCell::new(Wheel::new());
}

struct Wheel {
    now: u32,
    slots: Vec<Vec<u32>>,
    entries: Vec<Entry>,
    free: Vec<u32>,
}

struct Entry {
    /// When to fire; `NEVER` when unset.
    deadline: u32,
    /// When the wheel visits next; `NEVER` when no visit is ahead.
    visit: u32,
    waker: Option<Waker>,
    fired: bool,
    /// Whoever owns it may be woken by this mark: the slot of the backend it works with, plus one.
    mark: u32,
}

/// The deadline of one connection; given back by drop.
#[derive(Debug)]
pub struct Timer(u32);

/// A deadline has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

impl Timer {
    /// A timer without a deadline.
    pub fn new() -> Self {
        WHEEL.with_borrow_mut(|wheel| {
            let index = wheel.free.pop().unwrap_or_else(|| {
                let index = wheel.entries.len() as u32;
                wheel.entries.push(Entry { deadline: NEVER, visit: NEVER, waker: None, fired: false, mark: 0 });
                index
            });
            Self(index)
        })
    }

    /// Sets the deadline, `after` from now.
    #[inline]
    pub fn set(&self, after: Duration) {
        WHEEL.with_borrow_mut(|wheel| {
            let ticks = u32::try_from(after.as_millis() / TICK.as_millis()).unwrap_or(NEVER / 4).min(NEVER / 4);
            // One tick for the fraction, one for the part of the current tick that is over.
            let deadline = wheel.now + ticks + 2;
            let entry = &mut wheel.entries[self.0 as usize];
            entry.fired = false;
            entry.deadline = deadline;
            if entry.visit > deadline {
                wheel.plan(self.0, deadline);
            }
        });
    }

    /// Whether the deadline has passed; if not, the task is woken when it does, or when its mark is called.
    #[inline]
    pub fn poll_elapsed(&self, context: &mut Context<'_>) -> bool {
        WHEEL.with_borrow_mut(|wheel| {
            let entry = &mut wheel.entries[self.0 as usize];
            if entry.fired {
                return true;
            }
            match &entry.waker {
                Some(waker) if waker.will_wake(context.waker()) => {}
                _ => entry.waker = Some(context.waker().clone()),
            }
            false
        })
    }

    /// Has the task woken by [`wake_marked`] as long as it works with the thing of this number.
    #[inline]
    pub fn mark(&self, slot: Option<u32>) {
        WHEEL.with_borrow_mut(|wheel| wheel.entries[self.0 as usize].mark = slot.map_or(0, |slot| slot + 1));
    }
}

impl Default for Timer {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // At the end of a thread the wheel may be gone already.
        let _ = WHEEL.try_with(|wheel| {
            if let Ok(mut wheel) = wheel.try_borrow_mut() {
                let entry = &mut wheel.entries[self.0 as usize];
                entry.deadline = NEVER;
                entry.waker = None;
                entry.fired = false;
                entry.mark = 0;
                wheel.free.push(self.0);
            }
        });
    }
}

impl Wheel {
    fn new() -> Self {
        Self { now: 0, slots: (0..SLOTS).map(|_| Vec::new()).collect(), entries: Vec::new(), free: Vec::new() }
    }

    fn plan(&mut self, index: u32, deadline: u32) {
        let visit = deadline.min(self.now + SLOTS - 1);
        self.entries[index as usize].visit = visit;
        self.slots[(visit % SLOTS) as usize].push(index);
    }

    fn turn_one(&mut self, due: &mut Vec<Waker>) {
        self.now += 1;
        let slot = (self.now % SLOTS) as usize;
        let mut visits = std::mem::take(&mut self.slots[slot]);
        for index in visits.drain(..) {
            let entry = &mut self.entries[index as usize];
            if entry.visit != self.now {
                continue; // an earlier visit was planned since
            }
            entry.visit = NEVER;
            if entry.deadline == NEVER {
                continue;
            }
            if entry.deadline > self.now {
                let deadline = entry.deadline;
                self.plan(index, deadline);
                continue;
            }
            entry.deadline = NEVER;
            entry.fired = true;
            due.extend(entry.waker.take());
        }
        if self.slots[slot].is_empty() {
            self.slots[slot] = visits; // keep the allocation
        }
    }
}

/// Turns the wheel up to `ticks` ticks on and wakes whose deadline has passed. Called by the worker's clock.
pub fn turn(ticks: u32) {
    let mut due = Vec::new();
    WHEEL.with_borrow_mut(|wheel| {
        for _ in 0..ticks.min(SLOTS) {
            wheel.turn_one(&mut due);
        }
    });
    due.into_iter().for_each(Waker::wake);
}

/// Wakes the tasks that have marked themselves with this number: what they work with has changed.
pub fn wake_marked(slot: u32) {
    wake(|entry| entry.mark == slot + 1);
}

/// Wakes every task that waits with a timer: the program's life has changed.
pub fn wake_all() {
    wake(|_| true);
}

fn wake(which: impl Fn(&Entry) -> bool) {
    let due: Vec<Waker> = WHEEL.with_borrow(|wheel| {
        wheel.entries.iter().filter(|entry| which(entry)).filter_map(|entry| entry.waker.clone()).collect()
    });
    due.into_iter().for_each(Waker::wake);
}

/// Keeps the wheel of this thread turning. Runs as a task of the worker for its whole life.
pub async fn run() {
    let start = tokio::time::Instant::now();
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut turned = 0;
    loop {
        interval.tick().await;
        let ticks = (start.elapsed().as_millis() / TICK.as_millis()) as u64;
        turn((ticks - turned) as u32);
        turned = ticks;
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn elapsed(timer: &Timer) -> bool {
        timer.poll_elapsed(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_deadline_fires_when_its_time_has_come_and_not_before() {
        let timer = Timer::new();
        timer.set(TICK * 5);
        turn(5);
        assert!(!elapsed(&timer));
        turn(2);
        assert!(elapsed(&timer));
    }

    #[test]
    fn a_deadline_moved_on_does_not_fire_at_its_old_time() {
        let timer = Timer::new();
        timer.set(TICK * 5);
        turn(3);
        timer.set(TICK * 50);
        turn(10);
        assert!(!elapsed(&timer));
        turn(50);
        assert!(elapsed(&timer));
    }

    #[test]
    fn a_deadline_moved_nearer_fires_at_its_new_time() {
        let timer = Timer::new();
        timer.set(TICK * 500);
        timer.set(TICK * 2);
        turn(4);
        assert!(elapsed(&timer));
    }

    #[test]
    fn a_deadline_beyond_one_turn_of_the_wheel_fires() {
        let timer = Timer::new();
        timer.set(TICK * (SLOTS * 2));
        turn(SLOTS);
        turn(SLOTS - 1);
        assert!(!elapsed(&timer));
        turn(5);
        assert!(elapsed(&timer));
    }

    #[test]
    fn a_new_timer_does_not_inherit_the_deadline_of_the_one_before() {
        let first = Timer::new();
        first.set(TICK * 3);
        drop(first);
        let second = Timer::new();
        turn(10);
        assert!(!elapsed(&second));
        second.set(TICK * 3);
        turn(6);
        assert!(elapsed(&second));
    }
}
