//! `request_headers`, `response_headers` and `hsts`: fields that are set, added and removed.

use std::sync::Arc;
use std::time::Duration;

use super::super::super::model::{FieldEdits, FieldLine, Piece, Template};
use super::super::super::problem::{At, Problem};
use super::super::super::section::Section;
use super::super::super::template::{self, Moment};
use super::super::super::tree::{Entry, Value};
use super::super::super::units::Fault;
use super::super::super::vocabulary::{FIELD_EDITS, HSTS};
use super::super::route::header_name;

/// Which head is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Request,
    Response,
}

/// Fields that say how a message is delimited or how a connection goes on: who changed them would make two sides read
/// different messages.
pub(super) const FRAMING: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Fields that the balancer always says itself.
const OWN: &[&str] = &["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id", "forwarded"];

const HSTS_NAME: &str = "strict-transport-security";

/// How long a browser keeps to https where nothing is said.
const HSTS_AGE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// `request_headers = { set = { … }, add = { … }, remove = [ … ] }`.
pub(super) fn edits(section: &Section<'_>, of: Of) -> FieldEdits {
    let key = if of == Of::Request { "request_headers" } else { "response_headers" };
    let mut edits = FieldEdits::default();
    let Some(inner) = section.section(key, &FIELD_EDITS) else { return edits };
    let removed = inner.parsed_list("remove", header_name).unwrap_or_default();
    for (name, at) in removed {
        if is_ours_to_change(&inner, at, &name, of, Change::Remove) {
            edits.remove.push(name);
        }
    }
    for (verb, change) in [("set", Change::Set), ("add", Change::Add)] {
        for entry in lines(&inner, verb) {
            let Some(line) = line(&inner, entry, of, change) else { continue };
            if change == Change::Set {
                edits.remove.push(line.name.to_ascii_lowercase().into());
            }
            edits.add.push(line);
        }
    }
    edits
}

/// `response_headers` and `hsts` of one section, upon what stands above it.
pub(super) fn response(section: &Section<'_>, edits: &mut FieldEdits) {
    let is_hsts = |name: &str| name.eq_ignore_ascii_case(HSTS_NAME);
    if section.has("response_headers") {
        let kept = edits.add.iter().find(|line| is_hsts(&line.name)).cloned();
        *edits = self::edits(section, Of::Response);
        if let Some(line) = kept.filter(|_| !edits.remove.iter().any(|name| is_hsts(name))) {
            edits.remove.push(HSTS_NAME.into());
            edits.add.push(line);
        }
    }
    if section.has("hsts") {
        edits.remove.retain(|name| !is_hsts(name));
        edits.add.retain(|line| !is_hsts(&line.name));
        if let Some(value) = hsts(section) {
            edits.remove.push(HSTS_NAME.into());
            let value = Template(vec![Piece::Text(value.into())]);
            edits.add.push(FieldLine { name: "Strict-Transport-Security".into(), value });
        }
    }
}

/// The value of the field (RFC 6797, section 6.1); `None` where it is switched off.
fn hsts(section: &Section<'_>) -> Option<String> {
    let entry = section.entry("hsts")?;
    if let Value::Boolean(on) = entry.node.value {
        return on.then(|| format!("max-age={}", HSTS_AGE.as_secs()));
    }
    let inner = section.section("hsts", &HSTS)?;
    let mut value = format!("max-age={}", inner.duration("max_age").unwrap_or(HSTS_AGE).as_secs());
    if inner.boolean("subdomains") == Some(true) {
        value.push_str("; includeSubDomains");
    }
    if inner.boolean("preload") == Some(true) {
        value.push_str("; preload");
    }
    Some(value)
}

/// What is done with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Set,
    Add,
    Remove,
}

/// The entries of `set` or `add`.
fn lines<'a>(section: &Section<'a>, verb: &str) -> &'a [Entry] {
    let Some(entry) = section.entry(verb) else { return &[] };
    let Value::Table(table) = &entry.node.value else {
        let help = format!("write {verb} = {{ \"X-Name\" = \"value\" }}");
        section.wrong_type(&entry.node, verb, "a table of names and values", &help);
        return &[];
    };
    &table.entries
}

fn line(section: &Section<'_>, entry: &Entry, of: Of, change: Change) -> Option<FieldLine> {
    let name = match header_name(&entry.key) {
        Ok(name) => name,
        Err(fault) => {
            section.fault_at(entry.key_at, fault);
            return None;
        }
    };
    if !is_ours_to_change(section, entry.key_at, &name, of, change) {
        return None;
    }
    let Value::String(text) = &entry.node.value else {
        section.wrong_type(&entry.node, &entry.key, "text", "put it in quotes");
        return None;
    };
    let moment = if of == Of::Request { Moment::Request } else { Moment::Answer };
    match value(&text.value, moment) {
        Ok(value) => Some(FieldLine { name: Arc::from(entry.key.as_str()), value }),
        Err(fault) => {
            section.fault(&entry.node, fault);
            None
        }
    }
}

/// The value of a field, with variables (RFC 9110, section 5.5).
fn value(text: &str, moment: Moment) -> Result<Template, Fault> {
    if text.bytes().any(|byte| (byte < b' ' && byte != b'\t') || byte == 0x7f) || text.trim() != text {
        let fault =
            Fault::new("header", "a value that no field can have", "a line end, another control byte or outer space");
        return Err(fault.help("take it out"));
    }
    template::template(text, moment)
}

fn is_ours_to_change(section: &Section<'_>, at: At, name: &str, of: Of, change: Change) -> bool {
    let framing = FRAMING.contains(&name);
    let own = of == Of::Request && OWN.contains(&name);
    // A request without one, or with two, is refused by whoever gets it.
    let host = of == Of::Request && name == "host" && change != Change::Set;
    if !(framing || own || host) {
        return true;
    }
    let (why, help) = if framing {
        ("says how messages and connections end", "leave it alone: the balancer writes what is right")
    } else if own {
        ("said by the balancer itself", "where a proxy in front knows better, name it in trusted_proxies")
    } else {
        ("every request has one", "it can be replaced: set = { Host = \"NAME\" }")
    };
    let fault = Problem::error("header", at, format!("`{name}` cannot be changed this way")).label(why).help(help);
    section.cx.report(fault);
    false
}
