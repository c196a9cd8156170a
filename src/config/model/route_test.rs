//! `[[test]]`: what a configuration says must become of a request. It is no part of what takes effect: `Config` does not
//! have it, so a test that changes is no other configuration.

use std::net::IpAddr;
use std::sync::Arc;

use super::PoolIndex;
use crate::config::problem::At;

/// One test.
#[derive(Debug, Clone)]
pub struct RouteTest {
    /// The request as it is written.
    pub request: Arc<str>,
    /// The listener that gets it.
    pub listener: Arc<str>,
    /// Who sends it.
    pub client: IpAddr,
    /// What is sent.
    pub asks: Asks,
    /// What must become of it.
    pub expected: Expected,
    /// Where that stands.
    pub(in crate::config) at: At,
    /// Where the listener stands, and then each of its routes.
    pub(in crate::config) deciders: Arc<[At]>,
}

/// What a test sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asks {
    /// A request of HTTP/1.1.
    Request {
        /// Its whole head.
        head: Arc<[u8]>,
        /// The name that TLS around it is asked for; `None`: there is no TLS.
        server_name: Option<Arc<str>>,
    },
    /// A connection.
    Connection {
        /// The name that its TLS asks for; `None`: it is no TLS, or asks for none.
        server_name: Option<Arc<str>>,
    },
}

/// What must become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// It goes to this pool; to one of these, and each of them can be, where chance decides.
    Pools(Vec<PoolIndex>),
    /// The balancer answers by itself.
    Answer {
        /// By this status; `None`: any.
        status: Option<u16>,
        /// It sends the client there; `None`: anywhere, or nowhere.
        redirect: Option<Arc<str>>,
    },
    /// The connection is closed.
    Closed,
}
