//! The head of an answer, judged and written anew for the client.

use super::Given;
use crate::config::model::Coding;
use crate::net::buffer::{Buffer, Size};
use crate::pool::Lease;
use crate::proxy::attempt::{Search, may_wait_for_the_next};
use crate::proxy::http::connection::Connection;
use crate::proxy::http::exchange::{Incoming, can_afford_retry};
use crate::proxy::http::http1::answer::{Answer, Next};
use crate::proxy::http::http1::edits::Edits;
use crate::proxy::http::http1::{Framing, Version, fields};
use crate::proxy::http::pages::{self, Pages};
use crate::proxy::http::reply::Fit;
use crate::proxy::http::rules::Applied;
use crate::proxy::http::upload::Upload;
use crate::proxy::outcome::Cause;

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
pub(super) enum Composed {
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
pub(super) fn compose(
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
