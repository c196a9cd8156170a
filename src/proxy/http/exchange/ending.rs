//! The end of an exchange: what the client is told that gets no answer, and what is counted and logged.

use std::sync::Arc;

use super::{After, Incoming, Notes};
use crate::metrics::status_class;
use crate::pool::Pool;
use crate::proxy::http::connection::Connection;
use crate::proxy::http::grpc::{self, Kind};
use crate::proxy::http::pages::Pages;
use crate::proxy::http::reply::{Fit, Reply};
use crate::proxy::http::upload::{Trouble, Upload};
use crate::proxy::log::{Ended, OK};
use crate::proxy::outcome::{Cause, Phase};

/// Tells the client that it gets no answer from a backend.
pub(super) async fn give_up(
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
pub(super) fn account(
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
