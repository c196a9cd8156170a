//! The way of an answer to the client: its head with what of the body is there, then the rest as it comes.
//!
//! Hot path: no allocation, no lock, no formatting, but for a body that a rule compresses.

use std::io;
use std::task::{Context, Poll, ready};

use super::encode::Encoder;
use super::http1::body::Body;
use super::http1::{Framing, Version};
use crate::config::model::Coding;
use crate::net::buffer::{Buffer, Size};
use crate::net::splice::{Pipe, is_refusal};
use crate::net::stream::{Stream, is_lost};
use crate::proxy::outcome::Cause;

/// So much goes through an encoder at once.
const STEP: usize = 16 * 1024;
/// After so much others of the worker have their turn: a millisecond of work, more or less.
const TURN: usize = 4 * STEP;

/// So much came at once: a stream, of which the rest may go past this program …
const SHORT: usize = 8 * 1024;
/// … where so much is left of it that the pipe pays.
const PAST_MIN: u64 = 64 * 1024;

/// How bytes come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    Trickle,
    Stream,
}

impl Pace {
    #[inline]
    fn of(at_once: usize) -> Self {
        if at_once >= SHORT { Self::Stream } else { Self::Trickle }
    }
}

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
    /// What the body goes through; boxed, since few do.
    encoder: Option<Box<Encoder>>,
    /// Bytes given to the client.
    pub sent: u64,
    ended: bool,
    /// How much came at once when it was last looked.
    pace: Pace,
    /// What of the body goes past this program.
    pipe: Option<Pipe>,
    /// Waiting for the client to take what is there, not for the backend.
    pub client_is_slow: bool,
}

