//! The configuration as the program uses it: valid by construction.
//!
//! Made by `lower` and by nobody else. After it nobody checks again and nobody supplies a default: every option has
//! its value here, references are indices, and durations are never zero where zero has no meaning.

mod admin;
mod check;
mod conditions;
mod destination;
mod dialect;
mod gates;
mod http;
mod log;
mod metrics;
mod mirror;
mod mysql;
mod pages;
mod paths;
mod process;
mod rewrite;
mod route_test;
mod rules;
mod secret;
mod site;
mod sockets;
mod sticky;
mod tls;
mod tracing;
mod wire;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::balance::Balance;
use crate::health::Policy;
use crate::log::Target;

pub use crate::health::Standing;
pub use admin::*;
pub use check::*;
pub use conditions::*;
pub use destination::*;
pub use dialect::*;
pub use gates::*;
pub use http::*;
pub use log::*;
pub use metrics::*;
pub use mirror::*;
pub use mysql::*;
pub use pages::*;
pub use paths::*;
pub use process::*;
pub use rewrite::*;
pub use route_test::*;
pub use rules::*;
pub use secret::MARK;
pub use site::*;
pub use sockets::*;
pub use sticky::*;
pub use tls::*;
pub use tracing::*;
pub use wire::*;

/// One complete configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The admin port.
    pub admin: Arc<Admin>,
    /// How the program logs its own events.
    pub log: Log,
    /// What `/metrics` says.
    pub metrics: Metrics,
    /// What is told of requests to a collector of traces; `None`: nothing.
    pub tracing: Option<Arc<Tracing>>,
    /// Limits of the whole process.
    pub limits: ProcessLimits,
    /// How a stop proceeds.
    pub shutdown: Shutdown,
    /// How another process takes over.
    pub upgrade: Upgrade,
    /// As whom the program runs, and what it can reach.
    pub process: Process,
    /// `[exec] allow`: folders whose commands checks may run; empty: none.
    pub exec_allowed: Vec<PathBuf>,
    /// Data-path threads; `None` means one for each usable CPU.
    pub workers: Option<NonZeroU32>,
    /// Where what must survive a restart is kept: overrides by operators, and who is the active one.
    pub state_file: Option<Arc<Path>>,
    /// Probes under way at once.
    pub probes_at_once: NonZeroU32,
    /// Reload by itself when a file of the configuration changes.
    pub watch: Watch,
    /// Listeners in the order of the file.
    pub listeners: Vec<Listener>,
    /// Pools in the order of the file; listeners and routes name them by [`PoolIndex`].
    pub pools: Vec<Arc<Pool>>,
}

impl Config {
    /// Where access logs go, one for each listener that has one, and the audit log.
    pub fn log_targets(&self) -> impl Iterator<Item = &Target> {
        let access = self.listeners.iter().filter_map(|listener| Some(&listener.log.as_ref()?.target));
        access.chain(&self.admin.audit)
    }
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

/// `[upgrade]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    /// Where `evenkeel run --takeover` finds this process; `None`: nowhere.
    pub socket: Option<UnixName>,
    /// Longest time that the new process may take until it is ready.
    pub timeout: Duration,
}

