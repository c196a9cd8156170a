//! Which certificates of clients are trusted, and what is wrong with those that are not.
//!
//! Every certificate of a chain must be on no list of revoked ones; where lists are given, somebody without one is not
//! trusted, since nobody can say that he still counts.

use std::io;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, Error, HandshakeKind, RootCertStore, ServerConnection};

use super::provider;
use crate::config::model::{ClientTrust, Demand};

/// Who judges the certificates of clients.
pub(super) type Judge = Arc<dyn ClientCertVerifier>;

/// # Errors
/// A sentence: an authority or a list cannot be used, which loading the configuration finds out as well.
pub(super) fn judge(trust: &ClientTrust) -> Result<Judge, String> {
    let mut roots = RootCertStore::empty();
    for root in &trust.roots {
        roots.add(CertificateDer::from(root.to_vec())).map_err(|why| why.to_string())?;
    }
    let lists = trust.revoked.iter().map(|list| CertificateRevocationListDer::from(list.to_vec()));
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider())).with_crls(lists);
    let builder = match trust.demand {
        Demand::Required => builder,
        Demand::Optional => builder.allow_unauthenticated(),
    };
    builder.build().map_err(|why| why.to_string())
}

/// Judges the client of a session that was taken up again, as the handshake has judged all others: since it was begun,
/// the certificate may have ended or been revoked, and it may have begun at a listener that trusts others.
///
/// # Errors
/// What is wrong with the certificate.
pub(super) fn judge_again(judge: &Judge, session: &ServerConnection) -> Result<(), Error> {
    if session.handshake_kind() != Some(HandshakeKind::Resumed) {
        return Ok(());
    }
    match session.peer_certificates() {
        Some([own, between @ ..]) => judge.verify_client_cert(own, between, UnixTime::now()).map(|_trusted| ()),
        _ if judge.client_auth_mandatory() => Err(Error::NoCertificatesPresented),
        _ => Ok(()),
    }
}

/// What is wrong with the certificate of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientFault {
    /// It has none.
    None,
    /// Nobody in `ca` has signed it.
    UnknownIssuer,
    /// It has been revoked.
    Revoked,
    /// It has ended.
    Expired,
    /// Anything else.
    Other,
}

/// What is wrong with the certificate of a client; `None` where a handshake has failed by something else.
pub fn client_fault(error: &io::Error) -> Option<ClientFault> {
    match error.get_ref()?.downcast_ref::<Error>()? {
        Error::NoCertificatesPresented => Some(ClientFault::None),
        Error::InvalidCertificate(why) => Some(match why {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => ClientFault::UnknownIssuer,
            CertificateError::Revoked => ClientFault::Revoked,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => ClientFault::Expired,
            _ => ClientFault::Other,
        }),
        _ => None,
    }
}
