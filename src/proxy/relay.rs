//! Bytes between a client and a backend, both ways, until both have ended: TCP connections and tunnels.
//!
//! An end on one side is passed on while the other way goes on (half-close); a reset stays a reset. A side owns a
//! buffer only while the other is slow to take what it holds.
//!
//! Hot path: no allocation, no lock, no formatting.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::outcome::Cause;
use crate::config::model::OnDown;
use crate::net::buffer::{Buffer, Size};
use crate::net::stream::Stream;
use crate::net::wheel::Timer;
use crate::pool::Backend;

/// Bytes moved one way before the other connections of the worker get their turn.
const TURN: u64 = 256 * 1024;

/// One way of a relay.
#[derive(Debug, Default)]
struct Way {
    buffer: Option<Buffer>,
    moved: u64,
    /// The last read filled its buffer: a stream, for which a large buffer pays.
    streaming: bool,
    ended: bool,
    passed_on: bool,
}

/// How a relay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relayed {
    /// Bytes from the client.
    pub received: u64,
    /// Bytes to the client.
    pub sent: u64,
    /// Why, unless both sides ended it.
    pub cause: Option<Cause>,
}

/// What a relay obeys beside its two sides.
#[derive(Debug)]
pub struct Terms<'a> {
    /// The backend, whose end may be the relay's.
    pub backend: &'a Arc<Backend>,
    /// Whether it is.
    pub on_down: OnDown,
    /// Longest silence.
    pub idle: Duration,
}

/// Relays until both sides have ended, one has broken, or nothing has moved for too long. `early` are bytes in hand:
/// from the client, and from the backend.
pub async fn relay(
    client: &mut Stream,
    backend: &mut Stream,
    early: (Option<Buffer>, Option<Buffer>),
    timer: &Timer,
    terms: &Terms<'_>,
) -> Relayed {
    let mut up = Way { buffer: early.0, ..Way::default() };
    let mut down = Way { buffer: early.1, ..Way::default() };
    timer.mark(Some(terms.backend.slot.index));
    timer.set(terms.idle);
    // Until both sides have ended it, whatever else ends it, ends it with a reset.
    client.is_unfinished(true);
    backend.is_unfinished(true);
    let mut moved = 0;
    let cause = poll_fn(|context| {
        if let Poll::Ready(Err(_)) = up.poll(context, client, backend) {
            return Poll::Ready(Some(broken(client, backend)));
        }
        if let Poll::Ready(Err(_)) = down.poll(context, backend, client) {
            return Poll::Ready(Some(broken(client, backend)));
        }
        if up.passed_on && down.passed_on {
            return Poll::Ready(None);
        }
        if up.moved + down.moved != moved {
            moved = up.moved + down.moved;
            timer.set(terms.idle);
        }
        if timer.poll_elapsed(context) {
            return Poll::Ready(Some(Cause::TunnelIdle));
        }
        if terms.on_down == OnDown::Close && terms.backend.is_out() {
            client.reset_on_drop();
            return Poll::Ready(Some(Cause::BackendDown));
        }
        Poll::Pending
    })
    .await;
    timer.mark(None);
    if matches!(cause, None | Some(Cause::TunnelIdle)) {
        client.is_unfinished(false);
        backend.is_unfinished(false);
    }
    Relayed { received: up.moved, sent: down.moved, cause }
}

/// One side has broken: the other must not take what it has for complete.
fn broken(client: &Stream, backend: &Stream) -> Cause {
    client.reset_on_drop();
    backend.reset_on_drop();
    Cause::ResetInBody
}

impl Way {
    fn poll(&mut self, context: &mut Context<'_>, from: &mut Stream, to: &mut Stream) -> Poll<io::Result<()>> {
        let stop_at = self.moved + TURN;
        loop {
            if let Some(buffer) = &mut self.buffer {
                while !buffer.is_empty() {
                    let Poll::Ready(written) = to.poll_write(context, buffer.filled())? else {
                        return Poll::Pending;
                    };
                    buffer.consume(written);
                    self.moved += written as u64;
                }
                self.buffer = None;
            }
            if self.ended {
                if !self.passed_on {
                    to.finish_sending();
                    self.passed_on = true;
                }
                return Poll::Ready(Ok(()));
            }
            if self.moved >= stop_at {
                // Others first; this way goes on in the next turn.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let size = if self.streaming { Size::Large } else { Size::Small };
            let Poll::Ready(read) = from.poll_fill(context, &mut self.buffer, size)? else { return Poll::Pending };
            self.ended = read == 0;
            self.streaming = self.buffer.as_mut().is_some_and(|buffer| buffer.spare().is_empty());
        }
    }
}
