//! The walls of the house: imports go down only, the two wings never meet, libraries stay in their rooms, and what
//! ARCHITECTURE.md names exists. Reads the sources as text and needs nothing but the standard library.
//!
//! The rules are the tables at the top; that they can fail is tested at the bottom.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms by floor, lowest first. Rooms of one floor do not import each other; on the ground floor, which is a list of
/// floors of its own, they import to the left. Since every arrow goes down, no circle is possible.
const FLOORS: &[&[&str]] = &[
    &["clock"],
    &["confinement"],
    &["metrics"],
    &["drain"],
    &["log"],
    &["path"],
    &["balance"],
    &["health"],
    &["config"],
    &["trace"],
    &["net"],
    &["pool"],
    &["route", "probe"],
    &["proxy", "control"],
    &["admin"],
    &["server"],
    &["cli", "main"],
];

/// Where arrows that go down are forbidden all the same: the wings meet in `route` and `pool` only.
const WINGS: &[(&str, &str)] = &[("proxy", "probe"), ("admin", "proxy")];

/// Libraries and where they may be named. A path is a room, or a file or folder of one.
const LIBRARIES: &[(&str, &[&str])] = &[
    // Whether a key belongs to a certificate is said with all other problems of a configuration.
    ("rustls", &["net", "config/lower/identity.rs"]),
    ("tokio_rustls", &["net", "probe"]),
    ("x509_parser", &["config/certificate.rs", "config/holder.rs"]),
    // A MySQL server sends its key as PEM, and the password goes back encrypted by it, or signed as MariaDB wants it.
    ("rustls_pki_types", &["net", "config", "probe/mysql"]),
    ("aws_lc_rs", &["net", "pool/sticky", "probe/mysql", "probe/postgres"]),
    ("ed25519_dalek", &["probe/mysql"]),
    // `http`, the words of `h2`, cannot be told from rooms of that name here; it is where `h2` is.
    ("h2", &["probe", "proxy/http/http2"]),
    ("bytes", &["proxy/http/http2"]),
    ("socket2", &["net"]),
    ("nix", &["net/datagram.rs", "net/way.rs", "server/confine"]),
    ("landlock", &["server/confine/files.rs"]),
    ("seccompiler", &["server/confine/calls.rs"]),
    ("md5", &["probe/postgres"]),
    (
        "rustix",
        &[
            "admin/exposition",
            "admin/security/process.rs",
            "probe/exec.rs",
            "route/proving.rs",
            "net/splice.rs",
            "net/tcp.rs",
            "net/handover.rs",
            "net/inherited.rs",
            "server/confine",
            "server/supervisor.rs",
            "server/upgrade.rs",
            "cli/run.rs",
        ],
    ),
    ("flate2", &["proxy/http/encode.rs"]),
    ("brotli", &["proxy/http/encode.rs"]),
    ("zstd", &["proxy/http/encode.rs"]),
    ("argon2", &["config/users.rs"]),
    ("bcrypt", &["config/users.rs"]),
    ("hyper", &["probe", "control/traces.rs", "admin", "cli"]),
    ("hyper_util", &["probe", "control/traces.rs", "admin", "cli"]),
    ("http_body_util", &["probe", "control/traces.rs", "admin", "cli"]),
    ("httparse", &["proxy"]),
    ("prometheus", &["metrics", "admin"]),
    ("arc_swap", &["route/table.rs", "net"]),
    ("toml", &["config"]),
    ("serde", &["config", "control", "admin", "cli"]),
    ("schemars", &["config/problem.rs", "config/source.rs", "control/plan", "control/records.rs", "admin"]),
    ("annotate_snippets", &["config"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli/completions.rs"]),
    ("clap_mangen", &["cli/man.rs"]),
    ("ratatui", &["cli/top"]),
    ("anyhow", &["cli", "main.rs"]),
    ("mimalloc", &["main.rs"]),
    ("tracing_subscriber", &["server", "cli"]),
];

#[test]
fn imports_go_down_only() {
    let found: Vec<_> = sources().iter().flat_map(|(path, text)| arrows_up(path, text)).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn libraries_stay_in_their_rooms() {
    let found: Vec<_> = sources().iter().flat_map(|(path, text)| strays(path, text)).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn unsafe_code_lives_in_net() {
    let found: Vec<_> = sources().iter().filter_map(|(path, text)| unsafe_outside_net(path, text)).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn every_room_has_a_floor() {
    for (path, _) in sources() {
        assert!(path == "lib.rs" || floor(room(&path)).is_some(), "src/{path} is in no room of FLOORS");
    }
}

#[test]
fn what_the_architecture_names_exists() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let found = missing(&text, &sources(), |path| root().join(path).exists());
    assert!(found.is_empty(), "\n{}", found.join("\n"));
    assert!(text.matches("`src/").count() > 20, "the walks name their files as `src/…`");
}

// === the sources ===

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file under `src`, by its path there.
fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                found.push(path);
            }
        }
    }
    let src = root().join("src");
    let mut found = Vec::new();
    walk(&src, &mut found);
    found.sort();
    let named = |path: &PathBuf| path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
    found.iter().map(|path| (named(path), fs::read_to_string(path).unwrap())).collect()
}

