//! Sockets: listening, connecting, buffers, deadlines. The only room that may hold `unsafe`; `inherited` alone does.

pub mod buffer;
pub mod client_hello;
pub mod connect;
pub mod datagram;
pub mod fault;
pub mod handover;
pub mod inherited;
pub mod introduction;
pub mod listen;
pub mod proxy_protocol;
pub mod splice;
pub mod stream;
pub mod tcp;
pub mod tls;
pub mod transport;
pub mod unix;
pub mod way;
pub mod wheel;
