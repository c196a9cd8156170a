//! The load: one thread, keep-alive or new connections, at full speed or at a fixed rate.
//!
//! At a fixed rate, an exchange's time counts from the moment at which it was due, not from when a connection was free
//! for it: a peer that stalls cannot hide the wait (no coordinated omission).

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use memchr::memmem;
use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::os::fd::{AsRawFd, OwnedFd};

use crate::work::{Connection, Exchange, Kind};

/// How fast the load goes.
#[derive(Clone, Copy)]
pub enum Pace {
    /// Every connection asks again at once.
    Full,
    /// So many exchanges a second in all.
    PerSecond(f64),
}

/// What came of a stretch of load.
#[derive(Default, Clone)]
pub struct Counts {
    pub done: u64,
    pub failed: u64,
    pub seconds: f64,
    pub latency: Histogram,
    /// The first failure, for people.
    pub failure: Option<String>,
}

/// Load on one address.
pub struct Load {
    address: SocketAddr,
    exchange: Exchange,
    connection: Connection,
    pace: Pace,
    question: Vec<u8>,
    poll: Poll,
    timer: OwnedFd,
    clients: Vec<Client>,
    idle: Vec<usize>,
    due: Instant,
    scratch: Vec<u8>,
    counts: Counts,
}

struct Client {
    stream: Option<TcpStream>,
    state: State,
    /// When the exchange under way was due.
    due: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Idle,
    Connecting,
    /// No byte of the answer yet.
    Waiting,
    /// So many bytes of the answer are still to come.
    Reading(usize),
    /// The answer is whole; the other side's end is awaited.
    Ending,
}

const TIMER: Token = Token(usize::MAX);

/// How often due exchanges are looked for when nothing else happens.
const TICK_NANOS: i64 = 100_000;

