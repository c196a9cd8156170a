//! The receiving half of a stream: frames become the bytes that a connection of HTTP/1.1 would have brought.
//!
//! The other side's window is opened again only as bytes are taken, so whoever reads slowly makes nobody's memory grow.
//!
//! Hot path: no lock, no formatting.

use std::io::{self, Write as _};
use std::task::{Context, Poll, ready};

use ::http::HeaderMap;
use bytes::{Buf, Bytes};
use h2::RecvStream;
use tokio::io::ReadBuf;

use super::request::{Shape, has_edge, write_end};
use super::{broken, error_of};
use crate::net::buffer::{Buffer, Size};

/// What comes on a stream.
#[derive(Debug)]
pub(super) struct Receiving {
    whose: Whose,
    stream: Option<RecvStream>,
    shape: Shape,
    /// What has come is none that may be forwarded. Said again and again: whoever reads may have been given something
    /// before that, and hears of it only the next time.
    is_broken: bool,
    /// Bytes of content that are still promised; none where nobody has, or where the end has been seen behind them.
    left: Option<u64>,
    /// To be read first: a head, or what stands between the chunks.
    text: Option<Buffer>,
    /// The content of one frame, as far as it was not read.
    content: Bytes,
}

/// Who has sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// A client, with the length of content that it has promised. Its trailers are judged as its fields are.
    Client(Option<u64>),
    /// A backend, whose trailers may be as sloppy as those of calls often are.
    Backend,
}

/// What there is to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// Bytes, which are in place.
    Bytes,
    /// Nothing more.
    End,
}

impl Receiving {
    /// A stream whose `head` is read first.
    pub(super) fn new(whose: Whose, head: Option<Buffer>, stream: Option<RecvStream>, shape: Shape) -> Self {
        let stream = stream.filter(|_| shape != Shape::Empty);
        let left = match whose {
            Whose::Client(length) if shape == Shape::Plain => length,
            _ => None,
        };
        Self { whose, stream, shape, is_broken: false, left, text: head, content: Bytes::new() }
    }

    /// Whether it is a tunnel, in which an end is an end.
    pub(super) fn is_tunnel(&self) -> bool {
        self.shape == Shape::Tunnel
    }

    /// Reads what there is, as far as `space` goes.
    pub(super) fn poll_read(&mut self, context: &mut Context<'_>, space: &mut ReadBuf<'_>) -> Poll<io::Result<Came>> {
        let before = space.filled().len();
        while space.remaining() > 0 {
            if self.give(space)? {
                continue;
            }
            match self.poll_next(context) {
                Poll::Ready(Ok(Came::Bytes)) => {}
                // What was given is read first; what follows comes again.
                _ if space.filled().len() > before => break,
                Poll::Ready(Ok(Came::End)) => return Poll::Ready(Ok(Came::End)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(Came::Bytes))
    }

    /// Gives what is in hand; false when nothing is.
    fn give(&mut self, space: &mut ReadBuf<'_>) -> io::Result<bool> {
        if self.left == Some(0) {
            return Ok(false);
        }
        if let Some(text) = &mut self.text {
            let count = text.filled().len().min(space.remaining());
            space.put_slice(&text.filled()[..count]);
            text.consume(count);
            if text.is_empty() {
                self.text = None;
            }
            return Ok(true);
        }
        if self.content.is_empty() {
            return Ok(false);
        }
        let count = self.content.len().min(space.remaining());
        space.put_slice(&self.content[..count]);
        self.content.advance(count);
        if let Some(stream) = &mut self.stream {
            stream.flow_control().release_capacity(count).map_err(|error| error_of(&error))?;
        }
        if self.content.is_empty() && self.shape == Shape::Chunked {
            self.say(b"\r\n");
        }
        Ok(true)
    }

    fn say(&mut self, text: &[u8]) {
        self.text.get_or_insert_with(|| Buffer::take(Size::Small)).append(text);
    }

    /// Waits for the end behind the content that was promised. What comes last is held back so long: a request with more
    /// must not be forwarded (RFC 9113, section 8.1.1), and nobody could take it back.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(Ok(())) };
        while !stream.is_end_stream() {
            match ready!(stream.poll_data(context)).transpose().map_err(|error| error_of(&error))? {
                None => break,
                Some(more) if more.is_empty() => {}
                Some(_) => {
                    self.is_broken = true;
                    return Poll::Ready(Err(broken()));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the next frame in hand.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Came>> {
        if self.is_broken {
            return Poll::Ready(Err(broken()));
        }
        if self.left == Some(0) {
            ready!(self.poll_end(context))?;
            self.left = None;
            return Poll::Ready(Ok(Came::Bytes));
        }
        let Some(stream) = &mut self.stream else { return Poll::Ready(Ok(Came::End)) };
        if let Some(content) = ready!(stream.poll_data(context)) {
            self.content = content.map_err(|error| error_of(&error))?;
            self.left = self.left.map(|left| left.saturating_sub(self.content.len() as u64));
            if !self.content.is_empty() && self.shape == Shape::Chunked {
                let mut size = [0; 20];
                let mut rest = &mut size[..];
                write!(rest, "{:x}\r\n", self.content.len()).map_err(|_full| broken())?;
                let length = 20 - rest.len();
                self.say(&size[..length]);
            }
            return Poll::Ready(Ok(Came::Bytes));
        }
        if self.shape != Shape::Chunked {
            self.stream = None;
            return Poll::Ready(Ok(Came::End));
        }
        let trailers = ready!(stream.poll_trailers(context)).map_err(|error| error_of(&error))?;
        self.stream = None;
        if matches!(self.whose, Whose::Client(_)) && trailers.iter().flat_map(HeaderMap::values).any(has_edge) {
            self.is_broken = true;
            return Poll::Ready(Err(broken()));
        }
        write_end(self.text.get_or_insert_with(|| Buffer::take(Size::Small)), trailers.as_ref());
        Poll::Ready(Ok(Came::Bytes))
    }
}
