//! The server side of TLS: which certificate a client is shown, and the handshake with it.
//!
//! Certificates can be replaced while connections stand: new handshakes are shown the new ones.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use foldhash::fast::FixedState;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsStream};

use super::{TlsSocket, provider};
use crate::config::model::{HostPattern, ListenerTls, ServerCertificate, TlsVersion};

/// How a listener agrees on TLS with its clients.
#[derive(Debug)]
pub struct Server {
    config: Arc<ServerConfig>,
    shown: Arc<Shown>,
}

impl Server {
    /// A server that shows these certificates and, inside TLS, speaks one of these protocols (ALPN); none: whatever.
    ///
    /// # Errors
    /// A sentence: a key cannot be used, which loading the configuration finds out as well.
    pub fn new(tls: &ListenerTls, protocols: &[&str]) -> Result<Self, String> {
        let versions: &[&SupportedProtocolVersion] = match tls.least {
            TlsVersion::V1_2 => &[&TLS13, &TLS12],
            TlsVersion::V1_3 => &[&TLS13],
        };
        let shown = Arc::new(Shown(ArcSwap::from_pointee(Certificates::new(&tls.certificates)?)));
        let mut config = ServerConfig::builder_with_provider(Arc::clone(provider()))
            .with_protocol_versions(versions)
            .map_err(|error| error.to_string())?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&shown) as _);
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        // Without a state of our own for each session; keys change by themselves every six hours.
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|error| error.to_string())?;
        // Clients open connections of one site side by side; each ticket costs a record and a signature's share.
        config.send_tls13_tickets = 1;
        Ok(Self { config: Arc::new(config), shown })
    }

    /// The same server with other certificates: sessions of this one can be taken up again there.
    ///
    /// # Errors
    /// As [`Server::new`].
    pub fn showing(&self, certificates: &[Arc<ServerCertificate>]) -> Result<Self, String> {
        let shown = Arc::new(Shown(ArcSwap::from_pointee(Certificates::new(certificates)?)));
        let mut config = (*self.config).clone();
        config.cert_resolver = Arc::clone(&shown) as _;
        Ok(Self { config: Arc::new(config), shown })
    }

    /// Whether these are what is shown now.
    pub fn shows(&self, certificates: &[Arc<ServerCertificate>]) -> bool {
        self.shown.0.load().all == certificates
    }

    /// What is shown now.
    pub fn certificates(&self) -> Vec<Arc<ServerCertificate>> {
        self.shown.0.load().all.clone()
    }

    /// Shows others from now on; connections that stand are not touched.
    ///
    /// # Errors
    /// As [`Server::new`]; then the old ones stay.
    pub fn replace(&self, certificates: &[Arc<ServerCertificate>]) -> Result<(), String> {
        self.shown.0.store(Arc::new(Certificates::new(certificates)?));
        Ok(())
    }

    /// Whether one of the certificates is for this name.
    pub fn knows(&self, name: &str) -> bool {
        self.shown.0.load().find(&name.to_ascii_lowercase()).is_some()
    }

    /// The handshake with a client. No deadline of its own.
    ///
    /// # Errors
    /// What rustls or the system said.
    pub async fn handshake(&self, stream: TcpStream) -> io::Result<TlsSocket> {
        let stream = TlsAcceptor::from(Arc::clone(&self.config)).accept(stream).await?;
        Ok(TlsSocket::new(TlsStream::Server(stream)))
    }
}

/// What is shown now. Writer: control, through [`Server::replace`].
#[derive(Debug)]
struct Shown(ArcSwap<Certificates>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let certificates = self.0.load();
        let named = hello.server_name().and_then(|name| certificates.find(&name.to_ascii_lowercase()));
        let candidates = named.unwrap_or(&certificates.first);
        let usable = candidates.iter().find(|one| one.key.choose_scheme(hello.signature_schemes()).is_some());
        usable.or(candidates.first()).cloned()
    }
}

type ByName = HashMap<Box<str>, Vec<Arc<CertifiedKey>>, FixedState>;

/// Certificates by the names that they are for. One name may have several, with keys of different kinds.
#[derive(Debug)]
struct Certificates {
    exact: ByName,
    /// `*.example.com` under `.example.com`.
    wildcard: ByName,
    /// For whoever asks for a name that none of them has, or for none.
    first: Vec<Arc<CertifiedKey>>,
    /// What they were made from.
    all: Vec<Arc<ServerCertificate>>,
}

impl Certificates {
    fn new(certificates: &[Arc<ServerCertificate>]) -> Result<Self, String> {
        let mut made = Self {
            exact: ByName::default(),
            wildcard: ByName::default(),
            first: Vec::new(),
            all: certificates.to_vec(),
        };
        for certificate in certificates {
            let key = certified(certificate)?;
            for name in &certificate.names {
                let (place, name) = match name {
                    HostPattern::Exact(name) => (&mut made.exact, name),
                    HostPattern::Suffix(name) => (&mut made.wildcard, name),
                };
                place.entry(name.as_ref().into()).or_default().push(Arc::clone(&key));
            }
            if made.first.is_empty() {
                made.first.push(key);
            }
        }
        Ok(made)
    }

    /// By the whole name, or by all of it but its first label (RFC 9525, section 6.3).
    fn find(&self, name: &str) -> Option<&Vec<Arc<CertifiedKey>>> {
        self.exact.get(name).or_else(|| self.wildcard.get(&name[name.find('.')?..]))
    }
}

fn certified(certificate: &ServerCertificate) -> Result<Arc<CertifiedKey>, String> {
    let file = certificate.file.display();
    let key = PrivateKeyDer::try_from(certificate.identity.key.to_vec()).map_err(|why| format!("{file}: {why}"))?;
    let chain = certificate.identity.chain.iter().map(|der| CertificateDer::from(der.to_vec())).collect();
    CertifiedKey::from_der(chain, key, provider()).map(Arc::new).map_err(|why| format!("{file}: {why}"))
}
