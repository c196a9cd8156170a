//! What was agreed on with the other side of a connection, for whoever decides by it, passes it on or logs it.
//!
//! Read from the session when it is asked for; only what costs something to find out, the client's certificate, is found
//! out once and kept with the connection.

use std::fmt::Write as _;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use rustls::{CipherSuite, CommonState, ProtocolVersion};
use tokio_rustls::TlsStream;

use crate::config::holder::Holder;
use crate::log::format::TlsFact;
use crate::net::transport::Transport;

/// What was agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts<'a> {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// By its name at IANA: `TLS_AES_256_GCM_SHA384`.
    pub cipher: &'static str,
    /// What is spoken inside (ALPN).
    pub protocol: Option<&'a [u8]>,
    /// The name that a client has asked for (SNI), in lower case; none on connections to backends.
    pub server_name: Option<&'a str>,
    /// The certificate that a client has shown, and that is trusted.
    pub client: Option<&'a ClientCertificate>,
}

/// The certificate that a client has shown, and that is trusted.
#[derive(Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Whose it is.
    pub holder: Holder,
    /// SHA-256 of the certificate, 64 hexadecimal digits.
    pub fingerprint: Box<str>,
}

impl ClientCertificate {
    /// Of a certificate that has been judged; `None` where it cannot be read, which the judge has excluded.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Arc<Self>> {
        let mut fingerprint = String::with_capacity(64);
        for byte in digest(&SHA256, certificate).as_ref() {
            // Writing to a string cannot fail.
            let _ = write!(fingerprint, "{byte:02x}");
        }
        Some(Arc::new(Self { holder: Holder::of(certificate)?, fingerprint: fingerprint.into() }))
    }
}

impl<'a> Facts<'a> {
    pub(super) fn of(stream: &'a TlsStream<Transport>, client: Option<&'a ClientCertificate>) -> Self {
        let (session, server_name): (&CommonState, _) = match stream {
            TlsStream::Client(stream) => (stream.get_ref().1, None),
            TlsStream::Server(stream) => (stream.get_ref().1, stream.get_ref().1.server_name()),
        };
        Self {
            version: match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                _ => "-",
            },
            cipher: session.negotiated_cipher_suite().map_or("-", |cipher| registered(cipher.suite())),
            protocol: session.alpn_protocol(),
            server_name,
            client,
        }
    }
}

impl<'a> Facts<'a> {
    /// One of them, as it is logged and told; empty where there is nothing to say.
    pub fn fact(self, which: TlsFact) -> &'a str {
        let told = match which {
            TlsFact::Version => Some(self.version),
            TlsFact::Cipher => Some(self.cipher),
            TlsFact::ServerName => self.server_name,
            TlsFact::ClientSubject => self.client.and_then(|client| client.holder.subject.as_deref()),
        };
        told.unwrap_or_default()
    }
}

/// rustls has names of its own for those of TLS 1.3.
fn registered(cipher: CipherSuite) -> &'static str {
    match cipher {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or("-"),
    }
}
