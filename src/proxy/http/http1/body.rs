//! How much of the bytes in hand belongs to a message's body. Sans-IO.
//!
//! Hot path: no allocation, no lock, no formatting.

use super::chunked::Chunked;
use super::{Framing, Reject};

/// A body in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// So many bytes are still to come.
    Length(u64),
    /// Chunks.
    Chunked(Chunked),
    /// All until the connection ends.
    UntilClose,
}

impl Body {
    /// A body at its beginning.
    #[inline]
    pub fn new(framing: Framing) -> Self {
        match framing {
            Framing::Empty => Self::Length(0),
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunked::new()),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// Whether it is complete; one that ends with its connection never is by itself.
    #[inline]
    pub fn is_done(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunked) => chunked.is_done(),
            Self::UntilClose => false,
        }
    }

    /// Judges `bytes`, which follow what was accepted before: how many of them belong to the body and are valid.
    ///
    /// # Errors
    /// The rule of chunked framing that is broken.
    #[inline]
    pub fn accept(&mut self, bytes: &[u8]) -> Result<usize, Reject> {
        match self {
            Self::Length(left) => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= take as u64;
                Ok(take)
            }
            Self::Chunked(chunked) => chunked.accept(bytes),
            Self::UntilClose => Ok(bytes.len()),
        }
    }
}
