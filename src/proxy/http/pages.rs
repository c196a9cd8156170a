//! Error pages: what clients read, by the configuration, where an answer is an error.
//!
//! Looked at by `reply` for answers of the balancer's own, and by `asking` for those of backends. A call of gRPC gets
//! none: its status is not that of HTTP. Without pages nothing of this runs; with them, only errors come here.

use std::borrow::Cow;
use std::net::IpAddr;
use std::task::{Context, Poll, Waker};

use super::connection::Connection;
use super::exchange::Incoming;
use super::grpc::Kind;
use super::http1::Framing;
use super::http1::answer::Answer;
use super::http1::body::Body;
use super::http1::edits::Edits;
use super::reply::{Fit, Reply};
use crate::config::model::{ErrorPages, ErrorsOf, Escape, Page, PageBody, Piece, Rules, Variable};
use crate::net::buffer::{Buffer, Size};
use crate::net::stream::Stream;

/// What is left of a backend's answer behind a page is read up to here, so that its connection can be used again.
const REST_MAX: usize = 64 * 1024;

/// Fields of a backend's answer that stay when its body does not: they tell the client what to do, not what it reads.
const KEPT: &[&str] = &[
    "allow",
    "authentication-info",
    "date",
    "link",
    "proxy-authenticate",
    "retry-after",
    "set-cookie",
    "vary",
    "www-authenticate",
];

/// The same for whole families of fields: what web pages may read is said of the answer, whatever its body.
const KEPT_FAMILY: &str = "access-control-";

/// The pages for one request, and what they may say of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pages<'a> {
    errors: &'a ErrorPages,
    client: IpAddr,
    listener: &'a str,
}

impl<'a> Pages<'a> {
    /// The pages of these rules, if they have any.
    pub(super) fn of(rules: Option<&'a Rules>, client: IpAddr, listener: &'a str) -> Option<Self> {
        Some(Self { errors: rules?.errors.as_deref()?, client, listener })
    }

    /// The page for an answer with this status.
    pub(super) fn find(self, status: u16) -> Option<&'a Page> {
        self.errors.find(status)
    }

    /// The status that the client gets instead of this one.
    pub(super) fn shown(self, status: u16) -> u16 {
        self.find(status).and_then(|page| page.status).unwrap_or(status)
    }

    /// The body of a page for an answer with this status, to the request of this identity.
    pub(super) fn body(self, page: &'a Page, status: u16, id: &str) -> Cow<'a, [u8]> {
        let (template, escape) = match &page.body {
            PageBody::Fixed(body) => return Cow::Borrowed(body),
            PageBody::Filled(template, escape) => (template, *escape),
        };
        let mut filled = String::new();
        for piece in &template.0 {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Variable(Variable::RequestId) => escaped(id, escape, &mut filled),
                Piece::Variable(Variable::ClientIp) => {
                    escaped(&super::understand::written(self.client), escape, &mut filled);
                }
                Piece::Variable(Variable::Status) => filled.push_str(&status.to_string()),
                Piece::Variable(Variable::Listener) => filled.push_str(self.listener),
                // Loading the configuration lets no others through.
                Piece::Variable(_) => {}
            }
        }
        Cow::Owned(filled.into_bytes())
    }

    /// Writes the page that a client gets in place of a backend's answer, with what rules change of that answer.
    pub(super) fn write_instead(self, out: &mut Buffer, answer: &Answer<'_>, edits: Option<Edits>, fit: Fit<'_>) {
        let mut edits = edits.unwrap_or_default();
        edits.keep(answer.fields, is_kept);
        let mut lines = Buffer::take(Size::Small);
        answer.write_fields(&mut lines, &edits);
        Reply::Instead(answer.status).write(out, Fit { lines: lines.filled(), pages: Some(self), ..fit });
    }
}

