//! TLS: what is asked of a backend and shown to it, and the handshake; what clients are shown is in `server`.
//!
//! Called by traffic and by probes. The cryptography (aws-lc-rs) is passed explicitly, so that no global default can change it and
//! nothing depends on who comes first. Which backends are trusted is decided in `trust`, which clients in `judge`; why
//! there is no TLS, in `refusal`.

mod dialect;
mod facts;
mod judge;
mod refusal;
mod server;
mod socket;
mod tickets;
mod trust;
mod turns;

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::TlsConnector;
pub use tokio_rustls::client::TlsStream;

pub use self::facts::{ClientCertificate, Facts};
pub use self::judge::{ClientFault, client_fault};
pub use self::refusal::{Refusal, refusal};
pub use self::server::{Accepted, Replaced, Server};
pub use self::socket::TlsSocket;
use self::trust::{Judged, Witness};
use crate::config::certificate::Certificate;
use crate::config::model::{Dialect, Identity, TlsVersion, Verify};
use crate::net::transport::Transport;

/// Most certificates of a chain that are read; webpki follows no longer ones either.
const MAX_CHAIN: usize = 8;

/// Whether a session may be taken up again without showing the certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// Yes: cheaper.
    Allowed,
    /// No: every handshake proves the certificate anew, as a probe wants it.
    Never,
}

/// What is asked of a backend, and what it is shown.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// What its certificate must prove.
    pub verify: &'a Verify,
    /// Whether sessions are taken up again.
    pub resume: Resume,
    /// Which TLS is spoken.
    pub dialect: &'a Dialect,
    /// The certificate that we show.
    pub identity: Option<&'a Identity>,
    /// Protocols that we would speak inside (ALPN), the best one first; none: it is not asked.
    pub protocols: &'a [Arc<str>],
}

impl<'a> Terms<'a> {
    /// Trust by `verify`, and nothing else that is special.
    pub fn new(verify: &'a Verify, resume: Resume) -> Self {
        const ALL: &Dialect =
            &Dialect { least: TlsVersion::V1_2, most: TlsVersion::V1_3, ciphers: Vec::new(), groups: Vec::new() };
        Self { verify, resume, dialect: ALL, identity: None, protocols: &[] }
    }
}

/// How to talk TLS to one name.
#[derive(Debug, Clone)]
pub struct Client {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    verifier: Arc<dyn rustls::client::danger::ServerCertVerifier>,
}

/// A handshake and what came to light in it, whether it failed or not.
#[derive(Debug)]
pub struct Handshake {
    /// The stream, or what rustls or the system said; [`refusal`] sorts it.
    pub result: io::Result<TlsStream<Transport>>,
    /// The certificates that the backend showed, its own first; none, where it did not come to that.
    pub chain: Vec<Certificate>,
    /// Why the backend is not trusted, where the handshake was finished all the same.
    pub distrust: Option<io::Error>,
}

/// What both sides agreed upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    /// `TLSv1.3`.
    pub version: &'static str,
    /// `TLS13_AES_256_GCM_SHA384`.
    pub cipher: &'static str,
    /// The protocol spoken inside, where it was asked (ALPN).
    pub protocol: Option<String>,
}

impl Client {
    /// A client that asks for `name` (a host name or an IP address) and trusts by `verify`.
    ///
    /// # Errors
    /// A sentence: the name is none, or there are no roots to trust.
    pub fn new(name: &str, verify: &Verify, resume: Resume) -> Result<Self, String> {
        Self::on(name, &Terms::new(verify, resume))
    }

