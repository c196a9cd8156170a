//! The checks of a pool: when each is asked, what it asks, and what is a good answer.

use super::http::{ApacheCheck, GrpcCheck, HttpCheck};
use super::sockets::Way;
use super::tls::TlsCheck;
use std::net::IpAddr;
use std::sync::Arc;

pub use crate::health::{Initial, Timing};

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
    /// How it gets there, as traffic of its pool does.
    pub way: Option<Arc<Way>>,
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

/// `send_proxy` of a pool: what its connections begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introduce {
    /// The version of the PROXY protocol.
    pub version: SendProxy,
    /// What version 2 says beside the addresses.
    pub tlvs: Vec<Tlv>,
}

/// What version 2 of the PROXY protocol says beside the addresses, where it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tlv {
    /// What is spoken inside TLS.
    Alpn,
    /// The name that the client has asked for in TLS.
    Authority,
    /// What was agreed on, and who holds the client's certificate.
    Tls,
    /// The identity of the request, or of the connection.
    UniqueId,
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
    /// The health service of gRPC.
    Grpc(GrpcCheck),
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
    /// Whether a good answer may say which role the backend has; `mode = "leader"` needs a check that does.
    pub fn tells_role(&self) -> bool {
        match self {
            Self::Http(check) => check.status.tells_role(),
            Self::Mysql(check) => check.facts.read_only.is_some() || check.facts.group.is_some(),
            Self::Postgres(check) => check.account.as_ref().is_some_and(|account| account.recovery.is_some()),
            Self::Redis(check) => check.role == Telling::Told,
            Self::Tcp
            | Self::Tls(_)
            | Self::Apache(_)
            | Self::Grpc(_)
            | Self::Smtp(_)
            | Self::Ldap(_)
            | Self::Script(_)
            | Self::Agent(_)
            | Self::Exec(_) => false,
        }
    }
}

/// `query = "…"` of a check of a database, and what its answer is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Query {
    /// What is asked; never empty, without NUL bytes.
    pub sql: Arc<str>,
    /// Which column of the first row is compared; `None`: the first one.
    pub column: Option<Arc<str>>,
    /// All that it must be; empty: an answer is enough.
    pub wanted: Vec<Comparison>,
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
