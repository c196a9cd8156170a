//! `respond = { … }`: an answer from the configuration, such as a maintenance page; and the bodies of such answers.

use std::sync::Arc;

use super::super::super::model::Respond;
use super::super::super::problem::Problem;
use super::super::super::section::Section;
use super::super::super::substitute;
use super::super::super::tree::Value;
use super::super::super::units;
use super::super::super::vocabulary::RESPOND;

/// Longest body: it is held in memory, and written whole.
const BODY_MAX: usize = 1 << 20;

/// Kinds of files by their endings.
const KINDS: &[(&str, &str)] = &[
    ("html", "text/html; charset=utf-8"),
    ("htm", "text/html; charset=utf-8"),
    ("txt", "text/plain; charset=utf-8"),
    ("json", "application/json"),
    ("xml", "application/xml"),
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
    ("ico", "image/x-icon"),
];

const TEXT: &str = "text/plain; charset=utf-8";

/// The answer; `respond = 503` is one without a body of its own.
pub(super) fn respond(section: &Section<'_>) -> Option<Arc<Respond>> {
    let entry = section.entry("respond")?;
    if matches!(entry.node.value, Value::Integer(_)) {
        let status = section.integer("respond", 200..=599)?;
        let status = u16::try_from(status).ok()?;
        return Some(Arc::new(Respond { status, kind: TEXT.into(), body: Arc::default() }));
    }
    let inner = section.section("respond", &RESPOND)?;
    let status = match inner.integer("status", 200..=599) {
        Some(status) => u16::try_from(status).ok()?,
        None if inner.has("status") => return None,
        None => 200,
    };
    let (body, kind) = body(&inner, BODY_MAX)?;
    Some(Arc::new(Respond { status, kind, body }))
}

/// `text` or `file` of at most so many bytes, and its `type`.
pub(super) fn body(inner: &Section<'_>, most: usize) -> Option<(Arc<[u8]>, Arc<str>)> {
    let (body, usual) = content(inner, most)?;
    let kind: Arc<str> = inner.text("type").unwrap_or(usual).into();
    if kind.bytes().any(|byte| byte.is_ascii_control()) {
        let at = inner.entry("type").map_or(inner.at, |entry| entry.node.at);
        inner.cx.report(Problem::error("header", at, "`type` has a control byte").label("no media type"));
        return None;
    }
    Some((body, kind))
}

/// The body, and the kind that it usually is.
fn content(inner: &Section<'_>, most: usize) -> Option<(Arc<[u8]>, &'static str)> {
    let (text, file) = (inner.text("text"), inner.text("file"));
    if let (Some(entry), true) = (inner.entry("file"), inner.has("text")) {
        inner.cx.report(
            Problem::error("conflict", entry.key_at, "`file` beside `text`")
                .label("which of the two?")
                .help("keep one of them"),
        );
        return None;
    }
    let Some(path) = file else {
        return Some((text.unwrap_or_default().as_bytes().into(), TEXT));
    };
    let node = &inner.entry("file")?.node;
    let content = substitute::read_bytes(inner.cx, node.at, path)?;
    if content.len() > most {
        let longest = units::written_size(most as u64);
        inner.cx.report(
            Problem::error("range", node.at, format!("`{path}` is longer than {longest}"))
                .label("it would be held in memory")
                .help("serve it from a backend"),
        );
        return None;
    }
    let ending = path.rsplit('.').next().unwrap_or_default();
    let kind = KINDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(ending)).map_or(TEXT, |(_, kind)| kind);
    Some((content.into(), kind))
}
