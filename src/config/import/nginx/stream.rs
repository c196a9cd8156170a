//! Servers of `stream` as listeners of TCP and UDP, with the name of TLS as a route where a map tells it.

use super::super::draft::{Conditions, Draft, Keys, Listener, Route};
use super::server::bind;
use super::upstream::{self, Scheme};
use super::words::{Directive, time};
use super::{all_said, said};

pub(super) fn read(draft: &mut Draft, stream: &Directive) {
    let upstreams: Vec<&Directive> = stream.all("upstream").collect();
    for server in stream.all("server") {
        let mut listener = Listener { at: server.at, ..Listener::default() };
        let mut protocol = "tcp";
        for listen in server.all("listen") {
            listener.keys.item("bind", &bind(listen.word(1)), listen.at);
            for word in listen.from(2) {
                match word.as_str() {
                    "udp" => protocol = "udp",
                    "proxy_protocol" => listener.keys.written("accept_proxy", "true", listen.at),
                    "ssl" => super::server::certificate(&mut listener.tables, &[server, stream]),
                    _ => {}
                }
            }
        }
        listener.keys.text("protocol", protocol, server.at);
        let Some(pass) = server.first("proxy_pass") else {
            draft.lose(server.at, "server", "nothing is passed on there");
            continue;
        };
        listener.name = draft.free_listener(pass.word(1).trim_start_matches('$'));
        destination(draft, &mut listener, stream, &upstreams, pass);
        deadlines(draft, &mut listener, &[server, stream], protocol);
        admitted(draft, &mut listener, &all_said(&[server, stream], &["allow", "deny"]));
        draft.listeners.push(listener);
    }
}

/// Who may come. On TCP that is a route by client, with nowhere to go for the rest: which can be said where networks are
/// allowed and all others denied.
fn admitted(draft: &mut Draft, listener: &mut Listener, lines: &[&Directive]) {
    let Some((last, others)) = lines.split_last() else { return };
    let sayable = (last.name(), last.word(1)) == ("deny", "all") && others.iter().all(|line| line.name() == "allow");
    if !sayable || others.iter().any(|line| line.word(1) == "all") {
        for line in lines {
            draft.lose(
                line.at,
                &line.shown(),
                "who may come by TCP is said by routes with `client`, and no pool for the rest",
            );
        }
        return;
    }
    let networks: Vec<String> = others.iter().map(|line| line.word(1).to_owned()).collect();
    let client = (!networks.is_empty()).then_some(networks);
    for route in &mut listener.routes {
        route.when.client.clone_from(&client);
    }
    if let (Some(pool), Some(_)) = (listener.keys.get("pool").map(str::to_owned), &client) {
        let mut keys = Keys::default();
        keys.written("pool", pool, last.at);
        let when = Conditions { client: client.clone(), ..Conditions::default() };
        listener.routes.push(Route { when, keys, at: last.at });
    }
    listener.keys.remove("pool");
    if client.is_none() {
        listener.routes.clear();
    }
}

fn destination(
    draft: &mut Draft,
    listener: &mut Listener,
    stream: &Directive,
    upstreams: &[&Directive],
    pass: &Directive,
) {
    let Some(variable) = pass.word(1).strip_prefix('$') else {
        let pool = upstream::pool(draft, upstreams, pass.word(1), Scheme::Bytes, pass.at);
        listener.keys.text("pool", &pool, pass.at);
        return;
    };
    let is =
        |map: &&Directive| map.word(1) == "$ssl_preread_server_name" && map.word(2).strip_prefix('$') == Some(variable);
    let Some(map) = stream.all("map").find(is) else {
        draft.lose(pass.at, &pass.shown(), "no map of $ssl_preread_server_name says what that is");
        return;
    };
    for line in &map.inner {
        let (host, to) = (line.word(0), line.word(1));
        if to.is_empty() || to.contains('$') || host.starts_with('~') || host == "hostnames" {
            if host != "hostnames" {
                draft.lose(line.at, &line.shown(), "routes of TCP know names, and `*.` in front");
            }
            continue;
        }
        let pool = upstream::pool(draft, upstreams, to, Scheme::Bytes, line.at);
        let mut keys = Keys::default();
        keys.text("pool", &pool, line.at);
        if host == "default" {
            listener.keys.take(&keys);
        } else {
            let hosts = super::server::hosts(&[host.to_owned()]);
            let when = Conditions { host: Some(hosts), ..Conditions::default() };
            listener.routes.push(Route { when, keys, at: line.at });
        }
    }
}

fn deadlines(draft: &mut Draft, listener: &mut Listener, levels: &[&Directive], protocol: &str) {
    let pools: Vec<String> = draft.pools.iter().map(|pool| pool.name.clone()).collect();
    let own = listener.keys.get("pool").map(|pool| pool.trim_matches('"').to_owned());
    if let Some((line, time)) = said(levels, "proxy_timeout").and_then(|line| Some((line, time(line.word(1))?))) {
        let key = if protocol == "udp" { "flow_idle" } else { "tunnel_idle" };
        listener.tables.of("timeouts").text(key, &time, line.at);
    }
    if let (Some(line), "udp") = (said(levels, "proxy_responses"), protocol) {
        listener.tables.of("udp").written("responses", line.word(1), line.at);
    }
    let pool = pools.iter().position(|pool| Some(pool) == own.as_ref()).and_then(|at| draft.pools.get_mut(at));
    let Some(pool) = pool else { return };
    if let Some((line, time)) = said(levels, "proxy_connect_timeout").and_then(|line| Some((line, time(line.word(1))?)))
    {
        pool.tables.of("timeouts").text("connect", &time, line.at);
    }
    if let Some(line) = said(levels, "proxy_protocol").filter(|line| line.word(1) == "on") {
        pool.keys.text("send_proxy", "v1", line.at);
    }
    if let Some(line) = said(levels, "proxy_ssl").filter(|line| line.word(1) == "on") {
        pool.tables.of("tls").written("verify", "false", line.at);
    }
    if protocol == "udp" {
        pool.tables.of("check.port").remove("type");
    }
}
