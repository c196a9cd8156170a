//! `sticky` of a pool: how clients stay with the backend that they have.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::config::lower::route::header_name;
use crate::config::model::{HttpOnly, Learned, LearnedBy, Secure, Sticky, StickyCookie, StickyScope, StickySecret};
use crate::config::problem::{At, Problem};
use crate::config::section::{Choice, Section};
use crate::config::tree::Value;
use crate::config::units::Fault;
use crate::config::vocabulary::STICKY;

/// Fewer characters can be tried one after the other.
const SECRET_LEAST: usize = 16;
/// What a client is forgotten after, where nothing is said.
const EXPIRE: Duration = Duration::from_secs(30 * 60);
/// Clients that are remembered, where nothing is said: some 10 MB.
const ENTRIES: u32 = 100_000;

const SAME_SITE: Choice<Option<&'static str>> = Choice {
    words: &[("lax", Some("Lax")), ("strict", Some("Strict")), ("none", Some("None")), ("off", None)],
    foreign: &[],
    later: &[],
};

const SCOPE: Choice<StickyScope> = Choice {
    words: &[("pool", StickyScope::Pool), ("zone", StickyScope::Zone)],
    foreign: &[("backend", "pool"), ("server", "pool"), ("datacenter", "zone"), ("dc", "zone"), ("region", "zone")],
    later: &[],
};

const BY: Choice<()> = Choice {
    words: &[("source", ())],
    foreign: &[
        ("ip", "source"),
        ("src", "source"),
        ("client_ip", "source"),
        ("address", "source"),
        ("cookie", "write sticky = { cookie = \"NAME\", secret = \"...\" }"),
        ("header", "write sticky = { header = \"NAME\" }"),
    ],
    later: &[],
};

/// What a client is known by, of which there is one.
const MEANS: &[&str] = &["cookie", "application_cookie", "by", "header"];
/// What means something with a cookie of our own only, and with what is remembered.
const OF_COOKIE: &[&str] = &["secret", "path", "domain", "secure", "http_only", "same_site", "max_age", "scope"];
const OF_LEARNED: &[&str] = &["expire", "entries"];

/// What was read of `sticky`.
#[derive(Default)]
pub(super) struct StickyRead {
    pub(super) sticky: Option<Sticky>,
    /// Its place, where it looks into requests.
    pub(super) by_request: Option<At>,
}

pub(super) fn sticky(pool: &Section<'_>) -> StickyRead {
    let Some(entry) = pool.entry("sticky") else { return StickyRead::default() };
    match entry.node.value {
        Value::Boolean(false) => return StickyRead::default(),
        Value::Table(_) => {}
        _ => {
            let help = "write sticky = { cookie = \"NAME\", secret = \"${file:PATH}\" }, or { by = \"source\" }";
            pool.wrong_type(&entry.node, "sticky", "a table or false", help);
            return StickyRead::default();
        }
    }
    let Some(section) = pool.section("sticky", &STICKY) else { return StickyRead::default() };
    let given: Vec<_> = MEANS.iter().filter_map(|key| section.table.get(key)).collect();
    match given[..] {
        [] => section.missing("cookie", "write sticky = { cookie = \"NAME\", secret = \"${file:PATH}\" }"),
        [_] => {}
        [first, second, ..] => section.cx.report(
            Problem::error("conflict", second.key_at, format!("`{}` and `{}` at once", first.key, second.key))
                .label("a client is known by one of them")
                .second(first.key_at, "given here")
                .help("take one of the two out"),
        ),
    }
    let sticky = if section.has("cookie") {
        no_effect(&section, OF_LEARNED, "cookie");
        cookie(pool, &section).map(|cookie| Sticky::Cookie(Box::new(cookie)))
    } else {
        if let [known] = given[..] {
            no_effect(&section, OF_COOKIE, &known.key);
        }
        learned(&section).map(Sticky::Learned)
    };
    let by_source = section.has("by") && given.len() == 1;
    StickyRead { sticky, by_request: (!by_source).then_some(entry.key_at) }
}

fn no_effect(section: &Section<'_>, keys: &[&str], known: &str) {
    for entry in keys.iter().filter_map(|key| section.table.get(key)) {
        let only = if known == "cookie" { "what is remembered" } else { "a cookie of the balancer's own" };
        section.cx.report(
            Problem::error("no-effect", entry.key_at, format!("`{}` has no effect beside `{known}`", entry.key))
                .label(format!("says something of {only}"))
                .help("take it out"),
        );
    }
}

