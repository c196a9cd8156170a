//! The checks of a pool: when each is asked, what it asks, and what is a good answer.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::mysql::MysqlCheck;
use super::wire::{AgentCheck, ExecCheck, LdapCheck, PostgresCheck, RedisCheck, ScriptCheck, SmtpCheck, Telling};

/// `[pool.NAME.check.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name, as `healthy_when` says it.
    pub name: Arc<str>,
    /// The question.
    pub kind: CheckKind,
    /// Asked there instead of at the backend's own host.
    pub host: Option<IpAddr>,
    /// Asked at this port instead of the backend's own.
    pub port: Option<u16>,
    /// What is said of the connection before anything else, where the backend insists on it.
    pub send_proxy: Option<SendProxy>,
    /// When it is asked and what the answers mean over time.
    pub timing: Timing,
    /// Values of it that came from `${…}`, and passwords: no log and no transcript may show them.
    pub secrets: Vec<Arc<str>>,
}

/// `send_proxy`: the version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SendProxy {
    /// A line of text.
    V1,
    /// Bytes.
    V2,
}

/// When a check is asked and how many answers flip it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Timing {
    /// Time between two probes.
    pub interval: Duration,
    /// Time between two probes while some but not all of rise or fall are seen; never longer than `interval`.
    pub fast_interval: Duration,
    /// Time between two probes while the check is down.
    pub down_interval: Duration,
    /// Longest time that one probe may take; never longer than `interval`.
    pub timeout: Duration,
    /// Good probes in a row that bring it up.
    pub rise: NonZeroU32,
    /// Bad probes in a row that take it down.
    pub fall: NonZeroU32,
    /// What it is before the first probe.
    pub initial: Initial,
}

/// `check.NAME.initial`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Initial {
    /// Unknown: the first probe decides at once.
    Unknown,
    /// Up until `fall` probes say otherwise.
    Up,
    /// Down until `rise` probes say otherwise.
    Down,
}

/// The question of a check. Two checks with equal kind, address and timeout are one question, asked once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CheckKind {
    /// A connection is accepted; invisible to servers that count connections without a login.
    Tcp,
    /// A TLS handshake.
    Tls(TlsCheck),
    /// An HTTP answer.
    Http(HttpCheck),
    /// A `MySQL` or `MariaDB` login.
    Mysql(MysqlCheck),
    /// Apache's `server-status?auto`.
    Apache(ApacheCheck),
    /// A `PostgreSQL` server's first words, or a login.
    Postgres(PostgresCheck),
    /// `PING` to Redis, and its role.
    Redis(RedisCheck),
    /// A mail server's greeting.
    Smtp(SmtpCheck),
    /// A bind to a directory.
    Ldap(LdapCheck),
    /// Bytes sent and expected.
    Script(ScriptCheck),
    /// What an agent says.
    Agent(AgentCheck),
    /// A command's exit code.
    Exec(ExecCheck),
}

impl CheckKind {
    /// Whether a good answer tells the role of the backend.
    pub fn tells_role(&self) -> bool {
        match self {
            Self::Mysql(check) => check.facts.read_only.is_some() || check.facts.group.is_some(),
            Self::Postgres(check) => check.account.as_ref().is_some_and(|account| account.recovery.is_some()),
            Self::Redis(check) => check.role == Telling::Told,
            _ => false,
        }
    }
}

/// `type = "http"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpCheck {
    /// How the question is asked.
    pub request: HttpQuestion,
    /// The status codes that are good: ranges, both ends included.
    pub statuses: Vec<(u16, u16)>,
    /// What the body must be like.
    pub body: Option<BodyRule>,
}

/// Method, path, headers and TLS of a probe over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpQuestion {
    /// `GET` where none is given.
    pub method: Arc<str>,
    /// Path with query, starts with `/`.
    pub path: Arc<str>,
    /// `Host`; the address where none is given.
    pub host: Option<Arc<str>>,
    /// Further headers, in the order of the file.
    pub headers: Vec<(Arc<str>, Arc<str>)>,
    /// TLS; `None`: plain.
    pub tls: Option<CheckTls>,
}

/// `tls = { … }` of a check.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CheckTls {
    /// The name asked for (SNI) and verified; the address where none is given.
    pub server_name: Option<Arc<str>>,
    /// What the certificate must prove.
    pub verify: Verify,
    /// Older versions of TLS are refused.
    pub least: TlsVersion,
    /// The certificate that we show.
    pub identity: Option<Identity>,
    /// A certificate that ends sooner is a failure.
    pub expires_in: Option<Duration>,
}

