//! Where a TCP connection goes: by the routes of its listener, which look at the name that a TLS client asks for and at
//! who it is.
//!
//! Where TLS ends at the backend, the name is read from the client's first message, which stays in hand and is passed on
//! as it came. Only listeners whose routes name hosts wait for it.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::log::{Ended, Line};
use super::outcome::Phase;
use super::worker::Worker;
use crate::config::model::{Destination, PoolIndex, Reads, ValueMatch};
use crate::metrics::Rejection;
use crate::net::buffer::{Buffer, Size};
use crate::net::client_hello::{self, Hello};
use crate::net::stream::Stream;
use crate::net::wheel::Timer;
use crate::route::Listener;
use crate::route::routes::Question;

/// A fatal alert of TLS, `unrecognized_name` (RFC 6066, section 3), in a record of its own: a client that is told so says
/// so, instead of guessing why it was cut.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// Where a connection goes.
pub(super) struct Chosen {
    pub(super) pool: PoolIndex,
    pub(super) reads: Reads,
    /// For the log: the name that it was asked for. Boxed, for every connection would keep its room.
    pub(super) line: Option<Box<Line>>,
}

/// What the first bytes have brought.
enum Asked {
    /// A client of TLS, with the name that it asks for.
    Tls(Option<Box<str>>),
    /// A client of something else.
    Other,
    /// Something that begins like TLS and is none, or nothing in time.
    Nonsense(&'static str),
    /// The client has gone.
    Gone,
}

/// Where a connection goes; `None`: nowhere, which has been counted and logged.
pub(super) async fn choose(
    worker: &Worker,
    listener: &Listener,
    client: &mut Stream,
    hand: &mut Option<Buffer>,
    address: SocketAddr,
) -> Option<Chosen> {
    let begun = Instant::now();
    let asked = match client.tls() {
        Some(facts) => Asked::Tls(facts.server_name.map(Into::into)),
        // Boxed: every connection would keep the room that its first moments need.
        None if listener.routes.look_at_hosts() => Box::pin(read_name(listener, client, hand)).await,
        None => Asked::Other,
    };
    let turned_away = |reason: Rejection, name: Option<&str>| {
        listener.stats.mine().reject(reason);
        log(worker, listener, address, begun, reason.word(), name);
    };
    let (name, is_hello) = match asked {
        Asked::Tls(name) => (name, !client.is_tls()),
        Asked::Other => (None, false),
        Asked::Gone => return None,
        Asked::Nonsense(why) => {
            tracing::debug!(listener = %listener.config.name, client = %address, why, "no TLS client");
            client.reset_on_drop();
            turned_away(Rejection::ClientHello, None);
            return None;
        }
    };
    let (_, to) = destined(listener, name.as_deref().unwrap_or_default(), address.ip().to_canonical());
    let chosen = to.and_then(|(to, reads)| Some((to.pools().next()?, reads)));
    let Some((pool, reads)) = chosen else {
        if is_hello {
            tell(client, &UNRECOGNIZED_NAME);
        }
        turned_away(Rejection::NoRoute, name.as_deref());
        return None;
    };
    let line = Line::named(listener, Some(client), name.as_deref());
    Some(Chosen { pool, reads, line })
}

/// Where a client that asks for this name is sent, and by which route; by none: as the listener says.
pub(super) fn destined<'l>(
    listener: &'l Listener,
    name: &str,
    client: IpAddr,
) -> (Option<usize>, Option<(&'l Destination, Reads)>) {
    let position = listener.routes.position(&Named { name, client });
    let route = position.and_then(|position| listener.routes.at(position));
    let own = || listener.config.destination.as_ref().map(|to| (to, listener.config.reads));
    (position, route.map(|route| (&route.destination, route.reads)).or_else(own))
}

/// Reads until it is clear which name the client asks for, within `timeouts.head`.
async fn read_name(listener: &Listener, client: &mut Stream, hand: &mut Option<Buffer>) -> Asked {
    let timer = Timer::new();
    timer.set(listener.config.timeouts.head);
    loop {
        let read = poll_fn(|context| match client.poll_fill(context, hand, Size::Small) {
            Poll::Ready(read) => Poll::Ready(read),
            Poll::Pending if timer.poll_elapsed(context) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        });
        match (read.await, hand.as_ref().map(Buffer::filled)) {
            (Err(error), _) if error.kind() == io::ErrorKind::TimedOut => return Asked::Nonsense("nothing in time"),
            (Err(_), _) | (Ok(0), None) => return Asked::Gone,
            (Ok(0), Some(_)) => return Asked::Nonsense("the end came within it"),
            (Ok(_), bytes) => match client_hello::read(bytes.unwrap_or_default()) {
                Hello::Incomplete => {}
                Hello::NotTls => return Asked::Other,
                Hello::Broken => return Asked::Nonsense("it breaks the rules of a hello"),
                Hello::Whole(name) => return Asked::Tls(name),
            },
        }
    }
}

/// Sends a few bytes as far as that goes without waiting: nothing was sent before them, so they fit.
fn tell(client: &mut Stream, bytes: &[u8]) {
    let mut out = Buffer::take(Size::Small);
    out.append(bytes);
    // Who cannot take them has gone.
    let _ = client.poll_flush(&mut Context::from_waker(Waker::noop()), &mut out);
}

fn log(worker: &Worker, listener: &Listener, client: SocketAddr, begun: Instant, end: &str, name: Option<&str>) {
    let Some(line) = Line::named(listener, None, name) else { return };
    let mut ended = Ended::without_pool(client.ip(), 0, 0, end, Phase::Request);
    ended.total = begun.elapsed();
    worker.log.write(listener, &line, &ended);
}

/// What a route can look at.
struct Named<'a> {
    name: &'a str,
    client: IpAddr,
}

impl Question for Named<'_> {
    fn method(&self) -> &[u8] {
        b""
    }
    fn host(&self) -> &[u8] {
        self.name.as_bytes()
    }
    fn path(&self) -> &[u8] {
        b""
    }
    fn client(&self) -> IpAddr {
        self.client
    }
    fn header_holds(&self, _condition: &ValueMatch) -> bool {
        false
    }
    fn cookie_holds(&self, _condition: &ValueMatch) -> bool {
        false
    }
    fn query_holds(&self, _condition: &ValueMatch) -> bool {
        false
    }
}
