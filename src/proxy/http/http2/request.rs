//! The head of a client's request: from the fields of HTTP/2 to the text of HTTP/1.1, which the codec there judges as if
//! it had come so. Sans-IO.
//!
//! Refused here is what RFC 9113, section 8, forbids and the library below lets pass, and what text could say in
//! another way than the fields did.

use ::http::header::{CONTENT_LENGTH, COOKIE, HOST, HeaderMap, HeaderValue};
use ::http::request::Parts;
use h2::ext::Protocol;

use crate::net::buffer::Buffer;
use crate::proxy::http::http1::Reject;
use crate::proxy::http::http1::chunked::may_follow;

/// How the content of a stream is written behind its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// There is none.
    Empty,
    /// As it is: its length was said.
    Plain,
    /// In chunks.
    Chunked,
    /// As it is, until the stream ends: a tunnel.
    Tunnel,
}

/// Whether fields are all that the stream brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// Content follows, or may follow.
    Follows,
    /// The stream has ended with them.
    Nothing,
}

/// Writes the head of a request. `key`: for a tunnel, what a WebSocket of HTTP/1.1 proves its handshake by.
///
/// # Errors
/// The first rule that is broken.
pub(super) fn write(out: &mut Buffer, parts: &Parts, rest: Rest, key: &[u8]) -> Result<Shape, Reject> {
    let is_tunnel = is_tunnel(parts)?;
    out.append(if is_tunnel { b"GET" } else { parts.method.as_str().as_bytes() });
    out.append(b" ");
    out.append(path(parts)?.as_bytes());
    out.append(b" HTTP/1.1\r\n");
    if let Some(host) = host(parts)? {
        line(out, b"host", host);
    }
    fields(out, &parts.headers)?;
    let has_length = parts.headers.contains_key(CONTENT_LENGTH);
    let shape = match rest {
        _ if is_tunnel => Shape::Tunnel,
        Rest::Nothing => Shape::Empty,
        Rest::Follows if has_length => Shape::Plain,
        Rest::Follows => Shape::Chunked,
    };
    match shape {
        Shape::Tunnel => {
            out.append(b"connection: upgrade\r\nupgrade: websocket\r\n");
            if !parts.headers.contains_key("sec-websocket-version") {
                out.append(b"sec-websocket-version: 13\r\n");
            }
            line(out, b"sec-websocket-key", key);
        }
        Shape::Chunked => out.append(b"transfer-encoding: chunked\r\n"),
        // Some servers refuse these without (RFC 9110, section 8.6).
        Shape::Empty if !has_length && matches!(parts.method.as_str(), "POST" | "PUT" | "PATCH") => {
            out.append(b"content-length: 0\r\n");
        }
        Shape::Empty | Shape::Plain => {}
    }
    out.append(b"\r\n");
    Ok(shape)
}

/// Writes the end of a body in chunks, with those trailers that may follow one.
pub(super) fn write_end(out: &mut Buffer, trailers: Option<&HeaderMap>) {
    out.append(b"0\r\n");
    let trailers = trailers.into_iter().flatten();
    for (name, value) in trailers.filter(|(name, _)| may_follow(name.as_str().as_bytes())) {
        line(out, name.as_str().as_bytes(), value.as_bytes());
    }
    out.append(b"\r\n");
}

/// CONNECT asks for a tunnel: to a WebSocket (RFC 8441), or through a balancer that is none.
fn is_tunnel(parts: &Parts) -> Result<bool, Reject> {
    match (parts.method == ::http::Method::CONNECT, parts.extensions.get::<Protocol>()) {
        (false, _) => Ok(false),
        (true, Some(protocol)) if protocol.as_str() == "websocket" => Ok(true),
        (true, _) => Err(Reject::Connect),
    }
}

/// `:path`, which is never absolute (RFC 9113, section 8.3.1).
fn path(parts: &Parts) -> Result<&str, Reject> {
    if parts.uri.scheme().is_some_and(|scheme| !matches!(scheme.as_str(), "http" | "https")) {
        return Err(Reject::Target);
    }
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let is_star = path == "*" && parts.method == ::http::Method::OPTIONS;
    if path.starts_with('/') || is_star { Ok(path) } else { Err(Reject::Target) }
}

/// `:authority`, and `Host` where there is none; both must say the same.
fn host(parts: &Parts) -> Result<Option<&[u8]>, Reject> {
    let mut named = parts.headers.get_all(HOST).iter().map(HeaderValue::as_bytes);
    let named = (named.next(), named.next());
    let authority = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    match (authority, named) {
        (_, (_, Some(_))) => Err(Reject::DuplicateHost),
        // RFC 9113, section 8.3.1: of these, HTTP/1.1 would let it pass.
        (None, (Some([]), None)) => Err(Reject::Host),
        (Some(authority), (Some(host), None)) if !authority.eq_ignore_ascii_case(host) => Err(Reject::Host),
        (Some(authority), _) => Ok(Some(authority)),
        (None, (host, _)) => Ok(host),
    }
}

