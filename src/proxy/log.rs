//! The access log: one line for each request or TCP connection, put together when it has ended.
//!
//! What the request said is copied while its head is there ([`Line`]), as far as the listener's format wants it. A worker
//! collects lines in a buffer for each target and hands over whole buffers; it never waits (`log::sink`).

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::http::http1::Version;
use super::http::http1::answer::Answer;
use super::http::http1::request::{Request, path_of, query_of};
use super::outcome::Phase;
use crate::balance::rng::Rng;
use crate::config::model::Client;
use crate::log::escape::{self, Escape};
use crate::log::format::{Early, Format, Late, Piece, Span, TlsFact, Unit};
use crate::log::sink::Sink;
use crate::net::stream::Stream;
use crate::route::{Listener, Log};

/// A buffer is handed over when it has this many bytes, or once a second.
const FLUSH_AT: usize = 32 * 1024;

/// The writing end of the access logs, one for each worker.
#[derive(Debug)]
pub struct AccessLog {
    waiting: RefCell<Vec<Waiting>>,
    clock: Clock,
    rng: RefCell<Rng>,
}

/// Lines that were not handed over yet.
#[derive(Debug)]
struct Waiting {
    sink: Arc<Sink>,
    lines: Vec<u8>,
}

/// What was taken of a request, and later of its answer, for a line.
#[derive(Debug, Default)]
pub struct Line {
    asked: Texts,
    answered: RefCell<Texts>,
}

/// Texts one behind the other, escaped already.
#[derive(Debug, Default)]
struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// What is known when it has ended.
#[derive(Debug)]
pub struct Ended<'a> {
    /// The client.
    pub client: IpAddr,
    /// The pool.
    pub pool: &'a str,
    /// The backend, the last one tried.
    pub backend: &'a str,
    /// The status sent; 0 for TCP.
    pub status: u16,
    /// Bytes from the client.
    pub received: u64,
    /// Bytes to the client.
    pub sent: u64,
    /// Further attempts.
    pub retries: u8,
    /// Waiting for a backend.
    pub queued: Duration,
    /// Connecting; zero over an idle connection.
    pub connect: Duration,
    /// From the request sent to the answer's head.
    pub response: Duration,
    /// In all.
    pub total: Duration,
    /// Why it ended: `ok` or a cause.
    pub end: &'a str,
    /// How far it had come.
    pub phase: Phase,
}

impl Ended<'_> {
    /// The end of what was answered, or refused, without a pool.
    pub fn without_pool(client: IpAddr, status: u16, sent: u64, end: &str, phase: Phase) -> Ended<'_> {
        Ended {
            client,
            pool: "",
            backend: "",
            status,
            received: 0,
            sent,
            retries: 0,
            queued: Duration::ZERO,
            connect: Duration::ZERO,
            response: Duration::ZERO,
            total: Duration::ZERO,
            end,
            phase,
        }
    }
}

/// The word for an end without a cause.
pub const OK: &str = "ok";

// === impl Line ===

impl Line {
    /// Takes what the listener's log wants of a request, for which a backend is asked for `asked`; `None` where it has no
    /// log.
    #[inline]
    pub fn of(
        listener: &Listener,
        stream: &Stream,
        request: &Request<'_>,
        id: &[u8],
        asked: Option<&[u8]>,
    ) -> Option<Box<Self>> {
        listener.log.as_ref().map(|log| Box::new(Self::take(&log.config.format, stream, request, id, asked)))
    }

    /// The line of what is no request: of all that it could say of one, the name that a client of TLS asks for, and what
    /// was agreed on where TLS ends here.
    pub fn named(listener: &Listener, stream: Option<&Stream>, name: Option<&str>) -> Option<Box<Self>> {
        let format = &listener.log.as_ref()?.config.format;
        let mut asked = Texts::default();
        for early in &format.early {
            let fact = match early {
                Early::Host => name.unwrap_or_default().as_bytes(),
                Early::Tls(which) => stream.map_or(&b""[..], |stream| tls(stream, *which)),
                _ => b"",
            };
            asked.add(format.escape, |add| add(fact));
        }
        Some(Box::new(Self { asked, answered: RefCell::default() }))
    }

    fn take(format: &Format, stream: &Stream, request: &Request<'_>, id: &[u8], asked: Option<&[u8]>) -> Self {
        let mut taken = Texts::default();
        let target = asked.unwrap_or_default();
        for early in &format.early {
            taken.add(format.escape, |add| match early {
                Early::BackendTarget => add(target),
                Early::BackendPath => add(path_of(target)),
                _ => early_fact(early, stream, request, id, add),
            });
        }
        Self { asked: taken, answered: RefCell::default() }
    }

    /// Takes what the listener's log wants of an answer; the last one counts.
    pub fn answered(&self, listener: &Listener, answer: &Answer<'_>) {
        let Some(log) = listener.log.as_ref().filter(|log| !log.config.format.answer.is_empty()) else { return };
        let mut texts = Texts::default();
        for name in &log.config.format.answer {
            texts.add(log.config.format.escape, |add| add(answer.header(name).unwrap_or_default()));
        }
        self.answered.replace(texts);
    }
}

