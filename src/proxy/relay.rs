//! Bytes between a client and a backend, both ways, until both have ended: TCP connections and tunnels.
//!
//! An end on one side is passed on while the other way goes on (half-close); a reset stays a reset. A side owns a
//! buffer only while the other is slow to take what it holds.
//!
//! # How is a backend found out that is gone without a word?
//!
//! By the system, which is asked to watch the connection once it is a second old: one that lives shorter costs no system
//! call for it. A connection given up that way is evidence against the backend.
//!
//! How long the other side may be out of touch follows from the pool's deadlines. As long as the backend is up, it is
//! the longest wait for an answer: the system also gives up a side that lives and takes nothing, and a database may
//! take nothing while it waits for a lock. Once the checks have found the backend down, the time that a connect may
//! take has to do.
//!
//! Hot path: no allocation, no lock, no formatting.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use super::outcome::Cause;
use super::websocket::{Frames, goodbye, masked_goodbye};
use super::worker::Worker;
use crate::config::model::{self, OnDown};
use crate::net::buffer::{Buffer, Size};
use crate::net::splice::{Pipe, is_refusal};
use crate::net::stream::{Stream, is_lost};
use crate::net::way;
use crate::net::wheel::Timer;
use crate::pool::{Backend, Lease, Pool, Symptom};

/// Bytes moved one way before the other connections of the worker get their turn.
const TURN: usize = 256 * 1024;
/// A read of so much into a large buffer shows a stream for which the pipe pays …
const LONG: usize = 64 * 1024;
/// … until less than this comes at once: two calls for each move cost more than the copy of so little.
const SHORT: usize = 16 * 1024;

/// How bytes are moved, by what has come lately.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Through a small buffer.
    #[default]
    Message,
    /// The last read filled its buffer: through a large one.
    Stream,
    /// Through a pipe, without a copy, where both sides are plain connections.
    Past,
}

/// One way of a relay.
#[derive(Debug, Default)]
struct Way {
    buffer: Option<Buffer>,
    moved: u64,
    pace: Pace,
    /// What a pipe holds on its way past this program.
    pipe: Option<Pipe>,
    ended: bool,
    passed_on: bool,
    /// Of a WebSocket: what has been passed on.
    frames: Option<Frames>,
}

/// How a relay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relayed {
    /// Bytes from the client.
    pub received: u64,
    /// Bytes to the client.
    pub sent: u64,
    /// Why, unless both sides ended it.
    pub cause: Option<Cause>,
}

/// What a relay obeys beside its two sides.
#[derive(Debug)]
pub struct Terms<'a> {
    /// The worker that it runs on: its end is the relay's end.
    pub worker: &'a Worker,
    /// The lease on the backend: a cut is that, too.
    pub lease: &'a Lease,
    /// Whether the backend's fall is, too.
    pub on_down: OnDown,
    /// Longest silence.
    pub idle: Duration,
    /// The backend's system may be out of touch for so long while the backend is up …
    pub lost_after: Duration,
    /// … and for so long when it is down.
    pub lost_after_fall: Duration,
    /// What of this the pool says for itself.
    pub way: Option<&'a way::Way>,
    /// What is relayed.
    pub what: What,
}

/// What goes through a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Bytes.
    Bytes,
    /// The frames of a WebSocket, for the client behind so many bytes of a head: when it is ended before its time, both
    /// sides are told.
    WebSocket(usize),
}

/// How closely the system watches the connection to the backend.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Watch {
    /// Not at all: the connection is young.
    NotYet,
    /// As that of a backend that is up.
    Usual,
    /// As that of one that is down.
    Close,
}

/// A backend that is out of touch for less may have lost a segment or two: the system counts in seconds.
const LOST_AFTER_MIN: Duration = Duration::from_secs(4);
/// At this age the system is asked to watch the connection.
const YOUNG: Duration = Duration::from_secs(1);

/// An error, and at which end of a way.
struct Broken(End, io::Error);

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    From,
    To,
}

impl Broken {
    /// What that is, where `peer` has this end; it is counted where it is that one's fault.
    #[cold]
    fn cause(&self, backend: End, peer: &Backend) -> Cause {
        if self.0 == backend {
            peer.stats.mine().broken.inc();
        }
        if self.0 == backend && is_lost(&self.1) { Cause::ConnectionLost } else { Cause::ResetInBody }
    }
}

impl<'a> Terms<'a> {
    /// What pool and listener say of work under this lease.
    pub fn new(worker: &'a Worker, lease: &'a Lease, pool: &'a Pool, listener: &model::Listener) -> Self {
        let (way, pool) = (pool.way.as_ref(), &pool.config);
        let idle = pool.timeouts.tunnel_idle.unwrap_or(listener.timeouts.tunnel_idle);
        let lost_after = pool.timeouts.response.min(idle).max(LOST_AFTER_MIN);
        let lost_after_fall = pool.timeouts.connect.clamp(LOST_AFTER_MIN, lost_after);
        Self { worker, lease, on_down: pool.on_down, idle, lost_after, lost_after_fall, way, what: What::Bytes }
    }

