//! Taking connections from a listening socket of the worker, as many as the limits allow.
//!
//! At a limit, and when the system has no descriptor left, accepting pauses: connections wait in the kernel's queue
//! and nothing spins.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::watch;

use super::http::connection;
use super::http::http2::front;
use super::http::version::{self, Told};
use super::tcp;
use super::worker::{View, Worker};
use crate::config::model::{NO_ADDRESS, Protocol};
use crate::metrics::{HANDSHAKES, Rejection};
use crate::net::listen::{Acceptor, Unserved};
use crate::net::proxy_protocol::{self, Named};
use crate::net::stream::Stream;
use crate::net::tls::{ClientFault, Server, client_fault};
use crate::net::transport::Transport;
use crate::net::wheel::Timer;
use crate::route::Listener;
use crate::route::crowd::Presence;

/// How long accepting pauses at a limit before it looks again.
const PAUSE: Duration = Duration::from_millis(20);

/// For whom a socket is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Door {
    /// For the listener of this name.
    Open(Arc<str>),
    /// For nobody any more: who waits is taken in, and then it is closed.
    Shut,
    /// Another process serves it from now on, and those who wait.
    Left,
}

impl Door {
    /// The listener, where it is open.
    pub fn name(&self) -> Option<&Arc<str>> {
        match self {
            Self::Open(name) => Some(name),
            Self::Shut | Self::Left => None,
        }
    }
}

/// Accepts on one socket, for the listener that `door` says, until it says none.
pub async fn run(worker: Rc<Worker>, socket: Unserved, mut door: watch::Receiver<Door>) {
    let socket = match socket.serve() {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(%error, "a listening socket cannot be used");
            return;
        }
    };
    let mut seat = None;
    // Said once, not at every look: a flood would fill the log as well.
    let (mut full, mut failing) = (false, false);
    while door.borrow_and_update().name().is_some() {
        let Some((view, listener)) = newest(&worker, &door, &mut seat) else {
            pause(&mut door).await;
            continue;
        };
        if is_full(&worker, view, listener) {
            if !std::mem::replace(&mut full, true) {
                tracing::warn!(listener = %listener.config.name, "the limit of connections is reached; accepting pauses");
            }
            pause(&mut door).await;
            continue;
        }
        full = false;
        let accepted = tokio::select! {
            biased;
            accepted = socket.accept() => accepted,
            _ = door.changed() => continue,
            // Perhaps a new table: an old one must not be kept for want of clients.
            () = worker.ready_changes() => continue,
        };
        match accepted {
            Ok((stream, address)) => {
                failing = false;
                // The wait may have been hours.
                if let Some(seat) = newest(&worker, &door, &mut seat) {
                    begin(&worker, seat, stream, address);
                }
            }
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "accepting pauses");
                }
                pause(&mut door).await;
            }
        }
    }
    if let Some(seat) = &seat
        && *door.borrow() != Door::Left
    {
        take_the_rest(&worker, &socket, seat);
    }
}

/// A table, and the listener as that table has it.
pub(super) type Seat = (Rc<View>, Arc<Listener>);

/// The newest table that has the listener. Table and door change one after the other: between them it goes on as before.
pub(super) fn newest<'a>(
    worker: &Worker,
    door: &watch::Receiver<Door>,
    seat: &'a mut Option<Seat>,
) -> Option<&'a Seat> {
    let view = worker.view();
    let door = door.borrow();
    let stands = seat.as_ref().is_some_and(|(seen, listener)| {
        seen.table.generation == view.table.generation && door.name() == Some(&listener.config.name)
    });
    if !stands && let Some(listener) = door.name().and_then(|name| view.listener(name)) {
        *seat = Some((view, listener));
    }
    seat.as_ref()
}

/// Closing the socket would reset those who have connected and were not accepted yet.
fn take_the_rest(worker: &Rc<Worker>, socket: &Acceptor, seat: &Seat) {
    let mut context = Context::from_waker(Waker::noop());
    while let Poll::Ready(Ok((stream, address))) = socket.poll_accept(&mut context) {
        begin(worker, seat, stream, address);
    }
}

fn is_full(worker: &Worker, view: &View, listener: &Listener) -> bool {
    listener.open.load(Relaxed) >= listener.config.limits.connections.get()
        || worker.open.load(Relaxed) >= view.table.config.limits.connections.get()
}

fn begin(worker: &Rc<Worker>, (view, listener): &Seat, stream: Transport, address: SocketAddr) {
    let place = worker.place(&listener.open);
    let (worker, view, listener) = (Rc::clone(worker), Rc::clone(view), Arc::clone(listener));
    let stats = Arc::clone(&listener.stats);
    stats.mine().connections.inc();
    tokio::task::spawn_local(async move {
        let Some((stream, address, presence)) = greet(&listener, stream, address).await else {
            stats.mine().connections_ended.inc();
            return;
        };
        match listener.config.protocol {
            Protocol::Http => {
                let (stream, spoken) = version::tell(&worker, &listener, stream).await;
                match spoken {
                    Told::V1(early) => connection::serve(worker, view, listener, stream, early, address).await,
                    // Boxed: every connection would keep the room that only these need.
                    Told::V2(early) => {
                        Box::pin(front::serve(worker, view, listener, stream, early, address)).await;
                    }
                }
            }
            Protocol::Tcp => tcp::serve(worker, view, listener, stream, address).await,
            // Its sockets are others: what was bound for connections is closed.
            Protocol::Udp => {}
        }
        stats.mine().connections_ended.inc();
        drop((place, presence));
    });
}

