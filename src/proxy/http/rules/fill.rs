//! Templates filled in: with what is known of a request, and later of its answer.
//!
//! Nothing here can bring in a line end: what comes from clients has passed the parser, which lets none through.

use std::net::IpAddr;

use super::super::http1::edits::push_line;
use super::super::http1::request::{Request, path_of};
use super::super::moved::without_port;
use crate::config::model::{FieldLine, Piece, Template, Variable};
use crate::net::stream::Stream;

/// What is known of a request.
#[derive(Clone, Copy)]
pub(in super::super) struct Facts<'a, 'b> {
    /// Its head.
    pub(in super::super) request: &'a Request<'b>,
    /// The name that goes with its password; empty where none was asked for.
    pub(in super::super) user: &'a str,
    /// What a backend is asked for instead of its target; `None`: for its target.
    pub(in super::super) rewritten: Option<&'a [u8]>,
    /// What it came by.
    pub(in super::super) stream: &'a Stream,
    /// The client.
    pub(in super::super) client: IpAddr,
    /// The client's address as text.
    pub(in super::super) client_text: &'a str,
    /// `http` or `https`.
    pub(in super::super) scheme: &'a [u8],
    /// Its identity.
    pub(in super::super) id: &'a [u8],
    /// The name of the listener.
    pub(in super::super) listener: &'a str,
    /// The name of the pool; empty where it goes to none.
    pub(in super::super) pool: &'a str,
    /// Who has connected.
    pub(in super::super) peer: Peer,
    /// The host that a trusted proxy was asked for.
    pub(in super::super) asked_host: Option<&'a [u8]>,
    /// Longest target, bytes.
    pub(in super::super) target_bytes: usize,
}

/// Who has connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Peer {
    /// Whoever it is; what it says of others does not count.
    Anybody,
    /// A proxy in front, whose word counts.
    TrustedProxy,
}

impl Facts<'_, '_> {
    /// Appends the text of a template; what is known of answers only is nothing.
    pub(in super::super) fn fill(&self, template: &Template, out: &mut Vec<u8>) {
        for piece in &template.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Variable(variable) => out.extend_from_slice(self.value(variable)),
            }
        }
    }

    /// What a backend is asked for; nothing where the balancer answers by itself.
    fn backend_target(&self) -> &[u8] {
        if self.pool.is_empty() { b"" } else { self.rewritten.unwrap_or(self.request.origin_target.as_bytes()) }
    }

    fn value(&self, variable: &Variable) -> &[u8] {
        let request = self.request;
        match variable {
            Variable::ClientIp => self.client_text.as_bytes(),
            Variable::User => self.user.as_bytes(),
            Variable::Scheme => self.scheme,
            Variable::Host => request.host.unwrap_or_default().as_bytes(),
            Variable::Hostname => without_port(request.host.unwrap_or_default()).as_bytes(),
            Variable::Method => request.method.as_bytes(),
            Variable::Path => request.path(),
            Variable::Query => request.query(),
            Variable::Target => request.origin_target.as_bytes(),
            Variable::BackendTarget => self.backend_target(),
            Variable::BackendPath => path_of(self.backend_target()),
            Variable::RequestId => self.id,
            Variable::Listener => self.listener.as_bytes(),
            Variable::Pool => self.pool.as_bytes(),
            Variable::Header(name) => request.header(name).unwrap_or_default(),
            Variable::Cookie(name) => request.cookie(name).unwrap_or_default(),
            Variable::Tls(which) => self.stream.tls().map_or("", |tls| tls.fact(*which)).as_bytes(),
            Variable::Backend | Variable::Status => b"",
        }
    }
}

/// Field lines for an answer, filled in as far as they can be before there is one.
#[derive(Debug, Default)]
pub(super) struct Late {
    text: Vec<u8>,
    /// What is put in where, in the order of the text.
    holes: Vec<(usize, Hole)>,
}

#[derive(Debug, Clone, Copy)]
enum Hole {
    Backend,
    Status,
}

impl Late {
    /// Further lines, each with its end, that wait for nothing.
    pub(super) fn append(&mut self, lines: &[u8]) {
        self.text.extend_from_slice(lines);
    }

    pub(super) fn new(lines: &[FieldLine], facts: &Facts<'_, '_>) -> Self {
        let mut late = Self::default();
        for line in lines {
            push_line(&mut late.text, line.name.as_bytes(), b"");
            // The line goes on: its end comes behind the value.
            late.text.truncate(late.text.len() - 2);
            for piece in &line.value.0 {
                match piece {
                    Piece::Text(text) => late.text.extend_from_slice(text.as_bytes()),
                    Piece::Variable(Variable::Backend) => late.holes.push((late.text.len(), Hole::Backend)),
                    Piece::Variable(Variable::Status) => late.holes.push((late.text.len(), Hole::Status)),
                    Piece::Variable(variable) => late.text.extend_from_slice(facts.value(variable)),
                }
            }
            late.text.extend_from_slice(b"\r\n");
        }
        late
    }

    /// The lines of an answer.
    pub(super) fn filled(&self, status: u16, backend: &str) -> Vec<u8> {
        let mut lines = Vec::with_capacity(self.text.len() + self.holes.len() * 16);
        let mut done = 0;
        for (at, hole) in &self.holes {
            lines.extend_from_slice(&self.text[done..*at]);
            done = *at;
            match hole {
                Hole::Backend => lines.extend_from_slice(backend.as_bytes()),
                Hole::Status => lines.extend_from_slice(status.to_string().as_bytes()),
            }
        }
        lines.extend_from_slice(&self.text[done..]);
        lines
    }
}
