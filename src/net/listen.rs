//! Listening sockets: one for each worker on the same address (`SO_REUSEPORT`), options set once and inherited. A unix
//! socket is one for all of them ([`super::unix`]).

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::task::{Context, Poll};

use socket2::{Domain, Protocol, Socket, Type};

use super::transport::Transport;
use super::unix::{self, SocketFile};
use super::way::{self, Refused};
use crate::config::model::{ListenerTcp, NO_ADDRESS, Site};

/// Connections that may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
pub(super) const BACKLOG: i32 = 4096;

/// A listening socket that no runtime has yet.
#[derive(Debug)]
pub enum Unserved {
    /// Of the network.
    Tcp(TcpListener),
    /// Of this machine.
    Unix(UnixListener),
}

/// A listening socket of a runtime.
#[derive(Debug)]
pub enum Acceptor {
    /// Of the network.
    Tcp(tokio::net::TcpListener),
    /// Of this machine.
    Unix(tokio::net::UnixListener),
}

/// What was bound for one site.
#[derive(Debug)]
pub struct Bound {
    /// One for each worker.
    pub sockets: Vec<Unserved>,
    /// Where it really is: with the port that the system chose.
    pub site: Site,
    /// The file that goes when this does.
    pub file: Option<SocketFile>,
    /// What those of TCP are told later goes by this.
    pub handles: Handles,
}

/// Listening sockets in other hands, for whoever tells them something else later. They stay open as long as it does.
#[derive(Debug, Default)]
pub struct Handles(Vec<Socket>);

impl Handles {
    fn of(sockets: &[TcpListener]) -> io::Result<Self> {
        sockets.iter().map(|socket| socket.try_clone().map(Socket::from)).collect::<io::Result<_>>().map(Self)
    }

    /// Tells the sockets what `now` says, and takes back what only `before` said. Connections that were accepted before
    /// keep what they have.
    ///
    /// # Errors
    /// What the system does not take, which [`way::prove_listener`] has found out in all but odd cases.
    pub fn tell(&self, before: &ListenerTcp, now: &ListenerTcp) -> Result<(), Refused> {
        for socket in &self.0 {
            let is_v4 = socket.local_addr().is_ok_and(|address| address.is_ipv4());
            way::undress(socket, before, now, is_v4);
            way::dress_listener(socket, now, is_v4)?;
        }
        Ok(())
    }
}

/// Binds a site for `workers`; a socket with a file gets these rights, one of TCP these options.
///
/// # Errors
/// What the system said: in use, not permitted, no such address.
pub fn bind(site: &Site, socket_mode: u32, tcp: &ListenerTcp, workers: usize) -> io::Result<Bound> {
    match site {
        Site::Ip(address) => {
            let sockets = bind_address(*address, tcp, workers)?;
            let site = sockets.first().map_or(Ok(*address), TcpListener::local_addr)?.into();
            let handles = Handles::of(&sockets)?;
            Ok(Bound { sockets: sockets.into_iter().map(Unserved::Tcp).collect(), site, file: None, handles })
        }
        Site::Unix(name) => {
            let (first, file) = unix::bind(name, socket_mode)?;
            let mut sockets = Vec::with_capacity(workers);
            for _ in 1..workers {
                sockets.push(Unserved::Unix(first.try_clone()?));
            }
            sockets.push(Unserved::Unix(first));
            Ok(Bound { sockets, site: site.clone(), file, handles: Handles::default() })
        }
    }
}

impl Unserved {
    /// Hands it to the runtime that this is called on.
    ///
    /// # Errors
    /// The runtime does not take it.
    pub fn serve(self) -> io::Result<Acceptor> {
        match self {
            Self::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                tokio::net::TcpListener::from_std(socket).map(Acceptor::Tcp)
            }
            Self::Unix(socket) => tokio::net::UnixListener::from_std(socket).map(Acceptor::Unix),
        }
    }
}

impl From<TcpListener> for Unserved {
    fn from(socket: TcpListener) -> Self {
        Self::Tcp(socket)
    }
}

impl Acceptor {
    /// The next connection, and who has connected: [`NO_ADDRESS`] who comes by a unix socket.
    pub fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(Transport, SocketAddr)>> {
        match self {
            Self::Tcp(socket) => {
                socket.poll_accept(context).map_ok(|(stream, address)| (Transport::Tcp(stream), address))
            }
            Self::Unix(socket) => {
                let nobody = SocketAddr::new(NO_ADDRESS, 0);
                socket.poll_accept(context).map_ok(|(stream, _)| (stream.into(), nobody))
            }
        }
    }

    /// The same, waited for.
    ///
    /// # Errors
    /// As accept(2).
    pub async fn accept(&self) -> io::Result<(Transport, SocketAddr)> {
        std::future::poll_fn(|context| self.poll_accept(context)).await
    }
}

/// Binds `address` once for each of `workers`. With port 0 all of them get the same port.
///
/// A first bind without `SO_REUSEPORT` finds out whether another program holds the address: two programs that share a
/// port silently would each get a part of the connections.
///
/// # Errors
/// What the system said: in use, not permitted, no such address.
fn bind_address(address: SocketAddr, tcp: &ListenerTcp, workers: usize) -> io::Result<Vec<TcpListener>> {
    if address.port() != 0 {
        socket(address, tcp)?.bind(&address.into())?;
    }
    let first = shared(address, tcp)?;
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..workers {
        sockets.push(shared(address, tcp)?);
    }
    for socket in &sockets {
        SocketRef(socket).listen()?;
    }
    Ok(sockets)
}

struct SocketRef<'a>(&'a TcpListener);

impl SocketRef<'_> {
    fn listen(&self) -> io::Result<()> {
        socket2::SockRef::from(self.0).listen(BACKLOG)
    }
}

fn shared(address: SocketAddr, tcp: &ListenerTcp) -> io::Result<TcpListener> {
    let socket = socket(address, tcp)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn socket(address: SocketAddr, tcp: &ListenerTcp) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Inherited by accepted sockets: saves two calls for each connection.
    socket.set_tcp_nodelay(true)?;
    way::dress_listener(&socket, tcp, address.is_ipv4()).map_err(|refused| refused.error)?;
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` are two addresses, whatever the system's default.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}
