//! What a request must pass before it is forwarded, besides being allowed: rates, web pages,
//! passwords, and what another service says.
//!
//! Part of [`Rules`](super::Rules); live state that belongs to it is made by `route::gates`.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::super::users::Users;
use super::PoolIndex;

/// `rate = { … }`: how often somebody may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rate {
    /// Who is counted apart.
    pub per: Per,
    /// So many requests …
    pub requests: NonZeroU32,
    /// … in this time, evenly; at least a millisecond.
    pub every: Duration,
    /// So many may come at once.
    pub burst: NonZeroU32,
}

/// Who is counted apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Per {
    /// Each client: an address, or a network of 64 bits in IPv6.
    Client,
    /// Nobody: all together.
    All,
    /// Each value of a field (lower case); a request without it counts for its client.
    Header(Arc<str>),
    /// The same of a cookie.
    Cookie(Arc<str>),
}

/// `cors = { … }`: which web pages may ask (the Fetch standard, section 3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// Pages of these origins.
    pub origins: Origins,
    /// By these methods.
    pub methods: Permitted,
    /// With these fields.
    pub headers: Permitted,
    /// Fields of answers that a page may read, as a list with commas.
    pub expose: Option<Arc<str>>,
    /// Whether pages may ask in the name of who looks at them.
    pub credentials: Credentials,
    /// How long a browser may remember what it may do.
    pub max_age: Option<Duration>,
}

/// Origins of web pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// `"*"`.
    Any,
    /// These.
    Listed(Vec<OriginPattern>),
}

/// An origin, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginPattern {
    /// `https://a.example`.
    Exact(Arc<str>),
    /// `https://*.example.com:8443`: what stands before the `*`, and what behind.
    Below(Arc<str>, Arc<str>),
}

/// What a preflight may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permitted {
    /// `"*"`: whatever it names.
    Any,
    /// These, as a list with commas; empty: nothing beyond what every page may.
    Listed(Arc<str>),
}

/// Cookies and passwords in requests of other origins' pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credentials {
    /// Browsers leave them out.
    Omit,
    /// Browsers send them.
    Include,
}

/// `basic_auth = { … }`: who may pass with a password (RFC 7617).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasicAuth {
    /// Where the users stand; read again when it changes.
    pub file: Arc<Path>,
    /// Who may pass.
    pub users: Arc<Users>,
    /// What a browser shows when it asks for the password; in quotes already.
    pub realm: Arc<str>,
    /// What becomes of the field with the password.
    pub authorization: Authorization,
    /// The field that tells the backend the name.
    pub user_header: Option<Arc<str>>,
}

/// What becomes of `Authorization` when it has served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authorization {
    /// It ends here.
    Remove,
    /// The backend gets it, too.
    Pass,
}

/// `forward_auth = { … }`: another service says who may pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardAuth {
    /// Who is asked.
    pub pool: PoolIndex,
    /// For what, with query.
    pub path: Arc<str>,
    /// Fields of the request that it is told, in lower case.
    pub request_headers: Vec<Arc<str>>,
    /// Fields of its answer that the backend is told, in lower case.
    pub response_headers: Vec<Arc<str>>,
    /// So long it may take in all.
    pub timeout: Duration,
    /// When it says nothing that can be used.
    pub on_failure: OnFailure,
}

/// What is done when nobody says who may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// Nobody may.
    Deny,
    /// Everybody may.
    Allow,
}

/// `compress`: which answers are made smaller on their way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compress {
    /// Media types, in lower case; one that ends in `/` stands for all that begin with it.
    pub types: Vec<Arc<str>>,
    /// Shorter answers go as they are.
    pub min_bytes: u64,
    /// How, the one that is liked best first; never empty.
    pub with: Vec<Coding>,
}

/// A content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// RFC 8878.
    Zstd,
    /// RFC 7932.
    Brotli,
    /// RFC 1952.
    Gzip,
}

impl Coding {
    /// Its name in `Content-Encoding`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }
}
