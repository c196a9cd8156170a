//! `query` with `column`, `equals`, `not`, `above` and `below`, as every check of a database reads it; the comparisons
//! also of a value in a body.

use std::sync::Arc;

use crate::config::model::{Comparison, Number, Query, Wanted};
use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::config::tree::{Entry, Value};
use crate::config::units::Fault;

/// Longer than this is a program, not a question.
const QUERY_MAX: usize = 8 * 1024;

/// The keys of comparisons.
const COMPARISONS: [&str; 4] = ["equals", "not", "above", "below"];

/// The keys that say what the answer to a query must be.
const ANSWER_KEYS: [&str; 5] = ["column", "equals", "not", "above", "below"];

/// `Some(None)`: the check has no query.
#[expect(clippy::option_option, reason = "the outer one says whether it could be read, as everywhere here")]
pub(super) fn query(section: &Section<'_>) -> Option<Option<Query>> {
    if !section.has("query") {
        let Some(first) = section.table.entries.iter().find(|entry| ANSWER_KEYS.contains(&&*entry.key)) else {
            return Some(None);
        };
        let fault = format!("`{}` has nothing to compare", first.key);
        section.cx.report(
            Problem::error("missing", first.key_at, fault)
                .label("compares the answer to a query")
                .help("write query = \"SELECT ...\" too, or take it out"),
        );
        return None;
    }
    let sql = section.parsed("query", sql);
    let column = if section.has("column") { Some(section.parsed("column", column)) } else { None };
    let wanted = comparisons(section);
    if let (Some(entry), Some([])) = (section.entry("column"), wanted.as_deref()) {
        section.cx.report(
            Problem::error("missing", entry.key_at, "`column` compares nothing")
                .label("which column, but not what it must be")
                .help("write equals = \"value\", not = \"value\", above = 1 or below = 5 too, or take it out"),
        );
        return None;
    }
    let column = match column {
        Some(column) => Some(column?),
        None => None,
    };
    Some(Some(Query { sql: sql?, column, wanted: wanted? }))
}

/// All comparisons of a section, none where it has none; they can all be met at once.
pub(super) fn comparisons(section: &Section<'_>) -> Option<Vec<Comparison>> {
    let given: Vec<&Entry> =
        section.table.entries.iter().filter(|entry| COMPARISONS.contains(&entry.key.as_str())).collect();
    if let (Some(equals), [first, second, ..]) = (section.entry("equals"), given.as_slice()) {
        let other = if first.key == "equals" { second } else { first };
        section.cx.report(
            Problem::error("conflict", other.key_at, format!("`equals` and `{}` at once", other.key))
                .label("one comparison too many")
                .second(equals.key_at, "says all that there is to say")
                .help("take one of them out; `not`, `above` and `below` go together"),
        );
        return None;
    }
    let read: Vec<_> = given.iter().map(|entry| comparison(section, entry)).collect();
    let read: Vec<Comparison> = read.into_iter().collect::<Option<_>>()?;
    let above = read.iter().find_map(|one| if let Comparison::Above(number) = one { Some(number) } else { None });
    let below = read.iter().find_map(|one| if let Comparison::Below(number) = one { Some(number) } else { None });
    if let (Some(low), Some(high)) = (above, below)
        && low >= high
    {
        let (above, below) = (section.entry("above")?, section.entry("below")?);
        section.cx.report(
            Problem::error("range", below.node.at, format!("no number is above {low} and below {high}"))
                .label("never met together")
                .second(above.node.at, "with this one")
                .help(if low == high {
                    format!("write equals = {low}, or leave room between the two")
                } else {
                    format!("write above = {high} and below = {low}?")
                }),
        );
        return None;
    }
    Some(read)
}

fn column(text: &str) -> Result<Arc<str>, Fault> {
    if text.is_empty() {
        let fault = Fault::new("text", "`column` is empty", "no name");
        return Err(fault.help("write the name of a column, or leave it out for the first one"));
    }
    Ok(text.into())
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
fn comparison(section: &Section<'_>, entry: &Entry) -> Option<Comparison> {
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
