//! `tls = { … }` of a check, and the keys of a check of type `tls`, which are the same and a few more.

use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::address;
use crate::config::model::{CheckTls, HostPattern, Identity, TlsCheck, TlsVersion, Verify};
use crate::config::problem::Problem;
use crate::config::section::{Choice, Section};
use crate::config::substitute;
use crate::config::tree::Value;
use crate::config::units::Fault;
use crate::config::vocabulary::CHECK_TLS;

const VERSION: Choice<TlsVersion> = Choice {
    words: &[("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)],
    foreign: &[
        ("TLSv1.2", "1.2"),
        ("TLSv1.3", "1.3"),
        ("TLS1.2", "1.2"),
        ("TLS1.3", "1.3"),
        ("1.0", "older versions than 1.2 are broken and not spoken: write \"1.2\""),
        ("1.1", "older versions than 1.2 are broken and not spoken: write \"1.2\""),
    ],
    later: &[],
};

/// A check of type `tls`.
pub(super) fn check(section: &Section<'_>) -> Option<TlsCheck> {
    let protocols = section.parsed_list("alpn", protocol);
    let is_good = !section.has("alpn") || protocols.is_some();
    let tls = terms(section)?;
    let protocols = protocols.unwrap_or_default().into_iter().map(|(name, _)| name).collect();
    is_good.then_some(TlsCheck { tls, protocols })
}

fn protocol(text: &str) -> Result<Arc<str>, Fault> {
    if (1..=255).contains(&text.len()) {
        return Ok(text.into());
    }
    let fault = Fault::new("text", "`alpn` takes names of protocols", "1 to 255 bytes");
    Err(fault.help("write alpn = \"h2\" or alpn = [\"h2\", \"http/1.1\"]"))
}

/// `tls` of a check whose protocol may go over TLS. `Some(None)`: plain.
#[expect(clippy::option_option, reason = "the outer one says whether it could be read, as everywhere here")]
pub(super) fn tls(section: &Section<'_>) -> Option<Option<CheckTls>> {
    if !section.has("tls") {
        return Some(None);
    }
    match section.entry("tls")?.node.value {
        Value::Boolean(false) => Some(None),
        Value::Boolean(true) => Some(Some(CheckTls::default())),
        Value::Table(_) => Some(Some(terms(&section.section("tls", &CHECK_TLS)?)?)),
        _ => {
            let node = &section.entry("tls")?.node;
            let help = "write tls = true, or tls = { server_name = \"web.example.com\", ca = \"ca.pem\" }";
            section.wrong_type(node, "tls", "true or a table", help);
            None
        }
    }
}

/// The keys that say how far a backend is trusted, what it is shown, and what it must speak.
pub(super) fn terms(tls: &Section<'_>) -> Option<CheckTls> {
    let given = |key: &str, is_good: bool| is_good || !tls.has(key);
    let server_name = tls.parsed("server_name", server_name);
    let least = tls.choice("min_version", &VERSION);
    let expires_in = tls.positive_duration("expires_in");
    let (verify, identity) = (verify(tls), identity(tls));
    let all_good = given("server_name", server_name.is_some())
        && given("min_version", least.is_some())
        && given("expires_in", expires_in.is_some());
    let least = least.unwrap_or(TlsVersion::V1_2);
    let terms = CheckTls { server_name, verify: verify?, least, identity: identity?, expires_in };
    all_good.then_some(terms)
}

fn verify(tls: &Section<'_>) -> Option<Verify> {
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
fn identity(tls: &Section<'_>) -> Option<Option<Identity>> {
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
            Some(Some(Identity { chain: chain?, key: key? }))
        }
    }
}

fn server_name(text: &str) -> Result<Arc<str>, Fault> {
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
    let path = tls.text(key)?;
    let node = &tls.entry(key)?.node;
    let content = substitute::read_bytes(tls.cx, node.at, path)?;
    let read: Result<Vec<CertificateDer<'_>>, _> = CertificateDer::pem_slice_iter(&content).collect();
    // Every certificate is an ASN.1 sequence.
    let whole = read.ok().filter(|all| !all.is_empty() && all.iter().all(|one| one.first() == Some(&0x30)));
    if let Some(certificates) = whole {
        return Some(certificates.iter().map(|der| Arc::from(der.as_ref())).collect());
    }
    let fault = Fault::new("certificate", format!("`{path}` holds no certificate"), "expected a PEM file");
    tls.fault(node, fault.help("a PEM file has lines like -----BEGIN CERTIFICATE-----"));
    None
}

fn key(tls: &Section<'_>) -> Option<Arc<[u8]>> {
    let path = tls.text("key")?;
    let node = &tls.entry("key")?.node;
    let content = substitute::read_bytes(tls.cx, node.at, path)?;
    if let Ok(key) = PrivateKeyDer::from_pem_slice(&content) {
        return Some(key.secret_der().into());
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
