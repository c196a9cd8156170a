//! `[tracing]`: what is told of requests to a collector of OpenTelemetry.

use std::sync::Arc;

/// `[tracing]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Tracing {
    /// `otlp` as it was written.
    pub written: Arc<str>,
    /// The collector's host.
    pub host: Arc<str>,
    /// And port.
    pub port: u16,
    /// The path of the POST.
    pub path: Arc<str>,
    /// The share of requests that is recorded where they do not say so themselves, 0 to 1.
    pub sample: f32,
    /// Who decides where a request does say.
    pub parent: Parent,
    /// `service.name`.
    pub service: Arc<str>,
}

/// `tracing.parent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// The flag of the request's `traceparent`.
    Honour,
    /// `sample`, as for all.
    Ignore,
}
