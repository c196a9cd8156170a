//! `cors = { … }`: which web pages may ask, by which methods and with which fields.

use std::sync::Arc;

use super::super::super::model::{Cors, Credentials, OriginPattern, Origins, Permitted};
use super::super::super::problem::Problem;
use super::super::super::section::Section;
use super::super::super::units::Fault;
use super::super::super::vocabulary::CORS;
use super::super::route::{header_name, method};

/// What a page may use where nothing is said: these need no preflight anyway (the Fetch standard, section 2.2.1).
const METHODS: &str = "GET, HEAD, POST";

/// What `origins` of one entry means.
enum Origin {
    Any,
    One(OriginPattern),
}

/// Who may ask from where; `None` where it is switched off.
pub(super) fn cors(section: &Section<'_>) -> Option<Arc<Cors>> {
    if section.is_off("cors") {
        return None;
    }
    let inner = section.section("cors", &CORS)?;
    if !inner.has("origins") {
        inner.missing("origins", "write cors = { origins = [\"https://app.example.com\"] }");
    }
    let credentials = match inner.boolean("credentials") {
        Some(true) => Credentials::Include,
        _ => Credentials::Omit,
    };
    // All of them are read before the first that is wrong ends it: each problem is to be said.
    let methods = permitted(&inner, "methods", |text| method(text).map(|name| name.to_string()));
    let headers = permitted(&inner, "headers", field_name);
    let expose = inner.parsed_list("expose", field_name);
    let max_age = inner.duration("max_age");
    Some(Arc::new(Cors {
        origins: origins(&inner, credentials)?,
        methods: methods.unwrap_or_else(|| listed(METHODS)),
        headers: headers.unwrap_or_else(|| listed("")),
        expose: expose.map(|names| joined(names.into_iter().map(|(name, _)| name))),
        credentials,
        max_age,
    }))
}

fn listed(text: &str) -> Permitted {
    Permitted::Listed(text.into())
}

fn joined(words: impl Iterator<Item = String>) -> Arc<str> {
    words.collect::<Vec<_>>().join(", ").into()
}

/// A name as it was written: browsers compare in any case, people read.
fn field_name(text: &str) -> Result<String, Fault> {
    header_name(text).map(|_| text.to_owned())
}

fn origins(inner: &Section<'_>, credentials: Credentials) -> Option<Origins> {
    let mut patterns = Vec::new();
    for (origin, at) in inner.parsed_list("origins", origin)? {
        match origin {
            Origin::One(pattern) => patterns.push(pattern),
            Origin::Any if credentials == Credentials::Include => {
                inner.cx.report(
                    Problem::error("conflict", at, "`*` beside credentials = true")
                        .label("any page on the web could ask in the name of whoever looks at it")
                        .help("name the origins that may, or take `credentials` out"),
                );
                return None;
            }
            Origin::Any => return Some(Origins::Any),
        }
    }
    Some(Origins::Listed(patterns))
}

/// `https://app.example.com`, `https://*.example.com`, with a port where it is not the usual one; or `*`.
fn origin(text: &str) -> Result<Origin, Fault> {
    let fault = |label: &str| Fault::new("origin", format!("`{text}` is not an origin"), label);
    if text == "*" {
        return Ok(Origin::Any);
    }
    if text == "null" {
        let help = "a page without an origin may be anybody's: serve it from a place that has one";
        return Err(fault("what a browser says for files and sandboxes").help(help));
    }
    let lower = text.to_ascii_lowercase();
    let Some((scheme, place)) = lower.split_once("://") else {
        return Err(fault("no scheme").help(format!("write \"https://{text}\"")));
    };
    if let Some((bare, _)) = place.split_once(['/', '?', '#']) {
        return Err(fault("an origin has no path").help(format!("write \"{scheme}://{bare}\"")));
    }
    let usual = match scheme {
        "https" => Some(":443"),
        "http" => Some(":80"),
        _ => None,
    };
    if let Some(bare) = usual.and_then(|port| place.strip_suffix(port)) {
        return Err(fault("browsers leave the usual port out").help(format!("write \"{scheme}://{bare}\"")));
    }
    let named = place.strip_prefix("*.").unwrap_or(place);
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    if scheme.is_empty() || named.is_empty() || !named.bytes().all(good) {
        return Err(
            fault("scheme, host and port").help("write \"https://app.example.com\" or \"https://*.example.com\"")
        );
    }
    Ok(Origin::One(match place.strip_prefix('*') {
        Some(behind) => OriginPattern::Below(format!("{scheme}://").into(), behind.into()),
        None => OriginPattern::Exact(lower.into()),
    }))
}

/// A list of names, or `"*"`.
fn permitted(inner: &Section<'_>, key: &str, parse: impl Fn(&str) -> Result<String, Fault>) -> Option<Permitted> {
    let words = inner.parsed_list(key, |text| if text == "*" { Ok(None) } else { parse(text).map(Some) })?;
    if words.iter().any(|(word, _)| word.is_none()) {
        return Some(Permitted::Any);
    }
    Some(Permitted::Listed(joined(words.into_iter().filter_map(|(word, _)| word))))
}
