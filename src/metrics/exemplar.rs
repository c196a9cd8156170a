//! Requests that stand for the others of their bucket: the latest one of each, with its identity.
//!
//! Whoever looks at a slow bucket finds a request in it that the access log and the traces know. Off unless the
//! configuration wants it; then a worker renews a bucket's exemplar [`RENEWED_EVERY_MS`] at most.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::histogram::MAX_BOUNDS;
use crate::clock;

/// The labels of an exemplar have room for 128 characters with their names (OpenMetrics 1.0, "Exemplars"); longer
/// identities are none.
const MAX_ID: usize = 64;
/// A bucket's exemplar is replaced when it is this old, milliseconds: one each second is more than anybody scrapes.
const RENEWED_EVERY_MS: u64 = 1_000;

/// Whether they are wanted. Writer: `server`, at each table. Relaxed: a request more or less does not matter.
static WANTED: AtomicBool = AtomicBool::new(false);

/// Whether exemplars are kept from now on.
pub fn keep_exemplars(wanted: bool) {
    WANTED.store(wanted, Relaxed);
}

/// The exemplars of one histogram of one worker.
#[derive(Debug, Default)]
pub struct Exemplars(OnceLock<Box<[Slot; MAX_BOUNDS + 1]>>);

/// A request that stands for its bucket.
#[derive(Debug, Clone, Copy)]
pub struct Exemplar {
    id: [u8; MAX_ID],
    length: usize,
    /// What was observed.
    pub took: Duration,
    /// When, [`clock::millis`].
    pub at: u64,
}

#[derive(Debug, Default)]
struct Slot {
    /// When the exemplar was kept, [`clock::millis`] and one: 0 is never. Writer: the worker.
    renewed: AtomicU64,
    kept: Mutex<Option<Exemplar>>,
}

impl Exemplars {
    /// Keeps this request for its bucket, where exemplars are wanted and the bucket's is old. Called by the owning worker.
    #[inline]
    pub fn keep<'i>(&self, bucket: usize, took: Duration, id: impl FnOnce() -> &'i str) {
        if WANTED.load(Relaxed) {
            self.renew(bucket, took, id());
        }
    }

    fn renew(&self, bucket: usize, took: Duration, id: &str) {
        let now = clock::millis();
        let slots = self.0.get_or_init(Box::default);
        let Some(slot) = slots.get(bucket) else { return };
        let renewed = slot.renewed.load(Relaxed);
        let is_young = renewed != 0 && now < renewed + RENEWED_EVERY_MS;
        // Only what a label carries without escapes: identities come from clients.
        let is_plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(&byte));
        if is_young || id.is_empty() || id.len() > MAX_ID || !is_plain {
            return;
        }
        let mut exemplar = Exemplar { id: [0; MAX_ID], length: id.len(), took, at: now };
        exemplar.id[..id.len()].copy_from_slice(id.as_bytes());
        // A scrape that reads it now keeps it as it is: the worker never waits.
        if let Ok(mut kept) = slot.kept.try_lock() {
            *kept = Some(exemplar);
            slot.renewed.store(now + 1, Relaxed);
        }
    }

    /// The exemplar of a bucket.
    pub fn of(&self, bucket: usize) -> Option<Exemplar> {
        let slot = self.0.get()?.get(bucket)?;
        *slot.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Exemplar {
    /// The identity of the request.
    pub fn id(&self) -> &str {
        std::str::from_utf8(&self.id[..self.length]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_keeps_one_request_at_a_time_and_none_with_a_strange_identity() {
        let exemplars = Exemplars::default();
        exemplars.renew(3, Duration::from_millis(7), "quote\"me");
        exemplars.renew(3, Duration::from_millis(7), &"x".repeat(MAX_ID + 1));
        exemplars.renew(3, Duration::from_millis(7), "");
        assert!(exemplars.of(3).is_none());
        exemplars.renew(3, Duration::from_millis(8), "first");
        exemplars.renew(3, Duration::from_millis(9), "second, too early");
        exemplars.renew(99, Duration::from_millis(9), "nowhere");
        let kept = exemplars.of(3).unwrap();
        assert_eq!((kept.id(), kept.took), ("first", Duration::from_millis(8)));
        assert!(exemplars.of(2).is_none());
    }
}
