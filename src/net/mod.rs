//! Sockets: listening, connecting, TLS. The only room that may hold `unsafe`.

pub mod connect;
pub mod tls;
