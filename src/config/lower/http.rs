//! Versions of HTTP: those that clients of a listener may speak, and the one that a pool's backends are spoken to in.

use super::super::model::{HttpVersion, Protocol, Spoken};
use super::super::problem::Problem;
use super::super::section::{Choice, Section};
use super::listener::no_effect;

pub(super) const VERSION: Choice<HttpVersion> = Choice {
    words: &[("1.1", HttpVersion::V1_1), ("2", HttpVersion::V2)],
    foreign: &[
        ("1", "1.1"),
        ("1.0", "1.1"),
        ("h1", "1.1"),
        ("http/1.1", "1.1"),
        ("2.0", "2"),
        ("h2", "2"),
        ("h2c", "2"),
        ("http/2", "2"),
        ("grpc", "2"),
    ],
    later: &["3", "h3"],
};

/// `listener.NAME.http`, a word or a list.
pub(super) fn spoken(section: &Section<'_>, protocol: Protocol) -> Spoken {
    no_effect(section, protocol, &["http"]);
    let usual = if section.has("tls") && protocol == Protocol::Http { Spoken::Both } else { Spoken::V1 };
    let versions: Vec<HttpVersion> = section
        .parsed_list("http", |text| VERSION.find("http", text))
        .unwrap_or_default()
        .into_iter()
        .map(|(version, _)| version)
        .collect();
    match (versions.contains(&HttpVersion::V1_1), versions.contains(&HttpVersion::V2)) {
        (true, true) => Spoken::Both,
        (true, false) => Spoken::V1,
        (false, true) => Spoken::V2,
        (false, false) => usual,
    }
}

/// `pool.NAME.http`.
pub(super) fn backends(section: &Section<'_>) -> HttpVersion {
    let version = section.choice("http", &VERSION).unwrap_or(HttpVersion::V1_1);
    let unused = (version == HttpVersion::V2).then(|| section.entry("idle_connections")).flatten();
    if let Some(entry) = unused {
        section.cx.report(
            Problem::warning("no-effect", entry.key_at, "`idle_connections` has no effect with http = \"2\"")
                .label("a connection carries many requests at once there")
                .help("take it out"),
        );
    }
    let told = section.entry("send_proxy").filter(|_| version == HttpVersion::V2 && !section.is_off("send_proxy"));
    if let Some(entry) = told {
        section.cx.report(
            Problem::error("conflict", entry.key_at, "`send_proxy` beside http = \"2\"")
                .label("a connection carries the requests of many clients there, and its header speaks of one")
                .help("take one of them out: X-Forwarded-For says who each request is from"),
        );
    }
    version
}
