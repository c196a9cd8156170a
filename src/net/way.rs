//! How a connection leaves for a backend, and what sockets of both sides are told: `source`, and the options of TCP.
//!
//! Traffic and probes have the same way ([`super::connect`]). Whether it can be gone at all is found out by
//! [`Way::prove`] before a configuration is put to work.
//!
//! Hot path: no allocation, no lock, no formatting; a pool that says nothing of this has none.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::socket::{setsockopt, sockopt};
use nix::{libc, setsockopt_impl, sockopt_impl};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::config::model::{self, Keepalive, SocketOptions, Vigil};

sockopt_impl!(
    /// Clients that may send with their first segment and have not been accepted yet (tcp(7)).
    FastOpen, SetOnly, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, u32
);

const EPERM: i32 = 1;
const ENODEV: i32 = 19;
const EADDRNOTAVAIL: i32 = 99;

/// The way to the backends of a pool, or of a question.
#[derive(Debug)]
pub struct Way {
    config: Arc<model::Way>,
    /// Whose turn it is among the sources. Written by whoever connects; Relaxed: nothing else follows from it.
    turn: AtomicU32,
}

/// What the system has refused, and of which option.
#[derive(Debug)]
pub struct Refused {
    option: &'static str,
    value: String,
    /// What it said.
    pub error: io::Error,
}

impl Way {
    /// The way that the configuration describes.
    pub fn new(config: Arc<model::Way>) -> Self {
        Self { config, turn: AtomicU32::new(0) }
    }

    /// From one of our addresses, and with nothing else that is special.
    pub fn from_source(source: IpAddr) -> Self {
        Self::new(Arc::new(model::Way { sources: vec![source], ..model::Way::default() }))
    }

    /// What the configuration says.
    pub fn config(&self) -> &Arc<model::Way> {
        &self.config
    }

    /// Prepares a socket of TCP that is about to connect there.
    ///
    /// # Errors
    /// What the system said.
    pub fn prepare(&self, socket: &Socket, to: SocketAddr) -> io::Result<()> {
        dress(socket, &self.config.options, to.is_ipv4()).map_err(|refused| refused.error)?;
        if let Vigil::Always(questions) = self.config.keepalive {
            socket.set_tcp_keepalive(&of(questions))?;
        }
        self.source(to).map_or(Ok(()), |source| bind(socket, source))
    }

    /// The same for a socket of UDP, which has fewer options.
    ///
    /// # Errors
    /// What the system said.
    pub fn prepare_datagrams(&self, socket: &Socket, to: SocketAddr) -> io::Result<()> {
        mark(socket, &self.config.options, to.is_ipv4()).map_err(|refused| refused.error)?;
        self.source(to).map_or(Ok(()), |source| socket.bind(&SocketAddr::new(source, 0).into()))
    }

    /// Our address that is asked from this time.
    fn source(&self, to: SocketAddr) -> Option<IpAddr> {
        let sources = &self.config.sources;
        let of_family = |source: &&IpAddr| source.is_ipv4() == to.is_ipv4();
        let count = sources.iter().filter(of_family).count();
        let position = match count {
            0 => return None,
            1 => 0,
            many => self.turn.fetch_add(1, Ordering::Relaxed) as usize % many,
        };
        sources.iter().filter(of_family).nth(position).copied()
    }