    /// A client that asks for `name` on these terms.
    ///
    /// # Errors
    /// A sentence: the name is none, there are no roots to trust, or our certificate and key do not fit.
    pub fn on(name: &str, terms: &Terms<'_>) -> Result<Self, String> {
        let name = server_name(name)?;
        let provider = provider();
        let verifier = trust::verifier(terms.verify, provider)?;
        let builder = ClientConfig::builder_with_provider(dialect::provider_of(terms.dialect))
            .with_protocol_versions(&dialect::versions(terms.dialect))
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier));
        let mut config = match terms.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = identity.chain.iter().map(|one| CertificateDer::from(one.to_vec())).collect();
                let key = PrivateKeyDer::try_from(identity.key.to_vec())
                    .map_err(|why| format!("the check's own key cannot be used: {why}"))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|why| format!("the check's own certificate and key cannot be used: {why}"))?
            }
        };
        config.alpn_protocols = terms.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        if terms.resume == Resume::Never {
            config.resumption = Resumption::disabled();
        }
        Ok(Self { config: Arc::new(config), name, verifier })
    }

    /// The handshake over a connection that stands. No deadline of its own.
    ///
    /// # Errors
    /// What rustls or the system said.
    pub async fn handshake(&self, stream: Transport) -> io::Result<TlsStream<Transport>> {
        TlsConnector::from(Arc::clone(&self.config)).connect(self.name.clone(), stream).await
    }

    /// The handshake for traffic. No deadline of its own.
    ///
    /// # Errors
    /// What rustls or the system said.
    pub async fn connect(&self, stream: Transport) -> io::Result<TlsSocket> {
        Ok(TlsSocket::new(tokio_rustls::TlsStream::Client(self.handshake(stream).await?), None))
    }

    /// The same client for another name.
    ///
    /// # Errors
    /// A sentence: the name is none.
    pub fn named(&self, name: &str) -> Result<Self, String> {
        Ok(Self { name: server_name(name)?, config: Arc::clone(&self.config), verifier: Arc::clone(&self.verifier) })
    }

    /// The same, and what the backend showed: for whoever wants to know why. No deadline of its own.
    pub async fn watched_handshake(&self, stream: Transport) -> Handshake {
        self.witnessed(stream, Judged::AtOnce).await
    }

    /// The same, finished whatever the certificate proves: for servers that hold a handshake broken off against whoever
    /// broke it off. Look at [`Handshake::distrust`] before anything confidential is sent. That the other side has the
    /// key of the certificate that it shows is proved within the handshake, as always.
    pub async fn finished_handshake(&self, stream: Transport) -> Handshake {
        self.witnessed(stream, Judged::AtTheEnd).await
    }

    async fn witnessed(&self, stream: Transport, judged: Judged) -> Handshake {
        let witness = Arc::new(Witness::new(Arc::clone(&self.verifier), judged));
        let mut config = (*self.config).clone();
        config.dangerous().set_certificate_verifier(Arc::clone(&witness) as _);
        let result = TlsConnector::from(Arc::new(config)).connect(self.name.clone(), stream).await;
        let seen = witness.seen();
        let chain = seen.chain.iter().take(MAX_CHAIN).filter_map(|der| Certificate::parse(der)).collect();
        let distrust = seen.distrust.map(|error| io::Error::new(io::ErrorKind::InvalidData, error));
        Handshake { result, chain, distrust }
    }
}

impl Agreement {
    /// What stands for this stream.
    pub fn of<S>(stream: &TlsStream<S>) -> Self {
        let (_, connection) = stream.get_ref();
        let unnamed = "unnamed";
        Self {
            version: match connection.protocol_version() {
                Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
                Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
                _ => unnamed,
            },
            cipher: connection.negotiated_cipher_suite().and_then(|one| one.suite().as_str()).unwrap_or(unnamed),
            protocol: connection.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
        }
    }
}

fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}

fn server_name(name: &str) -> Result<ServerName<'static>, String> {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(ServerName::IpAddress(address.into()));
    }
    ServerName::try_from(name.to_owned()).map_err(|error| format!("`{name}` is no server name: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_told_apart() {
        for name in ["example.com", "127.0.0.1", "::1", "[::1]"] {
            assert!(Client::new(name, &Verify::Nothing, Resume::Never).is_ok(), "{name}");
        }
        for name in ["", "two words", "a..b"] {
            assert!(Client::new(name, &Verify::Nothing, Resume::Never).is_err(), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_in_a_sentence() {
        let verify = Verify::Roots(vec![Arc::from(b"nonsense".as_slice())]);
        let problem = Client::new("a.example.com", &verify, Resume::Never).unwrap_err();
        assert!(problem.starts_with("a root is no certificate"), "{problem}");

        let [one, other] = [(); 2].map(|()| rcgen::generate_simple_self_signed(["us".to_owned()]).unwrap());
        let chain = vec![Arc::from(one.cert.der().as_ref())];
        for key in [other.signing_key.serialize_der(), b"nonsense".to_vec()] {
            let identity = Identity { chain: chain.clone(), key: key.into() };
            let terms = Terms { identity: Some(&identity), ..Terms::new(&Verify::Nothing, Resume::Never) };
            let problem = Client::on("a.example.com", &terms).unwrap_err();
            assert!(problem.contains("cannot be used"), "{problem}");
        }
        let identity = Identity { chain, key: one.signing_key.serialize_der().into() };
        let terms = Terms { identity: Some(&identity), ..Terms::new(&Verify::Nothing, Resume::Never) };
        assert!(Client::on("a.example.com", &terms).is_ok());
    }
}
