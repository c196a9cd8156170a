//! Answers that the balancer makes itself: the one place where an error becomes a status code.

use std::fmt::Write as _;

use super::http1::{Reject, Version};
use crate::net::buffer::Buffer;
use crate::proxy::outcome::Cause;

/// What the balancer has to say.
#[derive(Debug, Clone, Copy)]
pub enum Reply<'a> {
    /// To a request that belongs elsewhere: the URL.
    Moved(&'a str),
    /// To a request that breaks a rule.
    Refused(Reject),
    /// To a request that could not be forwarded.
    Failed(Cause),
}

/// What the reply must fit.
#[derive(Debug, Clone, Copy)]
pub struct Fit<'a> {
    /// The request was HEAD: the head of the reply only.
    pub head_only: bool,
    /// The client's version.
    pub version: Version,
    /// Whether the connection goes on.
    pub keep_alive: bool,
    /// The request's identity, where it has one.
    pub id: &'a str,
}

impl Reply<'_> {
    /// Its status code.
    pub fn status(self) -> u16 {
        self.line().0
    }

    fn line(self) -> (u16, &'static str) {
        match self {
            // Keeps method and body, unlike 301 (RFC 9110, section 15.4.9).
            Self::Moved(_) => (308, "Permanent Redirect"),
            Self::Refused(reject) => reject.status(),
            Self::Failed(cause) => cause.status(),
        }
    }

    /// Writes it whole.
    pub fn write(self, out: &mut Buffer, fit: Fit<'_>) {
        let (status, reason) = self.line();
        let sentence = match self {
            Self::Moved(_) => "This is served by https only.",
            Self::Refused(reject) => reject.sentence(),
            Self::Failed(cause) => cause.sentence(),
        };
        let mut body = format!("{status} {reason}\n\n{sentence}\n");
        if !fit.id.is_empty() {
            // Writing to a string cannot fail.
            let _ = writeln!(body, "Request: {}", fit.id);
        }
        let mut head = format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
             Cache-Control: no-store\r\n",
            body.len()
        );
        if let Self::Moved(location) = self {
            let _ = write!(head, "Location: {location}\r\n");
        }
        if status == 503 {
            head.push_str("Retry-After: 1\r\n");
        }
        if status == 405 {
            head.push_str("Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n");
        }
        if !fit.id.is_empty() {
            let _ = write!(head, "X-Request-ID: {}\r\n", fit.id);
        }
        match (fit.keep_alive, fit.version) {
            (true, Version::Http11) => {}
            (true, Version::Http10) => head.push_str("Connection: keep-alive\r\n"),
            (false, _) => head.push_str("Connection: close\r\n"),
        }
        head.push_str("\r\n");
        out.append(head.as_bytes());
        if !fit.head_only {
            out.append(body.as_bytes());
        }
    }
}
