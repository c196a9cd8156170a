//! Locations as routes, in the order in which nginx looks: whole paths, `^~` prefixes, patterns as they stand, and then
//! prefixes, longest first. A prefix that ends with `/` is one at a segment, as ours are.

use super::super::draft::{Conditions, Draft, Keys, Path, Route};
use super::super::quote::quoted;
use super::upstream::{self, Scheme};
use super::values::template;
use super::words::{Directive, time};
use super::{all_said, said};

/// What a location looks at, in the order in which it is looked at.
fn place(location: &Directive) -> (u8, usize, Option<Path>) {
    let (sign, path) = match location.words.len() {
        0..=2 => ("", location.word(1)),
        _ => (location.word(1), location.word(2)),
    };
    // Longer ones first.
    let length = usize::MAX - path.len();
    let prefix = |path: &str| match path.strip_suffix('/') {
        Some("") => None,
        Some(segment) => Some(Path::Segment(segment.to_owned())),
        None => Some(Path::Prefix(path.to_owned())),
    };
    match sign {
        "=" => (0, 0, Some(Path::Exact(path.to_owned()))),
        "^~" => (1, length, prefix(path)),
        "~" => (2, 0, Some(Path::Pattern(path.to_owned()))),
        "~*" => (2, 0, Some(Path::Pattern(format!("(?i){path}")))),
        _ => (3, length, prefix(path)),
    }
}

/// The routes of a server, the one for all the rest last.
pub(super) fn routes(draft: &mut Draft, http: &Directive, server: &Directive) -> Vec<Route> {
    // What a server says itself goes before its locations, where it answers.
    if let Some(line) = server.first("return") {
        let keys = answer(draft, server, line);
        return vec![Route { when: Conditions::default(), keys, at: line.at }];
    }
    let mut places: Vec<(u8, usize, Option<Path>, &Directive)> = server
        .all("location")
        .map(|location| (place(location), location))
        .map(|((rank, length, path), location)| (rank, length, path, location))
        .collect();
    places.sort_by_key(|(rank, length, _, _)| (*rank, *length));
    let mut routes = Vec::new();
    for (_, _, path, location) in places {
        if let Some(Path::Pattern(pattern)) = &path
            && regex::Regex::new(pattern).is_err()
        {
            draft.lose(location.at, &location.shown(), "a pattern that ours cannot read");
            continue;
        }
        let when = Conditions { path: path.clone().map(|path| vec![path]), ..Conditions::default() };
        let Some(mut keys) = destination(draft, http, server, location, path.as_ref()) else { continue };
        rules(draft, &[location, server, http], &mut keys);
        for line in location.all("location") {
            draft.lose(line.at, &line.shown(), "a location within another: write a route for it");
        }
        routes.push(Route { when, keys, at: location.at });
    }
    for line in server.inner.iter().filter(|line| matches!(line.name(), "if" | "rewrite")) {
        draft.lose(line.at, &line.shown(), "ours decide by routes: write one for it");
    }
    routes
}

fn destination(
    draft: &mut Draft,
    http: &Directive,
    server: &Directive,
    location: &Directive,
    path: Option<&Path>,
) -> Option<Keys> {
    for line in &location.inner {
        match line.name() {
            "return" => return Some(answer(draft, server, line)),
            "proxy_pass" | "grpc_pass" => return pass(draft, http, server, location, line, path),
            "deny"
                if line.word(1) == "all"
                    && location.inner.iter().all(|other| other.name() != "allow" && other.name() != "proxy_pass") =>
            {
                let mut keys = Keys::default();
                keys.written("respond", "403", line.at);
                return Some(keys);
            }
            _ => {}
        }
    }
    let why = "ours serve no files and run no scripts: 404, until a server behind does, as a pool";
    draft.lose(location.at, &location.shown(), why);
    let mut keys = Keys::default();
    keys.written("respond", "404", location.at);
    Some(keys)
}

/// `return CODE [TEXT]`, `return CODE URL`, `return URL`.
fn answer(draft: &mut Draft, server: &Directive, line: &Directive) -> Keys {
    let mut keys = Keys::default();
    let (code, text) = match line.word(1).parse::<u16>() {
        Ok(code) => (code, line.word(2)),
        Err(_) => (302, line.word(1)),
    };
    let own = server.first("server_name").map_or("", |line| line.word(1));
    let text = text.replace("$server_name", own);
    if matches!(code, 301 | 302 | 303 | 307 | 308) {
        let to = if text == "https://$host$request_uri" || text == "https://$http_host$request_uri" {
            Some("https".into())
        } else {
            template(&text)
        };
        if let Some(to) = to {
            keys.written("redirect", format!("{{ to = {}, status = {code} }}", quoted(&to)), line.at);
        } else {
            draft.lose(line.at, &line.shown(), "ours do not have that variable");
            keys.written("respond", "404", line.at);
        }
    } else if code == 444 {
        draft.lose(line.at, &line.shown(), "answered by 403 instead of nothing");
        keys.written("respond", "403", line.at);
    } else if text.is_empty() {
        keys.written("respond", code.to_string(), line.at);
    } else {
        keys.written("respond", format!("{{ status = {code}, text = {} }}", quoted(&text)), line.at);
    }
    keys
}

