//! `query` with `equals`, `not`, `above` or `below`, as every check of a database reads it.

use std::sync::Arc;

use crate::config::model::{Comparison, Number, Query, Wanted};
use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::config::tree::{Entry, Value};
use crate::config::units::Fault;

/// Longer than this is a program, not a question.
const QUERY_MAX: usize = 8 * 1024;

/// The keys of comparisons.
pub(super) const COMPARISONS: [&str; 4] = ["equals", "not", "above", "below"];

/// `Some(None)`: the check has no query.
#[expect(clippy::option_option, reason = "the outer one says whether it could be read, as everywhere here")]
pub(super) fn query(section: &Section<'_>) -> Option<Option<Query>> {
    let given: Vec<&Entry> =
        section.table.entries.iter().filter(|entry| COMPARISONS.contains(&entry.key.as_str())).collect();
    if !section.has("query") {
        let Some(first) = given.first() else { return Some(None) };
        let fault = format!("`{}` has nothing to compare", first.key);
        section.cx.report(
            Problem::error("missing", first.key_at, fault)
                .label("compares the answer to a query")
                .help("write query = \"SELECT ...\" too, or take it out"),
        );
        return None;
    }
    let sql = section.parsed("query", sql);
    let wanted = match given.as_slice() {
        [] => None,
        [one] => Some(comparison(section, one)?),
        [first, second, ..] => {
            section.cx.report(
                Problem::error("conflict", second.key_at, format!("`{}` and `{}` at once", first.key, second.key))
                    .label("one comparison too many")
                    .second(first.key_at, "the first one")
                    .help("compare once, or let the query do it: query = \"SELECT a > 1 AND b < 5\", equals = true"),
            );
            return None;
        }
    };
    Some(Some(Query { sql: sql?, wanted }))
}

fn sql(text: &str) -> Result<Arc<str>, Fault> {
    if text.trim().is_empty() {
        return Err(Fault::new("text", "an empty query asks nothing", "empty").help("write query = \"SELECT 1\""));
    }
    if text.contains('\0') {
        return Err(Fault::new("text", "`query` cannot be sent", "holds a NUL byte").help("take the NUL byte out"));
    }
    if text.len() > QUERY_MAX {
        let fault = Fault::new("text", "`query` is too long", format!("longer than {} KiB", QUERY_MAX / 1024));
        return Err(fault.help("make a view or a function of it in the database, and ask that"));
    }
    Ok(text.into())
}

/// What one of these keys says.
pub(super) fn comparison(section: &Section<'_>, entry: &Entry) -> Option<Comparison> {
    Some(match entry.key.as_str() {
        "equals" => Comparison::Equals(wanted(section, entry)?),
        "not" => Comparison::Not(wanted(section, entry)?),
        "above" => Comparison::Above(number(section, entry)?),
        _ => Comparison::Below(number(section, entry)?),
    })
}

fn wanted(section: &Section<'_>, entry: &Entry) -> Option<Wanted> {
    match &entry.node.value {
        Value::String(text) => Some(Wanted::Text(text.value.as_str().into())),
        Value::Boolean(true) => Some(Wanted::True),
        Value::Boolean(false) => Some(Wanted::False),
        Value::Integer(_) | Value::Float(_) => Some(Wanted::Number(number(section, entry)?)),
        _ => {
            let help = format!("write {} = \"text\", {} = 1 or {} = true", entry.key, entry.key, entry.key);
            section.wrong_type(&entry.node, &entry.key, "text, a number, true or false", &help);
            None
        }
    }
}

/// A substituted text may hold it, as everywhere.
fn number(section: &Section<'_>, entry: &Entry) -> Option<Number> {
    let text = match &entry.node.value {
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::String(text) if text.raw.is_some() => text.value.clone(),
        _ => String::new(),
    };
    let number = Number::parse(&text);
    if number.is_none() {
        let help = format!("write {} = 5, without quotes", entry.key);
        section.wrong_type(&entry.node, &entry.key, "a number", &help);
    }
    number
}
