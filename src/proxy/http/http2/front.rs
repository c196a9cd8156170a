//! A client's connection of HTTP/2: from the preface to its end, one task; each request becomes one more.
//!
//! It has the deadlines of a connection of HTTP/1.1: `head` for the first request, and for fields that have begun to
//! come; `client_idle` when no stream is open. Whatever a stream waits for is the stream's own business.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::Request;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream};

use super::floods::{Flood, MAX_ERRORS};
use super::ledger::{Ledger, Parcel};
use super::served::{From, Served};
use super::wire::{LINGER, Wire};
use crate::clock;
use crate::net::buffer::Buffer;
use crate::net::stream::Stream;
use crate::net::wheel::Timer;
use crate::proxy::http::connection;
use crate::proxy::worker::{View, Worker};
use crate::route::Listener;

/// A stream may bring so much before any of it is taken.
const STREAM_WINDOW: u32 = 128 * 1024;
/// All streams together: what a client can make us keep of requests that no backend takes.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Room for what DATA in small pieces costs beside its bytes, 256 bytes for each: a burst of messages is no flood.
const DATA_BUDGET: usize = 2 * 1024 * 1024;
/// A stream may have so much handed over and not sent.
const SEND_BUFFER: usize = 64 * 1024;
/// Longer than any wait that is not ended by something else.
const NEVER: Duration = Duration::from_secs(24 * 60 * 60);

type Library = server::Connection<Wire, Parcel>;

/// What is known of a connection beside what the library knows.
struct Front {
    worker: Rc<Worker>,
    listener: Arc<Listener>,
    /// The table that has `listener`; none where the listener is gone and nobody may come any more.
    view: Option<Rc<View>>,
    generation: u64,
    address: SocketAddr,
    from: Rc<From>,
    ledger: Rc<Ledger>,
    timer: Timer,
    wait: Wait,
    /// No request has come yet.
    is_fresh: bool,
    /// We have said that this is the end.
    is_ending: bool,
}

/// What the connection's own deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// The first request.
    First,
    /// The next one.
    Next,
    /// The rest of the fields of a request.
    Head,
    /// Nothing: streams have their own.
    Busy,
    /// The client's end.
    End,
}

/// Serves one connection, of which `early` has been read, from its preface to its end.
pub async fn serve(
    worker: Rc<Worker>,
    view: Rc<View>,
    listener: Arc<Listener>,
    client: Stream,
    early: Option<Buffer>,
    address: SocketAddr,
) {
    let ledger = Ledger::new(clock::millis());
    let from = From::of(&client);
    let wire = Wire::new(client, early, Some(Rc::clone(&ledger)));
    let mut front = Front {
        generation: view.table.generation,
        worker,
        listener,
        view: Some(view),
        address,
        from: Rc::new(from),
        ledger,
        timer: Timer::new(),
        wait: Wait::First,
        is_fresh: true,
        is_ending: false,
    };
    front.timer.set(front.listener.config.timeouts.head);
    let Some(mut library) = front.agree(wire).await else { return };
    poll_fn(|context| front.poll(context, &mut library)).await;
}

