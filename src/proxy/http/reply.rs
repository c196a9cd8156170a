//! Answers that the balancer makes itself: the one place where an error becomes a status code.

use std::fmt::Write as _;

use super::http1::{Reject, Version};
use super::own::Own;
use super::pages::Pages;
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
    /// In place of a backend's answer with this status, where there is a page for it.
    Instead(u16),
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
    /// What clients read of errors; `None`: one sentence.
    pub(super) pages: Option<Pages<'a>>,
}

impl Reply<'_> {
    /// Its status code, as the client gets it.
    pub(super) fn status(self, pages: Option<Pages<'_>>) -> u16 {
        let status = self.line().0;
        self.pages(pages).map_or(status, |pages| pages.shown(status))
    }

    /// A call of gRPC has no use for them.
    fn pages(self, pages: Option<Pages<'_>>) -> Option<Pages<'_>> {
        pages.filter(|_| !matches!(self, Self::Grpc(..)))
    }

    fn line(self) -> (u16, &'static str) {
        match self {
            Self::Own(own) => (own.status, reason(own.status)),
            Self::Refused(reject) => reject.status(),
            Self::Failed(cause) => cause.status(),
            Self::Instead(status) => (status, reason(status)),
            Self::Grpc(..) => (200, "OK"),
        }
    }

    /// Writes it whole.
    pub(super) fn write(self, out: &mut Buffer, fit: Fit<'_>) {
        let (status, phrase) = self.line();
        let about = About { status, shown: status, phrase };
        if let Some(pages) = self.pages(fit.pages)
            && let Some(page) = pages.find(status)
        {
            let body = pages.body(page, status, fit.id);
            let shown = pages.shown(status);
            let phrase = if shown == status { phrase } else { reason(shown) };
            return write_whole(out, About { shown, phrase, ..about }, &page.kind, &body, fit);
        }
        let sentence = match self {
            Self::Own(own) => return write_whole(out, about, &own.kind, &own.body, fit),
            Self::Grpc(code, sentence) => {
                let said = format!("grpc-status: {code}\r\ngrpc-message: {sentence}\r\n");
                let lines = &[said.as_bytes(), fit.lines].concat();
                return write_whole(out, about, "application/grpc", b"", Fit { lines, ..fit });
            }
            Self::Refused(reject) => reject.sentence(),
            Self::Failed(cause) => cause.sentence(),
            Self::Instead(_) => phrase,
        };
        let mut body = format!("{status} {phrase}\n\n{sentence}\n");
        if !fit.id.is_empty() {
            // Writing to a string cannot fail.
            let _ = writeln!(body, "Request: {}", fit.id);
        }
        write_whole(out, about, "text/plain; charset=utf-8", body.as_bytes(), fit);
    }
}

/// What an answer is about.
#[derive(Debug, Clone, Copy)]
struct About {
    /// What has happened.
    status: u16,
    /// What the client gets for it.
    shown: u16,
    /// The words beside that.
    phrase: &'static str,
}

fn write_whole(out: &mut Buffer, about: About, kind: &str, body: &[u8], fit: Fit<'_>) {
    write_head(out, about, kind, body.len(), fit);
    // These never have a body: what stood there would be taken for the next answer (RFC 9112, section 6.3).
    if !fit.head_only && !matches!(about.shown, 204 | 304) {
        out.append(body);
    }
}

fn write_head(out: &mut Buffer, about: About, kind: &str, length: usize, fit: Fit<'_>) {
    let mut head = format!("HTTP/1.1 {} {}\r\n", about.shown, about.phrase);
    // One that never has a body must not speak of it (RFC 9110, section 8.6).
    if about.shown != 204 {
        // Writing to a string cannot fail.
        let _ = write!(head, "Content-Type: {kind}\r\nContent-Length: {length}\r\nCache-Control: no-store\r\n");
    }
    if about.status == 503 && !has(fit.lines, "retry-after") {
        head.push_str("Retry-After: 1\r\n");
    }
    if about.status == 405 && !has(fit.lines, "allow") {
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

/// Whether a field stands in these lines, by its name in lower case.
fn has(lines: &[u8], name: &str) -> bool {
    let names = lines.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b':').next());
    names.into_iter().any(|known| known.eq_ignore_ascii_case(name.as_bytes()))
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
