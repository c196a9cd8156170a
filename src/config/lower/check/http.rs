//! What a check over HTTP asks and what it takes for a good answer.

use std::sync::Arc;

use super::super::http::VERSION;
use super::super::route::{header_name, method};
use super::{body, status, tls};
use crate::config::address;
use crate::config::model::{ApacheCheck, ApacheWeights, GrpcCheck, HttpCheck, HttpQuestion, HttpVersion, PoolTls};
use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::config::tree::{Entry, Value};
use crate::config::units::Fault;

/// Headers that frame the message or the connection.
const OURS: &[&str] = &[
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "expect",
];

/// A longer one is an upload, not a question.
const BODY_MAX: usize = 16 * 1024;

type Headers = Vec<(Arc<str>, Arc<str>)>;

pub(super) fn http(section: &Section<'_>, over: Option<&PoolTls>) -> Option<HttpCheck> {
    let request = request(section, "/", over);
    let (status, body) = (status::status(section), body::rules(section));
    let epoch = section.parsed("epoch", body::pointer);
    let epoch_is_good = epoch.is_some() || !section.has("epoch");
    let check = HttpCheck { request: request?, status: status?, body: body?, epoch };
    let silent = check.request.method.as_ref() == "HEAD";
    if let Some(entry) = section.entry("body").or_else(|| section.entry("epoch")).filter(|_| silent) {
        section.cx.report(
            Problem::error("conflict", entry.key_at, "the answer to HEAD has no body")
                .label("never there")
                .second(section.entry("method")?.node.at, "asks for the head only")
                .help("write method = \"GET\""),
        );
        return None;
    }
    epoch_is_good.then_some(check)
}

pub(super) fn apache(section: &Section<'_>, over: Option<&PoolTls>) -> Option<ApacheCheck> {
    let idle = section.integer("idle_workers", 0..=1_000_000).unwrap_or(1);
    let weights = section.boolean("weights").unwrap_or(false);
    let weights = if weights { ApacheWeights::ByIdleWorkers } else { ApacheWeights::Configured };
    let request = request(section, "/server-status?auto", over)?;
    Some(ApacheCheck { request, idle_workers_min: u32::try_from(idle).unwrap_or(u32::MAX), weights })
}

pub(super) fn grpc(section: &Section<'_>, over: Option<&PoolTls>) -> Option<GrpcCheck> {
    let service = section.parsed("service", |text| {
        if text.len() <= 255 && !text.contains(char::is_control) {
            return Ok(Arc::from(text));
        }
        let fault = Fault::new("text", "`service` is not the name of a service", "more than 255 bytes, or odd ones");
        Err(fault.help("write service = \"package.Service\", or leave it out: then the whole server is asked for"))
    });
    let service_is_good = service.is_some() || !section.has("service");
    let (headers, tls) = (headers(section), tls::tls_or(section, over));
    let (host, headers) = split_host(headers?);
    let check = GrpcCheck { service: service.unwrap_or_else(|| "".into()), host, headers, tls: tls? };
    service_is_good.then_some(check)
}

fn request(section: &Section<'_>, usual_path: &str, over: Option<&PoolTls>) -> Option<HttpQuestion> {
    let given = |key: &str, is_good: bool| is_good || !section.has(key);
    let version = section.choice("http", &VERSION);
    let method = section.parsed("method", method);
    let path = section.parsed("path", address::path);
    let body = section.parsed("request_body", request_body);
    let all_good = given("http", version.is_some())
        && given("method", method.is_some())
        && given("path", path.is_some())
        && given("request_body", body.is_some());
    let (headers, tls) = (headers(section), tls::tls_or(section, over));
    let (host, headers) = split_host(headers?);
    let usual_method = if body.is_some() { "POST" } else { "GET" };
    let question = HttpQuestion {
        version: version.unwrap_or(HttpVersion::V1_1),
        method: method.unwrap_or_else(|| usual_method.into()),
        path: path.unwrap_or_else(|| usual_path.into()),
        host,
        headers,
        body: body.unwrap_or_else(|| "".into()),
        tls: tls?,
    };
    all_good.then_some(question)
}

fn request_body(text: &str) -> Result<Arc<str>, Fault> {
    if text.len() <= BODY_MAX {
        return Ok(text.into());
    }
    let fault = Fault::new("text", "`request_body` is too long", format!("more than {} KiB", BODY_MAX / 1024));
    Err(fault.help("ask for less: a probe is sent every few seconds"))
}

/// The `Host` header apart from the others.
fn split_host(all: Headers) -> (Option<Arc<str>>, Headers) {
    let (hosts, others): (Headers, Headers) = all.into_iter().partition(|(name, _)| name.eq_ignore_ascii_case("host"));
    (hosts.into_iter().next_back().map(|(_, value)| value), others)
}

fn headers(section: &Section<'_>) -> Option<Headers> {
    if !section.has("headers") {
        return Some(Vec::new());
    }
    let entry = section.entry("headers")?;
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
    if OURS.contains(&lower.as_str()) {
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
