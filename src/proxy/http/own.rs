//! Answers by rule: what the configuration has the balancer say instead of asking a backend.

use std::sync::Arc;

use super::exchange::Incoming;
use super::gates::Waiting;
use super::grpc::Kind;
use super::http1::request::Request;
use super::http1::{Framing, Reject, Version};
use super::reply::reason;
use super::rules::Applied;
use crate::config::model::Rules;
use crate::proxy::log::Line;

const TEXT: &str = "text/plain; charset=utf-8";

/// An answer by rule, and what it must fit.
pub(super) struct Own {
    /// Its status.
    pub(super) status: u16,
    /// Field lines of its own, each with its end.
    pub(super) lines: Vec<u8>,
    /// `Content-Type`.
    pub(super) kind: Arc<str>,
    /// Its body.
    pub(super) body: Arc<[u8]>,
    /// The request was HEAD.
    pub(super) head_only: bool,
    /// The client's version.
    pub(super) version: Version,
    /// Nothing of the request is left to be read, and the client wants to go on.
    pub(super) keep_alive: bool,
    /// The identity of the request.
    pub(super) id: String,
    /// For the access log, when it is on.
    pub(super) line: Option<Box<Line>>,
    /// Which rule it was, for the access log.
    pub(super) end: &'static str,
    /// It refuses the request, and is counted as that.
    pub(super) refusal: Option<Reject>,
    /// In which terms it refuses.
    pub(super) terms: Kind,
    /// The rules whose error pages stand in for its body; `None`: it is what the client shall read.
    pub(super) rules: Option<Arc<Rules>>,
    /// What its request must pass before; `None`: nothing.
    pub(super) guard: Option<Box<Guard>>,
}

/// What guards an answer, and the rules that say so.
pub(super) struct Guard {
    /// What the request waits for.
    pub(super) waiting: Waiting,
    /// For the answer that it gets instead.
    pub(super) applied: Box<Applied>,
}

impl Own {
    /// An answer to this request with a sentence as its body.
    pub(super) fn sentence(request: &Request<'_>, status: u16, sentence: &str, end: &'static str) -> Self {
        let body = format!("{status} {}\n\n{sentence}\n", reason(status));
        Self {
            status,
            lines: Vec::new(),
            kind: TEXT.into(),
            body: body.into_bytes().into(),
            head_only: request.method == "HEAD",
            version: request.version,
            keep_alive: request.keep_alive && request.framing == Framing::Empty,
            id: String::new(),
            line: None,
            end,
            refusal: None,
            terms: if request.grpc.is_some() { Kind::Grpc } else { Kind::Plain },
            rules: None,
            guard: None,
        }
    }

    /// An answer that refuses this request, on a connection that may go on.
    pub(super) fn refusal(request: &Request<'_>, reject: Reject) -> Self {
        let own = Self::sentence(request, reject.status().0, reject.sentence(), reject.word());
        Self { refusal: Some(reject), ..own }
    }

    /// An answer to a request whose head is gone already; without a body.
    pub(super) fn late(incoming: &Incoming, status: u16, end: &'static str) -> Self {
        let id = incoming.head.filled().get(incoming.id.clone()).unwrap_or_default();
        Self {
            status,
            lines: Vec::new(),
            kind: TEXT.into(),
            body: Arc::default(),
            head_only: incoming.asked.head,
            version: incoming.version,
            keep_alive: incoming.keep_alive && incoming.framing == Framing::Empty,
            id: String::from_utf8_lossy(id).into_owned(),
            line: None,
            end,
            refusal: None,
            terms: incoming.kind(),
            rules: None,
            guard: None,
        }
    }

    /// Another answer to the same request, which takes its line for the log; without a body.
    pub(super) fn instead(&mut self, status: u16, end: &'static str) -> Self {
        Self {
            status,
            lines: Vec::new(),
            kind: TEXT.into(),
            body: Arc::default(),
            id: std::mem::take(&mut self.id),
            line: self.line.take(),
            end,
            refusal: None,
            rules: None,
            guard: None,
            ..*self
        }
    }

    /// The same with a sentence as its body.
    pub(super) fn saying(self, sentence: &str) -> Self {
        let body = format!("{} {}\n\n{sentence}\n", self.status, reason(self.status));
        Self { body: body.into_bytes().into(), ..self }
    }

    /// An answer without a body.
    pub(super) fn bare(request: &Request<'_>, status: u16, end: &'static str) -> Self {
        Self { body: Arc::default(), ..Self::sentence(request, status, "", end) }
    }

    /// The same with a body from the configuration, where that has one.
    pub(super) fn body(mut self, kind: &Arc<str>, body: &Arc<[u8]>) -> Self {
        if !body.is_empty() {
            (self.kind, self.body) = (Arc::clone(kind), Arc::clone(body));
        }
        self
    }
}
