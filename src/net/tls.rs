//! The client side of TLS: what a certificate must prove, and the handshake.
//!
//! Called by probes. The cryptography (aws-lc-rs) is passed explicitly, so that no global default can change it and
//! nothing depends on who comes first. Roots of the system are read once, when first needed.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
pub use tokio_rustls::client::TlsStream;

use crate::config::model::Verify;

/// Whether a session may be taken up again without showing the certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// Yes: cheaper.
    Allowed,
    /// No: every handshake proves the certificate anew, as a probe wants it.
    Never,
}

/// How to talk TLS to one name.
#[derive(Debug, Clone)]
pub struct Client {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Client {
    /// A client that asks for `name` (a host name or an IP address) and trusts by `verify`.
    ///
    /// # Errors
    /// A sentence: the name is none, or there are no roots to trust.
    pub fn new(name: &str, verify: &Verify, resume: Resume) -> Result<Self, String> {
        let name = server_name(name)?;
        Ok(Self { config: client_config(verify, resume)?, name })
    }

    /// The handshake over a connection that stands. No deadline of its own.
    ///
    /// # Errors
    /// What rustls or the system said.
    pub async fn handshake(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsConnector::from(Arc::clone(&self.config)).connect(self.name.clone(), stream).await
    }
}

/// A configuration that trusts by `verify`.
///
/// # Errors
/// A sentence that says why there are no roots to trust.
pub fn client_config(verify: &Verify, resume: Resume) -> Result<Arc<ClientConfig>, String> {
    config_with(verifier(verify, provider())?, resume)
}

/// A configuration that trusts whom `verifier` does.
pub(super) fn config_with(verifier: Arc<dyn ServerCertVerifier>, resume: Resume) -> Result<Arc<ClientConfig>, String> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    if resume == Resume::Never {
        config.resumption = Resumption::disabled();
    }
    Ok(Arc::new(config))
}

pub(super) fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}

/// Who judges certificates by `verify`.
pub(super) fn verifier(verify: &Verify, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, String> {
    match verify {
        Verify::Nothing => Ok(Arc::new(TrustAnyone(Arc::clone(provider)))),
        Verify::System => by_roots(system_roots()?, Arc::clone(provider)),
        Verify::Roots(roots) => by_roots(own_roots(roots)?, Arc::clone(provider)),
    }
}

pub(super) fn server_name(name: &str) -> Result<ServerName<'static>, String> {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(ServerName::IpAddress(address.into()));
    }
    ServerName::try_from(name.to_owned()).map_err(|error| format!("`{name}` is no server name: {error}"))
}

fn by_roots(roots: Arc<RootCertStore>, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, String> {
    match WebPkiServerVerifier::builder_with_provider(roots, provider).build() {
        Ok(verifier) => Ok(verifier),
        Err(error) => Err(error.to_string()),
    }
}

fn own_roots(roots: &[Arc<[u8]>]) -> Result<Arc<RootCertStore>, String> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(CertificateDer::from(root.to_vec())).map_err(|error| format!("a root is no certificate: {error}"))?;
    }
    Ok(Arc::new(store))
}

fn system_roots() -> Result<Arc<RootCertStore>, String> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let store = ROOTS.get_or_init(|| {
        let mut store = RootCertStore::empty();
        // A folder of roots often holds one that webpki refuses; the others count all the same.
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(store)
    });
    if store.is_empty() {
        return Err("this system has no trusted roots; install ca-certificates, or name a `ca` file".to_owned());
    }
    Ok(Arc::clone(store))
}

/// `verify = false`: any certificate, even an expired or malformed one, as operators expect of it.
#[derive(Debug)]
struct TrustAnyone(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
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
    fn a_root_that_is_no_certificate_is_refused_in_a_sentence() {
        let verify = Verify::Roots(vec![Arc::from(b"nonsense".as_slice())]);
        let problem = client_config(&verify, Resume::Never).unwrap_err();
        assert!(problem.starts_with("a root is no certificate"), "{problem}");
    }
}