impl Front {
    /// Preface and settings, within the time of a head.
    async fn agree(&self, wire: Wire) -> Option<Library> {
        let limits = &self.listener.config.limits;
        // Each field counts 32 bytes more than it has (RFC 9113, section 6.5.2); the codec's own limits come after.
        let list = limits.head_bytes.saturating_add(32 * u32::from(limits.headers));
        let handshake = server::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(list)
            .max_send_buffer_size(SEND_BUFFER)
            .data_frame_budget(DATA_BUDGET)
            // Counted here already, with more patience for resets that come one by one.
            .max_pending_accept_reset_streams(MAX_ERRORS)
            .max_local_error_reset_streams(Some(MAX_ERRORS))
            .enable_connect_protocol()
            .handshake::<_, Parcel>(wire);
        let mut handshake = pin!(handshake);
        poll_fn(|context| match handshake.as_mut().poll(context) {
            Poll::Ready(agreed) => Poll::Ready(agreed.ok()),
            Poll::Pending if self.timer.poll_elapsed(context) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Moves the connection on; ready when it is over.
    fn poll(&mut self, context: &mut Context<'_>, library: &mut Library) -> Poll<()> {
        self.ledger.belongs_to(context);
        loop {
            match library.poll_accept(context) {
                Poll::Ready(Some(Ok((request, respond)))) => self.begin(request, respond),
                Poll::Ready(Some(Err(error))) => {
                    self.ended_by(&error);
                    return Poll::Ready(());
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        self.look_at_incoming(context, library);
        self.look_at_table(library);
        self.look_at_time(context, library)
    }

    /// A request has come: from here on it is served by a task of its own.
    fn begin(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Parcel>) {
        self.take_up_table();
        let Some(view) = self.view.clone() else {
            return respond.send_reset(Reason::REFUSED_STREAM);
        };
        self.is_fresh = false;
        let place = self.ledger.open();
        let (parts, body) = request.into_parts();
        let key = key(&self.worker);
        let (served, reject) = Served::new(&parts, body, respond, &self.ledger, &self.from, &key);
        let stream = Stream::carried(Box::new(served));
        let (worker, listener, address) = (Rc::clone(&self.worker), Arc::clone(&self.listener), self.address);
        tokio::task::spawn_local(async move {
            connection::serve_one(worker, view, listener, stream, address, reject).await;
            drop(place);
        });
    }

    /// The library has ended the connection: it counts some floods itself.
    fn ended_by(&self, error: &h2::Error) {
        let is_told = self.ledger.flood().is_some();
        if !is_told && error.is_library() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM) {
            self.count(self.ledger.likely_flood());
        }
        tracing::debug!(listener = %self.listener.config.name, client = %self.address, %error, "HTTP/2 ended");
    }

    fn count(&self, flood: Flood) {
        self.listener.stats.mine().floods[flood.index()].inc();
        let kind = flood.word();
        tracing::debug!(listener = %self.listener.config.name, client = %self.address, kind, "a flood of HTTP/2");
    }

    /// Ends the connection for what the library does not get to judge.
    fn look_at_incoming(&mut self, context: &mut Context<'_>, library: &mut Library) {
        if self.wait == Wait::End {
            return;
        }
        let reason = match (self.ledger.flood(), self.ledger.fault()) {
            (Some(flood), _) => {
                self.count(flood);
                Reason::ENHANCE_YOUR_CALM
            }
            (None, Some(reason)) => reason,
            (None, None) => return,
        };
        library.abrupt_shutdown(reason);
        self.wait(Wait::End);
        self.is_ending = true;
        context.waker().wake_by_ref();
    }

    /// Takes up the newest table, and what it says of this listener.
    fn take_up_table(&mut self) {
        if self.worker.generation() == self.generation {
            return;
        }
        let newest = self.worker.view();
        if let Some(listener) = newest.successor(&self.listener) {
            self.listener = listener;
            self.generation = newest.table.generation;
            self.view = Some(newest);
        }
    }

    /// Lets the connection end after the streams that are open, where nobody serves here any more.
    fn look_at_table(&mut self, library: &mut Library) {
        self.take_up_table();
        let is_orphan = self.worker.generation() != self.generation;
        if !self.is_ending && (is_orphan || self.worker.is_draining()) {
            self.end(library);
        }
    }

    /// Says that no further request is taken.
    fn end(&mut self, library: &mut Library) {
        self.is_ending = true;
        library.graceful_shutdown();
    }

    fn look_at_time(&mut self, context: &mut Context<'_>, library: &mut Library) -> Poll<()> {
        loop {
            let wait = self.due();
            if wait != self.wait {
                self.wait(wait);
            }
            if !self.timer.poll_elapsed(context) {
                return Poll::Pending;
            }
            match self.wait {
                Wait::End => return Poll::Ready(()),
                Wait::Busy => {
                    // What may still be on its way has had its time: the old table is let go of.
                    if self.is_ending {
                        self.view = None;
                    }
                    self.wait(Wait::Busy);
                }
                Wait::First | Wait::Next | Wait::Head => {
                    self.end(library);
                    // Sends what it has to say.
                    context.waker().wake_by_ref();
                }
            }
        }
    }

    fn due(&self) -> Wait {
        match self.wait {
            Wait::End => Wait::End,
            _ if self.ledger.streams() > 0 && !self.ledger.is_in_head() => Wait::Busy,
            _ if self.is_ending => Wait::End,
            _ if self.ledger.is_in_head() => Wait::Head,
            _ if self.is_fresh => Wait::First,
            _ => Wait::Next,
        }
    }

    fn wait(&mut self, wait: Wait) {
        let timeouts = &self.listener.config.timeouts;
        self.wait = wait;
        self.timer.set(match wait {
            Wait::First | Wait::Head => timeouts.head,
            Wait::Next => timeouts.client_idle,
            Wait::Busy if self.is_ending && self.view.is_some() => LINGER,
            Wait::Busy => NEVER,
            Wait::End => LINGER,
        });
    }
}

/// What a WebSocket of HTTP/1.1 begins with: 16 random bytes, of which only the form matters here.
fn key(worker: &Worker) -> [u8; 24] {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut key = *b"AAAAAAAAAAAAAAAAAAAAAA==";
    for half in 0..2 {
        let mut bits = worker.random();
        for place in &mut key[half * 10..half * 10 + 10] {
            *place = DIGITS[(bits & 63) as usize];
            bits >>= 6;
        }
    }
    key
}
