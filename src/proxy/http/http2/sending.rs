//! The sending half of a stream: the bytes that the exchange writes for a connection of HTTP/1.1 become frames.
//!
//! Whoever writes is told that bytes are written when they have been handed over, which waits for the other side's
//! window and for room on the connection: nothing piles up here.
//!
//! Hot path: no lock, no formatting, one allocation for each bite of a body.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use ::http::header::HeaderMap;
use bytes::{Bytes, BytesMut};
use h2::{Reason, SendStream};

use super::ledger::{Ledger, Parcel};
use super::{answer, broken, error_of};
use crate::proxy::http::http1::Framing;
use crate::proxy::http::http1::body::Body;

/// What is taken of a body at once: a frame of the usual size.
const BITE: usize = 16 * 1024;

/// What goes out on a stream behind its head.
#[derive(Debug)]
pub(super) struct Sending {
    stream: SendStream<Parcel>,
    ledger: Rc<Ledger>,
    body: Body,
    /// Content that has been taken and not handed over.
    pending: BytesMut,
    trailers: Option<HeaderMap>,
    ended: bool,
}

impl Sending {
    /// A stream whose head has been sent. `Framing::Empty`: the head was its end.
    pub(super) fn new(stream: SendStream<Parcel>, framing: Framing, ledger: Rc<Ledger>) -> Self {
        let ended = framing == Framing::Empty;
        Self { stream, ledger, body: Body::new(framing), pending: BytesMut::new(), trailers: None, ended }
    }

    /// Whether the end has been sent.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Takes of `bytes`, which follow what was taken before, and says how many.
    ///
    /// # Errors
    /// They do not follow the framing that the head has named.
    pub(super) fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.ended {
            return Err(broken());
        }
        let bite = &bytes[..bytes.len().min(BITE)];
        let (pending, trailers) = (&mut self.pending, &mut self.trailers);
        match &mut self.body {
            Body::Chunked(chunked) => chunked
                .take_apart(
                    bite,
                    |content| pending.extend_from_slice(content),
                    |line| answer::trailer(trailers.get_or_insert_with(HeaderMap::new), line),
                )
                .map_err(|_rule| broken()),
            body => {
                let taken = body.accept(bite).map_err(|_rule| broken())?;
                pending.extend_from_slice(&bite[..taken]);
                Ok(taken)
            }
        }
    }

    /// Hands over what was taken; ready when all of it has been, with the end where that is known.
    pub(super) fn poll_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            if !self.ledger.has_room(context) {
                return Poll::Pending;
            }
            self.stream.reserve_capacity(self.pending.len());
            let window = match self.stream.capacity() {
                0 => match ready!(self.stream.poll_capacity(context)) {
                    None => return Poll::Ready(Err(broken())),
                    Some(window) => window.map_err(|error| error_of(&error))?,
                },
                window => window,
            };
            let part = self.pending.split_to(window.min(self.pending.len())).freeze();
            if part.is_empty() {
                continue;
            }
            let is_last = self.body.is_done() && self.pending.is_empty() && self.trailers.is_none();
            self.send(part, is_last)?;
        }
        if self.body.is_done() && !self.ended {
            match self.trailers.take() {
                None => self.send(Bytes::new(), true)?,
                Some(trailers) => {
                    self.ended = true;
                    self.stream.send_trailers(trailers).map_err(|error| error_of(&error))?;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn send(&mut self, content: Bytes, is_last: bool) -> io::Result<()> {
        let parcel = Parcel::new(content, &self.ledger);
        self.stream.send_data(parcel, is_last).map_err(|error| error_of(&error))?;
        self.ended |= is_last;
        Ok(())
    }

    /// Nothing more will come: of a body that ends when its sender ends, this is the end; any other one is broken off.
    pub(super) fn finish(&mut self) {
        if self.ended {
            return;
        }
        if self.body != Body::UntilClose || self.send(Bytes::new(), true).is_err() {
            self.reset(Reason::INTERNAL_ERROR);
        }
    }

    /// Breaks off.
    pub(super) fn reset(&mut self, reason: Reason) {
        if !self.ended {
            self.ended = true;
            self.stream.send_reset(reason);
        }
    }

    /// Ready when the other side has reset the stream, or the connection is gone.
    pub(super) fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.stream.poll_reset(context).map(|_| ())
    }
}
