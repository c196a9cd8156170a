//! Expressions over the checks of a pool, and the warning for a check that none of them names.

use std::sync::Arc;

use crate::config::problem::{At, Problem};
use crate::config::section::Section;
use crate::config::tree::{Node, Text, Value};
use crate::health::Expression;

use super::super::check;

/// `healthy_when`; all checks where it is not given.
pub(super) fn healthy_when(section: &Section<'_>, names: &[Arc<str>]) -> Option<Expression> {
    if !section.has("healthy_when") {
        return Some(Expression::all_of(names.len()));
    }
    over(section, "healthy_when", names)
}

/// The expression that a key holds.
pub(super) fn over(section: &Section<'_>, key: &str, names: &[Arc<str>]) -> Option<Expression> {
    let text = section.text(key)?;
    let node = &section.entry(key)?.node;
    Expression::parse(text, names)
        .map_err(|error| {
            let mut problem = Problem::error("expression", within(section, node, error.span.clone()), error.message);
            problem.help = error.help;
            section.cx.report(problem);
        })
        .ok()
}

/// Warns of checks that decide nothing.
pub(super) fn report_unused(section: &Section<'_>, names: &[Arc<str>], decides: impl Fn(usize) -> bool) {
    let Some(node) = section.entry("healthy_when").map(|entry| &entry.node) else { return };
    let Value::String(Text { value: text, .. }) = &node.value else { return };
    for (index, name) in names.iter().enumerate() {
        if decides(index) {
            continue;
        }
        let place = check::place(section, name).unwrap_or(node.at);
        section.cx.report(
            Problem::warning("unused-check", place, format!("check `{name}` decides nothing"))
                .label("asked, but its answer is not used")
                .second(node.at, "does not name it")
                .help(format!("add it, as in \"{text} and {name}\", or take the check out")),
        );
    }
}

/// The place of a part of a text, when the source spells the text the same way.
fn within(section: &Section<'_>, node: &Node, span: std::ops::Range<usize>) -> At {
    let Value::String(Text { value, raw: None }) = &node.value else { return node.at };
    section.cx.files.slice(node.at).find(value.as_str()).map_or(node.at, |offset| {
        let start = node.at.start as usize + offset;
        At::new(node.at.file, start + span.start..start + span.end)
    })
}
