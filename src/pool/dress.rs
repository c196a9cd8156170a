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
    /// The same for HTTP/1.1 in a pool of HTTP/2, whose backends may speak both.
    for_http1: Option<Result<Client, String>>,
    /// Whether all backends go by one name.
    is_fixed: bool,
}

impl Dress {
    pub(super) fn new(tls: &PoolTls, http: HttpVersion) -> Self {
        // The name of a pool without one is never asked for: each backend has its own.
        let name = tls.server_name.as_deref().unwrap_or("backend");
        let offering = |protocols: &[Arc<str>]| {
            let (verify, dialect, identity) = (&tls.verify, &tls.dialect, tls.identity.as_ref());
            Client::on(name, &Terms { verify, resume: Resume::Allowed, dialect, identity, protocols })
        };
        let (client, for_http1) = match http {
            HttpVersion::V1_1 => (offering(&[]), None),
            HttpVersion::V2 => (offering(&[Arc::from("h2")]), Some(offering(&[Arc::from("http/1.1")]))),
        };
        Self { client, for_http1, is_fixed: tls.server_name.is_some() }
    }

    /// The handshake over a connection to a backend, which is to speak `http`. No deadline of its own.
    ///
    /// # Errors
    /// What rustls, the system or the configuration has against it.
    pub async fn connect(&self, backend: &Backend, stream: Transport, http: HttpVersion) -> io::Result<TlsSocket> {
        let unusable = |why: &String| io::Error::other(why.clone());
        let other = self.for_http1.as_ref().filter(|_| http == HttpVersion::V1_1);
        let client = other.unwrap_or(&self.client).as_ref().map_err(unusable)?;
        if self.is_fixed {
            return client.connect(stream).await;
        }
        client.named(&backend.address.host()).map_err(io::Error::other)?.connect(stream).await
    }
}
