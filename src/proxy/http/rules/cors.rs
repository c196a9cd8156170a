//! `cors` at work (the Fetch standard, section 3.2): preflights are answered here, and answers say which page may read
//! them. What a backend says of the same is replaced.

use super::super::http1::edits::push_line;
use super::super::http1::request::Request;
use crate::config::model::{Cors, Credentials, OriginPattern, Origins, Permitted};

/// Fields that only the balancer says where it has a rule for them, in lower case.
pub(super) const NAMES: &[&str] = &[
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-expose-headers",
    "access-control-max-age",
];

/// What a request is to the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    /// For itself.
    Plain,
    /// Whether another one may be sent.
    Preflight,
    /// The same, and it may not.
    Refused,
}

/// What a request is, and the lines that its answer gets.
pub(super) fn judge(cors: &Cors, request: &Request<'_>, lines: &mut Vec<u8>) -> Asks {
    let origin = request.header("origin");
    let method = request.header("access-control-request-method").filter(|_| request.method == "OPTIONS");
    let allowed = origin.filter(|origin| allows(&cors.origins, origin));
    let anybody = cors.origins == Origins::Any && cors.credentials == Credentials::Omit;
    if let Some(origin) = allowed {
        push_line(lines, b"Access-Control-Allow-Origin", if anybody { b"*" } else { origin });
        if cors.credentials == Credentials::Include {
            push_line(lines, b"Access-Control-Allow-Credentials", b"true");
        }
    }
    let (Some(_), Some(method)) = (origin, method) else {
        if !anybody {
            push_line(lines, b"Vary", b"Origin");
        }
        if let (Some(_), Some(names)) = (allowed, &cors.expose) {
            push_line(lines, b"Access-Control-Expose-Headers", names.as_bytes());
        }
        return Asks::Plain;
    };
    push_line(lines, b"Vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers");
    if allowed.is_none() {
        return Asks::Refused;
    }
    permit(lines, b"Access-Control-Allow-Methods", &cors.methods, Some(method));
    let headers = request.header("access-control-request-headers");
    permit(lines, b"Access-Control-Allow-Headers", &cors.headers, headers);
    if let Some(age) = cors.max_age {
        push_line(lines, b"Access-Control-Max-Age", age.as_secs().to_string().as_bytes());
    }
    Asks::Preflight
}

/// What is permitted; `*` says again what was asked for, since browsers take a star for itself beside credentials.
fn permit(lines: &mut Vec<u8>, name: &[u8], permitted: &Permitted, asked: Option<&[u8]>) {
    let value = match permitted {
        Permitted::Any => asked.unwrap_or_default(),
        Permitted::Listed(names) => names.as_bytes(),
    };
    if !value.is_empty() {
        push_line(lines, name, value);
    }
}

fn allows(origins: &Origins, origin: &[u8]) -> bool {
    match origins {
        Origins::Any => true,
        Origins::Listed(patterns) => patterns.iter().any(|pattern| matches(pattern, origin)),
    }
}

fn matches(pattern: &OriginPattern, origin: &[u8]) -> bool {
    match pattern {
        OriginPattern::Exact(known) => known.as_bytes().eq_ignore_ascii_case(origin),
        OriginPattern::Below(scheme, suffix) => {
            let (scheme, suffix) = (scheme.as_bytes(), suffix.as_bytes());
            let Some(length) = origin.len().checked_sub(scheme.len() + suffix.len()).filter(|length| *length > 0)
            else {
                return false;
            };
            let (before, rest) = origin.split_at(scheme.len());
            let (middle, behind) = rest.split_at(length);
            // Only what a host name is made of: `https://evil.example/.example.com` is no origin, and no match.
            let good = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
            before.eq_ignore_ascii_case(scheme) && behind.eq_ignore_ascii_case(suffix) && middle.iter().all(good)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_one_of_the_list_or_below_one() {
        let exact = OriginPattern::Exact("https://a.example".into());
        let below = OriginPattern::Below("https://".into(), ".b.example:8443".into());
        for (origin, is_exact, is_below) in [
            ("https://a.example", true, false),
            ("https://A.Example", true, false),
            ("http://a.example", false, false),
            ("https://a.example.evil", false, false),
            ("https://x.b.example:8443", false, true),
            ("https://x.y.b.example:8443", false, true),
            ("https://x.b.example", false, false),
            ("https://b.example:8443", false, false),
            ("https://.b.example:8443", false, false),
            ("https://evil/.b.example:8443", false, false),
            ("null", false, false),
            ("", false, false),
        ] {
            let found = (matches(&exact, origin.as_bytes()), matches(&below, origin.as_bytes()));
            assert_eq!(found, (is_exact, is_below), "{origin}");
        }
    }
}
