//! What one probe found: the result, how long it took, and a transcript for whoever asks why.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use crate::metrics::PROBE_LAYERS;

/// What a good probe found, for people: `HTTP 200`.
pub type What = Cow<'static, str>;

/// The end of one probe.
#[derive(Debug, Clone)]
pub struct Report {
    /// What it found.
    pub result: Result<What, Failure>,
    /// How long it took.
    pub took: Duration,
    /// What happened, a few short lines.
    pub transcript: Vec<String>,
}

/// Why a probe failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// How far it came.
    pub layer: Layer,
    /// What was wrong, for people, with the remedy where there is one.
    pub what: String,
}

/// How far a probe came before it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// The name has no address.
    Resolve,
    /// No connection.
    Connect,
    /// Not done in time.
    Timeout,
    /// No TLS.
    Tls,
    /// What came does not follow the protocol.
    Protocol,
    /// A proper answer, but not the one that is wanted.
    Answer,
    /// The balancer could not ask: this says nothing of the backend.
    Local,
}

impl Layer {
    /// Position in [`PROBE_LAYERS`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// The word that metrics, log and API use.
    pub fn word(self) -> &'static str {
        PROBE_LAYERS[self.index()]
    }
}

impl Failure {
    /// A failure at `layer`.
    pub fn new(layer: Layer, what: impl Into<String>) -> Self {
        Self { layer, what: what.into() }
    }

    /// A connection could not be made.
    pub(super) fn connecting(error: &io::Error, timeout: Duration) -> Self {
        if error.kind() == io::ErrorKind::TimedOut {
            return Self::new(Layer::Timeout, format!("no connection within {timeout:?}"));
        }
        // 12 ENOMEM, 23 ENFILE, 24 EMFILE, 105 ENOBUFS
        let layer =
            if matches!(error.raw_os_error(), Some(12 | 23 | 24 | 105)) { Layer::Local } else { Layer::Connect };
        Self::new(layer, plain(error))
    }

    /// An established connection broke.
    pub(super) fn broken(error: &io::Error, waiting_for: &str) -> Self {
        Self::new(Layer::Protocol, format!("{} before {waiting_for}", plain(error)))
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.layer.word(), self.what)
    }
}

/// The system's words without its numbers: `connection refused`.
pub(super) fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::BrokenPipe => "connection closed".to_owned(),
        io::ErrorKind::UnexpectedEof => "connection closed".to_owned(),
        io::ErrorKind::HostUnreachable => "host unreachable".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".to_owned(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or(&text).to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layer_has_its_word() {
        let layers = [
            (Layer::Resolve, "resolve"),
            (Layer::Connect, "connect"),
            (Layer::Timeout, "timeout"),
            (Layer::Tls, "tls"),
            (Layer::Protocol, "protocol"),
            (Layer::Answer, "answer"),
            (Layer::Local, "local"),
        ];
        assert_eq!(layers.len(), PROBE_LAYERS.len());
        for (layer, word) in layers {
            assert_eq!(layer.word(), word);
        }
    }

    #[test]
    fn a_lack_of_our_own_is_not_held_against_the_backend() {
        let rows = [(24, Layer::Local), (105, Layer::Local), (111, Layer::Connect), (113, Layer::Connect)];
        for (code, layer) in rows {
            let failure = Failure::connecting(&io::Error::from_raw_os_error(code), Duration::from_secs(1));
            assert_eq!(failure.layer, layer, "{failure}");
            assert!(!failure.what.contains("os error"), "{failure}");
        }
    }
}
