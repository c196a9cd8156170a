//! A `frontend` (or the front of a `listen`) as a listener: addresses, deadlines, fields and rules.

use super::super::draft::{Conditions, Draft, Keys, Listener, Tables};
use super::super::quote;
use super::acl::{Acls, Condition, Literal, alike};
use super::actions::{self, Which};
use super::map::{self, Map};
use super::order::{Clients, LOOKS_MAX, Order, Rule, constant};
use super::words::{Line, time};
use super::{Files, Kind, Section, bind};

/// What a front comes to before its addresses are looked at.
#[derive(Default)]
struct Front {
    rules: Vec<Rule>,
    /// Changes of fields, with their conditions.
    fields: Vec<(Vec<Literal>, Keys, Line)>,
    keys: Keys,
    tables: Tables,
}

pub(super) fn read(draft: &mut Draft, section: &Section, sections: &[Section], files: Files<'_>) {
    if section.own.iter().any(|line| line.word(0) == "stats" && line.word(1) == "enable")
        && !section.own.iter().any(|line| matches!(line.word(0), "server" | "default_backend" | "use_backend"))
    {
        draft.lose(
            section.at,
            &format!("listen {}", section.name),
            "the page of figures is at [admin], 127.0.0.1:8404",
        );
        return;
    }
    let bound: Vec<&Line> = section.own.iter().filter(|line| line.word(0) == "bind").collect();
    let binds = bind::read(draft, &bound);
    let front = front(draft, section, sections, files);
    for bind in binds {
        let clients = if bind.tls.is_empty() { Clients::Plain } else { Clients::Tls };
        let taken = draft.listeners.iter().any(|listener| listener.name == quote::name(&section.name));
        let wanted =
            if taken && clients == Clients::Tls { format!("{}-tls", section.name) } else { section.name.clone() };
        let mut listener = Listener { name: draft.free_listener(&wanted), at: section.at, ..Listener::default() };
        for address in &bind.addresses {
            listener.keys.item("bind", address, bind.at);
        }
        if !section.is_http() {
            listener.keys.text("protocol", "tcp", section.at);
        }
        listener.keys.take(&bind.keys);
        listener.keys.take(&front.keys);
        listener.tables = front.tables.clone();
        listener.tables.of("tls").take(&bind.tls);
        for (when, keys, line) in &front.fields {
            match constant(when, clients) {
                Some(true) => listener.keys.take(keys),
                Some(false) => {}
                None => draft.lose(
                    line.at,
                    &line.shown(),
                    "fields are set for all requests of a listener or route, not by a condition",
                ),
            }
        }
        let mut order = Order { draft, clients, routes: Vec::new(), left: LOOKS_MAX, deep: 0 };
        order.flatten(&front.rules, &Conditions::default());
        let routes = order.routes;
        for route in routes {
            if route.when.is_any() {
                listener.keys.take(&route.keys);
            } else {
                listener.routes.push(route);
            }
        }
        // Rules in front of it decide everything: the rest of the routes is never reached.
        draft.listeners.push(listener);
    }
}

fn front(draft: &mut Draft, section: &Section, sections: &[Section], files: Files<'_>) -> Front {
    let own: Vec<Line> = section.own.clone();
    let acls = Acls::read(&own, files);
    let mut front = Front::default();
    deadlines(draft, section, &mut front);
    // HAProxy obeys these in this order, however they stand in the file.
    for turn in [Turn::Connection, Turn::Request, Turn::Redirect, Turn::Backend] {
        for line in section.lines().filter(|line| Turn::of(line) == Some(turn)) {
            let read = match map::of(line) {
                Some(map) => mapped(line, map, &acls, &mut front, sections, files),
                None => rule(line, &acls, &mut front, section, sections),
            };
            if let Err(why) = read {
                draft.lose(line.at, &line.shown(), why);
            }
        }
    }
    default(draft, section, sections, &mut front);
    for line in section.own.iter().filter(|line| looks_for_domains(line)) {
        let why = "HAProxy finds the name anywhere in the host, in NAME.example.net, too; ours is the name and what is below it";
        draft.lose(line.at, &line.shown(), why);
    }
    for line in section.lines() {
        other(draft, line, &mut front);
    }
    front
}

