//! UDP sockets: those of listeners, one for each worker on the same address, and those towards backends.
//!
//! Hot path: no lock, no formatting; an answer from a socket that is bound to every address costs a small allocation.
//!
//! # Why does a datagram come with the address that it was sent to?
//!
//! A socket on `0.0.0.0` or `[::]` answers from whatever address the system prefers, and a client does not take an
//! answer from another address than the one it has asked. So the system is asked (`IP_PKTINFO`, `IPV6_RECVPKTINFO`).

use std::cell::Cell;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll};

use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, RecvMsg, SockaddrIn, SockaddrIn6, SockaddrLike, SockaddrStorage,
    recvmsg, sendmsg, setsockopt, sockopt,
};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::way::Way;

/// Longest datagram there is.
pub const LONGEST: usize = 65_535;
/// Room for what waits to be taken, bytes; the kernel caps it at `net.core.rmem_max`. A burst comes within a millisecond,
/// and nobody slows it down.
const WAITING: usize = 4 << 20;
/// Room for what the system says of a datagram: the address (`in6_pktinfo`) and a count, each with its head.
const REMARKS: usize = 128;

/// Binds `address` once for each of `workers`. With port 0 all of them get the same port. The system gives each flow to
/// one of them, always the same.
///
/// A first bind without `SO_REUSEPORT` finds out whether another program holds the address.
///
/// # Errors
/// What the system said: in use, not permitted, no such address.
pub fn bind(address: SocketAddr, workers: usize) -> io::Result<Vec<std::net::UdpSocket>> {
    if address.port() != 0 {
        socket(address)?.bind(&address.into())?;
    }
    let first = shared(address)?;
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..workers {
        sockets.push(shared(address)?);
    }
    Ok(sockets)
}

/// Takes up sockets that another program has bound, and binds more where there are fewer than workers and that is possible.
///
/// # Errors
/// They are not what they are said to be.
pub fn adopt(sockets: Vec<OwnedFd>, workers: usize) -> io::Result<Vec<std::net::UdpSocket>> {
    let mut adopted = Vec::with_capacity(sockets.len());
    for socket in sockets.into_iter().map(Socket::from) {
        if socket.r#type()? != Type::DGRAM {
            return Err(io::Error::other("one of the sockets that were given for it takes no datagrams"));
        }
        socket.set_nonblocking(true)?;
        adopted.push(std::net::UdpSocket::from(socket));
    }
    let first = adopted.first().ok_or(io::ErrorKind::NotFound)?;
    let address = first.local_addr()?;
    tell(first.as_fd(), address)?;
    while adopted.len() < workers {
        // Not where they were bound without `SO_REUSEPORT`, or by another user: then fewer workers serve it.
        let Ok(more) = shared(address) else { break };
        adopted.push(more);
    }
    Ok(adopted)
}

/// What is wanted to be known of each datagram.
fn tell(socket: BorrowedFd<'_>, address: SocketAddr) -> io::Result<()> {
    setsockopt(&socket, sockopt::RxqOvfl, &1)?;
    if address.ip().is_unspecified() {
        match address {
            SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
            SocketAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?,
        }
    }
    Ok(())
}

