//! Heads and trailers of HTTP/1.1 that the exchange writes, made into the fields of HTTP/2. Sans-IO.
//!
//! What is read here has been judged or written by this program: whatever does not fit is a fault of our own, and ends
//! the stream.

use ::http::header::{HeaderMap, HeaderName, HeaderValue};
use ::http::{Response, StatusCode};

use super::broken;
use crate::proxy::http::http1::{Framing, fields};

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Head {
    /// For the library.
    pub(super) response: Response<()>,
    /// How its body is delimited in the text behind it.
    pub(super) framing: Framing,
    /// Its length in the text.
    pub(super) length: usize,
}

/// Which answers have no body, whatever they say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// HEAD.
    Head,
    /// CONNECT for a tunnel.
    Tunnel,
    /// Anything else.
    Other,
}

/// Reads the head that `bytes` begin with.
///
/// # Errors
/// It is not whole, or not valid.
pub(super) fn read(bytes: &[u8], asked: Asked) -> std::io::Result<Head> {
    let mut room = fields::room();
    let mut parsed = httparse::Response::new(&mut []);
    let status = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, bytes, &mut room);
    let Ok(httparse::Status::Complete(length)) = status else { return Err(broken()) };
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or_else(broken)?;
    let mut response = Response::new(());
    let is_change = status == StatusCode::SWITCHING_PROTOCOLS;
    if is_change && asked != Asked::Tunnel {
        return Err(broken());
    }
    *response.status_mut() = if is_change { StatusCode::OK } else { status };
    let headers = response.headers_mut();
    headers.reserve(parsed.headers.len());
    let mut framing = Framing::UntilClose;
    for field in &*parsed.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_invalid| broken())?;
        match name.as_str() {
            "connection" | "keep-alive" | "proxy-connection" | "upgrade" => continue,
            "sec-websocket-accept" if is_change => continue,
            "transfer-encoding" => {
                framing = Framing::Chunked;
                continue;
            }
            "content-length" => {
                let length = fields::content_length(field.value).ok_or_else(broken)?;
                framing = if length == 0 { Framing::Empty } else { Framing::Length(length) };
            }
            _ => {}
        }
        let value = HeaderValue::from_bytes(field.value).map_err(|_invalid| broken())?;
        headers.try_append(name, value).map_err(|_too_many| broken())?;
    }
    let bodiless = status.as_u16() < 200 || status.as_u16() == 204 || status.as_u16() == 304;
    if (bodiless || asked == Asked::Head) && !is_change {
        framing = Framing::Empty;
    }
    Ok(Head { response, framing, length })
}

/// Takes up a trailer line; those that must not follow a body are left out.
pub(super) fn trailer(trailers: &mut HeaderMap, line: &[u8]) {
    let Some(colon) = memchr::memchr(b':', line) else { return };
    let name = HeaderName::from_bytes(&line[..colon]);
    let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
    if let (Ok(name), Ok(value)) = (name, value) {
        // More than the library takes: what is missing then is the sender's loss.
        let _ = trailers.try_append(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_becomes_fields() {
        let text = b"HTTP/1.1 200 Fine\r\nServer: x\r\nSet-Cookie: a\r\nset-cookie: b\r\nContent-Length: 2\r\n\r\nok";
        let head = read(text, Asked::Other).unwrap();
        assert_eq!((head.response.status().as_u16(), head.framing), (200, Framing::Length(2)));
        assert_eq!(head.length, text.len() - 2);
        assert_eq!(head.response.headers().get_all("set-cookie").iter().count(), 2);
        assert_eq!(head.response.headers()["content-length"], "2");
    }

    #[test]
    fn what_concerns_the_connection_ends_here() {
        let text = b"HTTP/1.1 200\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nKeep-Alive: 5\r\n\r\n";
        let head = read(text, Asked::Other).unwrap();
        assert_eq!(head.framing, Framing::Chunked);
        assert!(head.response.headers().is_empty());
    }

    #[test]
    fn framing_is_what_the_client_makes_of_it() {
        for (text, asked, framing) in [
            ("HTTP/1.1 200 OK\r\n\r\n", Asked::Other, Framing::UntilClose),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Asked::Head, Framing::Empty),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Asked::Other, Framing::Empty),
            ("HTTP/1.1 204 No Content\r\n\r\n", Asked::Other, Framing::Empty),
            ("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n", Asked::Other, Framing::Empty),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Asked::Other, Framing::Empty),
            ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", Asked::Tunnel, Framing::UntilClose),
        ] {
            assert_eq!(read(text.as_bytes(), asked).unwrap().framing, framing, "{text:?}");
        }
        assert!(read(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", Asked::Other).is_err());
        assert!(read(b"HTTP/1.1 200 OK\r\n", Asked::Other).is_err());
    }

    #[test]
    fn a_tunnel_that_comes_about_is_a_plain_answer() {
        let text = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n";
        let head = read(text, Asked::Tunnel).unwrap();
        assert_eq!(head.response.status(), StatusCode::OK);
        assert!(head.response.headers().is_empty());
    }
}