    /// How closely the connection is watched, where it is watched like this while all is well; or why it ends.
    fn wanted(&self, usual: Watch) -> Result<Watch, Cause> {
        match (self.lease.is_cut() || self.worker.is_ending(), self.lease.backend().has_fallen(), self.on_down) {
            (true, ..) => Err(Cause::Cut),
            (_, true, OnDown::Close) => Err(Cause::BackendDown),
            (_, true, OnDown::Keep) => Ok(Watch::Close),
            (_, false, _) => Ok(usual),
        }
    }

    fn lost_after(&self, watch: Watch) -> Duration {
        if watch == Watch::Close { self.lost_after_fall } else { self.lost_after }
    }
}

/// Bytes in hand when a relay begins.
#[derive(Debug, Default)]
pub struct Early {
    /// From the client.
    pub client: Option<Buffer>,
    /// From the backend.
    pub backend: Option<Buffer>,
}

/// Relays until both sides have ended, one has broken, or nothing has moved for too long.
pub async fn relay(
    client: &mut Stream,
    backend: &mut Stream,
    early: &mut Early,
    timer: &Timer,
    terms: &Terms<'_>,
) -> Relayed {
    let _open = terms.worker.relays();
    let (for_backend, for_client) = match terms.what {
        What::Bytes => (None, None),
        What::WebSocket(head) => (Some(Frames::default()), Some(Frames::behind(head))),
    };
    let mut up = Way { buffer: early.client.take(), frames: for_backend, ..Way::default() };
    let mut down = Way { buffer: early.backend.take(), frames: for_client, ..Way::default() };
    let peer = terms.lease.backend();
    timer.mark(Some(peer.slot.index));
    let mut watch = Watch::NotYet;
    // The first deadline is the end of youth, where that comes before the end of patience.
    let mut is_young = terms.idle > YOUNG;
    timer.set(terms.idle.min(YOUNG));
    // Until both sides have ended it, whatever else ends it, ends it with a reset.
    client.is_unfinished(true);
    backend.is_unfinished(true);
    let mut moved = 0;
    let mut is_heard = false;
    let cause = poll_fn(|context| {
        let polled = poll_both(context, (&mut up, &mut down), client, backend, peer);
        if !is_heard && down.moved > 0 {
            is_heard = true;
            peer.spoke();
        }
        if let Poll::Ready(end) = polled {
            return Poll::Ready(end);
        }
        if up.moved + down.moved != moved {
            moved = up.moved + down.moved;
            if !is_young {
                timer.set(terms.idle);
            }
        }
        if timer.poll_elapsed(context) {
            if !is_young {
                return Poll::Ready(Some(Cause::TunnelIdle));
            }
            is_young = false;
            timer.set(if moved == 0 { terms.idle.saturating_sub(YOUNG) } else { terms.idle });
            // Registers for the new deadline.
            let _ = timer.poll_elapsed(context);
        }
        let wanted = match terms.wanted(if is_young { Watch::NotYet } else { Watch::Usual }) {
            Ok(wanted) => wanted,
            Err(cause) => return Poll::Ready(Some(cause)),
        };
        if wanted != watch && wanted != Watch::NotYet {
            backend.watch(terms.way, terms.lost_after(wanted));
            watch = wanted;
        }
        Poll::Pending
    })
    .await;
    timer.mark(None);
    part(cause, (client, &down), (backend, &up));
    count_cause(peer, cause);
    Relayed { received: up.moved, sent: down.moved, cause }
}

/// What is the backend's of why a relay has ended.
fn count_cause(backend: &Arc<Backend>, cause: Option<Cause>) {
    match cause {
        Some(Cause::Cut) => backend.stats.mine().cut.inc(),
        Some(Cause::ConnectionLost) => backend.suspect(Symptom::Reset),
        Some(Cause::BackendDown) => backend.stats.mine().broken.inc(),
        _ => {}
    }
}

/// How each side, with the way to it, learns of the end: in order, by a last word where one fits, or by a reset.
fn part(cause: Option<Cause>, (client, down): (&mut Stream, &Way), (backend, up): (&mut Stream, &Way)) {
    match cause {
        None | Some(Cause::TunnelIdle) => {
            client.is_unfinished(false);
            backend.is_unfinished(false);
        }
        Some(Cause::Cut | Cause::BackendDown) => {
            if down.may_say_goodbye() && say(client, &goodbye()) {
                client.is_unfinished(false);
            }
            if up.may_say_goodbye() && say(backend, &masked_goodbye()) {
                backend.is_unfinished(false);
            }
        }
        Some(_) => {}
    }
}

