//! Listening sockets: one for each worker on the same address (`SO_REUSEPORT`), options set once and inherited. A unix
//! socket is one for all of them ([`super::unix`]).

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::task::{Context, Poll, ready};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::tcp::Tcp;
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
    Tcp(AsyncFd<TcpListener>),
    /// Of this machine.
    Unix(tokio::net::UnixListener),
}

/// What was bound for one site.
#[derive(Debug)]
pub struct Bound {
    /// One for each worker; more where another process has left more, and then some worker serves several.
    pub sockets: Vec<Unserved>,
    /// Where it really is: with the port that the system chose.
    pub site: Site,
    /// The file that goes when this does.
    pub file: Option<SocketFile>,
    /// What they are told later, and who gets them then, goes by this.
    pub handles: Handles,
}

/// Sockets in other hands, each of them once, for whoever tells them something else later or hands them over. They stay
/// open as long as it does.
#[derive(Debug, Default)]
pub struct Handles(Vec<Socket>);

impl Handles {
    fn of(sockets: &[TcpListener]) -> io::Result<Self> {
        sockets.iter().map(|socket| socket.try_clone().map(Socket::from)).collect::<io::Result<_>>().map(Self)
    }

    /// The same for sockets of datagrams, which are told nothing.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn of_datagrams(sockets: &[UdpSocket]) -> io::Result<Self> {
        sockets.iter().map(|socket| socket.try_clone().map(Socket::from)).collect::<io::Result<_>>().map(Self)
    }

    /// The sockets, for another process.
    pub fn descriptors(&self) -> impl ExactSizeIterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(AsFd::as_fd)
    }

    /// Tells the sockets what `now` says, and takes back what only `before` said. Connections that were accepted before
    /// keep what they have.
    ///
    /// # Errors
    /// What the system does not take, which [`way::prove_listener`] has found out in all but odd cases.
    pub fn tell(&self, before: &ListenerTcp, now: &ListenerTcp) -> Result<(), Refused> {
        let of_network = |socket: &&Socket| socket.local_addr().is_ok_and(|address| address.as_socket().is_some());
        for socket in self.0.iter().filter(of_network) {
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
            share(first, site.clone(), file, workers)
        }
    }
}

/// Takes up sockets that another program has bound for this site, and listens on: one that handed its work over, or
/// systemd. Where there are fewer than workers, more are bound beside them, or they are shared.
///
/// # Errors
/// They are not what they are said to be; no descriptor is left.
pub fn adopt(
    sockets: Vec<OwnedFd>,
    site: &Site,
    socket_mode: u32,
    tcp: &ListenerTcp,
    workers: usize,
) -> io::Result<Bound> {
    let sockets: Vec<Socket> = sockets.into_iter().map(Socket::from).collect();
    for socket in &sockets {
        if !socket.is_listener()? || socket.r#type()? != Type::STREAM {
            return Err(io::Error::other("one of the sockets that were given for it does not listen"));
        }
        // Shared with whoever has given it, and wanted by both.
        socket.set_nonblocking(true)?;
    }
    match site {
        Site::Ip(_) => adopt_network(sockets, tcp, workers),
        Site::Unix(name) => {
            let first = sockets.into_iter().next().ok_or(io::ErrorKind::NotFound)?;
            if first.local_addr()?.domain() != Domain::UNIX {
                return Err(io::Error::other("the socket that was given for it is none of this machine's"));
            }
            let file = name.path().and_then(|path| SocketFile::standing(path).ok());
            file.as_ref().map_or(Ok(()), |file| file.allow(socket_mode))?;
            share(first.into(), site.clone(), file, workers)
        }
    }
}

fn adopt_network(sockets: Vec<Socket>, tcp: &ListenerTcp, workers: usize) -> io::Result<Bound> {
    let no_address = || io::Error::other("a socket that was given for it has no address of the network");
    let address = sockets.first().ok_or(io::ErrorKind::NotFound)?.local_addr()?.as_socket().ok_or_else(no_address)?;
    let mut sockets: Vec<TcpListener> = sockets.into_iter().map(TcpListener::from).collect();
    for socket in &sockets {
        if socket.local_addr()? != address {
            return Err(io::Error::other("the sockets that were given for it have different addresses"));
        }
    }
    let handles = Handles::of(&sockets)?;
    // What whoever had them before has told them is not known.
    handles.tell(&way::anything(), tcp).map_err(|refused| refused.error)?;
    while sockets.len() < workers {
        // Not where they were bound without `SO_REUSEPORT`, or by another user.
        let Ok(more) = shared(address, tcp) else { break };
        SocketRef(&more).listen()?;
        sockets.push(more);
    }
    let handles = Handles::of(&sockets)?;
    let given = sockets.len();
    for at in given..workers {
        sockets.push(sockets[at % given].try_clone()?);
    }
    Ok(Bound { sockets: sockets.into_iter().map(Unserved::Tcp).collect(), site: address.into(), file: None, handles })
}

/// One socket for all workers.
fn share(first: UnixListener, site: Site, file: Option<SocketFile>, workers: usize) -> io::Result<Bound> {
    let handles = Handles(vec![first.try_clone()?.into()]);
    let mut sockets = Vec::with_capacity(workers);
    for _ in 1..workers {
        sockets.push(Unserved::Unix(first.try_clone()?));
    }
    sockets.push(Unserved::Unix(first));
    Ok(Bound { sockets, site, file, handles })
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
                watched(socket).map(Acceptor::Tcp)
            }
            Self::Unix(socket) => tokio::net::UnixListener::from_std(socket).map(Acceptor::Unix),
        }
    }
}

#[expect(
    deprecated,
    reason = "sound for a listener, which keeps its descriptor; the successor is unsafe for all types alike"
)]
fn watched(socket: TcpListener) -> io::Result<AsyncFd<TcpListener>> {
    AsyncFd::with_interest(socket, Interest::READABLE)
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
            Self::Tcp(socket) => loop {
                let mut news = ready!(socket.poll_read_ready(context))?;
                if let Ok(accepted) = news.try_io(|socket| Tcp::accept(socket.get_ref())) {
                    return Poll::Ready(accepted.map(|(tcp, address)| (tcp.into(), address)));
                }
            },
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
