//! TLS for servers that hold a handshake broken off against whoever broke it off: the handshake is finished whatever the
//! certificate proves, and only then it is judged.
//!
//! Called by the `mysql` probe: a `MySQL` server counts broken handshakes and then refuses the balancer's address,
//! traffic included. Whoever uses this must look at the judgement before anything confidential is sent. That the other
//! side has the key of the certificate that it shows is proved within the handshake, as always.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::tls::{Resume, TlsStream, config_with, provider, server_name, verifier};
use crate::config::model::Verify;

/// How to talk TLS to one name, and what its certificate must prove.
#[derive(Debug, Clone)]
pub struct LateJudge {
    config: Arc<ClientConfig>,
    verifier: Arc<dyn ServerCertVerifier>,
    name: ServerName<'static>,
}

impl LateJudge {
    /// A client that asks for `name` (a host name or an IP address) and trusts by `verify`.
    ///
    /// # Errors
    /// A sentence: the name is none, or there are no roots to trust.
    pub fn new(name: &str, verify: &Verify) -> Result<Self, String> {
        let name = server_name(name)?;
        let verifier = verifier(verify, provider())?;
        let config = config_with(Arc::new(AnyCertificate(Arc::clone(&verifier))), Resume::Never)?;
        Ok(Self { config, verifier, name })
    }

    /// The handshake over a connection that stands. No deadline of its own.
    ///
    /// # Errors
    /// What rustls or the system said: there is no common version, or the other side broke off.
    pub async fn handshake(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsConnector::from(Arc::clone(&self.config)).connect(self.name.clone(), stream).await
    }

    /// Whether the certificate that was shown proves what it must.
    ///
    /// # Errors
    /// What a handshake that had looked at once would have failed with.
    pub fn judge(&self, stream: &TlsStream<TcpStream>) -> io::Result<()> {
        let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let Some((own, issuers)) = shown.split_first() else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no certificate was shown"));
        };
        match self.verifier.verify_server_cert(own, issuers, &self.name, &[], UnixTime::now()) {
            Ok(_) => Ok(()),
            Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }
}

/// Any certificate for now; the handshake's signature counts as the verifier says.
#[derive(Debug)]
struct AnyCertificate(Arc<dyn ServerCertVerifier>);

impl ServerCertVerifier for AnyCertificate {
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
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
