//! Connections of HTTP/2 to backends, of one worker: each carries many requests at once, and stays while it is of use.
//!
//! One is opened at a time for each backend; whoever comes meanwhile waits for it, and finds it. It ends when nothing has
//! gone over it for `timeouts.idle`, when the backend says that it goes or may serve no more, or when another address is
//! behind its name; what is under way on it then finishes.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use h2::client::{self, SendRequest};
use h2::{Ping, PingPong};
use tokio::sync::Semaphore;

use super::call::Call;
use super::ledger::{Ledger, Parcel};
use super::wire::Wire;
use crate::config::model::HttpVersion;
use crate::net::stream::Stream;
use crate::net::wheel::Timer;
use crate::pool::{Backend, Lease, Pool};
use crate::proxy::attempt::{self, Search, watched};
use crate::proxy::outcome::Cause;
use crate::proxy::worker::Worker;

/// Requests at once on one connection, where the backend allows more: beyond, another one shares the work of reading.
const MAX_STREAMS: u32 = 100;
/// A stream may bring so much before any of it is taken.
const STREAM_WINDOW: u32 = 128 * 1024;
/// All of them may at once: clients that take nothing must not keep those waiting that do.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * MAX_STREAMS;
/// A stream may have so much handed over and not sent.
const SEND_BUFFER: usize = 64 * 1024;
/// Longest head of an answer, as the codec of HTTP/1.1 has it.
const HEAD: u32 = 256 * 1024;
/// The system gives a connection up when the other side has been out of touch for so long.
const LOST_AFTER_MIN: Duration = Duration::from_secs(4);

pub(super) type Sender = SendRequest<Parcel>;

/// Connections by the number of their backend.
#[derive(Debug, Default)]
pub struct Links(RefCell<Vec<Option<Set>>>);

#[derive(Debug)]
struct Set {
    backend: Arc<Backend>,
    links: Vec<Rc<Link>>,
    /// Held by whoever opens one.
    opening: Rc<Semaphore>,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Link {
    /// None: it takes no more requests.
    sender: RefCell<Option<Sender>>,
    ledger: Rc<Ledger>,
    pub(super) is_tls: bool,
    /// The backend's address, for requests that name no host.
    pub(super) authority: Arc<str>,
    /// Which of the backend's addresses it leads to.
    place: u32,
    /// When a stream was last seen on it.
    since: Cell<Instant>,
    lifetime: Duration,
}

impl Link {
    pub(super) fn ledger(&self) -> Rc<Ledger> {
        Rc::clone(&self.ledger)
    }

    /// No further request goes over it; it ends after those that are under way.
    pub(super) fn retire(&self) {
        self.sender.replace(None);
    }

    fn takes_tunnels(&self) -> bool {
        self.sender.borrow().as_ref().is_some_and(Sender::is_extended_connect_protocol_enabled)
    }

    fn is_retired(&self) -> bool {
        self.sender.borrow().is_none()
    }

    /// A stream on it, unless it has as many as it takes.
    fn stream(self: &Rc<Self>) -> Option<Stream> {
        let mut sender = self.sender.borrow().clone()?;
        if let Poll::Ready(Err(_)) = sender.poll_ready(&mut Context::from_waker(Waker::noop())) {
            // It has ended, or the backend has said that it goes.
            self.retire();
            return None;
        }
        let most = u32::try_from(sender.current_max_send_streams()).unwrap_or(u32::MAX).min(MAX_STREAMS);
        if self.ledger.streams() > 0 && self.ledger.streams() >= most {
            return None;
        }
        let call = Call::new(Rc::clone(self), sender, self.ledger.open());
        let mut stream = Stream::carried(Box::new(call));
        stream.place = self.place;
        Some(stream)
    }

    /// Whether it is of no more use.
    fn is_over(&self, now: Instant) -> bool {
        if self.ledger.streams() > 0 {
            self.since.set(now);
        }
        self.is_retired() || now.saturating_duration_since(self.since.get()) >= self.lifetime
    }
}

impl Links {
    /// A stream to the backend on a connection that stands.
    pub fn take(&self, backend: &Backend) -> Option<Stream> {
        let mut sets = self.0.borrow_mut();
        let set = sets.get_mut(backend.slot.index as usize)?.as_mut()?;
        if set.backend.slot.serial != backend.slot.serial {
            return None;
        }
        let moves = backend.moves();
        set.links.iter().filter(|link| link.place == moves).find_map(Link::stream)
    }

    /// Whether the backend takes CONNECT for a WebSocket (RFC 8441), as it has said on a connection that stands.
    pub fn takes_tunnels(&self, backend: &Backend) -> bool {
        let sets = self.0.borrow();
        let set = sets.get(backend.slot.index as usize).and_then(Option::as_ref);
        set.filter(|set| set.backend.slot.serial == backend.slot.serial)
            .is_some_and(|set| set.links.iter().any(|link| link.takes_tunnels()))
    }

