//! `[listener.NAME]`: where it accepts, what it speaks, where its work goes.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::super::Cx;
use super::super::address;
use super::super::model::{
    Destination, Listener, ListenerLimits, ListenerTimeouts, PoolIndex, Protocol, Reads, Site, UnknownHost,
};
use super::super::problem::{At, Problem};
use super::super::section::{Choice, Section};
use super::super::tree::{Entry, Table, Value};
use super::super::vocabulary::{LISTENER, LISTENER_LIMITS, LISTENER_TIMEOUTS};
use super::certificates;
use super::crowd as clients;
use super::http;
use super::log;
use super::route::{self, Above, READS, RouteRead};
use super::rules::{self, DESTINATIONS, Destined};
use super::{Pools, connections, paths, sockets, udp};

/// A request head beyond this is an attack, and the parser's offsets are 32 bits.
const HEAD_BYTES_MAX: u64 = 1 << 20;

/// The head parser has room for so many fields.
const HEADERS_MAX: i64 = 256;

/// Who may connect to a socket that is a file where nothing is said: its owner, and its group.
const SOCKET_MODE: u32 = 0o660;

/// Each stream of a connection may cost as much as a connection does.
const STREAMS_MAX: i64 = 10_000;

/// What was read of a listener, with the places that matter to others.
pub(super) struct ListenerRead {
    pub(super) name: String,
    pub(super) protocol: Protocol,
    pub(super) binds: Vec<(Site, At)>,
    /// Pools that it or its routes name, with the place of the name.
    pub(super) uses: Vec<(PoolIndex, At)>,
    /// Pools whose standbys are asked for, with the place of `reads`.
    pub(super) reads: Vec<(PoolIndex, At)>,
    pub(super) listener: Option<Listener>,
    /// Where it stands, and then each of its routes.
    pub(super) deciders: Arc<[At]>,
}

const PROTOCOL: Choice<Protocol> = Choice {
    words: &[("http", Protocol::Http), ("tcp", Protocol::Tcp), ("udp", Protocol::Udp)],
    foreign: &[
        ("https", "write \"http\", with the certificates in [listener.NAME.tls]"),
        ("tls", "write \"tcp\": with [listener.NAME.tls] to end TLS here, without to pass it through"),
        ("ssl", "write \"tcp\": with [listener.NAME.tls] to end TLS here, without to pass it through"),
        ("http2", "write \"http\", with http = \"2\" or http = [\"1.1\", \"2\"]"),
        ("h2", "write \"http\", with http = \"2\" or http = [\"1.1\", \"2\"]"),
        ("h2c", "write \"http\", with http = \"2\" or http = [\"1.1\", \"2\"]"),
        ("grpc", "write \"http\", with http = \"2\", and http = \"2\" in [pool.NAME]"),
        ("http1", "http"),
        ("http/1.1", "http"),
        ("h1", "http"),
        ("ws", "http"),
        ("websocket", "http"),
        ("mysql", "tcp"),
        ("stream", "tcp"),
        ("layer4", "tcp"),
        ("l4", "tcp"),
        ("l7", "http"),
        ("dns", "udp"),
        ("syslog", "udp"),
        ("datagram", "udp"),
        ("dtls", "write \"udp\": what is encrypted inside is passed on as it is"),
    ],
    later: &["http3", "quic"],
};

