//! Frames of a client that are no work: how many it may send before the connection is closed. Sans-IO.
//!
//! It looks at the heads of frames only, in front of the library that reads them. What a frame costs is little, but a
//! client can send a hundred thousand of them a second, and nothing is owed to it for any. So each kind has an
//! allowance that time refills, and work earns more of those kinds that come with work: whoever downloads must open
//! windows, whoever asks may set priorities. An honest client stays far below; a flood is beyond in a few milliseconds.
//!
//! Hot path: no allocation, no lock, no formatting.

use super::incoming::Head;
use crate::metrics::FLOODS;

/// What comes too often. Positions in [`FLOODS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flood {
    Settings,
    Ping,
    Priority,
    WindowUpdate,
    /// Streams given up by the client before their answer (CVE-2023-44487).
    Reset,
    /// DATA without content and without end.
    EmptyData,
    Continuation,
    /// Frames of no known type, and GOAWAY.
    Unknown,
    /// Streams that the library had to reset, because of what was sent on them (CVE-2025-8671).
    Errors,
    /// Header fields far beyond the limit.
    Headers,
    /// DATA in tiny pieces.
    TinyData,
}

impl Flood {
    /// Its position in [`FLOODS`].
    pub(super) fn index(self) -> usize {
        self as usize
    }

    /// Its word in metrics and log.
    pub(super) fn word(self) -> &'static str {
        FLOODS[self.index()]
    }
}

/// An allowance: so many at once, and so many each second.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    left: u32,
    most: u32,
    per_second: u32,
    /// When it was refilled last, milliseconds.
    since: u64,
}

impl Allowance {
    const fn new(most: u32, per_second: u32) -> Self {
        Self { left: most, most, per_second, since: 0 }
    }

    /// Takes one; false when there is none.
    fn take(&mut self, now: u64) -> bool {
        if self.left == 0 {
            let passed = now.saturating_sub(self.since);
            let earned = passed * u64::from(self.per_second) / 1000;
            self.left = u32::try_from(earned).unwrap_or(u32::MAX).min(self.most);
            self.since = now;
        }
        let taken = self.left > 0;
        self.left = self.left.saturating_sub(1);
        taken
    }

    fn earn(&mut self, count: u32) {
        self.left = self.left.saturating_add(count).min(self.most * 4);
    }
}

/// Kinds that are counted here; the library finds the others.
const COUNTED: usize = 8;
/// In the order of [`Flood`].
const ALLOWANCES: [Allowance; COUNTED] = [
    Allowance::new(50, 5),
    Allowance::new(100, 20),
    Allowance::new(500, 50),
    Allowance::new(1000, 200),
    Allowance::new(200, 50),
    Allowance::new(100, 10),
    Allowance::new(64, 16),
    Allowance::new(100, 10),
];

/// What a client has sent.
#[derive(Debug)]
pub(super) struct Floods {
    in_head: bool,
    allowances: [Allowance; COUNTED],
    found: Option<Flood>,
    /// For [`Floods::likely`]: the type of the last frame, requests begun, bytes of the last block of fields.
    last: u8,
    requests: u32,
    block_bytes: usize,
}

/// The library ends a connection after so many streams that it had to reset.
pub(super) const MAX_ERRORS: usize = 1024;
/// A block of fields beyond this is the flood, not the number of its frames.
const LARGE_BLOCK: usize = 64 * 1024;

impl Floods {
    /// A connection that begins now.
    pub(super) fn new(now: u64) -> Self {
        let allowances = ALLOWANCES.map(|allowance| Allowance { since: now, ..allowance });
        Self { in_head: false, allowances, found: None, last: 0, requests: 0, block_bytes: 0 }
    }

    /// What comes too often, as far as it can be told from frames.
    pub(super) fn found(&self) -> Option<Flood> {
        self.found
    }

    /// What it most likely was where the library has had enough, which does not say of what.
    pub(super) fn likely(&self) -> Flood {
        match self.last {
            0x0 => Flood::TinyData,
            0x3 => Flood::Reset,
            0x9 if self.block_bytes < LARGE_BLOCK => Flood::Continuation,
            0x1 | 0x9 if self.requests < MAX_ERRORS as u32 => Flood::Headers,
            _ => Flood::Errors,
        }
    }

    /// Whether a block of header fields has begun and not ended.
    pub(super) fn is_in_head(&self) -> bool {
        self.in_head
    }

    /// A request has come: with it may come priorities, and windows are opened for its answer.
    pub(super) fn request(&mut self) {
        self.earn(Flood::Priority, 4);
        self.earn(Flood::WindowUpdate, 4);
        self.earn(Flood::Unknown, 2);
    }

    /// An answer was sent whole.
    pub(super) fn answered(&mut self) {
        self.earn(Flood::Reset, 1);
    }

