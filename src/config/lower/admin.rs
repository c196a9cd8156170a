//! `[admin]`: where the admin port is, and who may do what there.
//!
//! The files of tokens are read here, so that one that opens nothing is a problem of the configuration.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::super::address;
use super::super::model::{
    Admin, CertificateRole, ClientTrust, Dialect, ListenerTls, Per, Rate, Role, Site, Tickets, Token, TokenSecret,
};
use super::super::problem::{At, Problem};
use super::super::section::{Choice, Section};
use super::super::substitute;
use super::super::tree::{Entry, Node, Value};
use super::super::units::Fault;
use super::super::users;
use super::super::vocabulary::{ADMIN, ADMIN_CLIENT, ADMIN_RATE, ADMIN_TLS, ADMIN_TOKEN};
use super::{certificates, clients, log, socket_mode};

/// Who may connect to an admin port that is a file: whoever may, may do everything.
const SOCKET_MODE: u32 = 0o600;

/// Most tokens: one that nobody knows yet is held against each of them.
const MAX_TOKENS: usize = 64;

/// Requests a second of one address where nothing is said …
const REQUESTS: NonZeroU32 = NonZeroU32::new(500).expect("a number");
/// … and so many at once.
const BURST: NonZeroU32 = NonZeroU32::new(1000).expect("a number");

/// The name of the one token that has none of its own.
const ONLY: &str = "token_file";

const ROLE: Choice<Role> = Choice {
    words: &[("read", Role::Read), ("operate", Role::Operate)],
    foreign: &[
        ("readonly", "read"),
        ("read-only", "read"),
        ("ro", "read"),
        ("viewer", "read"),
        ("monitor", "read"),
        ("rw", "operate"),
        ("write", "operate"),
        ("admin", "operate"),
        ("operator", "operate"),
    ],
    later: &[],
};

/// `[admin]` with the place of its bind.
pub(super) struct AdminRead {
    pub(super) admin: Admin,
    pub(super) at: Option<At>,
}

pub(super) fn admin(top: &Section<'_>) -> AdminRead {
    let usual = Site::Ip(SocketAddr::from(([127, 0, 0, 1], 8404)));
    let Some(section) = top.section("admin", &ADMIN) else {
        let admin = Admin {
            bind: Some(usual),
            socket_mode: SOCKET_MODE,
            tokens: Vec::new(),
            tls: None,
            clients: Vec::new(),
            audit: None,
            rate: Some(usual_rate()),
        };
        return AdminRead { admin, at: None };
    };
    let tokens = tokens(&section);
    let at = section.entry("bind").map(|entry| entry.node.at);
    let is_off = section.says("bind", "off");
    let bind = match section.has("bind") {
        _ if is_off => None,
        true => section.parsed("bind", address::bind),
        false => Some(usual),
    };
    let socket_mode = if is_off { SOCKET_MODE } else { socket_mode(&section, bind.as_slice(), SOCKET_MODE) };
    let audit = if section.says("audit", "off") { None } else { log::target(&section, "audit") };
    let (tls, clients) = (tls(&section), certificate_roles(&section));
    let admin = Admin { bind, socket_mode, tokens, tls, clients, audit, rate: rate(&section) };
    refuse_open(&section, &admin, at);
    refuse_tls_on_unix(&section, &admin);
    AdminRead { admin, at }
}

/// What the port shows, and by whom those who connect are judged.
fn tls(section: &Section<'_>) -> Option<Arc<ListenerTls>> {
    let inner = section.section("tls", &ADMIN_TLS)?;
    for key in ["cert", "key"].into_iter().filter(|key| !inner.has(key)) {
        inner.missing(key, "write tls = { cert = \"admin.pem\", key = \"admin.key\" }; both may stand in one file");
    }
    let mut files = Vec::new();
    let clients = judged(section, &inner, &mut files);
    let (cert, key) = (inner.text("cert")?, inner.text("key")?);
    let (cert_node, key_node) = (&inner.entry("cert")?.node, &inner.entry("key")?.node);
    files.extend([(cert_node, cert), (key_node, key)].map(|(node, path)| substitute::resolve(inner.cx, node.at, path)));
    let certificate = certificates::pair(&inner, (cert_node, cert), (key_node, key))?;
    Some(Arc::new(ListenerTls {
        certificates: vec![Arc::new(certificate)],
        files,
        dialect: Dialect::default(),
        clients: clients?,
        tickets: Tickets::Own,
    }))
}