pub(super) fn listener<'a>(
    cx: &'a Cx<'a>,
    entry: &'a Entry,
    table: &'a Table,
    pools: &Pools<'_>,
    process: NonZeroU32,
    log: &log::Access,
) -> ListenerRead {
    let section = Section::new(cx, table, entry.key_at, format!("listener.{}", entry.key), &LISTENER);
    let protocol = section.choice("protocol", &PROTOCOL).unwrap_or(Protocol::Http);
    let binds = binds(&section);
    let reads = reads(&section);
    rules::refuse_elsewhere(&section, protocol);
    let rules = rules::read(&section, None, pools);
    let Destined { destination, mut uses } = rules::destination(&section, pools);
    let tls_at = section.table.get("tls").map(|entry| entry.key_at);
    let redirect_at = section.table.get("redirect").map_or(entry.key_at, |entry| entry.key_at);
    rules::refuse_circle(destination.as_ref(), redirect_at, tls_at, &section);
    let routes = routes(&section, &Above { pools, rules: rules.as_ref(), tls: tls_at, protocol });
    let tls = certificates::listener_tls(&section, protocol);
    let http = http::spoken(&section, protocol);
    let unknown_host = unknown_host(&section, protocol);
    let trusted_proxies = trusted_proxies(&section, protocol);
    let accept_proxy = accept_proxy(&section, &trusted_proxies);
    let (normalize, underscores) = paths::policies(&section, protocol);
    let is_destined = DESTINATIONS.iter().any(|key| section.has(key));
    let idle = is_idle(&section, is_destined);
    let of_routes = routes.iter().flat_map(|read| read.uses.iter().copied());
    uses.extend(rules::uses(&section, rules.as_ref()).chain(of_routes));
    let from_standbys = from_standbys(&section, destination.as_ref().filter(|_| reads == Reads::Standby), &routes);
    route::report_shadowed(cx, &routes);
    let found = destination.is_some() || !is_destined;
    let complete = !idle && !binds.is_empty() && found && tls.is_some();
    let sites: Vec<Site> = binds.iter().map(|(site, _)| site.clone()).collect();
    let limits = limits(&section, protocol, process, &sites);
    let timeouts = timeouts(&section, protocol);
    let socket_mode = super::socket_mode(&section, &sites, SOCKET_MODE);
    let tcp = sockets::listener(&section, protocol, &sites);
    let responses = udp::responses(&section, protocol);
    udp::refuse_unix(&section, protocol, &binds);
    let log = log::of_listener(&section, protocol, log);
    let read: Option<Vec<_>> = routes.iter().map(|read| read.route.clone()).collect();
    let listener = read.filter(|_| complete).map(|routes| Listener {
        name: entry.key.as_str().into(),
        binds: sites,
        socket_mode,
        protocol,
        tcp,
        http,
        tls: tls.flatten(),
        unknown_host,
        trusted_proxies,
        accept_proxy,
        normalize: normalize.unwrap_or_else(|| paths::usual(rules.as_deref(), &routes)),
        underscores,
        destination,
        reads,
        rules,
        routes,
        limits,
        timeouts,
        responses,
        log,
    });
    paths::refuse_unreachable(&section, listener.as_ref(), &routes);
    let deciders = std::iter::once(entry.key_at).chain(routes.iter().map(|read| read.at)).collect();
    ListenerRead { name: entry.key.clone(), protocol, binds, uses, reads: from_standbys, listener, deciders }
}

/// Whether it leads nowhere, which is a problem.
fn is_idle(section: &Section<'_>, is_destined: bool) -> bool {
    let idle = !is_destined && !section.has("route");
    if idle {
        section.missing("pool", "write pool = \"NAME\", or routes in [[listener.NAME.route]]");
    }
    idle
}

/// The pools whose standbys are asked for, its own and those of its routes.
fn from_standbys(section: &Section<'_>, own: Option<&Destination>, routes: &[RouteRead]) -> Vec<(PoolIndex, At)> {
    let at = section.entry("reads").map(|entry| entry.node.at);
    let own = own.into_iter().flat_map(Destination::pools).filter_map(|pool| Some((pool, at?)));
    let of_routes = routes.iter().filter_map(|read| {
        let route = read.route.as_ref().filter(|route| route.reads == Reads::Standby)?;
        Some(route.destination.pools().map(|pool| (pool, read.reads_at)).collect::<Vec<_>>())
    });
    let of_routes = of_routes.flatten().filter_map(|(pool, at)| Some((pool, at?)));
    own.chain(of_routes).collect()
}

const UNKNOWN_HOST: Choice<UnknownHost> = Choice {
    words: &[("serve", UnknownHost::Serve), ("refuse", UnknownHost::Refuse)],
    foreign: &[("reject", "refuse"), ("421", "refuse"), ("default", "serve"), ("pool", "serve")],
    later: &["close"],
};

fn unknown_host(section: &Section<'_>, protocol: Protocol) -> UnknownHost {
    no_effect(section, protocol, &["unknown_host"]);
    section.choice("unknown_host", &UNKNOWN_HOST).unwrap_or(UnknownHost::Serve)
}

/// Which backends of the listener's own pool get its work; routes say so for theirs.
fn reads(section: &Section<'_>) -> Reads {
    if let Some(entry) =
        section.table.get("reads").filter(|_| !section.has("pool") && !section.has("split") && section.has("route"))
    {
        section.cx.report(
            Problem::warning(
                "no-effect",
                entry.key_at,
                "`reads` has no effect on a listener without a pool of its own",
            )
            .label("says so for `pool` only")
            .help("write it in each [[listener.NAME.route]] that shall read from standbys"),
        );
    }
    section.choice("reads", &READS).unwrap_or_default()
}

fn trusted_proxies(section: &Section<'_>, protocol: Protocol) -> Vec<IpNet> {
    if !section.has("accept_proxy") {
        no_effect(section, protocol, &["trusted_proxies"]);
    }
    let read = section.parsed_list("trusted_proxies", address::network).unwrap_or_default();
    read.into_iter().map(|(network, _)| network).collect()
}

/// `true`: from the proxies that are trusted; or the networks themselves.
fn accept_proxy(section: &Section<'_>, trusted: &[IpNet]) -> Vec<IpNet> {
    let Some(entry) = section.entry("accept_proxy") else { return Vec::new() };
    match entry.node.value {
        Value::Boolean(false) => Vec::new(),
        Value::Boolean(true) => {
            if trusted.is_empty() {
                section.cx.report(
                    Problem::error("missing", entry.node.at, "accept_proxy = true says not from whom")
                        .label("anybody could say to be anybody")
                        .help("write trusted_proxies = [\"10.0.0.0/24\"], or accept_proxy = [\"10.0.0.0/24\"]"),
                );
            }
            trusted.to_vec()
        }
        _ => {
            let read = section.parsed_list("accept_proxy", address::network).unwrap_or_default();
            read.into_iter().map(|(network, _)| network).collect()
        }
    }
}

