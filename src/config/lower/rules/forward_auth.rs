//! `forward_auth = { … }`: the service that says who may pass, and what is exchanged with it.

use std::sync::Arc;
use std::time::Duration;

use super::super::super::model::{ForwardAuth, OnFailure};
use super::super::super::section::{Choice, Section};
use super::super::super::units::Fault;
use super::super::super::vocabulary::FORWARD_AUTH;
use super::super::Pools;
use super::super::route::header_name;
use super::fields::FRAMING;

const ON_FAILURE: Choice<OnFailure> = Choice {
    words: &[("deny", OnFailure::Deny), ("allow", OnFailure::Allow)],
    foreign: &[
        ("closed", "deny"),
        ("close", "deny"),
        ("refuse", "deny"),
        ("open", "allow"),
        ("pass", "allow"),
        ("continue", "allow"),
    ],
    later: &[],
};

/// A person waits for it, and for the page behind it.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Who is asked; `None` where it is switched off.
pub(super) fn forward_auth(section: &Section<'_>, pools: &Pools<'_>) -> Option<Arc<ForwardAuth>> {
    if section.is_off("forward_auth") {
        return None;
    }
    let inner = section.section("forward_auth", &FORWARD_AUTH)?;
    if !inner.has("pool") {
        inner.missing("pool", "write forward_auth = { pool = \"auth\", path = \"/verify\" }: the pool that is asked");
    }
    // All of them are read before the first that is wrong ends it: each problem is to be said.
    let path = if inner.has("path") { inner.parsed("path", path) } else { Some("/".into()) };
    let names = |key: &str| -> Vec<Arc<str>> {
        let read = inner.parsed_list(key, name).unwrap_or_default();
        read.into_iter().map(|(name, _)| name).collect()
    };
    let (request_headers, response_headers) = (names("request_headers"), names("response_headers"));
    let timeout = inner.positive_duration("timeout").unwrap_or(TIMEOUT);
    let on_failure = inner.choice("on_failure", &ON_FAILURE).unwrap_or(OnFailure::Deny);
    let (pool, path) = (pools.find(&inner, "pool")?, path?);
    Some(Arc::new(ForwardAuth { pool, path, request_headers, response_headers, timeout, on_failure }))
}

/// A field that can be copied from one message into another.
fn name(text: &str) -> Result<Arc<str>, Fault> {
    let name = header_name(text)?;
    if FRAMING.contains(&&*name) || *name == *"host" {
        let fault = Fault::new("header", format!("`{name}` cannot be copied"), "says how messages and connections end");
        return Err(fault.help("take it out"));
    }
    Ok(name)
}

fn path(text: &str) -> Result<Arc<str>, Fault> {
    let fault = |label: &str| Fault::new("path", format!("`{text}` is not a path"), label);
    if let Some(place) = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")) {
        let path = place.find('/').map_or("/", |at| &place[at..]);
        return Err(fault("a whole address").help(format!("write path = \"{path}\", with its backends in a pool")));
    }
    if !text.starts_with('/') || text.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'#') {
        return Err(fault("no beginning of a path, or a byte that none can have").help("write \"/verify\""));
    }
    Ok(text.into())
}