/// A socket of this machine needs none, and speaks none.
fn refuse_tls_on_unix(section: &Section<'_>, admin: &Admin) {
    let (Some(Site::Unix(_)), Some(tls)) = (&admin.bind, section.table.get("tls")) else { return };
    let problem = Problem::error("conflict", tls.key_at, "`tls` on a socket of this machine")
        .label("the rights of its file say who may connect")
        .help("take it out, or bind to an address and a port");
    section.cx.report(match section.entry("bind") {
        Some(bind) => problem.second(bind.node.at, "the socket"),
        None => problem,
    });
}

/// `client_ca` with `client_crl`. `Some(None)`: nobody is asked for a certificate.
#[expect(clippy::option_option, reason = "the outer one says whether it could be read, as everywhere here")]
fn judged(section: &Section<'_>, inner: &Section<'_>, files: &mut Vec<PathBuf>) -> Option<Option<ClientTrust>> {
    let Some(entry) = inner.table.get("client_ca") else {
        if let Some(crl) = inner.entry("client_crl") {
            let problem = Problem::error("missing", crl.key_at, "`client_crl` without `client_ca`");
            inner.cx.report(problem.label("nobody is asked for a certificate").help("name who signs them: client_ca"));
        }
        return Some(None);
    };
    if !section.has("clients") {
        let problem = Problem::error("missing", entry.key_at, "`client_ca` without `clients`");
        inner.cx.report(
            problem
                .label("no certificate opens anything")
                .help("say what they open: [admin] clients = [{ name = \"ann\", role = \"operate\" }]"),
        );
        return None;
    }
    clients::trust(inner, clients::Keys { roots: "client_ca", revoked: "client_crl" }, files).map(Some)
}

/// `clients`: whose certificates open what.
fn certificate_roles(section: &Section<'_>) -> Vec<CertificateRole> {
    let Some(entry) = section.table.get("clients") else { return Vec::new() };
    let is_asked = section.entry("tls").is_some_and(
        |tls| matches!(&tls.node.value, Value::Table(table) if table.get("client_ca").is_some()),
    );
    if !is_asked {
        section.cx.report(
            Problem::error("missing", entry.key_at, "`clients` without `client_ca`")
                .label("nobody is asked for a certificate")
                .help("write [admin.tls] with cert, key and client_ca = \"clients-ca.pem\""),
        );
    }
    let mut names = Vec::new();
    let nodes = section.one_or_more("clients").unwrap_or_default();
    nodes.iter().filter_map(|node| certificate_role(section, node, &mut names)).collect()
}

/// One entry of `clients`.
fn certificate_role<'a>(section: &Section<'a>, node: &'a Node, names: &mut Vec<(&'a str, At)>) -> Option<CertificateRole> {
    let Value::Table(table) = &node.value else {
        let help = "write clients = [{ name = \"ann\", role = \"operate\" }]";
        section.wrong_type(node, "clients", "a list of tables", help);
        return None;
    };
    let inner = Section::new(section.cx, table, node.at, section.path_of("clients"), &ADMIN_CLIENT);
    for (key, example) in [
        ("name", "name = \"ann\": the common name of the certificate, or one of its alternative names"),
        ("role", "role = \"read\", or \"operate\" for whoever may change something"),
    ] {
        if !inner.has(key) {
            inner.missing(key, format!("write {example}"));
        }
    }
    let name = inner.parsed("name", holder).filter(|name| is_first(&inner, name, names));
    let role = inner.choice("role", &ROLE);
    Some(CertificateRole { name: name?.into(), role: role? })
}

/// Names of certificates may be more than ours: addresses of the web, of people, of services.
fn holder(text: &str) -> Result<String, Fault> {
    if (1..=255).contains(&text.len()) && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Ok(text.to_owned());
    }
    let fault = Fault::new("name", format!("`{text}` cannot be a name"), "empty, too long, or not plain text");
    Err(fault.help("write name = \"ann\""))
}

/// How often each may ask; `None`: as often as it likes.
fn rate(section: &Section<'_>) -> Option<Arc<Rate>> {
    if section.is_off("rate") {
        return None;
    }
    if !section.has("rate") {
        return Some(usual_rate());
    }
    super::rules::rate::of(&section.section("rate", &ADMIN_RATE)?)
}

/// Nobody who looks or orders asks so often.
fn usual_rate() -> Arc<Rate> {
    let rate = Rate { per: Per::Client, requests: REQUESTS, every: Duration::from_secs(1), burst: BURST };
    Arc::new(rate)
}

