//! The head of a backend's answer: judged, understood, and written anew for the client.
//!
//! Hot path: no allocation, no lock, no formatting.

use super::edits::Edits;
use super::fields::{self, Left, Room};
use super::{Framing, Version};
use crate::net::buffer::Buffer;

/// Longest head of an answer.
pub const MAX_HEAD: usize = 256 * 1024;

/// The head of an answer that has passed every rule.
#[derive(Debug)]
pub struct Answer<'b> {
    head: &'b [u8],
    /// Its length.
    pub length: usize,
    /// The status code, 100 to 999.
    pub status: u16,
    /// How the body is delimited.
    pub framing: Framing,
    /// Whether the backend lets its connection be used again.
    pub keep_alive: bool,
    /// `Transfer-Encoding: chunked` stood there; an answer without body (to HEAD, or 304) may say so too.
    chunked: bool,
    upgrade: Option<&'b [u8]>,
    /// Its fields.
    pub fields: &'b [httparse::Header<'b>],
    left: Left,
}

/// The answer breaks the protocol; what exactly, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// What the request was like, as far as it decides how the answer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// HEAD: whatever the head says, no body follows.
    pub head: bool,
    /// The request offered to change protocols.
    pub upgrade: bool,
}

/// How the client's connection goes on after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It stays open, which HTTP/1.1 need not say.
    Keep,
    /// It stays open, which HTTP/1.0 must say.
    SayKeep,
    /// It ends.
    Close,
}

impl<'b> Answer<'b> {
    /// Reads a head from the beginning of `bytes`; `None` while it is incomplete.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn parse(bytes: &'b [u8], room: &'b mut Room<'b>, asked: Asked) -> Result<Option<Self>, Malformed> {
        // `httparse` skips empty lines, which may stand in front of a request only (RFC 9112, section 2.2).
        if bytes.first().is_some_and(|first| *first != b'H') {
            return Err(Malformed("status line"));
        }
        let mut parsed = httparse::Response::new(&mut []);
        let mut config = httparse::ParserConfig::default();
        // Fewer answers are refused for a reason phrase that is nobody's business (RFC 9112, section 4).
        config.allow_multiple_spaces_in_response_status_delimiters(false);
        let length = match config.parse_response_with_uninit_headers(&mut parsed, bytes, room) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if bytes.len() >= MAX_HEAD => return Err(Malformed("head too large")),
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(Malformed(fault(error))),
        };
        let head = &bytes[..length];
        if !fields::all_lines_end_in_crlf(head) {
            return Err(Malformed("line feed without carriage return"));
        }
        let (Some(version), Some(status)) = (parsed.version, parsed.code) else {
            return Err(Malformed("status line"));
        };
        if !(100..=599).contains(&status) {
            return Err(Malformed("status code out of range"));
        }
        let version = if version == 0 { Version::Http10 } else { Version::Http11 };
        let fields: &'b [httparse::Header<'b>] = parsed.headers;
        let mut left = Left::default();
        let seen = look(fields, &mut left)?;
        let framing = framing(&seen, version, status, asked)?;
        let bodiless = status < 200 || status == 204;
        if bodiless {
            leave_out_length(fields, &mut left);
        }
        let keep_alive = match version {
            Version::Http11 => !seen.close,
            Version::Http10 => seen.keep_alive && !seen.close,
        };
        Ok(Some(Self {
            head,
            length,
            status,
            framing,
            keep_alive: keep_alive && framing != Framing::UntilClose,
            chunked: seen.chunked && !bodiless,
            upgrade: seen.upgrade,
            fields,
            left,
        }))
    }

    /// The value of a header, the first where there are several; `name` in any case.
    pub fn header(&self, name: &str) -> Option<&'b [u8]> {
        self.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }

    /// Whether its head for a client of HTTP/1.1 says that the body comes in chunks.
    pub fn is_chunked(&self) -> bool {
        self.chunked
    }

    /// Writes its fields for the client, with what is changed of them, without anything around them.
    pub fn write_fields(&self, out: &mut Buffer, edits: &Edits) {
        edits.write(out, self.head, self.fields, &self.left);
    }

    /// Writes the head for a client of `version`, with what rules change of it.
    #[inline]
    pub fn write(&self, out: &mut Buffer, version: Version, next: Next, edits: Option<&Edits>) {
        let line_end = memchr::memchr(b'\n', self.head).map_or(self.head.len(), |at| at + 1);
        out.append(b"HTTP/1.1 ");
        out.append(self.head.get(9..line_end).unwrap_or_default());
        match edits {
            None => fields::kept(self.head, self.fields, &self.left).for_each(|span| out.append(span)),
            Some(edits) => edits.write(out, self.head, self.fields, &self.left),
        }
        if self.status == 101 {
            out.append(b"Connection: upgrade\r\n");
            if let Some(protocol) = self.upgrade {
                out.append(b"Upgrade: ");
                out.append(protocol);
                out.append(b"\r\n");
            }
        } else {
            if self.chunked && version == Version::Http11 {
                out.append(b"Transfer-Encoding: chunked\r\n");
            }
            match next {
                Next::Keep => {}
                Next::SayKeep => out.append(b"Connection: keep-alive\r\n"),
                Next::Close => out.append(b"Connection: close\r\n"),
            }
        }
        out.append(b"\r\n");
    }
}

