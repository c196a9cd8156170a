//! What a listener says of UDP: `[listener.NAME.udp]`, `flows`, `flow_idle`; and what says nothing there, or elsewhere.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::time::Duration;

use super::super::Cx;
use super::super::model::{Address, Check, CheckKind, Pool, PoolIndex, Protocol, Site};
use super::super::problem::{At, Problem};
use super::super::section::Section;
use super::super::tree::Table;
use super::super::vocabulary::{LISTENER_UDP, ROUTE};
use super::check;
use super::listener::ListenerRead;
use super::nonzero;
use super::pool::PoolRead;

/// Flows at once where nothing is said: each holds a descriptor.
const FLOWS: u32 = 10_000;
/// Silence that ends a flow where nothing is said.
const FLOW_IDLE: Duration = Duration::from_secs(30);
/// More descriptors than any machine gives.
const FLOWS_MAX: i64 = 10_000_000;
/// More answers for one datagram are no protocol.
const RESPONSES_MAX: i64 = 1_000_000;

/// `udp.responses`; reports what a UDP listener cannot have, and what others cannot.
pub(super) fn responses(section: &Section<'_>, protocol: Protocol) -> Option<NonZeroU32> {
    if protocol == Protocol::Udp {
        for entry in ["tls", "accept_proxy"].iter().filter_map(|key| section.table.get(key)) {
            let passed = "what is encrypted inside (DTLS, QUIC) is passed on as it is";
            let (label, help) = match entry.key.as_str() {
                "tls" => ("datagrams are passed on as they come", format!("take it out; {passed}")),
                _ => ("the header of the PROXY protocol begins a connection", "take it out".to_owned()),
            };
            let message = format!("`{}` on a udp listener", entry.key);
            section.cx.report(Problem::error("conflict", entry.key_at, message).label(label).help(help));
        }
    } else {
        only_for_udp(section, &["udp"]);
    }
    let udp = section.section("udp", &LISTENER_UDP)?;
    let number = udp.integer("responses", 1..=RESPONSES_MAX)?;
    Some(nonzero(u32::try_from(number).unwrap_or(u32::MAX)))
}

/// Refuses binds that take no datagrams.
pub(super) fn refuse_unix(section: &Section<'_>, protocol: Protocol, binds: &[(Site, At)]) {
    if protocol != Protocol::Udp {
        return;
    }
    for (_, at) in binds.iter().filter(|(site, _)| site.ip().is_none()) {
        let problem = Problem::error("conflict", *at, "a udp listener on a unix socket").label("takes connections");
        section.cx.report(problem.help("bind an IP address and a port, such as \"0.0.0.0:53\""));
    }
}

/// `limits.flows`.
pub(super) fn flows(limits: Option<&Section<'_>>, protocol: Protocol) -> NonZeroU32 {
    let Some(limits) = limits else { return nonzero(FLOWS) };
    if protocol == Protocol::Udp {
        if let Some(entry) = limits.table.get("connections") {
            let message = "`connections` has no effect on a udp listener";
            let problem = Problem::warning("no-effect", entry.key_at, message).label("there are none");
            limits.cx.report(problem.help(format!("write flows = {FLOWS}: clients that are served at once")));
        }
    } else {
        only_for_udp(limits, &["flows"]);
    }
    nonzero(limits.integer("flows", 1..=FLOWS_MAX).map_or(FLOWS, |most| u32::try_from(most).unwrap_or(u32::MAX)))
}

/// `timeouts.flow_idle`.
pub(super) fn flow_idle(timeouts: Option<&Section<'_>>, protocol: Protocol) -> Duration {
    let Some(timeouts) = timeouts else { return FLOW_IDLE };
    if protocol == Protocol::Udp {
        for entry in ["client_idle", "tunnel_idle"].iter().filter_map(|key| timeouts.table.get(key)) {
            let message = format!("`{}` has no effect on a udp listener", entry.key);
            let problem = Problem::warning("no-effect", entry.key_at, message).label("is about connections");
            timeouts.cx.report(problem.help("write flow_idle = \"30s\": the silence that ends a flow"));
        }
    } else {
        only_for_udp(timeouts, &["flow_idle"]);
    }
    timeouts.positive_duration("flow_idle").unwrap_or(FLOW_IDLE)
}

