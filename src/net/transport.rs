//! A connected socket, over the network or on this machine: what TLS and everything else goes over.
//!
//! Hot path: no allocation, no lock, no formatting; a branch that always goes the same way.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::splice::Pipe;
use super::tcp::Tcp;

/// A connected socket.
#[derive(Debug)]
pub enum Transport {
    /// Over the network.
    Tcp(Tcp),
    /// On this machine. Boxed: side by side, the two would make every connection larger.
    Unix(Box<UnixStream>),
}

/// Does the same with either.
macro_rules! either {
    ($transport:expr, $stream:ident => $doing:expr) => {
        match $transport {
            Transport::Tcp($stream) => $doing,
            Transport::Unix($stream) => $doing,
        }
    };
}

/// The same, with what the runtime knows of either.
macro_rules! known {
    ($transport:expr, $stream:ident => $doing:expr) => {
        match $transport {
            Transport::Tcp(tcp) => {
                let $stream = tcp.known()?;
                $doing
            }
            Transport::Unix($stream) => $doing,
        }
    };
}

impl Transport {
    /// Ready when there may be something to read. No system call, but for a connection of which the runtime has not heard.
    #[inline]
    pub fn poll_read_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_read_ready(context))
    }

    /// Whether nothing has come that is known of. No system call.
    #[inline]
    pub fn is_quiet(&self, context: &mut Context<'_>) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_quiet(context),
            Self::Unix(stream) => stream.poll_read_ready(context).is_pending(),
        }
    }

    /// Has the runtime hear of it.
    ///
    /// # Errors
    /// The system has no room for one more; then the connection is closed.
    pub fn watch(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.known().map(drop),
            Self::Unix(_) => Ok(()),
        }
    }

    /// Whether its end, and what else it brings, would be heard of while something else is waited for.
    #[inline]
    pub fn is_watched(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_watched(),
            Self::Unix(_) => true,
        }
    }

    /// Moves up to `most` bytes of what has come into an empty pipe; 0 is the end.
    pub fn poll_fill_pipe(
        &mut self,
        context: &mut Context<'_>,
        pipe: &mut Pipe,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        known!(self, stream => loop {
            ready!(stream.poll_read_ready(context))?;
            match stream.try_io(Interest::READABLE, || pipe.fill(&*stream, most)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return Poll::Ready(other),
            }
        })
    }

    /// Sends of what is in a pipe as much as the socket takes.
    pub fn poll_empty_pipe(&mut self, context: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        known!(self, stream => loop {
            ready!(stream.poll_write_ready(context))?;
            match stream.try_io(Interest::WRITABLE, || pipe.empty(&*stream)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return Poll::Ready(other),
            }
        })
    }

    /// Our end, where it has an address.
    pub fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_address(),
            Self::Unix(_) => None,
        }
    }

    /// The user at the other end, where that is on this machine and the system says it.
    pub fn user(&self) -> Option<u32> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(stream) => stream.peer_cred().ok().map(|other| other.uid()),
        }
    }

    /// For its options, and for what no runtime is needed for.
    #[inline]
    pub fn options(&self) -> Option<SockRef<'_>> {
        match self {
            Self::Tcp(stream) => stream.options(),
            Self::Unix(stream) => Some(SockRef::from(&**stream)),
        }
    }

    /// Whether it has options of TCP.
    #[inline]
    pub fn is_tcp(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }
}

impl From<TcpStream> for Transport {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream.into())
    }
}

impl From<Tcp> for Transport {
    fn from(stream: Tcp) -> Self {
        Self::Tcp(stream)
    }
}

impl From<UnixStream> for Transport {
    fn from(stream: UnixStream) -> Self {
        Self::Unix(Box::new(stream))
    }
}

impl AsyncRead for Transport {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, space: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_read(context, space))
    }
}

impl AsyncWrite for Transport {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_write(context, bytes))
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(context))
    }
}