fn fault(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::Version => "no HTTP/1.0 or HTTP/1.1 answer",
        httparse::Error::Status => "status code",
        httparse::Error::TooManyHeaders => "too many header fields",
        httparse::Error::HeaderName => "header name",
        httparse::Error::HeaderValue => "header value",
        _ => "status line",
    }
}

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a field that stood there or not; they combine freely")]
struct Seen<'b> {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    upgrade: Option<&'b [u8]>,
    connection: bool,
}

#[inline]
fn look<'b>(fields: &[httparse::Header<'b>], left: &mut Left) -> Result<Seen<'b>, Malformed> {
    let mut seen = Seen::default();
    for (index, field) in fields.iter().enumerate() {
        let name = field.name.as_bytes();
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        let ends_here = match name.len() {
            7 if is(b"upgrade") => {
                seen.upgrade = Some(field.value);
                true
            }
            10 if is(b"connection") => {
                seen.connection = true;
                true
            }
            10 => is(b"keep-alive"),
            14 if is(b"content-length") => {
                let length = fields::content_length(field.value).ok_or(Malformed("content length"))?;
                if seen.length.replace(length).is_some() {
                    return Err(Malformed("two content lengths"));
                }
                false
            }
            16 => is(b"proxy-connection"),
            17 if is(b"transfer-encoding") => {
                if seen.chunked || !field.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Malformed("transfer encoding"));
                }
                seen.chunked = true;
                true
            }
            _ => false,
        };
        if ends_here {
            left.out(index);
        }
    }
    if seen.connection {
        connection(fields, left, &mut seen);
    }
    Ok(seen)
}

fn connection(fields: &[httparse::Header<'_>], left: &mut Left, seen: &mut Seen<'_>) {
    for field in fields.iter().filter(|field| field.name.eq_ignore_ascii_case("connection")) {
        for option in fields::elements(field.value) {
            if option.eq_ignore_ascii_case(b"close") {
                seen.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                seen.keep_alive = true;
            } else if !option.eq_ignore_ascii_case(b"upgrade") && !fields::is_essential(option) {
                for (index, field) in fields.iter().enumerate() {
                    if field.name.as_bytes().eq_ignore_ascii_case(option) {
                        left.out(index);
                    }
                }
            }
        }
    }
}

/// An answer that never has a body must not speak of one (RFC 9110, section 8.6).
fn leave_out_length(fields: &[httparse::Header<'_>], left: &mut Left) {
    for (index, field) in fields.iter().enumerate() {
        if field.name.eq_ignore_ascii_case("content-length") {
            left.out(index);
        }
    }
}

/// RFC 9112, section 6.3, in its order.
#[inline]
fn framing(seen: &Seen<'_>, version: Version, status: u16, asked: Asked) -> Result<Framing, Malformed> {
    if seen.chunked && (seen.length.is_some() || version == Version::Http10) {
        return Err(Malformed("transfer encoding beside a content length or in HTTP/1.0"));
    }
    if status == 101 && !(asked.upgrade && seen.upgrade.is_some()) {
        return Err(Malformed("a change of protocols that nobody asked for"));
    }
    if asked.head || status < 200 || status == 204 || status == 304 {
        return Ok(Framing::Empty);
    }
    Ok(match (seen.chunked, seen.length) {
        (true, _) => Framing::Chunked,
        (false, Some(0)) => Framing::Empty,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::UntilClose,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::buffer::Size;

    const GET: Asked = Asked { head: false, upgrade: false };

    fn judge(text: &str, asked: Asked) -> Result<Option<(Framing, bool)>, Malformed> {
        let mut room = fields::room();
        Answer::parse(text.as_bytes(), &mut room, asked)
            .map(|answer| answer.map(|answer| (answer.framing, answer.keep_alive)))
    }

    #[test]
    fn framing_follows_the_rfc_in_its_order() {
        let head = Asked { head: true, upgrade: false };
        for (text, asked, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", GET, (Framing::Length(5), true)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", head, (Framing::Empty, true)),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", GET, (Framing::Chunked, true)),
            ("HTTP/1.1 200 OK\r\n\r\n", GET, (Framing::UntilClose, false)),
            ("HTTP/1.1 204 No Content\r\n\r\n", GET, (Framing::Empty, true)),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", GET, (Framing::Empty, true)),
            ("HTTP/1.1 200\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", GET, (Framing::Empty, false)),
            ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", GET, (Framing::Length(1), false)),
            ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n", GET, (Framing::Length(1), true)),
        ] {
            assert_eq!(judge(text, asked), Ok(Some(expected)), "{text:?}");
        }
    }

    #[test]
    fn an_answer_that_breaks_the_protocol_is_none() {
        for text in [
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.2 200 OK\r\n\r\n",
            "ICY 200 OK\r\n\r\n",
            "HTTP/1.1 000 OK\r\n\r\n",
            "HTTP/1.1 99 OK\r\n\r\n",
            "HTTP/1.1 1000 OK\r\n\r\n",
            "HTTP/1.1 600 OK\r\n\r\n",
            "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "\r",
        ] {
            assert!(judge(text, GET).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_client_gets_the_answer_less_what_ends_here() {
        let mut room = fields::room();
        let text =
            b"HTTP/1.1 200 Fine\r\nServer: x\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nContent-Length: 2\r\n\r\nok";
        let answer = Answer::parse(text, &mut room, GET).unwrap().unwrap();
        let mut out = Buffer::take(Size::Small);
        answer.write(&mut out, Version::Http10, Next::SayKeep, None);
        assert_eq!(
            out.filled(),
            b"HTTP/1.1 200 Fine\r\nServer: x\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n"
        );
    }
}
