//! The one way to reach a backend: traffic and probes come through here, so a probe proves what traffic will meet.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep, timeout};

use super::tcp::Tcp;
use super::transport::Transport;
use super::way::{Way, of};
use crate::config::model::{Keepalive, Site, UnixName, Vigil};

/// The first look whether a queue that was full has room again, and the later ones.
const QUEUE_PAUSE_MIN: Duration = Duration::from_millis(1);
const QUEUE_PAUSE_MAX: Duration = Duration::from_millis(32);

/// Opens a connection within `deadline`.
///
/// # Errors
/// What the system said, or [`io::ErrorKind::TimedOut`].
pub async fn connect(site: &Site, deadline: Duration) -> io::Result<Transport> {
    connect_by(None, site, deadline).await
}

/// Opens a connection by a way within `deadline`; `None` leaves all to the system. To a unix socket there is but one way.
///
/// # Errors
/// What the system said, or [`io::ErrorKind::TimedOut`].
pub async fn connect_by(way: Option<&Way>, site: &Site, deadline: Duration) -> io::Result<Transport> {
    let mut transport = connect_unwatched(way, site, deadline).await?;
    transport.watch()?;
    Ok(transport)
}

/// The same for whoever reads what has come when writing fails: where the connection stands at once, the runtime has not
/// heard of it yet, so that a write may go out, and fail, before it is known that something can be read.
///
/// # Errors
/// As [`connect_by`].
pub async fn connect_unwatched(way: Option<&Way>, site: &Site, deadline: Duration) -> io::Result<Transport> {
    let address = match site {
        Site::Ip(address) => *address,
        // Boxed: every connection to a port would keep the room as well.
        Site::Unix(name) => return Box::pin(connect_unix(name, deadline)).await.map(Transport::from),
    };
    // Born non-blocking: each option set afterwards costs a system call per connection.
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    if let Some(way) = way {
        way.prepare(&socket, address)?;
    }
    // On this machine it mostly stands as soon as the system has let go of the first call: nothing is to be waited for.
    if is_open(&socket, address)? || (address.ip().is_loopback() && is_open(&socket, address)?) {
        return Ok(Tcp::connected(socket.into()).into());
    }
    let stream = TcpStream::from_std(socket.into())?;
    stands(&stream, deadline).await?;
    Ok(stream.into())
}

/// Waits until a connection stands.
async fn stands(stream: &TcpStream, deadline: Duration) -> io::Result<()> {
    match timeout(deadline, stream.writable()).await {
        Ok(ready) => ready?,
        Err(_elapsed) => return Err(io::ErrorKind::TimedOut.into()),
    }
    stream.take_error()?.map_or(Ok(()), Err)
}

/// A unix socket connects at once, or its queue is full: then the system says `EAGAIN`, and nothing tells when there is
/// room (unix(7)). TCP would wait and try again; so does this.
async fn connect_unix(name: &UnixName, deadline: Duration) -> io::Result<UnixStream> {
    let address = address_of(name)?;
    let end = Instant::now() + deadline;
    let mut pause = QUEUE_PAUSE_MIN;
    loop {
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        match socket.connect(&address) {
            Ok(()) => return UnixStream::from_std(socket.into()),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            Err(_full) if Instant::now() + pause >= end => return Err(io::ErrorKind::TimedOut.into()),
            Err(_full) => sleep(pause).await,
        }
        pause = (pause * 2).min(QUEUE_PAUSE_MAX);
    }
}

/// The address of a unix socket as the system takes it.
///
/// # Errors
/// It is too long, which no configuration brings about.
pub(super) fn address_of(name: &UnixName) -> io::Result<SockAddr> {
    match (name.path(), name.abstract_name()) {
        (Some(path), _) => SockAddr::unix(path),
        (None, name) => SockAddr::unix(format!("\0{}", name.unwrap_or_default())),
    }
}

