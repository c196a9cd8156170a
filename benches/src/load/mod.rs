//! The load: one thread, keep-alive or new connections, at full speed or at a fixed rate.
//!
//! At a fixed rate, an exchange's time counts from the moment at which it was due, not from when a connection was free
//! for it: a peer that stalls cannot hide the wait (no coordinated omission).

mod histogram;
mod single;
mod streams;
mod wire;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use rustls::{ClientConfig, HandshakeKind};

use crate::tls::{self, Alpn, Sessions};
use crate::work::{Connection, Dress, Exchange, Kind, Speech};
use histogram::Histogram;
use single::Single;
use streams::Streams;
use wire::{Stand, Wire};

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
    /// Full handshakes where an earlier session was to be taken up.
    pub full_handshakes: u64,
    pub seconds: f64,
    pub latency: Histogram,
    /// The first failure, for people.
    pub failure: Option<String>,
}

/// Load on one address.
pub struct Load {
    address: SocketAddr,
    plan: Plan,
    pace: Pace,
    poll: Poll,
    timer: OwnedFd,
    clients: Vec<Client>,
    /// Connections that may be asked on, once for each exchange that they can take; the one that has waited longest is next.
    idle: VecDeque<usize>,
    /// Connections that have something to send.
    touched: Vec<usize>,
    due: Instant,
    scratch: Vec<u8>,
    ended: Vec<Instant>,
    counts: Counts,
}

/// What is asked, and how.
pub struct Plan {
    exchange: Exchange,
    connection: Connection,
    dress: Dress,
    tls: Option<Arc<ClientConfig>>,
    host: String,
    question: Vec<u8>,
}

/// What a turn of a connection has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Nothing,
    Exchange,
    /// The exchange, and the connection with it.
    Connection,
}

struct Client {
    wire: Option<Wire>,
    stands: bool,
    talk: Talk,
}

enum Talk {
    Single(Single),
    Streams(Streams),
}

const TIMER: Token = Token(usize::MAX);

/// How often due exchanges are looked for when nothing else happens.
const TICK_NANOS: i64 = 100_000;

/// Longest time until all connections stand.
const WARM_MAX: Duration = Duration::from_secs(2);

