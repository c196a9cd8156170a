//! A connection on which one exchange follows the other: HTTP/1.1, TCP, or nothing but TLS.

use std::io::{self, ErrorKind};
use std::time::Instant;

use memchr::memmem;

use super::wire::Wire;
use super::{Ended, Plan};
use crate::work::{BULK, Connection, Exchange};

#[derive(Default)]
pub struct Single {
    state: State,
    /// When the exchange under way was due.
    due: Option<Instant>,
    /// Bytes of the question that are sent.
    sent: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    #[default]
    Idle,
    /// No byte of the answer yet.
    Waiting,
    /// So many bytes of the answer are still to come.
    Reading(usize),
    /// The answer is whole; the other side's end is awaited.
    Ending,
}

impl Single {
    pub fn ask(&mut self, due: Instant) {
        *self = Self { state: State::Waiting, due: Some(due), sent: 0 };
    }

    /// Exchanges under way, which are lost when the connection is.
    pub fn under_way(&self) -> u64 {
        u64::from(self.due.is_some())
    }

    pub fn send(&mut self, wire: &mut Wire, plan: &Plan) -> io::Result<()> {
        if self.state != State::Waiting {
            return Ok(());
        }
        if plan.exchange == Exchange::Handshake {
            self.state = State::Ending;
            return wire.close();
        }
        while self.sent < plan.question.len() {
            match wire.write(&plan.question[self.sent..])? {
                0 => return Ok(()),
                length => self.sent += length,
            }
        }
        Ok(())
    }

    pub fn receive(
        &mut self,
        wire: &mut Wire,
        plan: &Plan,
        scratch: &mut [u8],
        ended: &mut Vec<Instant>,
    ) -> io::Result<Ended> {
        while self.state != State::Idle {
            let length = match wire.read(scratch) {
                Ok(0) if self.state == State::Ending => {
                    self.finish(ended);
                    return Ok(Ended::Connection);
                }
                // Who has closed does not always read what still comes, which the system then says by a reset.
                Err(error) if self.state == State::Ending && error.kind() == ErrorKind::ConnectionReset => {
                    self.finish(ended);
                    return Ok(Ended::Connection);
                }
                Ok(0) => {
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, format!("the end while {:?}", self.state)));
                }
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Ended::Nothing),
                Err(error) => return Err(error),
            };
            let whole = match self.state {
                State::Waiting => answer_length(plan.exchange, &scratch[..length])?,
                State::Reading(left) => left,
                other => return Err(io::Error::other(format!("bytes while {other:?}"))),
            };
            let left = whole.checked_sub(length).ok_or_else(|| io::Error::other("more bytes than announced"))?;
            self.state = State::Reading(left);
            if left == 0 {
                if plan.connection == Connection::Kept {
                    self.finish(ended);
                    return Ok(Ended::Exchange);
                }
                self.state = State::Ending;
            }
        }
        Ok(Ended::Nothing)
    }

    fn finish(&mut self, ended: &mut Vec<Instant>) {
        self.state = State::Idle;
        ended.extend(self.due.take());
    }
}

/// How long the whole answer is whose first bytes these are. Heads arrive in one piece here.
fn answer_length(exchange: Exchange, bytes: &[u8]) -> io::Result<usize> {
    match exchange {
        Exchange::Echo(length) => return Ok(length),
        Exchange::Bulk => return Ok(BULK),
        Exchange::Handshake => return Err(io::Error::other("bytes to a handshake")),
        Exchange::Get(_) | Exchange::Post(_) => {}
    }
    if !bytes.starts_with(b"HTTP/1.1 200") {
        let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
        return Err(io::Error::other(format!("answer {:?}", String::from_utf8_lossy(line))));
    }
    let end = memmem::find(bytes, b"\r\n\r\n").ok_or_else(|| io::Error::other("a head in pieces"))?;
    let head = std::str::from_utf8(&bytes[..end]).map_err(io::Error::other)?;
    let length = head
        .split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .ok_or_else(|| io::Error::other("no Content-Length"))?;
    Ok(end + 4 + length)
}
