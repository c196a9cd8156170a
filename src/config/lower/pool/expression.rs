//! Expressions over the checks of a pool, and the warning for a check that none of them names.

use std::sync::Arc;

use crate::config::problem::{At, Problem};
use crate::config::section::Section;
use crate::config::tree::{Node, Text, Value};
use crate::health::Expression;

use super::super::check;

pub(super) fn healthy_when(section: &Section<'_>, names: &[Arc<str>]) -> Option<Expression> {
    if !section.has("healthy_when") {
        return Some(Expression::all_of(names.len()));
    }
    let text = section.text("healthy_when")?;
    let node = &section.entry("healthy_when")?.node;
    let expression = match Expression::parse(text, names) {
        Ok(expression) => expression,
        Err(error) => {
            let at = within(section, node, error.span.clone());
            let mut problem = Problem::error("expression", at, error.message);
            problem.help = error.help;
            section.cx.report(problem);
            return None;
        }
    };
    // `all_down` would name checks too; that it is not supported has been said.
    let certain = !section.has("all_down");
    let unused = names.iter().enumerate().filter(|(index, _)| certain && !expression.mentions(*index));
    for (_, name) in unused {
        let place = check::place(section, name).unwrap_or(node.at);
        section.cx.report(
            Problem::warning("unused-check", place, format!("check `{name}` decides nothing"))
                .label("asked, but its answer is not used")
                .second(node.at, "does not name it")
                .help(format!("add it, as in \"{text} and {name}\", or take the check out")),
        );
    }
    Some(expression)
}

/// The place of a part of a text, when the source spells the text the same way.
fn within(section: &Section<'_>, node: &Node, span: std::ops::Range<usize>) -> At {
    let Value::String(Text { value, raw: None }) = &node.value else { return node.at };
    section.cx.files.slice(node.at).find(value.as_str()).map_or(node.at, |offset| {
        let start = node.at.start as usize + offset;
        At::new(node.at.file, start + span.start..start + span.end)
    })
}
