//! Who may ask the admin port what.
//!
//! A token, where the configuration has one, opens everything. Without one the port is on loopback, and what is left
//! to fear is a web page in the operator's browser: it may not read (a name it owns that points at 127.0.0.1) and may
//! not act (a form or script that posts here).

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};

/// The header that shows that a request comes from a program and not from a web page.
pub(super) const INTENT_HEADER: &str = "x-evenkeel-request";

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The token is missing or wrong.
    Token,
    /// The `Host` is a name that a stranger may own.
    Host,
    /// A web page may have sent it.
    Page,
}

/// Whether a request may read.
pub(super) fn may_read(headers: &HeaderMap, token: Option<&str>) -> Result<(), Refusal> {
    match token {
        Some(token) if bearer(headers).is_some_and(|given| same(given.as_bytes(), token.as_bytes())) => Ok(()),
        Some(_) => Err(Refusal::Token),
        None if host_is_own(headers) => Ok(()),
        None => Err(Refusal::Host),
    }
}

/// Whether a request that may read may also act. A browser asks first before it sends either of these for a page of
/// another origin, and it gets no permission here.
pub(super) fn may_act(headers: &HeaderMap) -> Result<(), Refusal> {
    let json = headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
    if json || headers.contains_key(INTENT_HEADER) { Ok(()) } else { Err(Refusal::Page) }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Compares in a time that depends on the length alone.
fn same(given: &[u8], expected: &[u8]) -> bool {
    let difference = given.iter().zip(expected).fold(0, |seen, (a, b)| std::hint::black_box(seen | (a ^ b)));
    given.len() == expected.len() && difference == 0
}

/// `localhost` or an address. A page reaches a loopback port under a name of its own when that name is made to point
/// there, but its browser then says that name.
fn host_is_own(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_token_opens_and_nothing_else_does() {
        let token = Some("s3cret");
        for (given, expected) in [
            ("Bearer s3cret", Ok(())),
            ("bearer s3cret", Ok(())),
            ("Bearer s3cre", Err(Refusal::Token)),
            ("Bearer s3crets", Err(Refusal::Token)),
            ("Bearer ", Err(Refusal::Token)),
            ("Basic s3cret", Err(Refusal::Token)),
            ("s3cret", Err(Refusal::Token)),
        ] {
            assert_eq!(may_read(&headers(&[("authorization", given)]), token), expected, "{given}");
        }
        assert_eq!(may_read(&headers(&[]), token), Err(Refusal::Token));
        let with_name = headers(&[("authorization", "Bearer s3cret"), ("host", "lb.example.com")]);
        assert_eq!(may_read(&with_name, token), Ok(()), "who knows the token may use any name");
    }

    #[test]
    fn without_a_token_only_own_names_are_served() {
        for (host, expected) in [
            ("127.0.0.1:8404", Ok(())),
            ("127.0.0.1", Ok(())),
            ("[::1]:8404", Ok(())),
            ("[::1]", Ok(())),
            ("localhost:8404", Ok(())),
            ("LocalHost", Ok(())),
            ("evil.example:8404", Err(Refusal::Host)),
            ("localhost.evil.example", Err(Refusal::Host)),
            ("127.0.0.1.evil.example", Err(Refusal::Host)),
        ] {
            assert_eq!(may_read(&headers(&[("host", host)]), None), expected, "{host}");
        }
    }

    #[test]
    fn a_plain_form_cannot_act() {
        assert_eq!(may_act(&headers(&[("content-type", "text/plain")])), Err(Refusal::Page));
        assert_eq!(may_act(&headers(&[("content-type", "application/x-www-form-urlencoded")])), Err(Refusal::Page));
        assert_eq!(may_act(&headers(&[])), Err(Refusal::Page));
        assert_eq!(may_act(&headers(&[("content-type", "application/json")])), Ok(()));
        assert_eq!(may_act(&headers(&[(INTENT_HEADER, "1")])), Ok(()));
    }
}
