//! `sticky` of a pool: how clients stay with the backend that they have.

use super::secret::Marked;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// `sticky`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sticky {
    /// By a cookie that the balancer sets.
    Cookie(Box<StickyCookie>),
    /// By something of the client's, remembered.
    Learned(Learned),
}

/// A cookie of the balancer's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StickyCookie {
    /// Its name.
    pub name: Arc<str>,
    /// What its values are made with.
    pub secret: StickySecret,
    /// `Path`.
    pub path: Arc<str>,
    /// `Domain`; `None`: the host that was asked.
    pub domain: Option<Arc<str>>,
    /// `Secure`.
    pub secure: Secure,
    /// `HttpOnly`.
    pub http_only: HttpOnly,
    /// `SameSite`; `None`: the browser decides.
    pub same_site: Option<&'static str>,
    /// `Max-Age`; `None`: it ends with the browser's session.
    pub max_age: Option<Duration>,
    /// What it names.
    pub scope: StickyScope,
}

/// What the values of a cookie are made with. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub enum StickySecret {
    /// The same on every balancer that shall honour it.
    Given(Arc<str>),
    /// Made anew by each start.
    Random,
}

impl std::fmt::Debug for StickySecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Given(secret) => write!(f, "Given(...){}", Marked(secret.as_bytes())),
            Self::Random => f.write_str("Random"),
        }
    }
}

/// When a cookie may be sent over TLS only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secure {
    /// When the client has come by https.
    AsClient,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Whether scripts may see a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpOnly {
    /// They may not.
    Yes,
    /// They may.
    No,
}

/// What a cookie names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StickyScope {
    /// A backend of the pool.
    Pool,
    /// A zone of it.
    Zone,
}

/// What a client is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learned {
    /// That.
    pub by: LearnedBy,
    /// Forgotten after so long without use.
    pub expire: Duration,
    /// Most that are remembered.
    pub entries: NonZeroU32,
}

/// What of a client is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LearnedBy {
    /// The value of a cookie that the backends set.
    ApplicationCookie(Arc<str>),
    /// Its address.
    Source,
    /// The value of a header; the name is in lower case.
    Header(Arc<str>),
}
