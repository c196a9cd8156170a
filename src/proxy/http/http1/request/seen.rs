//! The fields of a request, each looked at once: what the balancer must know of them, and which end here.
//!
//! Hot path: no allocation, no lock, no formatting.

use std::time::Duration;

use crate::proxy::http::grpc;
use crate::proxy::http::http1::fields::{self, Left};
use crate::proxy::http::http1::{Framing, Reject, Version};

/// What the rules found, field by field.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a field that stood there or not; they combine freely")]
pub(super) struct Seen<'b> {
    pub(super) host: Option<&'b [u8]>,
    pub(super) length: Option<&'b [u8]>,
    pub(super) coding: Option<&'b [u8]>,
    pub(super) upgrade: Option<&'b [u8]>,
    pub(super) request_id: Option<&'b [u8]>,
    pub(super) timeout: Option<Duration>,
    pub(super) is_grpc: bool,
    pub(super) expects_continue: bool,
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) names_upgrade: bool,
    pub(super) connection: bool,
}

/// Looks at each field once: notes what the balancer must know, leaves out what ends here.
#[inline]
pub(super) fn look<'b>(fields: &[httparse::Header<'b>], left: &mut Left) -> Result<Seen<'b>, Reject> {
    let mut seen = Seen::default();
    for (index, field) in fields.iter().enumerate() {
        let name = field.name.as_bytes();
        if note(&mut seen, name, field.value)? {
            left.out(index);
        }
    }
    if seen.connection {
        connection(fields, left, &mut seen);
    }
    Ok(seen)
}

/// Notes one field; true when it ends here. Names are told apart by length first: most fields cost one comparison.
#[inline]
fn note<'b>(seen: &mut Seen<'b>, name: &[u8], value: &'b [u8]) -> Result<bool, Reject> {
    let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
    Ok(match name.len() {
        2 => is(b"te"),
        4 if is(b"host") => {
            if seen.host.replace(value).is_some() {
                return Err(Reject::DuplicateHost);
            }
            false
        }
        6 if is(b"expect") => {
            // Any other expectation is nobody's here, and what a backend makes of it nobody knows: it ends here.
            seen.expects_continue = value.eq_ignore_ascii_case(b"100-continue");
            !seen.expects_continue
        }
        7 if is(b"upgrade") => {
            // h2c would make the backend speak what nobody here has judged.
            if !fields::elements(value).any(|protocol| protocol.eq_ignore_ascii_case(b"h2c")) {
                seen.upgrade = Some(value);
            }
            true
        }
        9 => is(b"forwarded"),
        10 if is(b"connection") => {
            seen.connection = true;
            true
        }
        10 => is(b"keep-alive"),
        12 if is(b"x-request-id") => {
            if !value.is_empty() && value.len() <= 128 && value.iter().all(u8::is_ascii_graphic) {
                seen.request_id = Some(value);
            }
            true
        }
        12 if fields::is_alike(name, b"x-request-id") => true,
        12 if is(b"content-type") => {
            seen.is_grpc = grpc::is_type(value);
            false
        }
        12 if is(b"grpc-timeout") => {
            seen.timeout = grpc::timeout(value);
            false
        }
        14 => return note_length(seen, name, value),
        15 => fields::is_alike(name, b"x-forwarded-for"),
        16 => is(b"proxy-connection") || fields::is_alike(name, b"x-forwarded-host"),
        17 => return note_17(seen, name, value),
        19 => is(b"proxy-authorization"),
        _ => false,
    })
}

#[inline]
fn note_length<'b>(seen: &mut Seen<'b>, name: &[u8], value: &'b [u8]) -> Result<bool, Reject> {
    if name.eq_ignore_ascii_case(b"content-length") {
        if seen.length.replace(value).is_some() {
            return Err(Reject::ContentLength);
        }
        return Ok(false);
    }
    // Some servers take the underscore for a hyphen: what frames nothing here must frame nothing there.
    Ok(name.eq_ignore_ascii_case(b"content_length") || name.eq_ignore_ascii_case(b"http2-settings"))
}

#[inline]
fn note_17<'b>(seen: &mut Seen<'b>, name: &[u8], value: &'b [u8]) -> Result<bool, Reject> {
    if name.eq_ignore_ascii_case(b"transfer-encoding") {
        if seen.coding.replace(value).is_some() {
            return Err(Reject::TransferEncoding);
        }
        return Ok(true);
    }
    Ok(name.eq_ignore_ascii_case(b"transfer_encoding") || fields::is_alike(name, b"x-forwarded-proto"))
}

/// What `Connection` says, and leaving out the fields that it names (RFC 9110, section 7.6.1).
fn connection(fields: &[httparse::Header<'_>], left: &mut Left, seen: &mut Seen<'_>) {
    for field in fields.iter().filter(|field| field.name.eq_ignore_ascii_case("connection")) {
        for option in fields::elements(field.value) {
            if option.eq_ignore_ascii_case(b"close") {
                seen.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                seen.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                seen.names_upgrade = true;
            } else if !fields::is_essential(option) {
                for (index, field) in fields.iter().enumerate() {
                    if field.name.as_bytes().eq_ignore_ascii_case(option) {
                        left.out(index);
                    }
                }
            }
        }
    }
}

#[inline]
pub(super) fn framing(seen: &Seen<'_>, version: Version) -> Result<Framing, Reject> {
    match (seen.length, seen.coding) {
        (None, None) => Ok(Framing::Empty),
        (Some(length), None) => match fields::content_length(length) {
            Some(0) => Ok(Framing::Empty),
            Some(length) => Ok(Framing::Length(length)),
            None => Err(Reject::ContentLength),
        },
        (Some(_), Some(_)) => Err(Reject::LengthAndChunked),
        (None, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") && version == Version::Http11 => {
            Ok(Framing::Chunked)
        }
        (None, Some(_)) => Err(Reject::TransferEncoding),
    }
}