fn pass(
    draft: &mut Draft,
    http: &Directive,
    server: &Directive,
    location: &Directive,
    line: &Directive,
    path: Option<&Path>,
) -> Option<Keys> {
    let target = line.word(1);
    let (scheme, rest) = target.split_once("://").unwrap_or(("http", target));
    let scheme = match scheme {
        "https" | "grpcs" => Scheme::Https,
        _ => Scheme::Http,
    };
    // Behind a unix socket's path a colon stands before the URI.
    let (host, uri) = match rest.strip_prefix("unix:") {
        Some(socket) => socket
            .split_once(':')
            .map_or((format!("unix:{socket}"), ""), |(socket, uri)| (format!("unix:{socket}"), uri)),
        None => rest.find('/').map_or((rest.to_owned(), ""), |at| (rest[..at].to_owned(), &rest[at..])),
    };
    if target.contains('$') {
        draft.lose(line.at, &line.shown(), "a pool is known when a file is read: write one, and a route for it");
        return None;
    }
    let upstreams: Vec<&Directive> = http.all("upstream").collect();
    let name = upstream::pool(draft, &upstreams, &host, scheme, line.at);
    let mut keys = Keys::default();
    keys.text("pool", &name, line.at);
    pool_options(draft, &name, line.name() == "grpc_pass", &[location, server, http]);
    if let Some(rewrite) = rewrite(draft, location, path, uri) {
        keys.written("rewrite", rewrite, line.at);
    }
    Some(keys)
}

/// A URI behind `proxy_pass` takes the place of what the location has matched.
fn rewrite(draft: &mut Draft, location: &Directive, path: Option<&Path>, uri: &str) -> Option<String> {
    if let Some(line) = location.first("rewrite") {
        let (pattern, with, flag) = (line.word(1), line.word(2), line.word(3));
        if matches!(flag, "break" | "last" | "") && regex::Regex::new(pattern).is_ok() && !with.contains("://") {
            return Some(format!("{{ pattern = {}, with = {} }}", quoted(pattern), quoted(with)));
        }
        draft.lose(line.at, &line.shown(), "ours rewrite paths for the backend; for clients see `redirect`");
    }
    if uri.is_empty() {
        return None;
    }
    let replaced = |pattern: &str, with: &str| {
        Some(format!("{{ pattern = {}, with = {} }}", quoted(pattern), quoted(&with.replace('$', "$$"))))
    };
    match path {
        None if uri == "/" => None,
        None => replaced("^/", uri),
        Some(Path::Segment(prefix)) if uri == "/" => Some(format!("{{ strip_prefix = {} }}", quoted(prefix))),
        Some(Path::Segment(prefix)) if uri.ends_with('/') => {
            Some(format!("{{ prefix = {}, with = {} }}", quoted(prefix), quoted(uri.trim_end_matches('/'))))
        }
        Some(Path::Segment(prefix)) => replaced(&format!("^{}/", regex::escape(prefix)), uri),
        Some(Path::Prefix(prefix)) => replaced(&format!("^{}", regex::escape(prefix)), uri),
        Some(Path::Exact(exact)) => replaced(&format!("^{}$", regex::escape(exact)), uri),
        Some(Path::Pattern(_)) => None,
    }
}

fn pool_options(draft: &mut Draft, name: &str, grpc: bool, levels: &[&Directive]) {
    let Some(pool) = draft.pools.iter_mut().find(|pool| pool.name == name) else { return };
    if grpc {
        pool.keys.text("http", "2", pool.at);
    }
    for (theirs, ours) in [("proxy_connect_timeout", "connect"), ("proxy_read_timeout", "response")] {
        if let Some((line, time)) = said(levels, theirs).and_then(|line| Some((line, time(line.word(1))?)))
            && !pool.tables.of("timeouts").has(ours)
        {
            pool.tables.of("timeouts").text(ours, &time, line.at);
        }
    }
    if pool.tables.of("tls").is_empty() {
        return;
    }
    if let Some(line) = said(levels, "proxy_ssl_verify").filter(|line| line.word(1) == "on") {
        pool.tables.of("tls").written("verify", "true", line.at);
        pool.tables.of("tls").note("verify", "");
    }
    for (theirs, ours) in [
        ("proxy_ssl_trusted_certificate", "ca"),
        ("proxy_ssl_name", "server_name"),
        ("proxy_ssl_certificate", "cert"),
        ("proxy_ssl_certificate_key", "key"),
    ] {
        if let Some(line) = said(levels, theirs).filter(|line| !line.word(1).contains('$')) {
            pool.tables.of("tls").text(ours, line.word(1), line.at);
        }
    }
}

