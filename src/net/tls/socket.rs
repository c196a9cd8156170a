//! A connection on which TLS has been agreed, in the manner of the data path.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;

use super::facts::{ClientCertificate, Facts};
use crate::net::transport::Transport;

/// A connection on which TLS has been agreed, by either side.
#[derive(Debug)]
pub struct TlsSocket {
    stream: TlsStream<Transport>,
    /// What a client has shown, where it was asked.
    client: Option<Arc<ClientCertificate>>,
    /// Bytes that have been taken and of which not all has gone out yet.
    owed: usize,
    /// The end has been said.
    ended: bool,
}

impl TlsSocket {
    pub(super) fn new(stream: TlsStream<Transport>, client: Option<Arc<ClientCertificate>>) -> Self {
        Self { stream, client, owed: 0, ended: false }
    }

    /// What was agreed on.
    pub fn facts(&self) -> Facts<'_> {
        Facts::of(&self.stream, self.client.as_deref())
    }

    /// The certificate that a client has shown, and that is trusted.
    #[inline]
    pub fn client(&self) -> Option<&Arc<ClientCertificate>> {
        self.client.as_ref()
    }

    /// The connection below.
    #[inline]
    pub fn transport(&self) -> &Transport {
        self.stream.get_ref().0
    }

    /// What has been agreed on that is spoken inside (ALPN).
    pub fn protocol(&self) -> Option<&[u8]> {
        self.stream.get_ref().1.alpn_protocol()
    }

    /// Ready when there may be something to read. No system call.
    pub(in crate::net) fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let (socket, session) = self.stream.get_mut();
        if session.wants_read() { socket.poll_read_ready(context).map(|_| ()) } else { Poll::Ready(()) }
    }

    pub(in crate::net) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, space)
    }

    /// Writes once; ready when what it took has gone out. Until then whoever writes comes back with the same bytes, and
    /// has them taken only once: so nothing waits in the session of which nobody knows.
    pub(in crate::net) fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.owed == 0 {
            self.owed = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        }
        debug_assert!(self.owed <= bytes.len(), "whoever was told to wait came back with other bytes");
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        Poll::Ready(Ok(std::mem::take(&mut self.owed)))
    }

    /// Whether nothing has come that concerns whoever uses the connection. Tickets are taken in.
    pub(in crate::net) fn is_quiet(&mut self, context: &mut Context<'_>) -> bool {
        let mut room = [0; 1];
        Pin::new(&mut self.stream).poll_read(context, &mut ReadBuf::new(&mut room)).is_pending()
    }

    /// Tells the other side that this was all (`close_notify`), as far as it can be told without waiting.
    pub(in crate::net) fn say_end(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            // Who cannot take it now has not taken what was before it either.
            let _ = Pin::new(&mut self.stream).poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
    }
}
