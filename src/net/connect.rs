//! The one way to reach a backend: traffic and probes come through here, so a probe proves what traffic will meet.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};

/// For whom a connection is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Client traffic, or a probe that speaks.
    Work,
    /// A probe that only asks whether the port is open. The last step of the handshake is held back and the
    /// connection is reset, so that the server's `accept` never sees it and counts nothing against us.
    Knock,
}

/// Opens a connection within `deadline`.
///
/// # Errors
/// What the system said, or [`io::ErrorKind::TimedOut`].
pub async fn connect(address: SocketAddr, deadline: Duration, purpose: Purpose) -> io::Result<TcpStream> {
    connect_from(None, address, deadline, purpose).await
}

/// Opens a connection from one of our own addresses within `deadline`; `None` leaves the choice to the system.
///
/// # Errors
/// What the system said, or [`io::ErrorKind::TimedOut`].
pub async fn connect_from(
    source: Option<IpAddr>,
    address: SocketAddr,
    deadline: Duration,
    purpose: Purpose,
) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if purpose == Purpose::Knock {
        socket.set_tcp_quickack(false)?;
        socket.set_linger(Some(Duration::ZERO))?;
    }
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    let socket = TcpSocket::from_std_stream(socket.into());
    match tokio::time::timeout(deadline, socket.connect(address)).await {
        Ok(connected) => connected,
        Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
    }
}
