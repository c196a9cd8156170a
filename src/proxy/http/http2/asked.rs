//! Heads between a backend of HTTP/2 and the exchange, which writes and reads HTTP/1.1. Sans-IO.
//!
//! The request has been judged and written by this program. The answer is the backend's word: as text it is judged by the
//! same parser as any.

use ::http::header::{HeaderMap, HeaderName, HeaderValue};
use ::http::uri::{Authority, PathAndQuery, Scheme};
use ::http::{Method, Request, Uri, Version, response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use h2::ext::Protocol;
use sha1::{Digest as _, Sha1};

use super::broken;
use super::request::Shape;
use crate::net::buffer::Buffer;
use crate::proxy::http::http1::{Framing, fields};

/// What a WebSocket's key is answered with (RFC 6455, section 1.3).
const MAGIC: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a request is sent by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms<'a> {
    /// The connection goes over TLS.
    pub(super) is_tls: bool,
    /// For a request that names no host.
    pub(super) authority: &'a str,
    /// The backend takes CONNECT for a WebSocket (RFC 8441).
    pub(super) takes_tunnels: bool,
}

/// What the request was, as far as its answer's text depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// HEAD: whatever the answer says, no body follows.
    Head,
    /// A WebSocket, and what its key is answered with.
    Tunnel(String),
    /// Anything else.
    Other,
}

/// The head of a request.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) request: Request<()>,
    pub(super) framing: Framing,
    pub(super) asked: Asked,
    /// Its length in the text.
    pub(super) length: usize,
}

/// Reads the head that `bytes` begin with.
///
/// # Errors
/// It is not whole, or nothing that HTTP/2 can say, or a tunnel that the backend does not have.
pub(super) fn read(bytes: &[u8], terms: &Terms<'_>) -> std::io::Result<Box<Head>> {
    let mut room = fields::room();
    let mut parsed = httparse::Request::new(&mut []);
    let Ok(httparse::Status::Complete(length)) = parsed.parse_with_uninit_headers(bytes, &mut room) else {
        return Err(broken());
    };
    let (Some(method), Some(path)) = (parsed.method, parsed.path) else { return Err(broken()) };
    let seen = look(parsed.headers)?;
    let is_tunnel = seen.is_websocket;
    if is_tunnel && !terms.takes_tunnels {
        return Err(broken());
    }
    let mut request = Request::new(());
    *request.version_mut() = Version::HTTP_2;
    *request.method_mut() = if is_tunnel {
        request.extensions_mut().insert(Protocol::from_static("websocket"));
        Method::CONNECT
    } else {
        Method::from_bytes(method.as_bytes()).map_err(|_no_token| broken())?
    };
    let host = seen.host.filter(|host| !host.is_empty()).unwrap_or(terms.authority.as_bytes());
    let mut uri = ::http::uri::Parts::default();
    uri.scheme = Some(if terms.is_tls { Scheme::HTTPS } else { Scheme::HTTP });
    uri.authority = Some(Authority::try_from(host).map_err(|_no_host| broken())?);
    uri.path_and_query = Some(PathAndQuery::try_from(path).map_err(|_no_path| broken())?);
    *request.uri_mut() = Uri::from_parts(uri).map_err(|_no_uri| broken())?;
    let asked = match (is_tunnel, method) {
        (true, _) => Asked::Tunnel(accept(seen.key)),
        (false, "HEAD") => Asked::Head,
        (false, _) => Asked::Other,
    };
    let framing = if is_tunnel { Framing::UntilClose } else { seen.framing };
    *request.headers_mut() = seen.headers;
    Ok(Box::new(Head { request, framing, asked, length }))
}

struct Seen<'b> {
    headers: HeaderMap,
    host: Option<&'b [u8]>,
    framing: Framing,
    is_websocket: bool,
    key: &'b [u8],
}

fn look<'b>(fields: &[httparse::Header<'b>]) -> std::io::Result<Seen<'b>> {
    let headers = HeaderMap::with_capacity(fields.len());
    let mut seen = Seen { headers, host: None, framing: Framing::Empty, is_websocket: false, key: b"" };
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_invalid| broken())?;
        match name.as_str() {
            "host" => {
                seen.host = Some(field.value);
                continue;
            }
            "connection" | "keep-alive" | "proxy-connection" => continue,
            "upgrade" => {
                seen.is_websocket = field.value.eq_ignore_ascii_case(b"websocket");
                continue;
            }
            "transfer-encoding" => {
                seen.framing = Framing::Chunked;
                continue;
            }
            "sec-websocket-key" => {
                seen.key = field.value;
                continue;
            }
            "content-length" => {
                let length = fields::content_length(field.value).ok_or_else(broken)?;
                seen.framing = if length == 0 { Framing::Empty } else { Framing::Length(length) };
            }
            // What is hop-by-hop has been left out; servers of gRPC insist on it.
            "content-type" if field.value.starts_with(b"application/grpc") => {
                seen.headers.insert("te", HeaderValue::from_static("trailers"));
            }
            _ => {}
        }
        let value = HeaderValue::from_bytes(field.value).map_err(|_invalid| broken())?;
        seen.headers.try_append(name, value).map_err(|_too_many| broken())?;
    }
    Ok(seen)
}

/// What proves that a WebSocket's handshake has been read.
fn accept(key: &[u8]) -> String {
    let digest = Sha1::new().chain_update(key).chain_update(MAGIC).finalize();
    STANDARD.encode(digest)
}

