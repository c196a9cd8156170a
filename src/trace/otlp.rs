//! Spans as an OpenTelemetry collector takes them: OTLP/HTTP in its JSON encoding (OTLP 1.0, section "JSON Protobuf
//! Encoding": ids in hexadecimal, 64-bit numbers as text).

use std::time::Duration;

use serde_json::{Value, json};

use super::{Attempt, Finished};

const SERVER: u8 = 2;
const CLIENT: u8 = 3;
const ERROR: u8 = 2;

/// One request for the collector: these, of the service of that name.
pub fn batch(service: &str, finished: &[Box<Finished>]) -> Value {
    let spans: Vec<Value> = finished.iter().flat_map(|it| spans(it)).collect();
    json!({ "resourceSpans": [{
        "resource": { "attributes": [text("service.name", service)] },
        "scopeSpans": [{ "scope": { "name": "evenkeel", "version": env!("CARGO_PKG_VERSION") }, "spans": spans }],
    }] })
}

/// The request's span, and one for each attempt.
fn spans(finished: &Finished) -> Vec<Value> {
    let (path, query) = finished.target.split_once('?').unwrap_or((&finished.target, ""));
    let mut attributes = vec![
        text("http.request.method", &finished.method),
        text("url.path", path),
        text("server.address", &finished.host),
        text("client.address", &finished.client.to_string()),
        text("evenkeel.listener", &finished.listener),
        text("evenkeel.pool", &finished.pool),
        text("evenkeel.phase", finished.phase),
        json!({ "key": "evenkeel.queued_seconds", "value": { "doubleValue": finished.queued.as_secs_f64() } }),
    ];
    if !query.is_empty() {
        attributes.push(text("url.query", query));
    }
    let mut all = vec![span(
        finished,
        (finished.span, finished.parent, SERVER),
        (Duration::ZERO, finished.took),
        attributes,
        (finished.status, finished.end),
    )];
    for (number, attempt) in finished.attempts.iter().enumerate() {
        all.push(of_attempt(finished, attempt, number));
    }
    all
}

fn of_attempt(finished: &Finished, attempt: &Attempt, number: usize) -> Value {
    let mut attributes = vec![
        text("http.request.method", &finished.method),
        text("evenkeel.pool", &finished.pool),
        text("evenkeel.backend", &attempt.backend),
    ];
    if number > 0 {
        attributes.push(number_of("http.request.resend_count", number as u64));
    }
    span(
        finished,
        (attempt.span, Some(finished.span), CLIENT),
        (attempt.begun, attempt.took),
        attributes,
        (attempt.status, attempt.end),
    )
}

fn span(
    finished: &Finished,
    (id, parent, kind): (u64, Option<u64>, u8),
    (begun, took): (Duration, Duration),
    mut attributes: Vec<Value>,
    (status, end): (u16, &str),
) -> Value {
    let nanos = |length: Duration| u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
    let start = finished.begun_nanos.saturating_add(nanos(begun));
    if status > 0 {
        attributes.push(number_of("http.response.status_code", status.into()));
    }
    let failed = end != "ok";
    if failed {
        attributes.push(text("error.type", end));
    } else if status >= 500 {
        attributes.push(text("error.type", &status.to_string()));
    }
    let mut span = json!({
        "traceId": format!("{:032x}", finished.trace),
        "spanId": format!("{id:016x}"),
        "name": finished.method,
        "kind": kind,
        "startTimeUnixNano": start.to_string(),
        "endTimeUnixNano": start.saturating_add(nanos(took)).to_string(),
        "attributes": attributes,
    });
    if let Some(parent) = parent {
        span["parentSpanId"] = format!("{parent:016x}").into();
    }
    if failed || status >= 500 {
        span["status"] = json!({ "code": ERROR });
    }
    span
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn number_of(key: &str, value: u64) -> Value {
    json!({ "key": key, "value": { "intValue": value.to_string() } })
}
