//! Reading and writing in the manner of the data path: a buffer only while bytes are in hand, no read that finds
//! nothing, write first and wait only if the socket is full.
//!
//! Hot path: no allocation, no lock, no formatting.

use std::future::poll_fn;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::buffer::{Buffer, Size};
use super::connect::watch_over;
use super::splice::Pipe;
use super::tls::{ClientCertificate, Facts, TlsSocket};
use super::transport::Transport;
use super::way::Way;

/// One connection, to a client or to a backend.
#[derive(Debug)]
pub struct Stream {
    socket: Socket,
    unfinished: bool,
    /// For whoever opened it: which of a backend's addresses it leads to.
    pub place: u32,
    /// The address that its client has reached, where a proxy in front has said so. Boxed: few have it.
    reached: Option<Box<SocketAddr>>,
}

/// What the bytes go through.
#[derive(Debug)]
enum Socket {
    Plain(Transport),
    /// Boxed: its state is large, and most connections have none.
    Tls(Box<TlsSocket>),
    /// One of many streams on one connection.
    Carried(Box<dyn Carrier>),
}

/// A stream that another protocol carries, such as one of HTTP/2, in the manner of a connection of its own.
pub trait Carrier: std::fmt::Debug {
    /// Reads once; nothing read is the end.
    ///
    /// # Errors
    /// The stream or what carries it has broken.
    fn poll_read(&mut self, context: &mut Context<'_>, space: &mut ReadBuf<'_>) -> Poll<io::Result<()>>;

    /// Writes once, as [`Stream::poll_write`] does: who was told to wait comes back with the same bytes.
    ///
    /// # Errors
    /// The stream or what carries it has broken.
    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Ready when the other side has given the stream up, whatever is still to be read.
    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()>;

    /// Nothing more will be sent.
    fn finish_sending(&mut self);

    /// It ends now, and the other side must not take it for complete.
    fn reset(&mut self);

    /// Whether what carries it goes over TLS.
    fn is_tls(&self) -> bool;

    /// What was agreed on for what carries it, where that goes over TLS.
    fn tls(&self) -> Option<Facts<'_>>;

    /// Our end of what carries it, where it has an address.
    fn local_address(&self) -> Option<SocketAddr>;

    /// The certificate that a client has shown to what carries it.
    fn client_certificate(&self) -> Option<&Arc<ClientCertificate>>;

    /// Whether the other side is sure not to have worked on what was sent.
    fn is_untouched(&self) -> bool;
}

impl Socket {
    #[inline]
    fn transport(&self) -> Option<&Transport> {
        match self {
            Self::Plain(socket) => Some(socket),
            Self::Tls(tls) => Some(tls.transport()),
            Self::Carried(_) => None,
        }
    }

    #[inline]
    fn poll_read(&mut self, context: &mut Context<'_>, space: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => Pin::new(socket).poll_read(context, space),
            Self::Tls(tls) => tls.poll_read(context, space),
            Self::Carried(carrier) => carrier.poll_read(context, space),
        }
    }
}

impl Stream {
    /// Takes over a connected socket.
    pub fn new(stream: impl Into<Transport>) -> Self {
        Self { socket: Socket::Plain(stream.into()), unfinished: false, place: 0, reached: None }
    }

    /// Takes over a connection on which TLS has been agreed.
    pub fn over_tls(socket: TlsSocket) -> Self {
        Self { socket: Socket::Tls(Box::new(socket)), unfinished: false, place: 0, reached: None }
    }

    /// Takes over a stream that another protocol carries.
    pub fn carried(carrier: Box<dyn Carrier>) -> Self {
        Self { socket: Socket::Carried(carrier), unfinished: false, place: 0, reached: None }
    }

    /// Whether it goes over TLS.
    #[inline]
    pub fn is_tls(&self) -> bool {
        match &self.socket {
            Socket::Plain(_) => false,
            Socket::Tls(_) => true,
            Socket::Carried(carrier) => carrier.is_tls(),
        }
    }

    /// Whether it is one of many streams on one connection.
    #[inline]
    pub fn is_carried(&self) -> bool {
        matches!(self.socket, Socket::Carried(_))
    }

    /// Whether the other side is sure not to have worked on what was sent, although it was sent.
    pub fn is_untouched(&self) -> bool {
        matches!(&self.socket, Socket::Carried(carrier) if carrier.is_untouched())
    }

