//! How many copies of requests are under way by a rule, over all workers.
//!
//! A copy has its place from the moment that it is begun, so that what copies hold in memory is bounded, too.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The copies of one rule.
#[derive(Debug, Default)]
pub struct Copies {
    /// Written by every worker; Relaxed: the number itself is all that matters.
    under_way: AtomicU32,
}

/// A place among them, given back by drop.
#[derive(Debug)]
pub struct CopyPlace(Arc<Copies>);

impl Copies {
    /// A place; `None` where there are `most` copies already.
    pub fn place(self: &Arc<Self>, most: NonZeroU32) -> Option<CopyPlace> {
        let one_more = |under_way| (under_way < most.get()).then_some(under_way + 1);
        self.under_way.fetch_update(Relaxed, Relaxed, one_more).ok().map(|_before| CopyPlace(Arc::clone(self)))
    }
}

impl Drop for CopyPlace {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_never_more_than_so_many() {
        let copies = Arc::new(Copies::default());
        let most = NonZeroU32::new(2).unwrap();
        let (first, second) = (copies.place(most), copies.place(most));
        assert!(first.is_some() && second.is_some() && copies.place(most).is_none());
        drop(first);
        assert!(copies.place(most).is_some());
    }
}
