//! A mark by which two secrets can be told apart and nobody learns them.
//!
//! Stands in `Debug` of what must never be shown, where plans and hashes of configurations read it; plans leave it out of
//! what they show. Not keyed: the hash of a configuration must be the same after a restart.

use std::fmt;

use sha2::{Digest, Sha256};

/// What stands in front of one.
pub const MARK: &str = " secret#";

/// The mark of these bytes.
pub(super) struct Marked<'s>(pub(super) &'s [u8]);

impl fmt::Display for Marked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MARK)?;
        let mut hash = Sha256::new();
        hash.update(b"evenkeel secret");
        hash.update(self.0);
        hash.finalize().iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
