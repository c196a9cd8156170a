//! Getting to a backend: waiting for one that may serve, and connecting to it.

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;

use super::outcome::Cause;
use super::worker::{Prospect, View, Worker};
use crate::config::model::{HttpVersion, Reads};
use crate::health::Mode;
use crate::net::buffer::{Buffer, SMALL, Size};
use crate::net::connect;
use crate::net::fault;
use crate::net::introduction::Introduction;
use crate::net::stream::Stream;
use crate::net::transport::Transport;
use crate::net::wheel::Timer;
use crate::pool::{Ask, Backend, Displaced, Dress, Lease, Pool, Seat, Symptom, Turn, Waiting, Wanted};

/// While backends have no verdict yet (the program has just started), a request waits this long for one even where
/// `hold` is zero: the first probes take milliseconds.
const FIRST_VERDICT: Duration = Duration::from_secs(2);
/// Attempts in all, for work that may wait for backends which come and go.
const MAX_RETRIES: u8 = 16;
/// A held request tries the same backends again after this long, unless a verdict comes first.
const AGAIN: Duration = Duration::from_millis(200);
/// A connect that takes longer than this, and than four times the backend's usual, is tried elsewhere.
const SLOW_CONNECT: Duration = Duration::from_millis(300);
/// The same of a TLS handshake.
const SLOW_HANDSHAKE: Duration = Duration::from_secs(1);
/// A backend that has been silent for this long, or for four times its usual, is looked at by a probe.
pub const SUSPICIOUS_SILENCE: Duration = Duration::from_millis(150);

/// The backends that a request has been at, by the numbers of their slots. In place: every request has one.
#[derive(Debug, Default)]
pub struct Tried {
    slots: [u32; Self::MAX],
    count: usize,
    all: bool,
    /// Nobody is tried before what may serve has changed from this [`Pool::version`]; 0, which no lease has: no matter.
    as_of: u64,
}

impl Tried {
    /// `retry.attempts` is 10 at most, and the first attempt comes before them.
    const MAX: usize = 11;

    /// One more.
    #[inline]
    pub fn push(&mut self, slot: u32) {
        if let Some(place) = self.slots.get_mut(self.count) {
            *place = slot;
            self.count += 1;
        }
    }

    /// Whether no more can be remembered.
    pub fn is_full(&self) -> bool {
        self.count == Self::MAX
    }

    /// As if all that may serve now had been tried.
    pub fn give_up(&mut self) {
        self.all = true;
    }

    /// The same, until there is another verdict than the one by which this lease was given.
    pub fn await_verdict(&mut self, lease: &Lease) {
        self.all = true;
        self.as_of = lease.version();
    }

    /// A new round.
    pub fn clear(&mut self) {
        self.count = 0;
        self.all = false;
        self.as_of = 0;
    }
}

impl std::ops::Deref for Tried {
    type Target = [u32];

    #[inline]
    fn deref(&self) -> &[u32] {
        &self.slots[..self.count]
    }
}

/// How long an answer may take before it is worth a probe.
pub fn suspicious_after(backend: &Backend) -> Duration {
    SUSPICIOUS_SILENCE.max(Duration::from_micros(u64::from(backend.latency_micros())) * 4)
}

/// One piece of work in search of a backend.
#[derive(Debug, Clone, Copy)]
pub struct Search<'a> {
    /// The worker that it runs on.
    pub worker: &'a Worker,
    /// The table that it goes by.
    pub view: &'a View,
    /// Its pool.
    pub pool: u32,
    /// What it asks of a pick.
    pub ask: Ask,
    /// What a new connection begins with, where the pool wants that.
    pub introduction: Option<&'a Introduction>,
    /// The client waits no longer; `None`: nobody knows.
    pub until: Option<Instant>,
}

