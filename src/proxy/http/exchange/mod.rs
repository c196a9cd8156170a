//! What happens to a request: a backend is picked, connected to, asked; its answer is passed on, or it is tried elsewhere.
//!
//! Policy only; the codec is `http1`. Hot path: no lock, no formatting, one allocation for each request.

mod delivering;
mod ending;

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::{Duration, Instant};

use delivering::deliver;
use ending::{account, give_up};

use super::asking::{Answered, try_one};
use super::connection::{self, Connection};
use super::gates::Waiting;
use super::grpc::{Grpc, Kind};
use super::http1::answer;
use super::http1::{Framing, Version};
use super::mirror;
use super::rules::Applied;
use super::sticky::Belongs;
use super::trace::Trace;
use super::upload::{self, Trouble, Upload};
use crate::clock;
use crate::config::model;
use crate::net::buffer::Buffer;
use crate::net::introduction::Introduction;
use crate::pool::{Ask, Backend, Lease, Pool, TunnelPlace};
use crate::proxy::attempt::{self, Search, Tried};
use crate::proxy::log::Line;
use crate::proxy::outcome::{Cause, Phase};
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
