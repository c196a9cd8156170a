//! One attempt at one backend: the request is sent, and the head of its answer is waited for, judged and written anew.
//!
//! Called by `exchange`, which decides what comes of it. Hot path: no lock, no formatting, no allocation.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::connection::{Connection, head_may_be_complete};
use super::exchange::{Incoming, Notes, can_afford_retry};
use super::http1::answer::{self, Answer, Next};
use super::http1::{Framing, Version, fields};
use super::upload::{Trouble, Upload};
use crate::net::buffer::{Buffer, SMALL, Size};
use crate::net::stream::Stream;
use crate::pool::{Backend, Lease, Pool, Symptom};
use crate::proxy::attempt;
use crate::proxy::idle::Wanted;
use crate::proxy::outcome::Cause;
use crate::proxy::worker::View;

/// An idle connection that breaks within this time was being closed as it was used; later, the request broke it.
const STALE: Duration = Duration::from_secs(1);
/// Interim answers (1xx) before the answer; more is a backend that has lost its way.
const MAX_INTERIM: u8 = 16;

/// A backend's answer whose head is ready for the client.
pub struct Answered {
    /// The connection that it comes on.
    pub backend: Stream,
    /// Its status.
    pub status: u16,
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
}

/// Why an attempt brought no answer.
pub struct Failed {
    /// What happened.
    pub trouble: Trouble,
    /// It went over a connection that had been idle, which the backend may have been closing.
    pub stale: bool,
}

/// The way to a backend.
struct Attempt {
    backend: Stream,
    /// When the request was sent, as far as is known without asking the clock again.
    sent_at: Instant,
    /// Something has come already, and more is waited for.
    again: bool,
    suspected: bool,
}

/// How long an answer may take.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// Before the request has failed.
    response: Duration,
    /// Before the backend is worth a probe.
    suspicious: Duration,
}

impl Patience {
    fn new(backend: &Backend, response: Duration) -> Self {
        Self { response, suspicious: attempt::suspicious_after(backend).min(response) }
    }
}

impl Attempt {
    /// When the next of the two is due. It runs from the request, however the answer drips in; the clock is asked only
    /// when something has come already.
    fn due(&self, patience: Patience) -> Duration {
        let passed = if self.again { self.sent_at.elapsed() } else { Duration::ZERO };
        let next = if self.suspected { patience.response } else { patience.suspicious };
        next.saturating_sub(passed)
    }

    /// One of the two has come: a probe is asked for, or the wait is over.
    fn goes_on(&mut self, patience: Patience, backend: &Arc<Backend>) -> Result<(), Trouble> {
        if self.suspected || patience.suspicious >= patience.response {
            return Err(Trouble::Backend(Cause::ResponseTimeout));
        }
        self.suspected = true;
        backend.suspect(Symptom::Silent);
        Ok(())
    }
}

/// One attempt at one backend, up to the head of its answer.
#[expect(clippy::too_many_arguments, reason = "the facts of one exchange; a struct of borrows would hide them")]
pub async fn try_one(
    connection: &mut Connection,
    view: &View,
    incoming: &Incoming,
    pool: &Arc<Pool>,
    upload: &mut Upload,
    notes: &mut Notes,
    lease: &Lease,
    fresh: bool,
    tried: &[u32],
) -> Result<Answered, Failed> {
    let backend = lease.backend();
    let wanted = if incoming.idempotent { Wanted::Repeatable } else { Wanted::Once };
    let idle = if fresh { None } else { connection.worker.idle.take(backend, wanted, notes.begun) };
    let reused = idle.is_some();
    let stream = if let Some(stream) = idle {
        backend.stats.mine().reused.inc();
        stream
    } else {
        let Connection { worker, timer, .. } = &*connection;
        let deadline = attempt::time_to_connect(worker, view, incoming.pool, tried, notes.retries, lease);
        let opened = attempt::open(lease, deadline, timer).await;
        let (stream, took) = opened.map_err(|cause| Failed { trouble: Trouble::Backend(cause), stale: false })?;
        pool.stats.mine().connect.observe(took);
        notes.connect = took;
        stream
    };
    let at_once = reused && notes.retries == 0 && notes.queued.is_zero();
    let sent_at = if at_once { notes.begun } else { Instant::now() };
    let mut attempt = Attempt { backend: stream, sent_at, again: false, suspected: false };
    let mut hand = None;
    let mut interim = 0;
    let mut judged = 0;
    connection.timer.mark(Some(backend.slot.index));
    let result = loop {
        // What came together with an interim answer is read before more is waited for.
        if (hand.is_none() || judged > 0)
            && let Err(trouble) = wait(connection, incoming, pool, upload, lease, &mut attempt, &mut hand).await
        {
            break Err(trouble);
        }
        if !is_worth_a_look(hand.as_ref(), &mut judged) {
            continue;
        }
        match compose(connection, view, incoming, pool, upload, &mut hand, tried) {
            Ok(None) => {}
            Ok(Some(Composed::Interim(out))) if interim < MAX_INTERIM => {
                interim += 1;
                judged = 0;
                if let Some(out) = out
                    && !connection.send(out).await
                {
                    break Err(Trouble::ClientGone);
                }
            }
            Ok(Some(Composed::Interim(_))) => break Err(Trouble::Backend(Cause::BadAnswer)),
            Ok(Some(Composed::Final { status, framing, reusable, next, out })) => {
                notes.response = attempt.sent_at.elapsed();
                break Ok(Answered { backend: attempt.backend, status, framing, reusable, next, out, hand });
            }
            Err(cause) => break Err(Trouble::Backend(cause)),
        }
    };
    connection.timer.mark(None);
    let attempt_age = if result.is_err() { sent_at.elapsed() } else { Duration::ZERO };
    let stale = reused && attempt_age < STALE;
    result.map_err(|trouble| Failed { trouble, stale: stale && is_stale(trouble) })
}

