//! What happens to a request: a backend is picked, connected to, asked; its answer is passed on, or it is tried elsewhere.
//!
//! Policy only; the codec is `http1`. Hot path: no lock, no formatting, one allocation for each request.

use std::future::poll_fn;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::asking::{Answered, GRACE, Given, Head, try_one};
use super::connection::{self, Connection};
use super::download::Download;
use super::gates::Waiting;
use super::grpc::{self, Grpc, Kind};
use super::http1::answer::{self, Next};
use super::http1::{Framing, Version};
use super::mirror;
use super::pages::{Pages, Rest};
use super::reply::{Fit, Reply};
use super::rules::Applied;
use super::sticky::Belongs;
use super::trace::Trace;
use super::upload::{self, Trouble, Upload};
use crate::clock;
use crate::config::model;
use crate::metrics::status_class;
use crate::net::buffer::Buffer;
use crate::net::introduction::Introduction;
use crate::net::stream::Stream;
use crate::pool::{Ask, Backend, Lease, Pool, TunnelPlace};
use crate::proxy::attempt::{self, Search, Tried};
use crate::proxy::log::{Ended, Line, OK};
use crate::proxy::outcome::{Cause, Phase};
use crate::proxy::relay::{self, Early, What, relay};
use crate::proxy::worker::{Prospect, View};

/// A request as the exchange needs it.
#[derive(Debug)]
pub struct Incoming {
    /// The pool.
    pub pool: u32,
    /// What it asks of a pick.
    pub ask: Ask,
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
    /// For the collector, when it is recorded.
    pub trace: Option<Box<Trace>>,
    /// It is a call of gRPC.
    pub grpc: Option<Grpc>,
    /// What a connection to a backend begins with; such a connection is for this request alone.
    pub introduction: Option<Box<Introduction>>,
    /// The rules that it has met; `None`: none.
    pub rules: Option<Box<Applied>>,
    /// What it says of where it belongs, in pools whose clients stay.
    pub(super) belongs: Option<Box<Belongs>>,
    /// What it must pass before; `None`: nothing.
    pub gates: Option<Box<Waiting>>,
}

impl Incoming {
    /// How long its body or the answer's may be silent. A stream of gRPC waits for news, as a tunnel does.
    pub(super) fn silence(&self, listener: &model::Listener, pool: &model::Pool) -> Duration {
        match self.grpc {
            None => listener.timeouts.body_idle,
            Some(_) => pool.timeouts.tunnel_idle.unwrap_or(listener.timeouts.tunnel_idle),
        }
    }

    /// In which terms it is told that it has failed.
    pub(super) fn kind(&self) -> Kind {
        if self.grpc.is_some() { Kind::Grpc } else { Kind::Plain }
    }

    /// Its identity, where that is text.
    pub(super) fn id<'a>(&self, upload: &'a Upload) -> &'a str {
        let id = upload.kept.filled().get(self.id.clone()).unwrap_or_default();
        std::str::from_utf8(id).unwrap_or_default()
    }

    fn terms<'a>(&'a self, upload: &'a Upload) -> connection::Terms<'a> {
        let rules = self.rules.as_ref().map(|applied| &**applied.rules());
        // Without pages nothing is said of it.
        let id = rules.and_then(|rules| rules.errors.as_ref()).map_or("", |_| self.id(upload));
        connection::Terms { kind: self.kind(), head_only: self.asked.head, rules, id }
    }
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
pub struct Notes {
    pub(super) begun: Instant,
    /// The client waits no longer.
    pub(super) until: Option<Instant>,
    pub(super) queued: Duration,
    pub(super) connect: Duration,
    pub(super) response: Duration,
    pub(super) retries: u8,
    /// How far it has come.
    pub(super) phase: Phase,
    pub(super) status: u16,
    /// The status that the backend has answered with; 0: none.
    pub(super) given: u16,
    /// Bytes of the backend's answer given to the client.
    pub(super) sent: u64,
    /// Bytes of the balancer's own.
    pub(super) own_sent: u64,
    pub(super) lease: Option<Lease>,
    /// Whose fault the last attempt was that failed.
    pub(super) blamed: Option<Arc<Backend>>,
    /// For a request that asks for a tunnel, where these are limited.
    pub(super) tunnel: Option<TunnelPlace>,
}