/// Says a last word, as far as it can be said without waiting; whether all of it was.
fn say(to: &mut Stream, word: &[u8]) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    let said = matches!(to.poll_write(&mut context, word), Poll::Ready(Ok(written)) if written == word.len());
    if said {
        to.finish_sending();
    }
    said
}

/// Moves what can be moved; ready when both sides have ended or one has broken.
#[inline]
fn poll_both(
    context: &mut Context<'_>,
    (up, down): (&mut Way, &mut Way),
    client: &mut Stream,
    backend: &mut Stream,
    peer: &Backend,
) -> Poll<Option<Cause>> {
    let is_up_over = match up.poll(context, client, backend) {
        Poll::Ready(Err(broken)) => return Poll::Ready(Some(broken.cause(End::To, peer))),
        other => other.is_ready(),
    };
    let is_down_over = match down.poll(context, backend, client) {
        Poll::Ready(Err(broken)) => return Poll::Ready(Some(broken.cause(End::From, peer))),
        other => other.is_ready(),
    };
    let is_over = is_up_over && is_down_over;
    // Closing a plain connection on which both have ended says so by itself.
    if is_up_over && !(is_over && backend.is_plain()) {
        up.pass_on_end(backend);
    }
    if is_down_over && !(is_over && client.is_plain()) {
        down.pass_on_end(client);
    }
    if is_over { Poll::Ready(None) } else { Poll::Pending }
}

impl Way {
    /// Whether a frame may be put in behind what was passed on.
    fn may_say_goodbye(&self) -> bool {
        !self.passed_on && self.frames.is_some_and(|frames| frames.may_follow())
    }

    /// Tells `to` once that nothing more comes.
    fn pass_on_end(&mut self, to: &mut Stream) {
        if !std::mem::replace(&mut self.passed_on, true) {
            to.finish_sending();
        }
    }

    /// Moves what can be moved; ready when all of it has been, up to the end, or one side has broken.
    fn poll(&mut self, context: &mut Context<'_>, from: &mut Stream, to: &mut Stream) -> Poll<Result<(), Broken>> {
        let stop_at = self.moved + TURN as u64;
        loop {
            ready!(self.poll_send(context, to)).map_err(|error| Broken(End::To, error))?;
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            if self.moved >= stop_at {
                // Others first; this way goes on in the next turn.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let read = if self.pace == Pace::Past && to.is_plain() {
                self.poll_fill_pipe(context, from)
            } else {
                self.poll_fill(context, from)
            };
            self.ended = ready!(read).map_err(|error| Broken(End::From, error))? == 0;
        }
    }

    /// Sends all that is in hand.
    #[inline]
    fn poll_send(&mut self, context: &mut Context<'_>, to: &mut Stream) -> Poll<io::Result<()>> {
        if let Some(buffer) = &mut self.buffer {
            while !buffer.is_empty() {
                let written = ready!(to.poll_write(context, buffer.filled()))?;
                if let Some(frames) = &mut self.frames {
                    frames.see(&buffer.filled()[..written]);
                }
                buffer.consume(written);
                self.moved += written as u64;
            }
            self.buffer = None;
        }
        if let Some(pipe) = &mut self.pipe {
            while !pipe.is_empty() {
                self.moved += ready!(to.poll_empty_pipe(context, pipe))? as u64;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once into a buffer.
    #[inline]
    fn poll_fill(&mut self, context: &mut Context<'_>, from: &mut Stream) -> Poll<io::Result<usize>> {
        let size = if self.pace == Pace::Message { Size::Small } else { Size::Large };
        let read = ready!(from.poll_fill(context, &mut self.buffer, size))?;
        let is_full = self.buffer.as_mut().is_some_and(|buffer| buffer.spare().is_empty());
        self.pace = match self.pace {
            Pace::Stream if read >= LONG && self.may_go_past(from) => Pace::Past,
            _ if is_full => Pace::Stream,
            _ => Pace::Message,
        };
        Poll::Ready(Ok(read))
    }

    fn may_go_past(&self, from: &Stream) -> bool {
        self.frames.is_none() && from.is_plain()
    }

    /// Reads once into a pipe; into a buffer where there is none.
    fn poll_fill_pipe(&mut self, context: &mut Context<'_>, from: &mut Stream) -> Poll<io::Result<usize>> {
        let Some(pipe) = self.pipe.take().or_else(Pipe::take) else {
            self.pace = Pace::Stream;
            return self.poll_fill(context, from);
        };
        let pipe = self.pipe.insert(pipe);
        let read = from.poll_fill_pipe(context, pipe, TURN);
        if !matches!(read, Poll::Ready(Ok(1..))) {
            // One that waits needs none.
            self.pipe = None;
        }
        match read {
            Poll::Ready(Ok(..SHORT)) => self.pace = Pace::Message,
            Poll::Ready(Err(error)) if is_refusal(&error) => {
                self.pace = Pace::Stream;
                return self.poll_fill(context, from);
            }
            _ => {}
        }
        read
    }
}