/// Whether what has come since the last look can complete a head: a head that drips is not parsed at every byte.
fn is_worth_a_look(hand: Option<&Buffer>, judged: &mut usize) -> bool {
    let Some(hand) = hand else { return false };
    let before = std::mem::replace(judged, hand.filled().len());
    before == 0 || hand.filled().len() >= answer::MAX_HEAD || head_may_be_complete(hand.filled(), before)
}

/// Requests sent ahead of their time: so many bytes of them are kept, the rest stays in the socket.
fn is_enough(hand: &Buffer) -> bool {
    hand.filled().len() >= SMALL / 2
}

fn is_stale(trouble: Trouble) -> bool {
    trouble == Trouble::Backend(Cause::ResetBeforeAnswer)
}

/// Sends, and waits until something of an answer has come.
async fn wait(
    connection: &mut Connection,
    incoming: &Incoming,
    pool: &Pool,
    upload: &mut Upload,
    lease: &Lease,
    attempt: &mut Attempt,
    hand: &mut Option<Buffer>,
) -> Result<(), Trouble> {
    let backend = lease.backend();
    let body_idle = connection.listener.config.timeouts.body_idle;
    let patience = Patience::new(backend, pool.config.timeouts.response);
    let mut sending = !upload.is_over();
    // A body that is still to come: its time is the client's, not the backend's.
    let slow = sending && !upload.has_all();
    let due = attempt.due(patience);
    if !slow && due.is_zero() {
        // Seen here and not by the wheel, which turns by ticks: bytes that drip faster would put it off for ever.
        attempt.goes_on(patience, backend)?;
    }
    connection.timer.set(if slow { body_idle } else { attempt.due(patience) });
    attempt.again = true;
    let mut moved = upload.received();
    // Nothing more is read of what the client sends meanwhile.
    let mut ended = connection.hand.as_ref().is_some_and(is_enough);
    let Connection { client, hand: request, timer, .. } = connection;
    poll_fn(|context| {
        if sending {
            match upload.poll(context, client, request, &mut attempt.backend) {
                Poll::Ready(Ok(())) => {
                    sending = false;
                    if slow {
                        attempt.sent_at = Instant::now();
                        timer.set(attempt.due(patience));
                    }
                }
                // It may have answered before it closed: what came is read first.
                Poll::Ready(Err(Trouble::Backend(_))) => {
                    upload.stop();
                    sending = false;
                }
                Poll::Ready(Err(trouble)) => return Poll::Ready(Err(trouble)),
                Poll::Pending => {}
            }
        }
        if let Poll::Ready(read) = poll_answer(context, &mut attempt.backend, hand) {
            return Poll::Ready(read);
        }
        if !sending && !ended {
            ended = read_ahead(context, client, request)?;
        }
        if sending && upload.received() != moved {
            moved = upload.received();
            timer.set(body_idle);
        }
        if timer.poll_elapsed(context) {
            if sending && slow {
                return Poll::Ready(Err(late(upload)));
            }
            attempt.goes_on(patience, backend)?;
            timer.set(attempt.due(patience));
            // Registers for the new deadline.
            let _ = timer.poll_elapsed(context);
        }
        // What waits for a backend that has gone down goes elsewhere, if it may: the client has nothing of an answer,
        // whatever has come of its head.
        if incoming.idempotent && upload.is_repeatable() && backend.is_out() {
            return Poll::Ready(Err(Trouble::Backend(Cause::BackendDown)));
        }
        Poll::Pending
    })
    .await
}

