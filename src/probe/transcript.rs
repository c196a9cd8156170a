//! What one probe did and saw, step by step: for `why`, the log and a capture file.
//!
//! The attempt writes into a [`Log`]; it ends as a [`Transcript`]. Bytes are kept up to [`MAX_BYTES`] a direction.
//! Secrets of the check (values that came from `${…}`, passwords) are masked when the attempt ends, in everything that
//! it leaves behind, so that nobody downstream has to remember it.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{self, AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::secrets::Secrets;
use crate::config::model::Site;

/// Most bytes kept of what was sent, and as many of what was received.
pub const MAX_BYTES: usize = 4 * 1024;
/// Most steps kept.
pub const MAX_STEPS: usize = 64;

/// What one probe did and saw.
#[derive(Debug, Clone, Default)]
pub struct Transcript {
    /// In the order in which it happened.
    pub steps: Vec<Step>,
    /// When the server's certificate ends, seconds since 1970, where one was shown.
    pub certificate_expires: Option<i64>,
}

/// One step of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Since the attempt began.
    pub at: Duration,
    /// What happened.
    pub event: Event,
}

/// What happened in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Said in words: what was resolved, decoded, agreed upon.
    Note(Cow<'static, str>),
    /// A connection stands.
    Connected {
        /// Our end.
        local: Option<SocketAddr>,
        /// Theirs.
        remote: Site,
    },
    /// Bytes that we sent (inside of TLS).
    Sent(Vec<u8>),
    /// Bytes that came (inside of TLS).
    Received(Vec<u8>),
}

impl Transcript {
    /// One line of words a step, without times; bytes as text with escapes, cut at `width` characters.
    pub fn lines(&self, width: usize) -> Vec<String> {
        self.steps.iter().map(|step| step.event.line(width)).collect()
    }

    /// The last step in words: `connected to 10.0.0.1:80`. What was sent is said by the note before it.
    pub fn last(&self) -> Option<String> {
        let told = self.steps.iter().rev().find(|step| !matches!(step.event, Event::Sent(_)));
        told.map(|step| step.event.line(80))
    }

    /// Replaces every occurrence of a secret by stars, as many as it has bytes. Bytes of one direction are looked at
    /// as a whole: a secret may come in pieces.
    pub(super) fn mask(&mut self, secrets: &Secrets) {
        for step in &mut self.steps {
            if let Event::Note(text) = &mut step.event
                && let Some(masked) = secrets.masked(text)
            {
                *text = Cow::Owned(masked);
            }
        }
        mask_whole(secrets, self.steps.iter_mut().filter_map(|step| step.event.sent()).collect());
        mask_whole(secrets, self.steps.iter_mut().filter_map(|step| step.event.received()).collect());
    }
}

fn mask_whole(secrets: &Secrets, mut pieces: Vec<&mut Vec<u8>>) {
    if secrets.is_empty() {
        return;
    }
    let mut whole: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
    secrets.mask_bytes(&mut whole);
    let mut rest = whole.as_slice();
    for piece in &mut pieces {
        let (masked, after) = rest.split_at(piece.len());
        piece.copy_from_slice(masked);
        rest = after;
    }
}

impl Event {
    fn sent(&mut self) -> Option<&mut Vec<u8>> {
        if let Self::Sent(bytes) = self { Some(bytes) } else { None }
    }

    fn received(&mut self) -> Option<&mut Vec<u8>> {
        if let Self::Received(bytes) = self { Some(bytes) } else { None }
    }

    /// In one line.
    pub fn line(&self, width: usize) -> String {
        match self {
            Self::Note(text) => text.to_string(),
            Self::Connected { remote, .. } => format!("connected to {remote}"),
            Self::Sent(bytes) => format!("sent {} bytes: {}", bytes.len(), printable(bytes, width)),
            Self::Received(bytes) => format!("received {} bytes: {}", bytes.len(), printable(bytes, width)),
        }
    }
}

/// Bytes as text: what is not printable ASCII is escaped; at most `width` characters.
pub fn printable(bytes: &[u8], width: usize) -> String {
    let mut text = String::with_capacity(bytes.len().min(width));
    for byte in bytes {
        let escaped = byte.escape_ascii();
        if text.len() + escaped.len() > width {
            text.push('…');
            break;
        }
        text.extend(escaped.map(char::from));
    }
    text
}

/// Bytes as a person wants to read them: text in one line as it stands, anything else as [`printable`].
pub fn readable(bytes: &[u8], width: usize) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => match text.char_indices().nth(width) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text.to_owned(),
        },
        _ => printable(bytes, width),
    }
}

/// Where an attempt writes down what it does. Clones write into the same transcript.
#[derive(Debug, Clone)]
pub struct Log(Arc<Mutex<Writing>>);

#[derive(Debug)]
struct Writing {
    began: Instant,
    sent: usize,
    received: usize,
    broken: Option<io::ErrorKind>,
    transcript: Transcript,
}

impl Log {
    /// The attempt begins now.
    pub fn new() -> Self {
        let transcript = Transcript::default();
        Self(Arc::new(Mutex::new(Writing { began: Instant::now(), sent: 0, received: 0, broken: None, transcript })))
    }

    /// When the attempt began.
    pub fn began(&self) -> Instant {
        self.with(|writing| writing.began)
    }

    /// Says something in words.
    pub fn note(&self, text: impl Into<Cow<'static, str>>) {
        self.add(Event::Note(text.into()));
    }

    /// A connection stands.
    pub fn connected(&self, local: Option<SocketAddr>, remote: Site) {
        self.add(Event::Connected { local, remote });
    }

