//! Rules for requests: the keys that a listener and each of its routes share.
//!
//! [`read`] is called for a listener first and then for each route, with what the listener says: a key of the route
//! replaces the same key of its listener.

mod destination;
mod fields;
mod location;
mod respond;

use std::sync::Arc;

use ipnet::IpNet;

use super::super::address;
use super::super::model::{Protocol, Rules};
use super::super::problem::Problem;
use super::super::section::Section;
pub(super) use destination::{DESTINATIONS, Destined, destination, refuse_circle};

/// The keys that [`read`] knows.
const KEYS: &[&str] = &["allow", "deny", "request_headers", "response_headers", "hsts"];

/// What a section says, upon what stands above it; `None`: nothing is done but passing on.
pub(super) fn read(section: &Section<'_>, above: Option<&Arc<Rules>>) -> Option<Arc<Rules>> {
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
    if section.has("request_headers") {
        rules.request = fields::edits(section, fields::Of::Request);
    }
    if section.has("response_headers") || section.has("hsts") {
        fields::response(section, &mut rules.response);
    }
    Some(Arc::new(rules))
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
