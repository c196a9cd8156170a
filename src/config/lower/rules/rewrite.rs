//! `rewrite = { … }`: a prefix that is taken off or replaced, or a pattern with what stands in its place.

use std::sync::Arc;

use super::super::super::address;
use super::super::super::model::{Answers, Part, PatternRewrite, PrefixRewrite, QueryOf, Rewrite};
use super::super::super::problem::Problem;
use super::super::super::section::Section;
use super::super::super::units::Fault;
use super::super::super::vocabulary::REWRITE;
use super::super::conditions::regex;

/// The keys of which one says what is looked for.
const WHAT: &[&str] = &["strip_prefix", "prefix", "pattern"];

/// What becomes of paths; `None` where it is switched off.
pub(super) fn rewrite(section: &Section<'_>) -> Option<Arc<Rewrite>> {
    if section.is_off("rewrite") {
        return None;
    }
    refuse_without_backend(section);
    let inner = section.section("rewrite", &REWRITE)?;
    let said: Vec<_> = WHAT.iter().filter_map(|key| inner.table.get(key)).collect();
    match said[..] {
        [one] if one.key == "pattern" => pattern(&inner).map(|rule| Arc::new(Rewrite::Pattern(rule))),
        [_] => prefix(&inner).map(|rule| Arc::new(Rewrite::Prefix(rule))),
        [] => {
            let problem = Problem::error("rewrite", inner.at, "`rewrite` says not what").label("nothing would change");
            inner.cx.report(problem.help(
                "write rewrite = { strip_prefix = \"/app\" }, { prefix = \"/v1\", with = \"/api/v1\" } or \
                 { pattern = \"^/u/([0-9]+)$\", with = \"/users/$1\" }",
            ));
            None
        }
        [first, second, ..] => {
            inner.cx.report(
                Problem::error("conflict", second.key_at, format!("`{}` beside `{}`", second.key, first.key))
                    .label("which of the two?")
                    .help("keep one of them"),
            );
            None
        }
    }
}

/// A rewrite is what a backend is asked for: where the balancer answers by itself there is none.
fn refuse_without_backend(section: &Section<'_>) {
    let own = ["redirect", "respond"].into_iter().find_map(|key| section.table.get(key));
    if let (Some(own), Some(entry)) = (own, section.table.get("rewrite")) {
        section.cx.report(
            Problem::error("conflict", entry.key_at, format!("`rewrite` beside `{}`", own.key))
                .label("changes what a backend is asked for")
                .second(own.key_at, "and no backend is asked")
                .help("take it out; variables such as $path can stand in a redirect itself"),
        );
    }
}

// === prefixes ===

fn prefix(inner: &Section<'_>) -> Option<PrefixRewrite> {
    let strips = inner.has("strip_prefix");
    let outside = inner.parsed(if strips { "strip_prefix" } else { "prefix" }, bare_prefix);
    if let Some(with) = inner.table.get("with").filter(|_| strips) {
        inner.cx.report(
            Problem::error("conflict", with.key_at, "`with` beside `strip_prefix`")
                .label("what is taken off is replaced with nothing")
                .help("take it out, or write prefix = \"/v1\", with = \"/api/v1\""),
        );
        return None;
    }
    if !strips && !inner.has("with") {
        inner.missing("with", "write rewrite = { prefix = \"/v1\", with = \"/api/v1\" }");
    }
    let inside = if strips { Some("/".into()) } else { inner.parsed("with", bare_prefix) };
    let answers = match inner.boolean("map_back") {
        Some(false) => Answers::AsTheyAre,
        _ => Answers::Mapped,
    };
    let (outside, inside): (Arc<str>, Arc<str>) = (outside?, inside?);
    if outside == inside {
        inner.cx.report(
            Problem::error("no-effect", inner.at, format!("`{outside}` would become `{inside}`"))
                .label("nothing would change")
                .help("take it out: write rewrite = false to switch off what the listener says"),
        );
        return None;
    }
    Some(PrefixRewrite { outside, inside, answers })
}

fn bare_prefix(text: &str) -> Result<Arc<str>, Fault> {
    address::route_path(text).map_err(|fault| {
        let message = format!("`{text}` is not a prefix of paths");
        Fault { message, ..fault }
    })
}

// === patterns ===

