//! `type = "grpc"`: the health service that gRPC servers have (`grpc.health.v1.Health/Check`), asked over HTTP/2.
//!
//! Of protobuf it needs one field each way, so it reads them itself; what is longer or nested is skipped.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};

use super::http::h2::{Reply, exchange};
use super::http::{Length, add, host};
use super::question::{Question, Ready};
use super::report::{Failure, Finding, Layer};
use super::tls::Opener;
use super::transcript::{Log, printable};
use crate::config::model::{Address, GrpcCheck, Site};

const METHOD: &str = "/grpc.health.v1.Health/Check";
/// Before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// Longest message of a server that is passed on.
const SAID: usize = 200;

/// A request ready to be sent.
#[derive(Debug)]
pub(super) struct Prepared {
    request: Request<()>,
    body: Bytes,
    opener: Option<Opener>,
}

impl Prepared {
    pub(super) fn new(check: &GrpcCheck, at: &Address, timeout: Duration) -> Result<Self, String> {
        let opener = check.tls.as_ref().map(|tls| Opener::new(tls, at, &[Arc::from("h2")])).transpose()?;
        let scheme = if opener.is_some() { "https" } else { "http" };
        let uri = format!("{scheme}://{}{METHOD}", host(check.host.as_deref(), at, opener.is_some()));
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.parse::<Uri>().map_err(|error| format!("`{uri}` cannot be asked for: {error}"))?;
        let mut all = HeaderMap::new();
        add(&mut all, &check.headers)?;
        all.entry(header::USER_AGENT).or_insert(HeaderValue::from_static("evenkeel"));
        all.insert(header::TE, HeaderValue::from_static("trailers"));
        all.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        // At most eight digits (gRPC over HTTP/2, "Timeout"), which milliseconds of a day fit.
        let millis = timeout.as_millis().clamp(1, 99_999_999);
        let millis = HeaderValue::from_str(&format!("{millis}m")).map_err(|error| error.to_string())?;
        all.insert(HeaderName::from_static("grpc-timeout"), millis);
        *request.headers_mut() = all;
        Ok(Self { request, body: message(&check.service), opener })
    }
}

/// A `HealthCheckRequest` with its prefix: the service is field 1, left out where it is empty.
pub(super) fn message(service: &str) -> Bytes {
    let mut field = Vec::with_capacity(service.len() + 3);
    if !service.is_empty() {
        field.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            field.push(length as u8 | 0x80);
            length >>= 7;
        }
        field.push(length as u8);
        field.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(field.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[0], &length[..], &field].concat().into()
}

pub(super) async fn ask(question: &Question, check: &GrpcCheck, address: &Site, log: &Log) -> Result<Finding, Failure> {
    let prepared = match question.prepared() {
        Ready::Grpc(Ok(prepared)) => prepared,
        Ready::Grpc(Err(why)) => return Err(Failure::new(Layer::Tls, why.clone())),
        _ => return Err(Failure::new(Layer::Local, "this is no question over gRPC")),
    };
    let stream = question.connect(address, log).await?;
    let (request, body) = (prepared.request.clone(), prepared.body.clone());
    let reply = match &prepared.opener {
        None => exchange(stream, request, body, log).await?,
        Some(opener) => exchange(opener.open(stream, log).await?, request, body, log).await?,
    };
    judge(&check.service, &reply)
}

fn judge(service: &str, reply: &Reply) -> Result<Finding, Failure> {
    let protocol = |what: String| Failure::new(Layer::Protocol, what);
    let status = reply.answer.status;
    if status != 200 {
        return Err(protocol(format!("HTTP {status} instead of an answer of gRPC; is this its port?")));
    }
    let kind = reply.headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if !kind.starts_with(b"application/grpc") {
        let kind = printable(kind, 60);
        return Err(protocol(format!("the answer is of type `{kind}`, not `application/grpc`; is this its port?")));
    }
    if reply.answer.length == Length::Cut {
        return Err(protocol("the answer is far longer than one about health".to_owned()));
    }
    // An answer without a message has its status among the headers.
    let end = reply.trailers.as_ref().unwrap_or(&reply.headers);
    let Some(code) = end.get("grpc-status") else {
        let remedy = "something in front of it may drop trailers";
        return Err(protocol(format!("the answer ends without `grpc-status`; {remedy}")));
    };
    let code = code.to_str().ok().and_then(|code| code.parse::<u32>().ok());
    match code {
        Some(0) => serving(&reply.answer.body),
        Some(code) => Err(Failure::new(Layer::Answer, refused(code, service, &said(end)))),
        None => Err(protocol("its `grpc-status` is no number".to_owned())),
    }
}

fn serving(body: &[u8]) -> Result<Finding, Failure> {
    let bad = |what: &str| Failure::new(Layer::Answer, what);
    match status(body) {
        Ok(1) => Ok(Finding::new("SERVING")),
        Ok(0) => Err(bad("UNKNOWN, wanted SERVING: nobody has told its health service how it is")),
        Ok(2) => Err(bad("NOT_SERVING, wanted SERVING")),
        Ok(3) => Err(bad("SERVICE_UNKNOWN, wanted SERVING")),
        Ok(other) => Err(bad(&format!("status {other}, wanted SERVING (1)"))),
        Err(why) => Err(Failure::new(Layer::Protocol, why)),
    }
}