    /// Tries everything on sockets that go nowhere.
    ///
    /// # Errors
    /// The first thing that cannot be done on this machine, or by this process.
    pub fn prove(config: &model::Way) -> Result<(), Refused> {
        let nowhere = [IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
        let sources = if config.sources.is_empty() { &nowhere[..] } else { &config.sources };
        for source in sources {
            let socket = scratch(*source).map_err(refused("source", source))?;
            dress(&socket, &config.options, source.is_ipv4())?;
            bind(&socket, *source).map_err(refused("source", source))?;
        }
        Ok(())
    }
}

impl PartialEq for Way {
    /// Whose turn it is makes no difference.
    fn eq(&self, other: &Self) -> bool {
        self.config == other.config
    }
}

impl Eq for Way {}

/// Tries on a socket that goes nowhere what those of a listener are told.
///
/// # Errors
/// The first thing that cannot be done on this machine, or by this process.
pub fn prove_listener(config: &model::ListenerTcp) -> Result<(), Refused> {
    let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let socket = scratch(nowhere).map_err(refused("tcp", ""))?;
    dress_listener(&socket, config, true)
}

/// Tells a socket of a listener what its connections will inherit; also one that has been told something else before.
///
/// # Errors
/// What cannot be done.
pub(super) fn dress_listener(socket: &Socket, config: &model::ListenerTcp, is_v4: bool) -> Result<(), Refused> {
    dress(socket, &config.options, is_v4)?;
    let keepalive = match config.keepalive {
        Some(questions) => socket.set_tcp_keepalive(&of(questions)),
        None => socket.set_keepalive(false),
    };
    keepalive.map_err(refused("keepalive", ""))?;
    let Some(queue) = config.fast_open else { return Ok(()) };
    set_fast_open(socket, queue.get()).map_err(refused("fast_open", queue))
}

/// What [`undress`] takes everything back from: some value of each option that can be taken back.
pub(super) fn anything() -> model::ListenerTcp {
    let one = std::num::NonZeroU32::MIN;
    let options = SocketOptions {
        user_timeout: Some(std::time::Duration::ZERO),
        mark: Some(one),
        interface: Some("any".into()),
        dscp: Some(0),
        max_segment: None,
    };
    model::ListenerTcp { options, keepalive: None, fast_open: Some(one) }
}

/// Takes back what the options before said and these do not, for a socket of a listener that is told something else. All
/// but `max_segment`, which the system keeps.
pub(super) fn undress(socket: &Socket, before: &model::ListenerTcp, now: &model::ListenerTcp, is_v4: bool) {
    let gone = |was: bool, is: bool| was && !is;
    if gone(before.fast_open.is_some(), now.fast_open.is_some()) {
        let _ = set_fast_open(socket, 0);
    }
    let (before, now) = (&before.options, &now.options);
    // What does not succeed stays as it was until the listener is bound anew.
    if gone(before.user_timeout.is_some(), now.user_timeout.is_some()) {
        let _ = socket.set_tcp_user_timeout(None);
    }
    if gone(before.mark.is_some(), now.mark.is_some()) {
        let _ = socket.set_mark(0);
    }
    if gone(before.interface.is_some(), now.interface.is_some()) {
        let _ = socket.bind_device(None);
    }
    if gone(before.dscp.is_some(), now.dscp.is_some()) {
        let _ = set_class(socket, 0, is_v4);
    }
}

/// The questions as the system takes them.
pub(super) fn of(questions: Keepalive) -> TcpKeepalive {
    TcpKeepalive::new().with_time(questions.idle).with_interval(questions.interval).with_retries(questions.count)
}

/// A socket that goes nowhere, of the address's family.
fn scratch(family: IpAddr) -> io::Result<Socket> {
    Socket::new(Domain::for_address(SocketAddr::new(family, 0)), Type::STREAM, Some(Protocol::TCP))
}

/// The port is chosen by the connect, which knows the other end: else all connections from this address would share
/// its ports, however many backends there are (ip(7), `IP_BIND_ADDRESS_NO_PORT`; IPv6 obeys it as well).
fn bind(socket: &Socket, source: IpAddr) -> io::Result<()> {
    setsockopt(socket, sockopt::IpBindAddressNoPort, &true)?;
    socket.bind(&SocketAddr::new(source, 0).into())
}

fn set_fast_open(socket: &Socket, queue: u32) -> io::Result<()> {
    Ok(setsockopt(socket, FastOpen, &queue)?)
}

fn dress(socket: &Socket, options: &SocketOptions, is_v4: bool) -> Result<(), Refused> {
    mark(socket, options, is_v4)?;
    if let Some(time) = options.user_timeout {
        socket.set_tcp_user_timeout(Some(time)).map_err(refused("user_timeout", ""))?;
    }
    if let Some(bytes) = options.max_segment {
        socket.set_tcp_mss(bytes.get()).map_err(refused("max_segment", bytes))?;
    }
    Ok(())
}

/// What the network below is told, whatever goes over it.
fn mark(socket: &Socket, options: &SocketOptions, is_v4: bool) -> Result<(), Refused> {
    if let Some(mark) = options.mark {
        socket.set_mark(mark.get()).map_err(refused("mark", mark))?;
    }
    if let Some(interface) = &options.interface {
        socket.bind_device(Some(interface.as_bytes())).map_err(refused("interface", interface))?;
    }
    if let Some(class) = options.dscp {
        set_class(socket, class, is_v4).map_err(refused("dscp", class))?;
    }
    Ok(())
}

/// The class of service stands in the upper six of eight bits (RFC 2474, section 3).
fn set_class(socket: &Socket, class: u8, is_v4: bool) -> io::Result<()> {
    let bits = u32::from(class) << 2;
    if is_v4 { socket.set_tos_v4(bits) } else { socket.set_tclass_v6(bits) }
}

/// Nothing is written as long as nothing is refused.
fn refused(option: &'static str, value: impl fmt::Display) -> impl FnOnce(io::Error) -> Refused {
    move |error| Refused { option, value: value.to_string(), error }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { option, value, error } = self;
        let needs = |f: &mut fmt::Formatter<'_>, capability: &str| {
            write!(
                f,
                "`{option}` needs the capability {capability}, which this process has not: give it \
                 (AmbientCapabilities={capability} in a unit of systemd, --cap-add={} for a container), or take \
                 `{option}` out",
                capability.trim_start_matches("CAP_"),
            )
        };
        match (*option, error.raw_os_error()) {
            ("source", Some(EADDRNOTAVAIL)) => write!(
                f,
                "this machine has no address {value} that `source` could be: `ip address` shows those that it has"
            ),
            ("interface", Some(ENODEV)) => {
                write!(f, "this machine has no interface `{value}`: `ip link` shows those that it has")
            }
            ("mark", Some(EPERM)) => needs(f, "CAP_NET_ADMIN"),
            ("interface", Some(EPERM)) => needs(f, "CAP_NET_RAW"),
            _ => write!(f, "the system does not take `{option}`: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_not_drawn_before_the_other_end_is_known() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let way = Way::from_source("127.0.0.2".parse().unwrap());
        let socket = scratch(to.ip()).unwrap();
        way.prepare(&socket, to).unwrap();
        let own = || socket.local_addr().unwrap().as_socket().unwrap();
        assert_eq!(own(), "127.0.0.2:0".parse().unwrap());
        socket.connect(&to.into()).unwrap();
        assert_ne!(own().port(), 0);
    }

    #[test]
    fn sources_take_turns_within_the_family_of_the_backend() {
        let sources = ["127.0.0.2", "::1", "127.0.0.3"].map(|text| text.parse().unwrap());
        let way = Way::new(Arc::new(model::Way { sources: sources.to_vec(), ..model::Way::default() }));
        let (v4, v6) = ("127.0.0.1:80".parse().unwrap(), "[::1]:80".parse().unwrap());
        let turns: Vec<_> = (0..3).map(|_| way.source(v4)).collect();
        assert_eq!(turns, [Some(sources[0]), Some(sources[2]), Some(sources[0])]);
        assert_eq!(way.source(v6), Some(sources[1]));
        let way = Way::from_source(sources[0]);
        assert_eq!(way.source(v6), None, "the system chooses");
    }
}
