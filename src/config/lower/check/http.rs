//! What a check over HTTP asks and what it takes for a good answer.

use std::sync::Arc;

use super::super::route::{header_name, method};
use crate::config::address;
use crate::config::model::{ApacheCheck, BodyRule, HttpCheck, HttpQuestion, Pattern};
use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::config::tree::{Entry, Node, Value};
use crate::config::units::Fault;
use crate::config::vocabulary::BODY;

/// What is good where nothing is said: any answer that is neither of the client's nor of the server's fault.
const STATUSES: (u16, u16) = (200, 399);

/// A compiled pattern larger than this would slow every probe.
const PATTERN_BYTES_MAX: usize = 1 << 20;

pub(super) fn http(section: &Section<'_>) -> Option<HttpCheck> {
    let request = request(section, "/");
    let statuses = statuses(section);
    let body = if section.has("body") { Some(body(section)) } else { None };
    Some(HttpCheck {
        request: request?,
        statuses: statuses?,
        body: match body {
            Some(rule) => Some(rule?),
            None => None,
        },
    })
}

pub(super) fn apache(section: &Section<'_>) -> Option<ApacheCheck> {
    let idle = section.integer("idle_workers", 0..=1_000_000).unwrap_or(1);
    let request = request(section, "/server-status?auto")?;
    Some(ApacheCheck { request, idle_workers_min: u32::try_from(idle).unwrap_or(u32::MAX) })
}

fn request(section: &Section<'_>, usual_path: &str) -> Option<HttpQuestion> {
    let method = if section.has("method") { section.parsed("method", method) } else { Some("GET".into()) };
    let path = if section.has("path") { section.parsed("path", address::path) } else { Some(usual_path.into()) };
    let headers = headers(section);
    let tls = super::tls::tls(section);
    let (mut host, mut further) = (None, Vec::new());
    for (name, value) in headers? {
        if name.eq_ignore_ascii_case("host") {
            host = Some(value);
        } else {
            further.push((name, value));
        }
    }
    Some(HttpQuestion { method: method?, path: path?, host, headers: further, tls: tls? })
}

fn headers(section: &Section<'_>) -> Option<Vec<(Arc<str>, Arc<str>)>> {
    let Some(entry) = section.entry("headers") else { return Some(Vec::new()) };
    let Value::Table(table) = &entry.node.value else {
        section.wrong_type(
            &entry.node,
            "headers",
            "a table",
            "write headers = { Host = \"example.com\", X-Probe = \"1\" }",
        );
        return None;
    };
    let headers: Vec<_> = table.entries.iter().map(|entry| header(section, entry)).collect();
    headers.into_iter().collect()
}

fn header<'a>(section: &Section<'a>, entry: &'a Entry) -> Option<(Arc<str>, Arc<str>)> {
    let refuse = |message: String, help: &str| {
        section.cx.report(Problem::error("header", entry.key_at, message).label("here").help(help));
        None
    };
    if header_name(&entry.key).is_err() {
        return refuse(format!("`{}` is not the name of a header", entry.key), "names are letters, digits and `-`");
    }
    let lower = entry.key.to_ascii_lowercase();
    if ["content-length", "transfer-encoding", "connection", "upgrade", "expect"].contains(&lower.as_str()) {
        return refuse(format!("`{}` is set by the check itself", entry.key), "take it out");
    }
    let value = section.text_of(&entry.node, &entry.key)?;
    if value.bytes().any(|byte| (byte < b' ' && byte != b'\t') || byte == 0x7f) {
        return refuse(
            format!("the value of `{}` holds a control character", entry.key),
            "write plain text in one line",
        );
    }
    Some((entry.key.as_str().into(), value.trim().into()))
}

fn statuses(section: &Section<'_>) -> Option<Vec<(u16, u16)>> {
    if !section.has("status") {
        return Some(vec![STATUSES]);
    }
    if let Value::Table(_) = section.entry("status")?.node.value {
        let at = section.entry("status")?.key_at;
        section.cx.report(
            Problem::error("not-supported-yet", at, "a map of status codes to verdicts is not supported yet")
                .label("roles come with a later release")
                .help("list the codes that are good: status = 200, \"200-299\" or [200, 429]"),
        );
        return None;
    }
    let ranges: Vec<_> = section.one_or_more("status")?.iter().map(|node| status(section, node)).collect();
    ranges.into_iter().collect()
}