impl Download {
    /// An answer whose head for the client stands in `out`, and of whose body `hand` holds the beginning.
    ///
    /// # Errors
    /// What is there of the body breaks the protocol.
    #[inline]
    pub fn new(
        out: Buffer,
        hand: Option<Buffer>,
        framing: Framing,
        version: Version,
        coding: Option<Coding>,
    ) -> Result<Self, Cause> {
        let encoder = match coding.filter(|_| framing != Framing::Empty) {
            Some(coding) => Some(Box::new(Encoder::new(coding, version).map_err(|_no_memory| Cause::Local)?)),
            None => None,
        };
        let unchunk = framing == Framing::Chunked && version == Version::Http10;
        let at_once = hand.as_ref().map_or(0, |hand| hand.filled().len());
        let mut download = Self {
            out,
            hand,
            body: Body::new(framing),
            accepted: 0,
            unchunk,
            encoder,
            sent: 0,
            ended: false,
            pace: Pace::of(at_once),
            pipe: None,
            client_is_slow: false,
        };
        download.accept(Place::Out)?;
        if download.body.is_done() {
            download.finish()?;
        }
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

    /// The end of the body has come; says whether something is to be sent because of that.
    fn finish(&mut self) -> Result<bool, Cause> {
        let Some(mut encoder) = self.encoder.take() else { return Ok(false) };
        encoder.finish(&mut self.out).map_err(|_failed| Cause::Local)?;
        Ok(true)
    }

    /// The backend pauses: what the encoder holds back goes out; says whether that is anything.
    fn flush(&mut self) -> Result<bool, Cause> {
        let Some(encoder) = &mut self.encoder else { return Ok(false) };
        encoder.flush(&mut self.out).map_err(|_failed| Cause::Local)
    }

    /// Takes a step of the body through the encoder.
    fn encode(&mut self) -> Result<usize, Cause> {
        let (Some(encoder), Some(buffer)) = (&mut self.encoder, &mut self.hand) else { return Ok(0) };
        let filled = buffer.filled();
        let bytes = &filled[..filled.len().min(STEP)];
        let mut pushed = Ok(());
        let accepted = match &mut self.body {
            Body::Chunked(chunked) => chunked.decode(bytes, |content| {
                if pushed.is_ok() {
                    pushed = encoder.push(content);
                }
            }),
            body => body.accept(bytes),
        };
        let accepted = accepted.map_err(|_rule| Cause::BadAnswer)?;
        if !matches!(self.body, Body::Chunked(_)) {
            pushed = encoder.push(&bytes[..accepted]);
        }
        pushed.map_err(|_failed| Cause::Local)?;
        encoder.drain(&mut self.out);
        buffer.consume(accepted);
        if buffer.is_empty() {
            self.hand = None;
        }
        Ok(accepted)
    }

    fn accept(&mut self, place: Place) -> Result<usize, Cause> {
        if self.encoder.is_some() {
            return self.encode();
        }
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
        let mut encoded = 0;
        loop {
            self.client_is_slow = true;
            if ready!(self.poll_give(context, client)).is_err() {
                return Poll::Ready(Err(Cause::ClientAbort));
            }
            self.client_is_slow = false;
            if self.body.is_done() || self.ended {
                if self.finish()? {
                    continue;
                }
                return Poll::Ready(Ok(()));
            }
            if encoded >= TURN {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            match self.accept(Place::Hand)? {
                0 => {}
                accepted => {
                    encoded += if self.encoder.is_some() { accepted } else { 0 };
                    continue;
                }
            }
            let read = match self.may_go_past(backend, client) {
                0 => self.poll_fill(context, backend),
                left => self.poll_fill_pipe(context, backend, left),
            };
            match read {
                Poll::Ready(Ok(0)) if self.body == Body::UntilClose => self.ended = true,
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(Cause::TruncatedBody)),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) if is_lost(&error) => return Poll::Ready(Err(Cause::ConnectionLost)),
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Cause::ResetInBody)),
                Poll::Pending if self.flush()? => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// How much of the body may go past this program in one move; 0 where it is copied.
    ///
    /// Its end never does: only a read that finds less than it has room for shows that nothing stands behind the body, so
    /// that the connection may be used again.
    #[inline]
    fn may_go_past(&self, backend: &Stream, client: &Stream) -> usize {
        match self.body {
            Body::Length(left) if self.pace == Pace::Stream && left >= PAST_MIN => {
                let may = self.encoder.is_none() && self.hand.is_none() && backend.is_plain() && client.is_plain();
                if may { usize::try_from(left).unwrap_or(usize::MAX) - SHORT } else { 0 }
            }
            _ => 0,
        }
    }

    #[inline]
    fn poll_fill(&mut self, context: &mut Context<'_>, backend: &mut Stream) -> Poll<io::Result<usize>> {
        let read = ready!(backend.poll_fill(context, &mut self.hand, Size::Large))?;
        self.pace = Pace::of(read);
        Poll::Ready(Ok(read))
    }

    /// Reads once into a pipe; into a buffer where there is none. What a pipe takes is part of the body.
    fn poll_fill_pipe(
        &mut self,
        context: &mut Context<'_>,
        backend: &mut Stream,
        left: usize,
    ) -> Poll<io::Result<usize>> {
        let Some(pipe) = self.pipe.take().or_else(Pipe::take) else { return self.poll_fill(context, backend) };
        let pipe = self.pipe.insert(pipe);
        let read = backend.poll_fill_pipe(context, pipe, left);
        if !matches!(read, Poll::Ready(Ok(1..))) {
            // One that waits needs none.
            self.pipe = None;
        }
        let read = match ready!(read) {
            Err(error) if is_refusal(&error) => {
                return self.poll_fill(context, backend);
            }
            read => read?,
        };
        self.pace = Pace::of(read);
        if let Body::Length(left) = &mut self.body {
            *left = left.saturating_sub(read as u64);
        }
        Poll::Ready(Ok(read))
    }

    /// Gives the client all that is judged.
    #[inline]
    fn poll_give(&mut self, context: &mut Context<'_>, client: &mut Stream) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let written = ready!(client.poll_write(context, self.out.filled()))?;
            self.out.consume(written);
            self.sent += written as u64;
        }
        if let Some(buffer) = &mut self.hand {
            while self.accepted > 0 {
                let written = ready!(client.poll_write(context, &buffer.filled()[..self.accepted]))?;
                buffer.consume(written);
                self.accepted -= written;
                self.sent += written as u64;
            }
            if buffer.is_empty() {
                self.hand = None;
            }
        }
        if let Some(pipe) = &mut self.pipe {
            while !pipe.is_empty() {
                self.sent += ready!(client.poll_empty_pipe(context, pipe))? as u64;
            }
        }
        Poll::Ready(Ok(()))
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