    /// So many bytes of answers go out: the client opens its windows by them, and may measure the line by pings.
    pub(super) fn sent(&mut self, bytes: usize) {
        let pieces = u32::try_from(bytes / 1024).unwrap_or(u32::MAX);
        self.earn(Flood::WindowUpdate, pieces.saturating_add(4));
        self.earn(Flood::Ping, 1);
    }

    fn earn(&mut self, flood: Flood, count: u32) {
        self.allowances[flood.index()].earn(count);
    }

    /// The head of a frame has come.
    pub(super) fn frame(&mut self, head: &Head, now: u64) {
        let (kind, length) = (head.kind, head.length);
        self.last = kind;
        let flood = match kind {
            0x0 if length == 0 && !head.has(0x1) => Flood::EmptyData,
            0x0 => return,
            0x1 => {
                self.in_head = !head.has(0x4);
                self.requests = self.requests.saturating_add(1);
                self.block_bytes = length;
                return;
            }
            // With PRIORITY_UPDATE (RFC 9218, section 7.1).
            0x2 | 0x10 => Flood::Priority,
            0x3 => Flood::Reset,
            0x4 => Flood::Settings,
            0x6 => Flood::Ping,
            0x8 => Flood::WindowUpdate,
            0x9 => {
                self.in_head = self.in_head && !head.has(0x4);
                self.block_bytes = self.block_bytes.saturating_add(length);
                Flood::Continuation
            }
            _ => Flood::Unknown,
        };
        if !self.allowances[flood.index()].take(now) && self.found.is_none() {
            self.found = Some(flood);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same frame so many times within a moment.
    fn after(kind: u8, flags: u8, length: usize, times: usize) -> Floods {
        let mut floods = Floods::new(0);
        send(&mut floods, kind, flags, length, times, 0);
        floods
    }

    fn send(floods: &mut Floods, kind: u8, flags: u8, length: usize, times: usize, now: u64) {
        (0..times).for_each(|_| floods.frame(&Head { kind, flags, length, stream: 1 }, now));
    }

    #[test]
    fn each_flood_has_its_word() {
        for (flood, word) in [
            (Flood::Settings, "settings"),
            (Flood::WindowUpdate, "window_update"),
            (Flood::Reset, "rapid_reset"),
            (Flood::Unknown, "unknown"),
            (Flood::TinyData, "tiny_data"),
        ] {
            assert_eq!(flood.word(), word);
        }
        assert_eq!(Flood::TinyData.index() + 1, FLOODS.len());
    }

    #[test]
    fn each_kind_has_its_own_allowance() {
        for (kind, flags, length, most, flood) in [
            (0x4, 0, 6, 50, Flood::Settings),
            (0x6, 0, 8, 100, Flood::Ping),
            (0x2, 0, 5, 500, Flood::Priority),
            (0x10, 0, 5, 500, Flood::Priority),
            (0x8, 0, 4, 1000, Flood::WindowUpdate),
            (0x3, 0, 4, 200, Flood::Reset),
            (0x0, 0, 0, 100, Flood::EmptyData),
            (0x9, 0, 1, 64, Flood::Continuation),
            (0xee, 0, 3, 100, Flood::Unknown),
        ] {
            assert_eq!(after(kind, flags, length, most).found(), None, "{flood:?}");
            assert_eq!(after(kind, flags, length, most + 1).found(), Some(flood));
        }
    }

    #[test]
    fn work_is_no_flood() {
        for (kind, flags, length) in [(0x0, 0, 1), (0x0, 1, 0), (0x1, 0x5, 3)] {
            assert_eq!(after(kind, flags, length, 10_000).found(), None);
        }
    }

    #[test]
    fn what_time_and_work_earn_may_be_spent() {
        let mut floods = after(0x6, 0, 8, 100);
        send(&mut floods, 0x6, 0, 8, 20, 1000);
        assert_eq!(floods.found(), None);
        floods.sent(100);
        send(&mut floods, 0x6, 0, 8, 1, 1000);
        assert_eq!(floods.found(), None);
        send(&mut floods, 0x6, 0, 8, 1, 1000);
        assert_eq!(floods.found(), Some(Flood::Ping));
    }

    #[test]
    fn a_head_is_open_until_its_end_is_said() {
        assert!(after(0x1, 0x1, 3, 1).is_in_head());
        assert!(!after(0x1, 0x4, 3, 1).is_in_head());
        let mut floods = after(0x1, 0, 3, 1);
        send(&mut floods, 0x9, 0, 3, 1, 0);
        assert!(floods.is_in_head());
        send(&mut floods, 0x9, 0x4, 3, 1, 0);
        assert!(!floods.is_in_head());
    }
}
