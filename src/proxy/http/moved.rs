//! Requests that belong elsewhere: to https, or to nobody here.

use super::http1::Reject;
use super::http1::edits::push_line;
use super::http1::request::Request;
use super::own::Own;
use super::rules::fill::Facts;
use crate::config::model::{Location, Piece, Redirect, Template, Variable};
use crate::route::Listener;

/// The answer that sends a client elsewhere.
///
/// # Errors
/// The place is made of a host that the request does not have.
pub(super) fn elsewhere(facts: &Facts<'_, '_>, redirect: &Redirect) -> Result<Own, Reject> {
    let request = facts.request;
    let (sentence, place) = match &redirect.to {
        Location::Https => ("This is served by https only.", by_https(request)?),
        Location::Template(template) => ("This is found elsewhere.", place(facts, template)?),
    };
    let mut own = Own::sentence(request, redirect.status, sentence, "redirect");
    push_line(&mut own.lines, b"Location", &place);
    Ok(own)
}

/// The same place by https.
fn by_https(request: &Request<'_>) -> Result<Vec<u8>, Reject> {
    let host = without_port(request.host.filter(|host| !host.is_empty()).ok_or(Reject::MissingHost)?);
    let target = if request.origin_target.starts_with('/') { request.origin_target } else { "/" };
    Ok(address(format!("https://{host}{target}").as_bytes()))
}

/// A place of the configuration's, filled in.
fn place(facts: &Facts<'_, '_>, template: &Template) -> Result<Vec<u8>, Reject> {
    let request = facts.request;
    let names_host = |piece: &Piece| matches!(piece, Piece::Variable(Variable::Host | Variable::Hostname));
    if request.host.unwrap_or_default().is_empty() && template.0.iter().any(names_host) {
        return Err(Reject::MissingHost);
    }
    if request.origin_target == "*" {
        // `OPTIONS *` is about the server that is asked, and about no other.
        return Err(Reject::Target);
    }
    let mut filled = Vec::new();
    facts.fill(template, &mut filled);
    let filled = address(&filled);
    if filled.first().is_some_and(|first| *first == b'h') {
        return Ok(filled);
    }
    // A path on the same host. Two slashes in front, as in `//evil.example`, would name another one.
    let path = filled.iter().position(|byte| *byte != b'/').map_or(&[][..], |at| &filled[at..]);
    Ok([b"/", path].concat())
}

/// As an address can hold it: what a browser would take for something else, such as `\` for `/`, is escaped.
fn address(filled: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut address = Vec::with_capacity(filled.len());
    for byte in filled {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(byte) {
            address.push(*byte);
        } else {
            address.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }
    address
}

/// A host without its port; an IPv6 address keeps its brackets.
pub(super) fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    }
}

/// Whether a certificate or a route of the listener is for this host.
pub(super) fn is_named(listener: &Listener, host: &str) -> bool {
    let is_shown = listener.tls.as_ref().is_some_and(|tls| tls.knows(without_port(host)));
    is_shown || listener.routes.name(host.as_bytes())
}
