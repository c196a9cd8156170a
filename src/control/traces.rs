//! Exporting traces: batches of spans to a collector, as OTLP/HTTP in JSON.
//!
//! One task of control's for the life of the program; without `[tracing]` nothing ever comes. A collector that cannot be
//! reached is said once, and its spans are dropped and counted: nobody waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep, timeout};

use crate::config::model::{Site, Tracing};
use crate::net::connect;
use crate::trace::{Finished, Message, otlp};

/// A batch goes out when it has so many requests, or after this long.
const BATCH: usize = 256;
const LINGER: Duration = Duration::from_secs(1);
/// A collector has so long to take a batch.
const PATIENCE: Duration = Duration::from_secs(5);
/// After a batch that failed, what comes meanwhile is dropped for this long: a collector that is away costs no more.
const PAUSE: Duration = Duration::from_secs(5);

/// What a collector answers is read as far as this.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

type Link = SendRequest<Full<Bytes>>;

/// The one who exports.
#[derive(Debug)]
pub struct Exporter {
    messages: Receiver<Message>,
    dropped: Arc<AtomicU64>,
    exported: Arc<AtomicU64>,
    link: Option<(Arc<Tracing>, Link)>,
    /// The collector failed: until when it is left alone.
    paused: Option<Instant>,
    complained: bool,
}

impl Exporter {
    /// Exports what comes from there, and counts spans that went out and those that did not.
    pub fn new(messages: Receiver<Message>, exported: Arc<AtomicU64>, dropped: Arc<AtomicU64>) -> Self {
        Self { messages, dropped, exported, link: None, paused: None, complained: false }
    }

    /// Runs for the life of the program.
    pub async fn run(mut self) {
        while let Some(first) = self.messages.recv().await {
            let mut batch = Vec::new();
            let mut end = None;
            let mut next = Some(first);
            let mut linger = std::pin::pin!(sleep(LINGER));
            while let Some(message) = next {
                match message {
                    Message::Finished(finished) => batch.push(finished),
                    Message::End(done) => {
                        end = Some(done);
                        break;
                    }
                }
                if batch.len() >= BATCH {
                    break;
                }
                next = tokio::select! {
                    message = self.messages.recv() => message,
                    () = &mut linger => None,
                };
            }
            // A reload may have changed where they go.
            for part in batch.chunk_by(|a, b| Arc::ptr_eq(&a.tracing, &b.tracing)) {
                self.export(part).await;
            }
            if let Some(done) = end {
                // Whoever waited has gone: there is nobody to tell.
                let _ = done.send(());
                return;
            }
        }
    }

    async fn export(&mut self, batch: &[Box<Finished>]) {
        let Some(tracing) = batch.first().map(|first| Arc::clone(&first.tracing)) else { return };
        let spans = batch.iter().map(|it| 1 + it.attempts.len() as u64).sum();
        if self.paused.is_some_and(|until| Instant::now() < until) {
            self.dropped.fetch_add(spans, Relaxed);
            return;
        }
        let body = Bytes::from(otlp::batch(&tracing.service, batch).to_string());
        let sent =
            timeout(PATIENCE, self.send(&tracing, body)).await.unwrap_or_else(|_late| Err("no answer in time".into()));
        match sent {
            Ok(()) => {
                self.exported.fetch_add(spans, Relaxed);
                self.paused = None;
                if std::mem::replace(&mut self.complained, false) {
                    tracing::info!(collector = %tracing.written, "traces are exported again");
                }
            }
            Err(why) => {
                self.dropped.fetch_add(spans, Relaxed);
                self.link = None;
                self.paused = Some(Instant::now() + PAUSE);
                if !std::mem::replace(&mut self.complained, true) {
                    tracing::warn!(collector = %tracing.written, %why, "traces cannot be exported; they are dropped");
                }
            }
        }
    }

    /// Sends a batch, over the connection of the last one where that still stands.
    async fn send(&mut self, tracing: &Arc<Tracing>, body: Bytes) -> Result<(), String> {
        let kept = self.link.take().filter(|(to, link)| Arc::ptr_eq(to, tracing) && !link.is_closed());
        if let Some((_, link)) = kept
            && let Ok(link) = post(link, tracing, body.clone()).await
        {
            self.link = Some((Arc::clone(tracing), link));
            return Ok(());
        }
        // There was none, or the collector has closed it meanwhile.
        let link = post(open(tracing).await?, tracing, body).await?;
        self.link = Some((Arc::clone(tracing), link));
        Ok(())
    }
}

/// The connection, where the collector has taken the batch.
async fn post(mut link: Link, tracing: &Tracing, body: Bytes) -> Result<Link, String> {
    link.ready().await.map_err(|error| error.to_string())?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(&*tracing.path)
        .header(HOST, format!("{}:{}", tracing.host, tracing.port))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(|error| error.to_string())?;
    let answer = link.send_request(request).await.map_err(|error| error.to_string())?;
    let status = answer.status();
    // What it says is of no use; read, so that the connection can be used again.
    let _ = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
    if status.is_success() { Ok(link) } else { Err(format!("it answers {status}")) }
}

async fn open(tracing: &Tracing) -> Result<Link, String> {
    let found = tokio::net::lookup_host((&*tracing.host, tracing.port)).await.map_err(|error| error.to_string())?;
    let mut last = "the name has no address".to_owned();
    for address in found {
        match connect::connect(&Site::Ip(address), PATIENCE).await {
            Ok(stream) => {
                let (link, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
                tokio::spawn(connection);
                return Ok(link);
            }
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}