/// Has the system give a connection up when the other side's system has been out of touch for about `patience`: it
/// confirms nothing that is sent (`TCP_USER_TIMEOUT`), or nothing is sent and it answers no question whether it is still
/// there (keepalive). Reading or writing fails then. For connections on which nobody else would notice.
///
/// The questions come after each quarter of the time: of those that an answer is due to, up to three may get lost. The
/// system counts them in seconds. A side that lives and takes nothing for so long is given up as well (tcp(7)).
///
/// What the way says of either is left as it is.
pub fn watch_over(stream: &Transport, way: Option<&Way>, patience: Duration) {
    if !stream.is_tcp() {
        // The other side of a unix socket cannot be gone without the system's knowing.
        return;
    }
    let patience = patience.max(Duration::from_secs(1));
    let quarter = Duration::from_secs((patience.as_secs() / 4).max(1));
    let Some(socket) = stream.options() else { return };
    // Where the system takes an option not, or the connection has gone, a dead one is noticed later.
    if way.is_none_or(|way| way.config().keepalive == Vigil::AsNeeded) {
        let _ = socket.set_tcp_keepalive(&of(Keepalive { idle: quarter, interval: quarter, count: 3 }));
    }
    if way.is_none_or(|way| way.config().options.user_timeout.is_none()) {
        let _ = socket.set_tcp_user_timeout(Some(patience));
    }
}

/// Asks within `deadline` whether the port is open, and leaves. The last step of the handshake is held back and the
/// connection is reset, so that the server's `accept` never sees it and counts nothing against us.
///
/// Most answers are there by the time that the other probes of the same beat have been begun. Looking then, with a
/// second `connect`, saves the registration with the reactor: four system calls of nine, for ten thousand backends.
///
/// # Errors
/// What the system said, or [`io::ErrorKind::TimedOut`].
pub async fn knock(way: Option<&Way>, site: &Site, deadline: Duration) -> io::Result<()> {
    let address = match site {
        Site::Ip(address) => *address,
        // Nobody counts connections against us here, and there is no handshake whose last step could be held back.
        Site::Unix(name) => return connect_unix(name, deadline).await.map(drop),
    };
    let kind = Type::STREAM.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    socket.set_tcp_quickack(false)?;
    socket.set_linger(Some(Duration::ZERO))?;
    if let Some(way) = way {
        way.prepare(&socket, address)?;
    }
    if is_open(&socket, address)? {
        return Ok(());
    }
    tokio::task::yield_now().await;
    if is_open(&socket, address)? {
        return Ok(());
    }
    stands(&TcpStream::from_std(socket.into())?, deadline).await
}

/// Begins to connect, or looks how far that is; `false` while it is under way (connect(2)).
fn is_open(socket: &Socket, address: SocketAddr) -> io::Result<bool> {
    const EISCONN: i32 = 106;
    const EALREADY: i32 = 114;
    const EINPROGRESS: i32 = 115;
    match socket.connect(&address.into()) {
        Ok(()) => Ok(true),
        Err(error) => match error.raw_os_error() {
            Some(EISCONN) => Ok(true),
            Some(EALREADY | EINPROGRESS) => Ok(false),
            _ => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_watched_connection_is_given_up_after_its_time_whether_idle_or_not() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = connect(&listener.local_addr().unwrap().into(), Duration::from_secs(5)).await.unwrap();
        let socket = stream.options().unwrap();
        assert!(!socket.keepalive().unwrap());
        // The time, and the seconds between two questions.
        for (millis, seconds) in [(60_000, 15), (5_000, 1), (4_000, 1), (1_000, 1), (100, 1)] {
            let patience = Duration::from_millis(millis);
            watch_over(&stream, None, patience);
            let between = Duration::from_secs(seconds);
            assert!(socket.keepalive().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap(), between, "{patience:?}");
            assert_eq!(socket.tcp_keepalive_interval().unwrap(), between, "{patience:?}");
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3, "{patience:?}");
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(patience.max(Duration::from_secs(1))));
        }
    }
}