impl<'a> Search<'a> {
    /// How long the client still waits.
    fn left(&self) -> Duration {
        self.until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()))
    }

    /// What a failure is, once the client waits no longer: its deadline.
    pub fn unless_late(&self, cause: Cause) -> Cause {
        if cause == Cause::ConnectTimeout && self.left().is_zero() { Cause::Deadline } else { cause }
    }

    /// Its pool.
    #[inline]
    pub fn pool(&self) -> &'a Arc<Pool> {
        self.view.pool(self.pool)
    }

    /// Whether anybody may serve it now.
    pub fn prospect(&self) -> Prospect {
        self.worker.prospect(self.view, self.pool, &self.ask)
    }

    /// Whether somebody may serve it who is not among `tried`.
    pub fn has_others(&self, tried: &[u32]) -> bool {
        self.worker.has_others(self.view, self.pool, &self.ask, tried)
    }

    /// Whether work that has failed after so many retries may go elsewhere: to another backend, or to wait for a verdict.
    pub fn has_elsewhere(&self, tried: &[u32], retries: u8) -> bool {
        let pool = self.pool();
        (retries < pool.config.retry.attempts && self.has_others(tried)) || may_wait_for_a_verdict(pool, retries)
    }

    fn pick(&self, tried: &Tried) -> Option<Lease> {
        if tried.all { None } else { self.worker.pick(self.view, self.pool, &self.ask, tried) }
    }

    /// A backend that may serve and is not among `tried`, waited for as the pool allows, and how long that took. Whoever
    /// waits is asked now and then whether the client has `left`.
    ///
    /// Where all that may serve are full, it waits for the turn of its `client` at one of them.
    ///
    /// Where all that may serve have been tried, and the pool holds requests, the next verdict opens a new round; so
    /// does a fifth of a second, because a backend that was only restarting is back before any verdict. `tried` is empty
    /// then.
    ///
    /// # Errors
    /// [`Cause::NoBackend`], [`Cause::QueueFull`], [`Cause::QueueTimeout`], [`Cause::Deadline`] or [`Cause::ClientAbort`].
    pub async fn lease(
        &self,
        tried: &mut Tried,
        timer: &Timer,
        client: IpAddr,
        left: impl FnMut(&mut Context<'_>) -> bool,
    ) -> Result<(Lease, Duration), Cause> {
        let pool = self.pool();
        if tried.as_of != 0 && tried.as_of != pool.version() {
            tried.clear();
        }
        if let Some(lease) = self.pick(tried) {
            return Ok((lease, Duration::ZERO));
        }
        let begun = Instant::now();
        let room = self.room(tried, client)?;
        // Boxed: every connection would keep the room that few waits need.
        let lease = Box::pin(self.wait(tried, timer, client, begun, left)).await;
        drop(room);
        let waited = begun.elapsed();
        pool.stats.mine().queue.observe(waited);
        lease.map(|lease| (lease, waited))
    }

    /// Room in the queue.
    fn room(&self, tried: &Tried, client: IpAddr) -> Result<Waiting<'a>, Cause> {
        let pool = self.pool();
        if self.is_full(tried) {
            let room = pool.wait_for_place(self.wanted(tried), client).ok_or(Cause::QueueFull)?;
            pool.stats.mine().queued.inc();
            return Ok(room);
        }
        // Whoever could be picked, but was not a moment ago, is looked at once more.
        let is_picked = !tried.all && self.has_others(tried);
        if self.patience(tried).0.is_zero() && !is_picked {
            return Err(Cause::NoBackend);
        }
        let room = pool.wait().ok_or(Cause::QueueFull)?;
        pool.stats.mine().held.inc();
        Ok(room)
    }

    async fn wait(
        &self,
        tried: &mut Tried,
        timer: &Timer,
        client: IpAddr,
        begun: Instant,
        mut left: impl FnMut(&mut Context<'_>) -> bool,
    ) -> Result<Lease, Cause> {
        let pool = self.pool();
        let mut version = pool.version();
        let mut turn: Option<Turn> = None;
        loop {
            let mut changes = pin!(self.worker.ready_changes());
            changes.as_mut().enable();
            if std::mem::replace(&mut version, pool.version()) != version {
                if !tried.is_empty() || turn.as_ref().is_some_and(|turn| !turn.is_for(self.wanted(tried))) {
                    // It would not be called to where it may go now.
                    turn = None;
                }
                tried.clear();
                self.worker.offer_places(self.view, self.pool, &self.ask);
            }
            if turn.is_none() {
                if let Some(lease) = self.pick(tried) {
                    return Ok(lease);
                }
                if self.is_full(tried) {
                    turn = Some(pool.turn(self.wanted(tried), client, tried));
                    self.worker.offer_places(self.view, self.pool, &self.ask);
                }
            }
            let (patience, again) = self.patience(tried);
            let at_most = if tried.as_of != 0 { Duration::MAX } else { again };
            let rest = self.rest(patience, begun, turn.as_ref())?;
            timer.set(rest.min(at_most));
            let news = poll_fn(|context| {
                if let Some(Poll::Ready(seat)) = turn.as_mut().map(|turn| turn.poll(context)) {
                    return Poll::Ready(News::Seat(seat));
                }
                if changes.as_mut().poll(context).is_ready() {
                    return Poll::Ready(News::Verdict);
                }
                if left(context) {
                    return Poll::Ready(News::ClientLeft);
                }
                if timer.poll_elapsed(context) { Poll::Ready(News::Time) } else { Poll::Pending }
            });
            match news.await {
                News::Verdict => {}
                News::Time if turn.is_some() || self.left().is_zero() => {}
                News::Time => tried.clear(),
                News::ClientLeft => return Err(Cause::ClientAbort),
                News::Seat(Err(Displaced)) => return Err(Cause::QueueFull),
                News::Seat(Ok(seat)) => {
                    turn = None;
                    if let Some(lease) = self.worker.seated(self.view, self.pool, &self.ask, seat, self.wanted(tried)) {
                        return Ok(lease);
                    }
                }
            }
        }
    }

    /// How long it may still wait of what it may in all, as long as its client does; or why it waits no longer.
    fn rest(&self, patience: Duration, begun: Instant, turn: Option<&Turn>) -> Result<Duration, Cause> {
        let rest = patience.saturating_sub(begun.elapsed());
        match (rest.is_zero(), self.left()) {
            (true, _) => Err(if turn.is_some() { Cause::QueueTimeout } else { Cause::NoBackend }),
            (false, Duration::ZERO) => Err(Cause::Deadline),
            (false, left) => Ok(rest.min(left)),
        }
    }

    /// Whether somebody may serve it who has not been tried, and has no place for it now.
    fn is_full(&self, tried: &Tried) -> bool {
        !tried.all && self.worker.may_be_full(self.view, self.pool, &self.ask, tried)
    }

    fn wanted(&self, tried: &Tried) -> Wanted {
        if let Some(own) = self.pool().own(&self.ask, tried) {
            return Wanted::One(own.slot.serial);
        }
        match self.ask.reads {
            Reads::Standby => Wanted::Reads,
            Reads::Active => Wanted::Work,
        }
    }

    /// How long it is held in all, and how long before what has been tried is tried again.
    fn patience(&self, tried: &Tried) -> (Duration, Duration) {
        let config = &self.pool().config;
        match self.prospect() {
            _ if self.is_full(tried) => (config.timeouts.queue, Duration::MAX),
            Prospect::Undecided => (config.hold.max(FIRST_VERDICT), Duration::MAX),
            Prospect::Nobody => (config.hold, Duration::MAX),
            Prospect::Somebody => (config.hold, AGAIN),
        }
    }

    /// How long one connect may take. Where the work can go elsewhere, and the backend's usual pace is known, it is not
    /// kept waiting for long: nothing has been sent yet, and a lost SYN is repeated only after a second (RFC 6298,
    /// section 2).
    pub fn time_to_connect(&self, tried: &[u32], retries: u8, backend: &Backend) -> Duration {
        let config = &self.pool().config;
        let most = config.timeouts.connect.min(self.left());
        let usual = Duration::from_micros(u64::from(backend.latency_micros()));
        if usual.is_zero() || retries >= config.retry.attempts || !self.has_others(tried) {
            return most;
        }
        most.min(SLOW_CONNECT.max(usual * 4))
    }
}

