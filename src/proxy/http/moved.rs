//! Requests that belong elsewhere: to https, or to nobody here.

use super::http1::request::Request;
use super::http1::{Framing, Reject, Version};
use crate::route::Listener;

/// A request that is answered by where it belongs.
pub(super) struct Moved {
    /// The URL.
    pub(super) location: String,
    /// The request was HEAD.
    pub(super) head_only: bool,
    /// The client's version.
    pub(super) version: Version,
    /// Nothing of it is left to be read, and the client wants to go on.
    pub(super) keep_alive: bool,
}

/// The same place by https.
pub(super) fn by_https(request: &Request<'_>) -> Result<Moved, Reject> {
    let host = without_port(request.host.filter(|host| !host.is_empty()).ok_or(Reject::MissingHost)?);
    let target = if request.origin_target.starts_with('/') { request.origin_target } else { "/" };
    Ok(Moved {
        location: format!("https://{host}{target}"),
        head_only: request.method == "HEAD",
        version: request.version,
        keep_alive: request.keep_alive && request.framing == Framing::Empty,
    })
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
