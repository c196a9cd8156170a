//! What another service is asked of a request: a GET that tells of it, without its body.

use std::sync::Arc;

use super::super::http1::edits::push_line;
use super::super::rules::fill::Facts;
use crate::config::model::ForwardAuth;

/// Fields that say who the client is, whatever the configuration names.
const ALWAYS: &[&str] = &["cookie", "authorization"];

/// A question, ready to be sent.
#[derive(Debug)]
pub struct Question {
    /// The rule that asks.
    pub rule: Arc<ForwardAuth>,
    /// The whole request.
    pub head: Vec<u8>,
}

impl Question {
    /// What is asked of this request.
    pub(in super::super) fn new(rule: &Arc<ForwardAuth>, facts: &Facts<'_, '_>) -> Self {
        let request = facts.request;
        let host = request.host.unwrap_or_default().as_bytes();
        let mut head = Vec::with_capacity(512);
        for part in [&b"GET "[..], rule.path.as_bytes(), b" HTTP/1.1\r\n"] {
            head.extend_from_slice(part);
        }
        for (name, value) in [
            (&b"Host"[..], host),
            (b"X-Forwarded-Method", request.method.as_bytes()),
            (b"X-Forwarded-Proto", facts.scheme),
            (b"X-Forwarded-Host", host),
            (b"X-Forwarded-Uri", request.origin_target.as_bytes()),
            (b"X-Forwarded-For", facts.client_text.as_bytes()),
            (b"X-Request-ID", facts.id),
        ] {
            push_line(&mut head, name, value);
        }
        for field in request.fields {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            if ALWAYS.iter().any(|name| is(name)) || rule.request_headers.iter().any(|name| is(name)) {
                push_line(&mut head, field.name.as_bytes(), field.value);
            }
        }
        head.extend_from_slice(b"\r\n");
        Self { rule: Arc::clone(rule), head }
    }
}