/// Who has been greeted: the connection, who it is from, and its place among those of its client.
type Greeted = (Stream, SocketAddr, Option<Presence>);

/// Everything before the first byte of the protocol: who it is from, and TLS. `None` where that came to nothing.
async fn greet(listener: &Listener, mut stream: Transport, peer: SocketAddr) -> Option<Greeted> {
    let mut said = None;
    let networks = &listener.config.accept_proxy;
    if !networks.is_empty() && networks.iter().any(|network| network.contains(&peer.ip().to_canonical())) {
        // Boxed: every connection would keep the room that its first moments need.
        said = Box::pin(named(listener, &mut stream)).await?;
    }
    let address = said.as_ref().map_or(peer, |said| said.client);
    let presence = match listener.config.limits.connections_per_client {
        None => None,
        Some(most) => enter(listener, address.ip().to_canonical(), most).ok()?,
    };
    let mut stream = dress(listener, stream, address).await?;
    if let Some(said) = said {
        stream.set_reached(said.reached);
    }
    Some((stream, address, presence))
}

/// A client has as many connections as it may.
struct Enough;

/// A place among the connections of this client. Those of a proxy that is trusted are many clients', and who comes by a unix
/// socket has no address: neither is counted.
fn enter(listener: &Listener, client: IpAddr, most: NonZeroU32) -> Result<Option<Presence>, Enough> {
    let is_many = listener.config.trusted_proxies.iter().any(|network| network.contains(&client));
    if is_many || client == NO_ADDRESS {
        return Ok(None);
    }
    let presence = listener.crowd.enter(client, most);
    if presence.is_none() {
        listener.stats.mine().reject(Rejection::ConnectionsPerClient);
        if listener.crowd.may_say() {
            tracing::warn!(listener = %listener.config.name, %client, most, "a client has as many connections as it may; more are closed");
        }
    }
    presence.map(Some).ok_or(Enough)
}

/// Who a proxy in front says that the client is, and where that has gone to. Boxed: few connections have it.
async fn named(listener: &Listener, stream: &mut Transport) -> Option<Option<Box<Named>>> {
    match within(listener.config.timeouts.head, proxy_protocol::take(stream)).await {
        Some(Ok(said)) => Some(said.map(Box::new)),
        other => {
            let why = other.and_then(Result::err).map_or("late".to_owned(), |error| error.to_string());
            tracing::debug!(listener = %listener.config.name, %why, "no PROXY header");
            listener.stats.mine().reject(Rejection::ProxyHeader);
            None
        }
    }
}

/// What comes of something before its time is over.
pub async fn within<T>(time: Duration, doing: impl Future<Output = T>) -> Option<T> {
    let timer = Timer::new();
    timer.set(time);
    let mut doing = pin!(doing);
    poll_fn(|context| match doing.as_mut().poll(context) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending if timer.poll_elapsed(context) => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Agrees on TLS where the listener wants it; `None` where that came to nothing.
async fn dress(listener: &Listener, stream: Transport, peer: SocketAddr) -> Option<Stream> {
    match (&listener.config.tls, &listener.tls) {
        (None, _) => Some(Stream::new(stream)),
        // Boxed: every connection would keep the room that its first moments need.
        (Some(_), Some(server)) => Box::pin(handshake(listener, server, stream, peer)).await,
        (Some(_), None) => None,
    }
}

async fn handshake(listener: &Listener, server: &Server, stream: Transport, peer: SocketAddr) -> Option<Stream> {
    let result = within(listener.config.timeouts.head, server.handshake(stream)).await;
    let counted = |position: usize| listener.stats.mine().handshakes[position].inc();
    match result {
        Some(Ok(socket)) => {
            counted(0);
            Some(Stream::over_tls(socket))
        }
        Some(Err(error)) => {
            let result = result_of(&error);
            counted(result);
            let result = HANDSHAKES[result];
            tracing::debug!(listener = %listener.config.name, client = %peer, result, %error, "no TLS with a client");
            None
        }
        None => {
            counted(2);
            None
        }
    }
}

/// The position in [`HANDSHAKES`] of one that has failed.
fn result_of(error: &io::Error) -> usize {
    match client_fault(error) {
        None => 1,
        Some(ClientFault::None) => 3,
        Some(ClientFault::UnknownIssuer) => 4,
        Some(ClientFault::Revoked) => 5,
        Some(ClientFault::Expired) => 6,
        Some(ClientFault::Other) => 7,
    }
}

/// Errors that concern the connection that was about to come, not the socket (accept(2)).
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

async fn pause(door: &mut watch::Receiver<Door>) {
    // Either way the loop looks at everything again.
    let _ = tokio::time::timeout(PAUSE, door.changed()).await;
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::net::SocketAddr;

    use super::*;

    /// Size of what `serve` becomes, without calling it.
    fn bytes<F: Future>(_serve: impl FnOnce(Rc<Worker>, Rc<View>, Arc<Listener>, Stream, SocketAddr) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_connection_is_small() {
        // Each open connection holds its future, busy or idle: these bounds are what ten thousand of them may cost.
        let serve =
            |worker, view, listener, stream, address| connection::serve(worker, view, listener, stream, None, address);
        let (http, tcp) = (bytes(serve), bytes(tcp::serve));
        assert!(http <= 832, "HTTP: {http} bytes");
        assert!(tcp <= 1408, "TCP: {tcp} bytes");
    }
}
