//! A TCP connection of which the runtime hears only when there is something to wait for.
//!
//! A client that has just been accepted has mostly asked already. Who reads first and registers later spares a short
//! connection both calls of epoll(7), and the wait for news that is there. Such a connection is read past the runtime
//! once; what is to be read after that is waited for, so that every task takes its turns.
//!
//! Hot path: no allocation, no lock, no formatting; a branch that mostly goes the same way.

use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A TCP connection.
#[derive(Debug)]
pub struct Tcp(State);

#[derive(Debug)]
enum State {
    /// Nothing has been read of it.
    Fresh(std::net::TcpStream),
    /// What had come, if anything, was read; more is worth waiting for.
    Read(std::net::TcpStream),
    /// The runtime tells when there is news.
    Known(TcpStream),
    /// The system has no room to tell the runtime anything; it is closed.
    Lost,
}

impl Tcp {
    /// Takes the next connection off a listening socket, and who has connected.
    ///
    /// # Errors
    /// As accept(2); `WouldBlock` when there is none.
    pub fn accept(listener: impl AsFd) -> io::Result<(Self, SocketAddr)> {
        let (socket, address) = acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
        let address = address.and_then(|address| SocketAddr::try_from(address).ok());
        let address = address.ok_or(io::ErrorKind::ConnectionAborted)?;
        Ok((Self(State::Fresh(socket.into())), address))
    }

    /// Takes over a connection that has just come about, from a socket that does not block.
    pub fn connected(socket: std::net::TcpStream) -> Self {
        // What is asked here first answers later.
        Self(State::Read(socket))
    }

    /// Whether its end, and what else it brings, would be heard of while something else is waited for.
    #[inline]
    pub fn is_watched(&self) -> bool {
        matches!(self.0, State::Known(_))
    }

    /// The connection as the runtime has it.
    ///
    /// # Errors
    /// The system has no room for one more; then the connection is closed.
    #[inline]
    pub fn known(&mut self) -> io::Result<&mut TcpStream> {
        if !self.is_watched() {
            self.register()?;
        }
        match &mut self.0 {
            State::Known(stream) => Ok(stream),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn register(&mut self) -> io::Result<()> {
        if let State::Fresh(socket) | State::Read(socket) = std::mem::replace(&mut self.0, State::Lost) {
            self.0 = State::Known(TcpStream::from_std(socket)?);
        }
        Ok(())
    }

    /// For its options, and for what no runtime is needed for.
    #[inline]
    pub fn options(&self) -> Option<SockRef<'_>> {
        match &self.0 {
            State::Fresh(socket) | State::Read(socket) => Some(SockRef::from(socket)),
            State::Known(stream) => Some(SockRef::from(stream)),
            State::Lost => None,
        }
    }

    /// Our end.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.options()?.local_addr().ok()?.as_socket()
    }