/// `hdr_dom(host)`, or `-m dom`.
fn looks_for_domains(line: &Line) -> bool {
    line.words.iter().any(|word| word.contains("hdr_dom(") || word.contains("_sni_dom"))
        || line.words.windows(2).any(|pair| pair[0] == "-m" && pair[1] == "dom")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Connection,
    Request,
    Redirect,
    Backend,
}

impl Turn {
    fn of(line: &Line) -> Option<Self> {
        match line.word(0) {
            "tcp-request" => Some(Self::Connection),
            "http-request" | "http-response" | "monitor-uri" | "block" => Some(Self::Request),
            "redirect" => Some(Self::Redirect),
            "use_backend" => Some(Self::Backend),
            _ => None,
        }
    }
}

fn rule(
    line: &Line,
    acls: &Acls<'_>,
    front: &mut Front,
    section: &Section,
    sections: &[Section],
) -> Result<(), String> {
    let (words, condition) = actions::divide(&line.words);
    let condition = acls.condition(condition)?;
    let word = |at: usize| words.get(at).map_or("", String::as_str);
    let rest = words.get(2..).unwrap_or_default();
    let http = section.is_http();
    let does = match (word(0), word(1)) {
        ("use_backend", name) => pool(line, name, sections)?,
        ("redirect", _) => actions::redirect(words.get(1..).unwrap_or_default(), line.at)?,
        ("http-request", "redirect") => actions::redirect(rest, line.at)?,
        ("http-request", "deny" | "reject") | ("block", _) => actions::answer(rest, "403", line.at)?,
        ("http-request", "tarpit") => actions::answer(rest, "500", line.at)?,
        ("http-request", "return") => actions::answer(rest, "200", line.at)?,
        ("tcp-request", "connection") if word(2) == "reject" && http => actions::answer(&[], "403", line.at)?,
        ("tcp-request", "inspect-delay") => return Ok(()),
        ("tcp-request", "content") if word(2) == "accept" => return Ok(()),
        ("monitor-uri", path) => {
            let literals = acls.condition(&["if", "{", "path", path, "}"].map(str::to_owned))?;
            push(front, line, literals, &actions::answer(&[], "200", line.at)?);
            return Ok(());
        }
        ("http-request" | "http-response", verb) if verb.ends_with("-header") => {
            let which = if word(0) == "http-request" { Which::Request } else { Which::Response };
            let keys = actions::header(which, line, words.get(1..).unwrap_or_default())?;
            if !keys.is_empty() {
                front.fields.extend(condition.into_iter().map(|when| (when, keys.clone(), line.clone())));
            }
            return Ok(());
        }
        ("http-request", "set-var" | "capture" | "set-log-level" | "track-sc0" | "track-sc1") => {
            return Err("ours keep nothing of a request for later rules; for limits see `rate`".into());
        }
        ("http-request", "auth") => return Err("see `basic_auth`, with a file of bcrypt or argon2id".into()),
        _ => return Err("ours have no such rule".into()),
    };
    push(front, line, condition, &does);
    Ok(())
}

/// A rule for each line of a map, and one for all the rest.
fn mapped(
    line: &Line,
    map: Result<Map<'_>, String>,
    acls: &Acls<'_>,
    front: &mut Front,
    sections: &[Section],
    files: Files<'_>,
) -> Result<(), String> {
    let map = map?;
    let (_, condition) = actions::divide(&line.words);
    let condition = acls.condition(condition)?;
    let text = files(map.file)
        .ok_or_else(|| format!("{} cannot be read here: write a route for each of its lines", map.file))?;
    let mut unknown = Vec::new();
    for (key, name) in map.entries(&text) {
        let Ok(does) = pool(line, name, sections) else {
            unknown.push(name.to_owned());
            continue;
        };
        let literal = Literal { tests: vec![alike(map.fetch, map.how, key)], negated: false };
        let and = |mut when: Vec<Literal>| {
            when.push(literal.clone());
            when
        };
        push(front, line, condition.iter().cloned().map(and).collect(), &does);
    }
    if let Some(name) = map.otherwise {
        push(front, line, condition, &pool(line, name, sections)?);
    }
    unknown.dedup();
    if unknown.is_empty() { Ok(()) } else { Err(format!("there is no backend {} in this file", unknown.join(", "))) }
}