fn binds(section: &Section<'_>) -> Vec<(Site, At)> {
    if !section.has("bind") {
        section.missing("bind", "write bind = \"0.0.0.0:8080\", or the address and port that clients use");
    }
    section.parsed_list("bind", address::bind).unwrap_or_default()
}

fn routes(section: &Section<'_>, above: &Above<'_>) -> Vec<RouteRead> {
    let Some(entry) = section.entry("route") else { return Vec::new() };
    let path = section.path_of("route");
    let Value::List(list) = &entry.node.value else {
        let help = format!("write [[{path}]], with double brackets, for each route");
        section.wrong_type(&entry.node, "route", "a list of sections", &help);
        return Vec::new();
    };
    let tables = list.iter().filter_map(|node| {
        if let Value::Table(table) = &node.value {
            return Some((node, table));
        }
        section.wrong_type(node, "route", "a section", &format!("write [[{path}]]"));
        None
    });
    let read = |(node, table)| {
        if above.protocol == Protocol::Udp {
            udp::route(section.cx, table);
        }
        route::route(section.cx, node, table, &path, above)
    };
    tables.map(read).collect()
}

fn limits(section: &Section<'_>, protocol: Protocol, process: NonZeroU32, sites: &[Site]) -> ListenerLimits {
    let limits = section.section("limits", &LISTENER_LIMITS);
    let limits = limits.as_ref();
    if let Some(limits) = limits {
        no_effect(limits, protocol, &["head", "target", "headers", "body", "streams"]);
    }
    let bytes = |key: &str, usual: u64| {
        let size = limits.and_then(|limits| limits.size(key, 256..=HEAD_BYTES_MAX)).unwrap_or(usual);
        u32::try_from(size).unwrap_or(u32::MAX)
    };
    let (head_bytes, target_bytes) = (bytes("head", 64 << 10), bytes("target", 16 << 10));
    if let Some(limits) = limits.filter(|limits| target_bytes > head_bytes && limits.has("target")) {
        let at = limits.entry("target").map_or(limits.at, |entry| entry.node.at);
        limits.cx.report(
            Problem::error("range", at, "`target` is longer than the whole `head`")
                .label(format!("the head is {head_bytes} bytes"))
                .help("make it smaller than `head`"),
        );
    }
    let integer = |key: &str, range| limits.and_then(|limits| limits.integer(key, range));
    let headers = integer("headers", 1..=HEADERS_MAX).unwrap_or(100);
    let streams = integer("streams", 1..=STREAMS_MAX).unwrap_or(128);
    ListenerLimits {
        connections: connections(limits, process),
        connections_per_client: limits.and_then(|limits| clients::connections(limits, protocol, sites)),
        head_bytes,
        target_bytes: target_bytes.min(head_bytes),
        headers: u16::try_from(headers).unwrap_or(u16::MAX),
        body_bytes: limits.and_then(body),
        streams: u32::try_from(streams).unwrap_or(u32::MAX),
        flows: udp::flows(limits, protocol),
    }
}

fn body(limits: &Section<'_>) -> Option<u64> {
    let entry = limits.entry("body")?;
    if matches!(&entry.node.value, Value::String(text) if text.value == "unlimited") {
        return None;
    }
    limits.size("body", 0..=u64::MAX)
}

fn timeouts(section: &Section<'_>, protocol: Protocol) -> ListenerTimeouts {
    let timeouts = section.section("timeouts", &LISTENER_TIMEOUTS);
    if let Some(timeouts) = &timeouts {
        no_effect(timeouts, protocol, &["head", "body_idle"]);
    }
    let deadline = |key: &str, usual: u64| {
        let own = timeouts.as_ref().and_then(|timeouts| timeouts.positive_duration(key));
        own.unwrap_or(Duration::from_secs(usual))
    };
    ListenerTimeouts {
        head: deadline("head", 10),
        client_idle: deadline("client_idle", 60),
        body_idle: deadline("body_idle", 60),
        tunnel_idle: deadline("tunnel_idle", 60 * 60),
        flow_idle: udp::flow_idle(timeouts.as_ref(), protocol),
    }
}

/// Warns of options of HTTP on a listener that only passes bytes on.
pub(super) fn no_effect(section: &Section<'_>, protocol: Protocol, keys: &[&str]) {
    if protocol == Protocol::Http {
        return;
    }
    for entry in keys.iter().filter_map(|key| section.table.get(key)) {
        section.cx.report(
            Problem::warning(
                "no-effect",
                entry.key_at,
                format!("`{}` has no effect on a {} listener", entry.key, protocol.word()),
            )
            .label("looks at HTTP only")
            .help("take it out, or write protocol = \"http\""),
        );
    }
}
