//! What one probe found: the result, how long it took, and a transcript for whoever asks why.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use super::transcript::Transcript;
use crate::health::{Role, Says};
use crate::metrics::PROBE_LAYERS;

/// What a good probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// For people: `HTTP 200`.
    pub what: Cow<'static, str>,
    /// What it says of the backend.
    pub says: Says,
}

/// The end of one probe.
#[derive(Debug, Clone)]
pub struct Report {
    /// What it found.
    pub result: Result<Finding, Failure>,
    /// How long it took.
    pub took: Duration,
    /// What it did and saw; secrets are masked.
    pub transcript: Transcript,
}

/// Why a probe failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// How far it came.
    pub layer: Layer,
    /// What was wrong, for people, with the remedy where there is one.
    pub what: String,
    /// When to ask again.
    pub pace: Pace,
}

/// When to ask again after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As configured.
    Usual,
    /// Less often: asking does harm (the server has too many connections, or has blocked our address).
    Slow,
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

impl Finding {
    /// It works, and nothing more is said.
    pub fn new(what: impl Into<Cow<'static, str>>) -> Self {
        Self { what: what.into(), says: Says::default() }
    }

    /// It works, and has this role.
    #[must_use]
    pub fn with_role(mut self, role: Role) -> Self {
        self.says.role = Some(role);
        self
    }

    /// It works, and says this.
    #[must_use]
    pub fn saying(mut self, says: Says) -> Self {
        self.says = says;
        self
    }
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
        Self { layer, what: what.into(), pace: Pace::Usual }
    }

    /// The same, and asking at the usual pace would do harm.
    #[must_use]
    pub fn slowly(mut self) -> Self {
        self.pace = Pace::Slow;
        self
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
        io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => "connection closed".to_owned(),
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
