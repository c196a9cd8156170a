//! One attempt at one backend: the request is sent, and the head of its answer is waited for, judged and written anew.
//!
//! Called by `exchange`, which decides what comes of it. Hot path: no lock, no formatting, no allocation.

mod composing;
mod waiting;

use std::time::{Duration, Instant};

use composing::{Composed, compose};
use waiting::{Attempt, wait};

use super::connection::{Connection, head_may_be_complete};
use super::exchange::{Incoming, Notes};
use super::http1::Framing;
use super::http1::answer::{self, Next};
use super::http2::links;
use super::upgrade;
use super::upload::{Trouble, Upload};
use crate::config::model::{Coding, HttpVersion};
use crate::net::buffer::Buffer;
use crate::net::stream::Stream;
use crate::pool::Lease;
use crate::proxy::attempt::{self, Search};
use crate::proxy::idle::Wanted;
use crate::proxy::outcome::{Cause, Phase};

/// An idle connection that breaks within this time was being closed as it was used; later, the request broke it.
const STALE: Duration = Duration::from_secs(1);
/// An exchange whose backend was told to end its work may go on for so long.
pub const GRACE: Duration = Duration::from_secs(2);
/// Interim answers (1xx) before the answer; more is a backend that has lost its way.
const MAX_INTERIM: u8 = 16;

/// A backend's answer whose head is ready for the client.
pub struct Answered {
    /// The connection that it comes on.
    pub backend: Stream,
    /// Its head.
    pub head: Head,
}

/// A head of an answer, for the client.
pub struct Head {
    /// Its status, as the client gets it.
    pub status: u16,
    /// What the backend has given for it.
    pub given: Given,
    /// How its body is delimited.
    pub framing: Framing,
    /// Whether the backend lets its connection be used again.
    pub reusable: bool,
    /// How the client's connection goes on.
    pub next: Next,
    /// Its head for the client.
    pub out: Buffer,
    /// What has come of its body.
    pub hand: Option<Buffer>,
    /// What the client gets its body by.
    pub coding: Option<Coding>,
}

/// What becomes of an answer that a backend has given, with its status.
#[derive(Debug, Clone, Copy)]
pub enum Given {
    /// The client gets it.
    Passed(u16),
    /// The client gets a page instead, which stands behind the head.
    Dropped(u16),
}

impl Given {
    /// The backend's status.
    pub fn status(self) -> u16 {
        match self {
            Self::Passed(status) | Self::Dropped(status) => status,
        }
    }
}

/// Why an attempt brought no answer.
pub struct Failed {
    /// What happened.
    pub trouble: Trouble,
    /// It went over a connection that had been idle, which the backend may have been closing.
    pub stale: bool,
    /// The backend has said that it has not worked on it.
    pub untouched: bool,
}

/// One attempt at one backend, up to the head of its answer.
#[expect(clippy::too_many_arguments, reason = "the facts of one exchange; a struct of borrows would hide them")]
pub async fn try_one(
    connection: &mut Connection,
    search: &Search<'_>,
    incoming: &Incoming,
    upload: &mut Upload,
    notes: &mut Notes,
    lease: &Lease,
    fresh: bool,
    tried: &[u32],
) -> Result<Answered, Failed> {
    let wanted = if incoming.idempotent { Wanted::Repeatable } else { Wanted::Once };
    let worker = &connection.worker;
    let idle = match search.pool().config.http {
        // Which way it goes, `upgrade` finds out.
        HttpVersion::V2 if incoming.asked.upgrade => None,
        HttpVersion::V2 => worker.links.take(lease.backend()),
        // A connection that has been said to be for one client is for no other.
        HttpVersion::V1_1 if fresh || incoming.introduction.is_some() => None,
        HttpVersion::V1_1 => worker.idle.take(lease.backend(), wanted, notes.begun),
    };
    let reused = idle.is_some();
    let stream = match idle {
        Some(stream) => {
            lease.backend().stats.mine().reused.inc();
            stream
        }
        // Boxed: every connection would keep the room that few of its moments need.
        None if search.pool().config.http == HttpVersion::V2 && incoming.asked.upgrade => {
            match Box::pin(open_upgrade(connection, search, upload, notes, lease, tried)).await {
                Ok(stream) => stream,
                Err(cause) => return Err(Failed { trouble: Trouble::Backend(cause), stale: false, untouched: false }),
            }
        }
        None => match open(connection, search, notes, lease, tried).await {
            Ok(stream) => stream,
            Err(cause) => return Err(Failed { trouble: Trouble::Backend(cause), stale: false, untouched: false }),
        },
    };
    let at_once = reused && notes.retries == 0 && notes.queued.is_zero();
    let sent_at = if at_once { notes.begun } else { Instant::now() };
    let (retries, until) = (notes.retries, notes.until);
    let mut attempt = Attempt { backend: stream, sent_at, again: false, suspected: false, grace: None, retries, until };
    notes.phase = Phase::Answer;
    // Until the exchange is over: `exchange` takes the mark back.
    connection.timer.mark(Some(lease.backend().slot.index));
    match answer(connection, search, incoming, upload, lease, &mut attempt, tried).await {
        Ok(mut head) => {
            // What a refused upgrade came by is no connection for others.
            head.reusable &= search.pool().config.http == HttpVersion::V1_1;
            notes.response = attempt.sent_at.elapsed();
            Ok(Answered { backend: attempt.backend, head })
        }
        Err(trouble) => {
            let trouble = upgrade::judge(search, &attempt.backend, trouble);
            let untouched = is_stale(trouble) && attempt.backend.is_untouched();
            let stale = untouched || (reused && sent_at.elapsed() < STALE && is_stale(trouble));
            Err(Failed { trouble, stale, untouched })
        }
    }
}

