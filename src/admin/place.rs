//! What there is on the admin port, with the names that a path gave; [`super::routes`] says which path is which.

use super::orders::Verb;
use super::page::Asset;

/// A place of the admin port.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    Index,
    Page(Asset),
    Stream,
    WhoAmI,
    OpenApi,
    Live,
    Ready,
    Metrics,
    Pools,
    Pool(String),
    PoolWhy(String),
    Backend(String, String),
    Why(String, String),
    Overrides,
    Events,
    Incidents,
    Security,
    Changes,
    Generations,
    Generation(u64),
    Difference(u64, u64),
    Rollback(u64),
    Plan,
    Configuration,
    Apply,
    Confirm,
    TakeBack,
    Save,
    Reload,
    Probe(String, Option<String>),
    Drill(String, String),
    Order(Verb, String, Option<String>),
}

/// `%41` as `A`; what is no escape stays as it is, and what is no UTF-8 matches no name.
pub(super) fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = text.get(at + 1..at + 3).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let escape = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| bytes[at] == b'%');
        out.push(escape.unwrap_or(bytes[at]));
        at += if escape.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_in_names_are_read() {
        for (written, read) in
            [("web", "web"), ("us%2Deast", "us-east"), ("100%", "100%"), ("%zz", "%zz"), ("%C3%A9", "é"), ("é%", "é%")]
        {
            assert_eq!(decoded(written), read);
        }
    }
}
