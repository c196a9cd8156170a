//! Who has changed what over the admin port, and who was not let do it: a line for each, in the event log and, where
//! `admin.audit` says so, as JSON in a log of its own.
//!
//! What was let in and then left by whoever asked is told as well: what it asked for may have come to pass. Lines go to a
//! thread with a bounded queue, as those of access logs do, so that a slow disk keeps nobody waiting. Whoever is refused
//! again and again gets few lines, and the next one says how many were left out.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::callers::{Caller, Peer};
use super::AdminState;
use crate::config::model::{Per, Rate};
use crate::route::rate::Limiter;

/// Lines about what one address was refused, at once …
const REFUSED_AT_ONCE: NonZeroU32 = NonZeroU32::new(20).expect("twenty");
/// … and then one in this time.
const REFUSED_EVERY: Duration = Duration::from_secs(1);
/// Longest body that is told, bytes: orders have a few words.
const MAX_SAID: usize = 4096;
/// Longest path and query that are told, bytes.
const MAX_WORDS: usize = 2048;

/// What all lines share.
#[derive(Debug)]
pub(super) struct Audit {
    refused: Limiter,
    /// Refusals without a line since the last one that has one.
    left_out: AtomicU64,
}

impl Audit {
    pub(super) fn new() -> Self {
        let rate =
            Rate { per: Per::Client, requests: NonZeroU32::MIN, every: REFUSED_EVERY, burst: REFUSED_AT_ONCE };
        Self { refused: Limiter::new(&rate), left_out: AtomicU64::new(0) }
    }
}

/// What somebody asks for, until it is known what came of it.
pub(super) struct Deed<'d> {
    audit: &'d Audit,
    state: &'d Arc<AdminState>,
    pub(super) peer: &'d Peer,
    caller: Option<Caller>,
    method: String,
    path: String,
    query: Option<String>,
    said: Option<Value>,
    generation: u64,
    /// It is told whatever comes of it, from when it was let in.
    is_begun: bool,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// It was done.
    Done,
    /// It was let in, and could not be done.
    Failed,
    /// It was not let in.
    Refused,
    /// Whoever asked has not waited for the answer.
    Left,
}

/// A line.
#[derive(Debug, Serialize)]
struct Line<'l> {
    at: String,
    outcome: Outcome,
    who: Option<&'l str>,
    by: Option<&'l str>,
    role: Option<&'l str>,
    from: String,
    method: &'l str,
    path: &'l str,
    query: Option<&'l str>,
    said: Option<&'l Value>,
    status: Option<u16>,
    generation_before: u64,
    generation_after: u64,
    #[serde(skip_serializing_if = "is_zero")]
    left_out: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde wants it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl<'d> Deed<'d> {
    /// Somebody asks for something.
    pub(super) fn new<B>(request: &Request<B>, peer: &'d Peer, audit: &'d Audit, state: &'d Arc<AdminState>) -> Self {
        Self {
            audit,
            state,
            peer,
            caller: None,
            method: request.method().to_string(),
            path: short(request.uri().path()),
            query: request.uri().query().map(short),
            said: None,
            generation: state.table.generation(),
            is_begun: false,
        }
    }

    /// It is known who asks.
    pub(super) fn by(&mut self, caller: &Caller) {
        self.caller = Some(caller.clone());
    }

    /// It may be done, and is begun.
    pub(super) fn begin(&mut self) {
        self.is_begun = true;
    }

    /// What an order says. A configuration is not told: it may hold secrets, and is kept as a generation.
    pub(super) fn say(&mut self, body: &Bytes) {
        if body.len() <= MAX_SAID {
            self.said = serde_json::from_slice(body).ok();
        }
    }

    /// It is answered.
    pub(super) fn end(mut self, status: StatusCode) {
        let is_begun = std::mem::take(&mut self.is_begun);
        if is_begun {
            let outcome = if status.is_success() { Outcome::Done } else { Outcome::Failed };
            self.tell(outcome, Some(status), 0);
        } else if matches!(
            status,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS
        ) {
            if self.peer.ask(&self.audit.refused).is_err() {
                self.audit.left_out.fetch_add(1, Relaxed);
                return;
            }
            self.tell(Outcome::Refused, Some(status), self.audit.left_out.swap(0, Relaxed));
        }
    }

    fn tell(&self, outcome: Outcome, status: Option<StatusCode>, left_out: u64) {
        let caller = self.caller.as_ref();
        let line = Line {
            at: Timestamp::now().to_string(),
            outcome,
            who: caller.and_then(Caller::name),
            by: caller.map(Caller::by),
            role: caller.map(|caller| caller.role.word()),
            from: self.peer.words(),
            method: &self.method,
            path: &self.path,
            query: self.query.as_deref(),
            said: self.said.as_ref(),
            status: status.map(|status| status.as_u16()),
            generation_before: self.generation,
            generation_after: self.state.table.generation(),
            left_out,
        };
        let (who, path) = (line.who.unwrap_or("-"), line.path);
        let (before, after) = (line.generation_before, line.generation_after);
        let code = line.status.unwrap_or(0);
        tracing::info!(?outcome, %who, from = %line.from, method = %line.method, %path, status = code, before, after, left_out, "admin port");
        self.write(&line);
    }

    fn write(&self, line: &Line<'_>) {
        let Some(target) = self.state.table.load().config.admin.audit.clone() else { return };
        // A target of the configuration in force is open.
        let Some(sink) = self.state.sinks.find(&target) else { return };
        let mut bytes = Vec::new();
        if let Some(head) = sink.head() {
            bytes.extend_from_slice(&head.before);
            bytes.extend_from_slice(line.at.as_bytes());
            bytes.extend_from_slice(&head.behind);
        }
        // Texts and numbers always are JSON.
        if serde_json::to_writer(&mut bytes, line).is_ok() {
            bytes.push(b'\n');
            sink.hand_over(bytes);
        }
    }
}

impl Drop for Deed<'_> {
    fn drop(&mut self) {
        if self.is_begun {
            self.tell(Outcome::Left, None, 0);
        }
    }
}

/// As much of a text as a line has room for.
fn short(text: &str) -> String {
    text.get(..MAX_WORDS).unwrap_or(text).to_owned()
}
