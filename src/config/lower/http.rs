//! Versions of HTTP that the clients of a listener may speak. What backends are asked by is chosen from the same words.

use super::super::model::{HttpVersion, Protocol, Spoken};
use super::super::section::{Choice, Section};

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
