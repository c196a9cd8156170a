//! Marks of secrets that were right: by them it is known again what has been proved, and nobody learns the secret.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use sha2::{Digest, Sha256};

/// A keyed hash.
pub type Mark = [u8; 32];

/// The key of marks. Nobody outside of this process knows it: what is remembered is of use to nobody else.
pub struct MarkKey([u8; 32]);

impl MarkKey {
    /// A new one.
    pub fn new() -> Self {
        let mut key = [0; 32];
        for (place, bytes) in (0_u64..).zip(key.chunks_exact_mut(8)) {
            bytes.copy_from_slice(&RandomState::new().hash_one(place).to_ne_bytes());
        }
        Self(key)
    }

    /// The mark of these parts, one behind the other.
    pub fn mark(&self, parts: &[&[u8]]) -> Mark {
        let mut hash = Sha256::new();
        hash.update(self.0);
        for part in parts {
            hash.update(part);
        }
        hash.finalize().into()
    }
}

impl Default for MarkKey {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MarkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MarkKey")
    }
}
