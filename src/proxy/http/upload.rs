//! The way of a request to the backend: its head, and its body as it comes from the client.
//!
//! What has been sent is kept as long as it is small, so that it can be sent again to another backend.
//!
//! Hot path: no allocation, no lock, no formatting.

use std::task::{Context, Poll};

use super::http1::body::Body;
use super::http1::{Framing, Reject};
use super::mirror::{self, Come, Copy};
use crate::net::buffer::{Buffer, SMALL, Size};
use crate::net::stream::Stream;
use crate::proxy::outcome::Cause;

/// A request on its way.
#[derive(Debug)]
pub struct Upload {
    /// The head for the backend, and behind it the body so far, as long as it is kept.
    pub kept: Buffer,
    sent: usize,
    /// Whether all that was sent is in `kept`.
    repeatable: bool,
    body: Body,
    /// Bytes at the front of the client's buffer that are judged and not yet sent.
    accepted: usize,
    limits: Limits,
    received: u64,
    /// A copy of it for another pool.
    pub(super) copy: Option<Box<Copy>>,
    stopped: bool,
    /// Waiting for the client, not for the backend.
    pub client_is_slow: bool,
}

/// How much an upload may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest body kept for another attempt, bytes.
    pub kept_bytes: usize,
    /// Longest body, bytes.
    pub body_bytes: Option<u64>,
}

/// What can end an exchange before an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The client broke a rule.
    Refused(Reject),
    /// The client went away.
    ClientGone,
    /// The backend failed.
    Backend(Cause),
}

impl Upload {
    /// A request whose head stands in `head`.
    pub fn new(head: Buffer, framing: Framing, limits: Limits) -> Self {
        Self {
            kept: head,
            sent: 0,
            repeatable: true,
            body: Body::new(framing),
            accepted: 0,
            limits,
            received: 0,
            copy: None,
            stopped: false,
            client_is_slow: false,
        }
    }

    /// Whether all of the request is with the backend, or will never be.
    #[inline]
    pub fn is_over(&self) -> bool {
        self.stopped || (self.body.is_done() && self.accepted == 0 && self.sent == self.kept.filled().len())
    }

    /// Whether the whole body has been taken from the client's connection: what follows there is the next request.
    #[inline]
    pub fn has_all(&self) -> bool {
        self.body.is_done() && self.accepted == 0
    }

    /// Whether it can be sent again from the beginning.
    #[inline]
    pub fn is_repeatable(&self) -> bool {
        self.repeatable
    }

    /// Whether any of it has been given to a backend.
    #[inline]
    pub fn has_begun(&self) -> bool {
        self.sent > 0
    }

    /// Bytes of the body that came.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Gives the buffer back: nothing will be sent again.
    pub fn release(&mut self) {
        self.kept = Buffer::empty();
        self.sent = 0;
        self.repeatable = false;
    }

    /// The next attempt starts from the beginning.
    pub fn rewind(&mut self) {
        self.sent = 0;
        self.stopped = false;
    }

    /// Nothing more will be sent: the backend has stopped listening.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Takes over what of the body is in hand already, so that it leaves with the head in one write.
    ///
    /// # Errors
    /// The body breaks a rule, or says that it will be too large.
    #[inline]
    pub fn take_in_hand(&mut self, hand: &mut Option<Buffer>) -> Result<(), Reject> {
        if self.body.is_done() {
            return Ok(());
        }
        if let (Body::Length(length), Some(most)) = (&self.body, self.limits.body_bytes)
            && *length > most
        {
            return Err(Reject::BodyTooLarge);
        }
        while self.accept(hand)? > 0 && self.accepted == 0 {}
        Ok(())
    }

    /// Judges what is in hand; bytes accepted either move to `kept` or wait at the front of `hand`.
    fn accept(&mut self, hand: &mut Option<Buffer>) -> Result<usize, Reject> {
        let Some(buffer) = hand else { return Ok(0) };
        let accepted = self.body.accept(buffer.filled())?;
        self.received += accepted as u64;
        let content = match &self.body {
            Body::Chunked(chunked) => chunked.data_bytes(),
            _ => self.received,
        };
        if self.limits.body_bytes.is_some_and(|most| content > most) {
            return Err(Reject::BodyTooLarge);
        }
        if self.copy.is_some() {
            let come = if self.body.is_done() { Come::All } else { Come::Part };
            mirror::take(&mut self.copy, &buffer.filled()[..accepted], come);
        }
        if self.repeatable && self.received as usize <= self.limits.kept_bytes {
            self.kept.append(&buffer.filled()[..accepted]);
            buffer.consume(accepted);
            if buffer.is_empty() {
                *hand = None;
            }
        } else if accepted > 0 {
            self.repeatable = false;
            self.accepted = accepted;
        }
        Ok(accepted)
    }

    /// Moves what can be moved; ready when all is with the backend.
    #[inline]
    pub fn poll(
        &mut self,
        context: &mut Context<'_>,
        client: &mut Stream,
        hand: &mut Option<Buffer>,
        backend: &mut Stream,
    ) -> Poll<Result<(), Trouble>> {
        loop {
            self.client_is_slow = false;
            while self.sent < self.kept.filled().len() {
                match backend.poll_write(context, &self.kept.filled()[self.sent..]) {
                    Poll::Ready(Ok(written)) => self.sent += written,
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Trouble::Backend(Cause::ResetBeforeAnswer))),
                    Poll::Pending => return Poll::Pending,
                }
            }
            while self.accepted > 0 {
                let Some(buffer) = hand else { break };
                match backend.poll_write(context, &buffer.filled()[..self.accepted]) {
                    Poll::Ready(Ok(written)) => {
                        buffer.consume(written);
                        self.accepted -= written;
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Trouble::Backend(Cause::ResetBeforeAnswer))),
                    Poll::Pending => return Poll::Pending,
                }
            }
            if hand.as_ref().is_some_and(Buffer::is_empty) {
                *hand = None;
            }
            if self.body.is_done() {
                return Poll::Ready(Ok(()));
            }
            if self.accept(hand).map_err(Trouble::Refused)? > 0 {
                continue;
            }
            let size = match &self.body {
                // Of what is kept, only a body that is known to be long gets room for more at once.
                Body::Length(left) if *left > SMALL as u64 => Size::Large,
                _ if self.repeatable => Size::Small,
                _ => Size::Large,
            };
            match client.poll_fill(context, hand, size) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Trouble::ClientGone)),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => {
                    self.client_is_slow = true;
                    return Poll::Pending;
                }
            }
        }
    }
}