/// Carries one request through to its end.
pub async fn run(connection: &mut Connection, view: Rc<View>, mut incoming: Box<Incoming>) -> After {
    let incoming = &mut *incoming;
    let pool = Arc::clone(view.pool(incoming.pool));
    pool.budget.request();
    let limits = upload::Limits {
        kept_bytes: pool.config.retry.body_bytes as usize,
        body_bytes: connection.listener.config.limits.body_bytes,
    };
    let begun = Instant::now();
    let mut notes = Notes {
        begun,
        until: incoming.grpc.and_then(|grpc| begun.checked_add(grpc.timeout?)),
        queued: Duration::ZERO,
        connect: Duration::ZERO,
        response: Duration::ZERO,
        retries: 0,
        phase: Phase::Queue,
        status: 0,
        given: 0,
        sent: 0,
        own_sent: 0,
        lease: None,
        blamed: None,
        tunnel: None,
    };
    let head = std::mem::replace(&mut incoming.head, Buffer::empty());
    let mut upload = Upload::new(head, incoming.framing, limits);
    if let Some(by) = incoming.rules.as_ref().and_then(|rules| rules.mirror()) {
        upload.copy = mirror::begin(connection, &view, incoming, upload.kept.filled(), by);
    }
    if let Err(reject) = upload.take_in_hand(&mut connection.hand) {
        let line = incoming.line.take();
        return connection.refuse_early(reject, incoming.terms(&upload), line).await;
    }
    let worker = Rc::clone(&connection.worker);
    let introduction = incoming.introduction.as_deref();
    let (pool_index, ask_for, until) = (incoming.pool, incoming.ask, notes.until);
    let search = Search { worker: &worker, view: &view, pool: pool_index, ask: ask_for, introduction, until };
    let asked = ask(connection, &search, incoming, &mut upload, &mut notes).await;
    drop(view);
    let (after, end) = match asked {
        Ok(answered) => deliver(connection, incoming, &pool, &mut upload, &mut notes, answered).await,
        Err(trouble) => give_up(connection, incoming, &pool, &upload, &mut notes, trouble).await,
    };
    connection.timer.mark(None);
    account(connection, incoming, &pool, &upload, &notes, end);
    after
}

/// Asks one backend after the other, as far as the request may be repeated, until one answers.
async fn ask(
    connection: &mut Connection,
    search: &Search<'_>,
    incoming: &Incoming,
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
            let Connection { client, hand, timer, ip, .. } = connection;
            // Nothing of it is with a backend: an end, too, is taken for a client that has given up.
            let left = |context: &mut Context<'_>| attempt::poll_end(context, client, hand).is_ready();
            notes.phase = Phase::Queue;
            match search.lease(&mut tried, timer, *ip, left).await {
                Ok((lease, waited)) => {
                    notes.queued += waited;
                    tried.push(lease.backend().slot.index);
                    if !has_room(search.pool(), incoming, &lease, notes, &tried)? {
                        continue;
                    }
                    lease
                }
                Err(Cause::ClientAbort) => return Err(Trouble::ClientGone),
                Err(Cause::Deadline) => return Err(Trouble::Backend(Cause::Deadline)),
                // A status was given up for a better answer, and there is none.
                Err(cause) => {
                    let last = last.filter(|last| *last != Cause::RetriedStatus);
                    return Err(Trouble::Backend(last.unwrap_or(cause)));
                }
            }
        };
        begin(search, incoming, upload, notes, &lease);
        let result = try_one(connection, search, incoming, upload, notes, &lease, fresh, &tried).await;
        notes.lease = Some(lease);
        let failed = match result {
            Ok(answered) => return Ok(answered),
            Err(failed) => failed,
        };
        let Trouble::Backend(cause) = failed.trouble else { return Err(failed.trouble) };
        note_failed_attempt(incoming, cause);
        let is_safe = incoming.idempotent || failed.untouched || !upload.has_begun();
        let repeatable = upload.is_repeatable() && is_safe;
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
        if cause == Cause::RetriedStatus {
            if let Some(lease) = notes.lease.as_ref().filter(|_| !search.has_others(&tried)) {
                tried.await_verdict(lease);
            }
        } else {
            may_retry(search, notes.retries, &mut tried, cause).map_err(Trouble::Backend)?;
        }
        count_retry(search, upload, notes);
    }
}

/// An attempt at this backend begins.
fn begin(search: &Search<'_>, incoming: &Incoming, upload: &mut Upload, notes: &mut Notes, lease: &Lease) {
    lease.backend().stats.mine().picks.inc();
    notes.phase = Phase::Connect;
    if let Some(trace) = &incoming.trace {
        trace.attempt(lease.backend(), &mut upload.kept, search.worker.random());
    }
}

fn note_failed_attempt(incoming: &Incoming, cause: Cause) {
    if let Some(trace) = &incoming.trace {
        trace.failed(cause.word());
    }
}

/// There is another attempt.
fn count_retry(search: &Search<'_>, upload: &mut Upload, notes: &mut Notes) {
    upload.rewind();
    notes.retries += 1;
    if let Some(backend) = &notes.blamed {
        backend.stats.mine().retried.inc();
    }
    search.pool().stats.mine().retries.inc();
}