fn only_for_udp(section: &Section<'_>, keys: &[&str]) {
    for entry in keys.iter().filter_map(|key| section.table.get(key)) {
        section.cx.report(
            Problem::warning("no-effect", entry.key_at, format!("`{}` has an effect on udp listeners only", entry.key))
                .label("about datagrams")
                .help("take it out, or write protocol = \"udp\""),
        );
    }
}

/// Refuses what a route cannot ask of a datagram.
pub(super) fn route(cx: &Cx<'_>, table: &Table) {
    let has_it = |key: &str| ["client", "pool", "reads"].contains(&key);
    for entry in table.entries.iter().filter(|entry| ROUTE.keys.contains(&entry.key.as_str()) && !has_it(&entry.key)) {
        cx.report(
            Problem::error("needs-http", entry.key_at, format!("`{}` in a route of a udp listener", entry.key))
                .label("is about requests")
                .help("routes of a udp listener go by `client`: client = \"10.0.0.0/8\""),
        );
    }
}

/// Where checks of a pool stand that ask for the backend's own port by TCP.
pub(super) fn knocks(pool: &Section<'_>, checks: &[Check]) -> Vec<At> {
    let own_port = checks.iter().filter(|check| check.kind == CheckKind::Tcp && check.port.is_none());
    own_port.filter_map(|check| check::place(pool, &check.name)).collect()
}

/// Pools of UDP listeners: TLS towards their backends is not possible, and a TCP port says nothing of a UDP one.
pub(super) fn pools(cx: &Cx<'_>, listeners: &[ListenerRead], pools: &[PoolRead]) {
    let by = |udp: bool| {
        let listeners = listeners.iter().filter(move |read| (read.protocol == Protocol::Udp) == udp);
        listeners.flat_map(|read| read.uses.iter().map(move |(pool, at)| (*pool, *at, read.name.as_str())))
    };
    let elsewhere: HashSet<PoolIndex> = by(false).map(|(pool, ..)| pool).collect();
    let mut seen = HashSet::new();
    for (index, at, listener) in by(true).filter(|(pool, ..)| seen.insert(*pool)) {
        let Some(read) = pools.get(index.0 as usize) else { continue };
        let here = format!("used here by [listener.{listener}], which speaks udp");
        let has_unix = |pool: &Pool| pool.members.iter().any(|member| matches!(member.address, Address::Unix(_)));
        if let Some(told) = read.send_proxy_at {
            cx.report(
                Problem::error("conflict", told, "this pool tells its backends who the client of a connection is")
                    .label("datagrams have no connection to begin")
                    .second(at, here.clone())
                    .help("take it out, or give the udp listener a pool of its own"),
            );
        }
        if read.pool.as_ref().is_some_and(has_unix) {
            let problem = Problem::error("conflict", at, "a backend of this pool answers on a unix socket");
            let help = "give the listener a pool whose backends have an address and a port";
            cx.report(problem.label("takes no datagrams of ours").help(help));
        }
        if let Some(tls) = read.tls_at {
            cx.report(
                Problem::error("conflict", tls, "this pool speaks TLS with its backends")
                    .label("datagrams go as they come")
                    .second(at, here.clone())
                    .help("take it out, or give the udp listener a pool of its own"),
            );
        }
        for knock in read.knocks.iter().filter(|_| !elsewhere.contains(&index)) {
            cx.report(
                Problem::warning("wrong-port", *knock, "this check connects by TCP to a port for UDP")
                    .label("bad unless the backend listens there by TCP, too")
                    .second(at, here.clone())
                    .help("give it the port of something that says how the backend is: port = 8080; or ask by type = \"script\" and transport = \"udp\", or \"exec\""),
            );
        }
    }
}
