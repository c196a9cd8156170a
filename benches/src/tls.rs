//! TLS of the load: a certificate for the peers, and clients that cost as little as TLS allows.
//!
//! One suite and one group are offered, so that every peer agrees on the same: TLS 1.3, AES-128-GCM, X25519. The client
//! believes any certificate: proving it would double what a handshake costs here, and is no part of the peers' work.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, NamedGroup, SignatureScheme};

/// The name that the certificate is for.
pub const NAME: &str = "bench.example";

/// Sessions kept at once; one is used for each handshake, and servers give one or two.
const SESSIONS_MAX: usize = 4096;

/// Writes `tls.pem`, `tls.key` and `both.pem` (an ECDSA key on P-256) into this folder.
pub fn certificate(folder: &Path, name: &str) -> Result<Certificate, String> {
    let (cert, key, both) = (folder.join("tls.pem"), folder.join("tls.key"), folder.join("both.pem"));
    let output = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"])
        .args(["-subj", &format!("/CN={name}")])
        .args(["-addext", &format!("subjectAltName=DNS:{name},IP:127.0.0.1")])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output()
        .map_err(|error| format!("openssl: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let read = |path: &PathBuf| std::fs::read(path).map_err(|error| error.to_string());
    std::fs::write(&both, [read(&cert)?, read(&key)?].concat()).map_err(|error| error.to_string())?;
    Ok(Certificate { cert, key, both })
}

/// The certificate for the peers of `compare`, in this folder.
pub fn own_certificate(folder: &Path) -> Result<Certificate, String> {
    certificate(folder, NAME)
}

/// Files that hold a certificate and its key.
pub struct Certificate {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub both: PathBuf,
}

/// What a client offers by ALPN.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    Http1,
    Http2,
}

/// Whether earlier sessions are taken up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sessions {
    Fresh,
    Resumed,
}

/// What all connections of a load share.
pub fn client(alpn: Alpn, sessions: Sessions) -> Arc<ClientConfig> {
    let mut provider = ring::default_provider();
    provider.cipher_suites = vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256];
    provider.kx_groups = vec![ring::kx_group::X25519];
    let provider = Arc::new(provider);
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the suite is one of TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Believing(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![match alpn {
        Alpn::Http1 => b"http/1.1".to_vec(),
        Alpn::Http2 => b"h2".to_vec(),
    }];
    config.resumption = match sessions {
        Sessions::Fresh => Resumption::disabled(),
        Sessions::Resumed => Resumption::store(Arc::new(Kept::default())),
    };
    Arc::new(config)
}

/// A connection that has not begun.
pub fn connection(config: &Arc<ClientConfig>) -> ClientConnection {
    let name = ServerName::try_from(NAME).expect("it is a DNS name");
    ClientConnection::new(Arc::clone(config), name).expect("the configuration is whole")
}

// === impl Believing ===

#[derive(Debug)]
struct Believing(Arc<CryptoProvider>);

impl ServerCertVerifier for Believing {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

// === impl Kept ===

/// Sessions by nobody's name: there is one server. The library's own store keeps eight of a server, too few for many
/// handshakes at once.
#[derive(Debug, Default)]
struct Kept(Mutex<Vec<Tls13ClientSessionValue>>);

impl ClientSessionStore for Kept {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, session: Tls13ClientSessionValue) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < SESSIONS_MAX {
            kept.push(session);
        }
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}
