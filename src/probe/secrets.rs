//! The texts of a check that nobody may see, and stars in their place.
//!
//! Reports quote what came: whole, escaped, or cut short. So a secret is looked for in each form that it may have there,
//! and where a text was cut its beginning alone is enough.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Shorter texts are not worth hiding, and hiding them would garble everything else.
const SECRET_MIN: usize = 3;

/// The texts of a check that nobody may see.
#[derive(Debug, Clone, Default)]
pub(super) struct Secrets(Vec<Arc<str>>);

impl Secrets {
    /// These, and the forms in which a server gives them back or a report quotes them; the longest first, so that a
    /// secret within another leaves no rest.
    pub(super) fn new(mut secrets: Vec<Arc<str>>) -> Self {
        secrets.retain(|secret| secret.len() >= SECRET_MIN);
        let disguised: Vec<Arc<str>> = secrets.iter().flat_map(|secret| disguises(secret)).collect();
        secrets.extend(disguised);
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self(secrets)
    }

    /// Whether there is nothing to hide.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text with stars in place of secrets, when it held one.
    pub(super) fn masked(&self, text: &str) -> Option<String> {
        let mut masked: Option<String> = None;
        for secret in &self.0 {
            let now = masked.as_deref().unwrap_or(text);
            if now.contains(&**secret) {
                masked = Some(now.replace(&**secret, &"*".repeat(secret.len())));
            }
        }
        let now = masked.as_deref().unwrap_or(text);
        if now.contains('…')
            && let Some(whole) = self.masked_where_cut(now)
        {
            masked = Some(whole);
        }
        masked
    }

    /// Where a text was cut short, the beginning of a secret may be left.
    fn masked_where_cut(&self, text: &str) -> Option<String> {
        let mut pieces: Vec<String> = text.split('…').map(str::to_owned).collect();
        let last = pieces.len() - 1;
        let mut found = None;
        for piece in &mut pieces[..last] {
            let begins = |secret: &str| {
                let ends = secret.char_indices().map(|(end, _)| end).filter(|end| *end >= SECRET_MIN);
                ends.filter(|end| piece.ends_with(&secret[..*end])).max()
            };
            if let Some(length) = self.0.iter().filter_map(|secret| begins(secret)).max() {
                piece.truncate(piece.len() - length);
                piece.push_str(&"*".repeat(length));
                found = Some(());
            }
        }
        found.map(|()| pieces.join("…"))
    }

    /// Puts stars in place of secrets, and of the beginning of one at the very end: there it was cut, or the
    /// connection broke.
    pub(super) fn mask_bytes(&self, bytes: &mut [u8]) {
        for secret in &self.0 {
            let mut from = 0;
            while let Some(at) = memchr::memmem::find(&bytes[from..], secret.as_bytes()) {
                bytes[from + at..from + at + secret.len()].fill(b'*');
                from += at + secret.len();
            }
        }
        let begins = |secret: &[u8]| (SECRET_MIN..secret.len()).rev().find(|end| bytes.ends_with(&secret[..*end]));
        if let Some(length) = self.0.iter().filter_map(|secret| begins(secret.as_bytes())).max() {
            let begin = bytes.len() - length;
            bytes[begin..].fill(b'*');
        }
    }
}

/// A secret as it stands in other texts: escaped in a report or in JSON, encoded in an address, in base64 or
/// hexadecimal, and what base64 hides itself.
fn disguises(secret: &str) -> Vec<Arc<str>> {
    let mut forms = vec![
        secret.as_bytes().escape_ascii().to_string(),
        serde_json::to_string(secret).map_or_else(|_never| String::new(), |text| text.trim_matches('"').to_owned()),
        secret.bytes().map(in_address).collect(),
        STANDARD.encode(secret),
        STANDARD_NO_PAD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
        secret.bytes().flat_map(|byte| [byte >> 4, byte & 15].map(in_hex)).collect(),
    ];
    // `Authorization: Basic` holds name and password.
    let decoded = STANDARD.decode(secret).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    if let Some((_, password)) = decoded.as_deref().and_then(|pair| pair.split_once(':')) {
        forms.push(password.to_owned());
    }
    forms.retain(|form| form.len() >= SECRET_MIN && form != secret);
    forms.into_iter().map(Arc::from).collect()
}

fn in_hex(digit: u8) -> char {
    char::from_digit(digit.into(), 16).unwrap_or('?')
}

/// A byte in a query of an address.
fn in_address(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::transcript::readable;

    #[test]
    fn the_beginning_of_a_secret_is_masked_where_a_text_was_cut() {
        let secrets = Secrets::new(vec!["hunter2".into(), "grüße".into()]);
        let rows = [
            ("it says `no hunte…`", Some("it says `no *****…`")),
            ("it says `no hunter2…` and `grü…`", Some("it says `no *******…` and `****…`")),
            ("it says `no hu…`", None),
            ("it says `no hunte`", None),
            ("…", None),
        ];
        for (text, expected) in rows {
            assert_eq!(secrets.masked(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_secret_is_masked_in_every_form_that_it_is_given_back_in() {
        let secret = "pa\"s\\s w\u{f6}rd\u{1}";
        let secrets = Secrets::new(vec![secret.into(), "dXNlcjpodW50ZXIyLWxvbmc=".into()]);
        let forms = [
            secret.to_owned(),
            secret.as_bytes().escape_ascii().to_string(),
            serde_json::to_string(secret).unwrap(),
            "pa%22s%5Cs%20w%C3%B6rd%01".to_owned(),
            STANDARD.encode(secret),
            "7061227".to_owned() + "35c732077c3b6726401",
            "user:hunter2-long".to_owned(),
        ];
        for form in forms {
            let masked = secrets.masked(&format!("it says <{form}>")).unwrap();
            assert!(masked.contains("***") && !masked.contains("rd") && !masked.contains("hunter"), "{form}: {masked}");
        }
        // What was quoted was cut within the secret, after it had been escaped.
        for width in 8..60 {
            let quoted = readable(format!("\0 {secret} is refused").as_bytes(), width);
            let shown = secrets.masked(&quoted).unwrap_or(quoted);
            assert!(!shown.contains("pa\\\""), "{width}: {shown}");
        }
    }
}
