//! What frames of a client cannot be, as their heads and its settings show: each with the reason that RFC 9113 gives,
//! where the library has another. Sans-IO.
//!
//! Whatever this lets pass, the library judges.
//!
//! Hot path: no allocation, no lock, no formatting.

use h2::Reason;

use super::incoming::Head;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const PRIORITY: u8 = 0x2;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const GOAWAY: u8 = 0x7;
const WINDOW_UPDATE: u8 = 0x8;
const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;

const INITIAL_WINDOW_SIZE: u16 = 0x4;
/// A window beyond is none (RFC 9113, section 6.9.1).
const MAX_WINDOW: u32 = (1 << 31) - 1;

/// What must be known of earlier frames.
#[derive(Debug, Default)]
pub(super) struct Order {
    streams: Streams,
    /// The setting that is coming, and how many of its bytes have come.
    setting: [u8; 6],
    have: usize,
    in_settings: bool,
}

impl Order {
    /// The head of a frame has come; why the connection must end for it.
    pub(super) fn head(&mut self, head: &Head) -> Option<Reason> {
        let is_ack = head.kind == SETTINGS && head.has(ACK);
        self.in_settings = head.kind == SETTINGS && !is_ack;
        self.have = 0;
        let fits = match head.kind {
            SETTINGS if is_ack => head.length == 0,
            SETTINGS => head.length.is_multiple_of(6),
            PRIORITY => head.length == 5,
            RST_STREAM | WINDOW_UPDATE => head.length == 4,
            PING => head.length == 8,
            GOAWAY => head.length >= 8,
            _ => true,
        };
        if fits { self.streams.head(head) } else { Some(Reason::FRAME_SIZE_ERROR) }
    }

    /// Content of the frame has come, behind that of before.
    pub(super) fn content(&mut self, bytes: &[u8]) -> Option<Reason> {
        if !self.in_settings {
            return None;
        }
        for byte in bytes {
            self.setting[self.have] = *byte;
            self.have = (self.have + 1) % 6;
            let [a, b, value @ ..] = self.setting;
            let is_window = u16::from_be_bytes([a, b]) == INITIAL_WINDOW_SIZE;
            if self.have == 0 && is_window && u32::from_be_bytes(value) > MAX_WINDOW {
                return Some(Reason::FLOW_CONTROL_ERROR);
            }
        }
        None
    }
}

/// The latest streams, and what the client itself has ended of them: what comes behind that is no mistake of time, as it
/// may be behind a reset of ours.
#[derive(Debug, Default)]
struct Streams {
    /// The highest number of a stream that has begun.
    last: u32,
    /// A bit for each, the lowest for `last`: the client has said that nothing follows.
    ended: u128,
    /// The client has given it up.
    given_up: u128,
}

impl Streams {
    fn head(&mut self, head: &Head) -> Option<Reason> {
        if head.kind == HEADERS && head.stream > self.last && head.stream % 2 == 1 {
            let steps = (head.stream - self.last).div_ceil(2);
            self.ended = self.ended.checked_shl(steps).unwrap_or(0);
            self.given_up = self.given_up.checked_shl(steps).unwrap_or(0);
            self.last = head.stream;
        }
        let bit = self.bit(head.stream)?;
        let over = match head.kind {
            DATA => self.ended,
            HEADERS => self.ended | self.given_up,
            RST_STREAM => {
                self.given_up |= bit;
                return None;
            }
            _ => return None,
        };
        if over & bit != 0 {
            return Some(Reason::STREAM_CLOSED);
        }
        if head.has(END_STREAM) {
            self.ended |= bit;
        }
        None
    }

