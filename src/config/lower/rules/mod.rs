//! Rules for requests: the keys that a listener and each of its routes share.
//!
//! [`read`] is called for a listener first and then for each route, with what the listener says: a key of the route
//! replaces the same key of its listener.

mod basic_auth;
mod compress;
mod cors;
mod destination;
mod errors;
mod fields;
mod forward_auth;
mod location;
mod mirror;
pub(super) mod rate;
mod respond;
mod rewrite;

use std::sync::Arc;

use ipnet::IpNet;

use super::super::address;
use super::super::model::{PoolIndex, Protocol, Rules};
use super::super::problem::{At, Problem};
use super::super::section::Section;
use super::Pools;
pub(super) use destination::{DESTINATIONS, Destined, destination, refuse_circle};

/// The keys that [`read`] knows.
const KEYS: &[&str] = &[
    "allow",
    "deny",
    "cors",
    "rate",
    "basic_auth",
    "forward_auth",
    "compress",
    "rewrite",
    "request_headers",
    "response_headers",
    "hsts",
    "errors",
    "errors_of",
    "mirror",
];

/// What a section says, upon what stands above it; `None`: nothing is done but passing on.
pub(super) fn read(section: &Section<'_>, above: Option<&Arc<Rules>>, pools: &Pools<'_>) -> Option<Arc<Rules>> {
    if !KEYS.iter().any(|key| section.has(key)) {
        return above.cloned();
    }
    let mut rules = above.map(|rules| Rules::clone(rules)).unwrap_or_default();
    if section.has("allow") {
        rules.access.allow = networks(section, "allow");
    }
    if section.has("deny") {
        rules.access.deny = networks(section, "deny");
    }
    if section.has("cors") {
        rules.cors = cors::cors(section);
    }
    if section.has("rate") {
        rules.rate = rate::rate(section);
    }
    if section.has("basic_auth") {
        rules.basic_auth = basic_auth::basic_auth(section);
    }
    if section.has("forward_auth") {
        rules.forward_auth = forward_auth::forward_auth(section, pools);
    }
    if section.has("compress") {
        rules.compress = compress::compress(section);
    }
    if section.has("rewrite") {
        rules.rewrite = rewrite::rewrite(section);
    }
    if section.has("mirror") {
        rules.mirror = mirror::mirror(section, pools);
    }
    if section.has("errors") || section.has("errors_of") {
        rules.errors = errors::errors(section, rules.errors.as_ref());
    }
    if section.has("request_headers") {
        rules.request = fields::edits(section, fields::Of::Request);
    }
    if section.has("response_headers") || section.has("hsts") {
        fields::response(section, &mut rules.response);
    }
    Some(Arc::new(rules))
}

/// The pools that rules lead to, with the place that names them.
pub(super) fn uses(section: &Section<'_>, rules: Option<&Arc<Rules>>) -> impl Iterator<Item = (PoolIndex, At)> {
    let asked = rules.and_then(|rules| rules.forward_auth.as_ref()).map(|rule| ("forward_auth", rule.pool));
    let copied = rules.and_then(|rules| rules.mirror.as_ref()).map(|rule| ("mirror", rule.pool));
    asked.into_iter().chain(copied).filter_map(|(key, pool)| Some((pool, section.table.get(key)?.node.at)))
}

fn networks(section: &Section<'_>, key: &str) -> Vec<IpNet> {
    let read = section.parsed_list(key, address::network).unwrap_or_default();
    read.into_iter().map(|(network, _)| network).collect()
}

/// Refuses rules on a listener that does not look at requests.
pub(super) fn refuse_elsewhere(section: &Section<'_>, protocol: Protocol) {
    if protocol == Protocol::Http {
        return;
    }
    for entry in
        KEYS.iter().chain(&["split", "split_by", "respond", "redirect"]).filter_map(|key| section.table.get(key))
    {
        section.cx.report(
            Problem::error("no-effect", entry.key_at, format!("`{}` needs a listener of HTTP", entry.key))
                .label("a rule for requests, which this listener does not see")
                .help("take it out, or write protocol = \"http\""),
        );
    }
}