/// What is only noted.
pub(super) const OTHERS: &[&str] = &[
    "if",
    "limit_req",
    "limit_conn",
    "proxy_cache",
    "sub_filter",
    "auth_request",
    "satisfy",
    "mirror",
    "proxy_next_upstream",
    "access_log",
];

fn rules(draft: &mut Draft, levels: &[&Directive], keys: &mut Keys) {
    let lines = all_said(levels, &["allow", "deny"]);
    let closed = lines.iter().any(|line| line.name() == "deny" && line.word(1) == "all");
    for line in lines {
        match (line.name(), line.word(1)) {
            (_, "all") => {}
            // Whoever is not allowed is denied, with ours; there, only by `deny all`.
            ("allow", _) if !closed => {
                draft.lose(line.at, &line.shown(), "without `deny all` nobody is kept out by it");
            }
            (name, network) => keys.item(name, network, line.at),
        }
    }
    for line in all_said(levels, &["proxy_set_header", "grpc_set_header"]) {
        header(draft, line, "request_headers", keys);
    }
    for line in all_said(levels, &["add_header"]) {
        header(draft, line, "response_headers", keys);
    }
    for line in all_said(levels, &["proxy_hide_header"]) {
        keys.item("response_headers.remove", line.word(1), line.at);
    }
    if let Some(line) = said(levels, "auth_basic_user_file") {
        let realm = said(levels, "auth_basic").filter(|line| line.word(1) != "off");
        if let Some(realm) = realm {
            keys.written(
                "basic_auth",
                format!("{{ users = {}, realm = {} }}", quoted(line.word(1)), quoted(realm.word(1))),
                line.at,
            );
            keys.note("basic_auth", "hashed by bcrypt (htpasswd -B) or argon2id: others are refused");
        }
    }
    for line in all_said(levels, &["error_page"]) {
        error_page(draft, levels, line, keys);
    }
    for line in levels.iter().flat_map(|level| &level.inner).filter(|line| OTHERS.contains(&line.name())) {
        let why = match line.name() {
            "limit_req" => "see `rate`",
            "limit_conn" => "see `connections_per_client`",
            "auth_request" => "see `forward_auth`",
            "mirror" => "see `mirror`",
            "proxy_next_upstream" => "see [pool.NAME.retry]",
            "access_log" => "see `access` in [log]",
            _ => "ours have nothing like it",
        };
        draft.lose(line.at, &line.shown(), why);
    }
}

/// What ours pass on, or write, by themselves.
const OWN: &[&str] =
    &["host", "upgrade", "connection", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id"];

fn header(draft: &mut Draft, line: &Directive, table: &str, keys: &mut Keys) {
    let (name, value) = (line.word(1), line.word(2));
    let lower = name.to_ascii_lowercase();
    let kept = lower != "host" || matches!(value, "$host" | "$http_host");
    if table == "request_headers" && OWN.contains(&&*lower) && kept {
        return;
    }
    if value.is_empty() {
        keys.item(&format!("{table}.remove"), name, line.at);
        return;
    }
    match template(value) {
        Some(value) => keys.text(&format!("{table}.set.{}", quoted(name)), &value, line.at),
        None => draft.lose(line.at, &line.shown(), "ours do not have that variable"),
    }
}

/// Pages that are files below a `root`.
fn error_page(draft: &mut Draft, levels: &[&Directive], line: &Directive, keys: &mut Keys) {
    let page = line.words.last().map_or("", String::as_str);
    let exact = levels
        .iter()
        .flat_map(|level| level.all("location"))
        .find(|location| location.word(1) == "=" && location.word(2) == page);
    let root = exact.and_then(|location| location.first("root")).or_else(|| said(levels, "root"));
    let Some(root) = root.filter(|_| page.starts_with('/')) else {
        draft.lose(line.at, &line.shown(), "no file that can be told; see `errors`");
        return;
    };
    for code in line.from(1).iter().filter(|word| word.parse::<u16>().is_ok()) {
        let file = quoted(&format!("{}{page}", root.word(1).trim_end_matches('/')));
        keys.written(&format!("errors.\"{code}\""), format!("{{ file = {file} }}"), line.at);
    }
}
