//! `basic_auth` at work: the name and password of a request (RFC 7617), and whether the door knows them.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::gates::Password;
use super::super::http1::request::Request;
use crate::config::model::BasicAuth;
use crate::route::door::Door;

/// What a request has shown.
pub(super) enum Shown {
    /// A name, and a password that was right a while ago.
    Right(String),
    /// A name, and a password that is to be proved.
    Unproven(String, Password),
    /// Neither, or what cannot be one.
    Nothing,
}

/// Looks at the one field that may show a password; of two, nobody knows which the backend would read.
pub(super) fn look(rule: &Arc<BasicAuth>, door: &Arc<Door>, request: &Request<'_>) -> Shown {
    let mut shown = request.fields.iter().filter(|field| field.name.eq_ignore_ascii_case("authorization"));
    let (Some(field), None) = (shown.next(), shown.next()) else { return Shown::Nothing };
    let Some((name, password)) = credentials(field.value) else { return Shown::Nothing };
    match door.ask(&name, &password) {
        Some(Ok(())) => Shown::Right(name),
        Some(Err(unproven)) => {
            let (door, rule) = (Arc::clone(door), Arc::clone(rule));
            Shown::Unproven(name, Password { door, unproven, password, rule })
        }
        None => Shown::Nothing,
    }
}

fn credentials(value: &[u8]) -> Option<(String, Vec<u8>)> {
    let (scheme, rest) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let decoded = STANDARD.decode(rest.trim_ascii()).ok()?;
    let colon = memchr::memchr(b':', &decoded)?;
    let name = std::str::from_utf8(&decoded[..colon]).ok()?;
    // It goes into fields, and no file has one like it.
    if name.is_empty() || name.chars().any(char::is_control) {
        return None;
    }
    Some((name.to_owned(), decoded[colon + 1..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_name_with_a_password_is_nothing() {
        let encoded = |text: &str| format!("Basic {}", STANDARD.encode(text));
        for (value, expected) in [
            (encoded("ann:secret"), Some(("ann", "secret"))),
            (encoded("ann:se:cret"), Some(("ann", "se:cret"))),
            (encoded("ann:"), Some(("ann", ""))),
            (encoded("ann:secret").replace("Basic", "bAsIc"), Some(("ann", "secret"))),
            (encoded(":secret"), None),
            (encoded("ann"), None),
            (encoded("a\r\nb:secret"), None),
            ("Basic".into(), None),
            ("Basic ".into(), None),
            ("Basic !!!".into(), None),
            ("Bearer YTpi".into(), None),
            (String::new(), None),
        ] {
            let expected = expected.map(|(name, password)| (name.to_owned(), password.as_bytes().to_vec()));
            assert_eq!(credentials(value.as_bytes()), expected, "{value}");
        }
    }
}
