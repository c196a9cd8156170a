//! `path`, `header`, `cookie` and `query` of a route, and whether one condition says all that another does.

use std::sync::Arc;

use super::super::address;
use super::super::model::{PathMatch, Pattern, Sense, Test, ValueMatch};
use super::super::problem::Problem;
use super::super::section::Section;
use super::super::tree::{Node, Value};
use super::super::units::Fault;
use super::super::vocabulary::{ROUTE_PATH, ROUTE_VALUE};
use super::check::pattern;
use super::route::header_name;

/// `path = "/v1"`, `{ exact = "/login" }`, `{ regex = "^/v[0-9]+/" }`, or a list of such; none where there is no `path`.
/// `None` where one of them could not be read.
pub(super) fn paths(section: &Section<'_>) -> Option<Vec<PathMatch>> {
    every(section, "path", |node| path(section, node))
}

/// What the nodes below a key say, if all of them could be read.
fn every<'a, T>(section: &Section<'a>, key: &str, read: impl Fn(&'a Node) -> Option<T>) -> Option<Vec<T>> {
    if !section.has(key) {
        return Some(Vec::new());
    }
    let nodes = section.one_or_more(key)?;
    // All are read before the first that is wrong ends it: each problem is to be said.
    let all: Vec<Option<T>> = nodes.iter().map(read).collect();
    all.into_iter().collect()
}

fn path<'a>(section: &Section<'a>, node: &'a Node) -> Option<PathMatch> {
    let Value::Table(table) = &node.value else {
        return match address::route_path(section.text_of(node, "path")?) {
            Ok(path) => Some(PathMatch::Prefix(path)),
            Err(fault) => {
                section.fault(node, fault);
                None
            }
        };
    };
    let inner = Section::new(section.cx, table, node.at, section.path_of("path"), &ROUTE_PATH);
    match (inner.has("exact"), inner.has("regex")) {
        (true, false) => inner.parsed("exact", exact).map(PathMatch::Exact),
        (false, true) => inner.parsed("regex", regex).map(PathMatch::Regex),
        (has_both, _) => {
            let (message, label) = if has_both {
                ("`exact` beside `regex`", "which of the two?")
            } else {
                ("a path that says nothing", "any path would do")
            };
            let help = "write path = \"/v1\" for all below it, { exact = \"/v1\" } or { regex = \"^/v[0-9]+/\" }";
            section.cx.report(Problem::error("path", node.at, message).label(label).help(help));
            None
        }
    }
}

fn exact(text: &str) -> Result<Arc<str>, Fault> {
    if text.contains('?') {
        let fault = Fault::new("path", format!("`{text}` is not a path for a route"), "with a query");
        return Err(fault.help("leave out `?` and what follows, and write query = { name = \"v\", value = \"2\" }"));
    }
    address::path(text)
}

/// A regular expression.
pub(super) fn regex(text: &str) -> Result<Pattern, Fault> {
    pattern(text).map(Pattern)
}

/// Which values are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Header,
    Cookie,
    Query,
}

/// The conditions of one kind, all of which must hold; as [`paths`].
pub(super) fn values(section: &Section<'_>, of: Of) -> Option<Vec<ValueMatch>> {
    every(section, key(of), |node| value(section, node, of))
}

fn key(of: Of) -> &'static str {
    match of {
        Of::Header => "header",
        Of::Cookie => "cookie",
        Of::Query => "query",
    }
}

/// Of these, a condition has one or none.
const TESTS: &[&str] = &["value", "prefix", "contains", "regex"];

fn value<'a>(section: &Section<'a>, node: &'a Node, of: Of) -> Option<ValueMatch> {
    let key = key(of);
    let Value::Table(table) = &node.value else {
        return match name(section.text_of(node, key)?, of) {
            Ok(name) => Some(ValueMatch { name, test: Test::Present, sense: Sense::Wanted }),
            Err(fault) => {
                section.fault(node, fault);
                None
            }
        };
    };
    let inner = Section::new(section.cx, table, node.at, section.path_of(key), &ROUTE_VALUE);
    if !inner.has("name") {
        inner.missing("name", format!("write {key} = {{ name = \"X-Beta\", value = \"1\" }}"));
    }
    let name = inner.parsed("name", |text| name(text, of))?;
    let tests: Vec<_> = TESTS.iter().filter_map(|test| inner.table.get(test)).collect();
    if let [first, second, ..] = tests[..] {
        inner.cx.report(
            Problem::error("conflict", second.key_at, format!("`{}` beside `{}`", second.key, first.key))
                .label("which of the two?")
                .help("keep one of them; in a list of conditions, all must hold"),
        );
        return None;
    }
    let test = match tests.first().map_or("", |entry| entry.key.as_str()) {
        "" => Test::Present,
        "value" => Test::Is(inner.text("value")?.into()),
        "prefix" => Test::Prefix(inner.text("prefix")?.into()),
        "contains" => Test::Contains(inner.text("contains")?.into()),
        _ => Test::Regex(inner.parsed("regex", regex)?),
    };
    let sense = if inner.boolean("not") == Some(true) { Sense::Unwanted } else { Sense::Wanted };
    Some(ValueMatch { name, test, sense })
}

fn name(text: &str, of: Of) -> Result<Arc<str>, Fault> {
    let good = match of {
        Of::Header => return header_name(text),
        Of::Cookie => text.bytes().all(|byte| byte.is_ascii_graphic() && !b"=;,".contains(&byte)),
        Of::Query => !text.contains(['=', '&']),
    };
    if good && !text.is_empty() {
        return Ok(text.into());
    }
    let fault = Fault::new(key(of), format!("`{text}` is not a name"), "a name alone is needed here");
    Err(match text.split_once('=') {
        Some((name, value)) => fault.help(format!("write {{ name = \"{name}\", value = \"{value}\" }}")),
        None => fault,
    })
}

/// Whether every path of `second` is one of `first`.
pub(super) fn paths_cover(first: &[PathMatch], second: &[PathMatch]) -> bool {
    let covers = |wide: &PathMatch, narrow: &PathMatch| match (wide, narrow) {
        (PathMatch::Prefix(wide), _) if &**wide == "/" => true,
        (PathMatch::Prefix(wide), PathMatch::Prefix(narrow) | PathMatch::Exact(narrow)) => {
            narrow.strip_prefix(&**wide).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        _ => wide == narrow,
    };
    first.is_empty()
        || (second.is_empty() && first.contains(&PathMatch::Prefix("/".into())))
        || (!second.is_empty() && second.iter().all(|narrow| first.iter().any(|wide| covers(wide, narrow))))
}

/// Whether the conditions of `second` say all that those of `first` do.
pub(super) fn values_cover(first: &[ValueMatch], second: &[ValueMatch]) -> bool {
    first.iter().all(|wide| second.iter().any(|own| wide.covers(own)))
}