/// The room of a file: `net/connect.rs` is in `net`, `clock.rs` is one.
fn room(path: &str) -> &str {
    path.split('/').next().unwrap().trim_end_matches(".rs")
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

// === the rules ===

fn arrows_up(path: &str, text: &str) -> Vec<String> {
    let from = room(path);
    if from == "lib" {
        return Vec::new();
    }
    let forbidden = |to: &&String| {
        let same = to.as_str() == from;
        let wings = WINGS.iter().any(|(a, b)| *a == from && *b == to.as_str());
        match (floor(from), floor(to)) {
            (Some(here), Some(there)) => !same && (wings || there >= here),
            _ => true,
        }
    };
    rooms_named(path, text).iter().filter(forbidden).map(|to| format!("src/{path}: {from} imports {to}")).collect()
}

fn strays(path: &str, text: &str) -> Vec<String> {
    let words = words(text);
    let tests = words.windows(2).position(|pair| pair == ["mod", "tests"]);
    let named: BTreeSet<_> = heads(&words[..tests.unwrap_or(words.len())]).collect();
    let inside = |place: &str| path == place || path.starts_with(&format!("{place}/")) || path == format!("{place}.rs");
    let stray = |rooms: &[&str]| !rooms.iter().any(|place| inside(place));
    let strays = LIBRARIES.iter().filter(|(library, rooms)| named.contains(library) && stray(rooms));
    strays.map(|(library, rooms)| format!("src/{path}: {library} belongs to {}", rooms.join(", "))).collect()
}

fn unsafe_outside_net(path: &str, text: &str) -> Option<String> {
    let holds = words(text).contains(&"unsafe");
    (holds && room(path) != "net").then(|| format!("src/{path}: unsafe code belongs to net"))
}

/// Files in backticks must exist, and so must a function in backticks with its parentheses, such as `` `pick()` ``: in
/// one of the three files named last before it.
fn missing(text: &str, sources: &[(String, String)], exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut files: Vec<&str> = Vec::new();
    for span in text.lines().flat_map(|line| line.split('`').skip(1).step_by(2)) {
        let is_file = span.contains('/') && !span.contains([' ', '*', '{', '<']) && !span.starts_with(['/', '.']);
        if is_file && span.rsplit('/').next().is_some_and(|name| name.contains('.') || name.is_empty()) {
            if !exists(span) {
                found.push(format!("ARCHITECTURE.md: {span} does not exist"));
            }
            files.push(span);
        } else if let Some(function) = span.strip_suffix("()") {
            let name = function.rsplit("::").next().unwrap();
            let near = &files[files.len().saturating_sub(3)..];
            if !near.iter().any(|file| defines(file, name, sources)) {
                found.push(format!("ARCHITECTURE.md: {span} is not in {}", near.join(" or ")));
            }
        }
    }
    found
}

fn defines(file: &str, function: &str, sources: &[(String, String)]) -> bool {
    let Some(path) = file.strip_prefix("src/") else { return false };
    sources
        .iter()
        .filter(|(source, _)| source == path)
        .any(|(_, text)| words(text).windows(2).any(|pair| pair == ["fn", function]))
}

// === reading Rust as words ===

/// Identifiers and punctuation, without comments, strings and white space; `::` is one word.
fn words(text: &str) -> Vec<&str> {
    let bytes = text.as_bytes();
    let mut words = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let length = skipped(rest).unwrap_or_else(|| {
            let length = match bytes[at] {
                b'_' | b'a'..=b'z' | b'A'..=b'Z' => {
                    rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(rest.len())
                }
                b':' if rest.starts_with("::") => 2,
                _ => rest.chars().next().unwrap().len_utf8(),
            };
            words.push(&rest[..length]);
            length
        });
        at += length;
    }
    words
}

