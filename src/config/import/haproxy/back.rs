//! A `backend` (or the back of a `listen`) as a pool: how is picked, who stays where, deadlines, rules.

use super::super::draft::{Draft, Keys, Pool};
use super::super::quote::{self, quoted};
use super::words::{Line, time};
use super::{Kind, Section, checks, server};

pub(super) fn read(draft: &mut Draft, section: &Section, sections: &[Section]) {
    let mut pool = Pool { name: quote::name(&section.name), at: section.at, ..Pool::default() };
    let fallback = port(section, sections);
    let told = server::read(draft, section, &mut pool, fallback.as_deref());
    if pool.backends.is_empty() {
        if section.kind == Kind::Backend {
            nobody(draft, section, &pool.name);
        }
        return;
    }
    for line in section.lines() {
        if let Err(why) = policy(line, &mut pool, section.is_http()) {
            draft.lose(line.at, &line.shown(), why);
        }
    }
    deadlines(draft, section, &mut pool);
    checks::read(draft, section, &mut pool, &told);
    for line in section.own.iter().filter(|line| section.kind == Kind::Backend && is_rule(line)) {
        draft.lose(line.at, &line.shown(), "rules stand with listeners and routes, not with pools: write it there");
    }
    draft.pools.push(pool);
}

/// A backend without servers is where its rules answer, or 503.
fn nobody(draft: &mut Draft, section: &Section, name: &str) {
    draft.lose(
        section.at,
        &format!("backend {}", section.name),
        "no server in it that is carried over: what goes there is answered by 503",
    );
    let pool = quoted(name);
    let instead = |keys: &mut Keys| {
        if keys.get("pool") == Some(pool.as_str()) {
            keys.remove("pool");
            keys.written("respond", "503", section.at);
        }
    };
    for listener in &mut draft.listeners {
        instead(&mut listener.keys);
        listener.routes.iter_mut().for_each(|route| instead(&mut route.keys));
    }
}

fn is_rule(line: &Line) -> bool {
    match line.word(0) {
        "http-request" | "http-response" => {
            !line.word(2).eq_ignore_ascii_case("X-Forwarded-Proto")
                && !line.word(2).eq_ignore_ascii_case("X-Forwarded-For")
        }
        word => {
            matches!(word, "redirect" | "errorfile" | "reqrep" | "rspadd" | "reqadd" | "use-server" | "compression")
        }
    }
}

/// The port that clients came to, where a server has none of its own.
fn port(section: &Section, sections: &[Section]) -> Option<String> {
    let names = |front: &&Section| {
        front.name == section.name && front.kind == Kind::Listen
            || front
                .lines()
                .any(|line| matches!(line.word(0), "use_backend" | "default_backend") && line.word(1) == section.name)
    };
    let binds = sections.iter().filter(names).flat_map(|front| front.own.iter().filter(|line| line.word(0) == "bind"));
    let mut ports = binds.filter_map(|line| line.word(1).rsplit_once(':')).map(|(_, port)| port.to_owned());
    ports.next()
}

fn policy(line: &Line, pool: &mut Pool, http: bool) -> Result<(), String> {
    match (line.word(0), line.word(1)) {
        ("balance", how) => balance(line, how, pool)?,
        ("cookie", name) if http => cookie(line, name, pool),
        ("stick", "on" | "match") => stick(line, pool)?,
        ("stick", _) => {
            return Err("ours stay by source, header or cookie; what answers say is only read from a cookie".into());
        }
        ("retries", count) => {
            let count: u32 = count.parse().map_err(|_not_a_number| "not a number")?;
            pool.tables.of("retry").written("attempts", count.min(10).to_string(), line.at);
        }
        ("option", "allbackups") => {
            return Err("all backups that are up serve together in ours, by their weights, as this asks".into());
        }
        ("fullconn", _) => return Err("limits of servers do not grow with the load".into()),
        ("source", address) => {
            pool.keys.item("source", address.rsplit_once(':').map_or(address, |(host, _)| host), line.at);
        }
        _ => {}
    }
    Ok(())
}

fn balance(line: &Line, how: &str, pool: &mut Pool) -> Result<(), String> {
    let header = how.strip_prefix("hdr(").and_then(|rest| rest.strip_suffix(')'));
    let ours = match (how, header) {
        ("roundrobin" | "static-rr", _) => "round-robin".to_owned(),
        ("leastconn", _) => "least-requests".to_owned(),
        ("source" | "uri" | "first", _) => how.to_owned(),
        (_, Some(name)) => format!("header:{name}"),
        _ if how.starts_with("random") => "p2c".to_owned(),
        _ => return Err("ours do not pick in that way; it is round-robin".into()),
    };
    pool.keys.text("balance", &ours, line.at);
    Ok(())
}

fn cookie(line: &Line, name: &str, pool: &mut Pool) {
    let has = |word: &str| line.from(2).iter().any(|known| known == word);
    let after = |word: &str| line.words.iter().position(|known| known == word).and_then(|at| line.words.get(at + 1));
    if has("prefix") || has("rewrite") {
        pool.keys.written("sticky", format!("{{ application_cookie = {} }}", quoted(name)), line.at);
        return;
    }
    let mut table = vec![format!("cookie = {}", quoted(name))];
    table.extend(after("domain").map(|domain| format!("domain = {}", quoted(domain.trim_start_matches('.')))));
    table.extend(has("secure").then(|| "secure = true".to_owned()));
    table.extend(
        after("maxlife").and_then(|life| time(&format!("{life}s"))).map(|life| format!("max_age = {}", quoted(&life))),
    );
    pool.keys.written("sticky", format!("{{ {} }}", table.join(", ")), line.at);
    pool.notes.push(
        "The cookie is signed: clients get a new one. Balancers that share them need the same `secret` in `sticky`."
            .into(),
    );
}

fn stick(line: &Line, pool: &mut Pool) -> Result<(), String> {
    let by = line.word(2);
    let inside = |names: &[&str]| names.iter().find_map(|name| by.strip_prefix(name)?.strip_suffix(')'));
    let table = if by == "src" {
        "{ by = \"source\" }".to_owned()
    } else if let Some(name) = inside(&["hdr(", "req.hdr("]) {
        format!("{{ header = {} }}", quoted(name))
    } else if let Some(name) = inside(&["cookie(", "req.cook("]) {
        format!("{{ application_cookie = {} }}", quoted(name))
    } else {
        return Err("clients stay by source, header or cookie".into());
    };
    pool.keys.written("sticky", table, line.at);
    Ok(())
}

fn deadlines(draft: &mut Draft, section: &Section, pool: &mut Pool) {
    let server = if section.is_http() { "response" } else { "tunnel" };
    for (theirs, ours) in [("connect", "connect"), ("queue", "queue"), ("server", server), ("tunnel", "tunnel")] {
        let Some(line) = section.last(&["timeout", theirs]) else { continue };
        match time(line.word(2)) {
            Some(time) => pool.tables.of("timeouts").text(ours, &time, line.at),
            None => draft.lose(line.at, &line.shown(), "ours wait for no time without an end"),
        }
    }
}