impl Default for CheckTls {
    /// What `tls = true` says.
    fn default() -> Self {
        Self { server_name: None, verify: Verify::System, least: TlsVersion::V1_2, identity: None, expires_in: None }
    }
}

/// `type = "tls"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct TlsCheck {
    /// What the handshake must prove.
    pub tls: CheckTls,
    /// Protocols offered by ALPN, of which the backend must take one; none: it is not asked.
    pub protocols: Vec<Arc<str>>,
}

/// Versions of TLS; those before 1.2 are not spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// Our own certificate with its key, as `cert` and `key` of a check name them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Ours first, then those that signed it; DER.
    pub chain: Vec<Arc<[u8]>>,
    /// DER of whatever form; never shown.
    pub key: Arc<[u8]>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({} certificates and a key)", self.chain.len())
    }
}

/// How far a backend's certificate is trusted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Verify {
    /// Not at all.
    Nothing,
    /// By the system's roots.
    System,
    /// By these roots, DER, read from `ca = "file"` when the configuration was loaded.
    Roots(Vec<Arc<[u8]>>),
}

/// `body = { … }` of a check.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BodyRule {
    /// `contains = "text"`.
    Contains(Arc<str>),
    /// `regex = "…"`.
    Matches(Pattern),
    /// `json = "/pointer", equals = value`: RFC 6901 pointer and the value as JSON text.
    JsonEquals {
        /// The pointer.
        pointer: Arc<str>,
        /// The value it must have, in `serde_json`'s own form.
        value: Arc<str>,
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
}

/// `query = "…"` of a check of a database, with at most one comparison.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Query {
    /// What is asked; never empty, without NUL bytes.
    pub sql: Arc<str>,
    /// What the first column of the first row must be; `None`: an answer is enough.
    pub wanted: Option<Comparison>,
}

/// What a value must be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `equals = …`.
    Equals(Wanted),
    /// `not = …`.
    Not(Wanted),
    /// `above = …`.
    Above(Number),
    /// `below = …`.
    Below(Number),
}

/// A value that is wanted, or not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// A text, byte by byte.
    Text(Arc<str>),
    /// A number, however it is written.
    Number(Number),
    /// What databases say for true: `t`, `1`, `ON`, `yes`.
    True,
    /// What they say for false.
    False,
}

/// A number with nine decimal places; exact for every integer of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Number(i128);

impl Number {
    /// Parts of the unit.
    const UNIT: i128 = 1_000_000_000;

    /// The number that a text says: `17`, `-0.5`, `1e6`; further decimal places are cut off.
    pub fn parse(text: &str) -> Option<Self> {
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let is_plain = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_plain(whole) || !is_plain(fraction) {
            return Self::from_float(text);
        }
        if whole.len() + fraction.len() == 0 {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let places = fraction.bytes().map(|digit| i128::from(digit - b'0')).chain(std::iter::repeat(0));
        let fraction = places.take(9).fold(0, |sum, digit| sum * 10 + digit);
        let number = whole.checked_mul(Self::UNIT)?.checked_add(fraction)?;
        Some(Self(if text.starts_with('-') { -number } else { number }))
    }

    /// With an exponent; not for `inf`, `nan` and what is no number.
    fn from_float(text: &str) -> Option<Self> {
        let float: f64 = text.parse().ok()?;
        // Beyond this the parts would not fit.
        (float.abs() < 1e27).then(|| Self((float * Self::UNIT as f64).round() as i128))
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, fraction) = (self.0.abs() / Self::UNIT, self.0.abs() % Self::UNIT);
        let sign = if self.0 < 0 { "-" } else { "" };
        let digits = format!("{fraction:09}");
        match digits.trim_end_matches('0') {
            "" => write!(f, "{sign}{whole}"),
            places => write!(f, "{sign}{whole}.{places}"),
        }
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "`{text}`"),
            Self::Number(number) => number.fmt(f),
            Self::True => f.write_str("true"),
            Self::False => f.write_str("false"),
        }
    }
}

impl std::fmt::Display for Comparison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Equals(wanted) => wanted.fmt(f),
            Self::Not(wanted) => write!(f, "anything but {wanted}"),
            Self::Above(number) => write!(f, "above {number}"),
            Self::Below(number) => write!(f, "below {number}"),
        }
    }
}
