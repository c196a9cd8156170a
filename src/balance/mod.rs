//! PURE picks over indices and loads. No socket, clock, task or global.

pub mod load;
pub mod maglev;
pub mod rng;
pub mod sequence;

use std::sync::Arc;

/// How a pool spreads its work.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Balance {
    /// In turn, by weight, smoothly.
    RoundRobin,
    /// The one with the fewest requests in flight for its weight.
    LeastRequests,
    /// By chance, by weight.
    Random,
    /// The less loaded of two drawn by chance.
    P2c,
    /// The lower of two by latency times requests in flight, peaks remembered.
    PeakEwma,
    /// The first in the list that is up.
    First,
    /// By the client's address.
    Source,
    /// By the request's target.
    Uri,
    /// By a header's value; the name is in lower case.
    Header(Arc<str>),
    /// By a cookie's value.
    Cookie(Arc<str>),
}

/// The hash that spreads keys: stable over processes, machines and versions (XXH3, 64 bits).
pub fn hash(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
}