    /// Where a stream has its bit; of what is too long ago, nothing is known.
    fn bit(&self, stream: u32) -> Option<u128> {
        let back = self.last.checked_sub(stream)?;
        if stream.is_multiple_of(2) { None } else { 1_u128.checked_shl(back / 2) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSED: Option<Reason> = Some(Reason::STREAM_CLOSED);

    fn head(kind: u8, flags: u8, stream: u32, length: usize) -> Head {
        Head { kind, flags, length, stream }
    }

    #[test]
    fn frames_have_the_length_that_they_must_have() {
        for (kind, flags, right, wrong) in [
            (SETTINGS, 0, &[0, 6, 12][..], &[1, 5, 7][..]),
            (SETTINGS, ACK, &[0], &[1, 6]),
            (PRIORITY, 0, &[5], &[0, 4, 6]),
            (RST_STREAM, 0, &[4], &[0, 3, 5]),
            (PING, 0, &[8], &[0, 7, 9]),
            (PING, ACK, &[8], &[7]),
            (GOAWAY, 0, &[8, 20], &[0, 7]),
            (WINDOW_UPDATE, 0, &[4], &[0, 3, 5]),
            (DATA, 0, &[0, 1, 16_384], &[]),
            (0xee, 0, &[0, 1], &[]),
        ] {
            for (lengths, reason) in [(right, None), (wrong, Some(Reason::FRAME_SIZE_ERROR))] {
                for length in lengths {
                    assert_eq!(Order::default().head(&head(kind, flags, 0, *length)), reason, "{kind}, {length} bytes");
                }
            }
        }
    }

    #[test]
    fn what_follows_the_clients_own_end_is_out_of_order() {
        for (before, then, reason) in [
            (vec![head(HEADERS, END_STREAM, 1, 9)], DATA, CLOSED),
            (vec![head(HEADERS, END_STREAM, 1, 9)], HEADERS, CLOSED),
            (vec![head(HEADERS, END_STREAM, 1, 9)], WINDOW_UPDATE, None),
            (vec![head(HEADERS, 0, 1, 9)], DATA, None),
            // Trailers.
            (vec![head(HEADERS, 0, 1, 9), head(DATA, 0, 1, 9)], HEADERS, None),
            (vec![head(HEADERS, 0, 1, 9), head(DATA, END_STREAM, 1, 9)], HEADERS, CLOSED),
            (vec![head(HEADERS, 0, 1, 9), head(DATA, END_STREAM, 1, 9)], DATA, CLOSED),
            // DATA may have been on its way when the stream was given up; fields may not.
            (vec![head(HEADERS, 0, 1, 9), head(RST_STREAM, 0, 1, 4)], DATA, None),
            (vec![head(HEADERS, 0, 1, 9), head(RST_STREAM, 0, 1, 4)], HEADERS, CLOSED),
            // Other streams between.
            (vec![head(HEADERS, END_STREAM, 1, 9), head(HEADERS, 0, 255, 9)], DATA, CLOSED),
            (vec![head(HEADERS, END_STREAM, 1, 9), head(HEADERS, 0, 257, 9)], DATA, None),
            (vec![head(HEADERS, END_STREAM, 1, 9), head(HEADERS, 0, u32::MAX >> 1, 9)], DATA, None),
            // Never begun: the library has its own word for that.
            (vec![head(HEADERS, END_STREAM, 5, 9)], HEADERS, None),
            (vec![], DATA, None),
        ] {
            let mut order = Order::default();
            assert!(before.iter().all(|head| order.head(head).is_none()), "{before:?}");
            let length = if then == WINDOW_UPDATE { 4 } else { 9 };
            assert_eq!(order.head(&head(then, 0, 1, length)), reason, "{before:?}, {then}");
        }
        let mut order = Order::default();
        assert_eq!(order.head(&head(HEADERS, END_STREAM, 1, 9)), None);
        assert_eq!(order.head(&head(HEADERS, END_STREAM, 3, 9)), None, "a further request");
        assert_eq!(order.head(&head(HEADERS, END_STREAM, 0, 9)), None);
        assert_eq!(order.head(&head(HEADERS, END_STREAM, 2, 9)), None);
    }

    #[test]
    fn no_window_is_larger_than_windows_are() {
        let setting = |key: u16, value: u32| [&key.to_be_bytes()[..], &value.to_be_bytes()].concat();
        for (settings, reason) in [
            (setting(4, MAX_WINDOW), None),
            (setting(4, MAX_WINDOW + 1), Some(Reason::FLOW_CONTROL_ERROR)),
            (setting(1, u32::MAX), None),
            ([setting(3, u32::MAX), setting(4, u32::MAX)].concat(), Some(Reason::FLOW_CONTROL_ERROR)),
        ] {
            let mut order = Order::default();
            assert_eq!(order.head(&head(SETTINGS, 0, 0, settings.len())), None);
            assert_eq!(order.content(&settings), reason);
        }
        let mut order = Order::default();
        assert_eq!(order.head(&head(DATA, 0, 1, 6)), None);
        assert_eq!(order.content(&setting(4, u32::MAX)), None, "content of another frame");
    }
}