fn fields(out: &mut Buffer, headers: &HeaderMap) -> Result<(), Reject> {
    let mut cookies = false;
    for (name, value) in headers {
        if has_edge(value) {
            return Err(Reject::Header);
        }
        match name {
            name if name == HOST => {}
            name if name == COOKIE => cookies = true,
            // The handshake of HTTP/1.1 has its own.
            name if name == "sec-websocket-key" => {}
            name => line(out, name.as_str().as_bytes(), value.as_bytes()),
        }
    }
    if cookies {
        // Split for the sake of compression, one line for everybody else (RFC 9113, section 8.2.3).
        out.append(b"cookie: ");
        for (at, cookie) in headers.get_all(COOKIE).iter().enumerate() {
            if at > 0 {
                out.append(b"; ");
            }
            out.append(cookie.as_bytes());
        }
        out.append(b"\r\n");
    }
    Ok(())
}

/// Whether a value has white space at an end, which makes its message malformed (RFC 9113, section 8.2.1); the library
/// lets it pass.
pub(super) fn has_edge(value: &HeaderValue) -> bool {
    matches!(value.as_bytes(), [b' ' | b'\t', ..] | [.., b' ' | b'\t'])
}

fn line(out: &mut Buffer, name: &[u8], value: &[u8]) {
    out.append(name);
    out.append(b": ");
    out.append(value);
    out.append(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::buffer::Size;

    fn parts(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = ::http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn text(parts: &Parts, rest: Rest) -> Result<(Shape, String), Reject> {
        let mut out = Buffer::take(Size::Small);
        let shape = write(&mut out, parts, rest, b"key")?;
        Ok((shape, String::from_utf8(out.filled().to_vec()).unwrap()))
    }

    #[test]
    fn a_request_reads_as_if_it_had_come_by_http_1_1() {
        let get = parts("GET", "https://a.example/x?y", &[("accept", "*/*"), ("te", "trailers")]);
        let expected = "GET /x?y HTTP/1.1\r\nhost: a.example\r\naccept: */*\r\nte: trailers\r\n\r\n";
        assert_eq!(text(&get, Rest::Nothing), Ok((Shape::Empty, expected.into())));
        let post = parts("POST", "https://a/x", &[("content-length", "5")]);
        let expected = "POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n";
        assert_eq!(text(&post, Rest::Follows), Ok((Shape::Plain, expected.into())));
        let endless = parts("POST", "/x", &[("host", "b")]);
        let expected = "POST /x HTTP/1.1\r\nhost: b\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(text(&endless, Rest::Follows), Ok((Shape::Chunked, expected.into())));
        let empty = parts("POST", "/x", &[("host", "b")]);
        let expected = "POST /x HTTP/1.1\r\nhost: b\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(text(&empty, Rest::Nothing), Ok((Shape::Empty, expected.into())));
    }

    #[test]
    fn cookies_become_one_line() {
        let get = parts("GET", "https://a/", &[("cookie", "x=1"), ("accept", "*/*"), ("cookie", "y=2")]);
        let (_, text) = text(&get, Rest::Nothing).unwrap();
        assert!(text.contains("\r\ncookie: x=1; y=2\r\n"), "{text}");
    }

    #[test]
    fn a_websocket_becomes_an_upgrade() {
        let mut connect = parts("CONNECT", "https://a/chat", &[("sec-websocket-version", "13")]);
        connect.extensions.insert(Protocol::from_static("websocket"));
        let (shape, text) = text(&connect, Rest::Follows).unwrap();
        assert_eq!(shape, Shape::Tunnel);
        assert_eq!(
            text,
            "GET /chat HTTP/1.1\r\nhost: a\r\nsec-websocket-version: 13\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-key: key\r\n\r\n"
        );
    }

    #[test]
    fn what_could_be_read_two_ways_is_refused() {
        let mut other = parts("CONNECT", "https://a/x", &[]);
        other.extensions.insert(Protocol::from_static("connect-udp"));
        for (parts, reject) in [
            (parts("CONNECT", "a:80", &[]), Reject::Connect),
            (other, Reject::Connect),
            (parts("GET", "ftp://a/x", &[]), Reject::Target),
            (parts("GET", "*", &[("host", "a")]), Reject::Target),
            (parts("GET", "https://a/", &[("host", "b")]), Reject::Host),
            (parts("GET", "/", &[("host", "a"), ("host", "a")]), Reject::DuplicateHost),
            (parts("GET", "/", &[("host", "")]), Reject::Host),
            (parts("GET", "https://a/", &[("x", " y")]), Reject::Header),
            (parts("GET", "https://a/", &[("x", "y\t")]), Reject::Header),
        ] {
            assert_eq!(text(&parts, Rest::Nothing), Err(reject), "{parts:?}");
        }
    }

    #[test]
    fn the_end_of_a_body_has_its_trailers() {
        let mut out = Buffer::take(Size::Small);
        write_end(&mut out, None);
        let mut trailers = HeaderMap::new();
        trailers.insert("x-check", HeaderValue::from_static("1"));
        trailers.insert("content-length", HeaderValue::from_static("1"));
        write_end(&mut out, Some(&trailers));
        assert_eq!(out.filled(), b"0\r\n\r\n0\r\nx-check: 1\r\n\r\n");
    }
}
