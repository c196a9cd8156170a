//! What a certificate must prove, and a witness of what was shown.
//!
//! Roots of the system are read once, when first needed.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::config::certificate::Certificate;
use crate::config::model::Verify;

type Verdict = Result<ServerCertVerified, Error>;
type SignatureVerdict = Result<HandshakeSignatureValid, Error>;

/// Who says whether a certificate is trusted.
///
/// # Errors
/// A sentence that says why there are no roots to trust.
pub(super) fn verifier(verify: &Verify, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, String> {
    match verify {
        Verify::Nothing => Ok(Arc::new(TrustAnyone(Arc::clone(provider)))),
        Verify::System => Ok(by_roots(system_roots()?, provider)?),
        Verify::Roots(roots) => {
            let known = roots.iter().map(|root| CertificateDer::from(root.to_vec())).collect();
            Ok(Arc::new(TrustRoots { roots: by_roots(own_roots(roots)?, provider)?, known }))
        }
    }
}

fn by_roots(roots: Arc<RootCertStore>, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, String> {
    WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider)).build().map_err(|error| error.to_string())
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

/// Signatures are judged by the verifier in this field: none of ours has anything to add there.
macro_rules! signatures_are_left_to {
    ($other:ident) => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> SignatureVerdict {
            self.$other.verify_tls12_signature(message, cert, dss)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> SignatureVerdict {
            self.$other.verify_tls13_signature(message, cert, dss)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.$other.supported_verify_schemes()
        }
    };
}

// === impl TrustRoots ===

/// `ca = "file"`: what is signed by one of these, or is one of these.
///
/// A backend's own self-signed certificate, as `openssl req -x509` makes it, calls itself an authority, and webpki lets
/// no authority serve. Whoever names exactly that certificate trusts exactly that certificate: then its name and its
/// dates are left to be proved.
#[derive(Debug)]
struct TrustRoots {
    roots: Arc<WebPkiServerVerifier>,
    known: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for TrustRoots {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Verdict {
        if self.known.iter().any(|known| known == end_entity) {
            return itself(end_entity, server_name, now);
        }
        self.roots.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    signatures_are_left_to!(roots);
}

fn itself(certificate: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> Verdict {
    let dates = Certificate::parse(certificate).ok_or(CertificateError::BadEncoding)?;
    let second = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if second > dates.not_after {
        return Err(CertificateError::Expired.into());
    }
    if second < dates.not_before {
        return Err(CertificateError::NotValidYet.into());
    }
    verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
    Ok(ServerCertVerified::assertion())
}

// === impl TrustAnyone ===

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
    ) -> Verdict {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> SignatureVerdict {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> SignatureVerdict {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

// === impl Witness ===

/// Decides as another does, and keeps the chain that was shown: rustls forgets it where the handshake fails.
#[derive(Debug)]
pub(super) struct Witness {
    judge: Arc<dyn ServerCertVerifier>,
    judged: Judged,
    seen: Mutex<Seen>,
}

/// When a certificate that is not trusted counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judged {
    /// When it is shown: the handshake breaks off.
    AtOnce,
    /// When the handshake has ended.
    AtTheEnd,
}

/// What a witness has seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The backend's certificate first.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// Why it is not trusted, where that did not break the handshake off.
    pub(super) distrust: Option<Error>,
}

impl Witness {
    pub(super) fn new(judge: Arc<dyn ServerCertVerifier>, judged: Judged) -> Self {
        Self { judge, judged, seen: Mutex::default() }
    }

    pub(super) fn seen(&self) -> Seen {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Verdict {
        let chain = std::iter::once(end_entity).chain(intermediates);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.chain = chain.map(|certificate| certificate.clone().into_owned()).collect();
        match self.judge.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(error) if self.judged == Judged::AtTheEnd => {
                seen.distrust = Some(error);
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    signatures_are_left_to!(judge);
}
