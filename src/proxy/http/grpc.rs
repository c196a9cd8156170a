//! What a balancer must know of gRPC: which requests are calls, how long they may take, and how it says itself that one
//! has failed. A client of gRPC looks at the status of the call, not at that of HTTP.
//!
//! Pure. Hot path: no allocation, no lock, no formatting.

use std::time::Duration;

use crate::proxy::outcome::Cause;

/// What a call says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grpc {
    /// `grpc-timeout`.
    pub timeout: Option<Duration>,
}

/// In which terms a request is told that it has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// By a status of HTTP.
    Plain,
    /// By a status of gRPC.
    Grpc,
}

const TYPE: &[u8] = b"application/grpc";

const DEADLINE_EXCEEDED: u8 = 4;
const RESOURCE_EXHAUSTED: u8 = 8;
const UNAVAILABLE: u8 = 14;

/// Whether a content type is that of a call: gRPC-Web has another form and begins alike.
#[inline]
pub fn is_type(content_type: &[u8]) -> bool {
    content_type.len() >= TYPE.len()
        && content_type[..TYPE.len()].eq_ignore_ascii_case(TYPE)
        && matches!(content_type.get(TYPE.len()), None | Some(b'+' | b';' | b' '))
}

/// `grpc-timeout`: up to eight digits and a unit. What is none says nothing.
pub fn timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count = digits.iter().fold(0, |count: u64, digit| count * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(count * 3600)),
        b'M' => Some(Duration::from_secs(count * 60)),
        b'S' => Some(Duration::from_secs(count)),
        b'm' => Some(Duration::from_millis(count)),
        b'u' => Some(Duration::from_micros(count)),
        b'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

/// In which terms the request whose head these bytes begin with is told that it has failed.
pub fn kind_of(head: &[u8]) -> Kind {
    // What is looked at was made of the fields of HTTP/2, whose names are in lower case; gRPC speaks nothing else.
    let field = b"\r\ncontent-type: ";
    let value = memchr::memmem::find(head, field).and_then(|at| head.get(at + field.len()..));
    let line = value.map(|value| &value[..memchr::memchr(b'\r', value).unwrap_or(value.len())]);
    if line.is_some_and(is_type) { Kind::Grpc } else { Kind::Plain }
}

/// The code that says why a call got no answer from a backend.
pub fn code_of(cause: Cause) -> u8 {
    match cause {
        Cause::ResponseTimeout | Cause::Deadline => DEADLINE_EXCEEDED,
        Cause::QueueFull => RESOURCE_EXHAUSTED,
        // Whoever asks again may find somebody.
        _ => UNAVAILABLE,
    }
}

/// The code for a status of HTTP: the table of gRPC, and its own word for what is too much.
pub fn code_of_status(status: u16) -> u8 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        408 | 504 => DEADLINE_EXCEEDED,
        413 | 414 | 431 => RESOURCE_EXHAUSTED,
        429 | 502 | 503 => UNAVAILABLE,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_known_by_its_type() {
        for (content_type, is) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/gRPC; charset=x", true),
            ("application/grpc-web", false),
            ("application/grpcx", false),
            ("application/json", false),
            ("", false),
        ] {
            assert_eq!(is_type(content_type.as_bytes()), is, "{content_type}");
        }
        assert_eq!(kind_of(b"POST / HTTP/1.1\r\ncontent-type: application/grpc\r\n\r\n"), Kind::Grpc);
        assert_eq!(kind_of(b"POST / HTTP/1.1\r\ncontent-type: text/html\r\n\r\n"), Kind::Plain);
        assert_eq!(kind_of(b""), Kind::Plain);
    }

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("250m", Some(Duration::from_millis(250))),
            ("5u", Some(Duration::from_micros(5))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("999999999S", None),
            ("S", None),
            ("", None),
            ("1", None),
            ("-1S", None),
            ("1s", None),
        ] {
            assert_eq!(timeout(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn a_failure_has_a_code_that_says_whether_to_ask_again() {
        assert_eq!(code_of(Cause::NoBackend), 14);
        assert_eq!(code_of(Cause::ConnectRefused), 14);
        assert_eq!(code_of(Cause::Deadline), 4);
        assert_eq!(code_of(Cause::QueueFull), 8);
        assert_eq!(code_of_status(404), 12);
        assert_eq!(code_of_status(413), 8);
    }
}
