//! `[admin]`: where the admin port is, and who may do what there.
//!
//! The files of tokens are read here, so that one that opens nothing is a problem of the configuration.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::super::address;
use super::super::model::{Admin, Per, Rate, Role, Site, Token, TokenSecret};
use super::super::problem::{At, Problem};
use super::super::section::{Choice, Section};
use super::super::substitute;
use super::super::tree::{Entry, Node, Value};
use super::super::units::Fault;
use super::super::users;
use super::super::vocabulary::{ADMIN, ADMIN_RATE, ADMIN_TOKEN};
use super::{log, socket_mode};

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
    let admin = Admin { bind, socket_mode, tokens, audit, rate: rate(&section) };
    refuse_open(&section, &admin, at);
    AdminRead { admin, at }
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
    let asks = ["token_file", "tokens"].iter().any(|key| section.has(key));
    if address.is_local() || asks {
        return;
    }
    section.cx.report(
        Problem::error("open-admin", at, format!("the admin port on {address} needs a token"))
            .label("reachable from other machines")
            .help("add token_file = \"path\" with a secret in that file, or `tokens`, or bind to 127.0.0.1"),
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
            Problem::error("duplicate", entry.node.at, format!("two tokens have the name `{name}`"))
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
