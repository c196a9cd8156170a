//! The access log: one line for each request or TCP connection, written to standard output by a thread of its own.
//!
//! A worker collects lines in a buffer and hands over whole buffers. When the writer falls behind, buffers are dropped
//! and counted: a slow disk or pipe must not slow traffic.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::config::model;

/// A buffer is handed over when it has this many bytes, or once a second.
const FLUSH_AT: usize = 32 * 1024;
/// Buffers that wait for the writer at most.
const MAX_WAITING: usize = 64;

/// The writing end of the access log, one for each worker.
#[derive(Debug)]
pub struct AccessLog {
    format: model::AccessLog,
    lines: RefCell<String>,
    writer: Option<SyncSender<String>>,
    dropped: Arc<AtomicU64>,
}

/// The process's access log: makes the workers' ends.
#[derive(Debug)]
pub struct AccessLogs {
    format: model::AccessLog,
    writer: Option<SyncSender<String>>,
    thread: Option<JoinHandle<()>>,
    dropped: Arc<AtomicU64>,
}

impl AccessLogs {
    /// Starts the writer, unless the log is off. `dropped` counts the buffers that it was too slow for.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(format: model::AccessLog, dropped: Arc<AtomicU64>) -> std::io::Result<Self> {
        if format == model::AccessLog::Off {
            return Ok(Self { format, writer: None, thread: None, dropped });
        }
        let (sender, receiver) = sync_channel(MAX_WAITING);
        let thread = std::thread::Builder::new().name("access-log".into()).spawn(move || write_all(&receiver))?;
        Ok(Self { format, writer: Some(sender), thread: Some(thread), dropped })
    }

    /// The end for one worker.
    pub fn worker(&self) -> AccessLog {
        AccessLog {
            format: self.format,
            lines: RefCell::new(String::new()),
            writer: self.writer.clone(),
            dropped: Arc::clone(&self.dropped),
        }
    }
}

impl AccessLogs {
    /// Waits until every line is written. The workers must have ended.
    pub fn finish(self) {
        drop(self.writer);
        if self.thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the access log had ended by a panic");
        }
    }
}

fn write_all(buffers: &Receiver<String>) {
    let mut out = std::io::stdout();
    for lines in buffers {
        // Nobody reads standard output any more: there is nobody to tell.
        if out.write_all(lines.as_bytes()).and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

/// What a line is about, where that is no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// A TCP connection.
    #[default]
    Tcp,
    /// A flow of datagrams.
    Udp,
}

/// What is known of a request when it begins.
#[derive(Debug, Default)]
pub struct Line {
    /// What it was, where it was no request.
    pub kind: Kind,
    /// Method; empty for TCP.
    pub method: String,
    /// Host.
    pub host: String,
    /// Target.
    pub target: String,
    /// Request id.
    pub id: String,
}

impl Line {
    /// Of a flow of datagrams.
    pub fn datagrams() -> Self {
        Self { kind: Kind::Udp, ..Self::default() }
    }
}

/// What is known when it has ended.
#[derive(Debug)]
pub struct Ended<'a> {
    /// The listener.
    pub listener: &'a str,
    /// The client.
    pub client: IpAddr,
    /// The pool.
    pub pool: &'a str,
    /// The backend, the last one tried.
    pub backend: &'a str,
    /// The status sent; 0 for TCP.
    pub status: u16,
    /// Bytes from the client.
    pub received: u64,
    /// Bytes to the client.
    pub sent: u64,
    /// Further attempts.
    pub retries: u8,
    /// Waiting for a backend.
    pub queued: Duration,
    /// Connecting; zero over an idle connection.
    pub connect: Duration,
    /// From the request sent to the answer's head.
    pub response: Duration,
    /// In all.
    pub total: Duration,
    /// Why it ended: `ok` or a cause.
    pub end: &'a str,
}

impl AccessLog {
    /// Whether anyone reads it.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.writer.is_some()
    }

    /// Writes one line.
    pub fn write(&self, line: &Line, ended: &Ended<'_>) {
        let mut lines = self.lines.borrow_mut();
        match self.format {
            model::AccessLog::Off => return,
            model::AccessLog::Json => write_json(&mut lines, line, ended),
            model::AccessLog::Text => write_text(&mut lines, line, ended),
        }
        if lines.len() >= FLUSH_AT {
            self.hand_over(&mut lines);
        }
    }

    /// Hands over what is there.
    pub fn flush(&self) {
        let mut lines = self.lines.borrow_mut();
        if !lines.is_empty() {
            self.hand_over(&mut lines);
        }
    }

    fn hand_over(&self, lines: &mut String) {
        let full = std::mem::replace(lines, String::with_capacity(FLUSH_AT + 1024));
        if let Some(writer) = &self.writer
            && writer.try_send(full).is_err()
        {
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}

fn write_json(out: &mut String, line: &Line, ended: &Ended<'_>) {
    let object = serde_json::json!({
        "time": jiff::Timestamp::now().to_string(),
        "listener": ended.listener, "client": model::Client(ended.client).to_string(), "method": line.method, "host": line.host,
        "target": line.target, "status": ended.status, "pool": ended.pool, "backend": ended.backend,
        "received_bytes": ended.received, "sent_bytes": ended.sent, "retries": ended.retries,
        "queued_seconds": ended.queued.as_secs_f64(), "connect_seconds": ended.connect.as_secs_f64(),
        "response_seconds": ended.response.as_secs_f64(), "seconds": ended.total.as_secs_f64(),
        "end": ended.end, "request_id": line.id,
    });
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{object}");
}

fn write_text(out: &mut String, line: &Line, ended: &Ended<'_>) {
    let request = if line.method.is_empty() {
        match line.kind {
            Kind::Tcp => "tcp".to_owned(),
            Kind::Udp => "udp".to_owned(),
        }
    } else {
        format!("\"{} {}{}\" {}", line.method, line.host.escape_default(), line.target.escape_default(), ended.status)
    };
    let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "{} {} {} {request} {}/{} {:.1}/{:.1}/{:.1}/{:.1}ms in={} out={} retries={} {} {}",
        jiff::Timestamp::now(),
        model::Client(ended.client),
        ended.listener,
        ended.pool,
        ended.backend,
        ms(ended.queued),
        ms(ended.connect),
        ms(ended.response),
        ms(ended.total),
        ended.received,
        ended.sent,
        ended.retries,
        ended.end,
        line.id,
    );
}
