//! The server side of TLS: which certificate a client is shown, which it must show, and the handshake with it.
//!
//! All that was read from files can be replaced while connections stand: new handshakes go by the new.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use foldhash::fast::FixedState;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use tokio_rustls::{TlsAcceptor, TlsStream};

use super::facts::ClientCertificate;
use super::judge::{Judge, judge, judge_again};
use super::turns::by_turns;
use super::{TlsSocket, dialect, provider, tickets};
use crate::config::model::{ClientTrust, HostPattern, ListenerTls, ServerCertificate, Tickets};
use crate::net::transport::Transport;

/// How a listener agrees on TLS with its clients.
#[derive(Debug)]
pub struct Server {
    /// Writer: control, through [`Server::replace`].
    now: ArcSwap<Made>,
}

/// What handshakes go by.
#[derive(Debug)]
struct Made {
    config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
    judge: Option<Judge>,
    /// What it was made from.
    tls: ListenerTls,
}

impl Server {
    /// A server that shows these certificates and, inside TLS, speaks one of these protocols (ALPN); none: whatever.
    ///
    /// # Errors
    /// A sentence: a file cannot be used, which loading the configuration finds out as well.
    pub fn new(tls: &ListenerTls, protocols: &[&str]) -> Result<Self, String> {
        let protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Self { now: ArcSwap::from_pointee(Made::new(tls, protocols, None)?) })
    }

    /// The same server by other options: sessions of this one can be taken up again there, as far as they are still good.
    ///
    /// # Errors
    /// As [`Server::new`].
    pub fn successor(&self, tls: &ListenerTls) -> Result<Self, String> {
        Ok(Self { now: ArcSwap::from_pointee(self.now.load().successor(tls)?) })
    }

    /// Whether it goes by exactly these options and by what these files held.
    pub fn is_by(&self, tls: &ListenerTls) -> bool {
        self.now.load().tls == *tls
    }

    /// The certificates that are shown now.
    pub fn certificates(&self) -> Vec<Arc<ServerCertificate>> {
        self.now.load().tls.certificates.clone()
    }

    /// Goes by what the files hold that `tls` was read from, and by its own options as before; whether that is anything
    /// new. Connections that stand are not touched.
    ///
    /// # Errors
    /// As [`Server::new`]; then everything stays.
    pub fn replace(&self, tls: &ListenerTls) -> Result<Replaced, String> {
        let now = self.now.load();
        let renewed = now.tls.renewed(tls);
        if renewed == now.tls {
            return Ok(Replaced::Nothing);
        }
        self.now.store(Arc::new(now.successor(&renewed)?));
        Ok(Replaced::Files)
    }

    /// Whether one of the certificates is for this name.
    pub fn knows(&self, name: &str) -> bool {
        self.now.load().certificates.find(&name.to_ascii_lowercase()).is_some()
    }

    /// The handshake with a client, in its turn. No deadline of its own.
    ///
    /// # Errors
    /// What rustls or the system said; [`super::client_fault`] knows what is wrong with a client's certificate.
    pub async fn handshake(&self, stream: Transport) -> io::Result<TlsSocket> {
        let made = self.now.load_full();
        let stream = by_turns(TlsAcceptor::from(Arc::clone(&made.config)).accept(stream)).await?;
        let client = made.judged(&stream)?;
        Ok(TlsSocket::new(TlsStream::Server(stream), client))
    }

    /// The same for a thread that is no worker's, at once, with what its certificate was judged by.
    ///
    /// # Errors
    /// As [`Server::handshake`].
    pub async fn accept(&self, stream: Transport) -> io::Result<Accepted> {
        let made = self.now.load_full();
        let stream = TlsAcceptor::from(Arc::clone(&made.config)).accept(stream).await?;
        let client = made.judged(&stream)?;
        Ok(Accepted { stream, client, trust: made.tls.clients.clone() })
    }

    /// By whom clients are judged now.
    pub fn trust(&self) -> Option<ClientTrust> {
        self.now.load().tls.clients.clone()
    }
}

/// A client that has come in.
#[derive(Debug)]
pub struct Accepted {
    /// The connection.
    pub stream: tokio_rustls::server::TlsStream<Transport>,
    /// The certificate that it has shown, and that is trusted.
    pub client: Option<Arc<ClientCertificate>>,
    /// By whom it was judged.
    pub trust: Option<ClientTrust>,
}

/// What [`Server::replace`] has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    /// The files hold what they held.
    Nothing,
    /// What they hold now counts.
    Files,
}

impl Made {
    /// The certificate of a client, judged once more where a session was taken up again.
    fn judged(&self, stream: &tokio_rustls::server::TlsStream<Transport>) -> io::Result<Option<Arc<ClientCertificate>>> {
        let Some(judge) = &self.judge else { return Ok(None) };
        let session = stream.get_ref().1;
        judge_again(judge, session).map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?;
        Ok(session.peer_certificates().and_then(|chain| ClientCertificate::of(chain.first()?)))
    }

    fn successor(&self, tls: &ListenerTls) -> Result<Self, String> {
        // Whoever has been judged by others must be judged anew.
        let is_same = self.tls.clients == tls.clients && self.tls.tickets == tls.tickets;
        Self::new(tls, self.config.alpn_protocols.clone(), is_same.then_some(&*self.config))
    }

    /// Sessions are taken up again that `sessions` has begun.
    fn new(tls: &ListenerTls, protocols: Vec<Vec<u8>>, sessions: Option<&ServerConfig>) -> Result<Self, String> {
        let certificates = Arc::new(Certificates::new(&tls.certificates)?);
        let judge = tls.clients.as_ref().map(judge).transpose()?;
        let mut config = ServerConfig::builder_with_provider(dialect::provider_of(&tls.dialect))
            .with_protocol_versions(&dialect::versions(&tls.dialect))
            .map_err(|error| error.to_string())?
            .with_client_cert_verifier(judge.clone().unwrap_or_else(WebPkiClientVerifier::no_client_auth))
            .with_cert_resolver(Arc::clone(&certificates) as _);
        config.alpn_protocols = protocols;
        // Clients open connections of one site side by side; each ticket costs a record and a signature's share.
        config.send_tls13_tickets = 1;
        match (sessions, &tls.tickets) {
            (_, Tickets::Off) => {
                config.session_storage = Arc::new(NoServerSessionStorage {});
                config.send_tls13_tickets = 0;
            }
            (Some(before), _) => {
                config.ticketer = Arc::clone(&before.ticketer);
                config.session_storage = Arc::clone(&before.session_storage);
            }
            (None, Tickets::Keys(keys)) => config.ticketer = tickets::by_keys(keys)?,
            // Keys change by themselves every six hours.
            (None, Tickets::Own) => {
                config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|error| error.to_string())?;
            }
        }
        Ok(Self { config: Arc::new(config), certificates, judge, tls: tls.clone() })
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.find(&name.to_ascii_lowercase()));
        let candidates = named.unwrap_or(&self.first);
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
}

impl Certificates {
    fn new(certificates: &[Arc<ServerCertificate>]) -> Result<Self, String> {
        let mut made = Self { exact: ByName::default(), wildcard: ByName::default(), first: Vec::new() };
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
    let mut certified = CertifiedKey::from_der(chain, key, provider()).map_err(|why| format!("{file}: {why}"))?;
    certified.ocsp = certificate.staple.as_ref().map(|staple| staple.answer.to_vec());
    Ok(Arc::new(certified))
}
