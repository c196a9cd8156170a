//! Waiting for what must come true: asks again and again, and fails with a sentence when the deadline has passed.

use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// Long enough for anything that a test waits for on a machine under load.
pub const DEADLINE: Duration = Duration::from_secs(15);

/// Asks `condition` every few milliseconds; panics with `what` after `deadline`.
#[track_caller]
pub fn eventually(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < deadline, "not within {deadline:?}: {what}");
        pause(Duration::from_millis(5));
    }
}

/// Like [`eventually`], for a value: gives the first one that is there.
#[track_caller]
pub fn eventually_some<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    eventually(what, deadline, || {
        found = look();
        found.is_some()
    });
    found.expect("eventually returned, so it was found")
}

/// Lets time pass between two looks; no test decides anything by it.
fn pause(time: Duration) {
    let nobody = Mutex::new(());
    let guard = nobody.lock().expect("nobody else has it");
    drop(Condvar::new().wait_timeout(guard, time).expect("nobody else has it"));
}