/// What ends a wait for a backend.
enum News {
    /// What may serve has changed somewhere.
    Verdict,
    /// It is its turn at a backend, or there was too much in the queue.
    Seat(Result<Seat, Displaced>),
    /// It is time to look again.
    Time,
    /// Nobody wants the answer any more.
    ClientLeft,
}

/// Looks whether a client whose work is held has ended (ready) or reset (an error) its connection. What it sends
/// meanwhile is taken in hand, as far as [`is_enough`]: beyond, its end is not seen.
pub fn poll_end(
    context: &mut Context<'_>,
    client: &mut Stream,
    hand: &mut Option<Buffer>,
) -> Poll<std::io::Result<()>> {
    while !hand.as_ref().is_some_and(is_enough) {
        if std::task::ready!(client.poll_fill(context, hand, Size::Small))? == 0 {
            return Poll::Ready(Ok(()));
        }
    }
    Poll::Pending
}

/// Whether a request that was answered with a status to be tried elsewhere may wait for who has the work next: in pools
/// in which only one backend has it, the answer may be the first that is heard of its not having it any more.
pub fn may_wait_for_the_next(pool: &Pool, retries: u8) -> bool {
    pool.config.policy.mode != Mode::ActiveActive && may_wait_for_a_verdict(pool, retries)
}

/// Of what is sent ahead of its time, so many bytes are kept; the rest stays in the socket.
pub fn is_enough(hand: &Buffer) -> bool {
    hand.filled().len() >= SMALL / 2
}

/// Whether work that met nobody may wait for the next verdict, like work that comes now and finds nobody.
pub fn may_wait_for_a_verdict(pool: &Pool, retries: u8) -> bool {
    !pool.config.hold.is_zero() && retries < MAX_RETRIES
}