/// Whether the backend takes a tunnel, where the request asks for one and they are limited; its place is noted. One that
/// takes none is passed over as if it were not there, until there are more of them than can be remembered.
fn has_room(
    pool: &Pool,
    incoming: &Incoming,
    lease: &Lease,
    notes: &mut Notes,
    tried: &Tried,
) -> Result<bool, Trouble> {
    let Some(most) = pool.config.tunnels_max.filter(|_| incoming.asked.upgrade) else { return Ok(true) };
    notes.tunnel = lease.backend().tunnel(most);
    match &notes.tunnel {
        None if tried.is_full() => Err(Trouble::Backend(Cause::NoBackend)),
        place => Ok(place.is_some()),
    }
}

fn note_failure(notes: &mut Notes, cause: Cause) {
    let Some(lease) = &notes.lease else { return };
    if matches!(cause, Cause::Cut | Cause::NoUpgrade) {
        // It was ours to say, or the client's to ask.
        return;
    }
    lease.backend().stats.mine().failures.inc();
    if let Some(symptom) = cause.symptom() {
        lease.backend().suspect(symptom);
    }
    notes.blamed = Some(Arc::clone(lease.backend()));
}

/// Whether another attempt is made, or what the client is told instead.
fn may_retry(search: &Search<'_>, retries: u8, tried: &mut Tried, cause: Cause) -> Result<(), Cause> {
    let pool = search.pool();
    // The budget is for load. A connection that did not come about has cost nobody any work, and a backend that is out
    // can be overloaded no more; those that it kept waiting are limited in number.
    if cause == Cause::Deadline {
        return Err(cause);
    }
    let free = matches!(
        cause,
        Cause::ConnectRefused | Cause::ConnectFailed | Cause::ConnectTimeout | Cause::BackendDown | Cause::Cut
    );
    if retries < pool.config.retry.attempts && search.has_others(tried) && (free || can_afford_retry(pool)) {
        return Ok(());
    }
    if cause.is_absence() && attempt::may_wait_for_a_verdict(pool, retries) && (free || can_afford_retry(pool)) {
        // It met nobody, and waits for the next verdict like one that comes now and finds nobody.
        tried.give_up();
        return Ok(());
    }
    let nobody = search.prospect() != Prospect::Somebody;
    Err(if nobody && cause.is_absence() { Cause::NoBackend } else { cause })
}

pub(super) fn can_afford_retry(pool: &Pool) -> bool {
    let allowed = pool.budget.allow(clock::millis());
    if !allowed {
        pool.stats.mine().retries_denied.inc();
    }
    allowed
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
            let told = connection.refuse(reject, incoming.terms(upload)).await;
            (notes.status, notes.own_sent, notes.phase) = (told.status, told.sent, Phase::Request);
            return (told.after, reject.word());
        }
        Trouble::ClientGone => Cause::ClientAbort,
        Trouble::Backend(cause) => cause,
    };
    pool.stats.mine().failed[cause.index()].inc();
    if let (Cause::Cut, Some(lease)) = (cause, &notes.lease) {
        lease.backend().stats.mine().cut.inc();
    }
    if cause == Cause::ClientAbort {
        return (After::Done, cause.word());
    }
    if let Some(backend) = &notes.blamed {
        backend.stats.mine().lost.inc();
    }
    let keep_alive = incoming.keep_alive && upload.has_all() && connection.is_wanted();
    let reply = match incoming.kind() {
        Kind::Plain => Reply::Failed(cause),
        Kind::Grpc => Reply::Grpc(grpc::code_of(cause), cause.sentence()),
    };
    let listener = Arc::clone(&connection.listener);
    let rules = incoming.rules.as_ref().map(|applied| &**applied.rules());
    let pages = Pages::of(rules, connection.ip, &listener.config.name);
    notes.status = reply.status(pages);
    let lines = incoming.rules.as_ref().map(|rules| rules.own_lines(notes.status)).unwrap_or_default();
    let fit = Fit {
        head_only: incoming.asked.head,
        version: incoming.version,
        keep_alive,
        id: incoming.id(upload),
        lines: &lines,
        pages,
    };
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
            stats.responses[status_class(notes.given)].inc();
            stats.received_bytes.add(notes.sent);
            stats.sent_bytes.add(received);
        }
    }
    if let Some(trace) = &incoming.trace {
        trace.finish(&connection.listener, pool, connection.ip, notes, end);
    }
    let Some(line) = &incoming.line else { return };
    let ended = Ended {
        client: connection.ip,
        pool: &pool.config.name,
        backend: notes.lease.as_ref().map_or("", |lease| &lease.backend().name),
        status: notes.status,
        received,
        sent: notes.sent + notes.own_sent,
        retries: notes.retries,
        queued: notes.queued,
        connect: notes.connect,
        response: notes.response,
        total: notes.begun.elapsed(),
        end,
        phase: if end == OK { Phase::Done } else { notes.phase },
    };
    connection.worker.log.write(&connection.listener, line, &ended);
}
