//! A stream for asking servers that answer too eagerly: before, or without, reading the question.
//!
//! Such a server may close or reset while the question is being written, though its answer is complete. So a failed
//! write is no failure as long as an answer can be read, reading starts only after the first write (hyper takes an
//! earlier answer for noise), and a reset after the first byte read is the end of the stream: whoever frames the answer
//! knows whether it is complete.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[derive(Debug)]
pub(super) struct Eager<S> {
    stream: S,
    writing: Writing,
    /// Bytes of the answer came.
    begun: bool,
    reader: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writing {
    NotYet,
    Begun,
    /// The other side takes no more; what is written is thrown away.
    Refused,
}

impl<S> Eager<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, writing: Writing::NotYet, begun: false, reader: None }
    }

    fn write_begun(&mut self, writing: Writing) {
        self.writing = writing;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Eager<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.writing == Writing::NotYet {
            this.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        match ready!(Pin::new(&mut this.stream).poll_read(cx, buffer)) {
            Ok(()) => {
                this.begun |= buffer.filled().len() > before;
                Poll::Ready(Ok(()))
            }
            Err(error) if this.begun && is_an_end(&error) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

/// A reset, or TLS closed without saying so.
fn is_an_end(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe)
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Eager<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.writing == Writing::Refused {
            return Poll::Ready(Ok(bytes.len()));
        }
        match ready!(Pin::new(&mut self.stream).poll_write(cx, bytes)) {
            Ok(written) => {
                self.write_begun(Writing::Begun);
                Poll::Ready(Ok(written))
            }
            Err(_refused) => {
                self.write_begun(Writing::Refused);
                Poll::Ready(Ok(bytes.len()))
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.writing == Writing::Refused {
            return Poll::Ready(Ok(()));
        }
        if ready!(Pin::new(&mut self.stream).poll_flush(cx)).is_err() {
            self.write_begun(Writing::Refused);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
