//! TLS from a pool to its backends: one set of terms for all, and for each backend the name that it must prove.

use std::io;
use std::sync::Arc;

use super::Backend;
use crate::config::model::{HttpVersion, PoolTls};
use crate::net::tls::{Client, Resume, Terms, TlsSocket};
use crate::net::transport::Transport;

/// How a pool's traffic agrees on TLS with a backend.
#[derive(Debug)]
pub struct Dress {
    /// Or why there is none, which loading the configuration finds out in all but odd cases.
    client: Result<Client, String>,
    /// Whether all backends go by one name.
    is_fixed: bool,
}

impl Dress {
    pub(super) fn new(tls: &PoolTls, http: HttpVersion) -> Self {
        let h2 = [Arc::from("h2")];
        let terms = Terms {
            verify: &tls.verify,
            resume: Resume::Allowed,
            dialect: &tls.dialect,
            identity: tls.identity.as_ref(),
            protocols: match http {
                HttpVersion::V1_1 => &[],
                HttpVersion::V2 => &h2,
            },
        };
        // The name of a pool without one is never asked for: each backend has its own.
        let name = tls.server_name.as_deref().unwrap_or("backend");
        Self { client: Client::on(name, &terms), is_fixed: tls.server_name.is_some() }
    }

    /// The handshake over a connection to a backend. No deadline of its own.
    ///
    /// # Errors
    /// What rustls, the system or the configuration has against it.
    pub async fn connect(&self, backend: &Backend, stream: Transport) -> io::Result<TlsSocket> {
        let unusable = |why: &String| io::Error::other(why.clone());
        let client = self.client.as_ref().map_err(unusable)?;
        if self.is_fixed {
            return client.connect(stream).await;
        }
        client.named(&backend.address.host()).map_err(io::Error::other)?.connect(stream).await
    }
}
