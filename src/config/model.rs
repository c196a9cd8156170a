//! The configuration as the program uses it: valid by construction.
//!
//! Made by `lower` and by nobody else. After it nobody checks again and nobody supplies a default: every option has
//! its value here, references are indices, and durations are never zero where zero has no meaning.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::balance::Balance;
use crate::health::Expression;

/// One complete configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The admin port.
    pub admin: Admin,
    /// Where and how the program logs.
    pub log: Log,
    /// Limits of the whole process.
    pub limits: ProcessLimits,
    /// How a stop proceeds.
    pub shutdown: Shutdown,
    /// Data-path threads; `None` means one for each usable CPU.
    pub workers: Option<NonZeroU32>,
    /// Reload by itself when a file of the configuration changes.
    pub watch: Watch,
    /// Listeners in the order of the file.
    pub listeners: Vec<Listener>,
    /// Pools in the order of the file; listeners and routes name them by [`PoolIndex`].
    pub pools: Vec<Arc<Pool>>,
}

/// Position of a pool in [`Config::pools`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolIndex(pub u32);

/// `watch = true | false`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// Look at the files every second and reload when their content changed.
    Files,
    /// Reload on SIGHUP and `evenkeel reload` only.
    Off,
}

/// `[admin]`: metrics, health of the balancer itself and the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens; `None` when switched off.
    pub bind: Option<SocketAddr>,
    /// The bearer token every path but `/livez`, `/readyz` and `/healthz` asks for; always there when `bind` is not loopback.
    pub token: Option<Arc<str>>,
}

/// `[log]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// The access log, one line for each request or TCP connection, on standard output.
    pub access: AccessLog,
    /// Least severity that the event log shows.
    pub level: Level,
    /// Form of the event log on standard error.
    pub format: LogFormat,
}

/// `log.access`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLog {
    /// No access log.
    Off,
    /// One JSON object a line.
    Json,
    /// One line of text for people.
    Text,
}

/// `log.level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// What failed.
    Error,
    /// And what someone should look at.
    Warn,
    /// And what changed.
    Info,
    /// And every connection's end.
    Debug,
}

/// `log.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[limits]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessLimits {
    /// Client connections in all; at the limit, accepting pauses.
    pub connections: NonZeroU32,
}

/// `[shutdown]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shutdown {
    /// Time between "not ready" and the end of accepting, so that whoever asks `/readyz` notices. May be zero.
    pub lead: Duration,
    /// Longest time that open work may take to finish.
    pub drain: Duration,
}

/// `[listener.NAME]`.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Addresses it accepts on; at least one, no two alike in a configuration.
    pub binds: Vec<SocketAddr>,
    /// What it speaks.
    pub protocol: Protocol,
    /// The pool for what no route matches.
    pub pool: Option<PoolIndex>,
    /// Routes in the order of the file: the first match wins. Empty for TCP.
    pub routes: Vec<Route>,
    /// Its limits.
    pub limits: ListenerLimits,
    /// Its deadlines.
    pub timeouts: ListenerTimeouts,
}

/// `listener.NAME.protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 and 1.0.
    Http,
    /// Bytes.
    Tcp,
}

/// `[listener.NAME.limits]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerLimits {
    /// Connections at once; at the limit, accepting pauses.
    pub connections: NonZeroU32,
    /// Longest request head, bytes (431).
    pub head_bytes: u32,
    /// Longest request target, bytes (414).
    pub target_bytes: u32,
    /// Most header fields (431), at most 256.
    pub headers: u16,
    /// Longest request body, bytes (413); `None`: no limit.
    pub body_bytes: Option<u64>,
}

/// `[listener.NAME.timeouts]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerTimeouts {
    /// From the first byte of a request head to its last (408).
    pub head: Duration,
    /// A keep-alive connection without a request; a TCP client that has not been connected to a backend.
    pub client_idle: Duration,
    /// Longest silence within a body, either way.
    pub body_idle: Duration,
    /// Longest silence of a tunnel (WebSocket) or a TCP connection, both ways.
    pub tunnel_idle: Duration,
}

/// `[[listener.NAME.route]]`: every condition given must hold; within a list one suffices.
#[derive(Debug, Clone)]
pub struct Route {
    /// Host names, without port, in lower case; empty: any.
    pub hosts: Vec<HostPattern>,
    /// Path prefix that ends at a segment boundary: `/v1` is `/v1` and `/v1/x`, never `/v1x`. Always starts with `/`,
    /// never ends with one unless it is `/`.
    pub path: Option<Arc<str>>,
    /// Methods; empty: any.
    pub methods: Vec<Arc<str>>,
    /// Header conditions, all of which must hold.
    pub headers: Vec<HeaderMatch>,
    /// Networks of the client; empty: any.
    pub clients: Vec<IpNet>,
    /// Where the request goes.
    pub pool: PoolIndex,
}

