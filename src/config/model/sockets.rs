//! Options of sockets: of those that clients connect to, and of those by which backends are reached.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// What sockets of listeners and of pools may be told alike; nothing of it is touched where it is not given.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct SocketOptions {
    /// `user_timeout`: what was sent and is not confirmed for so long ends the connection (RFC 5482).
    pub user_timeout: Option<Duration>,
    /// `mark`: for rules of the firewall and of routing.
    pub mark: Option<NonZeroU32>,
    /// `interface`: the only one that is used.
    pub interface: Option<Arc<str>>,
    /// `dscp`: the class of service, 0 to 63 (RFC 2474).
    pub dscp: Option<u8>,
    /// `max_segment`: the longest segment, bytes.
    pub max_segment: Option<NonZeroU32>,
}

/// `keepalive = { … }`: how a side that says nothing is asked whether it is still there (RFC 9293, section 3.8.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Keepalive {
    /// Silence before the first question, whole seconds.
    pub idle: Duration,
    /// Time between two questions, whole seconds.
    pub interval: Duration,
    /// So many questions without an answer end the connection.
    pub count: u32,
}

impl Keepalive {
    /// How clients are asked where nothing is said: after a minute, and then four times. So what a client that is gone
    /// without a word holds at a backend (a session of a database) is given back in two minutes.
    pub const CLIENTS: Self = Self { idle: Duration::from_secs(60), interval: Duration::from_secs(15), count: 4 };
}

/// `[listener.NAME.tcp]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTcp {
    /// Those that pools have as well.
    pub options: SocketOptions,
    /// How clients are asked whether they are still there; `None`: never.
    pub keepalive: Option<Keepalive>,
    /// Clients that may send with their first segment and have not been accepted yet (RFC 7413); `None`: none may.
    pub fast_open: Option<NonZeroU32>,
}

impl Default for ListenerTcp {
    /// What holds where nothing is said.
    fn default() -> Self {
        Self { options: SocketOptions::default(), keepalive: Some(Keepalive::CLIENTS), fast_open: None }
    }
}

/// `pool.NAME.source` and `[pool.NAME.tcp]`: the way to backends, of traffic and of probes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Way {
    /// Our own addresses that backends are asked from, by turns; empty, or none of the backend's family: the system
    /// chooses.
    pub sources: Vec<IpAddr>,
    /// Those that listeners have as well.
    pub options: SocketOptions,
    /// How backends are asked whether they are still there.
    pub keepalive: Vigil,
}

/// `keepalive` of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Vigil {
    /// On connections on which nobody else would notice, by the deadlines of the pool.
    #[default]
    AsNeeded,
    /// Never.
    Never,
    /// From the first moment on.
    Always(Keepalive),
}
