//! Where something answers or accepts, as the system takes it: an IP address and a port, or a unix socket.
//!
//! Names of hosts are no sites: they are looked up first ([`super::Address`]).

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

/// The address of a client that has none because it came by a unix socket: the unspecified address, which "indicates
/// the absence of an address" and is never that of anybody (RFC 4291, section 2.5.2). `unix:` in a list of networks is
/// this one.
pub const NO_ADDRESS: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// Where something answers or accepts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Site {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// A socket of this machine.
    Unix(UnixName),
}

/// The name of a unix socket: a whole path, or `@` and a name that is in no folder (an abstract one). Short enough for
/// the system.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UnixName(Arc<str>);

/// A client's address as the log and metrics say it.
#[derive(Debug, Clone, Copy)]
pub struct Client(pub IpAddr);

impl Site {
    /// The IP address and port, where it has them.
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// Whether the port is the system's choice at each bind.
    pub fn is_any_port(&self) -> bool {
        self.ip().is_some_and(|address| address.port() == 0)
    }

    /// Whether only this machine gets there.
    pub fn is_local(&self) -> bool {
        self.ip().is_none_or(|address| address.ip().is_loopback())
    }
}

impl UnixName {
    /// Most bytes of a path, or of an abstract name with its `@`: the system's own limit is 108 with the zero (unix(7)).
    pub const MAX: usize = 107;

    /// A name that [`UnixName::MAX`] holds for, without zero bytes; starts with `/` or `@`.
    pub(in crate::config) fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The file; none where the name is abstract.
    pub fn path(&self) -> Option<&Path> {
        (!self.0.starts_with('@')).then(|| Path::new(&*self.0))
    }

    /// The name without its `@`, where it is abstract.
    pub fn abstract_name(&self) -> Option<&str> {
        self.0.strip_prefix('@')
    }
}

impl From<SocketAddr> for Site {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(name) => name.fmt(f),
        }
    }
}

impl fmt::Display for UnixName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix:{}", self.0)
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == NO_ADDRESS { f.write_str("unix:") } else { self.0.fmt(f) }
    }
}
