//! CPU time as the scheduler accounts it: exact nanoseconds of every thread of a process and of its children.

use std::fs;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Nanoseconds that a process and all its descendants have run. Threads that have ended are missing.
pub fn nanos(pid: u32) -> u64 {
    family(pid).into_iter().flat_map(tasks).map(|task| ran(&task)).sum()
}

/// A process and all its descendants.
pub fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    for task in tasks(pid) {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        family.extend(children.split_whitespace().filter_map(|child| child.parse().ok()).flat_map(self::family));
    }
    family
}

fn tasks(pid: u32) -> impl Iterator<Item = fs::DirEntry> {
    fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten()
}

/// Nanoseconds that this process has run, without its children.
pub fn own_nanos() -> u64 {
    fs::read_dir("/proc/self/task").into_iter().flatten().flatten().map(|task| ran(&task)).sum()
}

fn ran(task: &fs::DirEntry) -> u64 {
    let schedstat = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
    schedstat.split(' ').next().and_then(|ran| ran.parse().ok()).unwrap_or(0)
}

/// Share of all CPU time that the hypervisor took away, between two looks.
pub struct Steal(u64, u64);

impl Steal {
    pub fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let ticks: Vec<u64> =
            stat.lines().next().unwrap_or_default().split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect();
        Self(ticks.get(7).copied().unwrap_or(0), ticks.iter().take(8).sum())
    }

    pub fn since(&self, earlier: &Self) -> f64 {
        (self.0 - earlier.0) as f64 / (self.1 - earlier.1).max(1) as f64
    }
}

/// Runs `what` on one CPU; processes that it starts stay there.
pub fn pinned<T>(cpu: usize, what: impl FnOnce() -> T) -> T {
    let before = sched_getaffinity(None).expect("the CPUs of this thread can be read");
    pin(cpu);
    let result = what();
    sched_setaffinity(None, &before).expect("this thread may go back to its CPUs");
    result
}

/// Keeps this thread on one CPU.
pub fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    if sched_setaffinity(None, &set).is_err() {
        eprintln!("CPU {cpu} is not usable here: the numbers will be noisier");
    }
}

/// The CPU of the peers.
pub const OF_PEERS: usize = 0;

/// The CPU of origin and load.
pub const OF_LOAD: usize = 1;