/// `[listener.NAME]`.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Addresses it accepts on; at least one, no two alike in a configuration.
    pub binds: Vec<Site>,
    /// The rights of the files of its unix sockets.
    pub socket_mode: u32,
    /// What it speaks.
    pub protocol: Protocol,
    /// What its sockets are told.
    pub tcp: ListenerTcp,
    /// Versions of HTTP that its clients may speak.
    pub http: Spoken,
    /// What it speaks it inside of; `None`: nothing.
    pub tls: Option<Arc<ListenerTls>>,
    /// What becomes of requests for a host that neither a route nor a certificate names.
    pub unknown_host: UnknownHost,
    /// Proxies in front of this one, whose word on who the client is counts.
    pub trusted_proxies: Vec<IpNet>,
    /// Networks from which every connection begins with a header of the PROXY protocol.
    pub accept_proxy: Vec<IpNet>,
    /// What becomes of the paths of requests.
    pub normalize: Normalize,
    /// What becomes of names of fields with an underscore.
    pub underscores: Underscores,
    /// Where goes what no route matches.
    pub destination: Option<Destination>,
    /// Which backends of that pool.
    pub reads: Reads,
    /// What is done to requests that no route matches; `None`: nothing.
    pub rules: Option<Arc<Rules>>,
    /// Routes in the order of the file: the first match wins. Those of a tcp listener look at hosts and clients only.
    pub routes: Vec<Route>,
    /// Its limits.
    pub limits: ListenerLimits,
    /// Its deadlines.
    pub timeouts: ListenerTimeouts,
    /// `listener.NAME.udp.responses`: a flow has ended when so many answers have come for each datagram of the client;
    /// `None`: nobody knows how many come.
    pub responses: Option<NonZeroU32>,
    /// Its access log; `None`: none.
    pub log: Option<Arc<AccessLog>>,
}

/// `listener.NAME.unknown_host`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownHost {
    /// They go to the listener's pool.
    Serve,
    /// They are refused (421).
    Refuse,
}

/// `listener.NAME.http`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/1.1 and 1.0.
    V1,
    /// HTTP/2.
    V2,
    /// All of them, as the client likes: over TLS by ALPN, else told apart by the first bytes.
    Both,
}

/// `listener.NAME.protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP, in the versions that `http` names.
    Http,
    /// Bytes.
    Tcp,
    /// Datagrams.
    Udp,
}

impl Protocol {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// `[listener.NAME.limits]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerLimits {
    /// Connections at once; at the limit, accepting pauses.
    pub connections: NonZeroU32,
    /// Connections at once of each client; `None`: as many as there may be in all.
    pub connections_per_client: Option<NonZeroU32>,
    /// Longest request head, bytes (431).
    pub head_bytes: u32,
    /// Longest request target, bytes (414).
    pub target_bytes: u32,
    /// Most header fields (431), at most 256.
    pub headers: u16,
    /// Longest request body, bytes (413); `None`: no limit.
    pub body_bytes: Option<u64>,
    /// Requests at once on one connection of HTTP/2.
    pub streams: u32,
    /// Flows of a UDP listener at once; at the limit, one that nobody has gone on with makes room.
    pub flows: NonZeroU32,
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
    /// Longest silence of a UDP flow, both ways.
    pub flow_idle: Duration,
}

/// `[[listener.NAME.route]]`: every condition given must hold; within a list one suffices.
#[derive(Debug, Clone)]
pub struct Route {
    /// Host names, without port, in lower case; empty: any.
    pub hosts: Vec<HostPattern>,
    /// Paths; empty: any.
    pub paths: Vec<PathMatch>,
    /// Methods; empty: any.
    pub methods: Vec<Arc<str>>,
    /// Header conditions, all of which must hold.
    pub headers: Vec<ValueMatch>,
    /// The same for cookies.
    pub cookies: Vec<ValueMatch>,
    /// The same for what stands behind the `?` of the target.
    pub queries: Vec<ValueMatch>,
    /// Networks of the client; empty: any.
    pub clients: Vec<IpNet>,
    /// Where the request goes.
    pub destination: Destination,
    /// Which backends of the pool.
    pub reads: Reads,
    /// What is done to it; `None`: nothing.
    pub rules: Option<Arc<Rules>>,
}

/// `reads` of a listener or route: which backends of a pool with roles get the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reads {
    /// Those that do the pool's work (the active one).
    #[default]
    Active,
    /// Its standbys and read replicas; where none is up, the active one.
    Standby,
}

