//! `connections_per_client`: how many connections each client may have open at a listener.

use std::num::NonZeroU32;

use super::super::model::{Protocol, Site};
use super::super::problem::Problem;
use super::super::section::Section;
use super::{CONNECTIONS_MAX, nonzero};

const KEY: &str = "connections_per_client";

pub(super) fn connections(limits: &Section<'_>, protocol: Protocol, sites: &[Site]) -> Option<NonZeroU32> {
    let number = limits.integer(KEY, 1..=CONNECTIONS_MAX);
    let entry = limits.table.get(KEY)?;
    if protocol == Protocol::Udp {
        limits.cx.report(
            Problem::error("no-effect", entry.key_at, format!("`{KEY}` needs a listener of http or tcp"))
                .label("datagrams have no connections, and anybody can send them in another's name")
                .help("take it out; `flows` is the limit of a udp listener"),
        );
    } else if !sites.is_empty() && sites.iter().all(|site| site.ip().is_none()) {
        limits.cx.report(
            Problem::warning("no-effect", entry.key_at, format!("`{KEY}` has no effect on unix sockets alone"))
                .label("who comes by one has no address")
                .help("take it out; `connections` is the limit for all of them"),
        );
    }
    number.map(|number| nonzero(u32::try_from(number).unwrap_or(u32::MAX)))
}
