//! What a client sends, looked at before the library has it: the head of each frame is found, counted (`floods`) and
//! judged (`order`). Sans-IO.
//!
//! Hot path: no allocation, no lock, no formatting.

use h2::Reason;

use super::floods::Floods;
use super::order::Order;

/// "PRI * HTTP/2.0" and what belongs to it (RFC 9113, section 3.4).
const PREFACE: usize = 24;
const HEAD: usize = 9;

/// The head of a frame (RFC 9113, section 4.1).
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) kind: u8,
    pub(super) flags: u8,
    /// Bytes of content behind it.
    pub(super) length: usize,
    pub(super) stream: u32,
}

impl Head {
    fn of(bytes: [u8; HEAD]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = bytes;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        Self { kind, flags, length, stream: u32::from_be_bytes(stream) & 0x7fff_ffff }
    }

    /// Whether it has this flag.
    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// A connection's bytes, as far as they have come.
#[derive(Debug)]
pub(super) struct Incoming {
    head: [u8; HEAD],
    /// Bytes of `head` that have come.
    have: usize,
    /// Bytes of the preface or of a frame's content that are still to come.
    skip: usize,
    pub(super) floods: Floods,
    order: Order,
    fault: Option<Reason>,
}

impl Incoming {
    /// A connection that begins now.
    pub(super) fn new(now: u64) -> Self {
        Self { head: [0; HEAD], have: 0, skip: PREFACE, floods: Floods::new(now), order: Order::default(), fault: None }
    }

    /// For what the connection must end.
    pub(super) fn fault(&self) -> Option<Reason> {
        self.fault
    }

    /// These bytes have come behind those of before. So many of them are for the library: of a frame with a fault, never
    /// all, since the library would have its own word for it.
    pub(super) fn see(&mut self, bytes: &[u8], now: u64) -> usize {
        let mut seen = 0;
        while seen < bytes.len() && self.fault.is_none() {
            let rest = &bytes[seen..];
            if self.skip > 0 {
                let part = self.skip.min(rest.len());
                self.skip -= part;
                seen += part;
                self.fault = self.order.content(&rest[..part]);
                continue;
            }
            let part = (HEAD - self.have).min(rest.len());
            self.head[self.have..self.have + part].copy_from_slice(&rest[..part]);
            self.have += part;
            seen += part;
            if self.have == HEAD {
                let head = Head::of(self.head);
                self.have = 0;
                self.skip = head.length;
                self.floods.frame(&head, now);
                self.fault = self.order.head(&head);
            }
        }
        if self.fault.is_some() { seen.saturating_sub(1) } else { seen }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::http::http2::floods::Flood;

    const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

    #[test]
    fn frames_are_found_however_they_arrive() {
        let bytes = [vec![b'P'; PREFACE], PING.repeat(101)].concat();
        for piece in [1, 7, 9, 17, 64] {
            let mut incoming = Incoming::new(0);
            bytes.chunks(piece).for_each(|bytes| assert_eq!(incoming.see(bytes, 0), bytes.len()));
            assert_eq!(incoming.floods.found(), Some(Flood::Ping), "in pieces of {piece}");
        }
    }

    #[test]
    fn of_a_frame_with_a_fault_the_library_never_has_all() {
        // A PING of a byte too few, and a setting of a window that is too large, each behind a PING and before another.
        let short = [0, 0, 7, 6, 0, 0, 0, 0, 0];
        let setting = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0xff, 0, 0, 0];
        for (wrong, reason) in [(&short[..], Reason::FRAME_SIZE_ERROR), (&setting, Reason::FLOW_CONTROL_ERROR)] {
            let bytes = [&[b'P'; PREFACE], PING, wrong, PING].concat();
            let whole = PREFACE + PING.len() + wrong.len();
            for piece in [1, 7, 9, 17, bytes.len()] {
                let mut incoming = Incoming::new(0);
                let given: usize = bytes.chunks(piece).map(|bytes| incoming.see(bytes, 0)).sum();
                assert_eq!((incoming.fault(), given), (Some(reason), whole - 1), "in pieces of {piece}");
            }
        }
    }
}
