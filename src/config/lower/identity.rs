//! What must fit together before it is used: a certificate and its key, whoever shows them (listeners, pools and checks),
//! and the authorities and lists by which clients are judged.

use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};

use crate::config::model::{ClientTrust, Identity};
use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::config::tree::Node;

/// A file, and where the configuration names it.
pub(super) type Named<'a> = (&'a Node, &'a str);

/// Reports a key that is another certificate's, or that cannot be used at all; `None` then.
pub(super) fn belong_together(
    tls: &Section<'_>,
    (cert_node, cert): Named<'_>,
    (key_node, key): Named<'_>,
    identity: &Identity,
) -> Option<()> {
    let problem = match certified(identity) {
        Ok(()) => return Some(()),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            let message = format!("`{key}` is not the key of the certificate in `{cert}`");
            Problem::error("key", key_node.at, message).label("another certificate's").help(
                "compare `openssl pkey -pubout -in` of the key with `openssl x509 -noout -pubkey -in` of the certificate",
            )
        }
        Err(why) => {
            let message = format!("`{key}` cannot be used with the certificate in `{cert}`: {why}");
            Problem::error("key", key_node.at, message)
                .label("cannot be used")
                .help("RSA of 2048 bits and more, ECDSA over P-256 to P-521, and Ed25519 can be used")
        }
    };
    let is_one_file = std::ptr::eq(cert_node, key_node);
    tls.cx.report(if is_one_file { problem } else { problem.second(cert_node.at, "the certificate") });
    None
}

/// Whether these authorities and lists can be used to judge clients, as the listener will.
pub(super) fn can_judge(trust: &ClientTrust) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for root in &trust.roots {
        roots.add(CertificateDer::from(root.to_vec())).map_err(|why| why.to_string())?;
    }
    let lists = trust.revoked.iter().map(|list| CertificateRevocationListDer::from(list.to_vec()));
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider()));
    builder.with_crls(lists).build().map(|_judge| ()).map_err(|why| why.to_string())
}

fn certified(identity: &Identity) -> Result<(), Error> {
    let key = PrivateKeyDer::try_from(identity.key.to_vec()).map_err(|why| Error::General(why.to_owned()))?;
    let chain = identity.chain.iter().map(|der| CertificateDer::from(der.to_vec())).collect();
    CertifiedKey::from_der(chain, key, provider()).map(|_fits| ())
}

fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}
