//! Where the frames of a WebSocket begin and end, as far as one must know to say a last word between two of them
//! (RFC 6455, section 5). Sans-IO.
//!
//! Hot path: no allocation, no lock, no formatting.

/// What says that the service restarts (RFC 6455, section 7.4.1 and its registry): clients come back by themselves.
const SERVICE_RESTART: [u8; 2] = 1012_u16.to_be_bytes();

/// One way of a WebSocket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Frames {
    /// The head of the frame that is on its way, as far as it has passed.
    head: [u8; 2],
    /// Bytes of the head that have passed.
    have: u8,
    /// Bytes of the length that are still to come.
    length_left: u8,
    /// Bytes of the mask and of the content that are still to come.
    left: u64,
    /// A closing frame has passed: nothing may follow it.
    closed: bool,
}

impl Frames {
    /// Frames that begin behind so many other bytes.
    pub fn behind(bytes: usize) -> Self {
        Self { have: if bytes == 0 { 0 } else { 2 }, left: bytes as u64, ..Self::default() }
    }

    /// These bytes have passed behind those of before.
    pub fn see(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.have < 2 {
                self.head[usize::from(self.have)] = *first;
                self.have += 1;
                bytes = rest;
                if self.have == 2 {
                    self.begin();
                }
            } else if self.length_left > 0 {
                self.length_left -= 1;
                self.left = self.left << 8 | u64::from(*first);
                bytes = rest;
                if self.length_left == 0 {
                    self.left = self.left.saturating_add(self.mask_bytes());
                }
            } else {
                let passed = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                self.left -= passed as u64;
                bytes = &bytes[passed..];
            }
            if self.have == 2 && self.length_left == 0 && self.left == 0 {
                self.have = 0;
            }
        }
    }

    fn begin(&mut self) {
        self.closed |= self.head[0] & 0x0f == 0x8;
        self.left = 0;
        match self.head[1] & 0x7f {
            126 => self.length_left = 2,
            127 => self.length_left = 8,
            length => self.left = u64::from(length) + self.mask_bytes(),
        }
    }

    fn mask_bytes(&self) -> u64 {
        if self.head[1] & 0x80 == 0 { 0 } else { 4 }
    }

    /// Whether a frame may be put in here: none is on its way, and the last one was not the closing one.
    pub fn may_follow(&self) -> bool {
        self.have == 0 && !self.closed
    }
}

/// The closing frame for a client.
pub fn goodbye() -> [u8; 4] {
    let [a, b] = SERVICE_RESTART;
    [0x88, 0x02, a, b]
}

/// The closing frame for a backend: what a client sends is masked. The mask hides nothing that anybody could have chosen.
pub fn masked_goodbye() -> [u8; 8] {
    let [a, b] = SERVICE_RESTART;
    [0x88, 0x82, 0, 0, 0, 0, a, b]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: u8, masked: bool, length: usize) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut bytes = vec![0x80 | opcode];
        match length {
            0..=125 => bytes.push(mask | length as u8),
            126..=65_535 => {
                bytes.push(mask + 126);
                bytes.extend_from_slice(&(length as u16).to_be_bytes());
            }
            _ => {
                bytes.push(mask + 127);
                bytes.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        bytes.resize(bytes.len() + usize::from(masked) * 4 + length, 7);
        bytes
    }

    #[test]
    fn a_frame_is_over_when_all_of_it_has_passed() {
        for masked in [false, true] {
            for length in [0, 1, 125, 126, 65_535, 65_536] {
                let bytes = frame(0x1, masked, length);
                for piece in [1, 2, 3, 5, 4096, bytes.len()] {
                    let mut frames = Frames::default();
                    let (last, most) = bytes.split_last().unwrap();
                    most.chunks(piece).for_each(|piece| frames.see(piece));
                    assert!(!frames.may_follow(), "{masked} {length} {piece}");
                    frames.see(&[*last]);
                    assert!(frames.may_follow(), "{masked} {length} {piece}");
                }
            }
        }
    }

    #[test]
    fn what_stands_in_front_is_passed_over() {
        let mut frames = Frames::behind(3);
        frames.see(&[0x88, 0x88, 0x88]);
        assert!(frames.may_follow());
        frames.see(&[0x81]);
        assert!(!frames.may_follow());
        assert!(Frames::behind(0).may_follow());
    }

    #[test]
    fn nothing_follows_a_closing_frame() {
        let mut frames = Frames::default();
        assert!(frames.may_follow());
        frames.see(&[frame(0x2, false, 10), frame(0x8, false, 2)].concat());
        assert!(!frames.may_follow());
    }

    #[test]
    fn our_own_last_word_is_a_closing_frame() {
        for word in [&goodbye()[..], &masked_goodbye()] {
            let mut frames = Frames::default();
            frames.see(word);
            assert!(frames.closed && frames.have == 0);
        }
    }
}
