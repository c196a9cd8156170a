//! `rate = { … }`: how often somebody may ask.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::super::super::model::{Per, Rate};
use super::super::super::section::Section;
use super::super::super::units::Fault;
use super::super::super::vocabulary::RATE;
use super::super::route::header_name;

/// Beyond this nothing is limited.
const REQUESTS_MAX: i64 = 1_000_000;

/// The rate; `None` where it is switched off.
pub(super) fn rate(section: &Section<'_>) -> Option<Arc<Rate>> {
    if section.is_off("rate") {
        return None;
    }
    of(&section.section("rate", &RATE)?)
}

/// What a table says of it.
pub(in super::super) fn of(inner: &Section<'_>) -> Option<Arc<Rate>> {
    if !inner.has("requests") {
        inner.missing("requests", "write rate = { requests = 100, every = \"1s\" }");
    }
    // All of them are read before the first that is wrong ends it: each problem is to be said.
    let per = if inner.has("per") { inner.parsed("per", per) } else { Some(Per::Client) };
    let requests = number(inner, "requests");
    let burst = if inner.has("burst") { number(inner, "burst") } else { requests };
    let every = inner.positive_duration("every").unwrap_or(Duration::from_secs(1));
    let (per, requests, burst) = (per?, requests?, burst?);
    Some(Arc::new(Rate { per, requests, every, burst }))
}

fn number(inner: &Section<'_>, key: &str) -> Option<NonZeroU32> {
    let number = inner.integer(key, 1..=REQUESTS_MAX)?;
    u32::try_from(number).ok().and_then(NonZeroU32::new)
}

fn per(text: &str) -> Result<Per, Fault> {
    let fault = |label: &str| Fault::new("unknown-word", format!("`per` knows no `{text}`"), label);
    let words = "it takes \"client\", \"all\", \"header:NAME\" or \"cookie:NAME\"";
    match text {
        "client" => Ok(Per::Client),
        "all" => Ok(Per::All),
        "ip" | "source" | "src" | "remote_addr" | "client_ip" => {
            Err(fault("another program's word").help("write \"client\""))
        }
        "listener" | "route" | "global" | "server" => {
            Err(fault("all requests that come here count together").help("write \"all\""))
        }
        _ => match text.split_once(':') {
            Some(("header", name)) => Ok(Per::Header(header_name(name)?)),
            Some(("cookie", name)) if !name.is_empty() => Ok(Per::Cookie(name.into())),
            _ => Err(fault("not one of its words").help(words)),
        },
    }
}
