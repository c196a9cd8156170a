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
use super::http1::edits::Edits;
use super::http1::{Framing, Version, fields};
use super::http2::links;
use super::pages::{self, Pages};
use super::reply::Fit;
use super::rules::Applied;
use super::upgrade;
use super::upload::{Trouble, Upload};
use crate::config::model::{Coding, HttpVersion};
use crate::net::buffer::{Buffer, Size};
use crate::net::stream::{Stream, is_lost};
use crate::net::wheel::Timer;
use crate::pool::{Backend, Lease, Pool, Symptom};
use crate::proxy::attempt::{self, Search, is_enough, may_wait_for_the_next};
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

/// The way to a backend.
struct Attempt {
    backend: Stream,
    /// When the request was sent, as far as is known without asking the clock again.
    sent_at: Instant,
    /// Something has come already, and more is waited for.
    again: bool,
    suspected: bool,
    /// The backend's open work was told to end, and this cannot be sent elsewhere: until when it may go on.
    grace: Option<Instant>,
    /// Attempts before this one.
    retries: u8,
    /// The client waits no longer.
    until: Option<Instant>,
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
    /// Sets the first deadline of a wait.
    fn begin(&mut self, wait: &Wait, backend: &Arc<Backend>, timer: &Timer) -> Result<(), Trouble> {
        if !wait.slow && self.due(wait.patience).is_zero() {
            // Seen here and not by the wheel, which turns by ticks: bytes that drip faster would put it off for ever.
            self.goes_on(wait.patience, backend)?;
        }
        let due =
            if wait.slow && self.grace.is_none() { self.at_most(wait.body_idle) } else { self.due(wait.patience) };
        timer.set(due);
        self.again = true;
        Ok(())
    }

    /// When the next of the two is due, or the end of a grace. It runs from the request, however the answer drips in; the clock is asked only
    /// when something has come already.
    fn due(&self, patience: Patience) -> Duration {
        if let Some(end) = self.grace {
            return end.saturating_duration_since(Instant::now());
        }
        let passed = if self.again { self.sent_at.elapsed() } else { Duration::ZERO };
        let next = if self.suspected { patience.response } else { patience.suspicious };
        next.saturating_sub(passed)
    }

    /// The same time, or what is left of the client's.
    fn at_most(&self, time: Duration) -> Duration {
        self.until.map_or(time, |until| time.min(until.saturating_duration_since(Instant::now())))
    }