/// Reads once of the answer.
fn poll_answer(
    context: &mut Context<'_>,
    backend: &mut Stream,
    hand: &mut Option<Buffer>,
) -> Poll<Result<(), Trouble>> {
    match backend.poll_fill(context, hand, Size::Small) {
        Poll::Ready(Ok(0) | Err(_)) => {
            let cause = if hand.is_some() { Cause::BadAnswer } else { Cause::ResetBeforeAnswer };
            Poll::Ready(Err(Trouble::Backend(cause)))
        }
        Poll::Ready(Ok(_)) => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    }
}

/// Reads what the client sends before it has its answer, to notice when it goes away. True when no more is to be read.
fn read_ahead(context: &mut Context<'_>, client: &mut Stream, request: &mut Option<Buffer>) -> Result<bool, Trouble> {
    if client.poll_readable(context).is_pending() {
        return Ok(false);
    }
    match client.poll_fill(context, request, Size::Small) {
        // Reset: nobody waits for the answer.
        Poll::Ready(Err(_)) => Err(Trouble::ClientGone),
        // An end alone is half a close: the client still reads.
        Poll::Ready(Ok(read)) => Ok(read == 0 || request.as_ref().is_some_and(is_enough)),
        Poll::Pending => Ok(false),
    }
}

/// A body has stopped on its way: whose fault that is.
fn late(upload: &Upload) -> Trouble {
    if upload.client_is_slow {
        Trouble::Refused(super::http1::Reject::BodyTimeout)
    } else {
        Trouble::Backend(Cause::ResponseTimeout)
    }
}

/// What the bytes in hand are.
enum Composed {
    /// 1xx, for the client where it understands it.
    Interim(Option<Buffer>),
    /// The answer.
    Final { status: u16, framing: Framing, reusable: bool, next: Next, out: Buffer },
}

/// Reads the head of an answer from what is in hand, and writes it for the client; `None` while it is incomplete.
fn compose(
    connection: &Connection,
    view: &View,
    incoming: &Incoming,
    pool: &Pool,
    upload: &Upload,
    hand: &mut Option<Buffer>,
    tried: &[u32],
) -> Result<Option<Composed>, Cause> {
    let Some(buffer) = hand else { return Ok(None) };
    let mut room = fields::room();
    let parsed = Answer::parse(buffer.filled(), &mut room, incoming.asked).map_err(|malformed| {
        tracing::debug!(pool = %pool.config.name, fault = malformed.0, "invalid answer");
        Cause::BadAnswer
    })?;
    let Some(answer) = parsed else { return Ok(None) };
    let status = answer.status;
    if status == 101 && !(upload.has_all() && upload.is_over()) {
        // The rest of the request would be the tunnel's first bytes.
        return Err(Cause::BadAnswer);
    }
    let interim = (100..200).contains(&status) && status != 101;
    if !interim
        && pool.config.retry.statuses.contains(&status)
        && incoming.idempotent
        && upload.is_repeatable()
        && tried.len() <= usize::from(pool.config.retry.attempts)
        && connection.worker.others(view, incoming.pool, tried) > 0
        && can_afford_retry(pool)
    {
        return Err(Cause::RetriedStatus);
    }
    // The rest of a request that was answered early is not waited for: the connection ends after the answer.
    let goes_on = incoming.keep_alive
        && connection.is_wanted()
        && upload.has_all()
        && upload.is_over()
        && answer.framing != Framing::UntilClose
        && !(answer.framing == Framing::Chunked && incoming.version == Version::Http10);
    let next = match (goes_on, incoming.version) {
        (true, Version::Http11) => Next::Keep,
        (true, Version::Http10) => Next::SayKeep,
        (false, _) => Next::Close,
    };
    let mut out = Buffer::take(Size::Small);
    answer.write(&mut out, incoming.version, if interim { Next::Keep } else { next });
    let (length, framing, reusable) = (answer.length, answer.framing, answer.keep_alive);
    buffer.consume(length);
    if buffer.is_empty() {
        *hand = None;
    }
    if interim {
        let wanted = incoming.version == Version::Http11 && (status != 100 || incoming.expects_continue);
        return Ok(Some(Composed::Interim(wanted.then_some(out))));
    }
    Ok(Some(Composed::Final { status, framing, reusable, next, out }))
}
