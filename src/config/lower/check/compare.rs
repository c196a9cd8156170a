//! `query` with `column`, `equals`, `not`, `above` and `below`: a query of the operator's own and what it must answer.

use std::sync::Arc;

use crate::config::model::{Compare, Literal, Number, Query};
use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::config::tree::{Entry, Value};
use crate::config::units::Fault;

/// A longer one does not fit into a probe.
const QUERY_BYTES_MAX: usize = 4 * 1024;
const RULES: [&str; 4] = ["equals", "not", "above", "below"];

/// `Some(None)`: there is none.
#[expect(clippy::option_option, reason = "the outer one says whether it could be read, as everywhere here")]
pub(super) fn query(section: &Section<'_>) -> Option<Option<Query>> {
    let given: Vec<&Entry> = section.table.entries.iter().filter(|entry| RULES.contains(&entry.key.as_str())).collect();
    if !section.has("query") {
        let stray = given.first().copied().or_else(|| section.table.get("column"));
        let Some(stray) = stray else { return Some(None) };
        section.cx.report(
            Problem::error("missing", stray.key_at, format!("`{}` looks at the answer to a query", stray.key))
                .label("there is no `query`")
                .help("write query = \"SELECT ...\", or take it out"),
        );
        return None;
    }
    let sql = section.parsed("query", sql);
    let column = if section.has("column") { Some(section.parsed("column", column)) } else { None };
    let rule = rule(section, &given);
    Some(Some(Query {
        sql: sql?,
        column: match column {
            Some(column) => Some(column?),
            None => None,
        },
        rule: rule?,
    }))
}

fn sql(text: &str) -> Result<Arc<str>, Fault> {
    let trimmed = text.trim().trim_end_matches(';').trim_end();
    if trimmed.is_empty() {
        return Err(Fault::new("query", "`query` is empty", "nothing to ask").help("write query = \"SELECT 1\""));
    }
    if trimmed.len() > QUERY_BYTES_MAX || trimmed.contains('\0') {
        let fault = Fault::new("query", "`query` cannot be sent", "longer than 4 KiB, or holds a NUL byte");
        return Err(fault.help("make a view or a procedure of it, and ask for that"));
    }
    Ok(trimmed.into())
}

fn column(text: &str) -> Result<Arc<str>, Fault> {
    if text.is_empty() {
        let fault = Fault::new("text", "`column` is empty", "no name");
        return Err(fault.help("write the name of a column, or leave it out for the first one"));
    }
    Ok(text.into())
}

/// `Some(None)`: no rule.
#[expect(clippy::option_option, reason = "the outer one says whether it could be read, as everywhere here")]
fn rule(section: &Section<'_>, given: &[&Entry]) -> Option<Option<Compare>> {
    match given {
        [] => Some(None),
        [one] if one.key == "equals" => Some(Some(Compare::Equals(literal(section, one)?))),
        [one] if one.key == "not" => Some(Some(Compare::Not(literal(section, one)?))),
        [..] => match given.iter().position(|entry| ["equals", "not"].contains(&entry.key.as_str())) {
            None => between(section).map(Some),
            Some(at) => {
                let other = given[usize::from(at == 0)];
                let message = format!("`{}` and `{}` at once", given[at].key, other.key);
                section.cx.report(
                    Problem::error("conflict", given[at].key_at, message)
                        .label("one rule too many")
                        .second(other.key_at, "the other rule")
                        .help("one of equals, not, or above and below; two checks may ask two queries"),
                );
                None
            }
        },
    }
}

fn between(section: &Section<'_>) -> Option<Compare> {
    let end = |key: &str| section.entry(key).map(|entry| number(section, entry));
    let (above, below) = (end("above"), end("below"));
    if let (Some(Some(low)), Some(Some(high))) = (above, below)
        && real(low) >= real(high)
    {
        let entry = section.entry("below")?;
        section.cx.report(
            Problem::error("range", entry.node.at, format!("nothing is above {low} and below {high}"))
                .label("not above `above`")
                .help("exchange the two, or take one out"),
        );
        return None;
    }
    let known = |end: Option<Option<Number>>| match end {
        Some(number) => number.map(Some),
        None => Some(None),
    };
    Some(Compare::Between { above: known(above)?, below: known(below)? })
}

fn real(number: Number) -> f64 {
    match number {
        Number::Whole(number) => number as f64,
        Number::Real(number) => number,
    }
}

fn number(section: &Section<'_>, entry: &Entry) -> Option<Number> {
    match &entry.node.value {
        Value::Integer(number) => Some(Number::Whole(*number)),
        Value::Float(number) if number.is_finite() => Some(Number::Real(*number)),
        _ => {
            let help = format!("write {} = 5, without quotes", entry.key);
            section.wrong_type(&entry.node, &entry.key, "a number", &help);
            None
        }
    }
}

fn literal(section: &Section<'_>, entry: &Entry) -> Option<Literal> {
    match &entry.node.value {
        Value::String(text) => Some(Literal::Text(text.value.as_str().into())),
        Value::Boolean(is) => Some(Literal::Truth(*is)),
        Value::Integer(_) | Value::Float(_) => number(section, entry).map(Literal::Number),
        _ => {
            let help = "its type says how the answer is read: 1, \"text\" or true";
            section.wrong_type(&entry.node, &entry.key, "text, a number, true or false", help);
            None
        }
    }
}