    /// Bytes were sent. What follows in the same direction at once is one step.
    pub fn sent(&self, bytes: &[u8]) {
        self.with(|writing| {
            let kept = bytes.len().min(MAX_BYTES - writing.sent);
            writing.sent += kept;
            match writing.transcript.steps.last_mut().map(|step| &mut step.event) {
                Some(Event::Sent(before)) => before.extend_from_slice(&bytes[..kept]),
                _ if kept > 0 => writing.add(Event::Sent(bytes[..kept].to_vec())),
                _ => {}
            }
        });
    }

    /// Bytes came. What follows in the same direction at once is one step.
    pub fn received(&self, bytes: &[u8]) {
        self.with(|writing| {
            let kept = bytes.len().min(MAX_BYTES - writing.received);
            writing.received += kept;
            match writing.transcript.steps.last_mut().map(|step| &mut step.event) {
                Some(Event::Received(before)) => before.extend_from_slice(&bytes[..kept]),
                _ if kept > 0 => writing.add(Event::Received(bytes[..kept].to_vec())),
                _ => {}
            }
        });
    }

    /// The server has shown a certificate that ends then (seconds since 1970).
    pub fn certificate_expires(&self, at: i64) {
        self.with(|writing| writing.transcript.certificate_expires = Some(at));
    }

    /// The beginning of what has come, at most `count` bytes.
    pub(super) fn first_received(&self, count: usize) -> Vec<u8> {
        self.with(|writing| {
            let received = writing.transcript.steps.iter_mut().filter_map(|step| step.event.received());
            received.flatten().take(count).map(|byte| *byte).collect()
        })
    }

    /// How the connection broke, where a [`Recorder`] has seen it reset.
    pub(super) fn broken(&self) -> Option<io::Error> {
        self.with(|writing| writing.broken.map(io::Error::from))
    }

    fn broke(&self, error: &io::Error) {
        if matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) {
            self.with(|writing| _ = writing.broken.get_or_insert(error.kind()));
        }
    }

    /// The last step in words, as [`Transcript::last`].
    pub fn last(&self) -> Option<String> {
        self.with(|writing| writing.transcript.last())
    }

    /// When the certificate that was shown ends, seconds since 1970.
    pub fn leaf_ends(&self) -> Option<i64> {
        self.with(|writing| writing.transcript.certificate_expires)
    }

    /// What was written so far.
    pub fn transcript(&self) -> Transcript {
        self.with(|writing| writing.transcript.clone())
    }

    /// The same, not copied: whoever still writes, writes into an empty one.
    pub fn take(&self) -> Transcript {
        self.with(|writing| std::mem::take(&mut writing.transcript))
    }

    fn add(&self, event: Event) {
        self.with(|writing| writing.add(event));
    }

    fn with<T>(&self, act: impl FnOnce(&mut Writing) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Default for Log {
    fn default() -> Self {
        Self::new()
    }
}

impl Writing {
    fn add(&mut self, event: Event) {
        if self.transcript.steps.len() < MAX_STEPS {
            self.transcript.steps.push(Step { at: self.began.elapsed(), event });
        }
    }
}

/// A stream that writes down what passes.
#[derive(Debug)]
pub struct Recorder<S> {
    stream: S,
    log: Log,
}

impl<S> Recorder<S> {
    /// Writes into `log`.
    pub fn new(stream: S, log: &Log) -> Self {
        Self { stream, log: log.clone() }
    }

    /// The stream itself: what passes here is not written down. For secrets.
    pub(super) fn unseen(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Stops writing down.
    pub(super) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Recorder<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let this = &mut *self;
        let result =
            ready!(Pin::new(&mut this.stream).poll_read(cx, buffer)).inspect_err(|error| this.log.broke(error));
        if buffer.filled().len() > before {
            this.log.received(&buffer.filled()[before..]);
        }
        Poll::Ready(result)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Recorder<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let result =
            ready!(Pin::new(&mut this.stream).poll_write(cx, bytes)).inspect_err(|error| this.log.broke(error));
        if let Ok(written) = result {
            this.log.sent(&bytes[..written]);
        }
        Poll::Ready(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        let log = Log::new();
        log.note("logging in with hunter2-long");
        log.sent(b"AUTH hunter");
        log.sent(b"2-long\r\n");
        log.received(b"-ERR hunter2 is wrong");
        let mut transcript = log.transcript();
        transcript.mask(&Secrets::new(vec!["hunter2".into(), "hunter2-long".into(), "ab".into()]));
        let lines = transcript.lines(200);
        assert_eq!(
            lines,
            [
                "logging in with ************",
                "sent 19 bytes: AUTH ************\\r\\n",
                "received 21 bytes: -ERR ******* is wrong"
            ]
        );
    }

    #[test]
    fn a_flood_is_cut() {
        let log = Log::new();
        for _ in 0..1_000 {
            log.sent(&[b'x'; 100]);
            log.received(&[b'y'; 100]);
            log.note("again");
        }
        let transcript = log.transcript();
        assert_eq!(transcript.steps.len(), MAX_STEPS);
        assert!(transcript.lines(10).iter().all(|line| line.len() < 40));
    }

    #[test]
    fn a_secret_that_came_in_pieces_or_was_cut_is_masked() {
        let log = Log::new();
        log.received(b"token=hun");
        log.note("half of it is there");
        log.sent(b"go on");
        log.received(b"ter2-long; ");
        log.received(&[b'x'; MAX_BYTES - 27]);
        log.received(b"hunter2-long");
        let mut transcript = log.transcript();
        transcript.mask(&Secrets::new(vec!["hunter2-long".into()]));
        let lines = transcript.lines(MAX_BYTES).join("\n");
        assert!(
            lines.contains("token=***") && lines.contains("*********; xxx") && lines.contains("xxx*******"),
            "{lines}"
        );
        assert!(!lines.contains("hun") && !lines.contains("ter2"), "{lines}");
    }
}
