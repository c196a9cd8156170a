//! A connection of HTTP/2 (RFC 9113) with several streams at once, written by hand to cost little.
//!
//! It asks the same again and again: the first question puts its fields into the peer's table (RFC 7541, section 6.2.1),
//! all others name their places there. Of an answer it looks at the status and at the end.

use std::io::{self, ErrorKind};
use std::time::Instant;

use super::Ended;
use super::wire::Wire;

#[derive(Default)]
pub struct Streams {
    /// Number of the next stream; 0 before anything was sent.
    next: u32,
    /// Streams under way, and when they were due.
    open: Vec<(u32, Instant)>,
    /// Bytes that are still to be sent.
    out: Vec<u8>,
    /// Bytes of a frame that is not whole.
    partial: Vec<u8>,
    /// Bytes of a frame's payload that nobody wants.
    skip: usize,
}

const HEAD: usize = 9;
/// Longest frame that is looked at, the default of `SETTINGS_MAX_FRAME_SIZE`.
const FRAME_MAX: usize = 16 << 10;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_STREAM_AND_HEADERS: u8 = 5;

/// The largest window there is: a stretch of load never uses it up, so that none is ever given back.
const WINDOW_MAX: u32 = (1 << 31) - 1;
/// What a connection's window is at first.
const WINDOW_FIRST: u32 = 65_535;

impl Streams {
    /// Asks for `path` of `host`.
    pub fn ask(&mut self, due: Instant, host: &str, path: &str) {
        let fields = if self.next == 0 {
            self.next = 1;
            self.preface();
            first_fields(host, path)
        } else {
            // GET and https of the static table, then the four of `first_fields`, the last one first.
            vec![0x82, 0x87, 0xc1, 0xc0, 0xbf, 0xbe]
        };
        self.frame(HEADERS, END_STREAM_AND_HEADERS, self.next, &fields);
        self.open.push((self.next, due));
        self.next += 2;
    }

    pub fn under_way(&self) -> u64 {
        self.open.len() as u64
    }

    pub fn send(&mut self, wire: &mut Wire) -> io::Result<()> {
        while !self.out.is_empty() {
            match wire.write(&self.out)? {
                0 => return Ok(()),
                length => drop(self.out.drain(..length)),
            }
        }
        Ok(())
    }

    pub fn receive(&mut self, wire: &mut Wire, scratch: &mut [u8], ended: &mut Vec<Instant>) -> io::Result<Ended> {
        let before = ended.len();
        loop {
            match wire.read(scratch) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.take(&scratch[..length], ended)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.send(wire)?;
        Ok(if ended.len() > before { Ended::Exchange } else { Ended::Nothing })
    }

    fn preface(&mut self) {
        self.out.extend_from_slice(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        // SETTINGS_ENABLE_PUSH = 0, SETTINGS_INITIAL_WINDOW_SIZE = the most.
        let mut settings = vec![0, 2, 0, 0, 0, 0, 0, 4];
        settings.extend_from_slice(&WINDOW_MAX.to_be_bytes());
        self.frame(SETTINGS, 0, 0, &settings);
        self.frame(WINDOW_UPDATE, 0, 0, &(WINDOW_MAX - WINDOW_FIRST).to_be_bytes());
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
        self.out.extend_from_slice(&[kind, flags]);
        self.out.extend_from_slice(&stream.to_be_bytes());
        self.out.extend_from_slice(payload);
    }

    /// Looks at all frames that are whole now.
    fn take(&mut self, bytes: &[u8], ended: &mut Vec<Instant>) -> io::Result<()> {
        let whole;
        let mut rest = if self.partial.is_empty() {
            bytes
        } else {
            whole = [std::mem::take(&mut self.partial).as_slice(), bytes].concat();
            whole.as_slice()
        };
        loop {
            let skipped = self.skip.min(rest.len());
            self.skip -= skipped;
            rest = &rest[skipped..];
            let Some((head, after)) = rest.split_first_chunk::<HEAD>() else { break };
            let [high, middle, low, kind, flags, stream @ ..] = *head;
            let length = u32::from_be_bytes([0, high, middle, low]) as usize;
            let stream = u32::from_be_bytes(stream) & WINDOW_MAX;
            if kind == DATA {
                self.skip = length;
                rest = after;
                if flags & END_STREAM != 0 {
                    self.end(stream, ended)?;
                }
                continue;
            }
            if length > FRAME_MAX {
                return Err(io::Error::other(format!("a frame of {length} bytes")));
            }
            let Some((payload, after)) = after.split_at_checked(length) else { break };
            rest = after;
            self.control(kind, flags, stream, payload, ended)?;
        }
        self.partial.extend_from_slice(rest);
        Ok(())
    }

    fn control(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
        ended: &mut Vec<Instant>,
    ) -> io::Result<()> {
        match kind {
            HEADERS => {
                // The table's size may be said before; then comes the status, which for 200 stands in the static table.
                let status = payload.iter().find(|byte| **byte & 0xe0 != 0x20);
                if status != Some(&0x88) {
                    return Err(io::Error::other(format!("an answer that begins with {status:x?}, not with 200")));
                }
                if flags & END_STREAM != 0 {
                    self.end(stream, ended)?;
                }
            }
            SETTINGS if flags & ACK == 0 => self.frame(SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 => self.frame(PING, ACK, 0, payload),
            RST_STREAM => return Err(io::Error::other(format!("stream {stream} was reset: {payload:?}"))),
            GOAWAY => return Err(io::Error::other(format!("GOAWAY: {}", String::from_utf8_lossy(payload)))),
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, stream: u32, ended: &mut Vec<Instant>) -> io::Result<()> {
        let at = self.open.iter().position(|(open, _)| *open == stream);
        let at = at.ok_or_else(|| io::Error::other(format!("the end of stream {stream}, which nobody opened")))?;
        ended.push(self.open.swap_remove(at).1);
        Ok(())
    }
}

/// The fields of a question that the other side does not know yet, put into its table one after the other:
/// the places of `:path`, `:authority`, `user-agent` and `accept` in the static table (4, 1, 58, 19), with 0x40.
fn first_fields(host: &str, path: &str) -> Vec<u8> {
    let mut fields = vec![0x82, 0x87];
    for (name, value) in [(0x44, path), (0x41, host), (0x7a, "bench"), (0x53, "*/*")] {
        fields.push(name);
        // Shorter than 127 bytes: the length is one byte, and there is no Huffman code.
        fields.push(value.len() as u8);
        fields.extend_from_slice(value.as_bytes());
    }
    fields
}