/// One host of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// The whole name, lower case.
    Exact(Arc<str>),
    /// `*.example.com`, kept as `.example.com`: one label or more in front.
    Suffix(Arc<str>),
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
    /// When a backend counts as up, and who of those that are up gets work.
    pub policy: Policy,
    /// The pool whose verdicts this one takes over, backend by backend; it has no checks of its own then.
    pub follows: Option<PoolIndex>,
    /// What happens to open sessions of a backend that is the active one no more (`on_role_loss`).
    pub on_role_loss: OnDown,
    /// The version of HTTP that its backends are spoken to in.
    pub http: HttpVersion,
    /// How its backends are reached; `None`: nothing is special.
    pub way: Option<Arc<Way>>,
    /// TLS to its backends; `None`: plain.
    pub tls: Option<Arc<PoolTls>>,
    /// What connections to its backends begin with; `None`: nothing.
    pub introduce: Option<Arc<Introduce>>,
    /// Where its work goes by preference.
    pub zones: Zones,
    /// What happens to open sessions of a backend that goes down.
    pub on_down: OnDown,
    /// How long a request waits for a backend when none may serve; zero: answered at once.
    pub hold: Duration,
    /// Most requests that wait at once, for a backend or for a place at one.
    pub queue: u32,
    /// When and how often a request is tried again.
    pub retry: Retry,
    /// Its deadlines.
    pub timeouts: PoolTimeouts,
    /// Idle connections to each backend, over all workers.
    pub idle_connections: u32,
    /// Most tunnels at each backend; `None`: no limit.
    pub tunnels_max: Option<NonZeroU32>,
    /// Most requests or TCP connections at once at each backend that says nothing else; `None`: no limit.
    pub connections_max: Option<NonZeroU32>,
    /// How clients stay with the backend that they have; `None`: they do not.
    pub sticky: Option<Sticky>,
}

/// Where the work of a pool goes by preference. Zones are numbered in the order in which the pool's backends name them.
#[derive(Debug, Clone, PartialEq)]
pub struct Zones {
    /// The zones of the backends, by number.
    pub names: Vec<Arc<str>>,
    /// `zone`: the balancer's own; `None`: all backends alike. A zone that no backend is in counts as none.
    pub own: Option<ZoneIndex>,
    /// `client_zones`: networks of clients and the zone that these prefer to the balancer's own; the longest prefix wins.
    pub clients: Vec<(IpNet, ZoneIndex)>,
    /// `spill_below`: while less than this share of a zone's weight is up, the missing part of its work goes elsewhere.
    pub spill_below: f32,
    /// `spill_at`: work in flight for each backend at which further work goes to other zones; `None`: never.
    pub spill_at: Option<NonZeroU32>,
}

/// Position in [`Zones::names`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ZoneIndex(pub u16);

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
    /// Where it stands, as [`Zones`] of its pool numbers it.
    pub zone: Option<ZoneIndex>,
    /// Most requests or TCP connections at once, where it has a limit of its own.
    pub connections_max: Option<NonZeroU32>,
}

/// Where something answers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address and a port.
    Socket(SocketAddr),
    /// A host name, resolved while running, and a port.
    Name(Arc<str>, u16),
    /// A socket of this machine.
    Unix(UnixName),
}

impl Address {
    /// The port, where it has one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Socket(address) => Some(address.port()),
            Self::Name(_, port) => Some(*port),
            Self::Unix(_) => None,
        }
    }

    /// The name that it goes by, for TLS and as a host that is asked for: a socket is somebody on this machine.
    pub fn host(&self) -> Arc<str> {
        match self {
            Self::Socket(address) => address.ip().to_string().into(),
            Self::Name(name, _) => Arc::clone(name),
            Self::Unix(_) => "localhost".into(),
        }
    }

    /// Where that is, unless a name has to be looked up first.
    pub fn site(&self) -> Option<Site> {
        match self {
            Self::Socket(address) => Some(Site::Ip(*address)),
            Self::Name(..) => None,
            Self::Unix(name) => Some(Site::Unix(name.clone())),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
            Self::Unix(name) => name.fmt(f),
        }
    }
}

/// `pool.NAME.on_down`, `pool.NAME.on_role_loss`.
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
    /// The wait for a place where every backend that may serve is at its limit (503).
    pub queue: Duration,
    /// From the request sent to the answer's head (504).
    pub response: Duration,
    /// An idle connection to a backend.
    pub idle: Duration,
    /// Longest silence of a tunnel or TCP connection to this pool; `None`: as the listener says.
    pub tunnel_idle: Option<Duration>,
}