fn early_fact(early: &Early, stream: &Stream, request: &Request<'_>, id: &[u8], add: &mut dyn FnMut(&[u8])) {
    match early {
        Early::Method => add(request.method.as_bytes()),
        Early::Host => add(request.host.unwrap_or_default().as_bytes()),
        // As the client has written it, whatever is made of it.
        Early::Target => add(request.came.as_bytes()),
        Early::Path => add(path_of(request.came.as_bytes())),
        Early::Query => add(query_of(request.came.as_bytes())),
        // Not of the request: of what is made of it.
        Early::BackendTarget | Early::BackendPath => {}
        Early::Protocol => add(protocol(stream, request.version)),
        Early::Request => {
            add(request.method.as_bytes());
            add(b" ");
            add(request.came.as_bytes());
            add(b" ");
            add(protocol(stream, request.version));
        }
        Early::RequestId => add(id),
        Early::Tls(which) => add(tls(stream, *which)),
        Early::Header(name) => add(request.header(name).unwrap_or_default()),
        Early::Cookie(name) => add(request.cookie(name).unwrap_or_default()),
    }
}

fn tls(stream: &Stream, which: TlsFact) -> &[u8] {
    stream.tls().map_or("", |tls| tls.fact(which)).as_bytes()
}

/// A stream of HTTP/2 is dressed as a connection of HTTP/1.1.
fn protocol(stream: &Stream, version: Version) -> &'static [u8] {
    match version {
        _ if stream.is_carried() => b"HTTP/2.0",
        Version::Http10 => b"HTTP/1.0",
        Version::Http11 => b"HTTP/1.1",
    }
}

impl Texts {
    fn add(&mut self, escape: Escape, fact: impl FnOnce(&mut dyn FnMut(&[u8]))) {
        fact(&mut |part| escape::append(&mut self.bytes, part, escape));
        self.ends.push(self.bytes.len());
    }

    fn get(&self, at: usize) -> &[u8] {
        let begin = if at == 0 { 0 } else { self.ends.get(at - 1).copied().unwrap_or_default() };
        self.ends.get(at).and_then(|end| self.bytes.get(begin..*end)).unwrap_or_default()
    }
}

// === impl AccessLog ===

impl AccessLog {
    /// Nothing written yet. `seed` is for choosing samples.
    pub fn new(seed: u64) -> Self {
        Self { waiting: RefCell::default(), clock: Clock::default(), rng: RefCell::new(Rng::seeded(seed)) }
    }

    /// Writes one line into the log of a listener, where it has one and this line is not left out.
    pub fn write(&self, listener: &Listener, line: &Line, ended: &Ended<'_>) {
        let Some(log) = &listener.log else { return };
        if self.is_left_out(log, ended) {
            return;
        }
        let mut waiting = self.waiting.borrow_mut();
        let at = waiting.iter().position(|it| Arc::ptr_eq(&it.sink, &log.sink)).unwrap_or_else(|| {
            waiting.push(Waiting { sink: Arc::clone(&log.sink), lines: Vec::with_capacity(FLUSH_AT + 1024) });
            waiting.len() - 1
        });
        let lines = &mut waiting[at].lines;
        self.clock.look();
        if let Some(head) = log.sink.head() {
            lines.extend_from_slice(&head.before);
            self.clock.time(lines);
            lines.extend_from_slice(&head.behind);
        }
        for piece in &log.config.format.pieces {
            match piece {
                Piece::Text(text) => lines.extend_from_slice(text.as_bytes()),
                Piece::Early(at) => text(lines, &log.config.format, line.asked.get(*at)),
                Piece::Answer(at) => text(lines, &log.config.format, line.answered.borrow().get(*at)),
                Piece::Late(late) => self.late(lines, *late, listener, log, ended),
            }
        }
        lines.push(b'\n');
        if lines.len() >= FLUSH_AT {
            let full = std::mem::replace(lines, Vec::with_capacity(FLUSH_AT + 1024));
            log.sink.hand_over(full);
        }
    }

    /// Of lines that tell of nothing amiss, a share may be all that is wanted.
    fn is_left_out(&self, log: &Log, ended: &Ended<'_>) -> bool {
        let Some(share) = log.config.sample else { return false };
        ended.phase == Phase::Done
            && ended.status < 400
            && (self.rng.borrow_mut().next_u64() >> 40) as f32 / (1 << 24) as f32 >= share
    }