/// Writes the head of an answer, and says how what follows is to be written.
pub(super) fn write(out: &mut Buffer, parts: &response::Parts, is_all: bool, asked: &Asked) -> Shape {
    let status = parts.status.as_u16();
    if let (Asked::Tunnel(accept), true) = (asked, parts.status.is_success() && !is_all) {
        out.append(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n");
        line(out, "sec-websocket-accept", accept.as_bytes());
        fields_of(out, &parts.headers);
        out.append(b"\r\n");
        return Shape::Tunnel;
    }
    first_line(out, parts.status);
    fields_of(out, &parts.headers);
    // One stream takes one request.
    out.append(b"connection: close\r\n");
    let is_bodiless = *asked == Asked::Head || status == 204 || status == 304;
    let has_length = parts.headers.contains_key("content-length");
    let shape = match (is_all, has_length) {
        _ if is_bodiless => Shape::Empty,
        (_, true) => Shape::Plain,
        (true, false) => {
            out.append(b"content-length: 0\r\n");
            Shape::Empty
        }
        (false, false) => {
            out.append(b"transfer-encoding: chunked\r\n");
            Shape::Chunked
        }
    };
    out.append(b"\r\n");
    shape
}

/// Writes an interim answer.
pub(super) fn write_interim(out: &mut Buffer, response: &::http::Response<()>) {
    first_line(out, response.status());
    fields_of(out, response.headers());
    out.append(b"\r\n");
}

fn first_line(out: &mut Buffer, status: ::http::StatusCode) {
    out.append(b"HTTP/1.1 ");
    out.append(status.as_str().as_bytes());
    out.append(b" ");
    out.append(status.canonical_reason().unwrap_or_default().as_bytes());
    out.append(b"\r\n");
}

fn fields_of(out: &mut Buffer, headers: &HeaderMap) {
    for (name, value) in headers {
        line(out, name.as_str(), value.as_bytes());
    }
}

fn line(out: &mut Buffer, name: &str, value: &[u8]) {
    out.append(name.as_bytes());
    out.append(b": ");
    out.append(value);
    out.append(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::buffer::Size;

    const TERMS: Terms<'_> = Terms { is_tls: false, authority: "10.0.0.1:80", takes_tunnels: true };

    fn head(text: &str) -> Head {
        *read(text.as_bytes(), &TERMS).unwrap()
    }

    fn text(status: u16, fields: &[(&str, &str)], is_all: bool, asked: &Asked) -> (Shape, String) {
        let mut response = ::http::Response::builder().status(status);
        for (name, value) in fields {
            response = response.header(*name, *value);
        }
        let (parts, ()) = response.body(()).unwrap().into_parts();
        let mut out = Buffer::take(Size::Small);
        let shape = write(&mut out, &parts, is_all, asked);
        (shape, String::from_utf8(out.filled().to_vec()).unwrap())
    }

    #[test]
    fn a_request_becomes_fields() {
        let head = head("POST /a?b HTTP/1.1\r\nHost: A.example\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!(head.request.uri(), "http://A.example/a?b");
        assert_eq!((head.framing, head.asked), (Framing::Chunked, Asked::Other));
        assert_eq!(head.request.headers().len(), 1);
        assert_eq!(head.request.headers()["x-a"], "1");
    }

    #[test]
    fn framing_is_what_the_exchange_has_written() {
        for (fields, framing) in [
            ("", Framing::Empty),
            ("Content-Length: 0\r\n", Framing::Empty),
            ("Content-Length: 5\r\n", Framing::Length(5)),
            ("Transfer-Encoding: chunked\r\n", Framing::Chunked),
        ] {
            assert_eq!(head(&format!("PUT / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).framing, framing);
        }
    }

    #[test]
    fn grpc_gets_what_it_insists_on() {
        let head = head("POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc+proto\r\n\r\n");
        assert_eq!(head.request.headers()["te"], "trailers");
    }

    #[test]
    fn a_request_without_host_goes_to_the_backend_by_its_address() {
        assert_eq!(head("GET / HTTP/1.1\r\nHost: \r\n\r\n").request.uri(), "http://10.0.0.1:80/");
        assert_eq!(head("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").request.uri().path(), "*");
    }

    #[test]
    fn a_websocket_becomes_connect_where_the_backend_takes_it() {
        let asked = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let head = head(asked);
        assert_eq!((head.request.method(), head.framing), (&Method::CONNECT, Framing::UntilClose));
        // The example of RFC 6455, section 1.3.
        assert_eq!(head.asked, Asked::Tunnel("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".into()));
        let (shape, text) = text(200, &[], false, &head.asked);
        assert!(shape == Shape::Tunnel && text.starts_with("HTTP/1.1 101 "), "{text}");
        assert!(text.contains("\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{text}");
        let terms = Terms { takes_tunnels: false, ..TERMS };
        assert!(read(asked.as_bytes(), &terms).is_err(), "it goes by HTTP/1.1");
    }

    #[test]
    fn an_answer_says_how_its_body_ends() {
        for (status, fields, is_all, asked, shape, said) in [
            (200, &[("content-length", "5")][..], false, Asked::Other, Shape::Plain, "content-length: 5"),
            (200, &[], false, Asked::Other, Shape::Chunked, "transfer-encoding: chunked"),
            (200, &[], true, Asked::Other, Shape::Empty, "content-length: 0"),
            (200, &[("content-length", "5")], true, Asked::Head, Shape::Empty, "content-length: 5"),
            (204, &[], true, Asked::Other, Shape::Empty, "connection: close"),
            (304, &[], true, Asked::Other, Shape::Empty, "connection: close"),
        ] {
            let (found, text) = text(status, fields, is_all, &asked);
            assert_eq!(found, shape, "{text}");
            assert!(text.contains(&format!("\r\n{said}\r\n")), "{text}");
        }
    }
}
