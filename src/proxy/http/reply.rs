//! Answers that the balancer makes itself: the one place where an error becomes a status code.

use std::fmt::Write as _;

use super::http1::{Reject, Version};
use super::own::Own;
use crate::net::buffer::Buffer;
use crate::proxy::outcome::Cause;

/// What the balancer has to say.
#[derive(Clone, Copy)]
pub(super) enum Reply<'a> {
    /// By rule.
    Own(&'a Own),
    /// To a request that breaks a rule.
    Refused(Reject),
    /// To a request that could not be forwarded.
    Failed(Cause),
    /// To a call of gRPC, which has a status of its own: the code and a sentence.
    Grpc(u8, &'a str),
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
    /// Field lines by rule, each with its end.
    pub lines: &'a [u8],
}

impl Reply<'_> {
    /// Its status code.
    pub(super) fn status(self) -> u16 {
        self.line().0
    }

    fn line(self) -> (u16, &'static str) {
        match self {
            Self::Own(own) => (own.status, reason(own.status)),
            Self::Refused(reject) => reject.status(),
            Self::Failed(cause) => cause.status(),
            Self::Grpc(..) => (200, "OK"),
        }
    }

    /// Writes it whole.
    pub(super) fn write(self, out: &mut Buffer, fit: Fit<'_>) {
        let (status, reason) = self.line();
        let sentence = match self {
            Self::Own(own) => {
                write_head(out, status, reason, &own.kind, own.body.len(), fit);
                if !fit.head_only {
                    out.append(&own.body);
                }
                return;
            }
            Self::Grpc(code, sentence) => {
                let said = format!("grpc-status: {code}\r\ngrpc-message: {sentence}\r\n");
                let lines = &[said.as_bytes(), fit.lines].concat();
                write_head(out, 200, "OK", "application/grpc", 0, Fit { lines, ..fit });
                return;
            }
            Self::Refused(reject) => reject.sentence(),
            Self::Failed(cause) => cause.sentence(),
        };
        let mut body = format!("{status} {reason}\n\n{sentence}\n");
        if !fit.id.is_empty() {
            // Writing to a string cannot fail.
            let _ = writeln!(body, "Request: {}", fit.id);
        }
        write_head(out, status, reason, "text/plain; charset=utf-8", body.len(), fit);
        if !fit.head_only {
            out.append(body.as_bytes());
        }
    }
}

fn write_head(out: &mut Buffer, status: u16, reason: &str, kind: &str, length: usize, fit: Fit<'_>) {
    let mut head = format!("HTTP/1.1 {status} {reason}\r\n");
    // One that never has a body must not speak of it (RFC 9110, section 8.6).
    if status != 204 {
        // Writing to a string cannot fail.
        let _ = write!(head, "Content-Type: {kind}\r\nContent-Length: {length}\r\nCache-Control: no-store\r\n");
    }
    if status == 503 {
        head.push_str("Retry-After: 1\r\n");
    }
    if status == 405 {
        head.push_str("Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n");
    }
    if !fit.id.is_empty() {
        // Writing to a string cannot fail.
        let _ = write!(head, "X-Request-ID: {}\r\n", fit.id);
    }
    match (fit.keep_alive, fit.version) {
        (true, Version::Http11) => {}
        (true, Version::Http10) => head.push_str("Connection: keep-alive\r\n"),
        (false, _) => head.push_str("Connection: close\r\n"),
    }
    out.append(head.as_bytes());
    out.append(fit.lines);
    out.append(b"\r\n");
}

/// The usual words beside a status (RFC 9110, section 15; RFC 6585).
pub(super) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        409 => "Conflict",
        410 => "Gone",
        413 => "Content Too Large",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        other => match other / 100 {
            2 => "Successful",
            3 => "Redirection",
            4 => "Client Error",
            _ => "Server Error",
        },
    }
}
