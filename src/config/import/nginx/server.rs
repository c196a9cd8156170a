//! Servers of `http` as listeners: those of one address together, told apart by host; the default one gets the rest.

use super::super::draft::{At, Conditions, Draft, Join, Listener, Path, Route, Tables};
use super::super::quote::quoted;
use super::words::{Directive, size, time};
use super::{all_said, location, said};

/// One `listen` of a server.
struct Listen<'a> {
    address: String,
    tls: bool,
    line: &'a Directive,
    server: &'a Directive,
    first: bool,
}

/// An address to bind, in our spelling.
pub(super) fn bind(text: &str) -> String {
    if text.starts_with("unix:") {
        return text.to_owned();
    }
    match text.rsplit_once(':') {
        Some(("*", port)) => format!("0.0.0.0:{port}"),
        Some((_, port)) if port.parse::<u16>().is_ok() => text.to_owned(),
        _ if text.parse::<u16>().is_ok() => format!("0.0.0.0:{text}"),
        _ => format!("{text}:80"),
    }
}

/// Names in our spelling; others are for `other_names`.
pub(super) fn hosts(names: &[String]) -> Vec<String> {
    let plain = names
        .iter()
        .filter(|name| !name.starts_with('~') && !name.ends_with(".*") && !matches!(name.as_str(), "_" | "" | "--"));
    plain
        .flat_map(|name| match name.strip_prefix('.') {
            Some(domain) => vec![domain.to_owned(), format!("*.{domain}")],
            None => vec![name.clone()],
        })
        .collect()
}

