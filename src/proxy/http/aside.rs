//! A message to a backend beside an exchange: over the idle connections that traffic uses, or one opened as traffic does.
//!
//! Called for questions to other services (`gates`) and for copies of requests (`mirror`).

use std::future::poll_fn;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use super::http2::links;
use crate::config::model::HttpVersion;
use crate::net::buffer::{Buffer, Size};
use crate::net::stream::Stream;
use crate::net::wheel::Timer;
use crate::pool::Lease;
use crate::proxy::attempt::{self, Search};
use crate::proxy::idle::Wanted;
use crate::proxy::outcome::Cause;

/// A connection to the leased backend that stands already.
pub(super) fn idle(search: &Search<'_>, lease: &Lease, wanted: Wanted) -> Option<Stream> {
    let (worker, backend) = (search.worker, lease.backend());
    let stream = match search.pool().config.http {
        HttpVersion::V2 => worker.links.take(backend),
        // A connection that has been said to be for one client is for no other.
        HttpVersion::V1_1 if search.introduction.is_some() => None,
        HttpVersion::V1_1 => worker.idle.take(backend, wanted, Instant::now()),
    };
    if stream.is_some() {
        backend.stats.mine().reused.inc();
    }
    stream
}

/// A new one.
pub(super) async fn open(
    search: &Search<'_>,
    lease: &Lease,
    deadline: Duration,
    timer: &Timer,
) -> Result<Stream, Cause> {
    let pool = search.pool();
    let (stream, took) = match pool.config.http {
        HttpVersion::V1_1 => attempt::open(search, lease, deadline, timer, HttpVersion::V1_1).await?,
        HttpVersion::V2 => links::open(search.worker, search, lease, deadline, timer).await?,
    };
    pool.stats.mine().connect.observe(took);
    Ok(stream)
}

/// Keeps a connection on which nothing is left to be read.
pub(super) fn keep(search: &Search<'_>, lease: &Lease, stream: Stream) {
    let pool = search.pool();
    if pool.config.http == HttpVersion::V1_1 && pool.config.introduce.is_none() {
        let most = (pool.config.idle_connections as usize / search.worker.workers).max(1);
        search.worker.idle.keep(lease.backend(), stream, Instant::now(), pool.config.timeouts.idle, most);
    }
}

/// Sends all of it.
pub(super) async fn send(stream: &mut Stream, bytes: &[u8]) -> Result<(), Cause> {
    let mut sent = 0;
    poll_fn(|context| {
        while sent < bytes.len() {
            match ready!(stream.poll_write(context, &bytes[sent..])) {
                Ok(written) => sent += written,
                Err(_) => return Poll::Ready(Err(Cause::ResetBeforeAnswer)),
            }
        }
        Poll::Ready(Ok(()))
    })
    .await
}

/// Reads once.
pub(super) async fn fill(stream: &mut Stream, hand: &mut Option<Buffer>) -> Result<usize, Cause> {
    let read = poll_fn(|context| stream.poll_fill(context, hand, Size::Small)).await;
    read.map_err(|_lost| Cause::ResetBeforeAnswer)
}
