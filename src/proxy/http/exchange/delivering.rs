//! An answer on its way to the client, and what becomes of the two connections afterwards.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::ending::give_up;
use super::{After, Incoming, Notes, note_failure};
use crate::net::buffer::Buffer;
use crate::net::stream::Stream;
use crate::pool::{Lease, Pool};
use crate::proxy::http::asking::{Answered, GRACE, Given, Head};
use crate::proxy::http::connection::Connection;
use crate::proxy::http::download::Download;
use crate::proxy::http::http1::Framing;
use crate::proxy::http::http1::answer::Next;
use crate::proxy::http::pages::Rest;
use crate::proxy::http::upload::{Trouble, Upload};
use crate::proxy::log::OK;
use crate::proxy::outcome::{Cause, Phase};
use crate::proxy::relay::{self, Early, What, relay};

/// Passes the answer on, and keeps the connection to the backend where it can be used again.
pub(super) async fn deliver(
    connection: &mut Connection,
    incoming: &Incoming,
    pool: &Arc<Pool>,
    upload: &mut Upload,
    notes: &mut Notes,
    answered: Answered,
) -> (After, &'static str) {
    let Answered { mut backend, head: Head { status, given, framing, reusable, next, out, mut hand, coding } } =
        answered;
    (notes.status, notes.given) = (status, given.status());
    notes.phase = if status == 101 { Phase::Tunnel } else { Phase::Body };
    let Some(lease) = &notes.lease else { return (After::Close, OK) };
    let stats = pool.stats.mine();
    let bucket = stats.response.observe(notes.response);
    stats.response_exemplars.keep(bucket, notes.response, || incoming.id(upload));
    if status == 101 {
        upload.release();
        connection.let_go_of_table();
        return tunnel(connection, pool, notes, backend, out, hand).await;
    }
    let (framing, rest) = match given {
        Given::Passed(_) => (framing, None),
        // What the client gets stands in `out`.
        Given::Dropped(_) => (Framing::Empty, Some(Rest::new(framing, hand.take()))),
    };
    let mut download = match Download::new(out, hand, framing, incoming.version, coding) {
        Ok(download) => download,
        Err(cause) => {
            note_failure(notes, cause);
            return give_up(connection, incoming, pool, upload, notes, Trouble::Backend(cause)).await;
        }
    };
    if upload.is_over() {
        upload.release();
    }
    let at_once = download.is_whole();
    let terms = Terms { silence: incoming.silence(&connection.listener.config, &pool.config), until: notes.until };
    let result = pass_on(connection, upload, &mut download, &mut backend, lease, terms).await;
    notes.sent = download.sent;
    if let Err(cause) = result {
        count_broken(pool, notes, cause);
        return (After::Reset, cause.word());
    }
    lease.backend().answered(notes.response);
    // Where all of it came at once, no time has passed since, and the clock need not be asked.
    let whole = (at_once && notes.retries == 0).then(|| notes.queued + notes.connect + notes.response);
    let whole = whole.unwrap_or_else(|| notes.begun.elapsed());
    pool.stats.mine().request.observe(whole);
    let is_clean = download.is_clean() && rest.is_none_or(|rest| rest.takes_all(&mut backend));
    if reusable && incoming.introduction.is_none() && is_clean && upload.has_all() && upload.is_over() {
        let most = (pool.config.idle_connections as usize / connection.worker.workers).max(1);
        connection.worker.idle.keep(lease.backend(), backend, notes.begun + whole, pool.config.timeouts.idle, most);
    }
    let after = match next {
        Next::Keep | Next::SayKeep => After::Continue,
        // The client has said that this was all, and nothing lies unread: closing resets nothing.
        Next::Close if !incoming.keep_alive && connection.hand.is_none() && connection.client.is_quiet() => After::Done,
        Next::Close => After::Close,
    };
    (after, OK)
}

