//! nginx's configuration into ours: `evenkeel import nginx FILE`.
//!
//! `words` reads directives and follows `include`. Servers of `http` that listen at one address become one listener
//! (`server`), told apart by host; their locations become routes (`location`), in the order in which nginx looks at
//! them. An `upstream` becomes a pool (`upstream`). Servers of `stream` become listeners of TCP and UDP (`stream`).
//! What ours cannot say is lost, with line and reason.

mod location;
mod rest;
mod server;
mod stream;
mod upstream;
mod values;
mod words;

use super::draft::{Draft, Imported};
use words::Directive;

/// Turns the text of a file, under the name that reports shall use, into ours. `include` has the files of a pattern:
/// their names and texts.
pub fn import(file: &str, text: &str, include: &dyn Fn(&str) -> Vec<(String, String)>) -> Imported {
    let head = vec![
        "Made from nginx's configuration by `evenkeel import nginx`. What could not be carried over stands at the end."
            .into(),
        "X-Forwarded-For, -Proto and -Host, and upgrades to WebSockets, are passed on by themselves.".into(),
    ];
    let mut draft = Draft { head, ..Draft::default() };
    let root = words::read(&mut draft, file, text, include);
    // A file of sites-enabled has its servers at the top.
    if root.inner.iter().any(|directive| matches!(directive.name(), "server" | "upstream")) {
        server::read(&mut draft, &root);
    }
    for directive in &root.inner {
        match directive.name() {
            "http" => server::read(&mut draft, directive),
            "stream" => stream::read(&mut draft, directive),
            "mail" => draft.lose(directive.at, "mail", "ours do not speak to mailboxes"),
            _ => {}
        }
    }
    rest::read(&mut draft, &root);
    draft.finish()
}

/// A directive where it is said: the innermost level counts.
fn said<'a>(levels: &[&'a Directive], name: &str) -> Option<&'a Directive> {
    levels.iter().find_map(|level| level.first(name))
}

/// All of a directive that may come several times: those of the innermost level that has any.
fn all_said<'a>(levels: &[&'a Directive], names: &[&str]) -> Vec<&'a Directive> {
    let of = |level: &'a Directive| -> Vec<&'a Directive> {
        level.inner.iter().filter(|inner| names.contains(&inner.name())).collect()
    };
    levels.iter().map(|level| of(level)).find(|found| !found.is_empty()).unwrap_or_default()
}
