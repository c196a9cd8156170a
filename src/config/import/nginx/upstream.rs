//! `upstream` blocks as pools, and pools for addresses that `proxy_pass` names alone.

use super::super::draft::{At, Backend, Draft, Pool};
use super::super::quote::{self, quoted};
use super::words::{Directive, time};

/// How a pool is reached, as the scheme of `proxy_pass` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
    Bytes,
}

impl Scheme {
    fn port(self) -> Option<u16> {
        match self {
            Self::Http => Some(80),
            Self::Https => Some(443),
            Self::Bytes => None,
        }
    }
}

/// The pool that a name of `proxy_pass` means; made where there is none yet.
pub(super) fn pool(draft: &mut Draft, upstreams: &[&Directive], host: &str, scheme: Scheme, at: At) -> String {
    let upstream = upstreams.iter().find(|upstream| upstream.word(1) == host);
    let name = quote::name(host.trim_start_matches("unix:"));
    let name = if scheme == Scheme::Https && upstream.is_none() { format!("{name}-tls") } else { name };
    if draft.pools.iter().any(|pool| pool.name == name) {
        return name;
    }
    let mut pool = Pool { name: name.clone(), at, ..Pool::default() };
    match upstream {
        Some(upstream) => members(draft, &mut pool, upstream, scheme),
        None => pool.backends.push(Backend { address: address(host, scheme), at, ..Backend::default() }),
    }
    if scheme == Scheme::Https {
        pool.tables.of("tls").written("verify", "false", at);
        pool.tables.of("tls").note("verify", "nginx proves nothing unless proxy_ssl_verify says so: better true");
    }
    // nginx waits for failures of requests; a question that anybody answers who lives loses nothing.
    pool.tables.of("check.port").text("type", "tcp", at);
    pool.tables.of("check.port").note("type", "nginx asks nobody; type = \"http\" with a path asks for more");
    draft.pools.push(pool);
    name
}

fn address(text: &str, scheme: Scheme) -> String {
    if let Some(path) = text.strip_prefix("unix:") {
        return format!("unix:{}", path.trim_end_matches(':'));
    }
    let has_port = text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok() && !text.ends_with(']'));
    match scheme.port() {
        Some(port) if !has_port => format!("{text}:{port}"),
        _ => text.to_owned(),
    }
}

fn members(draft: &mut Draft, pool: &mut Pool, upstream: &Directive, scheme: Scheme) {
    pool.at = upstream.at;
    for line in &upstream.inner {
        match line.name() {
            "server" => pool.backends.extend(member(draft, line, scheme)),
            "least_conn" => pool.keys.text("balance", "least-requests", line.at),
            "ip_hash" => pool.keys.text("balance", "source", line.at),
            "random" => pool.keys.text("balance", "p2c", line.at),
            "hash" => match hash(line.word(1)) {
                Some(balance) => pool.keys.text("balance", &balance, line.at),
                None => {
                    draft.lose(line.at, &line.shown(), "ours pick by source, URI, header or cookie; it is round-robin");
                }
            },
            "keepalive" => pool.keys.written("idle_connections", line.word(1), line.at),
            "keepalive_timeout" => {
                if let Some(time) = time(line.word(1)) {
                    pool.tables.of("timeouts").text("idle", &time, line.at);
                }
            }
            "sticky" if line.word(1) == "cookie" => {
                pool.keys.written("sticky", cookie(draft, line), line.at);
            }
            "zone" | "keepalive_requests" | "keepalive_time" => {}
            _ => draft.lose(line.at, &line.shown(), "ours have nothing like it"),
        }
    }
}

/// `sticky cookie NAME [expires=TIME] [domain=NAME] [path=PATH] [secure] [httponly] [samesite=WORD]`.
fn cookie(draft: &mut Draft, line: &Directive) -> String {
    let mut table = vec![format!("cookie = {}", quoted(line.word(2)))];
    for word in line.from(3) {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let ours = match name {
            "expires" => time(value).map(|time| format!("max_age = {}", quoted(&time))),
            "domain" => Some(format!("domain = {}", quoted(value.trim_start_matches('.')))),
            "path" => Some(format!("path = {}", quoted(value))),
            "secure" => Some("secure = true".to_owned()),
            "httponly" => Some("http_only = true".to_owned()),
            "samesite" => Some(format!("same_site = {}", quoted(&value.to_ascii_lowercase()))),
            _ => None,
        };
        match ours {
            Some(ours) => table.push(ours),
            None => draft.lose(line.at, word, "ours do not say that of a cookie"),
        }
    }
    format!("{{ {} }}", table.join(", "))
}

fn hash(key: &str) -> Option<String> {
    Some(match key {
        "$remote_addr" | "$binary_remote_addr" => "source".to_owned(),
        "$request_uri" | "$uri" => "uri".to_owned(),
        key => match (key.strip_prefix("$http_"), key.strip_prefix("$cookie_")) {
            (Some(name), _) => format!("header:{}", name.replace('_', "-")),
            (_, Some(name)) => format!("cookie:{name}"),
            _ => return None,
        },
    })
}

fn member(draft: &mut Draft, line: &Directive, scheme: Scheme) -> Option<Backend> {
    let mut backend = Backend { address: address(line.word(1), scheme), at: line.at, ..Backend::default() };
    for word in line.from(2) {
        match word.split_once('=').unwrap_or((word.as_str(), "")) {
            ("weight", weight) => backend.keys.written("weight", weight, line.at),
            ("backup", _) => backend.keys.written("backup", "true", line.at),
            ("max_conns", "0") | ("resolve", _) => {}
            ("max_conns", most) => backend.keys.written("connections_max", most, line.at),
            ("max_fails" | "fail_timeout", _) => {
                draft.lose(line.at, word, "checks and `outliers` say who is out; see [pool.NAME.check.NAME]");
            }
            ("down", _) => {
                draft.lose(
                    line.at,
                    &line.shown(),
                    "out of service, left out: add it to `backends`, then `evenkeel drain`",
                );
                return None;
            }
            _ => draft.lose(line.at, word, "ours do not say that of a backend"),
        }
    }
    Some(backend)
}
