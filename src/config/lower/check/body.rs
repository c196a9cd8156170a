//! `body` of a check over HTTP: one rule or a list of them.

use std::sync::Arc;

use super::compare;
use crate::config::model::{BodyRule, Pattern};
use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::config::tree::{Entry, Node, Value};
use crate::config::units::Fault;
use crate::config::vocabulary::BODY;

/// A compiled pattern larger than this would slow every probe.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// More is a program; each of them is looked at in every probe.
const RULES_MAX: usize = 32;

/// The rules that a body must keep, all of them; none where there is no `body`.
pub(super) fn rules(section: &Section<'_>) -> Option<Vec<BodyRule>> {
    if !section.has("body") {
        return Some(Vec::new());
    }
    let nodes = section.one_or_more("body")?;
    if nodes.len() > RULES_MAX {
        let at = section.entry("body")?.key_at;
        let message = format!("{} rules for one body", nodes.len());
        let problem = Problem::error("range", at, message).label(format!("at most {RULES_MAX}"));
        section.cx.report(problem.help("let one regex do the work of several, or make two checks"));
        return None;
    }
    let rules: Vec<_> = nodes.iter().map(|node| rule_of(section, node)).collect();
    rules.into_iter().collect()
}

fn rule_of<'a>(section: &Section<'a>, node: &'a Node) -> Option<BodyRule> {
    match &node.value {
        Value::Table(table) => {
            rule(&Section::new(section.cx, table, section.entry("body")?.key_at, section.path_of("body"), &BODY))
        }
        Value::String(text) => {
            let help = format!("write body = {{ contains = \"{}\" }}", text.value.escape_default());
            section.wrong_type(node, "body", "a table", &help);
            None
        }
        _ => {
            section.wrong_type(node, "body", "a table or a list of tables", "write body = { contains = \"text\" }");
            None
        }
    }
}

fn rule(body: &Section<'_>) -> Option<BodyRule> {
    let kinds: Vec<&Entry> =
        body.table.entries.iter().filter(|entry| ["contains", "regex", "json"].contains(&&*entry.key)).collect();
    match kinds.as_slice() {
        [] => {
            let help = "write contains = \"text\", regex = 'pattern', or json = \"/a/b\" with equals = \"value\"";
            body.missing("contains", help);
            None
        }
        [one] if one.key == "json" => json(body),
        [one] => text(body, one),
        [first, second, ..] => {
            body.cx.report(
                Problem::error("conflict", second.key_at, format!("`{}` and `{}` at once", first.key, second.key))
                    .label("one rule too many")
                    .second(first.key_at, "the first rule")
                    .help("write a list of rules, all of which must hold: body = [{ ... }, { ... }]"),
            );
            None
        }
    }
}

fn text(body: &Section<'_>, kind: &Entry) -> Option<BodyRule> {
    for key in ["equals", "above", "below"] {
        if let Some(entry) = body.entry(key) {
            let message = format!("`{key}` compares a value, and `{}` looks at text", kind.key);
            let problem = Problem::error("conflict", entry.key_at, message).label("nothing to compare");
            body.cx.report(problem.second(kind.key_at, "looks at text").help("name the value: json = \"/a/b\""));
            return None;
        }
    }
    let negated = if body.has("not") { body.boolean("not")? } else { false };
    if kind.key == "contains" {
        let text = body.parsed("contains", non_empty)?;
        return Some(if negated { BodyRule::Lacks(text) } else { BodyRule::Contains(text) });
    }
    let pattern = Pattern(body.parsed("regex", pattern)?);
    Some(if negated { BodyRule::MatchesNot(pattern) } else { BodyRule::Matches(pattern) })
}

fn json(body: &Section<'_>) -> Option<BodyRule> {
    let pointer = body.parsed("json", pointer);
    let wanted = compare::comparisons(body)?;
    if wanted.is_empty() {
        body.missing("equals", "write equals = \"value\", not = \"value\", above = 1 or below = 5");
        return None;
    }
    Some(BodyRule::Json { pointer: pointer?, wanted })
}

fn non_empty(text: &str) -> Result<Arc<str>, Fault> {
    if text.is_empty() {
        return Err(Fault::new("text", "the empty text is in every body", "empty").help("write the text to look for"));
    }
    Ok(text.into())
}

/// A regular expression.
pub(in super::super) fn pattern(text: &str) -> Result<regex::bytes::Regex, Fault> {
    regex::bytes::RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build().map_err(|error| {
        let whole = error.to_string();
        let why = whole.lines().last().unwrap_or("").trim_start_matches("error: ").to_owned();
        Fault::new("regex", format!("`{text}` is not a regular expression"), why)
            .help("single quotes spare doubled backslashes: regex = 'ok \\d+'")
    })
}

/// A JSON pointer.
pub(super) fn pointer(text: &str) -> Result<Arc<str>, Fault> {
    if text.is_empty() || text.starts_with('/') {
        return Ok(text.into());
    }
    let path = text.trim_start_matches("$.").trim_start_matches('.').replace('.', "/");
    let fault = Fault::new("json", format!("`{text}` is not a JSON pointer"), "a pointer starts with `/`");
    Err(fault.help(format!("write \"/{path}\"")))
}
