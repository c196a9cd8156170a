//! `pool`, `split`, `respond` and `redirect`: where a listener or a route sends requests. One of them, never two.

use std::sync::Arc;

use super::super::super::model::{Destination, Location, PoolIndex, Redirect, Share, Split, SplitBy};
use super::super::super::problem::{At, Problem};
use super::super::super::section::{Choice, Section};
use super::super::super::tree::{Entry, Value};
use super::super::super::units::Fault;
use super::super::super::vocabulary::REDIRECT;
use super::super::Pools;
use super::super::route::header_name;
use super::{location, respond};

/// The keys of which one says where requests go.
pub(in super::super) const DESTINATIONS: &[&str] = &["pool", "split", "respond", "redirect"];

/// A share beyond this is a slip of the pen.
const SHARE_MAX: i64 = 1_000_000;

/// What was read of them.
#[derive(Default)]
pub(in super::super) struct Destined {
    /// Where requests go; `None` where nothing is said, or nothing that works.
    pub(in super::super) destination: Option<Destination>,
    /// The pools that are named, those without a share, too, with the place of each name.
    pub(in super::super) uses: Vec<(PoolIndex, At)>,
}

/// Reads them.
pub(in super::super) fn destination(section: &Section<'_>, pools: &Pools<'_>) -> Destined {
    let said: Vec<&Entry> = DESTINATIONS.iter().filter_map(|key| section.table.get(key)).collect();
    // A pool is known as used even where it stands beside something else.
    let mut destined = Destined::default();
    let pool = pools.find(section, "pool");
    if let (Some(pool), Some(entry)) = (pool, section.entry("pool")) {
        destined.uses.push((pool, entry.node.at));
    }
    if let [first, second, ..] = said[..] {
        section.cx.report(
            Problem::error("conflict", first.key_at, format!("`{}` beside `{}`", first.key, second.key))
                .label("nothing would get there")
                .second(second.key_at, "all of it goes this way")
                .help("keep one of them"),
        );
        return destined;
    }
    split_by_alone(section);
    if section.has("split") {
        destined.destination = split(section, pools, &mut destined.uses);
    } else if section.has("respond") {
        destined.destination = respond::respond(section).map(Destination::Respond);
    } else if section.has("redirect") {
        destined.destination = redirect(section).map(|redirect| Destination::Redirect(Arc::new(redirect)));
    } else {
        destined.destination = pool.map(Destination::Pool);
    }
    destined
}

// === split ===

fn split(section: &Section<'_>, pools: &Pools<'_>, uses: &mut Vec<(PoolIndex, At)>) -> Option<Destination> {
    let node = &section.entry("split")?.node;
    let Value::Table(table) = &node.value else {
        section.wrong_type(node, "split", "a table of pools and shares", "write split = { blue = 90, green = 10 }");
        return None;
    };
    let (mut shares, mut sum, mut whole) = (Vec::new(), 0, true);
    for entry in &table.entries {
        let pool = pools.named(section, &entry.key, entry.key_at);
        let share = section.integer_of(&entry.node, &entry.key, &(0..=SHARE_MAX));
        uses.extend(pool.map(|pool| (pool, entry.key_at)));
        let (Some(pool), Some(share)) = (pool, share) else {
            whole = false;
            continue;
        };
        sum += u32::try_from(share).ok()?;
        if share > 0 {
            shares.push(Share { pool, up_to: sum });
        }
    }
    if whole && shares.is_empty() {
        section.cx.report(
            Problem::error("range", node.at, "`split` gives nobody a share")
                .label("requests would have nowhere to go")
                .help("give at least one pool a share above 0"),
        );
    }
    let by = if section.has("split_by") { section.parsed("split_by", split_by)? } else { SplitBy::Request };
    (whole && !shares.is_empty()).then(|| Destination::Split(Arc::new(Split { shares, by })))
}

