//! A certificate and a key that belong together, whoever shows them: listeners, pools and checks.

use std::sync::OnceLock;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

use crate::config::model::Identity;
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

fn certified(identity: &Identity) -> Result<(), Error> {
    static PROVIDER: OnceLock<CryptoProvider> = OnceLock::new();
    let provider = PROVIDER.get_or_init(rustls::crypto::aws_lc_rs::default_provider);
    let key = PrivateKeyDer::try_from(identity.key.to_vec()).map_err(|why| Error::General(why.to_owned()))?;
    let chain = identity.chain.iter().map(|der| CertificateDer::from(der.to_vec())).collect();
    CertifiedKey::from_der(chain, key, provider).map(|_fits| ())
}
