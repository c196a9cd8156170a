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
    remembered(draft, section, &mut pool);
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
            matches!(word, "redirect" | "errorfile" | "reqrep" | "rspadd" | "reqadd" | "tcp-request")
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
        ("cookie", name) if http => cookie(line, name, pool)?,
        ("stick", "on" | "match") => stick(line, pool)?,
        ("stick", _) => {
            return Err("ours stay by source, header or cookie; what answers say is only read from a cookie".into());
        }
        ("retries", count) => {
            let count: u32 = count.parse().map_err(|_not_a_number| "not a number")?;
            pool.tables.of("retry").written("attempts", count.min(10).to_string(), line.at);
        }
        ("retry-on", _) => retried(line, pool),
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

/// Codes among the reasons for another try; the others of HAProxy are ours anyhow.
fn retried(line: &Line, pool: &mut Pool) {
    let codes: Vec<&str> = (line.from(1).iter().map(String::as_str))
        .filter(|word| word.parse::<u16>().is_ok_and(|code| (400..600).contains(&code)))
        .collect();
    if !codes.is_empty() {
        pool.tables.of("retry").written("status", format!("[{}]", codes.join(", ")), line.at);
    }
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

fn cookie(line: &Line, name: &str, pool: &mut Pool) -> Result<(), String> {
    let has = |word: &str| line.from(2).iter().any(|known| known == word);
    let after = |word: &str| line.words.iter().position(|known| known == word).and_then(|at| line.words.get(at + 1));
    if has("prefix") || has("rewrite") {
        pool.keys.written("sticky", format!("{{ application_cookie = {} }}", quoted(name)), line.at);
        return Ok(());
    }
    let mut table = vec![format!("cookie = {}", quoted(name))];
    table.extend(after("domain").map(|domain| format!("domain = {}", quoted(domain.trim_start_matches('.')))));
    table.extend(has("secure").then(|| "secure = true".to_owned()));
    table.extend(has("httponly").then(|| "http_only = true".to_owned()));
    let same_site = after("attr").and_then(|attribute| attribute.split_once('='));
    if let Some((_, site)) = same_site.filter(|(name, _)| name.eq_ignore_ascii_case("SameSite")) {
        table.push(format!("same_site = {}", quoted(&site.to_ascii_lowercase())));
    }
    // Seconds, where no unit is given.
    let lasts =
        after("maxlife").map(|text| if text.parse::<u64>().is_ok() { format!("{text}s") } else { text.clone() });
    table.extend(lasts.and_then(|text| time(&text)).map(|age| format!("max_age = {}", quoted(&age))));
    pool.keys.written("sticky", format!("{{ {} }}", table.join(", ")), line.at);
    pool.notes.push(
        "The cookie is signed: clients get a new one. Balancers that share them need the same `secret` in `sticky`."
            .into(),
    );
    if !has("httponly") {
        pool.notes.push("Scripts of pages do not see it; with http_only = false they do, as before.".into());
    }
    match ["maxidle", "postonly", "preserve"].iter().find(|word| has(word)) {
        Some(word) => {
            Err(format!("all but `{word}`: the cookie is set with any first answer, and lasts for `max_age`"))
        }
        None => Ok(()),
    }
}

/// What a table of clients says: how long they are remembered, and how many.
fn remembered(draft: &mut Draft, section: &Section, pool: &mut Pool) {
    let Some(line) = section.own.iter().rfind(|line| line.word(0) == "stick-table") else { return };
    let after = |word: &str| line.words.iter().position(|known| known == word).and_then(|at| line.words.get(at + 1));
    let Some(sticky) = pool.keys.get("sticky").filter(|sticky| !sticky.starts_with("{ cookie")).map(str::to_owned)
    else {
        draft.lose(line.at, &line.shown(), "nobody stays by it; for counters see `rate` and `connections_per_client`");
        return;
    };
    let mut table = vec![sticky.trim_end_matches('}').trim_end().to_owned()];
    table.extend(after("expire").and_then(|expire| time(expire)).map(|expire| format!("expire = {}", quoted(&expire))));
    table.extend(after("size").and_then(|size| entries(size)).map(|size| format!("entries = {size}")));
    pool.keys.written("sticky", format!("{} }}", table.join(", ")), line.at);
    for word in ["peers", "store"].iter().filter(|word| after(word).is_some()) {
        let why = if *word == "peers" {
            "each balancer remembers by itself; balance = \"source\" sends a client the same way from all of them"
        } else {
            "for counters see `rate` and `connections_per_client`"
        };
        draft.lose(line.at, &format!("{word} {}", after(word).map_or("", String::as_str)), why);
    }
}

/// Entries of a table, with HAProxy's `k`, `m` and `g`.
fn entries(size: &str) -> Option<u64> {
    let digits = size.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let per = match size.get(digits.len()..)?.to_ascii_lowercase().as_str() {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(per)
}

fn stick(line: &Line, pool: &mut Pool) -> Result<(), String> {
    let by = line.word(2);
    if line.words.iter().any(|word| word == "if" || word == "unless") {
        return Err("all clients of a pool stay, or none".into());
    }
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