fn shared(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = socket(address)?;
    socket.set_reuse_port(true)?;
    socket.set_recv_buffer_size(WAITING)?;
    socket.set_send_buffer_size(WAITING)?;
    tell(socket.as_fd(), address)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Without `SO_REUSEADDR`, which lets two programs share a port of UDP silently.
fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` are two addresses, whatever the system's default.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// A socket towards a backend, which hears nobody else.
#[derive(Debug)]
pub struct Line(UdpSocket);

impl Line {
    /// By a way, and from a port that the system draws; `None` leaves all to the system.
    ///
    /// # Errors
    /// What the system said: no descriptor, no port, no way there.
    pub fn by_to(way: Option<&Way>, address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        if let Some(way) = way {
            way.prepare_datagrams(&socket, address)?;
        }
        socket.connect(&address.into())?;
        UdpSocket::from_std(socket.into()).map(Self)
    }

    /// Its own address and port.
    ///
    /// # Errors
    /// What the system said.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Sends a datagram, now or never: a datagram that waits is worth less than one that is asked for anew. The runtime
    /// is not asked, which knows nothing yet of a socket that is new.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where there is no room; what the system said, also of a datagram before.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        SockRef::from(&self.0).send(bytes).map(drop)
    }

    /// Whether something has come, a datagram or bad news.
    ///
    /// # Errors
    /// The runtime ends.
    pub fn poll_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_recv_ready(context)
    }

    /// Whether the system has heard that a datagram did not get there, while nothing has come. The system tells that to
    /// whoever waits for room to send, not to whoever waits for a datagram; so this costs a wake and a call for each
    /// datagram that is sent meanwhile.
    pub fn poll_refused(&self, context: &mut Context<'_>) -> Poll<io::Error> {
        // Twice: for the room that there is at first, and to wait for what comes then.
        for _ in 0..2 {
            match self.0.poll_send_ready(context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(error),
                Poll::Pending => return Poll::Pending,
            }
            if let Ok(Some(error)) = self.0.take_error() {
                return Poll::Ready(error);
            }
            // Has the runtime forget that there is room.
            let _ = self.0.try_io(Interest::WRITABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        }
        Poll::Pending
    }

    /// Takes a datagram into `room`; its length.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where none is there; what the system has heard of those that were sent.
    pub fn take(&self, room: &mut [u8]) -> io::Result<usize> {
        self.0.try_recv(room)
    }
}

/// The socket of a listener.
#[derive(Debug)]
pub struct Face {
    socket: UdpSocket,
    /// What the system had dropped before it gave us the last datagram.
    lost: Cell<u32>,
}

/// A datagram has come.
#[derive(Debug, Clone, Copy)]
pub struct Arrived {
    /// Its length.
    pub length: usize,
    /// Who has sent it.
    pub client: SocketAddr,
    /// The address that it was sent to, where the socket is bound to every address.
    pub to: Option<IpAddr>,
    /// How many the system has dropped since the one before, because we were too slow.
    pub lost: u32,
}

impl Face {
    /// Uses a bound socket.
    ///
    /// # Errors
    /// The runtime cannot watch it.
    pub fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        Ok(Self { socket: UdpSocket::from_std(socket)?, lost: Cell::new(0) })
    }

    /// Waits until a datagram is there.
    ///
    /// # Errors
    /// The runtime ends.
    pub async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Takes a datagram into `room`.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where none is there; what the system said.
    pub fn take(&self, room: &mut [u8]) -> io::Result<Arrived> {
        let mut remarks = [0_u8; REMARKS];
        self.socket.try_io(Interest::READABLE, || {
            let mut rooms = [IoSliceMut::new(room)];
            let taken = recvmsg::<SockaddrStorage>(
                self.socket.as_raw_fd(),
                &mut rooms,
                Some(&mut remarks),
                MsgFlags::MSG_DONTWAIT,
            )?;
            self.understand(&taken)
        })
    }

    fn understand(&self, taken: &RecvMsg<'_, '_, SockaddrStorage>) -> io::Result<Arrived> {
        // Never without an address: these sockets are of UDP over IP.
        let client = taken.address.as_ref().and_then(plain).ok_or(io::ErrorKind::InvalidData)?;
        let mut arrived = Arrived { length: taken.bytes, client, to: None, lost: 0 };
        for remark in taken.cmsgs()? {
            match remark {
                // Not `ipi_addr`: of a broadcast, that is no address of ours.
                ControlMessageOwned::Ipv4PacketInfo(info) => {
                    arrived.to = Some(Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()).into());
                }
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    arrived.to = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                }
                ControlMessageOwned::RxqOvfl(lost) => arrived.lost = lost.wrapping_sub(self.lost.replace(lost)),
                _ => {}
            }
        }
        Ok(arrived)
    }

    /// Sends a datagram to a client, from the address that the client has sent to.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where there is no room; what the system said.
    pub fn send(&self, bytes: &[u8], client: SocketAddr, from: Option<IpAddr>) -> io::Result<()> {
        match from {
            None => SockRef::from(&self.socket).send_to(bytes, &client.into()).map(drop),
            Some(from) => self.send_from(bytes, client, from).map_err(io::Error::from),
        }
    }

    fn send_from(&self, bytes: &[u8], client: SocketAddr, from: IpAddr) -> nix::Result<()> {
        let socket = self.socket.as_raw_fd();
        let (bytes, flags) = ([IoSlice::new(bytes)], MsgFlags::MSG_DONTWAIT);
        match (from, client) {
            (IpAddr::V4(from), SocketAddr::V4(client)) => {
                let address = in_addr { s_addr: u32::from_ne_bytes(from.octets()) };
                let info = in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: address, ipi_addr: in_addr { s_addr: 0 } };
                let client = SockaddrIn::from(client);
                sendmsg(socket, &bytes, &[ControlMessage::Ipv4PacketInfo(&info)], flags, Some(&client))?;
            }
            (IpAddr::V6(from), SocketAddr::V6(client)) => {
                let address = in6_addr { s6_addr: from.octets() };
                let info = in6_pktinfo { ipi6_addr: address, ipi6_ifindex: 0 };
                let client = SockaddrIn6::from(client);
                sendmsg(socket, &bytes, &[ControlMessage::Ipv6PacketInfo(&info)], flags, Some(&client))?;
            }
            // A socket has one family: its clients have the family of its addresses.
            _ => return Err(nix::errno::Errno::EAFNOSUPPORT),
        }
        Ok(())
    }
}

fn plain(address: &SockaddrStorage) -> Option<SocketAddr> {
    address.family()?;
    let v4 = || address.as_sockaddr_in().map(|it| SocketAddr::from((it.ip(), it.port())));
    v4().or_else(|| Some((*address.as_sockaddr_in6()?).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn taken(face: &Face, room: &mut [u8]) -> Arrived {
        loop {
            face.readable().await.unwrap();
            match face.take(room) {
                Ok(arrived) => return arrived,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
    }

    #[tokio::test]
    async fn an_answer_comes_from_the_address_that_was_asked() {
        for (everywhere, asked) in [("0.0.0.0:0", "127.0.0.7"), ("[::]:0", "::1"), ("127.0.0.3:0", "127.0.0.3")] {
            let everywhere: SocketAddr = everywhere.parse().unwrap();
            let face = Face::new(bind(everywhere, 1).unwrap().remove(0)).unwrap();
            let asked = SocketAddr::new(asked.parse().unwrap(), face.socket.local_addr().unwrap().port());
            // Connected: hears nobody else.
            let client = UdpSocket::bind((asked.ip(), 0)).await.unwrap();
            client.connect(asked).await.unwrap();
            client.send(b"question").await.unwrap();
            let mut room = [0; 100];
            let arrived = taken(&face, &mut room).await;
            assert_eq!(&room[..arrived.length], b"question");
            assert_eq!(arrived.client, client.local_addr().unwrap());
            assert_eq!(arrived.to, everywhere.ip().is_unspecified().then_some(asked.ip()));
            face.send(b"answer", arrived.client, arrived.to).unwrap();
            let length = client.recv(&mut room).await.unwrap();
            assert_eq!(&room[..length], b"answer");
        }
    }

    #[tokio::test]
    async fn what_the_system_had_to_drop_is_told() {
        let socket = bind("127.0.0.1:0".parse().unwrap(), 1).unwrap().remove(0);
        socket2::SockRef::from(&socket).set_recv_buffer_size(4096).unwrap();
        let face = Face::new(socket).unwrap();
        let client = Line::by_to(None, face.socket.local_addr().unwrap()).unwrap();
        let mut sent = 0;
        for _ in 0..100 {
            client.send(&[7; 500]).unwrap();
            sent += 1;
        }
        let mut room = [0; 1000];
        let (mut came, mut lost) = (0, 0);
        taken(&face, &mut room).await;
        while face.take(&mut room).is_ok() {
            came += 1;
        }
        // Told with the next one that comes.
        client.send(b"x").unwrap();
        lost += taken(&face, &mut room).await.lost;
        assert!(lost > 50, "{lost}");
        assert_eq!(came + 1 + lost, sent);
    }

    #[tokio::test]
    async fn an_address_of_somebody_else_is_in_use() {
        let other = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let error = bind(other.local_addr().unwrap(), 2).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