fn status<'a>(section: &Section<'a>, node: &'a Node) -> Option<(u16, u16)> {
    if let Value::Integer(_) = node.value {
        let code = u16::try_from(section.integer_of(node, "status", &(100..=599))?).ok()?;
        return Some((code, code));
    }
    let text = section.text_of(node, "status")?;
    let code = |digits: &str| digits.trim().parse::<u16>().ok().filter(|code| (100..=599).contains(code));
    let range = match text.split_once('-') {
        Some((first, last)) => code(first).zip(code(last)).filter(|(first, last)| first <= last),
        None => code(text).map(|code| (code, code)),
    };
    if range.is_none() {
        let fault = Fault::new(
            "status",
            format!("`{text}` is not a status code or a range of them"),
            "codes go from 100 to 599",
        );
        let class = text.strip_suffix("xx").filter(|digit| ["1", "2", "3", "4", "5"].contains(digit));
        section.fault(
            node,
            match class {
                Some(digit) => fault.help(format!("write \"{digit}00-{digit}99\"")),
                None => fault.help("write status = 200, \"200-299\" or [200, 429]"),
            },
        );
    }
    range
}

fn body(section: &Section<'_>) -> Option<BodyRule> {
    let entry = section.entry("body")?;
    if let Value::String(text) = &entry.node.value {
        let help = format!("write body = {{ contains = \"{}\" }}", text.value.escape_default());
        section.wrong_type(&entry.node, "body", "a table", &help);
        return None;
    }
    let body = section.section("body", &BODY)?;
    let rules: Vec<&Entry> =
        body.table.entries.iter().filter(|entry| ["contains", "regex", "json"].contains(&&*entry.key)).collect();
    match rules.as_slice() {
        [] => {
            let help = "write contains = \"text\", regex = 'pattern', or json = \"/a/b\" with equals = \"value\"";
            body.missing("contains", help);
            None
        }
        [_] => rule(&body),
        [first, second, ..] => {
            body.cx.report(
                Problem::error("conflict", second.key_at, format!("`{}` and `{}` at once", first.key, second.key))
                    .label("one rule too many")
                    .second(first.key_at, "the first rule")
                    .help("a check has one rule for the body: make two checks, all of them must be good"),
            );
            None
        }
    }
}

fn rule(body: &Section<'_>) -> Option<BodyRule> {
    if body.has("contains") {
        return body.parsed("contains", non_empty).map(BodyRule::Contains);
    }
    if body.has("regex") {
        return body.parsed("regex", pattern).map(|regex| BodyRule::Matches(Pattern(regex)));
    }
    if !body.has("equals") {
        body.missing("equals", "write equals = \"value\": what the JSON pointer must lead to");
    }
    let value = body.entry("equals").and_then(|entry| json(body, entry));
    let pointer = body.parsed("json", pointer)?;
    Some(BodyRule::JsonEquals { pointer, value: value?.to_string().into() })
}

fn non_empty(text: &str) -> Result<Arc<str>, Fault> {
    if text.is_empty() {
        return Err(Fault::new("text", "the empty text is in every body", "empty").help("write the text to look for"));
    }
    Ok(text.into())
}

pub(super) fn pattern(text: &str) -> Result<regex::bytes::Regex, Fault> {
    regex::bytes::RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build().map_err(|error| {
        let whole = error.to_string();
        let why = whole.lines().last().unwrap_or("").trim_start_matches("error: ").to_owned();
        Fault::new("regex", format!("`{text}` is not a regular expression"), why)
            .help("single quotes spare doubled backslashes: regex = 'ok \\d+'")
    })
}

fn pointer(text: &str) -> Result<Arc<str>, Fault> {
    if text.is_empty() || text.starts_with('/') {
        return Ok(text.into());
    }
    let path = text.trim_start_matches("$.").trim_start_matches('.').replace('.', "/");
    let fault = Fault::new("json", format!("`{text}` is not a JSON pointer"), "a pointer starts with `/`");
    Err(fault.help(format!("write \"/{path}\"")))
}

fn json(body: &Section<'_>, entry: &Entry) -> Option<serde_json::Value> {
    match &entry.node.value {
        Value::String(text) => Some(text.value.as_str().into()),
        Value::Integer(number) => Some((*number).into()),
        Value::Float(number) => Some((*number).into()),
        Value::Boolean(is) => Some((*is).into()),
        _ => {
            body.wrong_type(&entry.node, "equals", "text, a number, true or false", "point at a single value");
            None
        }
    }
}
