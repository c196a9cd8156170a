//! `[[test]]`: a request, and what must become of it. Run by `server`, which has what the data path chooses by.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::super::Cx;
use super::super::address;
use super::super::model::{Asks, Expected, Listener, Protocol, RouteTest, Site};
use super::super::problem::{At, Problem};
use super::super::section::{Section, one_of};
use super::super::tree::{Entry, Value};
use super::super::units::Fault;
use super::super::vocabulary::{EXPECT, TEST};
use super::Pools;
use super::listener::ListenerRead;
use super::route;

/// Who asks where nothing is said: an address of nobody (RFC 5737).
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// What is asked.
struct Asked {
    scheme: Scheme,
    /// `None` where a method has no business.
    method: Option<Arc<str>>,
    /// With its port, as it goes into `Host`.
    authority: String,
    host: String,
    port: Option<u16>,
    /// Path and query.
    target: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
    Tcp,
    Tls,
}

impl Scheme {
    const ALL: [(&'static str, Self); 4] =
        [("http", Self::Http), ("https", Self::Https), ("tcp", Self::Tcp), ("tls", Self::Tls)];

    fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }

    fn usual_port(self) -> Option<u16> {
        match self {
            Self::Http => Some(80),
            Self::Https => Some(443),
            Self::Tcp | Self::Tls => None,
        }
    }

    /// Whether a listener takes what comes so.
    fn fits(self, listener: &Listener) -> bool {
        match (self, listener.protocol) {
            (Self::Http, Protocol::Http) | (Self::Tcp, Protocol::Tcp) => listener.tls.is_none(),
            (Self::Https, Protocol::Http) => listener.tls.is_some(),
            // Where TLS ends at the backend, its name is looked at all the same.
            (Self::Tls, Protocol::Tcp) => true,
            _ => false,
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Http => "HTTP without TLS",
            Self::Https => "HTTP over TLS",
            Self::Tcp => "TCP without TLS",
            Self::Tls => "TCP with TLS",
        }
    }
}

/// All tests that can be run.
pub(super) fn tests(cx: &Cx<'_>, top: &Section<'_>, pools: &Pools<'_>, listeners: &[ListenerRead]) -> Vec<RouteTest> {
    let Some(nodes) = top.one_or_more("test") else { return Vec::new() };
    let mut tests = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let Value::Table(table) = &node.value else {
            top.wrong_type(node, "test", "a table", "write it as [[test]], with request and expect below");
            continue;
        };
        let path = format!("test.{}", index + 1);
        tests.extend(test(&Section::new(cx, table, node.at, path, &TEST), pools, listeners));
    }
    tests
}

fn test(section: &Section<'_>, pools: &Pools<'_>, listeners: &[ListenerRead]) -> Option<RouteTest> {
    let client = section.parsed("client", |text| {
        let fault = || Fault::new("address", format!("`{text}` is not the address of a client"), "one address");
        text.parse::<IpAddr>().map_err(|_other| fault().help("write client = \"203.0.113.7\""))
    });
    let headers = headers(section);
    if !section.has("request") {
        section.missing("request", "write request = \"GET https://www.example.com/path\", or \"tls://db.example.com\"");
    }
    let expected = expected(section, pools);
    let asked = section.parsed("request", request)?;
    let read = listener(section, &asked, listeners)?;
    let (expected, at) = expected?;
    refuse_unfit(section, &asked, &expected, at)?;
    let host = || Arc::<str>::from(asked.host.to_ascii_lowercase());
    let asks = if asked.scheme.is_http() {
        let server_name = (asked.scheme == Scheme::Https).then(host);
        Asks::Request { head: head(&asked, &headers?).into(), server_name }
    } else {
        Asks::Connection { server_name: (asked.scheme == Scheme::Tls).then(host) }
    };
    Some(RouteTest {
        request: section.text("request")?.into(),
        listener: read.name.as_str().into(),
        client: client.unwrap_or(CLIENT).to_canonical(),
        asks,
        expected,
        at,
        deciders: Arc::clone(&read.deciders),
    })
}

