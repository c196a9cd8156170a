//! `[[listener.NAME.route]]`: the conditions, the pool, and the warning for a route that can never be reached.

use std::collections::HashMap;
use std::sync::Arc;

use ipnet::IpNet;

use super::super::Cx;
use super::super::address;
use super::super::model::{HostPattern, PathMatch, PoolIndex, Protocol, Reads, Route, Rules};
use super::super::problem::{At, Problem};
use super::super::section::{Choice, Section};
use super::super::tree::{Node, Table};
use super::super::units::Fault;
use super::super::vocabulary::ROUTE;
use super::conditions::{self, Of};
use super::{Pools, rules};

/// What was read of a route.
pub(super) struct RouteRead {
    /// The whole of it.
    pub(super) at: At,
    /// The pools that it and its rules name, with the place of each name.
    pub(super) uses: Vec<(PoolIndex, At)>,
    /// The word after `reads`.
    pub(super) reads_at: Option<At>,
    pub(super) route: Option<Route>,
}

/// `reads` of a listener or route.
pub(super) const READS: Choice<Reads> = Choice {
    words: &[("active", Reads::Active), ("standby", Reads::Standby)],
    foreign: &[
        ("primary", "active"),
        ("leader", "active"),
        ("writer", "active"),
        ("replica", "standby"),
        ("replicas", "standby"),
        ("secondary", "standby"),
        ("standbys", "standby"),
        ("reader", "standby"),
    ],
    later: &["any", "nearest"],
};

/// What stands above a route.
pub(super) struct Above<'a> {
    /// All pools.
    pub(super) pools: &'a Pools<'a>,
    /// The rules of the listener.
    pub(super) rules: Option<&'a Arc<Rules>>,
    /// Where its TLS is, if it has any.
    pub(super) tls: Option<At>,
    /// What the listener speaks.
    pub(super) protocol: Protocol,
}

pub(super) fn route<'a>(cx: &'a Cx<'a>, node: &'a Node, table: &'a Table, path: &str, of: &Above<'_>) -> RouteRead {
    let section = Section::new(cx, table, node.at, path.to_owned(), &ROUTE);
    rules::refuse_elsewhere(&section, of.protocol);
    refuse_requests(&section, of.protocol);
    if !rules::DESTINATIONS.iter().any(|key| section.has(key)) {
        section.missing("pool", "write pool = \"NAME\": where the requests of this route go");
    }
    let values = |list: Option<Vec<(HostPattern, At)>>| list.unwrap_or_default().into_iter().map(|(host, _)| host);
    let hosts = values(section.parsed_list("host", address::host_pattern)).collect();
    let paths = conditions::paths(&section);
    let [headers, cookies, queries] = [Of::Header, Of::Cookie, Of::Query].map(|of| conditions::values(&section, of));
    let conditions = paths
        .zip(headers.zip(cookies).zip(queries))
        .map(|(paths, ((headers, cookies), queries))| (paths, [headers, cookies, queries]));
    let methods = section.parsed_list("method", method).unwrap_or_default();
    let clients: Vec<(IpNet, At)> = section.parsed_list("client", address::network).unwrap_or_default();
    let reads = section.choice("reads", &READS).unwrap_or_default();
    let mut destined = rules::destination(&section, of.pools);
    rules::refuse_circle(destined.destination.as_ref(), node.at, of.tls, &section);
    let rules = rules::read(&section, of.rules, of.pools);
    destined.uses.extend(rules::uses(&section, rules.as_ref()));
    RouteRead {
        at: node.at,
        uses: destined.uses,
        reads_at: section.entry("reads").map(|entry| entry.node.at),
        // One whose conditions could not all be read is compared with no other.
        route: destined.destination.zip(conditions).map(|(destination, (paths, [headers, cookies, queries]))| Route {
            hosts,
            paths,
            methods: methods.into_iter().map(|(method, _)| method).collect(),
            headers,
            cookies,
            queries,
            clients: clients.into_iter().map(|(client, _)| client).collect(),
            destination,
            reads,
            rules,
        }),
    }
}

