//! A TCP connection: pool by its routes, pick, connect with the next backend on failure, relay.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::attempt::{self, Search, Tried};
use super::chosen::{Chosen, choose};
use super::http::understand::identity;
use super::log::{Ended, OK};
use super::outcome::{Cause, Phase};
use super::relay::{Early, Terms, relay};
use super::worker::{View, Worker, source_key};
use crate::balance::Balance;
use crate::config::model::Introduce;
use crate::net::buffer::Buffer;
use crate::net::introduction::Introduction;
use crate::net::stream::Stream;
use crate::net::wheel::Timer;
use crate::pool::sticky::{Stay, octets};
use crate::pool::{Ask, Backend, Lease, Pool, Stick};
use crate::route::Listener;

/// What is noted of a connection for its log line.
struct Notes {
    retries: u8,
    queued: Duration,
    connect: Duration,
    received: u64,
    sent: u64,
    lease: Option<Lease>,
    phase: Phase,
}

/// Serves one connection from accept to end.
pub async fn serve(
    worker: Rc<Worker>,
    view: Rc<View>,
    listener: Arc<Listener>,
    mut client: Stream,
    address: SocketAddr,
) {
    let begun = Instant::now();
    let mut early = Early::default();
    let Some(Chosen { pool: pool_index, reads, line }) =
        choose(&worker, &listener, &mut client, &mut early.client, address).await
    else {
        return;
    };
    let pool = Arc::clone(view.pool(pool_index.0));
    let timer = Timer::new();
    let mut notes = Notes {
        retries: 0,
        queued: Duration::ZERO,
        connect: Duration::ZERO,
        received: 0,
        sent: 0,
        lease: None,
        phase: Phase::Queue,
    };
    let ip = address.ip().to_canonical();
    let key = (pool.config.balance == Balance::Source).then(|| source_key(ip));
    let stick = pool.sticky.as_ref().map_or(Stick::Free, |sticky| sticky.find(&octets(ip)));
    let ask = Ask { key, reads, near: pool.near(ip), stick };
    let introduction =
        pool.config.introduce.as_ref().map(|terms| Box::new(introduce(&worker, terms, &client, address)));
    let introduction = introduction.as_deref();
    let search = Search { worker: &worker, view: &view, pool: pool_index.0, ask, introduction, until: None };
    let mut ended = false;
    let left = |context: &mut Context<'_>| has_left(context, &mut client, &mut early.client, &mut ended);
    // Boxed: every connection would keep the room that its first moments need.
    let reached = Box::pin(reach(&search, &timer, address.ip().to_canonical(), &mut notes, left)).await;
    if let Ok((lease, _)) = &reached {
        settle(&pool, search.ask.stick, address.ip().to_canonical(), lease.backend());
    }
    // A connection may last for days: it must not keep its table that long.
    drop(view);
    let cause = match reached {
        Ok((lease, mut backend)) => {
            let terms = Terms::new(&worker, &lease, &pool, &listener.config);
            let relayed = relay(&mut client, &mut backend, &mut early, &timer, &terms).await;
            (notes.received, notes.sent) = (relayed.received, relayed.sent);
            notes.lease = Some(lease);
            notes.phase = if relayed.cause.is_some() { Phase::Tunnel } else { Phase::Done };
            relayed.cause
        }
        Err(cause) => {
            // A client that was accepted and cannot be served learns at once, and not as if all were well.
            client.reset_on_drop();
            Some(cause)
        }
    };
    count(&listener, &pool, &notes, cause);
    if let Some(line) = line {
        worker.log.write(&listener, &line, &end(&pool, &notes, address, begun, cause));
    }
}

/// Counts where a client was served that may want to stay, and remembers it.
pub(super) fn settle(pool: &Pool, stick: Stick, client: IpAddr, backend: &Arc<Backend>) {
    let Some(sticky) = &pool.sticky else { return };
    let stay = pool.stay(stick, backend);
    pool.stats.mine().sticky[stay as usize].inc();
    if stay != Stay::Kept {
        sticky.learn(&octets(client), backend);
    }
}

