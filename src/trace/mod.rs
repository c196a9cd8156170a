//! Traces below whoever makes them: the context that travels in `traceparent` (`context`), what is told of a request that
//! has ended (`Finished`), the queue to whoever exports it, and the form in which that is done (`otlp`).
//!
//! A worker never waits: what does not fit into the queue is dropped and counted.

pub mod context;
pub mod otlp;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::config::model::Tracing;

/// Requests that wait for the exporter at most: some 2 MiB.
const MAX_WAITING: usize = 4096;

/// A request that is traced, when it has ended.
#[derive(Debug)]
pub struct Finished {
    /// Where it is told, and as what.
    pub tracing: Arc<Tracing>,
    /// The trace that it belongs to.
    pub trace: u128,
    /// The span that it was asked from.
    pub parent: Option<u64>,
    /// Its own span.
    pub span: u64,
    /// When it began, nanoseconds since 1970.
    pub begun_nanos: u64,
    /// How long it took.
    pub took: Duration,
    /// Its method.
    pub method: String,
    /// The host it named.
    pub host: String,
    /// Path and query.
    pub target: String,
    /// Who asked.
    pub client: IpAddr,
    /// The listener.
    pub listener: Arc<str>,
    /// The pool.
    pub pool: Arc<str>,
    /// The status sent; 0 where nothing was.
    pub status: u16,
    /// `ok`, or the cause.
    pub end: &'static str,
    /// How far it had come.
    pub phase: &'static str,
    /// Waiting for a backend.
    pub queued: Duration,
    /// Its attempts, in order.
    pub attempts: Vec<Attempt>,
}

/// One attempt at one backend.
#[derive(Debug)]
pub struct Attempt {
    /// Its span, which the backend was told.
    pub span: u64,
    /// The backend.
    pub backend: Arc<str>,
    /// When it began, counted from the request's beginning.
    pub begun: Duration,
    /// How long it took.
    pub took: Duration,
    /// The backend's status; 0 where it gave none.
    pub status: u16,
    /// `ok`, or the cause.
    pub end: &'static str,
}

/// What the exporter is told.
#[derive(Debug)]
pub enum Message {
    /// A request has ended.
    Finished(Box<Finished>),
    /// The program ends: export what there is, and say so.
    End(oneshot::Sender<()>),
}

/// The way to the exporter.
#[derive(Debug)]
pub struct Traces {
    queue: mpsc::Sender<Message>,
    dropped: Arc<AtomicU64>,
}

impl Traces {
    /// The way, and its end. `dropped` counts the spans that were not exported.
    pub fn new(dropped: Arc<AtomicU64>) -> (Self, mpsc::Receiver<Message>) {
        let (queue, messages) = mpsc::channel(MAX_WAITING);
        (Self { queue, dropped }, messages)
    }

    /// Hands over a request that has ended.
    pub fn hand_over(&self, finished: Box<Finished>) {
        let spans = 1 + finished.attempts.len() as u64;
        if self.queue.try_send(Message::Finished(finished)).is_err() {
            self.dropped.fetch_add(spans, Relaxed);
        }
    }

    /// Waits until all is exported, or cannot be.
    pub async fn finish(&self) {
        let (done, wait) = oneshot::channel();
        if self.queue.send(Message::End(done)).await.is_ok() {
            // Where the exporter has gone, there is nothing to wait for.
            let _ = wait.await;
        }
    }
}
