//! What of a check nobody may see: values of secret keys and parameters, and whatever was substituted.

use std::sync::Arc;

use crate::config::tree::{Node, Table, Text, Value};

/// The value of a key, a header or a parameter with one of these in its name is a secret, wherever it stands in a
/// check; beside them, whatever was substituted is one.
const SECRET_WORDS: &[&str] =
    &["password", "passwd", "secret", "token", "authorization", "cookie", "credential", "api-key", "api_key", "apikey"];

/// A shorter piece is not masked within a text.
const PIECE_MIN: usize = 3;
/// A shorter part of a secret is a word rather than a secret of its own.
const KERNEL_MIN: usize = 6;

/// The secrets of a check.
pub(super) fn of(table: &Table) -> Vec<Arc<str>> {
    let mut secrets = Vec::new();
    from_table(table, &mut secrets);
    secrets
}

fn from_table(table: &Table, secrets: &mut Vec<Arc<str>>) {
    for entry in &table.entries {
        from_node(&entry.node, is_secret(&entry.key), secrets);
        if let ("path", Value::String(text)) = (&*entry.key, &entry.node.value) {
            secrets.extend(parameters(&text.value).map(Arc::from));
        }
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// The secret parameters of a path's query.
fn parameters(path: &str) -> impl Iterator<Item = &str> {
    let query = path.split_once('?').map_or("", |(_, query)| query);
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(name, value)| is_secret(name) && !value.is_empty()).map(|(_, value)| value)
}

/// What is secret in itself within a secret: what follows the scheme of an `Authorization`, the values of a cookie.
/// A server that refuses one of them may name it alone.
fn kernels(secret: &str) -> impl Iterator<Item = &str> {
    let after_scheme = secret.split_once(' ').filter(|(scheme, _)| !scheme.contains('=')).map(|(_, rest)| rest.trim());
    let values = secret.split("; ").filter_map(|pair| pair.split_once('=')).map(|(_, value)| value);
    after_scheme.into_iter().chain(values).filter(|kernel| kernel.len() >= KERNEL_MIN)
}

fn from_node(node: &Node, is_secret: bool, secrets: &mut Vec<Arc<str>>) {
    match &node.value {
        Value::String(Text { value, raw }) => {
            let pieces: Vec<&str> = raw.as_deref().map_or_else(Vec::new, |raw| substituted(value, raw).collect());
            // Pieces that cannot be told apart from any other text hide the whole.
            let are_enough = !pieces.is_empty() && pieces.iter().all(|piece| piece.len() >= PIECE_MIN);
            secrets.extend(pieces.into_iter().map(Arc::from));
            if is_secret || (raw.is_some() && !are_enough) {
                secrets.push(value.as_str().into());
            }
            if is_secret {
                secrets.extend(kernels(value).map(Arc::from));
            }
        }
        Value::Table(table) => from_table(table, secrets),
        Value::List(list) => list.iter().for_each(|node| from_node(node, is_secret, secrets)),
        _ => {}
    }
}

/// What stands in `value` for each `${…}` of `raw`, as far as the text between them tells.
fn substituted<'a>(value: &'a str, raw: &str) -> impl Iterator<Item = &'a str> {
    let literals = literals(raw);
    let mut pieces = Vec::new();
    let mut rest = literals.first().and_then(|first| value.strip_prefix(first.as_str()));
    for (position, literal) in literals.iter().enumerate().skip(1) {
        let Some(text) = rest else { break };
        let is_last = position + 1 == literals.len();
        let end = if is_last { text.len().checked_sub(literal.len()) } else { text.find(literal.as_str()) };
        rest = end.and_then(|end| {
            pieces.push(text.get(..end)?);
            text.get(end + literal.len()..)
        });
    }
    pieces.into_iter()
}

/// The text before, between and after the `${…}` of a raw text.
fn literals(raw: &str) -> Vec<String> {
    let mut literals = vec![String::new()];
    let mut rest = raw;
    while let Some(dollar) = rest.find("${") {
        let literal = literals.last_mut().expect("there is one from the start");
        if let Some(before) = rest[..dollar].strip_suffix('$') {
            literal.push_str(before);
            literal.push_str("${");
            rest = &rest[dollar + 2..];
            continue;
        }
        literal.push_str(&rest[..dollar]);
        rest = rest[dollar..].split_once('}').map_or("", |(_, after)| after);
        literals.push(String::new());
    }
    literals.last_mut().expect("there is one from the start").push_str(rest);
    literals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_substituted_is_found_within_its_text() {
        let rows: &[(&str, &str, &[&str])] = &[
            ("hunter2", "${P}", &["hunter2"]),
            ("AUTH hunter2\r\n", "AUTH ${P}\r\n", &["hunter2"]),
            ("AUTH app hunter2", "AUTH ${U} ${P}", &["app", "hunter2"]),
            ("$${x} hunter2".strip_prefix('$').unwrap(), "$${x} ${P}", &["hunter2"]),
            ("ab", "${A}${B}", &["", "ab"]),
            ("", "${P:-}", &[""]),
            ("Bearer grün!", "Bearer ${file:/a}!", &["grün"]),
            ("something else", "AUTH ${P}", &[]),
        ];
        for (value, raw, expected) in rows {
            assert_eq!(substituted(value, raw).collect::<Vec<_>>(), *expected, "{raw}");
        }
    }

    #[test]
    fn a_secret_is_known_by_its_name_and_by_what_is_secret_in_itself() {
        for name in
            ["password", "Authorization", "X-Vault-Token", "Cookie", "PRIVATE-TOKEN", "X-Api-Key", "client_secret"]
        {
            assert!(is_secret(name), "{name}");
        }
        for name in ["Host", "Accept", "key", "public_key", "user", "keep"] {
            assert!(!is_secret(name), "{name}");
        }
        assert_eq!(parameters("/a?token=t0&x=1&api_key=k0&secret=").collect::<Vec<_>>(), ["t0", "k0"]);
        assert_eq!(parameters("/token=a/b").count(), 0);
        let rows: &[(&str, &[&str])] = &[
            ("Bearer s3cr3t-token", &["s3cr3t-token"]),
            ("session=abcdef0; lang=en; csrf=ghijkl1", &["abcdef0", "ghijkl1"]),
            ("a secret of words", &["secret of words"]),
            ("hunter2", &[]),
        ];
        for (secret, expected) in rows {
            assert_eq!(kernels(secret).collect::<Vec<_>>(), *expected, "{secret}");
        }
    }
}
