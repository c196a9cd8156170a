//! From text to tree: TOML's errors in our own words, at most one for each line.
//!
//! The parser recovers after an error, so what is still readable is decoded as well. It also stumbles over its own
//! recovery: [`Damage`] says where its reading can be trusted no longer.

use std::ops::Range;

use toml::de::DeTable;

use super::Cx;
use super::problem::{At, Problem};
use super::tree::{self, Table};

/// What syntax errors did to one file.
#[derive(Debug, Default)]
pub(super) struct Damage {
    /// Lines that could not be read, from 0.
    lines: Vec<usize>,
    /// From this line on, keys may have landed in the wrong place.
    unclear_from: Option<usize>,
}

impl Damage {
    /// Whether there was any.
    pub(super) fn any(&self) -> bool {
        !self.lines.is_empty()
    }

    /// Whether a problem found on this line may be a mere consequence.
    pub(super) fn covers(&self, line: usize) -> bool {
        self.lines.contains(&line) || self.unclear_from.is_some_and(|from| line >= from)
    }
}

/// The tree of one file, as far as it could be read.
pub(super) fn parse(cx: &Cx<'_>, file: u32) -> (Table, Damage) {
    let text = &cx.files.file(file).text;
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut damage = Damage::default();
    if errors.is_empty() {
        return (tree::table(cx, file, table.get_ref()), damage);
    }
    if let Some(problem) = foreign_language(cx, file) {
        cx.report(problem);
        damage.lines.push(0);
        damage.unclear_from = Some(0);
        return (Table::default(), damage);
    }
    let mut errors: Vec<(Range<usize>, String)> =
        errors.iter().map(|error| (error.span().unwrap_or(0..0), error.message().to_owned())).collect();
    errors.sort_by_key(|(span, _)| span.start);
    // An unclosed list swallows the lines after it; its end is where the parser noticed.
    let unclosed = errors.iter().rev().find(|(_, message)| message.starts_with("unclosed")).map(|(span, _)| span.end);
    for (span, message) in &errors {
        let swallowing = unclosed.is_some_and(|end| span.start <= end) && is_open(message);
        let span = if swallowing { after_last_word(text, span.start) } else { span.clone() };
        let line = cx.files.line(file, At::new(file, span.clone()).start);
        if damage.covers(line) {
            continue;
        }
        damage.lines.push(line);
        cx.report(describe(cx, file, line, span.clone(), message, swallowing));
        if swallowing {
            damage.unclear_from = Some(line);
        }
        if message.starts_with("unclosed table") {
            damage.unclear_from = Some(damage.unclear_from.map_or(line, |from| from.min(line)));
        }
    }
    (tree::table(cx, file, table.get_ref()), damage)
}

fn is_open(message: &str) -> bool {
    ["missing comma", "unclosed array", "unclosed inline"].iter().any(|start| message.starts_with(start))
}

/// The end of the last word before a place where something is missing.
fn after_last_word(text: &str, place: usize) -> Range<usize> {
    let end = text[..place].trim_end().len();
    end..end
}

fn describe(cx: &Cx<'_>, file: u32, line: usize, span: Range<usize>, message: &str, swallowing: bool) -> Problem {
    let at = At::new(file, span.clone());
    let text = cx.files.line_text(file, line);
    let syntax = |message: &str| Problem::error("syntax", at, message);
    if message == "duplicate key" || message.starts_with("cannot extend") {
        return duplicate(cx, at, line, message);
    }
    if swallowing {
        return syntax("this list or table is not closed")
            .label("`]` or `}` is missing here, or a comma")
            .help("separate entries with `,` and close the list with `]`, the inline table with `}`");
    }
    if let Some((key, value)) = unquoted(text) {
        let start = cx.files.line_span(file, line).start + text.rfind(value).unwrap_or(0);
        let at = At::new(file, start..start + value.len());
        return Problem::error("syntax", at, format!("the value of `{key}` needs quotes"))
            .label("text without quotes")
            .help(format!("write {key} = \"{value}\""));
    }
    match message {
        _ if message.starts_with("string values must be quoted") && span.is_empty() => {
            syntax("a value is missing").label("nothing stands after `=`")
        }
        _ if message.starts_with("string values must be quoted") => {
            syntax("text needs quotes").label("text without quotes").help(format!("write \"{}\"", cx.files.slice(at)))
        }
        _ if message.starts_with("invalid boolean") => {
            syntax("not a value").label("write true or false, in lower case")
        }
        _ if message.starts_with("invalid basic string") || message.starts_with("invalid literal string") => {
            syntax("this text has no closing quote").label("the quote is missing here")
        }
        _ if message.starts_with("key with no value") => {
            syntax("a key without a value").label("`=` is missing here").help("the form is: key = value")
        }
        _ if message.starts_with("unclosed table") => {
            syntax("the name of a section is not closed").label("`]` is missing here")
        }
        _ if message.starts_with("missing comma") => syntax("a comma is missing").label("between these two"),
        _ if message.starts_with("missing escaped value") => syntax("not an escape that TOML knows")
            .label("a backslash in \"…\" starts an escape")
            .help("double the backslash, or use single quotes: 'text \\d+' is taken as it stands"),
        _ => syntax(&format!("not valid TOML: {}", message.replace(", expected nothing", ""))).label("here"),
    }
}

