//! What sections about TLS share: who is trusted, what is shown, and the PEM files that they name.
//!
//! Used by checks, by pools that speak TLS to their backends, and by listeners.

use std::sync::Arc;

use super::identity::belong_together;
use crate::config::address;
use crate::config::model::{HostPattern, Identity, Verify};
use crate::config::pem;
use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::config::substitute;
use crate::config::tree::Node;
use crate::config::units::Fault;

pub(super) fn verify(tls: &Section<'_>) -> Option<Verify> {
    match (tls.entry("ca"), tls.boolean("verify").unwrap_or(true)) {
        (Some(ca), false) => {
            tls.cx.report(
                Problem::error("conflict", ca.key_at, "`ca` without verification proves nothing")
                    .label("never looked at")
                    .second(tls.entry("verify")?.node.at, "verification is off")
                    .help("take verify = false out, or the `ca`"),
            );
            None
        }
        (Some(_), true) => certificates(tls, "ca").map(Verify::Roots),
        (None, _) if tls.has("ca") => None,
        (None, true) => Some(Verify::System),
        (None, false) => Some(Verify::Nothing),
    }
}

/// `Some(None)`: we show no certificate.
#[expect(clippy::option_option, reason = "the outer one says whether it could be read, as everywhere here")]
pub(super) fn identity(tls: &Section<'_>) -> Option<Option<Identity>> {
    let lonely = |there: &str, missing: &str| {
        if let Some(entry) = tls.entry(there) {
            tls.cx.report(
                Problem::error("missing", entry.key_at, format!("`{there}` without `{missing}`"))
                    .label("one half of a pair")
                    .help(format!("write {missing} = \"file.pem\" beside it; both may stand in the same file")),
            );
        }
        None
    };
    match (tls.has("cert"), tls.has("key")) {
        (false, false) => Some(None),
        (true, false) => lonely("cert", "key"),
        (false, true) => lonely("key", "cert"),
        (true, true) => {
            let (chain, key) = (certificates(tls, "cert"), key(tls));
            let identity = Identity { chain: chain?, key: key? };
            let named = |key: &str| Some((&tls.entry(key)?.node, tls.text(key)?));
            belong_together(tls, named("cert")?, named("key")?, &identity)?;
            Some(Some(identity))
        }
    }
}

pub(super) fn server_name(text: &str) -> Result<Arc<str>, Fault> {
    match address::host_pattern(text) {
        Ok(HostPattern::Exact(name)) => Ok(name),
        Ok(_) => {
            Err(Fault::new("host", format!("`{text}` is not one name"), "a wildcard").help("write the name in full"))
        }
        Err(fault) => Err(fault),
    }
}

/// The certificates of the PEM file that a key names, DER.
fn certificates(tls: &Section<'_>, key: &str) -> Option<Vec<Arc<[u8]>>> {
    certificates_of(tls, &tls.entry(key)?.node, tls.text(key)?)
}

/// The certificates of a PEM file, DER.
pub(super) fn certificates_of(tls: &Section<'_>, node: &Node, path: &str) -> Option<Vec<Arc<[u8]>>> {
    let content = substitute::read_bytes(tls.cx, node.at, path)?;
    if let Some(certificates) = pem::certificates(&content) {
        return Some(certificates);
    }
    let fault = Fault::new("certificate", format!("`{path}` holds no certificate"), "expected a PEM file");
    tls.fault(node, fault.help("a PEM file has lines like -----BEGIN CERTIFICATE-----"));
    None
}

fn key(tls: &Section<'_>) -> Option<Arc<[u8]>> {
    key_of(tls, &tls.entry("key")?.node, tls.text("key")?)
}

/// The private key of a PEM file (PKCS#8, PKCS#1 or SEC1), DER.
pub(super) fn key_of(tls: &Section<'_>, node: &Node, path: &str) -> Option<Arc<[u8]>> {
    let content = substitute::read_bytes(tls.cx, node.at, path)?;
    if let Some(key) = pem::key(&content) {
        return Some(key);
    }
    let fault = Fault::new("key", format!("`{path}` holds no private key that can be read"), "expected a PEM file");
    let is_encrypted = memchr::memmem::find(&content, b"ENCRYPTED").is_some();
    tls.fault(
        node,
        fault.help(if is_encrypted {
            "it is encrypted: write it without a password with `openssl pkey`, readable by this program only"
        } else {
            "a PEM file has lines like -----BEGIN PRIVATE KEY-----"
        }),
    );
    None
}