/// Length of white space, a comment, a string or a character at the start.
fn skipped(rest: &str) -> Option<usize> {
    let first = rest.chars().next()?;
    if first.is_whitespace() {
        return Some(first.len_utf8());
    }
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(rest.find("*/").map_or(rest.len(), |end| end + 2));
    }
    let unprefixed = rest.trim_start_matches(['b', 'c']);
    if let Some(raw) = unprefixed.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if let Some(body) = raw[hashes..].strip_prefix('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let end = body.find(&close)? + close.len();
            return Some(rest.len() - body.len() + end);
        }
    }
    let quoted = |quote: char| {
        let body = unprefixed.strip_prefix(quote)?;
        let mut escaped = false;
        let end = body.find(|c| {
            let end = c == quote && !escaped;
            escaped = c == '\\' && !escaped;
            end
        })?;
        Some((rest.len() - body.len() + end + 1, end))
    };
    if unprefixed.starts_with('"') && rest.len() - unprefixed.len() <= 1 {
        return quoted('"').map(|(length, _)| length);
    }
    // `'a` of a lifetime has no closing quote after one character.
    let character = unprefixed.starts_with("'\\") || unprefixed.chars().nth(2) == Some('\'');
    if unprefixed.starts_with('\'') && character && rest.len() - unprefixed.len() <= 1 {
        return quoted('\'').map(|(length, end)| if end == 0 { length + 1 } else { length });
    }
    None
}

