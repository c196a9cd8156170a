//! `normalize` and `underscores` of a listener, and paths of its routes in the form that requests are compared in.

use std::sync::Arc;

use super::super::model::{Listener, Normalize, PathMatch, Protocol, Rewrite, Route, Rules, Underscores};
use super::super::problem::{At, Problem};
use super::super::section::{Choice, Section};
use super::listener::no_effect;
use super::route::RouteRead;
use crate::path::{self, Slashes, Verdict};

const NORMALIZE: Choice<Normalize> = Choice {
    words: &[
        ("safe", Normalize::Safe),
        ("merge", Normalize::Merge),
        ("strict", Normalize::Strict),
        ("off", Normalize::Off),
    ],
    foreign: &[
        ("on", "safe"),
        ("true", "safe"),
        ("rfc3986", "safe"),
        ("merge_slashes", "merge"),
        ("merge-slashes", "merge"),
        ("reject", "strict"),
        ("none", "off"),
        ("false", "off"),
    ],
    later: &[],
};

const UNDERSCORES: Choice<Underscores> = Choice {
    words: &[("keep", Underscores::Keep), ("drop", Underscores::Drop), ("refuse", Underscores::Refuse)],
    foreign: &[("allow", "keep"), ("pass", "keep"), ("ignore", "drop"), ("remove", "drop"), ("reject", "refuse")],
    later: &[],
};

/// Both.
pub(super) fn policies(section: &Section<'_>, protocol: Protocol) -> (Option<Normalize>, Underscores) {
    no_effect(section, protocol, &["normalize", "underscores"]);
    let underscores = section.choice("underscores", &UNDERSCORES).unwrap_or(Underscores::Keep);
    (section.choice("normalize", &NORMALIZE), underscores)
}

/// What is meant where `normalize` is not said: paths stay as they come where nobody decides anything by them.
pub(super) fn usual(rules: Option<&Rules>, routes: &[Route]) -> Normalize {
    let by_rule = |rules: &Rules| rules.rewrite.is_some() || rules.forward_auth.is_some();
    let rules_of_routes = routes.iter().filter_map(|route| route.rules.as_deref());
    let is_looked_at = routes.iter().any(|route| route.paths.iter().any(|path| !is_any(path)))
        || rules.into_iter().chain(rules_of_routes).any(by_rule);
    if is_looked_at { Normalize::Safe } else { Normalize::Off }
}

fn is_any(path: &PathMatch) -> bool {
    matches!(path, PathMatch::Prefix(prefix) if &**prefix == "/")
}

/// Refuses paths that no request has once it is in normal form, and those that are refused as soon as it is asked for them.
pub(super) fn refuse_unreachable(section: &Section<'_>, listener: Option<&Listener>, routes: &[RouteRead]) {
    let looks = |it: &&Listener| it.protocol == Protocol::Http && it.normalize != Normalize::Off;
    let Some(listener) = listener.filter(looks) else { return };
    let above = listener.rules.as_ref().and_then(|rules| rules.rewrite.as_ref());
    for read in routes {
        let paths = read.route.iter().flat_map(|route| &route.paths);
        for text in paths.filter_map(literal) {
            refuse(section, read.at, text, listener.normalize);
        }
        let own = read.route.as_ref().and_then(|route| route.rules.as_ref()?.rewrite.as_ref());
        // One that it has from its listener is said once, there.
        if own.is_some_and(|own| above.is_none_or(|above| !Arc::ptr_eq(own, above))) {
            refuse_rewrite(section, read.at, own, listener.normalize);
        }
    }
    refuse_rewrite(section, section.at, above, listener.normalize);
}

fn refuse_rewrite(section: &Section<'_>, at: At, rewrite: Option<&Arc<Rewrite>>, normalize: Normalize) {
    if let Some(Rewrite::Prefix(rule)) = rewrite.map(AsRef::as_ref) {
        refuse(section, at, &rule.outside, normalize);
    }
}

fn literal(path: &PathMatch) -> Option<&str> {
    match path {
        PathMatch::Prefix(text) | PathMatch::Exact(text) => Some(text),
        PathMatch::Regex(_) => None,
    }
}

fn refuse(section: &Section<'_>, at: At, text: &str, normalize: Normalize) {
    let slashes = if normalize == Normalize::Merge { Slashes::Merge } else { Slashes::Keep };
    let problem = |label: &str| Problem::error("path", at, format!("`{text}` is asked for by nobody")).label(label);
    match path::normal(text.as_bytes(), slashes).map(|form| String::from_utf8_lossy(&form).into_owned()) {
        Err(_) => section.cx.report(
            problem("requests for this path are refused")
                .help("write a path without control bytes and half escapes, or normalize = \"off\" in the listener"),
        ),
        Ok(form) if form != text => section
            .cx
            .report(problem("paths of requests are compared in normal form").help(format!("write \"{form}\""))),
        Ok(_) => {
            let mut other = None;
            // What is wrong with it is said by what it is read as.
            let _ = path::readings(text.as_bytes(), |reading| {
                other = Some(String::from_utf8_lossy(reading).into_owned());
                Verdict::Different
            });
            if let Some(other) = other {
                section.cx.report(problem("requests for this path are refused").help(format!(
                    "some servers read `{other}` in it: write that, or normalize = \"off\" in the listener"
                )));
            }
        }
    }
}