impl Load {
    pub fn new(kind: &Kind, address: SocketAddr, host: &str, pace: Pace) -> io::Result<Self> {
        let poll = Poll::new()?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
        if matches!(pace, Pace::PerSecond(_)) {
            let tick = Timespec { tv_sec: 0, tv_nsec: TICK_NANOS };
            timerfd_settime(&timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: tick, it_value: tick })?;
            poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        }
        let at_once = if let Speech::Streams(streams) = kind.speech { streams } else { 1 };
        Ok(Self {
            address,
            plan: Plan::of(kind, host),
            pace,
            poll,
            timer,
            clients: (0..kind.connections).map(|_| Client::new(kind.speech)).collect(),
            idle: (0..at_once).flat_map(|_| 0..kind.connections).collect(),
            touched: Vec::new(),
            due: Instant::now(),
            scratch: vec![0; 256 * 1024],
            ended: Vec::new(),
            counts: Counts::default(),
        })
    }

    /// One exchange on every connection, so that all of them stand; then `time` at the pace of the load.
    pub fn warm(&mut self, time: Duration) -> io::Result<Counts> {
        let pace = std::mem::replace(&mut self.pace, Pace::Full);
        let all = self.idle.len();
        self.ask(Instant::now());
        let start = Instant::now();
        let mut events = Events::with_capacity(256);
        while self.idle.len() < all && start.elapsed() < WARM_MAX {
            self.events(&mut events)?;
        }
        self.pace = pace;
        self.run(time)
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
            self.events(&mut events)?;
        }
    }

    /// Waits a little, and does what there is to do.
    fn events(&mut self, events: &mut Events) -> io::Result<()> {
        self.poll.poll(events, Some(Duration::from_millis(10)))?;
        for event in &*events {
            match event.token() {
                TIMER => drop(rustix::io::read(&self.timer, &mut [0; 8])),
                Token(client) => self.turn(client),
            }
        }
        Ok(())
    }

    /// Starts what is due.
    fn ask(&mut self, now: Instant) {
        while let Some(at) = self.idle.pop_front() {
            let due = match self.pace {
                Pace::Full => now,
                Pace::PerSecond(_) if self.due > now => {
                    self.idle.push_front(at);
                    break;
                }
                Pace::PerSecond(rate) => {
                    let due = self.due;
                    self.due += Duration::from_secs_f64(1.0 / rate);
                    due
                }
            };
            self.clients[at].talk.ask(due, &self.plan);
            if let Err(error) = self.connect(at) {
                self.fail(at, &error);
                break;
            }
            self.touched.push(at);
        }
        for at in std::mem::take(&mut self.touched) {
            let client = &mut self.clients[at];
            if let Some(wire) = client.wire.as_mut().filter(|_| client.stands)
                && let Err(error) = client.talk.send(wire, &self.plan)
            {
                self.fail(at, &error);
            }
        }
    }

    fn connect(&mut self, at: usize) -> io::Result<()> {
        let client = &mut self.clients[at];
        if client.wire.is_none() {
            let tls = self.plan.tls.as_ref();
            client.wire = Some(Wire::connect(self.address, tls, self.poll.registry(), Token(at))?);
            client.stands = false;
        }
        Ok(())
    }

    fn turn(&mut self, at: usize) {
        let end = self.advance(at);
        for due in self.ended.drain(..) {
            self.counts.done += 1;
            self.counts.latency.add(due.elapsed());
            self.idle.push_back(at);
        }
        match end {
            Ok(Ended::Connection) => self.clients[at].wire = None,
            Ok(_) => {}
            Err(error) => self.fail(at, &error),
        }
    }

    fn advance(&mut self, at: usize) -> io::Result<Ended> {
        let Client { wire: Some(wire), stands, talk } = &mut self.clients[at] else { return Ok(Ended::Nothing) };
        if !*stands {
            let Stand::Standing(handshake) = wire.establish()? else { return Ok(Ended::Nothing) };
            *stands = true;
            if self.plan.dress == Dress::Resumed && handshake != Some(HandshakeKind::Resumed) {
                self.counts.full_handshakes += 1;
            }
        }
        talk.send(wire, &self.plan)?;
        match talk {
            Talk::Single(single) => single.receive(wire, &self.plan, &mut self.scratch, &mut self.ended),
            Talk::Streams(streams) => streams.receive(wire, &mut self.scratch, &mut self.ended),
        }
    }

    fn fail(&mut self, at: usize, error: &io::Error) {
        let client = &mut self.clients[at];
        let lost = client.talk.under_way();
        let state = if client.stands { "asking" } else { "connecting" };
        client.wire = None;
        client.talk = client.talk.renewed();
        self.counts.failed += lost;
        if lost > 0 {
            self.counts.failure.get_or_insert_with(|| format!("{error} while {state}"));
        }
        self.idle.extend((0..lost).map(|_| at));
    }
}

// === impl Plan ===

impl Plan {
    fn of(kind: &Kind, host: &str) -> Self {
        let alpn = if matches!(kind.speech, Speech::Streams(_)) { Alpn::Http2 } else { Alpn::Http1 };
        let tls = match kind.dress {
            Dress::Plain => None,
            Dress::Tls => Some(tls::client(alpn, Sessions::Fresh)),
            Dress::Resumed => Some(tls::client(alpn, Sessions::Resumed)),
        };
        Self {
            exchange: kind.exchange,
            connection: kind.connection,
            dress: kind.dress,
            tls,
            host: host.to_owned(),
            question: kind.exchange.question(host, kind.connection),
        }
    }
}

// === impl Client ===

impl Client {
    fn new(speech: Speech) -> Self {
        let talk = match speech {
            Speech::OneAtATime => Talk::Single(Single::default()),
            Speech::Streams(_) => Talk::Streams(Streams::default()),
        };
        Self { wire: None, stands: false, talk }
    }
}

impl Talk {
    fn ask(&mut self, due: Instant, plan: &Plan) {
        match (self, plan.exchange) {
            (Self::Single(single), _) => single.ask(due),
            (Self::Streams(streams), Exchange::Get(path)) => streams.ask(due, &plan.host, path),
            (Self::Streams(_), other) => unreachable!("streams ask by GET, not {other:?}"),
        }
    }

    fn send(&mut self, wire: &mut Wire, plan: &Plan) -> io::Result<()> {
        match self {
            Self::Single(single) => single.send(wire, plan),
            Self::Streams(streams) => streams.send(wire),
        }
    }

    fn under_way(&self) -> u64 {
        match self {
            Self::Single(single) => single.under_way(),
            Self::Streams(streams) => streams.under_way(),
        }
    }

    fn renewed(&self) -> Self {
        match self {
            Self::Single(_) => Self::Single(Single::default()),
            Self::Streams(_) => Self::Streams(Streams::default()),
        }
    }
}
