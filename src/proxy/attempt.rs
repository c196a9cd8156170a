//! Getting to a backend: waiting for one that may serve, and connecting to it.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::outcome::Cause;
use super::worker::{View, Worker};
use crate::net::connect;
use crate::net::stream::Stream;
use crate::net::wheel::Timer;
use crate::pool::{Backend, Lease, Pool, Symptom};

/// While backends have no verdict yet (the program has just started), a request waits this long for one even where
/// `hold` is zero: the first probes take milliseconds.
const FIRST_VERDICT: Duration = Duration::from_secs(2);
/// Attempts in all, for work that may wait for backends which come and go.
const MAX_RETRIES: u8 = 16;
/// A held request tries the same backends again after this long, unless a verdict comes first.
const AGAIN: Duration = Duration::from_millis(200);
/// A connect that takes longer than this, and than four times the backend's usual, is tried elsewhere.
const SLOW_CONNECT: Duration = Duration::from_millis(300);
/// A backend that has been silent for this long, or for four times its usual, is looked at by a probe.
pub const SUSPICIOUS_SILENCE: Duration = Duration::from_millis(150);

/// The backends that a request has been at, by the numbers of their slots. In place: every request has one.
#[derive(Debug, Default)]
pub struct Tried {
    slots: [u32; Self::MAX],
    count: usize,
    all: bool,
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

    /// As if all that may serve now had been tried.
    pub fn give_up(&mut self) {
        self.all = true;
    }

    /// A new round.
    pub fn clear(&mut self) {
        self.count = 0;
        self.all = false;
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

/// A backend that may serve and is not among `tried`, waited for as the pool allows, and how long that took.
///
/// Where all that may serve have been tried, and the pool holds requests, the next verdict opens a new round; so does
/// a fifth of a second, because a backend that was only restarting is back before any verdict. `tried` is empty then.
///
/// # Errors
/// [`Cause::NoBackend`] or [`Cause::QueueFull`].
pub async fn lease(
    worker: &Worker,
    view: &View,
    pool: u32,
    key: Option<u64>,
    tried: &mut Tried,
    timer: &Timer,
) -> Result<(Lease, Duration), Cause> {
    let pick = |tried: &Tried| if tried.all { None } else { worker.pick(view, pool, key, tried) };
    if let Some(lease) = pick(tried) {
        return Ok((lease, Duration::ZERO));
    }
    let live = view.pool(pool);
    if patience(worker, view, pool).0.is_zero() {
        return Err(Cause::NoBackend);
    }
    let _place = live.wait().ok_or(Cause::QueueFull)?;
    live.stats.mine().held.inc();
    let begun = Instant::now();
    let mut version = live.version();
    loop {
        let mut changes = pin!(worker.ready_changes());
        changes.as_mut().enable();
        if std::mem::replace(&mut version, live.version()) != version {
            tried.clear();
        }
        if let Some(lease) = pick(tried) {
            return Ok((lease, begun.elapsed()));
        }
        let (hold, at_most) = patience(worker, view, pool);
        let left = hold.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Err(Cause::NoBackend);
        }
        timer.set(left.min(at_most));
        let elapsed = std::future::poll_fn(|context| {
            if changes.as_mut().poll(context).is_ready() {
                return Poll::Ready(false);
            }
            if timer.poll_elapsed(context) { Poll::Ready(true) } else { Poll::Pending }
        })
        .await;
        if elapsed {
            tried.clear();
        }
    }
}

/// Whether work that met nobody may wait for the next verdict, like work that comes now and finds nobody.
pub fn may_wait_for_a_verdict(pool: &Pool, retries: u8) -> bool {
    !pool.config.hold.is_zero() && retries < MAX_RETRIES
}

/// How long a request is held in all, and how long before what has been tried is tried again.
fn patience(worker: &Worker, view: &View, pool: u32) -> (Duration, Duration) {
    let hold = view.pool(pool).config.hold;
    match worker.ready_in(view, pool) {
        (0, true) => (hold.max(FIRST_VERDICT), Duration::MAX),
        (0, false) => (hold, Duration::MAX),
        (_, _) => (hold, AGAIN),
    }
}

/// How long one connect may take. Where the work can go elsewhere, and the backend's usual pace is known, it is not kept
/// waiting for long: nothing has been sent yet, and a lost SYN is repeated only after a second (RFC 6298, section 2).
pub fn time_to_connect(worker: &Worker, view: &View, pool: u32, tried: &[u32], retries: u8, lease: &Lease) -> Duration {
    let config = &view.pool(pool).config;
    let usual = Duration::from_micros(u64::from(lease.backend().latency_micros()));
    if usual.is_zero() || retries >= config.retry.attempts || worker.others(view, pool, tried) == 0 {
        return config.timeouts.connect;
    }
    config.timeouts.connect.min(SLOW_CONNECT.max(usual * 4))
}

/// A new connection to the leased backend.
///
/// # Errors
/// Why there is none.
pub async fn open(lease: &Lease, deadline: Duration, timer: &Timer) -> Result<(Stream, Duration), Cause> {
    let backend = lease.backend();
    let place = backend.moves();
    let Some(address) = backend.socket_address() else { return Err(Cause::ConnectFailed) };
    let begun = Instant::now();
    let mut connecting = pin!(connect::connect(address, deadline));
    timer.mark(Some(backend.slot.index));
    timer.set(SUSPICIOUS_SILENCE);
    let result = std::future::poll_fn(|context| {
        if let Poll::Ready(result) = connecting.as_mut().poll(context) {
            return Poll::Ready(result.map_err(|error| cause_of(&error)));
        }
        if timer.poll_elapsed(context) {
            backend.suspect(Symptom::Silent);
            timer.set(deadline * 2); // the connect has its own deadline
            // Registers for the new one.
            let _ = timer.poll_elapsed(context);
        }
        if backend.is_out() { Poll::Ready(Err(Cause::BackendDown)) } else { Poll::Pending }
    })
    .await;
    timer.mark(None);
    let stats = backend.stats.mine();
    match result {
        Ok(stream) => {
            stats.connects.inc();
            let mut stream = Stream::new(stream);
            stream.place = place;
            Ok((stream, begun.elapsed()))
        }
        Err(cause) => {
            stats.connect_failures.inc();
            Err(cause)
        }
    }
}

fn cause_of(error: &std::io::Error) -> Cause {
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
