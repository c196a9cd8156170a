//! A request as the exchange needs it.

use std::net::{IpAddr, SocketAddr};

use crate::balance::{Balance, hash};
use crate::config::model::{Introduce, Reads};
use crate::net::buffer::{Buffer, Size};
use crate::net::introduction::Introduction;
use crate::pool::sticky::Channel;
use crate::pool::{Ask, Stick};
use crate::proxy::http::connection::Connection;
use crate::proxy::http::exchange::Incoming;
use crate::proxy::http::http1::answer;
use crate::proxy::http::http1::edits::Edits;
use crate::proxy::http::http1::request::{Request, Sender};
use crate::proxy::http::rules::Met;
use crate::proxy::http::sticky::Belongs;
use crate::proxy::http::trace;
use crate::proxy::log::Line;
use crate::proxy::worker::{View, source_key};

impl Connection {
    #[inline]
    pub(super) fn incoming(
        &self,
        view: &View,
        pool: u32,
        reads: Reads,
        request: &Request<'_>,
        sender: &Sender<'_>,
        met: Option<Met>,
    ) -> Incoming {
        let live = view.pool(pool);
        let (belongs, stick) = match &live.sticky {
            None => (None, Stick::Free),
            Some(sticky) => {
                let channel = if sender.scheme == b"https" { Channel::Secure } else { Channel::Plain };
                let (belongs, stick) = Belongs::of(sticky, request, self.ip, channel);
                (Some(Box::new(belongs)), stick)
            }
        };
        let mut head = Buffer::take(Size::Small);
        let (mut edits, mut rules, gates) =
            met.map_or((None, None, None), |met| (Some(met.edits), Some(met.applied), met.gates));
        if let Some(applied) = &mut rules
            && let Some((rule, _)) = applied.mirror()
        {
            applied.copy_key = key(&view.pool(rule.pool.0).config.balance, request, self.ip);
        }
        let traced = view.table.tracing.as_ref().map(|by| trace::Met::of(by, &self.worker, request));
        if let Some(traced) = &traced {
            traced.edit(request, edits.get_or_insert_default());
        }
        let id = request.write(&mut head, sender, edits.as_ref());
        let asked = edits.as_ref().and_then(Edits::target).unwrap_or(request.origin_target.as_bytes());
        let trace = traced.and_then(|traced| traced.written(&head));
        Incoming {
            pool,
            ask: Ask { key: key(&live.config.balance, request, self.ip), reads, near: live.near(self.ip), stick },
            asked: answer::Asked { head: request.method == "HEAD", upgrade: request.upgrade.is_some() },
            idempotent: is_idempotent(request.method),
            version: request.version,
            keep_alive: request.keep_alive,
            expects_continue: request.expects_continue,
            framing: request.framing,
            line: Line::of(&self.listener, &self.client, request, sender.request_id, Some(asked)),
            id,
            head,
            rules,
            trace,
            belongs,
            grpc: request.grpc,
            introduction: live.config.introduce.as_ref().map(|terms| Box::new(self.introduction(terms, sender))),
            gates,
        }
    }

    /// What the backend is told before anything else. A client that a trusted proxy speaks for has no port that is known.
    #[cold]
    fn introduction(&self, terms: &Introduce, sender: &Sender<'_>) -> Introduction {
        let port = if self.ip == self.peer { self.peer_port } else { 0 };
        Introduction::of(terms, &self.client, SocketAddr::new(self.ip, port), sender.request_id)
    }
}

/// RFC 9110, section 9.2.2, and the methods of other protocols over HTTP that only read.
fn is_idempotent(method: &str) -> bool {
    matches!(
        method,
        "GET" | "HEAD" | "PUT" | "DELETE" | "OPTIONS" | "TRACE" | "LIST" | "PROPFIND" | "REPORT" | "SEARCH" | "QUERY"
    )
}

fn key(balance: &Balance, request: &Request<'_>, client: IpAddr) -> Option<u64> {
    match balance {
        Balance::Source => Some(source_key(client)),
        Balance::Uri => Some(hash(request.origin_target.as_bytes())),
        Balance::Header(name) => request.header(name).map(hash),
        Balance::Cookie(name) => request.cookie(name).map(hash),
        _ => None,
    }
}
