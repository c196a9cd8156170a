//! `bind` lines: addresses, and what is said of TLS and of the PROXY protocol.

use super::super::draft::{At, Draft, Keys};
use super::words::Line;

/// Addresses of one kind.
#[derive(Debug, Default)]
pub(super) struct Bind {
    pub(super) addresses: Vec<String>,
    pub(super) keys: Keys,
    /// The table `tls`; empty where none is spoken.
    pub(super) tls: Keys,
    pub(super) at: At,
}

/// The address in our spelling.
pub(super) fn address(text: &str) -> String {
    if let Some(path) = text.strip_prefix("unix@") {
        return format!("unix:{path}");
    }
    if let Some(name) = text.strip_prefix("abns@") {
        return format!("unix:@{name}");
    }
    if text.starts_with('/') {
        return format!("unix:{text}");
    }
    let text = ["ipv4@", "ipv6@", "tcp@", "udp@"].iter().fold(text, |text, prefix| text.trim_start_matches(prefix));
    match text.rsplit_once(':') {
        Some(("" | "*", port)) => format!("0.0.0.0:{port}"),
        Some((host, port)) if host.contains(':') && !host.starts_with('[') => {
            let host = if host == ":" { "::" } else { host };
            format!("[{host}]:{port}")
        }
        _ => text.to_owned(),
    }
}

/// Lines of the same TLS and the same protocol are one listener.
pub(super) fn read(draft: &mut Draft, lines: &[&Line]) -> Vec<Bind> {
    let mut binds: Vec<Bind> = Vec::new();
    for line in lines {
        let bind = one(draft, line);
        let like = |other: &&mut Bind| {
            other.keys.get("accept_proxy") == bind.keys.get("accept_proxy")
                && ["certificates", "min_version", "clients.verify"].iter().all(|key| other.tls.agrees(&bind.tls, key))
        };
        match binds.iter_mut().find(like) {
            Some(other) => other.addresses.extend(bind.addresses),
            None => binds.push(bind),
        }
    }
    binds
}

fn one(draft: &mut Draft, line: &Line) -> Bind {
    let mut bind = Bind { at: line.at, ..Bind::default() };
    bind.addresses = line.word(1).split(',').filter(|text| !text.is_empty()).map(address).collect();
    let mut words = line.from(2).iter();
    let (mut ssl, mut tls) = (false, Keys::default());
    while let Some(word) = words.next() {
        let mut value = || words.next().cloned().unwrap_or_default();
        match word.as_str() {
            "ssl" => ssl = true,
            "crt" => tls.item("certificates", &value(), line.at),
            "accept-proxy" => {
                bind.keys.written("accept_proxy", "[\"0.0.0.0/0\", \"::/0\"]", line.at);
                bind.keys.note("accept_proxy", "whoever connects is believed: name the proxies in front");
            }
            "ca-file" => tls.text("clients.ca", &value(), line.at),
            "crl-file" => tls.text("clients.crl", &value(), line.at),
            "verify" => match value().as_str() {
                "none" => {}
                verify => tls.text("clients.verify", verify, line.at),
            },
            "ssl-min-ver" => version(draft, line, &mut tls, "min_version", &value()),
            "ssl-max-ver" => version(draft, line, &mut tls, "max_version", &value()),
            "alpn" => alpn(&mut bind.keys, &value(), line.at),
            "mss" => bind.keys.written("tcp.max_segment", value(), line.at),
            "mode" => bind.keys.text("socket_mode", &format!("{:0>4}", value()), line.at),
            "maxconn" => {
                let what = format!("maxconn {}", value());
                draft.lose(line.at, &what, "see `connections` of [listener.NAME.limits]");
            }
            "interface" => bind.keys.text("tcp.interface", &value(), line.at),
            "ciphers" | "ciphersuites" | "curves" | "ecdhe" => {
                let what = format!("{word} {}", value());
                draft.lose(line.at, &what, "ours are safe as they are; see `ciphers` and `groups` of `tls`");
            }
            "name" | "process" | "thread" | "backlog" | "user" | "group" | "id" | "nice" | "npn" | "level"
            | "namespace" | "shards" => drop(value()),
            "no-sslv3" | "no-tlsv10" | "no-tlsv11" | "no-tls-tickets" | "v4v6" | "v6only" | "defer-accept" | "tfo" => {}
            other => draft.lose(line.at, other, "ours have no such option of `bind`"),
        }
    }
    if tls.get("clients.ca").is_none() {
        tls.remove("clients.verify");
    }
    if ssl {
        bind.tls = tls;
        if !bind.tls.has("certificates") {
            draft.lose(line.at, &line.shown(), "TLS without `crt`: write `certificates`");
        }
    }
    bind
}

fn version(draft: &mut Draft, line: &Line, tls: &mut Keys, key: &str, version: &str) {
    match version {
        "TLSv1.2" => tls.text(key, "1.2", line.at),
        "TLSv1.3" => tls.text(key, "1.3", line.at),
        _ if key == "min_version" => {
            draft.lose(line.at, version, "nothing below TLS 1.2 is spoken");
        }
        _ => draft.lose(line.at, version, "TLS below 1.2 is not spoken at all"),
    }
}

/// Both versions of HTTP are what ours speak over TLS anyhow.
fn alpn(keys: &mut Keys, protocols: &str, at: At) {
    let (one, two) = (protocols.contains("http/1"), protocols.contains("h2"));
    if one != two {
        keys.text("http", if two { "2" } else { "1.1" }, at);
    }
}
