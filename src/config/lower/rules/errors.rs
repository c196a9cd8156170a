//! `errors = { "503" = { … }, "4xx" = { … } }` and `errors_of`: what clients read where an answer is an error.
//!
//! Files are read here, at load and at each reload, and stay in memory: an error must not wait for a disk.

use std::sync::Arc;

use super::super::super::model::{ErrorPages, ErrorStatus, ErrorsOf, Escape, Page, PageBody, Piece, Template};
use super::super::super::problem::Problem;
use super::super::super::section::{Choice, Section};
use super::super::super::template::{self, Moment};
use super::super::super::tree::{Entry, Value};
use super::super::super::units::Fault;
use super::super::super::vocabulary::ERROR_PAGE;
use super::respond;

/// Longest page: it is copied for each client that gets it, and errors come in crowds.
const PAGE_MAX: usize = 256 * 1024;

const OF: Choice<ErrorsOf> = Choice {
    words: &[("own", ErrorsOf::Own), ("all", ErrorsOf::All)],
    foreign: &[("balancer", "own"), ("backend", "all"), ("backends", "all"), ("both", "all"), ("any", "all")],
    later: &[],
};

/// The pages of a section, in front of those that stand above it; `None`: none.
pub(super) fn errors(section: &Section<'_>, above: Option<&Arc<ErrorPages>>) -> Option<Arc<ErrorPages>> {
    if section.is_off("errors") {
        return None;
    }
    let of = section.choice("errors_of", &OF).or_else(|| above.map(|above| above.of)).unwrap_or_default();
    let mut pages = own(section);
    // A status before its class, and otherwise in the order of the file.
    pages.sort_by_key(|(what, _)| matches!(what, ErrorStatus::Class(_)));
    pages.extend(above.into_iter().flat_map(|above| above.pages.iter().cloned()));
    // Those of a listener may be for the pages of its routes.
    let is_idle = pages.is_empty() && !section.has("errors") && !section.has("route");
    if let Some(entry) = section.table.get("errors_of").filter(|_| is_idle) {
        section.cx.report(
            Problem::warning("no-effect", entry.key_at, "`errors_of` without `errors`")
                .label("there are no pages")
                .help("take it out, or write errors = { \"503\" = { file = \"503.html\" } }"),
        );
    }
    Some(Arc::new(ErrorPages { of, pages }))
}

fn own(section: &Section<'_>) -> Vec<(ErrorStatus, Arc<Page>)> {
    let Some(entry) = section.entry("errors") else { return Vec::new() };
    let example = "write errors = { \"503\" = { file = \"503.html\" }, \"4xx\" = { text = \"...\" } }";
    let Value::Table(table) = &entry.node.value else {
        section.wrong_type(&entry.node, "errors", "a table of statuses and pages", example);
        return Vec::new();
    };
    let path = section.path_of("errors");
    let read = |entry: &Entry| {
        // Both are read before the first that is wrong ends it: each problem is to be said.
        let what = what(section, entry);
        let page = page(section, entry, &path);
        Some((what?, page?))
    };
    table.entries.iter().filter_map(read).collect()
}

/// `503` or `5xx`.
fn what(section: &Section<'_>, entry: &Entry) -> Option<ErrorStatus> {
    let fault = |label: &str, help: &str| {
        let problem = Problem::error("errors", entry.key_at, format!("`{}` is no status of an error", entry.key));
        section.cx.report(problem.label(label.to_owned()).help(help));
        None
    };
    match entry.key.as_str() {
        "4xx" => return Some(ErrorStatus::Class(4)),
        "5xx" => return Some(ErrorStatus::Class(5)),
        _ => {}
    }
    let status = Some(entry.key.as_str()).filter(|key| key.len() == 3).and_then(|key| key.parse::<u16>().ok());
    match status {
        Some(status @ 400..=599) => Some(ErrorStatus::Status(status)),
        Some(_) => fault("not 400 to 599", "pages are for statuses from 400 to 599"),
        None => fault("neither a status nor a class", "write \"503\", or \"4xx\" or \"5xx\" for all of them"),
    }
}

fn page(section: &Section<'_>, entry: &Entry, path: &str) -> Option<Arc<Page>> {
    let Value::Table(table) = &entry.node.value else {
        section.wrong_type(&entry.node, &entry.key, "a page", "write { file = \"503.html\" } or { text = \"...\" }");
        return None;
    };
    let inner = Section::new(section.cx, table, entry.key_at, format!("{path}.{}", entry.key), &ERROR_PAGE);
    if !inner.has("file") && !inner.has("text") {
        inner.missing("file", "write file = \"503.html\", or text = \"...\"");
    }
    let variables = inner.boolean("variables").unwrap_or_else(|| inner.has("text"));
    let (body, kind) = respond::body(&inner, PAGE_MAX)?;
    let body = if variables { filled(&inner, &body, &kind) } else { Some(PageBody::Fixed(body)) };
    let status = match inner.integer("status", 200..=599) {
        Some(status) => Some(u16::try_from(status).ok()?),
        None if inner.has("status") => return None,
        None => None,
    };
    Some(Arc::new(Page { status, kind, body: body? }))
}

/// A body with variables.
fn filled(inner: &Section<'_>, body: &Arc<[u8]>, kind: &str) -> Option<PageBody> {
    let node = &inner.entry("text").or_else(|| inner.entry("file"))?.node;
    let template = match std::str::from_utf8(body) {
        Ok(text) => template::template(text, Moment::Error),
        Err(_) => Err(Fault::new("template", "this file is not UTF-8 text", "variables are looked for in text only")),
    };
    match template {
        Ok(Template(pieces)) if pieces.iter().any(|piece| matches!(piece, Piece::Variable(_))) => {
            Some(PageBody::Filled(Template(pieces), Escape::of(kind)))
        }
        // One without variables may still have had a `$$`.
        Ok(Template(pieces)) => {
            let text = pieces.iter().filter_map(|piece| match piece {
                Piece::Text(text) => Some(text.as_bytes()),
                Piece::Variable(_) => None,
            });
            Some(PageBody::Fixed(text.collect::<Vec<_>>().concat().into()))
        }
        Err(fault) => {
            let fault = if inner.has("file") { fault_in_file(fault) } else { fault };
            inner.fault(node, fault);
            None
        }
    }
}

/// What is wrong inside a file: without the file's whole text.
fn fault_in_file(fault: Fault) -> Fault {
    let whole = fault.message.contains('\n') || fault.message.len() > 80;
    if whole { Fault { message: "a `$` in this file is no variable".into(), ..fault } } else { fault }
}
