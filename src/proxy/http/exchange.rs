//! What happens to a request: a backend is picked, connected to, asked; its answer is passed on, or it is tried elsewhere.
//!
//! Policy only; the codec is `http1`. Hot path: no lock, no formatting, one allocation for each request.

use std::future::poll_fn;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::connection::{Connection, head_may_be_complete};
use super::download::Download;
use super::http1::answer::{self, Answer, Next};
use super::http1::{Framing, Version, fields};
use super::reply::{Fit, Reply};
use super::upload::{self, Trouble, Upload};
use crate::clock;
use crate::health::State;
use crate::metrics::status_class;
use crate::net::buffer::{Buffer, SMALL, Size};
use crate::net::stream::Stream;
use crate::pool::{Backend, Lease, Pool, Symptom};
use crate::proxy::attempt::{self, Tried};
use crate::proxy::idle::Wanted;
use crate::proxy::log::{Ended, Line};
use crate::proxy::outcome::Cause;
use crate::proxy::relay::{Terms, relay};
use crate::proxy::worker::{View, Worker};

/// An idle connection that breaks within this time was being closed as it was used; later, the request broke it.
const STALE: Duration = Duration::from_secs(1);
/// Interim answers (1xx) before the answer; more is a backend that has lost its way.
const MAX_INTERIM: u8 = 16;

/// A request as the exchange needs it.
#[derive(Debug)]
pub struct Incoming {
    /// The pool.
    pub pool: u32,
    /// What it is spread by, for the picks by key.
    pub key: Option<u64>,
    /// How its answer is to be read.
    pub asked: answer::Asked,
    /// Whether it may be sent twice (RFC 9110, section 9.2.2).
    pub idempotent: bool,
    /// The client's version.
    pub version: Version,
    /// Whether the client wants to go on.
    pub keep_alive: bool,
    /// `Expect: 100-continue`.
    pub expects_continue: bool,
    /// How its body is delimited.
    pub framing: Framing,
    /// Where in `head` its identity stands.
    pub id: Range<usize>,
    /// The head for the backend.
    pub head: Buffer,
    /// For the access log, when it is on.
    pub line: Option<Box<Line>>,
}

/// What becomes of the client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// It takes another request.
    Continue,
    /// It ends in order, after the client has taken what it was sent.
    Close,
    /// It is reset: the client must not take what it got for complete.
    Reset,
    /// It ends now.
    Done,
}

/// What is noted of an exchange, for counters and log.
#[derive(Debug)]
struct Notes {
    begun: Instant,
    queued: Duration,
    connect: Duration,
    response: Duration,
    retries: u8,
    status: u16,
    /// Bytes of the backend's answer given to the client.
    sent: u64,
    /// Bytes of the balancer's own.
    own_sent: u64,
    lease: Option<Lease>,
}

/// A backend's answer whose head is ready for the client.
struct Answered {
    backend: Stream,
    status: u16,
    framing: Framing,
    reusable: bool,
    next: Next,
    out: Buffer,
    hand: Option<Buffer>,
}

