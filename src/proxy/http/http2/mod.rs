//! HTTP/2, both ways: each stream is dressed as a connection of HTTP/1.1, so that what happens to a request is said once.
//!
//! `h2` has the frames, the compression and the windows; this room has what stands around it. A client's connection is
//! a task of its worker (`front`), and each of its streams is one more, on which one request is served as on any
//! connection (`served`). A backend's connection carries the requests of one worker (`links`, `call`). Bytes are moved
//! when they can be handed over and not before (`sending`, `receiving`). What a client sends is looked at in front of the
//! library (`incoming`): what is no work is counted (`floods`), and some of what breaks the protocol gets a reason there
//! that the library does not give (`order`).

mod answer;
mod asked;
mod call;
mod floods;
pub mod front;
mod incoming;
mod ledger;
pub mod links;
mod order;
mod receiving;
mod request;
mod sending;
mod served;
mod wire;

use std::io;

/// What follows is not what was said: the stream ends.
fn broken() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

/// What an error of the library is to whoever reads or writes.
fn error_of(error: &h2::Error) -> io::Error {
    error.get_io().map_or_else(|| io::ErrorKind::ConnectionReset.into(), |error| error.kind().into())
}