/// A new connection to the leased backend, which begins with the introduction where the pool wants one, with TLS where
/// the pool has it, which offers `http`; and how long the connecting took.
///
/// # Errors
/// Why there is none.
pub async fn open(
    search: &Search<'_>,
    lease: &Lease,
    deadline: Duration,
    timer: &Timer,
    http: HttpVersion,
) -> Result<(Stream, Duration), Cause> {
    let pool = search.pool();
    let backend = lease.backend();
    let place = backend.moves();
    let Some((site, fault)) = backend.way_there() else { return Err(Cause::ConnectFailed) };
    let begun = Instant::now();
    let connecting = async {
        let way = pool.way.as_ref();
        let connected = match &fault {
            None if http == HttpVersion::V1_1 => connect::connect_unwatched(way, &site, deadline).await,
            None => connect::connect_by(way, &site, deadline).await,
            // Boxed, as below.
            Some(fault) => Box::pin(fault::connect_into(fault, way, &site, deadline)).await,
        };
        let mut socket = connected.map_err(|error| cause_of(&error))?;
        if let Some(introduction) = search.introduction {
            // Boxed, as below.
            Box::pin(socket.write_all(introduction.bytes())).await.map_err(|error| cause_of(&error))?;
        }
        Ok(socket)
    };
    // The connect has a deadline of its own.
    let connected = watched(lease, deadline * 2, timer, pin!(connecting)).await;
    let took = begun.elapsed();
    let is_played = fault.as_ref().is_some_and(|fault| fault.stands_in());
    let opened = match (connected, pool.tls.as_ref().filter(|_| !is_played)) {
        (Ok(socket), None) => Ok(Stream::new(socket)),
        // Boxed: every connection would keep the room that its first moments need.
        (Ok(socket), Some(dress)) => Box::pin(agree(pool, (dress, http), lease, socket, deadline, timer)).await,
        (Err(cause), _) => Err(cause),
    };
    let stats = backend.stats.mine();
    match opened {
        Ok(mut stream) => {
            stats.connects.inc();
            stream.place = place;
            Ok((stream, took))
        }
        Err(cause) => {
            stats.connect_failures.inc();
            Err(cause)
        }
    }
}

/// Agrees on TLS.
async fn agree(
    pool: &Pool,
    (dress, http): (&Dress, HttpVersion),
    lease: &Lease,
    socket: Transport,
    deadline: Duration,
    timer: &Timer,
) -> Result<Stream, Cause> {
    // Where the work can go elsewhere, it does so sooner; not as soon as from a connect, which costs a backend nothing.
    let deadline = deadline.max(SLOW_HANDSHAKE).min(pool.config.timeouts.connect);
    let backend = lease.backend();
    let agreeing = async {
        dress.connect(backend, socket, http).await.map(Stream::over_tls).map_err(|error| {
            tracing::debug!(pool = %pool.config.name, backend = %backend.name, %error, "no TLS with a backend");
            Cause::TlsFailed
        })
    };
    watched(lease, deadline, timer, pin!(agreeing)).await
}

/// Waits for what is done with a backend before it can be asked, while anybody still wants it to be done there. A probe
/// looks at a backend that is silent for long.
pub(super) async fn watched<T>(
    lease: &Lease,
    deadline: Duration,
    timer: &Timer,
    mut doing: Pin<&mut impl Future<Output = Result<T, Cause>>>,
) -> Result<T, Cause> {
    let backend = lease.backend();
    timer.mark(Some(backend.slot.index));
    timer.set(SUSPICIOUS_SILENCE.min(deadline));
    let mut looked = false;
    let result = poll_fn(|context| {
        if let Poll::Ready(result) = doing.as_mut().poll(context) {
            return Poll::Ready(result);
        }
        if timer.poll_elapsed(context) {
            if std::mem::replace(&mut looked, true) || deadline <= SUSPICIOUS_SILENCE {
                return Poll::Ready(Err(Cause::ConnectTimeout));
            }
            backend.suspect(Symptom::Silent);
            timer.set(deadline.saturating_sub(SUSPICIOUS_SILENCE));
            // Registers for the new one.
            let _ = timer.poll_elapsed(context);
        }
        if lease.is_cut() {
            return Poll::Ready(Err(Cause::Cut));
        }
        if backend.has_fallen() { Poll::Ready(Err(Cause::BackendDown)) } else { Poll::Pending }
    })
    .await;
    timer.mark(None);
    result
}

/// What a failed connect says.
pub(super) fn cause_of(error: &std::io::Error) -> Cause {
    match error.kind() {
        _ if is_local(error) => Cause::Local,
        std::io::ErrorKind::ConnectionRefused => Cause::ConnectRefused,
        std::io::ErrorKind::TimedOut => Cause::ConnectTimeout,
        _ => Cause::ConnectFailed,
    }
}

/// Whether the balancer itself lacks something, which says nothing of the backend: descriptors (EMFILE, ENFILE), ports
/// (EADDRNOTAVAIL, which is also EAGAIN on loopback) or memory (ENOBUFS, ENOMEM).
fn is_local(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(11 | 12 | 23 | 24 | 99 | 105))
}