/// The pages that a client gets instead of a backend's answer with this status, if it does.
#[inline]
pub(super) fn instead<'a>(connection: &'a Connection, incoming: &'a Incoming, status: u16) -> Option<Pages<'a>> {
    let rules = incoming.rules.as_ref().filter(|_| status >= 400 && incoming.kind() == Kind::Plain)?;
    let pages = Pages::of(Some(rules.rules()), connection.ip, &connection.listener.config.name)?;
    (pages.errors.of == ErrorsOf::All && pages.find(status).is_some()).then_some(pages)
}

fn is_kept(name: &str) -> bool {
    let family = name.get(..KEPT_FAMILY.len());
    family.is_some_and(|family| family.eq_ignore_ascii_case(KEPT_FAMILY))
        || KEPT.iter().any(|kept| name.eq_ignore_ascii_case(kept))
}

/// Appends a value as text. In HTML that holds wherever it stands, in an attribute without quotes or a script, too: all
/// but letters, digits and a few signs without a meaning there are named by their numbers.
fn escaped(value: &str, escape: Escape, out: &mut String) {
    use std::fmt::Write as _;
    for letter in value.chars() {
        let plain = letter.is_ascii_alphanumeric() || "-._:/".contains(letter);
        // Writing to a string cannot fail.
        let _ = match escape {
            Escape::Html if !plain => write!(out, "&#{};", u32::from(letter)),
            Escape::Json if matches!(letter, '"' | '\\') => write!(out, "\\{letter}"),
            Escape::Json if letter.is_control() => write!(out, "\\u{:04x}", u32::from(letter)),
            Escape::Html | Escape::Json | Escape::Plain => {
                out.push(letter);
                Ok(())
            }
        };
    }
}

/// What is left of an answer that nobody gets.
#[derive(Debug)]
pub(super) struct Rest {
    body: Body,
    hand: Option<Buffer>,
}

impl Rest {
    /// The body of an answer, of which `hand` holds the beginning.
    pub(super) fn new(framing: Framing, hand: Option<Buffer>) -> Self {
        Self { body: Body::new(framing), hand }
    }

    /// Whether all of it has come and nothing else: then its connection can be used again. Nothing is waited for; a backend
    /// whose error goes on for longer is not worth it.
    pub(super) fn takes_all(mut self, backend: &mut Stream) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        let mut taken = 0;
        loop {
            if let Some(buffer) = &mut self.hand {
                let Ok(accepted) = self.body.accept(buffer.filled()) else { return false };
                taken += accepted;
                buffer.consume(accepted);
                let is_empty = buffer.is_empty();
                if self.body.is_done() || !is_empty && accepted == 0 {
                    return self.body.is_done() && is_empty;
                }
                if !is_empty {
                    continue;
                }
            } else if self.body.is_done() {
                return true;
            }
            if taken > REST_MAX {
                return false;
            }
            match backend.poll_fill(&mut context, &mut self.hand, Size::Small) {
                Poll::Ready(Ok(read)) if read > 0 => {}
                _ => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_value_is_more_than_text() {
        let escape = |value, escape| {
            let mut out = String::new();
            escaped(value, escape, &mut out);
            out
        };
        assert_eq!(escape("a-1_b.c:/d", Escape::Html), "a-1_b.c:/d");
        assert_eq!(
            escape("<i x='\\\"`=&> é", Escape::Html),
            "&#60;i&#32;x&#61;&#39;&#92;&#34;&#96;&#61;&#38;&#62;&#32;&#233;"
        );
        assert_eq!(escape("a\"b\\c\u{1}<", Escape::Json), "a\\\"b\\\\c\\u0001<");
        assert_eq!(escape("<b>", Escape::Plain), "<b>");
    }

    #[test]
    fn fields_that_are_about_the_body_do_not_stay() {
        for (name, stays) in [
            ("Retry-After", true),
            ("WWW-Authenticate", true),
            ("Access-Control-Allow-Origin", true),
            ("Content-Type", false),
            ("ETag", false),
            ("X-Powered-By", false),
            ("é", false),
        ] {
            assert_eq!(is_kept(name), stays, "{name}");
        }
    }
}