/// Why an attempt brought no answer.
struct Failed {
    trouble: Trouble,
    /// It went over a connection that had been idle, which the backend may have been closing.
    stale: bool,
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

/// Carries one request through to its end.
pub async fn run(connection: &mut Connection, view: Rc<View>, mut incoming: Incoming) -> After {
    let pool = Arc::clone(view.pool(incoming.pool));
    pool.budget.request();
    let limits = upload::Limits {
        kept_bytes: pool.config.retry.body_bytes as usize,
        body_bytes: connection.listener.config.limits.body_bytes,
    };
    let mut notes = Notes {
        begun: Instant::now(),
        queued: Duration::ZERO,
        connect: Duration::ZERO,
        response: Duration::ZERO,
        retries: 0,
        status: 0,
        sent: 0,
        own_sent: 0,
        lease: None,
    };
    let head = std::mem::replace(&mut incoming.head, Buffer::empty());
    let begun = Upload::new(head, incoming.framing, limits).and_then(|mut upload| {
        upload.take_in_hand(&mut connection.hand)?;
        Ok(upload)
    });
    let mut upload = match begun {
        Ok(upload) => upload,
        Err(reject) => return connection.refuse_head(reject).await,
    };
    let asked = ask(connection, &view, &incoming, &pool, &mut upload, &mut notes).await;
    drop(view);
    let (after, end) = match asked {
        Ok(answered) => deliver(connection, &incoming, &pool, &mut upload, &mut notes, answered).await,
        Err(trouble) => give_up(connection, &incoming, &pool, &upload, &mut notes, trouble).await,
    };
    account(connection, &incoming, &pool, &upload, &notes, end);
    after
}

/// Asks one backend after the other, as far as the request may be repeated, until one answers.
async fn ask(
    connection: &mut Connection,
    view: &View,
    incoming: &Incoming,
    pool: &Arc<Pool>,
    upload: &mut Upload,
    notes: &mut Notes,
) -> Result<Answered, Trouble> {
    let mut tried = Tried::default();
    let mut last = None;
    let mut fresh = false;
    loop {
        let lease = if let Some(same) = notes.lease.take().filter(|_| fresh) {
            same
        } else {
            let worker = &connection.worker;
            match attempt::lease(worker, view, incoming.pool, incoming.key, &mut tried, &connection.timer).await {
                Ok((lease, waited)) => {
                    notes.queued += waited;
                    tried.push(lease.backend().slot.index);
                    lease
                }
                Err(cause) => return Err(Trouble::Backend(last.unwrap_or(cause))),
            }
        };
        lease.backend().stats.mine().picks.inc();
        let result = try_one(connection, view, incoming, pool, upload, notes, &lease, fresh, &tried).await;
        notes.lease = Some(lease);
        let failed = match result {
            Ok(answered) => return Ok(answered),
            Err(failed) => failed,
        };
        let Trouble::Backend(cause) = failed.trouble else { return Err(failed.trouble) };
        let repeatable = upload.is_repeatable() && (incoming.idempotent || !upload.has_begun());
        if failed.stale && !fresh && repeatable {
            // The backend closed an idle connection as we used it: no fault of its, and no retry either.
            upload.rewind();
            fresh = true;
            continue;
        }
        note_failure(notes, cause);
        last = Some(cause);
        fresh = false;
        if !repeatable && cause != Cause::RetriedStatus {
            return Err(failed.trouble);
        }
        let retried = may_retry(&connection.worker, view, incoming.pool, notes.retries, &mut tried, cause);
        retried.map_err(Trouble::Backend)?;
        upload.rewind();
        notes.retries += 1;
        pool.stats.mine().retries.inc();
    }
}

fn note_failure(notes: &Notes, cause: Cause) {
    let Some(lease) = &notes.lease else { return };
    lease.backend().stats.mine().failures.inc();
    if let Some(symptom) = cause.symptom() {
        lease.backend().suspect(symptom);
    }
}

/// Whether another attempt is made, or what the client is told instead.
fn may_retry(
    worker: &Worker,
    view: &View,
    index: u32,
    retries: u8,
    tried: &mut Tried,
    cause: Cause,
) -> Result<(), Cause> {
    // A status was only given up for another answer that is certain to be asked for; it is paid for.
    if cause == Cause::RetriedStatus {
        return Ok(());
    }
    let pool = view.pool(index);
    // The budget is for load. A connection that did not come about has cost nobody any work, and a backend that is out
    // can be overloaded no more; those that it kept waiting are limited in number.
    let free =
        matches!(cause, Cause::ConnectRefused | Cause::ConnectFailed | Cause::ConnectTimeout | Cause::BackendDown);
    if retries < pool.config.retry.attempts && worker.others(view, index, tried) > 0 && (free || can_afford_retry(pool))
    {
        return Ok(());
    }
    if cause.is_absence() && attempt::may_wait_for_a_verdict(pool, retries) && (free || can_afford_retry(pool)) {
        // It met nobody, and waits for the next verdict like one that comes now and finds nobody.
        tried.give_up();
        return Ok(());
    }
    let nobody = worker.ready(view, index).backends.is_empty();
    Err(if nobody && cause.is_absence() { Cause::NoBackend } else { cause })
}

fn can_afford_retry(pool: &Pool) -> bool {
    let allowed = pool.budget.allow(clock::millis());
    if !allowed {
        pool.stats.mine().retries_denied.inc();
    }
    allowed
}

/// One attempt at one backend, up to the head of its answer.
#[expect(clippy::too_many_arguments, reason = "the facts of one exchange; a struct of borrows would hide them")]
async fn try_one(
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
        if incoming.idempotent && upload.is_repeatable() && backend.state() == State::Down {
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

/// Passes the answer on, and keeps the connection to the backend where it can be used again.
async fn deliver(
    connection: &mut Connection,
    incoming: &Incoming,
    pool: &Arc<Pool>,
    upload: &mut Upload,
    notes: &mut Notes,
    answered: Answered,
) -> (After, &'static str) {
    let Answered { mut backend, status, framing, reusable, next, out, hand } = answered;
    notes.status = status;
    let Some(lease) = &notes.lease else { return (After::Close, "ok") };
    pool.stats.mine().response.observe(notes.response);
    if status == 101 {
        upload.release();
        connection.let_go_of_table();
        return tunnel(connection, pool, notes, backend, out, hand).await;
    }
    let mut download = match Download::new(out, hand, framing, incoming.version) {
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
    let result = pass_on(connection, upload, &mut download, &mut backend).await;
    notes.sent = download.sent;
    if let Err(cause) = result {
        pool.stats.mine().failed[cause.index()].inc();
        if cause != Cause::ClientAbort {
            note_failure(notes, cause);
        }
        return (After::Reset, cause.word());
    }
    lease.backend().answered(notes.response);
    if reusable && download.is_clean() && upload.has_all() && upload.is_over() {
        let most = (pool.config.idle_connections as usize / connection.worker.workers).max(1);
        let now = if at_once { notes.begun + notes.queued + notes.response } else { Instant::now() };
        connection.worker.idle.keep(lease.backend(), backend, now, pool.config.timeouts.idle, most);
    }
    let after = match next {
        Next::Keep | Next::SayKeep => After::Continue,
        // The client has said that this was all, and nothing lies unread: closing resets nothing.
        Next::Close if !incoming.keep_alive && connection.hand.is_none() && connection.client.is_quiet() => After::Done,
        Next::Close => After::Close,
    };
    (after, "ok")
}

/// Moves the answer, and what is left of the request, until the client has all of the answer.
async fn pass_on(
    connection: &mut Connection,
    upload: &mut Upload,
    download: &mut Download,
    backend: &mut Stream,
) -> Result<(), Cause> {
    let body_idle = connection.listener.config.timeouts.body_idle;
    let Connection { client, hand, timer, worker, view, generation, .. } = connection;
    timer.set(body_idle);
    // Until it is whole, whatever ends this ends it with a reset.
    client.is_unfinished(true);
    let mut moved = (0, 0);
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
        if worker.generation() != *generation {
            // An answer may take hours: it must not keep an old table that long.
            *view = None;
        }
        if (download.sent, upload.received()) != moved {
            moved = (download.sent, upload.received());
            timer.set(body_idle);
        }
        if timer.poll_elapsed(context) {
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
    let Some(lease) = &notes.lease else { return (After::Close, "ok") };
    if let Some(early) = hand {
        out.append(early.filled());
    }
    let listener = Arc::clone(&connection.listener);
    let terms = Terms {
        worker: &connection.worker,
        backend: lease.backend(),
        on_down: pool.config.on_down,
        idle: pool.config.timeouts.tunnel_idle.unwrap_or(listener.config.timeouts.tunnel_idle),
    };
    let early = (connection.hand.take(), Some(out));
    let relayed = relay(&mut connection.client, &mut backend, early, &connection.timer, &terms).await;
    notes.sent = relayed.sent;
    listener.stats.mine().received_bytes.add(relayed.received);
    pool.stats.mine().received_bytes.add(relayed.received);
    if let Some(cause) = relayed.cause {
        pool.stats.mine().failed[cause.index()].inc();
    }
    (After::Done, relayed.cause.map_or("ok", Cause::word))
}

/// Tells the client that it gets no answer from a backend.
async fn give_up(
    connection: &mut Connection,
    incoming: &Incoming,
    pool: &Pool,
    upload: &Upload,
    notes: &mut Notes,
    trouble: Trouble,
) -> (After, &'static str) {
    let cause = match trouble {
        Trouble::Refused(reject) => {
            let (after, sent) = connection.refuse(reject).await;
            (notes.status, notes.own_sent) = (reject.status().0, sent);
            return (after, reject.word());
        }
        Trouble::ClientGone => Cause::ClientAbort,
        Trouble::Backend(cause) => cause,
    };
    pool.stats.mine().failed[cause.index()].inc();
    if cause == Cause::ClientAbort {
        return (After::Done, cause.word());
    }
    let keep_alive = incoming.keep_alive && upload.has_all() && connection.is_wanted();
    let id = upload.kept.filled().get(incoming.id.clone()).unwrap_or_default();
    let fit = Fit {
        head_only: incoming.asked.head,
        version: incoming.version,
        keep_alive,
        id: std::str::from_utf8(id).unwrap_or_default(),
    };
    let reply = Reply::Failed(cause);
    notes.status = reply.status();
    pool.stats.mine().responses[status_class(notes.status)].inc();
    let (sent, whole) = connection.reply(reply, fit).await;
    notes.own_sent = sent;
    let after = match (whole, keep_alive) {
        // What follows would be taken for its rest.
        (false, _) => After::Reset,
        (true, true) => After::Continue,
        (true, false) => After::Close,
    };
    (after, cause.word())
}

/// Counts what happened, and writes the log line.
fn account(
    connection: &Connection,
    incoming: &Incoming,
    pool: &Pool,
    upload: &Upload,
    notes: &Notes,
    end: &'static str,
) {
    let received = upload.received();
    let (at_listener, at_pool) = (connection.listener.stats.mine(), pool.stats.mine());
    at_listener.received_bytes.add(received);
    at_pool.received_bytes.add(received);
    if notes.sent > 0 {
        // The backend's own answer; the balancer's are counted where they are made.
        let class = status_class(notes.status);
        at_listener.responses[class].inc();
        at_listener.sent_bytes.add(notes.sent);
        at_pool.responses[class].inc();
        at_pool.sent_bytes.add(notes.sent);
        if let Some(lease) = &notes.lease {
            let stats = lease.backend().stats.mine();
            stats.responses[class].inc();
            stats.received_bytes.add(notes.sent);
            stats.sent_bytes.add(received);
        }
    }
    let Some(line) = &incoming.line else { return };
    let ended = Ended {
        listener: &connection.listener.config.name,
        client: connection.ip,
        pool: &pool.config.name,
        backend: notes.lease.as_ref().map_or("-", |lease| &lease.backend().name),
        status: notes.status,
        received,
        sent: notes.sent + notes.own_sent,
        retries: notes.retries,
        queued: notes.queued,
        connect: notes.connect,
        response: notes.response,
        total: notes.begun.elapsed(),
        end,
    };
    connection.worker.log.write(line, &ended);
}
