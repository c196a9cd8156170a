//! What a request must show at the admin port, as far as its head alone says it.
//!
//! Where the configuration has tokens, one of them opens what its role says. Without any the port is on loopback, and what
//! is left to fear is a web page in the operator's browser: it may not read (a name it owns that points at 127.0.0.1) and
//! may not act (a form or script that posts here). Whose token it is, [`super::callers`] finds out.

use std::net::IpAddr;
use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};

/// The header that shows that a request comes from a program and not from a web page.
pub(super) const INTENT_HEADER: &str = "x-evenkeel-request";

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The token is missing or wrong.
    Token,
    /// The certificate is nobody's who has a role, or is judged by others by now.
    Certificate,
    /// Too many that nobody knows came from there: ask again after this time.
    Slower(Duration),
    /// Too many requests came from there: ask again after this time.
    TooOften(Duration),
    /// Too many wait until theirs is proved.
    Busy(Duration),
    /// Who may read may not do this.
    Role,
    /// The `Host` is a name that a stranger may own.
    Host,
    /// A web page may have sent it.
    Page,
}

/// Whether a request that may read may also act. A browser asks first before it sends either of these for a page of
/// another origin, and it gets no permission here.
pub(super) fn may_act(headers: &HeaderMap) -> Result<(), Refusal> {
    let json = headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
    if json || headers.contains_key(INTENT_HEADER) { Ok(()) } else { Err(Refusal::Page) }
}

/// The token that a request shows (RFC 6750, section 2.1).
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Compares in a time that depends on the length alone.
pub(super) fn same(given: &[u8], expected: &[u8]) -> bool {
    let difference = given.iter().zip(expected).fold(0, |seen, (a, b)| std::hint::black_box(seen | (a ^ b)));
    given.len() == expected.len() && difference == 0
}

/// `localhost` or an address. A page reaches a loopback port under a name of its own when that name is made to point
/// there, but its browser then says that name.
pub(super) fn host_is_own(headers: &HeaderMap) -> bool {
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
    fn a_token_is_read_and_compared() {
        for (given, expected) in [
            ("Bearer s3cret", true),
            ("bearer s3cret", true),
            ("Bearer s3cre", false),
            ("Bearer s3crets", false),
            ("Bearer ", false),
            ("Basic s3cret", false),
            ("s3cret", false),
        ] {
            let headers = headers(&[("authorization", given)]);
            assert_eq!(bearer(&headers).is_some_and(|token| same(token.as_bytes(), b"s3cret")), expected, "{given}");
        }
        assert_eq!(bearer(&headers(&[])), None);
    }

    #[test]
    fn only_own_names_are_known() {
        for (host, expected) in [
            ("127.0.0.1:8404", true),
            ("127.0.0.1", true),
            ("[::1]:8404", true),
            ("[::1]", true),
            ("localhost:8404", true),
            ("LocalHost", true),
            ("evil.example:8404", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
        ] {
            assert_eq!(host_is_own(&headers(&[("host", host)])), expected, "{host}");
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