    fn is_overdue(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// It has come: a probe is asked for, or the wait is over.
    fn goes_on(&mut self, patience: Patience, backend: &Arc<Backend>) -> Result<(), Trouble> {
        if let Some(end) = self.grace {
            return if Instant::now() >= end { Err(Trouble::Backend(Cause::Cut)) } else { Ok(()) };
        }
        if self.suspected || patience.suspicious >= patience.response {
            return Err(Trouble::Backend(if self.is_overdue() { Cause::Deadline } else { Cause::ResponseTimeout }));
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

/// Sends, and waits until something of an answer has come.
#[expect(clippy::too_many_arguments, reason = "the facts of one exchange; a struct of borrows would hide them")]
async fn wait(
    connection: &mut Connection,
    search: &Search<'_>,
    incoming: &Incoming,
    upload: &mut Upload,
    lease: &Lease,
    attempt: &mut Attempt,
    hand: &mut Option<Buffer>,
    tried: &[u32],
) -> Result<(), Trouble> {
    let backend = lease.backend();
    let mut wait = Wait::new(connection, search.pool(), incoming, upload, attempt, backend);
    attempt.begin(&wait, backend, &connection.timer)?;
    let Connection { client, hand: request, timer, .. } = connection;
    poll_fn(|context| {
        wait.send(context, client, request, upload, attempt, timer)?;
        if let Poll::Ready(read) = poll_answer(context, &mut attempt.backend, hand) {
            return Poll::Ready(read);
        }
        if !wait.sending && wait.heed == Heed::All {
            wait.heed = read_ahead(context, client, request)?;
        }
        if timer.poll_elapsed(context) {
            if !wait.sending && wait.heed == Heed::NotYet {
                // It takes longer than usual: worth hearing when the client goes away.
                wait.heed = read_ahead(context, client, request)?;
            }
            if wait.sending && wait.slow && attempt.grace.is_none() {
                let is_overdue = attempt.is_overdue();
                return Poll::Ready(Err(if is_overdue { Trouble::Backend(Cause::Deadline) } else { late(upload) }));
            }
            attempt.goes_on(wait.patience, backend)?;
            timer.set(attempt.due(wait.patience));
            // Registers for the new deadline.
            let _ = timer.poll_elapsed(context);
        }
        // What waits for a backend that has gone down goes elsewhere, if it may: the client has nothing of an answer,
        // whatever has come of its head.
        let repeatable = upload.is_repeatable() && (incoming.idempotent || !upload.has_begun());
        if repeatable && backend.has_fallen() {
            return Poll::Ready(Err(Trouble::Backend(Cause::BackendDown)));
        }
        if attempt.grace.is_none() && lease.is_cut() {
            if repeatable && search.has_elsewhere(tried, attempt.retries) {
                return Poll::Ready(Err(Trouble::Backend(Cause::Cut)));
            }
            attempt.grace = Some(Instant::now() + GRACE);
            timer.set(GRACE);
            let _ = timer.poll_elapsed(context);
        }
        Poll::Pending
    })
    .await
}

/// What is heard of the client while an answer is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heed {
    /// Nothing: it has just come, and to hear of it costs two system calls, which a request that is answered as fast as
    /// most does not owe.
    NotYet,
    /// What it sends, and when it goes away.
    All,
    /// Nothing more of it is read.
    NoMore,
}

/// What goes on while an answer is waited for.
struct Wait {
    patience: Patience,
    body_idle: Duration,
    /// The request is still being sent.
    sending: bool,
    /// A body is still to come: its time is the client's, not the backend's.
    slow: bool,
    /// Bytes received of it at the last look.
    moved: u64,
    heed: Heed,
}

impl Wait {
    fn new(
        connection: &Connection,
        pool: &Pool,
        incoming: &Incoming,
        upload: &Upload,
        attempt: &Attempt,
        backend: &Backend,
    ) -> Self {
        let sending = !upload.is_over();
        let response = pool.config.timeouts.response;
        let left = attempt.until.map_or(response, |until| until.saturating_duration_since(attempt.sent_at));
        Self {
            patience: Patience::new(backend, response.min(left)),
            body_idle: incoming.silence(&connection.listener.config, &pool.config),
            sending,
            slow: sending && !upload.has_all(),
            moved: upload.received(),
            heed: match &connection.hand {
                Some(hand) if is_enough(hand) => Heed::NoMore,
                _ if connection.client.is_watched() => Heed::All,
                _ => Heed::NotYet,
            },
        }
    }

    /// Sends what there is of the request.
    #[inline]
    fn send(
        &mut self,
        context: &mut Context<'_>,
        client: &mut Stream,
        request: &mut Option<Buffer>,
        upload: &mut Upload,
        attempt: &mut Attempt,
        timer: &Timer,
    ) -> Result<(), Trouble> {
        if !self.sending {
            return Ok(());
        }
        match upload.poll(context, client, request, &mut attempt.backend) {
            Poll::Ready(Ok(())) => {
                self.sending = false;
                if self.slow {
                    self.slow = false;
                    attempt.sent_at = Instant::now();
                    timer.set(attempt.due(self.patience));
                }
            }
            // It may have answered before it closed: what came is read first.
            Poll::Ready(Err(Trouble::Backend(_))) => {
                upload.stop();
                self.sending = false;
            }
            Poll::Ready(Err(trouble)) => return Err(trouble),
            Poll::Pending if upload.received() != self.moved => {
                self.moved = upload.received();
                if attempt.grace.is_none() {
                    timer.set(attempt.at_most(self.body_idle));
                }
            }
            Poll::Pending => {}
        }
        Ok(())
    }
}

/// Reads once of the answer.
fn poll_answer(
    context: &mut Context<'_>,
    backend: &mut Stream,
    hand: &mut Option<Buffer>,
) -> Poll<Result<(), Trouble>> {
    match backend.poll_fill(context, hand, Size::Small) {
        Poll::Ready(Err(error)) if is_lost(&error) => Poll::Ready(Err(Trouble::Backend(Cause::ConnectionLost))),
        Poll::Ready(Ok(0) | Err(_)) => {
            let cause = if hand.is_some() { Cause::BadAnswer } else { Cause::ResetBeforeAnswer };
            Poll::Ready(Err(Trouble::Backend(cause)))
        }
        Poll::Ready(Ok(_)) => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    }
}

/// Reads what the client sends before it has its answer, to notice when it goes away.
fn read_ahead(context: &mut Context<'_>, client: &mut Stream, request: &mut Option<Buffer>) -> Result<Heed, Trouble> {
    if client.poll_readable(context).is_pending() {
        return Ok(Heed::All);
    }
    match client.poll_fill(context, request, Size::Small) {
        // Reset: nobody waits for the answer.
        Poll::Ready(Err(_)) => Err(Trouble::ClientGone),
        // An end alone is half a close: the client still reads.
        Poll::Ready(Ok(read)) if read == 0 || request.as_ref().is_some_and(is_enough) => Ok(Heed::NoMore),
        Poll::Ready(Ok(_)) | Poll::Pending => Ok(Heed::All),
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

/// Whether an answer is given up for the one of another backend.
fn may_go_elsewhere(search: &Search<'_>, tried: &[u32]) -> bool {
    let pool = search.pool();
    tried.len() <= usize::from(pool.config.retry.attempts) && search.has_others(tried) && can_afford_retry(pool)
}

/// Whether an answer with this status is given up for another one.
fn is_tried_elsewhere(search: &Search<'_>, status: u16, tried: &[u32], retries: u8) -> bool {
    let pool = search.pool();
    pool.config.retry.statuses.contains(&status)
        && (may_go_elsewhere(search, tried) || may_wait_for_the_next(pool, retries))
}

/// What the bytes in hand are.
enum Composed {
    /// 1xx, for the client where it understands it.
    Interim(Option<Buffer>),
    /// The answer.
    Final {
        status: u16,
        given: Given,
        framing: Framing,
        reusable: bool,
        next: Next,
        out: Buffer,
        coding: Option<Coding>,
    },
}

/// What rules change of an answer's head, and the coding that its body gets; a page in its place gets none.
fn amended(
    rules: &Applied,
    answer: &Answer<'_>,
    lease: &Lease,
    version: Version,
    pages: Option<Pages<'_>>,
) -> (Option<Edits>, Option<Coding>) {
    let mut edits = Edits::default();
    let coding = if pages.is_none() {
        rules.amend(answer, lease.backend(), version, &mut edits)
    } else {
        rules.amend_fields(answer, lease.backend(), &mut edits);
        None
    };
    (Some(edits), coding)
}

/// What a page must fit that stands in for a backend's answer.
fn instead_fit<'a>(incoming: &Incoming, upload: &'a Upload, keep_alive: bool) -> Fit<'a> {
    let (head_only, version, id) = (incoming.asked.head, incoming.version, incoming.id(upload));
    Fit { head_only, version, keep_alive, id, lines: b"", pages: None }
}

/// Whether a client of this version sees where the answer ends while its connection stays.
fn has_an_end(framing: Framing, coding: Option<Coding>, version: Version) -> bool {
    framing != Framing::UntilClose && !((framing == Framing::Chunked || coding.is_some()) && version == Version::Http10)
}

/// Reads the head of an answer from what is in hand, and writes it for the client; `None` while it is incomplete.
#[expect(clippy::too_many_arguments, reason = "the facts of one exchange; a struct of borrows would hide them")]
fn compose(
    connection: &Connection,
    search: &Search<'_>,
    incoming: &Incoming,
    upload: &Upload,
    lease: &Lease,
    hand: &mut Option<Buffer>,
    tried: &[u32],
    retries: u8,
) -> Result<Option<Composed>, Cause> {
    let Some(buffer) = hand else { return Ok(None) };
    let pool = search.pool();
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
    let repeatable = incoming.idempotent && upload.is_repeatable();
    if !interim && repeatable && is_tried_elsewhere(search, status, tried, retries) {
        return Err(Cause::RetriedStatus);
    }
    let pages = pages::instead(connection, incoming, status);
    let (mut edits, coding) = match incoming.rules.as_ref().filter(|_| !interim) {
        None => (None, None),
        Some(rules) => amended(rules, &answer, lease, incoming.version, pages),
    };
    // The rest of a request that was answered early is not waited for: the connection ends after the answer. So does the
    // one of a client that may hold on to a backend which is being taken out.
    let goes_on = incoming.keep_alive
        && connection.is_wanted()
        && !lease.backend().is_leaving()
        && upload.has_all()
        && upload.is_over()
        && (pages.is_some() || has_an_end(answer.framing, coding, incoming.version));
    let next = match (goes_on, incoming.version) {
        (true, Version::Http11) => Next::Keep,
        (true, Version::Http10) => Next::SayKeep,
        (false, _) => Next::Close,
    };
    if let (Some(sticky), Some(belongs), false) = (&pool.sticky, &incoming.belongs, interim) {
        belongs.settle(pool, sticky, incoming.ask.stick, lease.backend(), &answer, &mut edits);
    }
    if let Some(line) = incoming.line.as_ref().filter(|_| !interim) {
        line.answered(&connection.listener, &answer);
    }
    let mut out = Buffer::take(Size::Small);
    let (status, given) = match pages {
        None => {
            answer.write(&mut out, incoming.version, if interim { Next::Keep } else { next }, edits.as_ref());
            (status, Given::Passed(status))
        }
        Some(pages) => {
            pages.write_instead(&mut out, &answer, edits, instead_fit(incoming, upload, goes_on));
            (pages.shown(status), Given::Dropped(status))
        }
    };
    let (length, framing, reusable) = (answer.length, answer.framing, answer.keep_alive);
    buffer.consume(length);
    if buffer.is_empty() {
        *hand = None;
    }
    if interim {
        let wanted = incoming.version == Version::Http11 && (status != 100 || incoming.expects_continue);
        return Ok(Some(Composed::Interim(wanted.then_some(out))));
    }
    Ok(Some(Composed::Final { status, given, framing, reusable, next, out, coding }))
}