fn cookie(pool: &Section<'_>, section: &Section<'_>) -> Option<StickyCookie> {
    let name = section.parsed("cookie", cookie_name);
    let same_site = section.choice("same_site", &SAME_SITE).unwrap_or(Some("Lax"));
    let secure = match section.boolean("secure") {
        None => Secure::AsClient,
        Some(true) => Secure::Always,
        Some(false) => Secure::Never,
    };
    if same_site == Some("None") && secure != Secure::Always {
        let at = section.entry("same_site").map_or(section.at, |entry| entry.node.at);
        section.cx.report(
            Problem::error("conflict", at, "same_site = \"none\" needs secure = true")
                .label("browsers refuse such a cookie without `Secure`")
                .help("add secure = true, or take same_site out"),
        );
    }
    let scope = section.choice("scope", &SCOPE).unwrap_or(StickyScope::Pool);
    if scope == StickyScope::Zone {
        zones(pool, section);
    }
    let whole_seconds = |time: Duration| Duration::from_secs(time.as_secs().max(1));
    Some(StickyCookie {
        secret: secret(section),
        path: section.parsed("path", path).unwrap_or_else(|| "/".into()),
        domain: section.parsed("domain", domain),
        secure,
        http_only: if section.boolean("http_only") == Some(false) { HttpOnly::No } else { HttpOnly::Yes },
        same_site,
        max_age: section.positive_duration("max_age").map(whole_seconds),
        scope,
        name: name?,
    })
}

/// A cookie for a zone needs backends in zones.
fn zones(pool: &Section<'_>, section: &Section<'_>) {
    let is_in_zone = |value: &Value| matches!(value, Value::Table(member) if member.get("zone").is_some());
    let Some(backends) = pool.entry("backends") else { return };
    let any = match &backends.node.value {
        Value::List(list) => list.iter().any(|node| is_in_zone(&node.value)),
        value => is_in_zone(value),
    };
    if let Some(entry) = section.entry("scope").filter(|_| !any) {
        section.cx.report(
            Problem::error("no-zones", entry.node.at, "scope = \"zone\" in a pool without zones")
                .label("there is no zone to stay in")
                .second(backends.key_at, "none of these has a `zone`")
                .help("give each backend its zone, { address = \"HOST:PORT\", zone = \"dc-a\" }, or take `scope` out"),
        );
    }
}

fn secret(section: &Section<'_>) -> StickySecret {
    let Some(entry) = section.table.get("secret") else {
        section.cx.report(
            Problem::warning("no-secret", section.at, "a cookie without `secret` holds until the program starts anew")
                .label("made with a secret that each start makes for itself")
                .help(
                    "after a restart, or behind another balancer, clients go to any backend; write a secret that all \
                     have: secret = \"${file:/etc/evenkeel/sticky.key}\" with the output of openssl rand -hex 32",
                ),
        );
        return StickySecret::Random;
    };
    let given = section.text("secret").map(str::trim).unwrap_or_default();
    if given.is_empty() && section.text("secret").is_some() {
        let fault = Fault::new("secret", "`secret` is empty", "nothing to make cookies with");
        section.fault(&entry.node, fault.help("write the output of openssl rand -hex 32 into it"));
    } else if !given.is_empty() && given.len() < SECRET_LEAST {
        section.cx.report(
            Problem::warning("secret", entry.node.at, format!("`secret` has less than {SECRET_LEAST} characters"))
                .label("whoever tries them all can choose a backend")
                .help("write the output of openssl rand -hex 32 into it"),
        );
    }
    StickySecret::Given(given.into())
}

fn learned(section: &Section<'_>) -> Option<Learned> {
    let cookie = section.parsed("application_cookie", cookie_name).map(LearnedBy::ApplicationCookie);
    let source = section.choice("by", &BY).map(|()| LearnedBy::Source);
    let header = section.parsed("header", header_name).map(LearnedBy::Header);
    let entries = section.integer("entries", 1000..=10_000_000).and_then(|most| u32::try_from(most).ok());
    Some(Learned {
        expire: section.positive_duration("expire").unwrap_or(EXPIRE),
        entries: NonZeroU32::new(entries.unwrap_or(ENTRIES)).unwrap_or(NonZeroU32::MIN),
        by: cookie.or(source).or(header)?,
    })
}

fn cookie_name(text: &str) -> Result<Arc<str>, Fault> {
    // The same characters; case counts.
    header_name(text).map(|_| text.into()).map_err(|_not_a_token| {
        let fault = Fault::new("cookie", format!("`{text}` cannot be the name of a cookie"), "not a name");
        fault.help("letters, digits, `-` and `_`, such as \"portal_node\"")
    })
}

/// What may stand in an attribute of a cookie (RFC 6265, section 4.1.1).
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';' && byte != b',')
}

fn path(text: &str) -> Result<Arc<str>, Fault> {
    if text.starts_with('/') && is_plain(text) {
        return Ok(text.into());
    }
    let fault = Fault::new("path", format!("`{text}` cannot be the path of a cookie"), "begins with `/`, without `;`");
    Err(fault.help("write \"/\", or the path below which the cookie is sent"))
}

fn domain(text: &str) -> Result<Arc<str>, Fault> {
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    if !text.is_empty() && text.bytes().all(is_host) {
        return Ok(text.into());
    }
    let fault = Fault::new("domain", format!("`{text}` cannot be the domain of a cookie"), "not a host name");
    Err(fault.help("write a host name, such as \"example.com\": its subdomains get the cookie, too"))
}
