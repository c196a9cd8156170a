//! Requests that belong elsewhere: to https, or to nobody here.

use super::http1::Reject;
use super::http1::edits::push_line;
use super::http1::request::Request;
use super::own::Own;
use crate::route::Listener;

/// The same place by https.
pub(super) fn by_https(request: &Request<'_>) -> Result<Own, Reject> {
    let host = without_port(request.host.filter(|host| !host.is_empty()).ok_or(Reject::MissingHost)?);
    let target = if request.origin_target.starts_with('/') { request.origin_target } else { "/" };
    // Keeps method and body, unlike 301 (RFC 9110, section 15.4.9).
    let mut own = Own::sentence(request, 308, "This is served by https only.", "redirect");
    push_line(&mut own.lines, b"Location", format!("https://{host}{target}").as_bytes());
    Ok(own)
}

/// A host without its port; an IPv6 address keeps its brackets.
fn without_port(host: &str) -> &str {
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
