//! Certificates and keys in PEM files, as DER.

use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// All certificates of a file; `None` when there is none, or one that cannot be read.
pub fn certificates(content: &[u8]) -> Option<Vec<Arc<[u8]>>> {
    let read: Result<Vec<CertificateDer<'_>>, _> = CertificateDer::pem_slice_iter(content).collect();
    // Every certificate is an ASN.1 sequence.
    let whole = read.ok().filter(|all| !all.is_empty() && all.iter().all(|one| one.first() == Some(&0x30)))?;
    Some(whole.iter().map(|der| Arc::from(der.as_ref())).collect())
}

/// The private key of a file (PKCS#8, PKCS#1 or SEC1).
pub fn key(content: &[u8]) -> Option<Arc<[u8]>> {
    PrivateKeyDer::from_pem_slice(content).ok().map(|key| key.secret_der().into())
}