    fn with<T>(&self, backend: &Arc<Backend>, what: impl FnOnce(&mut Set) -> T) -> T {
        let mut sets = self.0.borrow_mut();
        let index = backend.slot.index as usize;
        if sets.len() <= index {
            sets.resize_with(index + 1, || None);
        }
        let fresh = || Set { backend: Arc::clone(backend), links: Vec::new(), opening: Rc::new(Semaphore::new(1)) };
        let set = sets[index].get_or_insert_with(fresh);
        if set.backend.slot.serial != backend.slot.serial {
            *set = fresh();
        }
        what(set)
    }

    /// Takes no more requests to the backend on what there is.
    pub fn forget(&self, backend: &Backend) {
        if let Some(set) = self.0.borrow_mut().get_mut(backend.slot.index as usize) {
            *set = None;
        }
    }

    /// Lets go of what is of no more use.
    pub fn sweep(&self) {
        let now = Instant::now();
        for place in self.0.borrow_mut().iter_mut() {
            let Some(set) = place else { continue };
            let is_out = set.backend.is_retired() || set.backend.is_out();
            let moves = set.backend.moves();
            set.links.retain(|link| {
                let stays = !is_out && link.place == moves && !link.is_over(now);
                if !stays {
                    link.retire();
                }
                stays
            });
            set.count();
        }
    }
}

impl Set {
    /// Notes how many carry nothing; once a second is enough for who looks at it.
    fn count(&self) {
        let idle = self.links.iter().filter(|link| link.ledger.streams() == 0).count();
        self.backend.stats.mine().idle.set(idle as u64);
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        self.links.iter().for_each(|link| link.retire());
        self.backend.stats.mine().idle.set(0);
    }
}

/// A stream to the leased backend: on a connection that has come about meanwhile, or on a new one; and how long that took.
///
/// # Errors
/// Why there is none.
pub async fn open(
    worker: &Worker,
    search: &Search<'_>,
    lease: &Lease,
    deadline: Duration,
    timer: &Timer,
) -> Result<(Stream, Duration), Cause> {
    let (pool, backend) = (search.pool(), lease.backend());
    let begun = Instant::now();
    let opening = worker.links.with(backend, |set| Rc::clone(&set.opening));
    let turn = pin!(async { opening.acquire().await.map_err(|_closed| Cause::ConnectFailed) });
    let _turn = watched(lease, deadline, timer, turn).await?;
    if let Some(stream) = worker.links.take(backend) {
        return Ok((stream, begun.elapsed()));
    }
    let (socket, _) = attempt::open(search, lease, deadline, timer, HttpVersion::V2).await?;
    let speaks = pool.tls.is_none() || socket.protocol() == Some(b"h2");
    if !speaks {
        tracing::debug!(pool = %pool.config.name, backend = %backend.name, "no HTTP/2 with a backend: TLS agreed on another");
        return Err(Cause::TlsFailed);
    }
    socket.watch(pool.way.as_ref(), pool.config.timeouts.response.max(LOST_AFTER_MIN));
    let agreed = watched(lease, deadline, timer, pin!(agree(pool, backend, socket))).await;
    let link = agreed.inspect_err(|_cause| backend.stats.mine().connect_failures.inc())?;
    worker.links.with(backend, |set| set.links.push(Rc::clone(&link)));
    let stream = link.stream().ok_or(Cause::ConnectFailed)?;
    Ok((stream, begun.elapsed()))
}

/// Settings both ways. The answer to a ping comes behind those of the backend: then it is known to speak HTTP/2, and what
/// it allows.
async fn agree(pool: &Pool, backend: &Backend, socket: Stream) -> Result<Rc<Link>, Cause> {
    let failed = |error: h2::Error| {
        tracing::debug!(pool = %pool.config.name, backend = %backend.name, %error, "no HTTP/2 with a backend");
        Cause::ConnectFailed
    };
    let (is_tls, place) = (socket.is_tls(), socket.place);
    let (sender, mut connection) = client::Builder::new()
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEAD)
        .max_send_buffer_size(SEND_BUFFER)
        .handshake::<_, Parcel>(Wire::new(socket, None, None))
        .await
        .map_err(failed)?;
    let ping = connection.ping_pong();
    let link = Rc::new(Link {
        sender: RefCell::new(Some(sender)),
        ledger: Ledger::new(0),
        is_tls,
        authority: backend.address.host(),
        place,
        since: Cell::new(Instant::now()),
        lifetime: pool.config.timeouts.idle,
    });
    let driven = Rc::clone(&link);
    tokio::task::spawn_local(async move {
        // Whoever has a stream on it learns of its end there.
        let _ = connection.await;
        driven.retire();
    });
    if let Some(mut ping) = ping {
        pong(&mut ping).await.map_err(failed)?;
    }
    Ok(link)
}

async fn pong(ping: &mut PingPong) -> Result<(), h2::Error> {
    ping.send_ping(Ping::opaque())?;
    poll_fn(|context| ping.poll_pong(context)).await.map(|_pong| ())
}
