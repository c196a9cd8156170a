//! Byte buffers that a worker lends to whoever has bytes in hand and gets back when they are gone.
//!
//! A connection that waits owns none: that is what keeps ten thousand idle connections cheap. Two sizes: small for
//! heads and short messages, large for streams. Taking and giving back is a push and a pop on a list of the thread.
//!
//! Hot path: no allocation once warm, no lock, no formatting.

use std::cell::RefCell;

/// Size of a small buffer: holds nearly every head, and an answer of a few kilobytes with it.
pub const SMALL: usize = 16 * 1024;
/// Size of a large buffer: amortises the two system calls of a turn, fits the second-level cache.
pub const LARGE: usize = 128 * 1024;
/// Free buffers kept by a thread, for each size: what is beyond goes back to the allocator.
const MAX_FREE: [usize; 2] = [256, 16];

thread_local! {
    static FREE: RefCell<[Vec<Box<[u8]>>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// Bytes received and not yet used, in the order they came.
#[derive(Debug)]
pub struct Buffer {
    data: Box<[u8]>,
    start: usize,
    end: usize,
}

/// Which of the two sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// [`SMALL`].
    Small,
    /// [`LARGE`].
    Large,
}

impl Buffer {
    /// An empty buffer of the worker.
    pub fn take(size: Size) -> Self {
        let (list, bytes) = match size {
            Size::Small => (0, SMALL),
            Size::Large => (1, LARGE),
        };
        let data = FREE.with_borrow_mut(|free| free[list].pop()).unwrap_or_else(|| vec![0; bytes].into_boxed_slice());
        Self { data, start: 0, end: 0 }
    }

    /// A buffer without room, for a place that needs one.
    pub fn empty() -> Self {
        Self { data: Box::default(), start: 0, end: 0 }
    }

    /// The bytes in hand.
    #[inline]
    pub fn filled(&self) -> &[u8] {
        &self.data[self.start..self.end]
    }

    /// The same, to change them in place.
    pub fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.data[self.start..self.end]
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Room behind the bytes in hand.
    #[inline]
    pub fn spare(&mut self) -> &mut [u8] {
        &mut self.data[self.end..]
    }

    /// `n` bytes were written into [`Buffer::spare`].
    #[inline]
    pub fn advance(&mut self, n: usize) {
        self.end = (self.end + n).min(self.data.len());
    }

    /// The first `n` bytes in hand are done with.
    #[inline]
    pub fn consume(&mut self, n: usize) {
        self.start = (self.start + n).min(self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Adds bytes, growing where they do not fit.
    #[inline]
    pub fn append(&mut self, bytes: &[u8]) {
        if self.data.len() - self.end < bytes.len() {
            self.make_room(bytes.len());
        }
        self.data[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// Makes room for at least `bytes` more: by moving what is in hand to the front, then by growing.
    pub fn make_room(&mut self, bytes: usize) {
        if self.start > 0 {
            self.data.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.data.len() - self.end < bytes {
            let size = (self.end + bytes).next_power_of_two();
            let mut grown = vec![0; size].into_boxed_slice();
            grown[..self.end].copy_from_slice(&self.data[..self.end]);
            self.recycle();
            self.data = grown;
        }
    }

    fn recycle(&mut self) {
        let data = std::mem::take(&mut self.data);
        let list = match data.len() {
            SMALL => 0,
            LARGE => 1,
            _ => return,
        };
        // At the end of a thread the list may be gone already.
        let _ = FREE.try_with(|free| {
            if let Ok(mut free) = free.try_borrow_mut()
                && free[list].len() < MAX_FREE[list]
            {
                free[list].push(data);
            }
        });
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.recycle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_appended_comes_out_in_order() {
        let mut buffer = Buffer::take(Size::Small);
        buffer.append(b"hello ");
        buffer.append(b"world");
        buffer.consume(6);
        assert_eq!(buffer.filled(), b"world");
        buffer.consume(5);
        assert!(buffer.is_empty());
        assert_eq!(buffer.spare().len(), SMALL);
    }

    #[test]
    fn a_full_buffer_grows_and_keeps_its_bytes() {
        let mut buffer = Buffer::take(Size::Small);
        buffer.append(&[7; SMALL]);
        buffer.append(b"more");
        assert_eq!(buffer.filled().len(), SMALL + 4);
        assert!(buffer.filled().ends_with(b"more"));
    }

    #[test]
    fn a_buffer_given_back_is_lent_again_empty() {
        let mut first = Buffer::take(Size::Large);
        first.append(b"secret");
        drop(first);
        assert!(Buffer::take(Size::Large).is_empty());
    }
}
