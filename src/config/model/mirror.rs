//! `mirror`: a copy of requests for another pool, whose answers nobody gets.
//!
//! Part of [`Rules`](super::Rules); how many copies are under way is counted by `route::mirror`.

use std::num::NonZeroU32;

use super::PoolIndex;

/// `mirror = { … }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Who gets the copies.
    pub pool: PoolIndex,
    /// Of so many requests in a million one is made.
    pub share_millionths: u32,
    /// Longest body that is copied, bytes.
    pub body_bytes: u32,
    /// Most copies at once, from the head of the request to the end of the answer to its copy.
    pub in_flight: NonZeroU32,
}