/// One host of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// The whole name, lower case.
    Exact(Arc<str>),
    /// `*.example.com`, kept as `.example.com`: one label or more in front.
    Suffix(Arc<str>),
}

/// `header = { name = "X-Beta", value = "1" }` or `header = "X-Beta"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderMatch {
    /// Lower case.
    pub name: Arc<str>,
    /// The exact value; `None`: present at all.
    pub value: Option<Arc<str>>,
}

/// `[pool.NAME]`.
#[derive(Debug, Clone)]
pub struct Pool {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Its backends in the order of the file; at least one, names distinct.
    pub members: Vec<Member>,
    /// How a backend is picked.
    pub balance: Balance,
    /// Its checks; may be empty: then every backend counts as up until traffic says otherwise.
    pub checks: Vec<Check>,
    /// When a backend counts as up, over the names of `checks`.
    pub healthy_when: Expression,
    /// What happens to open sessions of a backend that goes down.
    pub on_down: OnDown,
    /// How long a request waits for a backend when none may serve; zero: answered at once.
    pub hold: Duration,
    /// Most requests that wait at once.
    pub queue: u32,
    /// When and how often a request is tried again.
    pub retry: Retry,
    /// Its deadlines.
    pub timeouts: PoolTimeouts,
    /// Idle connections to each backend, over all workers.
    pub idle_connections: u32,
}

/// One entry of `pool.NAME.backends`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Member {
    /// Its name; the address where none is given.
    pub name: Arc<str>,
    /// Where it answers.
    pub address: Address,
    /// Its share of the work against its neighbours, 1 to 256.
    pub weight: u16,
    /// Whether it works always or only when no other does.
    pub standing: Standing,
}

/// Whether a backend works always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Always.
    Regular,
    /// `backup = true`: only when no regular backend is up.
    Backup,
}

/// Where something answers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address and a port.
    Socket(SocketAddr),
    /// A host name, resolved while running, and a port.
    Name(Arc<str>, u16),
}

impl Address {
    /// The port.
    pub fn port(&self) -> u16 {
        match self {
            Self::Socket(address) => address.port(),
            Self::Name(_, port) => *port,
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

/// `pool.NAME.on_down`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDown {
    /// Sessions go on as long as they can.
    Keep,
    /// Tunnels and TCP connections are closed, so that clients come back to a backend that works.
    Close,
}

/// `[pool.NAME.retry]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// Further backends tried after the first.
    pub attempts: u8,
    /// Retries allowed for each request, as a share: 0.2 is 20 %.
    pub budget_ratio: f32,
    /// Retries per second that are always allowed.
    pub budget_min_per_second: u32,
    /// Longest request body kept to be sent again, bytes.
    pub body_bytes: u32,
    /// Status codes of an answer that are retried for idempotent methods; empty: none.
    pub statuses: Vec<u16>,
}

/// `[pool.NAME.timeouts]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolTimeouts {
    /// One attempt at a connection.
    pub connect: Duration,
    /// From the request sent to the answer's head (504).
    pub response: Duration,
    /// An idle connection to a backend.
    pub idle: Duration,
    /// Longest silence of a tunnel or TCP connection to this pool; `None`: as the listener says.
    pub tunnel_idle: Option<Duration>,
}

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
    /// When it is asked and what the answers mean over time.
    pub timing: Timing,
}

/// When a check is asked and how many answers flip it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Timing {
    /// Time between two probes.
    pub interval: Duration,
    /// Time between two probes while some but not all of rise or fall are seen; never longer than `interval`.
    pub fast_interval: Duration,
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
    /// An HTTP answer.
    Http(HttpCheck),
    /// A `MySQL` or `MariaDB` login.
    Mysql(MysqlCheck),
    /// Apache's `server-status?auto`.
    Apache(ApacheCheck),
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

/// `type = "mysql"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MysqlCheck {
    /// Who logs in. A user that the server does not know is fine: "access denied" proves that it is alive.
    pub user: Arc<str>,
    /// Password, by `mysql_native_password`; empty: none.
    pub password: Arc<str>,
}

/// `type = "apache"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ApacheCheck {
    /// The question; its path is `/server-status?auto` where none is given.
    pub request: HttpQuestion,
    /// Fewer idle workers than this is down.
    pub idle_workers_min: u32,
}
