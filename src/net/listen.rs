//! Listening sockets: one for each worker on the same address (`SO_REUSEPORT`), options set once and inherited.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// Connections that may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// A client that has said nothing for this long is asked by the system whether it is still there …
const CLIENT_QUIET: Duration = Duration::from_secs(60);
/// … and again, four times in all. So what a client that is gone without a word holds at a backend (a session of a
/// database) is given back in two minutes.
const CLIENT_ASKED: Duration = Duration::from_secs(15);

/// Binds `address` once for each of `workers`. With port 0 all of them get the same port.
///
/// A first bind without `SO_REUSEPORT` finds out whether another program holds the address: two programs that share a
/// port silently would each get a part of the connections.
///
/// # Errors
/// What the system said: in use, not permitted, no such address.
pub fn bind(address: SocketAddr, workers: usize) -> io::Result<Vec<TcpListener>> {
    if address.port() != 0 {
        socket(address)?.bind(&address.into())?;
    }
    let first = shared(address)?;
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..workers {
        sockets.push(shared(address)?);
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

fn shared(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Inherited by accepted sockets: saves two calls for each connection.
    socket.set_tcp_nodelay(true)?;
    let questions = TcpKeepalive::new().with_time(CLIENT_QUIET).with_interval(CLIENT_ASKED).with_retries(4);
    socket.set_tcp_keepalive(&questions)?;
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` are two addresses, whatever the system's default.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}
