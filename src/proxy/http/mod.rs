//! HTTP: what happens to a request (`exchange`) and the codecs that carry it.

mod aside;
pub mod asking;
pub mod connection;
pub mod download;
pub mod encode;
pub mod exchange;
pub mod gates;
pub mod grpc;
pub mod http1;
pub mod http2;
pub mod mirror;
mod moved;
mod own;
mod pages;
mod paths;
pub mod reply;
pub mod rules;
mod sticky;
pub mod trace;
pub mod trial;
pub(super) mod understand;
mod upgrade;
pub mod upload;
pub mod version;