/// Whether a client whose connection is held has gone for good. Its end alone may be half a close: it still reads.
fn has_left(context: &mut Context<'_>, client: &mut Stream, hand: &mut Option<Buffer>, ended: &mut bool) -> bool {
    if *ended {
        return false;
    }
    let end = attempt::poll_end(context, client, hand);
    *ended = matches!(end, Poll::Ready(Ok(())));
    matches!(end, Poll::Ready(Err(_)))
}

/// What a backend is told before anything else. The identity is the connection's own.
#[cold]
fn introduce(worker: &Worker, terms: &Introduce, client: &Stream, address: SocketAddr) -> Introduction {
    let mut room = [0; 32];
    Introduction::of(terms, client, address, identity(worker, &mut room))
}

async fn reach(
    search: &Search<'_>,
    timer: &Timer,
    client: IpAddr,
    notes: &mut Notes,
    mut left: impl FnMut(&mut Context<'_>) -> bool,
) -> Result<(Lease, Stream), Cause> {
    let pool = search.pool();
    let stats = pool.stats.mine();
    let mut tried = Tried::default();
    pool.budget.request();
    loop {
        notes.phase = Phase::Queue;
        let (lease, waited) = search.lease(&mut tried, timer, client, &mut left).await?;
        notes.phase = Phase::Connect;
        notes.queued += waited;
        lease.backend().stats.mine().picks.inc();
        tried.push(lease.backend().slot.index);
        let deadline = search.time_to_connect(&tried, notes.retries, lease.backend());
        match attempt::open(search, &lease, deadline, timer, search.pool().config.http).await {
            Ok((stream, took)) => {
                stats.connect.observe(took);
                lease.backend().took(took);
                notes.connect = took;
                return Ok((lease, stream));
            }
            Err(cause) => {
                if let Some(symptom) = cause.symptom() {
                    lease.backend().suspect(symptom);
                }
                notes.lease = Some(lease);
                // Nothing has been sent, so trying elsewhere is always safe; the budget is for load, not for safety.
                let another = notes.retries < pool.config.retry.attempts && search.has_others(&tried);
                if !another {
                    if !attempt::may_wait_for_a_verdict(pool, notes.retries) {
                        return Err(cause);
                    }
                    // It met nobody, and waits for the next verdict like one that comes now and finds nobody.
                    tried.give_up();
                }
                stats.retries.inc();
                notes.retries += 1;
                if let Some(lease) = &notes.lease {
                    lease.backend().stats.mine().retried.inc();
                }
            }
        }
    }
}

fn count(listener: &Listener, pool: &Pool, notes: &Notes, cause: Option<Cause>) {
    let (at_listener, at_pool) = (listener.stats.mine(), pool.stats.mine());
    at_listener.received_bytes.add(notes.received);
    at_listener.sent_bytes.add(notes.sent);
    at_pool.received_bytes.add(notes.received);
    at_pool.sent_bytes.add(notes.sent);
    if let Some(lease) = &notes.lease {
        let stats = lease.backend().stats.mine();
        stats.sent_bytes.add(notes.received);
        stats.received_bytes.add(notes.sent);
    }
    if let Some(cause) = cause {
        at_pool.failed[cause.index()].inc();
        if let Some(lease) =
            notes.lease.as_ref().filter(|_| notes.phase != Phase::Tunnel && cause != Cause::ClientAbort)
        {
            lease.backend().stats.mine().lost.inc();
        }
    }
}

fn end<'a>(pool: &'a Pool, notes: &'a Notes, client: SocketAddr, begun: Instant, cause: Option<Cause>) -> Ended<'a> {
    Ended {
        client: client.ip(),
        pool: &pool.config.name,
        backend: notes.lease.as_ref().map_or("", |lease| &lease.backend().name),
        status: 0,
        received: notes.received,
        sent: notes.sent,
        retries: notes.retries,
        queued: notes.queued,
        connect: notes.connect,
        response: Duration::ZERO,
        total: begun.elapsed(),
        end: cause.map_or(OK, Cause::word),
        phase: notes.phase,
    }
}
