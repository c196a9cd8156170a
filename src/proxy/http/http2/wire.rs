//! The socket below an HTTP/2 connection, as the library wants it: reads are looked at before the library sees them,
//! small writes are gathered until they are flushed.
//!
//! Hot path: no allocation once warm, no lock, no formatting.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ledger::Ledger;
use crate::net::buffer::{Buffer, SMALL, Size};
use crate::net::stream::Stream;
use crate::net::wheel::Timer;

/// After our last word, the other side has this long to take it and to close.
pub(super) const LINGER: Duration = Duration::from_millis(500);
/// What is longer goes out from where it is.
const GATHERED: usize = SMALL / 2;
/// Bytes that a client may still send when we have said that this was all.
const MAX_DISCARDED: usize = 16 * 1024 * 1024;

/// A connection below HTTP/2.
#[derive(Debug)]
pub(super) struct Wire {
    stream: Stream,
    /// What was read of it before it was known to be HTTP/2.
    early: Option<Buffer>,
    out: Option<Buffer>,
    /// Whoever wants to know what comes.
    ledger: Option<Rc<Ledger>>,
    /// We have said that this was all, and wait so long for the other side to say the same.
    ended: Option<Timer>,
    discarded: usize,
}

impl Wire {
    pub(super) fn new(stream: Stream, early: Option<Buffer>, ledger: Option<Rc<Ledger>>) -> Self {
        Self { stream, early, out: None, ledger, ended: None, discarded: 0 }
    }

    fn poll_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(out) = &mut self.out {
            ready!(self.stream.poll_flush(context, out))?;
            self.out = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, space: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ledger.as_ref().is_some_and(|ledger| ledger.is_done()) {
            // Whoever owns the connection looks at that next.
            return Poll::Pending;
        }
        let before = space.filled().len();
        if let Some(early) = &mut self.early {
            let count = early.filled().len().min(space.remaining());
            space.put_slice(&early.filled()[..count]);
            early.consume(count);
            if early.is_empty() {
                self.early = None;
            }
        } else {
            ready!(self.stream.poll_read(context, space))?;
        }
        if let Some(ledger) = &self.ledger {
            let new = space.filled().len() - before;
            let given = ledger.received(&space.filled()[before..]);
            space.set_filled(before + given);
            if new > 0 && given == 0 {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.out.as_mut().is_some_and(|out| out.spare().is_empty()) {
            ready!(self.poll_out(context))?;
        }
        if self.out.is_none() && bytes.len() >= GATHERED {
            return self.stream.poll_write(context, bytes);
        }
        let out = self.out.get_or_insert_with(|| Buffer::take(Size::Small));
        let count = bytes.len().min(out.spare().len());
        out.append(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_out(context)
    }

    /// Ends what we send, and waits for the other side's end: closing at once would reset the connection while the other
    /// side still sends, and take our last words with it.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(context))?;
        let this = &mut *self;
        let timer = this.ended.get_or_insert_with(|| {
            this.stream.finish_sending();
            let timer = Timer::new();
            timer.set(LINGER);
            timer
        });
        let mut hand = None;
        while this.discarded < MAX_DISCARDED && !timer.poll_elapsed(context) {
            match ready!(this.stream.poll_fill(context, &mut hand, Size::Small)) {
                Ok(0) | Err(_) => break,
                Ok(read) => this.discarded += read,
            }
            hand = None;
        }
        Poll::Ready(Ok(()))
    }
}
