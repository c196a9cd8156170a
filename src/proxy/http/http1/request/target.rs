//! The target of a request, and the host that it is for (RFC 9112, section 3.2; RFC 9110, section 7.2).
//!
//! Hot path: no allocation, no lock, no formatting.

use crate::proxy::http::http1::Reject;
use crate::proxy::http::http1::bytes::Bytes;
use crate::proxy::http::http1::chunked::is_token;

/// In which form a target came (RFC 9112, section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form<'b> {
    /// A path, or `*`.
    Origin,
    /// A whole address, with this authority.
    Absolute(&'b str),
}

/// Path with query, and the form of the target (RFC 9112, section 3.2).
#[inline]
pub(super) fn target_parts<'b>(method: &str, target: &'b str) -> Result<(&'b str, Form<'b>), Reject> {
    let bytes = target.as_bytes();
    if method == "CONNECT" {
        return Err(Reject::Connect);
    }
    if memchr::memchr(b'#', bytes).is_some() {
        return Err(Reject::Target);
    }
    if bytes.first() == Some(&b'/') {
        return Ok((target, Form::Origin));
    }
    if target == "*" {
        return if method == "OPTIONS" { Ok((target, Form::Origin)) } else { Err(Reject::Target) };
    }
    let scheme = ["http://", "https://"]
        .into_iter()
        .find(|scheme| bytes.len() >= scheme.len() && bytes[..scheme.len()].eq_ignore_ascii_case(scheme.as_bytes()));
    let rest = target.get(scheme.ok_or(Reject::Target)?.len()..).ok_or(Reject::Target)?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.is_empty() || !is_host(authority.as_bytes()) {
        return Err(Reject::Target);
    }
    Ok((if path.is_empty() { "/" } else { path }, Form::Absolute(authority)))
}

/// `uri-host [":" port]` (RFC 9110, section 7.2; RFC 3986, section 3.2.2).
#[inline]
pub(super) fn is_host(host: &[u8]) -> bool {
    let (name, port) = if host.first() == Some(&b'[') {
        let Some(end) = memchr::memchr(b']', host) else { return false };
        if !is_ip_literal(&host[1..end]) {
            return false;
        }
        (&[][..], &host[end + 1..])
    } else {
        let end = memchr::memchr(b':', host).unwrap_or(host.len());
        (&host[..end], &host[end..])
    };
    let port_fits = match port {
        [] => true,
        [b':', digits @ ..] => {
            digits.iter().all(u8::is_ascii_digit)
                && digits.iter().fold(0_u32, |port, digit| (port * 10 + u32::from(digit - b'0')).min(100_000)) < 65_536
        }
        _ => false,
    };
    port_fits && is_reg_name(name)
}

/// What may stand in a name by itself: unreserved, or a delimiter (RFC 3986, sections 2.2 and 2.3).
static IN_NAME: Bytes = Bytes::alphanumeric_and(b"-._~!$&'()*+,;=");

#[inline]
fn is_reg_name(name: &[u8]) -> bool {
    name.iter().all(|byte| IN_NAME.has(*byte)) || is_encoded_name(name)
}

#[cold]
fn is_encoded_name(name: &[u8]) -> bool {
    let mut bytes = name.iter();
    while let Some(byte) = bytes.next() {
        let fits = match byte {
            b'%' => bytes.next().is_some_and(u8::is_ascii_hexdigit) && bytes.next().is_some_and(u8::is_ascii_hexdigit),
            _ => IN_NAME.has(*byte),
        };
        if !fits {
            return false;
        }
    }
    true
}

/// What may stand between the brackets: an IPv6 address (a zone is no business of a request), or a future form.
fn is_ip_literal(literal: &[u8]) -> bool {
    if let [b'v' | b'V', rest @ ..] = literal {
        let dot = memchr::memchr(b'.', rest).unwrap_or(0);
        return dot > 0
            && rest[..dot].iter().all(u8::is_ascii_hexdigit)
            && rest.len() > dot + 1
            && rest[dot + 1..].iter().all(|byte| is_token(*byte) || b"(),;=:".contains(byte));
    }
    std::str::from_utf8(literal).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok())
}