/// A status or a redirect of a connection, or the end of one that HTTP answers.
fn refuse_unfit(section: &Section<'_>, asked: &Asked, expected: &Expected, at: At) -> Option<()> {
    let fault = match (expected, asked.scheme.is_http()) {
        (Expected::Closed, true) => Fault::new("test", "a request gets an answer", "not closed without one")
            .help("write expect = { status = 404 } for what no route matches"),
        (Expected::Answer { .. }, false) => Fault::new("test", "a connection gets no answer", "this is for HTTP")
            .help("write expect = { pool = \"NAME\" }, or { closed = true }"),
        _ => return Some(()),
    };
    section.fault_at(at, fault);
    None
}

fn head(asked: &Asked, headers: &[(Arc<str>, String)]) -> Vec<u8> {
    let method = asked.method.as_deref().unwrap_or("GET");
    let mut head = format!("{method} {} HTTP/1.1\r\n", asked.target);
    if !headers.iter().any(|(name, _)| &**name == "host") {
        head.extend(["Host: ", &asked.authority, "\r\n"]);
    }
    for (name, value) in headers {
        let name: &str = name;
        head.extend([name, ": ", value, "\r\n"]);
    }
    head.push_str("\r\n");
    head.into_bytes()
}

fn headers(section: &Section<'_>) -> Option<Vec<(Arc<str>, String)>> {
    let Some(entry) = section.entry("headers") else { return Some(Vec::new()) };
    let Value::Table(table) = &entry.node.value else {
        section.wrong_type(&entry.node, "headers", "a table", "write headers = { X-Beta = \"1\" }");
        return None;
    };
    // All of them are looked at, so that all problems are told.
    let fields: Vec<_> = table.entries.iter().map(|entry| field(section, entry)).collect();
    fields.into_iter().collect()
}

fn field(section: &Section<'_>, entry: &Entry) -> Option<(Arc<str>, String)> {
    let name = match route::header_name(&entry.key) {
        Ok(name) => name,
        Err(fault) => {
            section.fault_at(entry.key_at, fault);
            return None;
        }
    };
    let value = section.text_of(&entry.node, &entry.key)?;
    if value.bytes().any(|byte| byte.is_ascii_control()) {
        let fault = Fault::new("header", format!("`{}` cannot be sent", entry.key), "line ends and the like");
        section.fault(&entry.node, fault.help("a value is one line"));
        return None;
    }
    Some((name, value.to_owned()))
}

/// `GET https://www.example.com/path?query`, `tls://db.example.com`, `tcp://`.
fn request(text: &str) -> Result<Asked, Fault> {
    let form = "write \"GET https://www.example.com/path\", \"tls://db.example.com\" or \"tcp://\"";
    let fault = |label: &str| Fault::new("request", format!("`{text}` is no request"), label).help(form);
    let (method, address) = match text.split_once(' ') {
        Some((method, address)) => (Some(route::method(method)?), address),
        None => (None, text),
    };
    let (scheme, rest) = address.split_once("://").ok_or_else(|| fault("a whole address is needed"))?;
    let scheme = Scheme::ALL.iter().find(|(word, _)| *word == scheme).map(|(_, scheme)| *scheme);
    let scheme = scheme.ok_or_else(|| fault("http, https, tls or tcp"))?;
    if scheme.is_http() != method.is_some() {
        return Err(fault(if scheme.is_http() { "a method in front" } else { "a connection has no method" }));
    }
    let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if target.bytes().any(|byte| byte <= b' ' || byte == 0x7f || byte == b'#') {
        return Err(fault("a space, `#` or the like in it"));
    }
    if !target.is_empty() && !scheme.is_http() {
        return Err(fault("a connection has no path"));
    }
    let (host, port) = host_and_port(authority).ok_or_else(|| fault("not a name and a port"))?;
    if host.is_empty() && scheme != Scheme::Tcp {
        return Err(fault("a name is missing"));
    }
    let slash = if target.starts_with('/') { "" } else { "/" };
    Ok(Asked {
        scheme,
        method,
        authority: authority.to_owned(),
        host: host.to_owned(),
        port,
        target: format!("{slash}{target}"),
    })
}

fn host_and_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let good = |host: &str| host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'@');
    let (host, port) = match authority.rfind(':').filter(|colon| !authority[*colon..].contains(']')) {
        Some(colon) => (&authority[..colon], Some(authority[colon + 1..].parse().ok()?)),
        None => (authority, None),
    };
    good(host).then_some((host, port))
}

