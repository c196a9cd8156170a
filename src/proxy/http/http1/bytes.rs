//! Sets of bytes as tables: heads are judged byte by byte, at each request.

/// A set of bytes.
pub struct Bytes([bool; 256]);

impl Bytes {
    /// ASCII letters, digits, and these.
    pub const fn alphanumeric_and(others: &[u8]) -> Self {
        let mut table = [false; 256];
        let mut byte = 0_u8;
        while byte < 128 {
            table[byte as usize] = byte.is_ascii_alphanumeric();
            byte += 1;
        }
        let mut at = 0;
        while at < others.len() {
            table[others[at] as usize] = true;
            at += 1;
        }
        Self(table)
    }

    /// Whether it is one of them.
    #[inline]
    pub const fn has(&self, byte: u8) -> bool {
        self.0[byte as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_it_was_made_of() {
        static SET: Bytes = Bytes::alphanumeric_and(b"-\xff");
        for byte in 0..=255_u8 {
            assert_eq!(SET.has(byte), byte.is_ascii_alphanumeric() || byte == b'-' || byte == 0xff, "{byte}");
        }
    }
}
