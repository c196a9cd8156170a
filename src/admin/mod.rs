//! The admin port: metrics for Prometheus, health of the balancer itself, and the API.
//!
//! `server` gives it a bound socket and the shared state; it runs on the control thread and takes nothing from the
//! data path but reads. Everything it does has a limit: connections, head and body, and the time for each.

mod access;
mod answer;
mod audit;
mod callers;
pub mod changes;
pub mod drills;
pub mod events;
mod exposition;
pub mod generations;
pub mod incidents;
mod live;
mod openapi;
pub mod orders;
mod pace;
mod page;
mod place;
pub mod records;
mod reply;
mod routes;
pub mod security;
pub mod view;
pub mod whoami;
pub mod why;

use std::convert::Infallible;
use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::audit::Audit;
use self::callers::{Callers, Peer, Shown};
use self::pace::Pace;
use crate::config::model::{Admin, NO_ADDRESS, Per, Rate};
use crate::config::{Loaded, Problems, Source};
use crate::control::history::History;
use crate::control::orders::Orders;
use crate::control::records::Records;
use crate::control::{Life, ReloadSender};
use crate::log::sink::Sinks;
use crate::net::listen::Unserved;
use crate::net::tls::{Accepted, Server};
use crate::net::transport::Transport;
use crate::pool::events::Events;
use crate::probe::Schedule;
use crate::route::Published;
use crate::route::crowd::Crowd;
use crate::route::rate::Limiter;

pub use exposition::{Asked, Exposition, Form, Names};

/// Connections at once; further ones wait to be accepted. A scraper, a few tools and an orchestrator need ten.
const MAX_CONNECTIONS: usize = 256;
/// Those of them that one address may have.
const CONNECTIONS_EACH: NonZeroU32 = NonZeroU32::new(MAX_CONNECTIONS as u32 / 2).expect("some");
/// A request head, bytes; also the most that is read ahead.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// A request body, bytes.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// A configuration that is sent to be judged, bytes.
const MAX_CONFIG_BYTES: usize = 32 * 1024 * 1024;
/// From the first byte of a head to its last, and from a head to the end of its body.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection is closed when it is this old: one whose client has stopped reading is not kept for ever.
const MAX_AGE: Duration = Duration::from_secs(600);
/// What a request under way may still take when its connection has reached that age.
const LAST_WORDS: Duration = Duration::from_secs(30);
/// The same where another process has the port from now on: who follows what happens follows it there.
const CLOSING: Duration = Duration::from_secs(2);
/// How long a connection that has just come may then take to say what it wants: it would be cut without an answer.
const FIRST_WORDS: Duration = Duration::from_millis(300);
/// Handshakes of TLS of one address, each a millisecond of the thread that does everything else as well.
const HANDSHAKES_A_SECOND: NonZeroU32 = NonZeroU32::new(50).expect("fifty");
/// The same at once: a page opens some connections side by side.
const HANDSHAKES_AT_ONCE: NonZeroU32 = NonZeroU32::new(100).expect("a hundred");
/// Pause after `accept` failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Reads a configuration and judges it, by its own tests, too.
pub type Load = fn(&Source) -> Result<Loaded, Problems>;

/// What the admin port shows and whom it asks. The tokens that open it are those of the configuration in
/// force.
#[derive(Debug)]
pub struct AdminState {
    /// The current table.
    pub table: Arc<Published>,
    /// The program's own life.
    pub life: Arc<Life>,
    /// What happened lately.
    pub events: Arc<Events>,
    /// What operators order.
    pub orders: Orders,
    /// Who explains, and probes on request.
    pub schedule: Schedule,
    /// The configurations that took effect.
    pub history: Arc<History>,
    /// What changes meant.
    pub records: Arc<Records>,
    /// Reads a configuration and judges it as a reload would.
    pub load: Load,
    /// Where to ask for a reload.
    pub reload: ReloadSender,
    /// What the configuration of the start says of it. The socket is of the start, too: a reload that takes every token
    /// away would open a port that may be on the network, so these go on.
    pub first: Arc<Admin>,
    /// How that agrees on TLS, where it does.
    pub first_tls: Option<Arc<Server>>,
    /// Where the audit log goes, among others.
    pub sinks: Arc<Sinks>,
    /// When the program started.
    pub started: Timestamp,
    /// The program's version.
    pub version: &'static str,
}

impl AdminState {
    /// Who may do what, by the configuration in force.
    fn admin(&self) -> Arc<Admin> {
        let now = &self.table.load().config.admin;
        Arc::clone(if now.asks() || !self.first.asks() { now } else { &self.first })
    }