impl Load {
    pub fn new(kind: &Kind, address: SocketAddr, host: &str, pace: Pace) -> io::Result<Self> {
        let poll = Poll::new()?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
        if matches!(pace, Pace::PerSecond(_)) {
            let tick = Timespec { tv_sec: 0, tv_nsec: TICK_NANOS };
            timerfd_settime(&timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: tick, it_value: tick })?;
            poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        }
        let now = Instant::now();
        let clients = (0..kind.connections).map(|_| Client { stream: None, state: State::Idle, due: now }).collect();
        Ok(Self {
            address,
            exchange: kind.exchange,
            connection: kind.connection,
            pace,
            question: kind.exchange.question(host, kind.connection),
            poll,
            timer,
            clients,
            idle: (0..kind.connections).collect(),
            due: now,
            scratch: vec![0; 256 * 1024],
            counts: Counts::default(),
        })
    }

    /// Goes on for `time` and gives what ended in it. Exchanges under way at the end go on in the next stretch.
    pub fn run(&mut self, time: Duration) -> io::Result<Counts> {
        self.run_until(time, || false)
    }

    /// Goes on for `time`, or until `stop` says so.
    pub fn run_until(&mut self, time: Duration, mut stop: impl FnMut() -> bool) -> io::Result<Counts> {
        self.counts = Counts::default();
        let start = Instant::now();
        self.due = start;
        let mut events = Events::with_capacity(256);
        loop {
            let now = Instant::now();
            if now - start >= time || stop() {
                self.counts.seconds = (now - start).as_secs_f64();
                return Ok(std::mem::take(&mut self.counts));
            }
            self.ask(now);
            self.poll.poll(&mut events, Some(Duration::from_millis(10)))?;
            for event in &events {
                match event.token() {
                    TIMER => drop(rustix::io::read(&self.timer, &mut [0; 8])),
                    Token(client) => self.turn(client),
                }
            }
        }
    }

    /// Starts what is due.
    fn ask(&mut self, now: Instant) {
        while let Some(client) = self.idle.pop() {
            let due = match self.pace {
                Pace::Full => now,
                Pace::PerSecond(_) if self.due > now => {
                    self.idle.push(client);
                    return;
                }
                Pace::PerSecond(rate) => {
                    let due = self.due;
                    self.due += Duration::from_secs_f64(1.0 / rate);
                    due
                }
            };
            self.clients[client].due = due;
            if let Err(error) = self.start(client) {
                self.fail(client, &error);
                return;
            }
        }
    }

    fn start(&mut self, at: usize) -> io::Result<()> {
        let client = &mut self.clients[at];
        if let Some(stream) = &mut client.stream {
            client.state = State::Waiting;
            return stream.write_all(&self.question);
        }
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        self.poll.registry().register(&mut stream, Token(at), Interest::READABLE | Interest::WRITABLE)?;
        client.stream = Some(stream);
        client.state = State::Connecting;
        Ok(())
    }

    fn turn(&mut self, at: usize) {
        if let Err(error) = self.advance(at) {
            self.fail(at, &error);
        }
    }

    fn advance(&mut self, at: usize) -> io::Result<()> {
        let client = &mut self.clients[at];
        let Some(stream) = &mut client.stream else { return Ok(()) };
        if client.state == State::Connecting {
            if let Some(error) = stream.take_error()? {
                return Err(error);
            }
            match stream.write(&self.question) {
                Ok(_) => client.state = State::Waiting,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        while client.state != State::Idle {
            let length = match stream.read(&mut self.scratch) {
                Ok(0) if client.state == State::Ending => {
                    client.stream = None;
                    self.finish(at);
                    return Ok(());
                }
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let whole = match client.state {
                State::Waiting => answer_length(self.exchange, &self.scratch[..length])?,
                State::Reading(left) => left,
                other => return Err(io::Error::other(format!("bytes while {other:?}"))),
            };
            let left = whole.checked_sub(length).ok_or_else(|| io::Error::other("more bytes than announced"))?;
            client.state = State::Reading(left);
            if left == 0 {
                if self.connection == Connection::Kept {
                    self.finish(at);
                    return Ok(());
                }
                client.state = State::Ending;
            }
        }
        Ok(())
    }

    fn finish(&mut self, at: usize) {
        let client = &mut self.clients[at];
        client.state = State::Idle;
        self.counts.done += 1;
        self.counts.latency.add(client.due.elapsed());
        self.idle.push(at);
    }

    fn fail(&mut self, at: usize, error: &io::Error) {
        let client = &mut self.clients[at];
        let state = client.state;
        client.stream = None;
        client.state = State::Idle;
        self.counts.failed += 1;
        self.counts.failure.get_or_insert_with(|| format!("{error} while {state:?}"));
        self.idle.push(at);
    }
}

/// How long the whole answer is whose first bytes these are. Heads arrive in one piece here.
fn answer_length(exchange: Exchange, bytes: &[u8]) -> io::Result<usize> {
    let Exchange::Get(_) = exchange else {
        let Exchange::Echo(length) = exchange else { unreachable!("the other one was excluded") };
        return Ok(length);
    };
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

/// Times in buckets that are 6 % wide.
#[derive(Clone)]
pub struct Histogram(Vec<u64>);

impl Default for Histogram {
    fn default() -> Self {
        Self(vec![0; 64 * 16])
    }
}

impl Histogram {
    fn add(&mut self, time: Duration) {
        let nanos = (time.as_nanos() as u64).max(16);
        let power = nanos.ilog2();
        let within = (nanos >> (power - 4)) & 15;
        self.0[(power as usize) * 16 + within as usize] += 1;
    }

    /// The time in microseconds that this share of all stays below.
    pub fn micros(&self, share: f64) -> f64 {
        let goal = (self.0.iter().sum::<u64>() as f64 * share) as u64;
        let mut seen = 0;
        for (at, count) in self.0.iter().enumerate() {
            seen += count;
            if seen > goal {
                let (power, within) = (at / 16, at % 16);
                return (16 + within + 1) as f64 * 2_f64.powi(power as i32 - 4) / 1_000.0;
            }
        }
        0.0
    }
}