/// A route of a tcp listener that looked at requests would never match.
fn refuse_requests(section: &Section<'_>, protocol: Protocol) {
    if protocol != Protocol::Tcp {
        return;
    }
    for entry in ["path", "method", "header", "cookie", "query"].into_iter().filter_map(|key| section.table.get(key)) {
        section.cx.report(
            Problem::error("needs-http", entry.key_at, format!("`{}` needs a listener of HTTP", entry.key))
                .label("in a request, which this listener does not see")
                .help(
                    "a route of a tcp listener looks at `host`, the name that a TLS client asks for, and at `client`",
                ),
        );
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// A method as it stands in a request line.
pub(super) fn method(text: &str) -> Result<Arc<str>, Fault> {
    let fault = |label: &str| Fault::new("method", format!("`{text}` is not a method"), label);
    if !is_token(text) {
        return Err(fault("a single word is needed").help("write \"GET\", or a list: [\"GET\", \"HEAD\"]"));
    }
    let upper = text.to_ascii_uppercase();
    let known = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"];
    if upper != text && known.contains(&upper.as_str()) {
        return Err(fault("methods are written in capitals").help(format!("write \"{upper}\"")));
    }
    Ok(text.into())
}

/// The name of a header field, in lower case.
pub(super) fn header_name(text: &str) -> Result<Arc<str>, Fault> {
    if is_token(text) {
        return Ok(text.to_ascii_lowercase().into());
    }
    let fault = Fault::new("header", format!("`{text}` is not the name of a header"), "letters, digits and `-`");
    Err(match text.split_once(':') {
        Some((name, value)) if is_token(name) => {
            fault.help(format!("write {{ name = \"{name}\", value = \"{}\" }}", value.trim()))
        }
        _ => fault,
    })
}

/// Warns of each route behind one that matches everything it does.
pub(super) fn report_shadowed(cx: &Cx<'_>, routes: &[RouteRead]) {
    let mut earlier: HashMap<(String, String), Vec<usize>> = HashMap::new();
    for (index, read) in routes.iter().enumerate() {
        let Some(route) = &read.route else { continue };
        let candidates = hosts_above(route)
            .into_iter()
            .flat_map(|host| paths_above(route.paths.first()).into_iter().map(move |path| (host.clone(), path)));
        let shadow = candidates
            .filter_map(|place| earlier.get(&place))
            .flatten()
            .find(|earlier| routes[**earlier].route.as_ref().is_some_and(|first| covers(first, route)));
        if let Some(first) = shadow {
            cx.report(
                Problem::warning("shadowed-route", read.at, "this route is never reached")
                    .label("all that it matches goes elsewhere first")
                    .second(routes[*first].at, "matched first by this route")
                    .help("the first match wins: move the narrower route above the wider one"),
            );
        }
        let any_host = route.hosts.is_empty().then(String::new);
        for host in route.hosts.iter().map(host_key).chain(any_host) {
            let any_path = route.paths.is_empty().then(String::new);
            for path in route.paths.iter().map(path_key).chain(any_path) {
                earlier.entry((host.clone(), path)).or_default().push(index);
            }
        }
    }
}

fn host_key(host: &HostPattern) -> String {
    match host {
        HostPattern::Exact(name) | HostPattern::Suffix(name) => name.to_string(),
    }
}

/// The keys of all patterns that match the first host of a route: one that covers the route is among them.
fn hosts_above(route: &Route) -> Vec<String> {
    let mut keys = vec![String::new()];
    if let Some(host) = route.hosts.first() {
        let name = host_key(host);
        keys.extend(name.match_indices('.').map(|(dot, _)| name[dot..].to_owned()));
        keys.push(name);
    }
    keys
}

fn path_key(path: &PathMatch) -> String {
    match path {
        PathMatch::Prefix(text) | PathMatch::Exact(text) => text.to_string(),
        // No path begins like this.
        PathMatch::Regex(pattern) => format!("~{}", pattern.0.as_str()),
    }
}

/// The keys of all paths that match whatever this one does.
fn paths_above(path: Option<&PathMatch>) -> Vec<String> {
    let mut keys = vec![String::new()];
    if let Some(path) = path {
        let key = path_key(path);
        keys.push("/".into());
        keys.extend(key.match_indices('/').skip(1).map(|(slash, _)| key[..slash].to_owned()));
        keys.push(key);
    }
    keys
}

/// Whether `first` matches every request that `second` matches.
fn covers(first: &Route, second: &Route) -> bool {
    let hosts = first.hosts.is_empty()
        || (!second.hosts.is_empty()
            && second.hosts.iter().all(|host| first.hosts.iter().any(|wide| host_covers(wide, host))));
    let path = conditions::paths_cover(&first.paths, &second.paths);
    let methods = first.methods.is_empty()
        || (!second.methods.is_empty() && second.methods.iter().all(|method| first.methods.contains(method)));
    let values = conditions::values_cover(&first.headers, &second.headers)
        && conditions::values_cover(&first.cookies, &second.cookies)
        && conditions::values_cover(&first.queries, &second.queries);
    let clients = first.clients.is_empty()
        || (!second.clients.is_empty()
            && second.clients.iter().all(|client| first.clients.iter().any(|wide| wide.contains(client))));
    hosts && path && methods && values && clients
}

fn host_covers(wide: &HostPattern, host: &HostPattern) -> bool {
    match (wide, host) {
        (HostPattern::Suffix(wide), HostPattern::Exact(name) | HostPattern::Suffix(name)) => {
            name.ends_with(&**wide) && (name.len() > wide.len() || matches!(host, HostPattern::Suffix(_)))
        }
        (HostPattern::Exact(wide), HostPattern::Exact(name)) => wide == name,
        (HostPattern::Exact(_), HostPattern::Suffix(_)) => false,
    }
}
