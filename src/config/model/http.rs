//! Checks over HTTP: how the question is asked, and which answers are good.

use std::sync::Arc;

use super::check::Comparison;
use super::tls::CheckTls;

/// `type = "http"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpCheck {
    /// How the question is asked.
    pub request: HttpQuestion,
    /// What the status says.
    pub status: StatusRule,
    /// What the body must be like: all of it.
    pub body: Vec<BodyRule>,
    /// Where in a JSON body the number stands that tells the newer of two leaders (RFC 6901).
    pub epoch: Option<Arc<str>>,
}

impl HttpCheck {
    /// Good for any status from 200 to 399, whatever the body.
    pub fn new(request: HttpQuestion) -> Self {
        Self { request, status: StatusRule::default(), body: Vec::new(), epoch: None }
    }
}

/// Method, path, headers, body and TLS of a probe over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpQuestion {
    /// The version of HTTP.
    pub version: HttpVersion,
    /// `GET` where none is given, `POST` with a body.
    pub method: Arc<str>,
    /// Path with query, starts with `/`.
    pub path: Arc<str>,
    /// `Host`; the address where none is given.
    pub host: Option<Arc<str>>,
    /// Further headers, in the order of the file.
    pub headers: Vec<(Arc<str>, Arc<str>)>,
    /// What is sent after the headers; empty: nothing.
    pub body: Arc<str>,
    /// TLS; `None`: plain.
    pub tls: Option<CheckTls>,
}

impl HttpQuestion {
    /// `GET path` and nothing more.
    pub fn get(path: &str) -> Self {
        Self {
            version: HttpVersion::V1_1,
            method: Arc::from("GET"),
            path: Arc::from(path),
            host: None,
            headers: Vec::new(),
            body: Arc::from(""),
            tls: None,
        }
    }
}

/// `http`: which version of HTTP a check speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HttpVersion {
    /// HTTP/1.1, and 1.0 in the answer.
    V1_1,
    /// HTTP/2: agreed upon by ALPN over TLS, taken for granted without.
    V2,
}

/// `status` of a check.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum StatusRule {
    /// Any of these is good.
    Good(Vec<Codes>),
    /// Each means a word, the first that fits; any other code is a failure.
    Words(Vec<(Codes, StatusWord)>),
}

impl StatusRule {
    /// Good from and to, both included.
    pub fn range(from: u16, to: u16) -> Self {
        Self::Good(vec![Codes::Range(from, to)])
    }

    pub(super) fn tells_role(&self) -> bool {
        let Self::Words(words) = self else { return false };
        let role = |word| matches!(word, StatusWord::Active | StatusWord::Standby | StatusWord::Read);
        words.iter().any(|(_, word)| role(*word))
    }
}

impl Default for StatusRule {
    /// Any answer that is neither of the client's nor of the server's fault.
    fn default() -> Self {
        Self::range(200, 399)
    }
}

/// Some status codes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Codes {
    /// From and to, both included; one code where they are equal.
    Range(u16, u16),
    /// Those whose three digits match.
    Matches(Pattern),
}

impl Codes {
    /// Whether a code is one of them.
    pub fn have(&self, code: u16) -> bool {
        match self {
            Self::Range(first, last) => (*first..=*last).contains(&code),
            Self::Matches(pattern) => {
                let digit = |place: u16| b'0' + (code / place % 10) as u8;
                pattern.0.is_match(&[digit(100), digit(10), digit(1)])
            }
        }
    }
}

impl std::fmt::Display for Codes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Range(first, last) if first == last => first.fmt(f),
            Self::Range(first, last) => write!(f, "{first}-{last}"),
            Self::Matches(pattern) => write!(f, "/{}/", pattern.0.as_str()),
        }
    }
}

/// What a status code may mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StatusWord {
    /// Well, and the one that does the work.
    Active,
    /// Well, and ready to become the active one.
    Standby,
    /// Well, for reads.
    Read,
    /// Well.
    Up,
    /// Well, and gets no new work.
    Draining,
    /// Left alone: an operator works on it.
    Maintenance,
    /// Not well.
    Down,
}

impl StatusWord {
    /// As the configuration says it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Standby => "standby",
            Self::Read => "read",
            Self::Up => "up",
            Self::Draining => "draining",
            Self::Maintenance => "maintenance",
            Self::Down => "down",
        }
    }
}

/// `body = { … }` of a check.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BodyRule {
    /// `contains = "text"`.
    Contains(Arc<str>),
    /// `contains = "text", not = true`.
    Lacks(Arc<str>),
    /// `regex = "…"`.
    Matches(Pattern),
    /// `regex = "…", not = true`.
    MatchesNot(Pattern),
    /// `json = "/pointer"` with comparisons.
    Json {
        /// Where it stands (RFC 6901).
        pointer: Arc<str>,
        /// What it must be: all of it; never empty.
        wanted: Vec<Comparison>,
    },
}

/// A compiled regular expression that compares by its source.
#[derive(Debug, Clone)]
pub struct Pattern(pub regex::bytes::Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

impl std::hash::Hash for Pattern {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.as_str().hash(state);
    }
}

/// `type = "apache"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ApacheCheck {
    /// The question; its path is `/server-status?auto` where none is given.
    pub request: HttpQuestion,
    /// Fewer idle workers than this is down.
    pub idle_workers_min: u32,
    /// Whether they also say how much work it should get.
    pub weights: ApacheWeights,
}

/// `weights` of a check of type `apache`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ApacheWeights {
    /// As the configuration says.
    Configured,
    /// By the share of its workers that are idle.
    ByIdleWorkers,
}

/// `type = "grpc"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GrpcCheck {
    /// The service that is asked for; empty: the whole server.
    pub service: Arc<str>,
    /// `:authority`; the address where none is given.
    pub host: Option<Arc<str>>,
    /// Further metadata, in the order of the file.
    pub headers: Vec<(Arc<str>, Arc<str>)>,
    /// TLS; `None`: plain.
    pub tls: Option<CheckTls>,
}
