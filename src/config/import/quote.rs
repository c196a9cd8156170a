//! Text as TOML writes it. Used by everything that writes a configuration of ours.

use std::fmt::Write;

/// A TOML string in which nothing is substituted.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.replace("${", "$${").chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            letter if letter.is_control() => {
                let _infallible = write!(quoted, "\\u{:04X}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// A list of strings.
pub(super) fn list(items: &[String]) -> String {
    match items {
        [one] => quoted(one),
        many => format!("[{}]", many.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(", ")),
    }
}

/// A name as ours may be: letters, digits, `-`, `_` and `.`.
pub(super) fn name(text: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    let name: String = text.chars().map(|letter| if plain(letter) { letter } else { '-' }).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "unnamed".to_owned() } else { name.chars().take(60).collect() }
}

/// Text on one line, for a comment.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}
