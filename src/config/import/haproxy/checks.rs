//! Health checks: the last `option ...chk` of a backend counts, `http-check` and `tcp-check` lines say more of it.

use super::super::draft::{Draft, Keys, Pool};
use super::super::quote::quoted;
use super::Section;
use super::server::Told;
use super::words::{Line, milliseconds, time};

/// Words behind `option` that choose how servers are asked.
const KINDS: &[&str] = &[
    "httpchk",
    "mysql-check",
    "pgsql-check",
    "redis-check",
    "smtpchk",
    "ldap-check",
    "tcp-check",
    "ssl-hello-chk",
    "external-check",
    "spop-check",
];

pub(super) fn read(draft: &mut Draft, section: &Section, pool: &mut Pool, told: &Told) {
    if !told.agent.is_empty() {
        pool.tables.of("check.agent").take(&told.agent);
    }
    if !told.checked {
        return;
    }
    let options = section.lines().filter(|line| line.word(0) == "option" && KINDS.contains(&line.word(1)));
    let option = options.last();
    let kind = option.map_or("", |line| line.word(1));
    let at = option.map_or(section.at, |line| line.at);
    let (name, mut keys) = match (kind, option) {
        ("httpchk", Some(line)) => ("http", http(draft, section, line)),
        ("mysql-check", Some(line)) => ("mysql", account("mysql", line, Some("haproxy"))),
        ("pgsql-check", Some(line)) => ("postgres", account("postgres", line, None)),
        ("redis-check", Some(line)) => ("redis", account("redis", line, None)),
        ("ldap-check", Some(line)) => ("ldap", account("ldap", line, None)),
        ("smtpchk", Some(line)) => ("smtp", smtp(line)),
        ("tcp-check", Some(line)) => ("dialogue", script(draft, section, line)),
        ("ssl-hello-chk", Some(line)) => {
            let mut keys = account("tls", line, None);
            keys.written("verify", "false", line.at);
            ("tls", keys)
        }
        (_, Some(line)) => {
            draft.lose(
                at,
                &line.shown(),
                "a connection is asked for instead; commands of your own are checks of type \"exec\"",
            );
            ("port", account("tcp", line, None))
        }
        (_, None) => {
            let mut keys = Keys::default();
            keys.text("type", "tcp", at);
            ("port", keys)
        }
    };
    keys.take(&told.check);
    let kind = keys.get("type").unwrap_or_default().to_owned();
    let secret = pool.keys.has("tls") || !pool.tables.of("tls").is_empty();
    // Over the TLS of the pool a check goes by itself, unless it has a port of its own.
    if told.tls && (!secret || keys.has("port")) && kind != "\"tcp\"" && kind != "\"tls\"" && !keys.has("tls") {
        keys.written("tls", "{ verify = false }", at);
    }
    if kind == "\"tcp\"" && !pool.keys.has("send_proxy") && secret {
        pool.notes.push("HAProxy's check begins TLS; this one only connects: type = \"tls\" asks for more.".into());
    }
    timeout(section, &mut keys);
    pool.tables.of(&format!("check.{name}")).take(&keys);
}

fn account(kind: &str, line: &Line, otherwise: Option<&str>) -> Keys {
    let mut keys = Keys::default();
    keys.text("type", kind, line.at);
    let user = line.words.iter().position(|word| word == "user").and_then(|at| line.words.get(at + 1));
    if let Some(user) = user.map(String::as_str).or(otherwise) {
        keys.text("user", user, line.at);
    }
    keys
}

fn smtp(line: &Line) -> Keys {
    let mut keys = account("smtp", line, None);
    match (line.word(2), line.word(3)) {
        (_, "") => {}
        ("EHLO", name) => keys.text("ehlo", name, line.at),
        (_, name) => keys.text("helo", name, line.at),
    }
    keys
}

/// At most the interval, which HAProxy takes where nothing is said.
fn timeout(section: &Section, keys: &mut Keys) {
    let Some(line) = section.last(&["timeout", "check"]) else { return };
    let interval = keys.get("interval").map_or("2s", |text| text.trim_matches('"')).to_owned();
    let (Some(own), Some(most)) = (milliseconds(line.word(2)), milliseconds(&interval)) else { return };
    if own > most {
        keys.text("timeout", &interval, line.at);
        keys.note("timeout", "no probe begins before the one before it has ended");
    } else if let Some(time) = time(line.word(2)) {
        keys.text("timeout", &time, line.at);
    }
}