    /// How it agrees on TLS; `None` where it does not, or where it should and cannot.
    fn tls(&self, admin: &Arc<Admin>) -> Option<Arc<Server>> {
        let is_first = Arc::ptr_eq(admin, &self.first);
        if is_first { self.first_tls.clone() } else { self.table.load().admin.clone() }
    }
}

/// What every connection shares.
struct Desk {
    state: Arc<AdminState>,
    callers: Callers,
    /// Handshakes of TLS.
    handshakes: Limiter,
    /// Who has how many connections.
    crowd: Arc<Crowd>,
    pace: Pace,
    audit: Audit,
    exposition: Arc<Exposition>,
    /// One scrape at a time: a second one would double the memory and be no faster.
    scrape: Semaphore,
    /// Who may follow at once.
    streams: Arc<Semaphore>,
}

/// Serves the admin port until the other end of `closing` is dropped: then it accepts no more, and its connections end with
/// what they have been asked. Dropping the future ends them at once. Runs on a tokio runtime with time and I/O.
///
/// # Errors
/// When the socket cannot be handed to the runtime.
pub async fn serve(listener: Unserved, state: Arc<AdminState>, mut closing: watch::Receiver<()>) -> io::Result<()> {
    let listener = listener.serve()?;
    let exposition = Arc::new(Exposition::new(Arc::clone(&state)));
    let streams = Arc::new(Semaphore::new(live::MAX_STREAMS));
    let desk = Arc::new(Desk {
        state,
        callers: Callers::new(),
        handshakes: handshakes(),
        crowd: Arc::default(),
        pace: Pace::default(),
        audit: Audit::new(),
        exposition,
        scrape: Semaphore::new(1),
        streams,
    });
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = closing.changed() => break,
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, address)) => {
                    let peer = Peer { address: address.ip(), user: stream.user(), shown: None };
                    // Whoever takes more would leave none to others. Who comes by a unix socket is let in by its file.
                    let presence = desk.crowd.enter(peer.address, CONNECTIONS_EACH);
                    if presence.is_some() || peer.address == NO_ADDRESS {
                        let served = connection(stream, peer, Arc::clone(&desk), closing.clone());
                        connections.spawn(async move {
                            let _presence = presence;
                            served.await;
                        });
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "admin port cannot accept");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    Ok(())
}

/// How often one address may begin TLS.
fn handshakes() -> Limiter {
    let rate = Rate {
        per: Per::Client,
        requests: HANDSHAKES_A_SECOND,
        every: Duration::from_secs(1),
        burst: HANDSHAKES_AT_ONCE,
    };
    Limiter::new(&rate)
}

/// Serves a connection: TLS first, where that is spoken here.
async fn connection(stream: Transport, mut peer: Peer, desk: Arc<Desk>, closing: watch::Receiver<()>) {
    let admin = desk.state.admin();
    // A socket of this machine is as private as its file, and commands speak plainly there.
    if admin.tls.is_none() || peer.address == NO_ADDRESS {
        return serve_http(stream, peer, desk, closing).await;
    }
    // A handshake costs a thousand times what a request does that is refused.
    if peer.ask(&desk.handshakes).is_err() {
        return;
    }
    let Some(server) = desk.state.tls(&admin) else { return };
    match timeout(READ_TIMEOUT, server.accept(stream)).await {
        Ok(Ok(Accepted { stream, client, trust })) => {
            peer.shown = client.map(|certificate| Shown { certificate, trust });
            serve_http(stream, peer, desk, closing).await;
        }
        Ok(Err(error)) => tracing::debug!(from = %peer.words(), %error, "no TLS with a client of the admin port"),
        Err(_elapsed) => {}
    }
}

async fn serve_http(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: Peer,
    desk: Arc<Desk>,
    mut closing: watch::Receiver<()>,
) {
    let peer = Arc::new(peer);
    let service = service_fn(|request| {
        let (desk, peer) = (Arc::clone(&desk), Arc::clone(&peer));
        async move { Ok::<_, Infallible>(answer::answer(request, &peer, &desk).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(READ_TIMEOUT).max_buf_size(MAX_HEAD_BYTES);
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    // How a connection of the admin port ends concerns its client alone, which sees it.
    let last_words = tokio::select! {
        _ended = connection.as_mut() => return,
        () = sleep(MAX_AGE) => LAST_WORDS,
        _ = closing.changed() => {
            if timeout(FIRST_WORDS, connection.as_mut()).await.is_ok() {
                return;
            }
            CLOSING
        }
    };
    connection.as_mut().graceful_shutdown();
    let _ = timeout(last_words, connection).await;
}
