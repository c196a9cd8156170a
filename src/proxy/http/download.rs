//! The way of an answer to the client: its head with what of the body is there, then the rest as it comes.
//!
//! Hot path: no allocation, no lock, no formatting.

use std::task::{Context, Poll};

use super::http1::body::Body;
use super::http1::{Framing, Version};
use crate::net::buffer::{Buffer, Size};
use crate::net::stream::{Stream, is_lost};
use crate::proxy::outcome::Cause;

/// An answer on its way.
#[derive(Debug)]
pub struct Download {
    /// The head for the client, and what is to be sent next.
    out: Buffer,
    /// What came from the backend and is not in `out`.
    pub hand: Option<Buffer>,
    body: Body,
    /// Bytes at the front of `hand` that are judged and not yet sent.
    accepted: usize,
    /// Chunks are taken apart for a client that does not know them (HTTP/1.0).
    unchunk: bool,
    /// Bytes given to the client.
    pub sent: u64,
    ended: bool,
    /// Waiting for the client to take what is there, not for the backend.
    pub client_is_slow: bool,
}

impl Download {
    /// An answer whose head for the client stands in `out`, and of whose body `hand` holds the beginning.
    ///
    /// # Errors
    /// What is there of the body breaks the protocol.
    #[inline]
    pub fn new(out: Buffer, hand: Option<Buffer>, framing: Framing, version: Version) -> Result<Self, Cause> {
        let unchunk = framing == Framing::Chunked && version == Version::Http10;
        let mut download = Self {
            out,
            hand,
            body: Body::new(framing),
            accepted: 0,
            unchunk,
            sent: 0,
            ended: false,
            client_is_slow: false,
        };
        download.accept(Place::Out)?;
        Ok(download)
    }

    /// Whether all of the answer is in hand.
    #[inline]
    pub fn is_whole(&self) -> bool {
        self.body.is_done()
    }

    /// Whether the answer came whole and nothing stands behind it.
    #[inline]
    pub fn is_clean(&self) -> bool {
        self.body.is_done() && self.hand.as_ref().is_none_or(Buffer::is_empty)
    }

    fn accept(&mut self, place: Place) -> Result<usize, Cause> {
        let Some(buffer) = &mut self.hand else { return Ok(0) };
        let out = &mut self.out;
        let accepted = match &mut self.body {
            Body::Chunked(chunked) if self.unchunk => chunked.decode(buffer.filled(), |content| out.append(content)),
            body => body.accept(buffer.filled()),
        };
        let accepted = accepted.map_err(|_rule| Cause::BadAnswer)?;
        if self.unchunk {
            buffer.consume(accepted);
        } else if place == Place::Out {
            out.append(&buffer.filled()[..accepted]);
            buffer.consume(accepted);
        } else {
            self.accepted = accepted;
        }
        if buffer.is_empty() {
            self.hand = None;
        }
        Ok(accepted)
    }

    /// Moves what can be moved; ready when the client has all of it.
    #[inline]
    pub fn poll(
        &mut self,
        context: &mut Context<'_>,
        backend: &mut Stream,
        client: &mut Stream,
    ) -> Poll<Result<(), Cause>> {
        loop {
            self.client_is_slow = true;
            while !self.out.is_empty() {
                match client.poll_write(context, self.out.filled()) {
                    Poll::Ready(Ok(written)) => {
                        self.out.consume(written);
                        self.sent += written as u64;
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Cause::ClientAbort)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            while self.accepted > 0 {
                let Some(buffer) = &mut self.hand else { break };
                match client.poll_write(context, &buffer.filled()[..self.accepted]) {
                    Poll::Ready(Ok(written)) => {
                        buffer.consume(written);
                        self.accepted -= written;
                        self.sent += written as u64;
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Cause::ClientAbort)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            if self.hand.as_ref().is_some_and(Buffer::is_empty) {
                self.hand = None;
            }
            self.client_is_slow = false;
            if self.body.is_done() || self.ended {
                return Poll::Ready(Ok(()));
            }
            match self.accept(Place::Hand) {
                Ok(0) => {}
                Ok(_) => continue,
                Err(cause) => return Poll::Ready(Err(cause)),
            }
            match backend.poll_fill(context, &mut self.hand, Size::Large) {
                Poll::Ready(Ok(0)) if self.body == Body::UntilClose => self.ended = true,
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(Cause::TruncatedBody)),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) if is_lost(&error) => return Poll::Ready(Err(Cause::ConnectionLost)),
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Cause::ResetInBody)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// Where accepted bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Behind the head, to leave with it in one write.
    Out,
    /// They stay where they are and are written from there.
    Hand,
}