    fn late(&self, out: &mut Vec<u8>, late: Late, listener: &Listener, log: &Log, ended: &Ended<'_>) {
        let format = &log.config.format;
        match late {
            Late::Time => self.clock.time(out),
            Late::TimeCommon => self.clock.time_common(out),
            Late::TimeUnix => self.clock.time_unix(out),
            Late::Listener => text(out, format, listener.config.name.as_bytes()),
            Late::Client => {
                use std::io::Write as _;
                // Writing to a vector cannot fail.
                let _ = write!(out, "{}", Client(ended.client));
            }
            Late::Pool => text(out, format, ended.pool.as_bytes()),
            Late::Backend => {
                let from = out.len();
                escape::append(out, ended.backend.as_bytes(), format.escape);
                if out.len() == from {
                    text(out, format, b"");
                }
            }
            Late::Status => number(out, ended.status.into()),
            Late::ReceivedBytes => number(out, ended.received),
            Late::SentBytes => number(out, ended.sent),
            // What never got as far as a backend was not tried.
            Late::Tries => number(out, if ended.backend.is_empty() { 0 } else { u64::from(ended.retries) + 1 }),
            Late::Retries => number(out, ended.retries.into()),
            Late::Lasted(span, unit) => {
                let span = match span {
                    Span::Queued => ended.queued,
                    Span::Connect => ended.connect,
                    Span::Response => ended.response,
                    Span::Total => ended.total,
                };
                let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
                match unit {
                    Unit::Seconds => fraction(out, micros, 6),
                    Unit::Millis => fraction(out, micros, 3),
                }
            }
            Late::End => out.extend_from_slice(ended.end.as_bytes()),
            Late::Phase => out.extend_from_slice(ended.phase.word().as_bytes()),
        }
    }

    /// Hands over what is there, and lets go of targets that nobody has written to since the last time.
    pub fn flush(&self) {
        self.waiting.borrow_mut().retain_mut(|waiting| {
            if waiting.lines.is_empty() {
                return false;
            }
            waiting.sink.hand_over(std::mem::take(&mut waiting.lines));
            true
        });
    }
}

/// A text that is escaped already; a hyphen for nothing, where quotes do not show that there is nothing.
fn text(out: &mut Vec<u8>, format: &Format, bytes: &[u8]) {
    match (bytes, format.escape) {
        ([], Escape::Text) => out.push(b'-'),
        _ => out.extend_from_slice(bytes),
    }
}

fn number(out: &mut Vec<u8>, number: u64) {
    digits(out, number, 1);
}

/// `number` with its last `decimals` digits behind a point.
fn fraction(out: &mut Vec<u8>, number: u64, decimals: usize) {
    digits(out, number, decimals + 1);
    out.insert(out.len() - decimals, b'.');
}

/// In at least so many digits.
fn digits(out: &mut Vec<u8>, mut number: u64, least: usize) {
    let mut room = [b'0'; 20];
    let mut at = room.len();
    while number > 0 || room.len() - at < least {
        at -= 1;
        room[at] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&room[at..]);
}

/// The time, with what is the same for all lines of a second kept in writing.
#[derive(Debug)]
struct Clock {
    now: Cell<Timestamp>,
    second: Cell<i64>,
    /// `2026-11-21T19:40:31.`
    written: RefCell<String>,
    /// `21/Nov/2026:19:40:31 +0000`
    common: RefCell<String>,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            now: Cell::default(),
            second: Cell::new(i64::MIN),
            written: RefCell::default(),
            common: RefCell::default(),
        }
    }
}

impl Clock {
    /// What time it is now.
    fn look(&self) {
        let now = Timestamp::now();
        self.now.set(now);
        if self.second.replace(now.as_second()) != now.as_second() {
            *self.written.borrow_mut() = now.strftime("%Y-%m-%dT%H:%M:%S.").to_string();
            *self.common.borrow_mut() = now.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string();
        }
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.now.get().subsec_microsecond()).unwrap_or_default()
    }

    fn time(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.written.borrow().as_bytes());
        digits(out, self.micros(), 6);
        out.push(b'Z');
    }

    fn time_common(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.common.borrow().as_bytes());
    }

    fn time_unix(&self, out: &mut Vec<u8>) {
        number(out, u64::try_from(self.now.get().as_second()).unwrap_or_default());
        out.push(b'.');
        digits(out, self.micros(), 6);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_with_the_decimals_they_have() {
        for (micros, decimals, written) in [
            (0, 6, "0.000000"),
            (1, 6, "0.000001"),
            (1_234_567, 6, "1.234567"),
            (12, 3, "0.012"),
            (99_999, 3, "99.999"),
        ] {
            let mut out = b"x".to_vec();
            fraction(&mut out, micros, decimals);
            assert_eq!(String::from_utf8(out).unwrap(), format!("x{written}"));
        }
        let mut out = Vec::new();
        number(&mut out, u64::MAX);
        number(&mut out, 0);
        assert_eq!(out, b"184467440737095516150");
    }

    #[test]
    fn the_time_is_written_in_three_ways() {
        let clock = Clock::default();
        clock.look();
        let (mut time, mut common, mut unix) = (Vec::new(), Vec::new(), Vec::new());
        clock.time(&mut time);
        clock.time_common(&mut common);
        clock.time_unix(&mut unix);
        let read: Timestamp = String::from_utf8(time).unwrap().parse().unwrap();
        assert_eq!(read.as_microsecond(), clock.now.get().as_microsecond());
        let form =
            |line: &[u8]| line.iter().map(|byte| if byte.is_ascii_digit() { '9' } else { *byte as char }).collect();
        let common: String = form(&common);
        assert!(common.starts_with("99/") && common.ends_with("/9999:99:99:99 +9999"), "{common}");
        let unix: String = form(&unix);
        assert_eq!(unix, "9999999999.999999");
    }
}