fn push(front: &mut Front, line: &Line, condition: Condition, does: &Keys) {
    let rules = condition.into_iter().map(|when| Rule { at: line.at, shown: line.shown(), when, does: does.clone() });
    front.rules.extend(rules);
}

fn pool(line: &Line, name: &str, sections: &[Section]) -> Result<Keys, String> {
    let is = |section: &&Section| matches!(section.kind, Kind::Backend | Kind::Listen) && section.name == name;
    sections.iter().find(is).ok_or_else(|| format!("there is no backend `{name}` in this file"))?;
    let mut keys = Keys::default();
    keys.text("pool", &quote::name(name), line.at);
    Ok(keys)
}

fn default(draft: &mut Draft, section: &Section, sections: &[Section], front: &mut Front) {
    if let Some(line) = section.last(&["default_backend"]) {
        match pool(line, line.word(1), sections) {
            Ok(keys) => push(front, line, vec![Vec::new()], &keys),
            Err(why) => draft.lose(line.at, &line.shown(), why),
        }
    } else if let Some(line) = section.own.iter().find(|line| matches!(line.word(0), "server" | "server-template")) {
        let mut keys = Keys::default();
        keys.text("pool", &quote::name(&section.name), line.at);
        push(front, line, vec![Vec::new()], &keys);
    }
}

fn deadlines(draft: &mut Draft, section: &Section, front: &mut Front) {
    let http = section.is_http();
    let ours: &[(&str, &[&str])] = if http {
        &[
            ("client", &["client_idle", "body_idle"]),
            ("http-keep-alive", &["client_idle"]),
            ("http-request", &["head"]),
            ("tunnel", &["tunnel_idle"]),
        ]
    } else {
        &[("client", &["tunnel_idle"]), ("tunnel", &["tunnel_idle"])]
    };
    for (theirs, names) in ours {
        let Some(line) = section.last(&["timeout", theirs]) else { continue };
        match time(line.word(2)) {
            Some(time) => names.iter().for_each(|name| front.tables.of("timeouts").text(name, &time, line.at)),
            None => draft.lose(line.at, &line.shown(), "ours wait for no time without an end"),
        }
    }
}

/// Lines that are no rules. What the back reads is left to it.
fn other(draft: &mut Draft, line: &Line, front: &mut Front) {
    match (line.word(0), line.word(1)) {
        ("maxconn", count) => front.tables.of("limits").written("connections", count, line.at),
        ("compression", "algo") => front.keys.written("compress", "true", line.at),
        ("option", "forwardfor") if line.words.len() > 2 => {
            draft.lose(
                line.at,
                &line.shown(),
                "X-Forwarded-For is always written; whose own counts is `trusted_proxies`",
            );
        }
        ("option", "httplog" | "tcplog") => {
            draft.lose(line.at, &line.shown(), "access logs are off by default: write access = \"json\" into [log]");
        }
        ("errorfile", _) => {
            draft.lose(
                line.at,
                &line.shown(),
                "a whole answer with its head; `errors` takes the body alone, as a file",
            );
        }
        (
            "capture" | "stats" | "errorloc" | "errorloc302" | "errorloc303" | "unique-id-format" | "log-format"
            | "rspadd" | "reqadd" | "reqrep" | "rsprep" | "reqdel" | "rspdel" | "reqirep" | "rspirep" | "filter",
            _,
        ) => {
            draft.lose(line.at, &line.shown(), "ours have nothing like it");
        }
        _ => {}
    }
}