fn refused(code: u32, service: &str, said: &str) -> String {
    let what = match (code, service) {
        (5, "") => "its health service does not know how the whole server is; name a `service`".to_owned(),
        (5, service) => format!("its health service knows no `{service}`; look at how it was registered there"),
        (12, _) => "it has no health service (grpc.health.v1.Health); add it to the server, or check with \
                    type = \"tcp\""
            .to_owned(),
        (4, _) => "it gave up: its deadline has passed".to_owned(),
        (7, _) => "it does not let us ask (PERMISSION_DENIED)".to_owned(),
        (14, _) => "it is not available (UNAVAILABLE)".to_owned(),
        (16, _) => "it wants to know who asks (UNAUTHENTICATED); give headers = { authorization = \"...\" }".to_owned(),
        (code, _) => format!("gRPC status {code}"),
    };
    if said.is_empty() { what } else { format!("{what} (it says: {said})") }
}

/// What the server says in `grpc-message`, percent-encoded there.
fn said(end: &HeaderMap) -> String {
    let Some(raw) = end.get("grpc-message").map(HeaderValue::as_bytes) else { return String::new() };
    let mut text = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = code.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| *first == b'%');
        text.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    let text: String = String::from_utf8_lossy(&text).chars().take(SAID).collect();
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

// === reading a `HealthCheckResponse` ===

/// The status in a message with its prefix: field 1, 0 where it is left out.
fn status(body: &[u8]) -> Result<u64, &'static str> {
    let no_message = "the answer holds no message";
    let (prefix, message) = body.split_at_checked(PREFIX).ok_or(no_message)?;
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    if prefix[0] != 0 {
        return Err("the answer is compressed, which was not offered");
    }
    let mut rest = message.get(..usize::try_from(length).map_err(|_wide| no_message)?).ok_or(no_message)?;
    let garbled = "the answer is no message of the health service";
    let mut status = 0;
    while !rest.is_empty() {
        let key = varint(&mut rest).ok_or(garbled)?;
        match (key >> 3, key & 7) {
            (1, 0) => status = varint(&mut rest).ok_or(garbled)?,
            (_, 0) => _ = varint(&mut rest).ok_or(garbled)?,
            (_, 1) => rest = rest.get(8..).ok_or(garbled)?,
            (_, 2) => {
                let length = varint(&mut rest).and_then(|length| usize::try_from(length).ok()).ok_or(garbled)?;
                rest = rest.get(length..).ok_or(garbled)?;
            }
            (_, 5) => rest = rest.get(4..).ok_or(garbled)?,
            _ => return Err(garbled),
        }
    }
    Ok(status)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(first & 0x7f).checked_shl(shift)?;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_is_asked_for_by_its_name() {
        assert_eq!(&message("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&message("a.B")[..], *b"\0\0\0\0\x05\x0a\x03a.B");
        let long = "x".repeat(200);
        let bytes = message(&long);
        assert_eq!(bytes[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 0x01]);
        assert_eq!(&bytes[8..], long.as_bytes());
    }

    #[test]
    fn the_status_is_read_whatever_stands_beside_it() {
        let rows: &[(&[u8], Result<u64, &str>)] = &[
            (b"\0\0\0\0\x02\x08\x01", Ok(1)),
            (b"\0\0\0\0\x02\x08\x02", Ok(2)),
            (b"\0\0\0\0\0", Ok(0)),
            (b"\0\0\0\0\x03\x08\x81\x01", Ok(129)),
            (b"\0\0\0\0\x06\x12\x02hi\x08\x01", Ok(1)),
            (b"\0\0\0\0\x07\x1d\0\0\0\0\x08\x01", Ok(1)),
            (b"\0\0\0\0\x0b\x19\0\0\0\0\0\0\0\0\x08\x01", Ok(1)),
            (b"\0\0\0\0\x04\x20\x05\x08\x01", Ok(1)),
            (b"", Err("no message")),
            (b"\0\0\0\0", Err("no message")),
            (b"\0\0\0\0\x09\x08\x01", Err("no message")),
            (b"\0\xff\xff\xff\xff\x08\x01", Err("no message")),
            (b"\x01\0\0\0\x02\x08\x01", Err("compressed")),
            (b"\0\0\0\0\x01\x08", Err("no message of")),
            (b"\0\0\0\0\x02\x0f\x01", Err("no message of")),
            (b"\0\0\0\0\x03\x12\x7fa", Err("no message of")),
            (b"\0\0\0\0\x0c\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", Err("no message of")),
        ];
        for (body, expected) in rows {
            match (status(body), expected) {
                (Ok(found), Ok(wanted)) => assert_eq!(found, *wanted, "{body:?}"),
                (Err(found), Err(words)) => assert!(found.contains(words), "{body:?}: {found}"),
                (found, _) => panic!("{body:?}: {found:?}"),
            }
        }
    }

    #[test]
    fn what_the_server_says_is_decoded() {
        let rows: [(&[u8], &str); 5] = [
            (b"unknown service", "unknown service"),
            (b"50%25 gr%C3%BCn", "50% gr\u{fc}n"),
            (b"bad %zz%4", "bad %zz%4"),
            (b"two%0Alines", "two lines"),
            (b"%FF", "\u{fffd}"),
        ];
        for (raw, words) in rows {
            let mut end = HeaderMap::new();
            end.insert("grpc-message", HeaderValue::from_bytes(raw).unwrap());
            assert_eq!(said(&end), words);
        }
        assert_eq!(said(&HeaderMap::new()), "");
    }
}
