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

/// Most bytes kept of what was sent, and as many of what was received.
pub const MAX_BYTES: usize = 4 * 1024;
/// Most steps kept.
pub const MAX_STEPS: usize = 64;
/// Shorter texts are not worth hiding, and hiding them would garble everything else.
const SECRET_MIN: usize = 3;

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
        remote: SocketAddr,
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

    /// Replaces every occurrence of a secret by stars, as many as it has bytes.
    pub(super) fn mask(&mut self, secrets: &Secrets) {
        for step in &mut self.steps {
            match &mut step.event {
                Event::Note(text) => {
                    if let Some(masked) = secrets.masked(text) {
                        *text = Cow::Owned(masked);
                    }
                }
                Event::Sent(bytes) | Event::Received(bytes) => secrets.mask_bytes(bytes),
                Event::Connected { .. } => {}
            }
        }
    }
}

impl Event {
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

/// The texts of a check that nobody may see.
#[derive(Debug, Clone, Default)]
pub struct Secrets(Vec<Arc<str>>);

impl Secrets {
    /// These; the longest first, so that a secret within another leaves no rest.
    pub fn new(mut secrets: Vec<Arc<str>>) -> Self {
        secrets.retain(|secret| secret.len() >= SECRET_MIN);
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self(secrets)
    }

    /// The text with stars in place of secrets, when it held one.
    pub fn masked(&self, text: &str) -> Option<String> {
        let mut masked: Option<String> = None;
        for secret in &self.0 {
            let now = masked.as_deref().unwrap_or(text);
            if now.contains(&**secret) {
                masked = Some(now.replace(&**secret, &"*".repeat(secret.len())));
            }
        }
        let now = masked.as_deref().unwrap_or(text);
        if now.contains('…')
            && let Some(whole) = self.masked_where_cut(now)
        {
            masked = Some(whole);
        }
        masked
    }

    /// Where a text was cut short, the beginning of a secret may be left.
    fn masked_where_cut(&self, text: &str) -> Option<String> {
        let mut pieces: Vec<String> = text.split('…').map(str::to_owned).collect();
        let last = pieces.len() - 1;
        let mut found = None;
        for piece in &mut pieces[..last] {
            let begins = |secret: &str| {
                let ends = secret.char_indices().map(|(end, _)| end).filter(|end| *end >= SECRET_MIN);
                ends.filter(|end| piece.ends_with(&secret[..*end])).max()
            };
            if let Some(length) = self.0.iter().filter_map(|secret| begins(secret)).max() {
                piece.truncate(piece.len() - length);
                piece.push_str(&"*".repeat(length));
                found = Some(());
            }
        }
        found.map(|()| pieces.join("…"))
    }

    fn mask_bytes(&self, bytes: &mut [u8]) {
        for secret in &self.0 {
            let mut from = 0;
            while let Some(at) = memchr::memmem::find(&bytes[from..], secret.as_bytes()) {
                bytes[from + at..from + at + secret.len()].fill(b'*');
                from += at + secret.len();
            }
        }
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
    transcript: Transcript,
}

impl Log {
    /// The attempt begins now.
    pub fn new() -> Self {
        let transcript = Transcript::default();
        Self(Arc::new(Mutex::new(Writing { began: Instant::now(), sent: 0, received: 0, transcript })))
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
    pub fn connected(&self, local: Option<SocketAddr>, remote: SocketAddr) {
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
        let result = ready!(Pin::new(&mut this.stream).poll_read(cx, buffer));
        if buffer.filled().len() > before {
            this.log.received(&buffer.filled()[before..]);
        }
        Poll::Ready(result)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Recorder<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let result = ready!(Pin::new(&mut this.stream).poll_write(cx, bytes));
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
    fn the_beginning_of_a_secret_is_masked_where_a_text_was_cut() {
        let secrets = Secrets::new(vec!["hunter2".into(), "grüße".into()]);
        let rows = [
            ("it says `no hunte…`", Some("it says `no *****…`")),
            ("it says `no hunter2…` and `grü…`", Some("it says `no *******…` and `****…`")),
            ("it says `no hu…`", None),
            ("it says `no hunte`", None),
            ("…", None),
        ];
        for (text, expected) in rows {
            assert_eq!(secrets.masked(text).as_deref(), expected, "{text}");
        }
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
}