/// The first word of every path that has more than one, and of every plain `use`.
fn heads<'w>(words: &'w [&'w str]) -> impl Iterator<Item = &'w str> {
    words.iter().enumerate().filter_map(move |(at, word)| {
        let before = at.checked_sub(1).map(|at| words[at]);
        let path = words.get(at + 1) == Some(&"::") && before != Some("::");
        (path || before == Some("use")).then_some(*word)
    })
}

/// Every room that a file names through `crate::`, `evenkeel::` or `super::`.
fn rooms_named(path: &str, text: &str) -> BTreeSet<String> {
    let words = words(text);
    let mut found = BTreeSet::new();
    let mut inner: Vec<usize> = Vec::new();
    let mut braces = 0_usize;
    for (at, word) in words.iter().enumerate() {
        match *word {
            "{" => {
                braces += 1;
                if at >= 2 && words[at - 2] == "mod" {
                    inner.push(braces);
                }
            }
            "}" => {
                if inner.last() == Some(&braces) {
                    inner.pop();
                }
                braces = braces.saturating_sub(1);
            }
            "crate" | "evenkeel" if words.get(at + 1) == Some(&"::") => found.extend(first_names(&words[at + 2..])),
            "super" if at == 0 || words[at - 1] != "::" => {
                let chain = words[at..].chunks(2).take_while(|pair| *pair == ["super", "::"]).count();
                if chain == depth(path) + inner.len() {
                    found.extend(first_names(&words[at + 2 * chain..]));
                }
            }
            _ => {}
        }
    }
    found
}

/// How many modules a file is below the crate: `net/mod.rs` 1, `net/connect.rs` 2, `clock.rs` 1.
fn depth(path: &str) -> usize {
    path.split('/').filter(|part| *part != "mod.rs").count()
}

/// The name that a path goes on with, or all of them where it goes on with `{a::b, c}`.
fn first_names(words: &[&str]) -> Vec<String> {
    if words.first() != Some(&"{") {
        return words.first().map(|word| (*word).to_owned()).into_iter().collect();
    }
    let mut names = Vec::new();
    let mut open = 0;
    for (at, word) in words.iter().enumerate() {
        match *word {
            "{" => open += 1,
            "}" => open -= 1,
            _ => {}
        }
        if open == 0 {
            break;
        }
        if open == 1 && matches!(words[at], "{" | ",") && words[at + 1] != "}" {
            names.push(words[at + 1].to_owned());
        }
    }
    names
}

// === the rules can fail ===

#[test]
fn an_arrow_up_is_seen_however_it_is_written() {
    for (path, text) in [
        ("net/connect.rs", "use crate::pool::Pool;"),
        ("net/connect.rs", "use crate::{clock, pool::{Pool, Slot}};"),
        ("net/connect.rs", "use crate::{\n    config::{model, problem},\n    pool,\n};"),
        ("net/connect.rs", "fn f() { let p = crate::pool::Pool::new(); }"),
        ("net/connect.rs", "use super::super::pool::Pool;"),
        ("net/mod.rs", "use super::pool::Pool;"),
        ("net/mod.rs", "mod tests { use super::super::pool::Pool; }"),
        ("clock.rs", "use super::metrics;"),
        ("health/mod.rs", "pub use crate::config::model;"),
        ("net/connect.rs", "const A: &str = \"{\"; const B: char = '\"'; use crate::pool::Pool;"),
        ("net/connect.rs", "fn f<'a>(x: &'a str) { r#\"quote \" in it\"#; crate::pool::f(x) }"),
    ] {
        assert_eq!(arrows_up(path, text).len(), 1, "{path}: {text}");
    }
}

#[test]
fn an_arrow_between_the_wings_is_seen() {
    for (path, text) in [
        ("proxy/tcp.rs", "use crate::control::Life;"),
        ("proxy/tcp.rs", "use crate::probe::Report;"),
        ("proxy/tcp.rs", "use crate::admin::view;"),
        ("control/mod.rs", "use crate::proxy::Outcome;"),
        ("probe/http.rs", "use crate::proxy::http;"),
        ("probe/http.rs", "use crate::route::Table;"),
        ("admin/mod.rs", "use crate::proxy::Outcome;"),
    ] {
        assert_eq!(arrows_up(path, text).len(), 1, "{path}: {text}");
    }
}

#[test]
fn arrows_down_and_words_in_passing_are_fine() {
    for (path, text) in [
        ("pool/mod.rs", "use crate::config::model; use crate::health::State; mod tests { use super::*; }"),
        ("pool/pick.rs", "use super::slot::Slot; use super::super::metrics;"),
        ("net/connect.rs", "// as crate::pool::Pool does\n/* crate::pool */ const A: &str = \"crate::pool\";"),
        ("cli/run.rs", "use evenkeel::server; use super::source; use crate::cli::Ending;"),
        ("admin/mod.rs", "use crate::control::Life;"),
    ] {
        assert_eq!(arrows_up(path, text), Vec::<String>::new(), "{path}: {text}");
    }
    assert_eq!(arrows_up("net/connect.rs", "use crate::nowhere::X;").len(), 1, "a room that has no floor");
}

#[test]
fn a_stray_library_is_seen() {
    for (path, text) in [
        ("pool/mod.rs", "use rustls::ClientConfig;"),
        ("pool/mod.rs", "fn f() { prometheus::gather(); }"),
        ("proxy/log.rs", "use hyper::Method;"),
        ("route/build.rs", "use arc_swap::ArcSwap;"),
        ("route/mod.rs", "use {arc_swap::ArcSwap, std::sync::Arc};"),
    ] {
        assert_eq!(strays(path, text).len(), 1, "{path}: {text}");
    }
    for (path, text) in [
        ("net/tls.rs", "use rustls::ClientConfig;"),
        ("route/table.rs", "use arc_swap::ArcSwap;"),
        ("probe/http.rs", "use hyper::Method; use crate::net::tls::rustls_config;"),
        ("pool/mod.rs", "use crate::net::rustls::X; mod tests { use hyper::Method; }"),
    ] {
        assert_eq!(strays(path, text), Vec::<String>::new(), "{path}: {text}");
    }
    assert!(unsafe_outside_net("pool/mod.rs", "fn f() { unsafe { g() } }").is_some());
    assert!(unsafe_outside_net("net/splice.rs", "fn f() { unsafe { g() } }").is_none());
    assert!(unsafe_outside_net("pool/mod.rs", "// unsafe\n#![deny(unsafe_code)]").is_none());
}

#[test]
fn a_name_that_rotted_is_seen() {
    let sources = [("net/connect.rs".to_owned(), "pub async fn connect() {}".to_owned())];
    let seen = |text: &str| missing(text, &sources, |path| path == "src/net/connect.rs").len();
    assert_eq!(
        seen("`src/net/connect.rs` has `connect()` and `net::connect::connect()`; `Table` and `/livez` are words"),
        0
    );
    assert_eq!(seen("`src/net/connect.rs`\nthen `connect()`"), 0);
    assert_eq!(seen("`src/net/gone.rs`"), 1);
    assert_eq!(seen("`src/net/connect.rs` has `dial()`"), 1);
}
