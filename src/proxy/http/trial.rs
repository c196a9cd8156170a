//! What would become of a request or a connection: asked of the code that serves traffic, over a table that serves none.
//!
//! Called by `server` for the tests of a configuration. A request goes through `understand` as any other does, with
//! nobody at the other end; passwords and other services are not asked, and what they guard counts as passed.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;

use super::connection::Connection;
use super::understand::Head;
use crate::config::model::PoolIndex;
use crate::net::buffer::{Buffer, Size};
use crate::net::stream::{Carrier, Stream};
use crate::net::tls::{ClientCertificate, Facts};
use crate::proxy::chosen;
use crate::proxy::worker::Worker;
use crate::route::{Listener, Published, Table};

/// Where trials are made.
#[derive(Debug)]
pub struct Trial {
    worker: Rc<Worker>,
}

/// What would become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Where it ends.
    pub end: End,
    /// The route that decides; `None`: the listener itself, or nobody.
    pub route: Option<usize>,
}

/// Where it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// At a backend of this pool; of one of these where chance decides.
    Pools(Vec<PoolIndex>),
    /// The balancer answers by itself.
    Answer {
        /// The status.
        status: u16,
        /// Where a redirect leads.
        location: Option<String>,
        /// Why, in the word of the access log.
        why: &'static str,
        /// Whether somebody has decided so, or it is for want of anything else.
        refused: Refused,
    },
    /// The connection is closed.
    Closed,
}

/// Whether an answer is a refusal before anything was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It was refused before, or nothing matches.
    Undecided,
    /// A route or the listener says so.
    ByRule,
}

impl Trial {
    /// Over a table that nobody else uses. On a thread of its own: what it counts must not be taken for traffic.
    pub fn new(mut table: Table) -> Self {
        for listener in table.listeners.iter_mut().filter_map(Arc::get_mut) {
            // One test must not find that another one has used up what a client may ask for.
            listener.gates.iter_mut().for_each(|gates| gates.rate = None);
        }
        let published = Arc::new(Published::new(table));
        Self { worker: Worker::new(published, Arc::new(AtomicU32::new(0)), 1, 1) }
    }

    /// What would become of a request with this head; `None`: there is no such listener.
    pub fn request(&self, listener: &str, client: IpAddr, head: &[u8], server_name: Option<&str>) -> Option<Outcome> {
        let view = self.worker.view();
        let listener = view.listener(listener)?;
        let nobody = Nobody { server_name: server_name.map(Into::into) };
        let stream = Stream::carried(Box::new(nobody));
        let address = SocketAddr::new(client, 0);
        let mut connection =
            Connection::new(Rc::clone(&self.worker), view, listener, stream, Some(hand(head)), address);
        let understood = connection.understand();
        connection.hand = Some(hand(head));
        let decided = connection.decided();
        let end = match understood {
            Ok(Head::Whole(_, incoming)) => match &decided {
                Some(decided) if decided.by_chance.len() > 1 => End::Pools(decided.by_chance.clone()),
                _ => End::Pools(vec![PoolIndex(incoming.pool)]),
            },
            Ok(Head::Own(own)) => End::Answer {
                status: own.status,
                location: location(&own.lines),
                why: own.end,
                refused: Refused::ByRule,
            },
            Ok(Head::Incomplete | Head::Nobodys) => End::Closed,
            Err(reject) => End::Answer {
                status: reject.status().0,
                location: None,
                why: reject.word(),
                refused: Refused::Undecided,
            },
        };
        Some(Outcome { end, route: decided.and_then(|decided| decided.route) })
    }

    /// What would become of a connection; `None`: there is no such listener.
    pub fn connection(&self, listener: &str, client: IpAddr, server_name: Option<&str>) -> Option<Outcome> {
        let listener = self.worker.view().listener(listener)?;
        let (route, to) = chosen::destined(&listener, server_name.unwrap_or_default(), client);
        let pool = to.and_then(|(destination, _)| destination.pools().next());
        Some(Outcome { end: pool.map_or(End::Closed, |pool| End::Pools(vec![pool])), route })
    }

    /// Whether a listener says what becomes of what no route matches.
    pub fn has_own(&self, listener: &str) -> bool {
        let has = |listener: Arc<Listener>| listener.config.destination.is_some();
        self.worker.view().listener(listener).is_some_and(has)
    }
}

fn hand(head: &[u8]) -> Buffer {
    let mut hand = Buffer::take(Size::Small);
    hand.append(head);
    hand
}

fn location(lines: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(lines);
    text.split("\r\n").find_map(|line| line.strip_prefix("Location: ")).map(str::to_owned)
}

/// A client that is not there.
#[derive(Debug)]
struct Nobody {
    /// The name that TLS was asked for; `None`: there is no TLS.
    server_name: Option<Box<str>>,
}

impl Carrier for Nobody {
    fn poll_read(&mut self, _context: &mut Context<'_>, _space: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, _context: &mut Context<'_>, _bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_gone(&mut self, _context: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn finish_sending(&mut self) {}

    fn reset(&mut self) {}

    fn is_tls(&self) -> bool {
        self.server_name.is_some()
    }

    fn tls(&self) -> Option<Facts<'_>> {
        let server_name = self.server_name.as_deref()?;
        let cipher = "TLS_AES_128_GCM_SHA256";
        Some(Facts { version: "TLSv1.3", cipher, protocol: None, server_name: Some(server_name), client: None })
    }

    fn local_address(&self) -> Option<SocketAddr> {
        None
    }

    fn client_certificate(&self) -> Option<&Arc<ClientCertificate>> {
        None
    }

    fn is_untouched(&self) -> bool {
        true
    }
}