/// The listener that gets it: the one that is named, or the only one that can.
fn listener<'r>(section: &Section<'_>, asked: &Asked, listeners: &'r [ListenerRead]) -> Option<&'r ListenerRead> {
    let fits = |read: &&ListenerRead| read.listener.as_ref().is_some_and(|listener| asked.scheme.fits(listener));
    if let Some(name) = section.text("listener") {
        let at = section.entry("listener")?.node.at;
        let Some(read) = listeners.iter().find(|read| read.name == name) else {
            let known: Vec<String> = listeners.iter().take(8).map(|read| format!("`{}`", read.name)).collect();
            let problem = Problem::error("unknown-listener", at, format!("there is no listener `{name}`")).absence();
            let help =
                if known.is_empty() { "there is none yet".to_owned() } else { format!("there is {}", one_of(known)) };
            section.cx.report(problem.label("no such section").help(help));
            return None;
        };
        // One that is wrong in itself has been reported.
        let listener = read.listener.as_ref()?;
        if !asked.scheme.fits(listener) {
            let message = format!("listener `{name}` does not take {}", asked.scheme.noun());
            section.cx.report(
                Problem::error("test", at, message)
                    .label("the request would not be understood there")
                    .help("write the address as clients of this listener do: http://, https://, tcp:// or tls://"),
            );
            return None;
        }
        return Some(read);
    }
    let able: Vec<&ListenerRead> = listeners.iter().filter(fits).collect();
    let port = asked.port.or(asked.scheme.usual_port());
    let at_port = |read: &&&ListenerRead| {
        read.binds.iter().any(|(site, _)| matches!(site, Site::Ip(address) if Some(address.port()) == port))
    };
    let near: Vec<&ListenerRead> = able.iter().filter(at_port).copied().collect();
    match (near.as_slice(), able.as_slice()) {
        ([one], _) | ([], [one]) => Some(one),
        (several, all) => {
            // A listener that is wrong in itself may be the one that is meant.
            if listeners.iter().any(|read| read.listener.is_none()) {
                return None;
            }
            let named: Vec<String> = (if several.is_empty() { all } else { several })
                .iter()
                .map(|read| format!("`{}`", read.name))
                .collect();
            let node = &section.entry("request")?.node;
            let fault = if named.is_empty() {
                Fault::new("test", format!("no listener takes {}", asked.scheme.noun()), "nobody would get it")
                    .help("write the address as clients do: http://, https://, tcp:// or tls://")
            } else {
                Fault::new("test", "several listeners could get this request", "which one?")
                    .help(format!("write listener = \"NAME\" beside it: {}", one_of(named)))
            };
            section.fault_at(node.at, fault);
            None
        }
    }
}

fn expected(section: &Section<'_>, pools: &Pools<'_>) -> Option<(Expected, At)> {
    let form =
        "write expect = { pool = \"NAME\" }, { status = 404 }, { redirect = \"https://…\" } or { closed = true }";
    if !section.has("expect") {
        section.missing("expect", form);
    }
    let expect = section.section("expect", &EXPECT)?;
    let at = section.entry("expect")?.node.at;
    let status = expect.integer("status", 200..=599).and_then(|status| u16::try_from(status).ok());
    let redirect = expect.parsed("redirect", address_of).map(Arc::from);
    let closed = expect.boolean("closed");
    let pools = expect.one_or_more("pool").map(|nodes| -> Option<Vec<_>> {
        nodes.iter().map(|node| pools.named(&expect, expect.text_of(node, "pool")?, node.at)).collect()
    });
    let said: Vec<&str> = EXPECT.keys.iter().copied().filter(|key| expect.has(key)).collect();
    let expected = match said.as_slice() {
        ["pool"] => Expected::Pools(pools??),
        ["status"] => Expected::Answer { status: Some(status?), redirect: None },
        ["redirect"] => Expected::Answer { status: None, redirect: Some(redirect?) },
        ["status", "redirect"] => Expected::Answer { status: Some(status?), redirect: Some(redirect?) },
        ["closed"] if closed? => Expected::Closed,
        // What it has instead has been refused.
        [] if !expect.table.entries.is_empty() => return None,
        _ => {
            let fault = Fault::new("test", "a request comes to one end", "nothing, or too much, is expected");
            section.fault_at(at, fault.help(form));
            return None;
        }
    };
    Some((expected, at))
}

/// Where a redirect leads: an address, or a path on the same host.
fn address_of(text: &str) -> Result<String, Fault> {
    if text.contains("://") {
        return Ok(text.to_owned());
    }
    address::path(text).map(|path| path.to_string())
}