/// An answer broke off on its way.
fn count_broken(pool: &Pool, notes: &mut Notes, cause: Cause) {
    pool.stats.mine().failed[cause.index()].inc();
    if cause == Cause::ClientAbort {
        return;
    }
    if let Some(lease) = &notes.lease {
        let stats = lease.backend().stats.mine();
        if cause == Cause::Cut {
            stats.cut.inc();
        } else {
            stats.lost.inc();
            stats.broken.inc();
        }
    }
    note_failure(notes, cause);
}

/// How long an answer may take on its way.
#[derive(Debug, Clone, Copy)]
struct Terms {
    /// Between two pieces.
    silence: Duration,
    /// The client waits no longer.
    until: Option<Instant>,
}

impl Terms {
    fn patience(&self) -> Duration {
        let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
        left.map_or(self.silence, |left| left.min(self.silence))
    }
}

/// Moves the answer, and what is left of the request, until the client has all of the answer.
async fn pass_on(
    connection: &mut Connection,
    upload: &mut Upload,
    download: &mut Download,
    backend: &mut Stream,
    lease: &Lease,
    terms: Terms,
) -> Result<(), Cause> {
    let Connection { client, hand, timer, worker, view, generation, .. } = connection;
    timer.set(terms.patience());
    // Until it is whole, whatever ends this ends it with a reset.
    client.is_unfinished(true);
    let mut moved = (0, 0);
    let mut cut = false;
    let result = poll_fn(|context| {
        if !upload.is_over() {
            // A request that breaks off after its answer has begun changes nothing for the answer.
            if let Poll::Ready(Err(_)) = upload.poll(context, client, hand, backend) {
                upload.stop();
            }
        }
        if let Poll::Ready(result) = download.poll(context, backend, client) {
            return Poll::Ready(result);
        }
        if client.poll_gone(context).is_ready() {
            return Poll::Ready(Err(Cause::ClientAbort));
        }
        if worker.generation() != *generation {
            // An answer may take hours: it must not keep an old table that long.
            *view = None;
        }
        if lease.is_cut() && !std::mem::replace(&mut cut, true) {
            timer.set(GRACE);
        }
        if (download.sent, upload.received()) != moved && !cut {
            moved = (download.sent, upload.received());
            timer.set(terms.patience());
        }
        if timer.poll_elapsed(context) {
            if cut {
                return Poll::Ready(Err(Cause::Cut));
            }
            if terms.until.is_some_and(|until| Instant::now() >= until) {
                return Poll::Ready(Err(Cause::Deadline));
            }
            let late = if download.client_is_slow { Cause::ClientAbort } else { Cause::BodyTimeout };
            return Poll::Ready(Err(late));
        }
        Poll::Pending
    })
    .await;
    client.is_unfinished(result.is_err());
    result
}

/// After 101 the connection is the two sides' own.
async fn tunnel(
    connection: &mut Connection,
    pool: &Arc<Pool>,
    notes: &mut Notes,
    mut backend: Stream,
    mut out: Buffer,
    hand: Option<Buffer>,
) -> (After, &'static str) {
    let Some(lease) = &notes.lease else { return (After::Close, OK) };
    let what = what_it_is(out.filled());
    if let Some(early) = hand {
        out.append(early.filled());
    }
    let (listener, worker) = (Arc::clone(&connection.listener), Rc::clone(&connection.worker));
    let mut terms = relay::Terms::new(&worker, lease, pool, &listener.config);
    terms.what = what;
    let mut early = Early { client: connection.hand.take(), backend: Some(out) };
    let relayed = relay(&mut connection.client, &mut backend, &mut early, &connection.timer, &terms).await;
    notes.sent = relayed.sent;
    listener.stats.mine().received_bytes.add(relayed.received);
    pool.stats.mine().received_bytes.add(relayed.received);
    if let Some(cause) = relayed.cause {
        pool.stats.mine().failed[cause.index()].inc();
    }
    (After::Done, relayed.cause.map_or(OK, Cause::word))
}

/// What the two sides speak after this answer.
fn what_it_is(head: &[u8]) -> What {
    let is_websocket = memchr::memmem::find(&head.to_ascii_lowercase(), b"\r\nupgrade: websocket\r\n").is_some();
    if is_websocket { What::WebSocket(head.len()) } else { What::Bytes }
}