fn pattern(inner: &Section<'_>) -> Option<PatternRewrite> {
    if let Some(entry) = inner.table.get("map_back") {
        inner.cx.report(
            Problem::error("no-effect", entry.key_at, "`map_back` beside `pattern`")
                .label("what a pattern has done cannot be undone")
                .help("take it out; places in answers are mapped back for prefixes only"),
        );
    }
    if !inner.has("with") {
        inner.missing("with", "write rewrite = { pattern = \"^/u/([0-9]+)$\", with = \"/users/$1\" }");
    }
    let pattern = inner.parsed("pattern", regex)?;
    let with = inner.parsed("with", |text| parts(text, &pattern.0))?;
    let names_query = with.iter().any(|part| matches!(part, Part::Text(text) if text.contains('?')));
    let query = if names_query { QueryOf::Rule } else { QueryOf::Client };
    Some(PatternRewrite { pattern, with, query })
}

/// Text with `$1`, `$name` and, where a letter follows, `${1}`; `$$` stands for a plain `$`.
fn parts(text: &str, pattern: &regex::bytes::Regex) -> Result<Vec<Part>, Fault> {
    let fault = |label: &str| Fault::new("rewrite", format!("`{text}` is nothing that a path becomes"), label);
    if text.contains(|letter: char| !letter.is_ascii_graphic()) {
        return Err(fault("a character that a request line cannot carry").help("write %20 for a blank"));
    }
    if text.contains('#') {
        return Err(fault("`#` never leaves the browser").help("leave out `#` and what follows, or write `%23`"));
    }
    if pattern.as_str().starts_with('^') && !text.starts_with(['/', '$']) {
        return Err(fault("a path starts with `/`").help(format!("write \"/{text}\"")));
    }
    let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
    while let Some(dollar) = rest.find('$') {
        plain.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(behind) = rest.strip_prefix('$') {
            plain.push('$');
            rest = behind;
            continue;
        }
        let (name, behind) = name(rest).ok_or_else(|| fault("no group").help("write $$ for a plain `$`"))?;
        rest = behind;
        let group = group(name, pattern)?;
        if !plain.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut plain).into()));
        }
        parts.push(Part::Group(group));
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        parts.push(Part::Text(plain.into()));
    }
    Ok(parts)
}

/// The name of a group that a text begins with, and what follows it. A number ends where its digits do.
fn name(text: &str) -> Option<(&str, &str)> {
    if let Some(inside) = text.strip_prefix('{') {
        return inside.split_once('}').filter(|(name, _)| !name.is_empty());
    }
    let is_number = text.starts_with(|first: char| first.is_ascii_digit());
    let is_part =
        |letter: char| letter.is_ascii_digit() || (!is_number && (letter.is_ascii_alphabetic() || letter == '_'));
    let end = text.find(|letter| !is_part(letter)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn group(name: &str, pattern: &regex::bytes::Regex) -> Result<usize, Fault> {
    let number = match name.parse::<usize>() {
        Ok(number) => (number < pattern.captures_len()).then_some(number),
        Err(_) => pattern.capture_names().position(|known| known == Some(name)),
    };
    number.ok_or_else(|| {
        let message = format!("the pattern has no group `{name}`");
        let fault = Fault::new("rewrite", message, "nothing would stand there");
        let highest = pattern.captures_len() - 1;
        fault.help(match highest {
            0 => "put what is to be kept into parentheses: ^/u/([0-9]+)$".to_owned(),
            _ => {
                format!("its groups are $0 (all of it) to ${highest}; where a letter follows a name, write $${{name}}")
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_known_by_number_and_by_name() {
        let pattern = regex::bytes::Regex::new("^/u/([0-9]+)/(?P<rest>.*)$").unwrap();
        let read = |text: &str| parts(text, &pattern).map_err(|fault| fault.message);
        let text = |text: &str| Part::Text(text.into());
        assert_eq!(read("/users/$1"), Ok(vec![text("/users/"), Part::Group(1)]));
        assert_eq!(read("/$rest-$1a"), Ok(vec![text("/"), Part::Group(2), text("-"), Part::Group(1), text("a")]));
        assert_eq!(read("/${rest}s?x=$$1"), Ok(vec![text("/"), Part::Group(2), text("s?x=$1")]));
        assert_eq!(read("$0"), Ok(vec![Part::Group(0)]));
        for bad in ["/$3", "/$other", "/$", "/${}", "/${1", "/a b", "/a#b", "users/$1", "/\u{e9}"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
