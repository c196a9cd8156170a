//! What another service says of a request: its pool's backends are asked as traffic asks them, with its checks, leases and
//! idle connections, until one has answered or the time is up.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use super::super::aside;
use super::super::connection::Connection;
use super::super::http1::answer::{Answer, Asked};
use super::super::http1::body::Body;
use super::super::http1::edits::push_line;
use super::super::http1::{Framing, fields};
use super::Question;
use crate::balance::Balance;
use crate::config::model::{ForwardAuth, Reads};
use crate::metrics::status_class;
use crate::net::buffer::Buffer;
use crate::net::introduction::Introduction;
use crate::net::stream::Stream;
use crate::pool::{Ask, Lease, Stick};
use crate::proxy::accept::within;
use crate::proxy::attempt::{self, Search, Tried};
use crate::proxy::idle::Wanted;
use crate::proxy::outcome::Cause;
use crate::proxy::worker::{View, source_key};

/// Longest body of an answer that is passed back.
const BODY_MAX: usize = 64 * 1024;

/// Fields that concern one connection, or that the balancer writes itself.
const NOT_PASSED: &[&str] = &[
    "connection",
    "content-length",
    "content-type",
    "keep-alive",
    "proxy-connection",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What was said.
pub(super) enum Said {
    /// It may pass; lines for the backend.
    Passes(Vec<u8>),
    /// It may not, and gets this answer.
    Refused(Box<Refused>),
    /// Nothing that can be used.
    Nothing(Cause),
    /// The client has left meanwhile.
    ClientLeft,
}

/// An answer for the client.
pub(super) struct Refused {
    pub(super) status: u16,
    /// `Content-Type`.
    pub(super) kind: String,
    /// Its other fields, each with its end.
    pub(super) lines: Vec<u8>,
    pub(super) body: Vec<u8>,
}

/// The head of an answer.
struct Head {
    status: u16,
    framing: Framing,
    reusable: bool,
    kind: String,
    lines: Vec<u8>,
}

/// Asks, within the time that the rule gives.
pub(super) async fn ask(connection: &mut Connection, view: &Rc<View>, question: &Question) -> Said {
    let said = within(question.rule.timeout, attempts(connection, view, question)).await;
    connection.timer.mark(None);
    let said = said.unwrap_or(Said::Nothing(Cause::ResponseTimeout));
    if let Said::Nothing(cause) = said {
        view.pool(question.rule.pool.0).stats.mine().failed[cause.index()].inc();
    }
    said
}

async fn attempts(connection: &mut Connection, view: &Rc<View>, question: &Question) -> Said {
    let worker = Rc::clone(&connection.worker);
    let index = question.rule.pool.0;
    let pool = view.pool(index);
    let key = (pool.config.balance == Balance::Source).then(|| source_key(connection.ip));
    let ask = Ask { key, reads: Reads::Active, near: pool.near(connection.ip), stick: Stick::Free };
    let terms = pool.config.introduce.as_ref();
    let from = SocketAddr::new(connection.ip, 0);
    let introduction = terms.map(|terms| Introduction::of(terms, &connection.client, from, b""));
    let search = Search { worker: &worker, view, pool: index, ask, introduction: introduction.as_ref(), until: None };
    let mut tried = Tried::default();
    let mut retries = 0;
    pool.budget.request();
    loop {
        let Connection { client, hand, timer, ip, .. } = &mut *connection;
        let left = |context: &mut std::task::Context<'_>| attempt::poll_end(context, client, hand).is_ready();
        let lease = match search.lease(&mut tried, timer, *ip, left).await {
            Ok((lease, _)) => lease,
            Err(Cause::ClientAbort) => return Said::ClientLeft,
            Err(cause) => return Said::Nothing(cause),
        };
        tried.push(lease.backend().slot.index);
        let stats = lease.backend().stats.mine();
        stats.picks.inc();
        let cause = match at_one(connection, &search, &lease, question, (&tried, retries)).await {
            Ok(said) => return said,
            Err(cause) => cause,
        };
        stats.failures.inc();
        if let Some(symptom) = cause.symptom() {
            lease.backend().suspect(symptom);
        }
        if retries >= pool.config.retry.attempts || !search.has_others(&tried) {
            return Said::Nothing(cause);
        }
        retries += 1;
        pool.stats.mine().retries.inc();
    }
}

/// Asks one backend: over an idle connection first, and over a new one where that was being closed.
async fn at_one(
    connection: &Connection,
    search: &Search<'_>,
    lease: &Lease,
    question: &Question,
    (tried, retries): (&[u32], u8),
) -> Result<Said, Cause> {
    if let Some(stream) = aside::idle(search, lease, Wanted::Repeatable) {
        match over(search, stream, lease, question).await {
            Err(Cause::ResetBeforeAnswer) => {}
            other => return other,
        }
    }
    let deadline = search.time_to_connect(tried, retries, lease.backend());
    let stream = aside::open(search, lease, deadline, &connection.timer).await?;
    over(search, stream, lease, question).await
}

/// Asks over a connection.
async fn over(search: &Search<'_>, mut stream: Stream, lease: &Lease, question: &Question) -> Result<Said, Cause> {
    let begun = Instant::now();
    aside::send(&mut stream, &question.head).await?;
    let mut hand = None;
    let head = head(&mut stream, &mut hand, &question.rule).await?;
    let took = begun.elapsed();
    let body = body(&mut stream, &mut hand, head.framing).await?;
    let (backend, stats) = (lease.backend(), search.pool().stats.mine());
    stats.response.observe(took);
    stats.responses[status_class(head.status)].inc();
    backend.stats.mine().responses[status_class(head.status)].inc();
    backend.answered(took);
    if head.reusable && body.is_some() && hand.as_ref().is_none_or(Buffer::is_empty) {
        aside::keep(search, lease, stream);
    }
    match (head.status, body) {
        (200..=299, _) => Ok(Said::Passes(head.lines)),
        (300..=399 | 401 | 403 | 429, Some(body)) => {
            let Head { status, kind, lines, .. } = head;
            Ok(Said::Refused(Box::new(Refused { status, kind, lines, body })))
        }
        // A service that has lost its way says nothing of the request.
        _ => Ok(Said::Nothing(Cause::BadAnswer)),
    }
}

/// The head of the answer, past interim ones.
async fn head(stream: &mut Stream, hand: &mut Option<Buffer>, rule: &ForwardAuth) -> Result<Head, Cause> {
    loop {
        if let Some(buffer) = hand
            && !buffer.is_empty()
        {
            let (length, head) = read_head(buffer.filled(), rule)?;
            buffer.consume(length);
            match head {
                Some(head) if head.status >= 200 => return Ok(head),
                Some(_) => continue,
                None => {}
            }
        }
        if aside::fill(stream, hand).await? == 0 {
            let empty = hand.as_ref().is_none_or(Buffer::is_empty);
            return Err(if empty { Cause::ResetBeforeAnswer } else { Cause::BadAnswer });
        }
    }
}

/// What is in hand of a head, and its length.
fn read_head(bytes: &[u8], rule: &ForwardAuth) -> Result<(usize, Option<Head>), Cause> {
    let mut room = fields::room();
    let asked = Asked { head: false, upgrade: false };
    let answer = Answer::parse(bytes, &mut room, asked).map_err(|_malformed| Cause::BadAnswer)?;
    let Some(answer) = answer else { return Ok((0, None)) };
    let mut lines = Vec::new();
    let mut kind = "text/plain".to_owned();
    let passes = (200..300).contains(&answer.status);
    for field in answer.fields {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        if is("content-type") && !passes {
            kind = String::from_utf8_lossy(field.value).into_owned();
        }
        let wanted = if passes {
            rule.response_headers.iter().any(|name| is(name))
        } else {
            !NOT_PASSED.iter().any(|name| is(name))
        };
        if wanted {
            push_line(&mut lines, field.name.as_bytes(), field.value);
        }
    }
    let (status, framing, reusable) = (answer.status, answer.framing, answer.keep_alive);
    Ok((answer.length, Some(Head { status, framing, reusable, kind, lines })))
}

/// The whole body; `None` where it is too long to be passed back.
async fn body(stream: &mut Stream, hand: &mut Option<Buffer>, framing: Framing) -> Result<Option<Vec<u8>>, Cause> {
    let mut body = Body::new(framing);
    let mut content = Vec::new();
    loop {
        if let Some(buffer) = hand {
            let bytes = buffer.filled();
            let accepted = match &mut body {
                Body::Chunked(chunked) => chunked.decode(bytes, |part| content.extend_from_slice(part)),
                body => body.accept(bytes).inspect(|length| content.extend_from_slice(&bytes[..*length])),
            };
            buffer.consume(accepted.map_err(|_rule| Cause::BadAnswer)?);
        }
        if content.len() > BODY_MAX {
            return Ok(None);
        }
        if body.is_done() {
            return Ok(Some(content));
        }
        match aside::fill(stream, hand).await {
            Ok(0) if body == Body::UntilClose => return Ok(Some(content)),
            Ok(0) => return Err(Cause::TruncatedBody),
            Ok(_) => {}
            Err(_) => return Err(Cause::ResetInBody),
        }
    }
}
