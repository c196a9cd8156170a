//! What the soak counts: good work by kind, and failures by kind and cause, told apart by whether a fault explains them.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// After a fault ended, what it has done may be felt for so long.
const AFTERMATH: Duration = Duration::from_secs(2);

/// Whether a fault of a backend may have broken a piece of work.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fragile {
    /// It can be tried elsewhere: nothing may break it.
    No,
    /// It was on one backend, with which it falls.
    Yes,
}

/// Counts of all clients.
#[derive(Default)]
pub struct Tally {
    good: Mutex<BTreeMap<&'static str, u64>>,
    explained: Mutex<BTreeMap<(&'static str, String), u64>>,
    unexplained: Mutex<BTreeMap<(&'static str, String), u64>>,
    faults: Mutex<Vec<(Instant, Option<Instant>)>>,
    over: AtomicBool,
}

impl Tally {
    pub fn is_over(&self) -> bool {
        self.over.load(SeqCst)
    }

    pub fn end(&self) {
        self.over.store(true, SeqCst);
    }

    pub fn good(&self, kind: &'static str) {
        *self.good.lock().expect("no client panics").entry(kind).or_default() += 1;
    }

    /// A piece of work that began then has failed now.
    pub fn failed(&self, kind: &'static str, why: &str, fragile: Fragile, begun: Instant) {
        if self.is_over() {
            return;
        }
        let explained = fragile == Fragile::Yes && self.was_fault_since(begun);
        let list = if explained { &self.explained } else { &self.unexplained };
        *list.lock().expect("no client panics").entry((kind, why.to_owned())).or_default() += 1;
        if !explained {
            eprintln!("unexplained: {kind}: {why}, after {:.3} s", begun.elapsed().as_secs_f64());
        }
    }

    pub fn fault_begins(&self) {
        self.faults.lock().expect("no client panics").push((Instant::now(), None));
    }

    pub fn fault_ends(&self) {
        if let Some(fault) = self.faults.lock().expect("no client panics").last_mut() {
            fault.1 = Some(Instant::now());
        }
    }

    fn was_fault_since(&self, begun: Instant) -> bool {
        let faults = self.faults.lock().expect("no client panics");
        faults.last().is_some_and(|(_, end)| end.is_none_or(|end| end + AFTERMATH >= begun))
    }

    /// All of it for people; gives the number of failures that nothing explains.
    pub fn print(&self) -> u64 {
        for (kind, count) in self.good.lock().expect("no client panics").iter() {
            println!("{kind:<24} {count:>10} good");
        }
        let print = |what: &str, list: &BTreeMap<(&'static str, String), u64>| {
            for ((kind, why), count) in list {
                println!("{kind:<24} {count:>10} {what}: {why}");
            }
            list.values().sum::<u64>()
        };
        print("failed with their backend", &self.explained.lock().expect("no client panics"));
        print("UNEXPLAINED", &self.unexplained.lock().expect("no client panics"))
    }

    /// Kinds of work that were never done.
    pub fn idle(&self, kinds: &[&'static str]) -> Vec<&'static str> {
        let good = self.good.lock().expect("no client panics");
        kinds.iter().copied().filter(|kind| !good.contains_key(kind)).collect()
    }
}