/// A port that other machines reach asks who it is that asks.
fn refuse_open(section: &Section<'_>, admin: &Admin, at: Option<At>) {
    let (Some(address), Some(at)) = (&admin.bind, at) else { return };
    let asks = ["token_file", "tokens", "clients"].iter().any(|key| section.has(key));
    if address.is_local() || asks {
        return;
    }
    section.cx.report(
        Problem::error("open-admin", at, format!("the admin port on {address} needs a token, or certificates of clients"))
            .label("reachable from other machines")
            .help("add token_file = \"path\" with a secret in that file, or `tokens`, or `tls` with `clients`, or bind to 127.0.0.1"),
    );
}

/// `token_file`, which opens everything, and `tokens`.
fn tokens(section: &Section<'_>) -> Vec<Token> {
    let only = section.entry("token_file").and_then(|entry| secret(section, entry, "token_file"));
    let mut tokens: Vec<Token> =
        only.into_iter().map(|secret| Token { name: ONLY.into(), role: Role::Operate, secret }).collect();
    let mut names: Vec<(&str, At)> = section.entry("token_file").map(|entry| (ONLY, entry.key_at)).into_iter().collect();
    let nodes = section.one_or_more("tokens").unwrap_or_default();
    if let Some(extra) = nodes.get(MAX_TOKENS) {
        let fault = Fault::new("range", format!("{} tokens are too many", nodes.len()), "from here on");
        section.fault(extra, fault.help(format!("at most {MAX_TOKENS}; several programs may share one")));
        return tokens;
    }
    for node in nodes {
        tokens.extend(token(section, node, &mut names));
    }
    tokens
}

/// One entry of `tokens`.
fn token<'a>(section: &Section<'a>, node: &'a Node, names: &mut Vec<(&'a str, At)>) -> Option<Token> {
    let Value::Table(table) = &node.value else {
        let help = "write tokens = [{ name = \"grafana\", role = \"read\", file = \"grafana.token\" }]";
        section.wrong_type(node, "tokens", "a list of tables", help);
        return None;
    };
    let inner = Section::new(section.cx, table, node.at, section.path_of("tokens"), &ADMIN_TOKEN);
    for (key, example) in [
        ("name", "name = \"grafana\", by which it is known where it was used"),
        ("role", "role = \"read\", or \"operate\" for whoever may change something"),
        ("file", "file = \"grafana.token\", with what `evenkeel token` prints"),
    ] {
        if !inner.has(key) {
            inner.missing(key, format!("write {example}"));
        }
    }
    let name = inner.parsed("name", name).filter(|name| is_first(&inner, name, names));
    let role = inner.choice("role", &ROLE);
    let secret = inner.entry("file").and_then(|entry| secret(&inner, entry, "file"));
    Some(Token { name: name?.into(), role: role?, secret: secret? })
}

fn is_first<'a>(inner: &Section<'a>, name: &str, names: &mut Vec<(&'a str, At)>) -> bool {
    let Some(entry) = inner.entry("name") else { return true };
    if let Some((_, first)) = names.iter().find(|(known, _)| *known == name) {
        inner.cx.report(
            Problem::error("duplicate", entry.node.at, format!("the name `{name}` stands there twice"))
                .label("the same name")
                .second(*first, "the first one")
                .help("give each a name of its own: it says who did something"),
        );
        return false;
    }
    names.extend(inner.text("name").map(|name| (name, entry.node.at)));
    true
}

/// Names stand in logs and on terminals.
pub(super) fn name(text: &str) -> Result<String, Fault> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
    if (1..=64).contains(&text.len()) && text.bytes().all(is_plain) {
        return Ok(text.to_owned());
    }
    let fault = Fault::new("name", format!("`{text}` cannot be a name"), "up to 64 letters, digits, `-`, `_`, `.` and `@`");
    Err(fault.help("write name = \"grafana\""))
}

/// What the file of a token holds: a hash, or the token.
fn secret(section: &Section<'_>, entry: &Entry, key: &str) -> Option<TokenSecret> {
    let path = section.text(key)?;
    let content = substitute::read_bytes(section.cx, entry.node.at, path)?;
    let text = std::str::from_utf8(&content).unwrap_or("").trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let fault = Fault::new("token", "this file holds no token", "expected one line of text");
        section.fault(&entry.node, fault.help("have one made: evenkeel token NAME"));
        return None;
    }
    if !text.starts_with('$') {
        return Some(TokenSecret::Plain(text.into()));
    }
    match users::Secret::read(text) {
        Ok(secret) => Some(TokenSecret::Hashed(secret)),
        Err(what) => {
            let fault = Fault::new("token", format!("the token in this file {what}"), "a hash that cannot be used");
            section.fault(&entry.node, fault.help("have one made: evenkeel token NAME"));
            None
        }
    }
}
