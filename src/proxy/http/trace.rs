//! A request's part in a trace: the context that it came with, the one that its backend gets, and what is told when it has
//! ended.
//!
//! Only where `[tracing]` is configured; of the requests that are not recorded, only the context is passed on.

use std::cell::RefCell;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::exchange::Notes;
use super::http1::edits::Edits;
use super::http1::request::Request;
use crate::config::model::Parent;
use crate::net::buffer::Buffer;
use crate::pool::{Backend, Pool};
use crate::proxy::log::OK;
use crate::proxy::outcome::Phase;
use crate::proxy::worker::Worker;
use crate::route::{Listener, Tracing};
use crate::trace::context::{self, Context, Recorded};
use crate::trace::{Attempt, Finished};

/// A request that is recorded.
#[derive(Debug)]
pub struct Trace {
    by: Tracing,
    context: Context,
    parent: Option<u64>,
    /// Where in the head for the backend the id of the attempt's span stands.
    place: Option<Range<usize>>,
    begun: Instant,
    begun_at: SystemTime,
    method: String,
    host: String,
    target: String,
    attempts: RefCell<Vec<Attempt>>,
}

/// What the context that a request came with means for it.
#[derive(Debug)]
pub struct Met {
    /// For the backend; `None`: as it came.
    value: Option<[u8; context::LENGTH]>,
    trace: Option<Box<Trace>>,
}

impl Met {
    /// Decides whether a request is recorded.
    pub fn of(by: &Tracing, worker: &Worker, request: &Request<'_>) -> Self {
        let mut said = request.headers("traceparent");
        let came = said.next().filter(|_| said.next().is_none()).and_then(Context::parse);
        let chosen = || (worker.random() >> 40) as f32 / (1 << 24) as f32 <= by.config.sample && by.config.sample > 0.0;
        let recorded = match came {
            Some(came) if by.config.parent == Parent::Honour => came.recorded,
            _ if chosen() => Recorded::Yes,
            _ => Recorded::No,
        };
        if came.is_some_and(|came| recorded == Recorded::No && came.recorded == Recorded::No) {
            return Self { value: None, trace: None };
        }
        let trace =
            came.map_or_else(|| u128::from(worker.random()) << 64 | u128::from(worker.random() | 1), |it| it.trace);
        let context = Context { trace, span: worker.random() | 1, recorded };
        let trace = (recorded == Recorded::Yes).then(|| {
            Box::new(Trace {
                by: by.clone(),
                context,
                parent: came.map(|came| came.span),
                place: None,
                begun: Instant::now(),
                begun_at: SystemTime::now(),
                method: request.method.to_owned(),
                host: request.host.unwrap_or_default().to_owned(),
                target: request.came.to_owned(),
                attempts: RefCell::default(),
            })
        });
        Self { value: Some(context.write()), trace }
    }

    /// Changes the head for the backend accordingly. `tracestate` belongs to a `traceparent` that was understood.
    pub fn edit(&self, request: &Request<'_>, edits: &mut Edits) {
        let Some(value) = &self.value else { return };
        let began_here =
            self.trace.as_ref().map_or_else(|| request.headers("traceparent").count() != 1, |it| it.parent.is_none());
        let names: &[&str] = if began_here { &["traceparent", "tracestate"] } else { &["traceparent"] };
        edits.remove(request.fields, names);
        edits.add(b"traceparent", value);
    }

    /// What is left when the head for the backend has been written.
    pub fn written(self, head: &Buffer) -> Option<Box<Trace>> {
        let (value, mut trace) = (self.value?, self.trace?);
        trace.place = memchr::memmem::find(head.filled(), &value).map(|at| {
            let span = at + context::SPAN_AT;
            span..span + 16
        });
        Some(trace)
    }
}

impl Trace {
    /// An attempt begins: its span is what the backend is told. `head` begins with the request's head.
    pub fn attempt(&self, backend: &Backend, head: &mut Buffer, span: u64) {
        if let Some(place) = self.place.as_ref().and_then(|place| head.filled_mut().get_mut(place.clone())) {
            place.copy_from_slice(&context::span_id(span | 1));
        }
        self.attempts.borrow_mut().push(Attempt {
            span: span | 1,
            backend: Arc::clone(&backend.name),
            begun: self.begun.elapsed(),
            took: Duration::ZERO,
            status: 0,
            end: "",
        });
    }

    /// The last attempt has brought no answer, or one that is not passed on.
    pub fn failed(&self, end: &'static str) {
        self.end_attempt(0, end);
    }

    fn end_attempt(&self, status: u16, end: &'static str) {
        if let Some(attempt) = self.attempts.borrow_mut().last_mut().filter(|attempt| attempt.end.is_empty()) {
            attempt.took = self.begun.elapsed().saturating_sub(attempt.begun);
            (attempt.status, attempt.end) = (status, end);
        }
    }

    /// The request has ended.
    pub fn finish(&self, listener: &Listener, pool: &Pool, client: IpAddr, notes: &Notes, end: &'static str) {
        self.end_attempt(if notes.given == 0 { notes.status } else { notes.given }, end);
        let since = self.begun_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.by.traces.hand_over(Box::new(Finished {
            tracing: Arc::clone(&self.by.config),
            trace: self.context.trace,
            parent: self.parent,
            span: self.context.span,
            begun_nanos: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
            took: self.begun.elapsed(),
            method: self.method.clone(),
            host: self.host.clone(),
            target: self.target.clone(),
            client,
            listener: Arc::clone(&listener.config.name),
            pool: Arc::clone(&pool.config.name),
            status: notes.status,
            end,
            phase: if end == OK { Phase::Done } else { notes.phase }.word(),
            queued: notes.queued,
            attempts: self.attempts.take(),
        }));
    }
}