    /// Ready when there may be something to read. No system call once the runtime knows it.
    #[inline]
    pub fn poll_read_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.known() {
            Ok(stream) => stream.poll_read_ready(context),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Whether nothing has come that is known of. No system call.
    #[inline]
    pub fn is_quiet(&self, context: &mut Context<'_>) -> bool {
        match &self.0 {
            State::Known(stream) => stream.poll_read_ready(context).is_pending(),
            State::Read(_) => true,
            State::Fresh(_) | State::Lost => false,
        }
    }

    /// Reads what had come before anybody looked; `None` where that has been done, or nothing had.
    fn read_at_once(&mut self, space: &mut ReadBuf<'_>) -> Option<io::Result<()>> {
        let State::Fresh(socket) = &mut self.0 else { return None };
        let read = socket.read(space.initialize_unfilled());
        if let State::Fresh(socket) = std::mem::replace(&mut self.0, State::Lost) {
            self.0 = State::Read(socket);
        }
        match read {
            Ok(read) => {
                space.advance(read);
                Some(Ok(()))
            }
            Err(error) if is_to_be_waited_for(&error) => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Writes past the runtime; `None` where that knows the connection, or has to wait for it.
    #[inline]
    fn write_at_once(
        &mut self,
        write: impl FnOnce(&mut std::net::TcpStream) -> io::Result<usize>,
    ) -> Option<io::Result<usize>> {
        let (State::Fresh(socket) | State::Read(socket)) = &mut self.0 else { return None };
        match write(socket) {
            Err(error) if is_to_be_waited_for(&error) => None,
            other => Some(other),
        }
    }
}

fn is_to_be_waited_for(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl From<TcpStream> for Tcp {
    fn from(stream: TcpStream) -> Self {
        Self(State::Known(stream))
    }
}

impl AsyncRead for Tcp {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, space: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(read) = this.read_at_once(space) {
            return Poll::Ready(read);
        }
        Pin::new(this.known()?).poll_read(context, space)
    }
}

impl AsyncWrite for Tcp {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(written) = this.write_at_once(|socket| socket.write(bytes)) {
            return Poll::Ready(written);
        }
        Pin::new(this.known()?).poll_write(context, bytes)
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(written) = this.write_at_once(|socket| socket.write_vectored(slices)) {
            return Poll::Ready(written);
        }
        Pin::new(this.known()?).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What was written is with the system.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = self.options().map_or(Ok(()), |socket| socket.shutdown(std::net::Shutdown::Write));
        // What is gone already needs no end.
        Poll::Ready(shut.or_else(|error| if error.kind() == io::ErrorKind::NotConnected { Ok(()) } else { Err(error) }))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{Shutdown, TcpListener};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A client, and its connection as it was accepted when `ready` had been done to the client.
    fn pair(ready: impl FnOnce(&mut std::net::TcpStream)) -> (std::net::TcpStream, Tcp) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        ready(&mut client);
        let (tcp, address) = Tcp::accept(&listener).unwrap();
        assert_eq!(address, client.local_addr().unwrap());
        (client, tcp)
    }

    #[tokio::test]
    async fn what_had_come_is_read_before_the_runtime_hears_of_it() {
        let (mut client, mut tcp) = pair(|client| client.write_all(b"hello").unwrap());
        let mut room = [0; 16];
        assert_eq!(tcp.read(&mut room).await.unwrap(), 5);
        tcp.write_all(b"good day").await.unwrap();
        assert!(!tcp.is_watched());
        let mut answer = [0; 8];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"good day");
        assert!(tcp.is_quiet(&mut Context::from_waker(std::task::Waker::noop())));
    }

    #[tokio::test]
    async fn what_comes_later_is_waited_for() {
        let (mut client, mut tcp) = pair(|_| {});
        let later = tokio::spawn(async move {
            let mut room = [0; 16];
            let first = tcp.read(&mut room).await.unwrap();
            let second = tcp.read(&mut room).await.unwrap();
            (tcp.is_watched(), first, second)
        });
        tokio::task::yield_now().await;
        client.write_all(b"hello").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(later.await.unwrap(), (true, 5, 0));
    }

    #[tokio::test]
    async fn more_than_the_first_read_takes_is_not_lost() {
        let (_client, mut tcp) = pair(|client| {
            client.write_all(&[7; 1000]).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
        });
        let mut all = Vec::new();
        let mut room = [0; 300];
        loop {
            let read = tcp.read(&mut room).await.unwrap();
            if read == 0 {
                break;
            }
            all.extend_from_slice(&room[..read]);
        }
        assert_eq!(all, [7; 1000]);
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_waited_for() {
        let (mut client, mut tcp) = pair(|_| {});
        let sent = tokio::spawn(async move { tcp.write_all(&vec![1; 16 << 20]).await.map(|()| tcp.is_watched()) });
        tokio::task::yield_now().await;
        let taken = tokio::task::spawn_blocking(move || {
            let mut all = Vec::new();
            client.read_to_end(&mut all).map(|_| all.len())
        });
        assert!(sent.await.unwrap().unwrap());
        assert_eq!(taken.await.unwrap().unwrap(), 16 << 20);
    }

    #[tokio::test]
    async fn nobody_to_accept_is_no_error_of_the_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        assert_eq!(Tcp::accept(&listener).unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}
