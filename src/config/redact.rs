//! A configuration for the eyes of whoever may read the admin port but perhaps not the file: without its secrets.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// Keys, or ends of keys, whose values are secrets where they stand in the file itself.
const SECRET: [&str; 4] = ["password", "secret", "token", "authorization"];
/// Keys of headers that carry one.
const HEADERS: [&str; 3] = ["cookie", "proxy-authorization", "x-api-key"];

/// The text with `"(hidden)"` in the place of each secret, and how many there were. A `${…}` is none: it says where the
/// secret is.
pub fn without_secrets(text: &str) -> (String, usize) {
    let (table, _) = DeTable::parse_recoverable(text);
    let mut found = Vec::new();
    look(text, table.get_ref(), &mut found);
    found.sort_by_key(|span| std::cmp::Reverse(span.start));
    let mut shown = text.to_owned();
    for span in &found {
        shown.replace_range(span.clone(), "\"(hidden)\"");
    }
    (shown, found.len())
}

fn look(text: &str, table: &DeTable<'_>, found: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        let key = key.get_ref().to_ascii_lowercase();
        let is_secret = SECRET.iter().any(|end| key.ends_with(end)) || HEADERS.contains(&key.as_str());
        visit(text, value.get_ref(), value.span(), is_secret, found);
    }
}

fn visit(text: &str, value: &DeValue<'_>, span: Range<usize>, is_secret: bool, found: &mut Vec<Range<usize>>) {
    match value {
        DeValue::String(said) if is_secret && !said.starts_with("${") && text.get(span.clone()).is_some() => {
            found.push(span);
        }
        DeValue::Array(list) => {
            list.iter().for_each(|item| visit(text, item.get_ref(), item.span(), is_secret, found));
        }
        DeValue::Table(inner) => look(text, inner, found),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_and_nothing_else() {
        for (text, shown) in [
            ("password = 'hunter2' # x\n", "password = \"(hidden)\" # x\n"),
            ("password = \"${PASSWORD}\"\n", "password = \"${PASSWORD}\"\n"),
            ("token_file = \"token\"\npath = \"/password\"\n", "token_file = \"token\"\npath = \"/password\"\n"),
            (
                "a = [{ headers = { Authorization = \"Basic x\" } }]\n",
                "a = [{ headers = { Authorization = \"(hidden)\" } }]\n",
            ),
            ("sticky = { secret = \"abc\", b = 1 }\n", "sticky = { secret = \"(hidden)\", b = 1 }\n"),
        ] {
            assert_eq!(without_secrets(text).0, shown);
        }
        assert_eq!(without_secrets("password = 'a'\nsecret = 'b'").1, 2);
    }
}
