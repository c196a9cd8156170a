//! Where things are: unix sockets on both sides, what is said of clients to backends, options of sockets.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod options;
mod proxy_out;
mod sockets;