const BY: Choice<&str> = Choice {
    words: &[("request", "request"), ("client", "client")],
    foreign: &[
        ("random", "request"),
        ("ip", "client"),
        ("source", "client"),
        ("cookie", "write \"cookie:NAME\""),
        ("header", "write \"header:NAME\""),
    ],
    later: &[],
};

fn split_by(text: &str) -> Result<SplitBy, Fault> {
    match text.split_once(':') {
        Some(("header", name)) => header_name(name).map(SplitBy::Header),
        Some(("cookie", name)) if !name.is_empty() => Ok(SplitBy::Cookie(name.into())),
        _ => match BY.find("split_by", text) {
            Ok("client") => Ok(SplitBy::Client),
            Ok(_) => Ok(SplitBy::Request),
            Err(fault) => Err(Fault { help: Some(by_help(fault.help)), ..fault }),
        },
    }
}

fn by_help(help: Option<String>) -> String {
    let all = "it takes \"request\", \"client\", \"cookie:NAME\" or \"header:NAME\"";
    help.filter(|help| help.starts_with("write")).unwrap_or_else(|| all.to_owned())
}

fn split_by_alone(section: &Section<'_>) {
    if let Some(entry) = section.table.get("split_by").filter(|_| !section.has("split")) {
        section.cx.report(
            Problem::error("no-effect", entry.key_at, "`split_by` without `split`")
                .label("there is nothing to choose between")
                .help("take it out, or write split = { blue = 90, green = 10 }"),
        );
    }
}

// === redirect ===

/// Codes that send a client elsewhere (RFC 9110, section 15.4).
const CODES: &[u16] = &[301, 302, 303, 307, 308];

/// `redirect = "https"`, `"https://other.example.com$target"`, or `{ to = …, status = … }`.
fn redirect(section: &Section<'_>) -> Option<Redirect> {
    let entry = section.entry("redirect")?;
    let inner = match entry.node.value {
        Value::Table(_) => Some(section.section("redirect", &REDIRECT)?),
        Value::Integer(_) => {
            let help = "write \"https\", or { to = \"https://other.example.com$target\", status = 301 }";
            section.wrong_type(&entry.node, "redirect", "a place", help);
            return None;
        }
        _ => None,
    };
    let to = match &inner {
        None => section.parsed("redirect", location::location)?,
        Some(inner) => {
            if !inner.has("to") {
                inner.missing("to", "write redirect = { to = \"https://other.example.com$target\" }");
            }
            inner.parsed("to", location::location)?
        }
    };
    // What is known to stay may be kept for good, and keeps method and body, unlike 301; a place of one's own choice may
    // change (RFC 9110, sections 15.4.8 and 15.4.9).
    let usual = if to == Location::Https { 308 } else { 307 };
    let status = match inner.as_ref().and_then(|inner| Some((inner, inner.entry("status")?))) {
        None => usual,
        Some((inner, entry)) => {
            let status = u16::try_from(inner.integer("status", 300..=399)?).unwrap_or(usual);
            if !CODES.contains(&status) {
                let problem = Problem::error("range", entry.node.at, format!("{status} sends nobody elsewhere"));
                inner.cx.report(problem.label("no redirect").help("it takes 301, 302, 303, 307 or 308"));
                return None;
            }
            status
        }
    };
    Some(Redirect { status, to })
}

/// Refuses `redirect = "https"` where everybody has come by https already: it would never end.
pub(in super::super) fn refuse_circle(
    destination: Option<&Destination>,
    at: At,
    tls: Option<At>,
    section: &Section<'_>,
) {
    let Some(tls) = tls else { return };
    if let Some(Destination::Redirect(redirect)) = destination
        && redirect.to == Location::Https
    {
        section.cx.report(
            Problem::error("conflict", tls, "`tls` beside redirect = \"https\"")
                .label("whoever gets here has come by https")
                .second(at, "and is sent to the same place again")
                .help("write the redirect in a listener of its own, on the port for plain HTTP"),
        );
    }
}
