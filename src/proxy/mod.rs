//! The data wing: forwards. HOT.

pub mod accept;
pub mod attempt;
mod chosen;
pub mod http;
pub mod idle;
pub mod log;
pub mod outcome;
pub mod relay;
pub mod tcp;
pub mod udp;
pub mod websocket;
pub mod worker;