/// `key = some words` where the words are neither number, boolean, list nor table.
fn unquoted(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once('=')?;
    let value = value.split(" #").next().unwrap_or(value).trim();
    let key = key.trim();
    let plain = !value.is_empty() && !value.contains(['"', '\'', '[', ']', '{', '}', ',', '=']);
    let named = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    let word = matches!(value, "True" | "False" | "TRUE" | "FALSE");
    (plain && named && !word).then_some((key, value))
}

fn duplicate(cx: &Cx<'_>, at: At, line: usize, message: &str) -> Problem {
    let key = cx.files.slice(at);
    let text = cx.files.line_text(at.file, line).trim();
    let header = text.starts_with('[');
    let shown = if header { text.split('#').next().unwrap_or(text).trim() } else { key };
    let fault = if message.starts_with("cannot extend") {
        format!("`{shown}` is a value already and cannot be a table as well")
    } else {
        format!("`{shown}` is given twice")
    };
    let problem = Problem::error("duplicate", at, fault).label("given again here").help("keep one of the two");
    match first_place(cx, at, line, key, shown, header) {
        Some(first) => problem.second(first, "first given here"),
        None => problem,
    }
}

/// Where the duplicate was said first: the same header anywhere above, or the same key in this section.
fn first_place(cx: &Cx<'_>, at: At, line: usize, key: &str, shown: &str, header: bool) -> Option<At> {
    for above in (0..line).rev() {
        let text = cx.files.line_text(at.file, above);
        let trimmed = text.trim_start();
        let indent = text.len() - trimmed.len();
        let start = cx.files.line_span(at.file, above).start + indent;
        if header {
            let bare = shown.trim_matches(['[', ']']);
            let prefix = trimmed.trim_start_matches('[');
            if trimmed.starts_with('[') && prefix.strip_prefix(bare).is_some_and(|rest| rest.starts_with(']')) {
                return Some(At::new(at.file, start..start + trimmed.split('#').next().unwrap_or("").trim_end().len()));
            }
        } else if trimmed.starts_with('[') && !trimmed.starts_with("[\"") {
            return None;
        } else if trimmed.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with(['=', '.'])) {
            return Some(At::new(at.file, start..start + key.len()));
        }
    }
    None
}

/// A file of another program, recognised by its first line that says anything.
fn foreign_language(cx: &Cx<'_>, file: u32) -> Option<Problem> {
    let lines = cx.files.file(file).text.lines().count();
    let (line, text) = (0..lines).map(|line| (line, cx.files.line_text(file, line))).find(|(_, text)| {
        let text = text.trim();
        !text.is_empty() && !text.starts_with('#')
    })?;
    let trimmed = text.trim();
    let word = trimmed.split_whitespace().next().unwrap_or("");
    let assigned = trimmed.contains('=');
    let (whose, hint) = if matches!(word, "global" | "defaults" | "frontend" | "backend" | "listen") && !assigned {
        ("HAProxy's configuration", "`frontend` is [listener.NAME], `backend` is [pool.NAME] with `backends = [...]`")
    } else if !assigned && (trimmed.ends_with(';') || (trimmed.contains('{') && !trimmed.starts_with('{'))) {
        ("a configuration with braces, as of nginx or Caddy", "`server` is [listener.NAME], `upstream` is [pool.NAME]")
    } else if trimmed.starts_with('{') || trimmed.starts_with("<?") {
        ("JSON or XML", "an Uchiwa file is turned into ours by `evenkeel import uchiwa FILE`")
    } else if trimmed == "---" || (!assigned && trimmed.ends_with(':') && !word.contains('"')) {
        ("YAML", "a section is [pool.NAME] and a setting is key = \"value\"")
    } else {
        return None;
    };
    let span = cx.files.line_span(file, line);
    let start = span.start + text.len() - text.trim_start().len();
    Some(
        Problem::error("foreign-file", At::new(file, start..span.end), format!("this looks like {whose}"))
            .label("not TOML")
            .help(format!("Evenkeel's files are TOML: {hint}; config/quickstart.toml is a small example")),
    )
}
