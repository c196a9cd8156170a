//! Time as small numbers: milliseconds since the program started.
//!
//! Wall-clock time is for people (log, API) and comes from `jiff`; everything that compares times uses this.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

static START: OnceLock<Instant> = OnceLock::new();

/// The moment that [`millis`] counts from.
pub fn start() -> Instant {
    *START.get_or_init(Instant::now)
}

/// Milliseconds since the program started.
pub fn millis() -> u64 {
    u64::try_from(start().elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Nanoseconds since the program started.
pub fn nanos() -> u64 {
    u64::try_from(start().elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// The time since the program started.
pub fn now() -> Duration {
    start().elapsed()
}

/// How long ago a moment of [`millis`] was.
pub fn since(moment: u64) -> Duration {
    Duration::from_millis(millis().saturating_sub(moment))
}