pub(super) fn read(draft: &mut Draft, http: &Directive) {
    let listens: Vec<Listen<'_>> = http.all("server").flat_map(listens).collect();
    let mut groups: Vec<(Vec<String>, Vec<&Listen<'_>>)> = Vec::new();
    for listen in &listens {
        match groups.iter_mut().find(|(addresses, _)| addresses.contains(&listen.address)) {
            Some((_, group)) => group.push(listen),
            None => groups.push((vec![listen.address.clone()], vec![listen])),
        }
    }
    // Two addresses with the same servers are one listener.
    let mut merged: Vec<(Vec<String>, Vec<&Listen<'_>>)> = Vec::new();
    for (addresses, group) in groups {
        let like = |(_, other): &&mut (Vec<String>, Vec<&Listen<'_>>)| {
            other.len() == group.len()
                && other.iter().zip(&group).all(|(one, two)| {
                    std::ptr::eq(one.server, two.server) && one.tls == two.tls && one.first == two.first
                })
        };
        match merged.iter_mut().find(like) {
            Some((known, _)) => known.extend(addresses),
            None => merged.push((addresses, group)),
        }
    }
    for (addresses, group) in merged {
        listener(draft, http, &addresses, &group);
    }
}

fn listens(server: &Directive) -> Vec<Listen<'_>> {
    let legacy = server.first("ssl").is_some_and(|line| line.word(1) == "on");
    let mut listens: Vec<Listen<'_>> = (server.all("listen"))
        .map(|line| Listen {
            address: bind(line.word(1)),
            tls: legacy || line.from(2).iter().any(|word| word == "ssl"),
            line,
            server,
            first: line.from(2).iter().any(|word| matches!(word.as_str(), "default_server" | "default")),
        })
        .collect();
    if listens.is_empty() {
        listens.push(Listen { address: "0.0.0.0:80".into(), tls: false, line: server, server, first: false });
    }
    listens
}

fn listener(draft: &mut Draft, http: &Directive, addresses: &[String], group: &[&Listen<'_>]) {
    let Some(main) = group.iter().find(|listen| listen.first).or(group.first()) else { return };
    let names = main.server.first("server_name").map(|line| hosts(line.from(1))).unwrap_or_default();
    let name = names.first().map_or("web", |name| name.trim_start_matches("*.")).replace('.', "-");
    let name = if main.tls { format!("{name}-tls") } else { name };
    let mut listener = Listener { name: draft.free_listener(&name), at: main.server.at, ..Listener::default() };
    for address in addresses {
        listener.keys.item("bind", address, main.line.at);
    }
    options(draft, &mut listener, group);
    let servers: Vec<&Directive> = std::iter::once(main.server)
        .chain(group.iter().map(|listen| listen.server).filter(|server| !std::ptr::eq(*server, main.server)))
        .collect();
    if main.tls {
        let levels: Vec<&Directive> = servers.iter().copied().chain([http]).collect();
        certificate(&mut listener.tables, &levels);
    }
    limits(draft, &mut listener, &[main.server, http]);
    trusted(draft, &mut listener, &[main.server, http]);
    if !main.tls && said(&[main.server, http], "http2").is_some_and(|line| line.word(1) == "on") {
        listener.keys.written("http", "[\"1.1\", \"2\"]", main.line.at);
    }
    // Whole names count before `*.`, and the default server has the rest.
    let mut others: Vec<(&Directive, Conditions)> = Vec::new();
    for server in servers.iter().skip(1) {
        others.extend(whens(draft, server).into_iter().map(|when| (*server, when)));
    }
    others
        .sort_by_key(|(_, when)| when.host.as_ref().is_none_or(|hosts| hosts.iter().any(|host| host.starts_with('*'))));
    for (server, when) in others {
        let mut ended = false;
        for route in location::routes(draft, http, server) {
            match when.and(&route.when) {
                Join::Both(both) => {
                    ended |= *both == when;
                    listener.routes.push(Route { when: *both, ..route });
                }
                Join::Never | Join::Unsayable => {
                    draft.lose(route.at, "location", "no route can say it together with its host");
                }
            }
        }
        if !ended {
            let mut route = Route { when, at: server.at, ..Route::default() };
            route.keys.written("respond", "404", server.at);
            listener.routes.push(route);
        }
    }
    for route in location::routes(draft, http, main.server) {
        if route.when.is_any() && route.keys.only_goes() {
            listener.keys.take(&route.keys);
        } else {
            // Rules of a listener hold for its routes, too; those of one location do not for others.
            let rest = Conditions { path: Some(vec![Path::Segment("/".into())]), ..Conditions::default() };
            let when = if route.when.is_any() { rest } else { route.when };
            listener.routes.push(Route { when, ..route });
        }
    }
    draft.listeners.push(listener);
}

/// By which requests a server is meant.
fn whens(draft: &mut Draft, server: &Directive) -> Vec<Conditions> {
    let Some(line) = server.first("server_name") else { return Vec::new() };
    let names = hosts(line.from(1));
    let mut whens = Vec::new();
    if !names.is_empty() {
        whens.push(Conditions { host: Some(names), ..Conditions::default() });
    }
    for name in line.from(1) {
        let pattern = match (name.strip_prefix('~'), name.strip_suffix(".*")) {
            (Some(pattern), _) => pattern.to_owned(),
            (_, Some(start)) => format!("^{}\\.", regex::escape(start)),
            _ => continue,
        };
        if regex::Regex::new(&pattern).is_err() {
            draft.lose(line.at, name, "a pattern that ours cannot read");
            continue;
        }
        let table = format!("{{ name = \"Host\", regex = {} }}", quoted(&format!("(?i){pattern}")));
        whens.push(Conditions { header: vec![table], ..Conditions::default() });
    }
    whens
}

fn options(draft: &mut Draft, listener: &mut Listener, group: &[&Listen<'_>]) {
    for listen in group {
        for word in listen.line.from(2).iter().filter(|_| listen.line.name() == "listen") {
            match word.as_str() {
                "ssl" | "default_server" | "default" | "reuseport" | "deferred" | "bind" => {}
                // Over TLS both are spoken anyhow.
                "http2" => {
                    if !listen.tls {
                        listener.keys.written("http", "[\"1.1\", \"2\"]", listen.line.at);
                    }
                }
                "proxy_protocol" => {
                    listener.keys.written("accept_proxy", "[\"0.0.0.0/0\", \"::/0\"]", listen.line.at);
                    listener.keys.note("accept_proxy", "whoever connects is believed: name the proxies in front");
                }
                "quic" => draft.lose(listen.line.at, word, "HTTP/3 is not spoken"),
                word if word.contains('=') => {}
                _ => draft.lose(listen.line.at, word, "ours do not say that of a listener"),
            }
        }
    }
}

/// The table `tls`, with the certificates of all levels, the first one first.
pub(super) fn certificate(tables: &mut Tables, levels: &[&Directive]) {
    let mut pairs: Vec<String> = Vec::new();
    let mut at = At::default();
    for level in levels {
        for (cert, key) in level.all("ssl_certificate").zip(level.all("ssl_certificate_key")) {
            at = cert.at;
            let pair = format!("{{ cert = {}, key = {} }}", quoted(cert.word(1)), quoted(key.word(1)));
            if !pairs.contains(&pair) {
                pairs.push(pair);
            }
        }
    }
    let tls = tables.of("tls");
    tls.written("certificates", format!("[{}]", pairs.join(", ")), at);
    if let Some(line) = said(levels, "ssl_protocols").filter(|line| !line.words.iter().any(|word| word == "TLSv1.2"))
        && line.words.iter().any(|word| word == "TLSv1.3")
    {
        tls.text("min_version", "1.3", line.at);
    }
    if let (Some(ca), Some(verify)) = (said(levels, "ssl_client_certificate"), said(levels, "ssl_verify_client")) {
        match verify.word(1) {
            "on" => tls.text("clients.ca", ca.word(1), ca.at),
            "optional" => {
                tls.text("clients.ca", ca.word(1), ca.at);
                tls.text("clients.verify", "optional", verify.at);
            }
            _ => {}
        }
        if let Some(crl) = said(levels, "ssl_crl").filter(|_| matches!(verify.word(1), "on" | "optional")) {
            tls.text("clients.crl", crl.word(1), crl.at);
        }
    }
}

/// Whose word on who the client is counts.
fn trusted(draft: &mut Draft, listener: &mut Listener, levels: &[&Directive]) {
    let header = said(levels, "real_ip_header").map_or("X-Real-IP", |line| line.word(1));
    for line in all_said(levels, &["set_real_ip_from"]) {
        if header.eq_ignore_ascii_case("X-Forwarded-For") || header == "proxy_protocol" {
            listener.keys.item("trusted_proxies", line.word(1), line.at);
        } else {
            draft.lose(
                line.at,
                &line.shown(),
                "ours believe X-Forwarded-For and the PROXY protocol: see `trusted_proxies`",
            );
        }
    }
}

fn limits(draft: &mut Draft, listener: &mut Listener, levels: &[&Directive]) {
    if let Some((line, size)) = said(levels, "client_max_body_size").and_then(|line| Some((line, size(line.word(1))?)))
    {
        listener.tables.of("limits").text("body", &size, line.at);
    }
    let ours =
        [("client_header_timeout", "head"), ("keepalive_timeout", "client_idle"), ("client_body_timeout", "body_idle")];
    for (theirs, ours) in ours {
        let Some(line) = said(levels, theirs) else { continue };
        match time(line.word(1)) {
            Some(time) => listener.tables.of("timeouts").text(ours, &time, line.at),
            None => draft.lose(line.at, &line.shown(), "ours wait for no time without an end"),
        }
    }
    if said(levels, "gzip").is_some_and(|line| line.word(1) == "on") {
        listener.keys.written("compress", "true", levels.first().map_or(At::default(), |level| level.at));
    }
}