fn http(draft: &mut Draft, section: &Section, line: &Line) -> Keys {
    let mut keys = account("http", line, None);
    let (method, path, rest) = match (line.word(2), line.word(3)) {
        ("", _) => ("OPTIONS", "/", ""),
        (path, "") => ("OPTIONS", path, ""),
        (method, path) => (method, path, line.word(4)),
    };
    let mut asked = Asked { method: method.into(), path: path.into(), headers: Vec::new(), body: None };
    // Old files hide header fields behind the version.
    let hidden = rest.split("\r\n").skip(1).chain(line.from(5).iter().flat_map(|word| word.split("\r\n")));
    asked.headers.extend(hidden.filter_map(|field| field.split_once(':')).map(|(name, value)| pair(name, value)));
    let mut draining = false;
    for line in section.lines().filter(|line| line.word(0) == "http-check") {
        match line.word(1) {
            "send" => asked.send(line),
            "expect" => {
                if let Err(why) = expect(line, &mut keys) {
                    draft.lose(line.at, &line.shown(), why);
                }
            }
            "disable-on-404" => draining = true,
            "connect" | "comment" | "send-state" if line.words.len() == 2 => {}
            "connect" => connect(draft, line, &mut keys),
            _ => draft.lose(line.at, &line.shown(), "ours do not do that in a check"),
        }
    }
    if asked.method != "GET" {
        keys.text("method", &asked.method, line.at);
    }
    keys.text("path", &asked.path, line.at);
    if !asked.headers.is_empty() {
        let fields: Vec<String> =
            asked.headers.iter().map(|(name, value)| format!("{} = {}", quoted(name), quoted(value))).collect();
        keys.written("headers", format!("{{ {} }}", fields.join(", ")), line.at);
    }
    if let Some(body) = &asked.body {
        keys.text("request_body", body, line.at);
    }
    if draining && !keys.has("status") {
        keys.written("status", "{ \"200-399\" = \"up\", 404 = \"draining\" }", line.at);
    }
    keys
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.trim().to_owned(), value.trim().to_owned())
}

struct Asked {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<String>,
}

impl Asked {
    fn send(&mut self, line: &Line) {
        let mut words = line.from(2).iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().cloned().unwrap_or_default();
            match word.as_str() {
                "meth" => self.method = value(),
                "uri" => self.path = value(),
                "hdr" => {
                    let name = value();
                    self.headers.push(pair(&name, &value()));
                }
                "body" => self.body = Some(value()),
                _ => drop(value()),
            }
        }
    }
}

fn connect(draft: &mut Draft, line: &Line, keys: &mut Keys) {
    let mut words = line.from(2).iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "port" => keys.written("port", words.next().cloned().unwrap_or_default(), line.at),
            "ssl" => keys.written("tls", "{ verify = false }", line.at),
            "default" | "linger" => {}
            other => draft.lose(line.at, other, "ours do not do that in a check"),
        }
    }
}

/// `http-check expect [min-recv N] [!] status|rstatus|string|rstring PATTERN`.
fn expect(line: &Line, keys: &mut Keys) -> Result<(), String> {
    let words: Vec<&str> = line.from(2).iter().map(String::as_str).collect();
    let (not, words) = match words.as_slice() {
        ["!", rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let (kind, pattern) = match words {
        [kind, first, ..] => (*kind, *first),
        _ => return Err("nothing is expected there".into()),
    };
    let end = if not { ", not = true }" } else { " }" };
    match kind {
        "status" if !not => {
            let codes: Vec<String> = pattern
                .split(',')
                .map(|code| if code.contains('-') { quoted(code) } else { code.to_owned() })
                .collect();
            keys.written("status", format!("[{}]", codes.join(", ")), line.at);
        }
        "rstatus" if !not => keys.text("status", &format!("/{pattern}/"), line.at),
        "string" => keys.written("body", format!("{{ contains = {}{end}", quoted(pattern)), line.at),
        "rstring" => keys.written("body", format!("{{ regex = {}{end}", quoted(pattern)), line.at),
        _ => return Err("ours name the codes that are good".into()),
    }
    if kind.ends_with("string") {
        // The status says nothing then.
        keys.written("status", "\"100-599\"", line.at);
    }
    Ok(())
}

fn script(draft: &mut Draft, section: &Section, option: &Line) -> Keys {
    let mut steps = Vec::new();
    let mut keys = Keys::default();
    for line in section.lines().filter(|line| line.word(0) == "tcp-check") {
        let (verb, value) = (line.word(1), line.word(2));
        match (verb, value) {
            ("connect", _) => {
                connect(draft, &Line { at: line.at, words: line.words.clone() }, &mut keys);
            }
            ("send", text) => steps.push(format!("{{ send = {} }}", quoted(text))),
            ("send-binary", bytes) => steps.push(format!("{{ send_hex = {} }}", quoted(bytes))),
            ("expect", "string") => steps.push(format!("{{ expect = {} }}", quoted(line.word(3)))),
            ("expect", "rstring") => steps.push(format!("{{ expect_regex = {} }}", quoted(line.word(3)))),
            ("expect", "binary") => steps.push(format!("{{ expect_hex = {} }}", quoted(line.word(3)))),
            ("comment", _) => {}
            _ => draft.lose(line.at, &line.shown(), "steps of ours send and expect; see type = \"script\""),
        }
    }
    if steps.is_empty() {
        keys.text("type", "tcp", option.at);
        keys.remove("tls");
    } else {
        keys.text("type", "script", option.at);
        keys.written("steps", format!("[{}]", steps.join(", ")), option.at);
    }
    keys
}
