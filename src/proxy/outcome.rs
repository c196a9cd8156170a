//! How a request or a connection ended, when it did not end well.

use crate::metrics::FAILURES;
use crate::pool::Symptom;

/// Why traffic failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// No backend may serve.
    NoBackend,
    /// Too many wait for one already.
    QueueFull,
    /// The backend refused the connection.
    ConnectRefused,
    /// The backend did not take the connection in time.
    ConnectTimeout,
    /// The connection could not be made for another reason.
    ConnectFailed,
    /// The connection ended before an answer.
    ResetBeforeAnswer,
    /// No answer came in time.
    ResponseTimeout,
    /// What came was no answer.
    BadAnswer,
    /// The connection broke within the answer's body.
    ResetInBody,
    /// The answer's body ended too early.
    TruncatedBody,
    /// The answer's body stopped coming.
    BodyTimeout,
    /// The client went away.
    ClientAbort,
    /// Nothing moved in a tunnel for too long.
    TunnelIdle,
    /// The backend went down while it was waited for.
    BackendDown,
    /// It answered with a status that the pool has retried.
    RetriedStatus,
    /// The balancer has no descriptor, port or memory left for the connection.
    Local,
    /// The backend's open work was told to end.
    Cut,
    /// Nothing that was sent has reached the backend for too long.
    ConnectionLost,
    /// The backend took the connection, and no TLS came about on it.
    TlsFailed,
    /// No backend had a place for it in time.
    QueueTimeout,
    /// The time that the client had given is over (`grpc-timeout`).
    Deadline,
    /// It asks for a change of protocols, which the backend has by no version of HTTP.
    NoUpgrade,
}

/// How far a request or a connection had come when it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Its head, or body, was being read, and was refused.
    Request,
    /// It was waiting for a backend.
    Queue,
    /// Connecting to one.
    Connect,
    /// The backend had it, and nothing of an answer had gone to the client.
    Answer,
    /// Within the answer.
    Body,
    /// The two sides had the connection for themselves.
    Tunnel,
    /// All of it.
    Done,
}

impl Phase {
    /// Its word in the log.
    pub fn word(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Queue => "queue",
            Self::Connect => "connect",
            Self::Answer => "answer",
            Self::Body => "body",
            Self::Tunnel => "tunnel",
            Self::Done => "done",
        }
    }
}

impl Cause {
    /// Its position in [`FAILURES`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// Its word in metrics and log.
    pub fn word(self) -> &'static str {
        FAILURES[self.index()]
    }

    /// The status that tells the client, and its reason phrase.
    pub fn status(self) -> (u16, &'static str) {
        match self {
            Self::NoBackend | Self::QueueFull | Self::QueueTimeout | Self::Local => (503, "Service Unavailable"),
            Self::ConnectTimeout | Self::ResponseTimeout | Self::ConnectionLost | Self::Deadline => {
                (504, "Gateway Timeout")
            }
            _ => (502, "Bad Gateway"),
        }
    }

    /// One sentence for whoever sent the request.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::NoBackend => "No backend can serve this right now.",
            Self::QueueFull => "Too many requests are waiting for a backend.",
            Self::QueueTimeout => "All backends are busy right now.",
            Self::Local => "The balancer cannot open another connection right now.",
            Self::ConnectRefused | Self::ConnectFailed => "The backend could not be reached.",
            Self::ConnectTimeout => "The backend did not take the connection in time.",
            Self::ResponseTimeout | Self::ConnectionLost => "The backend did not answer in time.",
            Self::Deadline => "The time that was given for this call is over.",
            Self::TlsFailed => "No trusted connection to the backend came about.",
            Self::BadAnswer => "The backend sent an invalid answer.",
            Self::NoUpgrade => {
                "The backend changes no protocols: it has no WebSockets over HTTP/2 (RFC 8441), and does not speak HTTP/1.1."
            }
            Self::Cut => "The backend was taken out of service before it answered.",
            _ => "The backend closed the connection before it answered.",
        }
    }

    /// Whether the backend was simply not there: the request is as good as one that has not been tried.
    pub fn is_absence(self) -> bool {
        matches!(
            self,
            Self::ConnectRefused
                | Self::ConnectTimeout
                | Self::ConnectFailed
                | Self::ResetBeforeAnswer
                | Self::BackendDown
                | Self::ConnectionLost
                | Self::TlsFailed
                | Self::Cut
        )
    }

    /// What it says about the backend's health, if anything.
    pub fn symptom(self) -> Option<Symptom> {
        match self {
            Self::ConnectRefused | Self::ConnectFailed | Self::TlsFailed => Some(Symptom::Refused),
            Self::ConnectTimeout => Some(Symptom::ConnectTimeout),
            Self::ResetBeforeAnswer | Self::ResetInBody | Self::ConnectionLost => Some(Symptom::Reset),
            Self::ResponseTimeout => Some(Symptom::Late),
            Self::BadAnswer | Self::TruncatedBody => Some(Symptom::BadAnswer),
            Self::RetriedStatus => Some(Symptom::Status),
            Self::NoBackend
            | Self::QueueFull
            | Self::QueueTimeout
            | Self::BodyTimeout
            | Self::ClientAbort
            | Self::TunnelIdle
            | Self::BackendDown
            | Self::Local
            | Self::Deadline
            | Self::NoUpgrade
            | Self::Cut => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_word() {
        assert_eq!(Cause::NoBackend.word(), "no_backend");
        assert_eq!(Cause::ResetBeforeAnswer.word(), "reset_before_answer");
        assert_eq!(Cause::TruncatedBody.word(), "truncated_body");
        assert_eq!(Cause::BackendDown.word(), "backend_down");
        assert_eq!(Cause::RetriedStatus.word(), "retried_status");
        assert_eq!(Cause::Local.word(), "local");
        assert_eq!(Cause::Cut.word(), "cut");
        assert_eq!(Cause::ConnectionLost.word(), "connection_lost");
        assert_eq!(Cause::TlsFailed.word(), "tls_failed");
        assert_eq!(Cause::QueueTimeout.word(), "queue_timeout");
        assert_eq!(Cause::Deadline.word(), "deadline");
        assert_eq!(Cause::NoUpgrade.word(), "no_upgrade");
        assert_eq!(Cause::NoUpgrade.index() + 1, FAILURES.len());
    }
}
