//! A configuration from the command line: `--listen A --backend B --backend C --check http:/health`.
//!
//! Builds the same tree that a file gives, with places in the text of the command line, so that a wrong flag is
//! underlined like a wrong line of a file.

use super::problem::{At, Files, Problem, Problems};
use super::tree::{Entry, Node, Table, Text, Value};
use super::{Cx, Loaded, lower};

/// What the command line says.
#[derive(Debug, Clone, Copy, Default)]
pub struct Flags<'a> {
    /// `--listen`, at least once.
    pub listen: &'a [String],
    /// `--backend`, at least once.
    pub backends: &'a [String],
    /// `--check`: `http:/health`, `tcp`, `mysql:USER`, `apache:/server-status?auto`, `postgres`, `redis`, `smtp` or `ldap`.
    pub check: Option<&'a str>,
    /// `--balance`.
    pub balance: Option<&'a str>,
    /// `--protocol`; where it is absent, `tcp` for a check of what does not speak HTTP, and `http` otherwise.
    pub protocol: Option<&'a str>,
    /// `--admin`.
    pub admin: Option<&'a str>,
}

/// A configuration of one listener and one pool, both called `default`.
pub fn from_flags(flags: &Flags<'_>) -> Result<Loaded, Problems> {
    let mut line = Line::default();
    let listen = line.flags("--listen", flags.listen);
    let backends = line.flags("--backend", flags.backends);
    let one = |line: &mut Line, flag: &str, value: Option<&str>| value.map(|value| line.flag(flag, value));
    let check = one(&mut line, "--check", flags.check);
    let balance = one(&mut line, "--balance", flags.balance);
    let protocol = one(&mut line, "--protocol", flags.protocol);
    let admin = one(&mut line, "--admin", flags.admin);
    let mut files = Files::default();
    files.add("command line".into(), None, line.text);
    let cx = Cx::new(files, &|_| None);
    for (flag, given, help) in [
        ("--listen", &listen, "say where to accept: --listen 0.0.0.0:8080"),
        ("--backend", &backends, "say where the work goes: --backend 10.0.0.11:3000"),
    ] {
        if given.is_empty() {
            cx.report(Problem::placeless("missing", format!("there is no {flag}")).help(help));
        }
    }
    let word = |check: &Piece| check.value.split(':').next().unwrap_or_default().to_owned();
    let implied = check.as_ref().and_then(|check| NOT_HTTP.contains(&word(check).as_str()).then_some("tcp"));
    let mut listener = vec![list("bind", listen), entry("pool", plain("default"))];
    if let Some(protocol) = protocol.or_else(|| implied.map(Piece::implied)) {
        listener.push(entry("protocol", protocol.node()));
    }
    let mut pool = vec![list("backends", backends)];
    pool.extend(balance.map(|balance| entry("balance", balance.node())));
    pool.extend(check.and_then(|check| check_section(&cx, &check)));
    let mut root = Vec::new();
    root.extend(admin.map(|admin| entry("admin", table(vec![entry("bind", admin.node())]))));
    if cx.problems.borrow().is_empty() {
        root.push(entry("listener", table(vec![entry("default", table(listener))])));
        root.push(entry("pool", table(vec![entry("default", table(pool))])));
        let config = lower::lower(&cx, &Table { entries: root });
        return cx.finish(config);
    }
    cx.finish(None)
}

/// The text of the command line as far as it is built.
#[derive(Default)]
struct Line {
    text: String,
}

/// A value with its place on the command line.
struct Piece {
    value: String,
    at: At,
}

impl Line {
    fn flag(&mut self, flag: &str, value: &str) -> Piece {
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        self.text.push_str(flag);
        self.text.push(' ');
        let start = self.text.len();
        self.text.push_str(value);
        Piece { value: value.to_owned(), at: At::new(0, start..self.text.len()) }
    }

    fn flags(&mut self, flag: &str, values: &[String]) -> Vec<Piece> {
        values.iter().map(|value| self.flag(flag, value)).collect()
    }
}

impl Piece {
    fn implied(value: &str) -> Self {
        Self { value: value.to_owned(), at: NOWHERE }
    }

    fn node(self) -> Node {
        Node { value: Value::String(Text { value: self.value, raw: None }), at: self.at }
    }

    /// A part of the value, with its place.
    fn part(&self, span: std::ops::Range<usize>) -> Node {
        let start = self.at.start as usize;
        let at = At::new(0, start + span.start..start + span.end);
        Node { value: Value::String(Text { value: self.value[span].to_owned(), raw: None }), at }
    }
}

/// Checks of what does not speak HTTP.
const NOT_HTTP: &[&str] = &["mysql", "postgres", "redis", "smtp", "ldap"];
/// Checks that are complete as a word.
const ALONE: &[&str] = &["tcp", "redis", "smtp", "ldap"];

const NOWHERE: At = At { file: 0, start: 0, end: 0 };

fn entry(key: &str, node: Node) -> Entry {
    Entry { key: key.to_owned(), key_at: node.at, node }
}

fn plain(text: &str) -> Node {
    Piece::implied(text).node()
}

fn list(key: &str, pieces: Vec<Piece>) -> Entry {
    let at = pieces.first().map_or(NOWHERE, |piece| piece.at);
    entry(key, Node { value: Value::List(pieces.into_iter().map(Piece::node).collect()), at })
}

fn table(entries: Vec<Entry>) -> Node {
    let at = entries.first().map_or(NOWHERE, |entry| entry.node.at);
    Node { value: Value::Table(Table { entries }), at }
}

/// `TYPE[:DETAIL]` as `[pool.default.check.TYPE]`.
fn check_section(cx: &Cx<'_>, check: &Piece) -> Option<Entry> {
    let colon = check.value.find(':').unwrap_or(check.value.len());
    let kind = check.part(0..colon);
    let word = &check.value[..colon];
    let detail = (colon < check.value.len()).then(|| check.part(colon + 1..check.value.len()));
    let key = match word {
        "http" | "apache" => Some("path"),
        "mysql" | "postgres" => Some("user"),
        _ => None,
    };
    let mut entries = vec![entry("type", kind)];
    match (key, detail) {
        (Some(key), Some(detail)) => entries.push(entry(key, detail)),
        (None, Some(detail)) if ALONE.contains(&word) => {
            cx.report(
                Problem::error("flag", detail.at, format!("a {word} check takes nothing further"))
                    .label("not expected")
                    .help(format!("write --check {word}")),
            );
            return None;
        }
        (_, None) if word == "mysql" => entries.push(entry("user", plain("evenkeel"))),
        _ => {}
    }
    Some(entry(
        "check",
        table(vec![entry(if key.is_some() || ALONE.contains(&word) { word } else { "tcp" }, table(entries))]),
    ))
}