    /// Ready when the other side has given it up, as far as that is told apart from an end: only carried ones do.
    #[inline]
    pub fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.socket {
            Socket::Carried(carrier) => carrier.poll_gone(context),
            Socket::Plain(_) | Socket::Tls(_) => Poll::Pending,
        }
    }

    /// What TLS has agreed on that is spoken inside of it (ALPN).
    pub fn protocol(&self) -> Option<&[u8]> {
        match &self.socket {
            Socket::Tls(tls) => tls.protocol(),
            Socket::Plain(_) | Socket::Carried(_) => None,
        }
    }

    /// A proxy in front has said that its client has reached this address.
    pub fn set_reached(&mut self, address: SocketAddr) {
        self.reached = Some(Box::new(address));
    }

    /// The address that its client has reached: our end, where it has an address and no proxy says another.
    pub fn local_address(&self) -> Option<SocketAddr> {
        if let Some(reached) = &self.reached {
            return Some(**reached);
        }
        match &self.socket {
            Socket::Plain(socket) => socket.local_address(),
            Socket::Tls(tls) => tls.transport().local_address(),
            Socket::Carried(carrier) => carrier.local_address(),
        }
    }

    /// What was agreed on, where it goes over TLS.
    pub fn tls(&self) -> Option<Facts<'_>> {
        match &self.socket {
            Socket::Plain(_) => None,
            Socket::Tls(tls) => Some(tls.facts()),
            Socket::Carried(carrier) => carrier.tls(),
        }
    }

    /// The certificate that a client has shown, and that is trusted.
    #[inline]
    pub fn client_certificate(&self) -> Option<&Arc<ClientCertificate>> {
        match &self.socket {
            Socket::Plain(_) => None,
            Socket::Tls(tls) => tls.client(),
            Socket::Carried(carrier) => carrier.client_certificate(),
        }
    }

    /// While this is so, the connection ends with a reset when it is dropped, for whatever reason: the other side
    /// cannot take what it has for complete.
    #[inline]
    pub fn is_unfinished(&mut self, unfinished: bool) {
        self.unfinished = unfinished;
    }

    /// Whether its end, and what else it brings, would be heard of while something else is waited for: of a client that has
    /// just been accepted nothing is, before somebody has waited for it.
    #[inline]
    pub fn is_watched(&self) -> bool {
        self.socket.transport().is_none_or(Transport::is_watched)
    }

    /// Ready when there may be something to read: bytes, an end or an error. No system call, but for who has not been
    /// watched.
    #[inline]
    pub fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.socket {
            Socket::Plain(socket) => socket.poll_read_ready(context).map(|_| ()),
            Socket::Tls(tls) => tls.poll_readable(context),
            Socket::Carried(_) => Poll::Ready(()),
        }
    }

    /// Reads once into `buffer`, behind what it holds; takes one of `size` where there is none, and gives it back when
    /// there is nothing to read. `Ok(0)` is the end of the stream.
    ///
    /// `poll_read` and not `try_read`: after a read that did not fill the buffer it knows that nothing is left, which
    /// saves the read that would find nothing.
    #[inline]
    pub fn poll_fill(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut Option<Buffer>,
        size: Size,
    ) -> Poll<io::Result<usize>> {
        let hand = buffer.get_or_insert_with(|| Buffer::take(size));
        if hand.spare().is_empty() {
            hand.make_room(1);
        }
        let mut space = ReadBuf::new(hand.spare());
        let result = self.socket.poll_read(context, &mut space);
        let read = space.filled().len();
        hand.advance(read);
        if hand.is_empty() {
            *buffer = None;
        }
        ready!(result)?;
        Poll::Ready(Ok(read))
    }

    /// Reads once into `space`, for whoever has a place of its own for the bytes.
    #[inline]
    pub fn poll_read(&mut self, context: &mut Context<'_>, space: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_read(context, space)
    }

    /// Writes what `buffer` holds, as far as it goes; ready when nothing is left.
    #[inline]
    pub fn poll_flush(&mut self, context: &mut Context<'_>, buffer: &mut Buffer) -> Poll<io::Result<()>> {
        while !buffer.is_empty() {
            let written = ready!(self.poll_write(context, buffer.filled()))?;
            buffer.consume(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes once. Who was told to wait comes back with the same bytes, or more behind them: over TLS some of them may
    /// be on their way.
    #[inline]
    pub fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = match &mut self.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            Socket::Tls(tls) => tls.poll_write(context, bytes),
            Socket::Carried(carrier) => carrier.poll_write(context, bytes),
        };
        match ready!(written) {
            Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            other => Poll::Ready(other),
        }
    }

    /// Whether its bytes are what goes through its socket, so that they may go past this program.
    #[inline]
    pub fn is_plain(&self) -> bool {
        matches!(self.socket, Socket::Plain(_))
    }

    /// Moves up to `most` bytes of what has come into an empty pipe, of a plain connection; `Ok(0)` is the end.
    ///
    /// # Errors
    /// The connection has broken; `Unsupported` where its bytes cannot go that way.
    pub fn poll_fill_pipe(
        &mut self,
        context: &mut Context<'_>,
        pipe: &mut Pipe,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Plain(socket) => socket.poll_fill_pipe(context, pipe, most),
            Socket::Tls(_) | Socket::Carried(_) => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        }
    }

    /// Sends of what is in a pipe as much as a plain connection takes.
    ///
    /// # Errors
    /// The connection has broken; `Unsupported` where its bytes cannot go that way.
    pub fn poll_empty_pipe(&mut self, context: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        let moved = match &mut self.socket {
            Socket::Plain(socket) => socket.poll_empty_pipe(context, pipe),
            Socket::Tls(_) | Socket::Carried(_) => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        };
        match ready!(moved) {
            Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            other => Poll::Ready(other),
        }
    }

    /// Writes what `buffer` holds.
    pub async fn flush(&mut self, buffer: &mut Buffer) -> io::Result<()> {
        poll_fn(|context| self.poll_flush(context, buffer)).await
    }

    /// Whether an idle connection can still be used: nothing has come on it, neither bytes nor an end. No system call.
    #[inline]
    pub fn is_quiet(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        match &mut self.socket {
            Socket::Plain(socket) => socket.is_quiet(&mut context),
            Socket::Tls(tls) => tls.is_quiet(&mut context),
            Socket::Carried(_) => true,
        }
    }

    /// Like [`Stream::is_quiet`], and asks the system, which may know of an end that the runtime has not been told yet.
    pub fn is_quiet_for_sure(&mut self) -> bool {
        let mut room = [std::mem::MaybeUninit::uninit()];
        let Some(socket) = self.socket.transport().and_then(Transport::options) else { return true };
        let peeked = socket.peek(&mut room);
        match peeked {
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            // Over TLS it may be a ticket, which is for later and no answer to anything.
            Ok(length) => length > 0 && self.is_tls() && self.is_quiet(),
        }
    }

    /// Nothing more will be sent: the other side reads an end.
    pub fn finish_sending(&mut self) {
        match &mut self.socket {
            Socket::Plain(_) => {}
            Socket::Tls(tls) => tls.say_end(),
            Socket::Carried(carrier) => carrier.finish_sending(),
        }
        if let Some(socket) = self.socket.transport().and_then(Transport::options) {
            // A socket that is gone already needs no end.
            let _ = socket.shutdown(Shutdown::Write);
        }
    }

    /// Has the system give the connection up when the other side has gone without a word, see [`watch_over`]; reading or
    /// writing fails then by an error that [`is_lost`] knows.
    pub fn watch(&self, way: Option<&Way>, patience: Duration) {
        if let Some(transport) = self.socket.transport() {
            watch_over(transport, way, patience);
        }
    }

    /// Has the connection end with a reset when it is dropped, so that the other side cannot take it for complete.
    pub fn reset_on_drop(&mut self) {
        if let Socket::Carried(carrier) = &mut self.socket {
            carrier.reset();
        }
        if let Some(socket) = self.socket.transport().and_then(Transport::options) {
            // A socket that is gone already needs no reset.
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
    }
}

/// Whether the system has given a connection up because nothing of the other side has come for too long (tcp(7): by
/// default ETIMEDOUT; what the network said of the last attempts where it said something).
pub fn is_lost(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable)
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.unfinished {
            self.reset_on_drop();
        } else if let Socket::Tls(tls) = &mut self.socket {
            tls.say_end();
        }
    }
}