async fn open(
    connection: &Connection,
    search: &Search<'_>,
    notes: &mut Notes,
    lease: &Lease,
    tried: &[u32],
) -> Result<Stream, Cause> {
    let deadline = search.time_to_connect(tried, notes.retries, lease.backend());
    let opened = match search.pool().config.http {
        HttpVersion::V1_1 => attempt::open(search, lease, deadline, &connection.timer, HttpVersion::V1_1).await,
        // Boxed: every connection would keep the room that few of its moments need.
        HttpVersion::V2 => Box::pin(links::open(&connection.worker, search, lease, deadline, &connection.timer)).await,
    };
    let (stream, took) = opened.map_err(|cause| search.unless_late(cause))?;
    search.pool().stats.mine().connect.observe(took);
    notes.connect = took;
    Ok(stream)
}

/// The same for an upgrade in a pool of HTTP/2.
async fn open_upgrade(
    connection: &Connection,
    search: &Search<'_>,
    upload: &Upload,
    notes: &mut Notes,
    lease: &Lease,
    tried: &[u32],
) -> Result<Stream, Cause> {
    let deadline = search.time_to_connect(tried, notes.retries, lease.backend());
    let opened = upgrade::open(search, lease, deadline, &connection.timer, upload.kept.filled()).await;
    let (stream, took) = opened.map_err(|cause| search.unless_late(cause))?;
    search.pool().stats.mine().connect.observe(took);
    notes.connect = took;
    Ok(stream)
}

/// The head of the answer to a request that is sent now. Interim answers are passed on.
async fn answer(
    connection: &mut Connection,
    search: &Search<'_>,
    incoming: &Incoming,
    upload: &mut Upload,
    lease: &Lease,
    attempt: &mut Attempt,
    tried: &[u32],
) -> Result<Head, Trouble> {
    let mut hand = None;
    let mut interim = 0;
    let mut judged = 0;
    loop {
        // What came together with an interim answer is read before more is waited for.
        if hand.is_none() || judged > 0 {
            wait(connection, search, incoming, upload, lease, attempt, &mut hand, tried).await?;
        }
        if !is_worth_a_look(hand.as_ref(), &mut judged) {
            continue;
        }
        let composed = compose(connection, search, incoming, upload, lease, &mut hand, tried, attempt.retries)
            .map_err(Trouble::Backend)?;
        match composed {
            None => {}
            Some(Composed::Interim(out)) if interim < MAX_INTERIM => {
                interim += 1;
                judged = 0;
                if let Some(out) = out
                    && !connection.send(out).await
                {
                    return Err(Trouble::ClientGone);
                }
            }
            Some(Composed::Interim(_)) => return Err(Trouble::Backend(Cause::BadAnswer)),
            Some(Composed::Final { status, given, framing, reusable, next, out, coding }) => {
                return Ok(Head { status, given, framing, reusable, next, out, hand, coding });
            }
        }
    }
}

/// Whether what has come since the last look can complete a head: a head that drips is not parsed at every byte.
fn is_worth_a_look(hand: Option<&Buffer>, judged: &mut usize) -> bool {
    let Some(hand) = hand else { return false };
    let before = std::mem::replace(judged, hand.filled().len());
    before == 0 || hand.filled().len() >= answer::MAX_HEAD || head_may_be_complete(hand.filled(), before)
}

fn is_stale(trouble: Trouble) -> bool {
    trouble == Trouble::Backend(Cause::ResetBeforeAnswer)
}
