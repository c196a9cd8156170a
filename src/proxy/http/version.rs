//! Which version of HTTP a client speaks: what TLS has agreed on, what the listener knows, or what the first bytes are.

use std::future::poll_fn;
use std::task::Poll;

use crate::config::model::Spoken;
use crate::net::buffer::{Buffer, Size};
use crate::net::stream::Stream;
use crate::net::wheel::Timer;
use crate::proxy::worker::Worker;
use crate::route::Listener;

/// No request of HTTP/1 begins like this, which is what it is for (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// The version, with what has been read to tell.
#[derive(Debug)]
pub enum Told {
    /// HTTP/1.1 or 1.0.
    V1(Option<Buffer>),
    /// HTTP/2.
    V2(Option<Buffer>),
}

/// Tells which version is spoken on a connection.
pub async fn tell(worker: &Worker, listener: &Listener, mut client: Stream) -> (Stream, Told) {
    let told = match (listener.config.http, client.protocol()) {
        (Spoken::V1, _) | (_, Some(b"http/1.1")) => Told::V1(None),
        (Spoken::V2, _) | (_, Some(b"h2")) => Told::V2(None),
        // Boxed: every connection would keep the room that its first moments need.
        (Spoken::Both, _) => Box::pin(look(worker, listener, &mut client)).await,
    };
    (client, told)
}

/// Reads until it is clear. Whatever else ends the wait is left to HTTP/1.
async fn look(worker: &Worker, listener: &Listener, client: &mut Stream) -> Told {
    let timer = Timer::new();
    timer.set(listener.config.timeouts.client_idle);
    let mut hand: Option<Buffer> = None;
    loop {
        let filled = hand.as_ref().map_or(&[][..], Buffer::filled);
        if filled.len() >= PREFACE.len() && filled.starts_with(PREFACE) {
            return Told::V2(hand);
        }
        if !PREFACE.starts_with(filled) {
            return Told::V1(hand);
        }
        let was_empty = hand.is_none();
        let has_come = poll_fn(|context| match client.poll_fill(context, &mut hand, Size::Small) {
            Poll::Ready(read) => Poll::Ready(matches!(read, Ok(count) if count > 0)),
            Poll::Pending if timer.poll_elapsed(context) || worker.is_draining() => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        })
        .await;
        if !has_come {
            return Told::V1(hand);
        }
        if was_empty {
            timer.set(listener.config.timeouts.head);
        }
    }
}
