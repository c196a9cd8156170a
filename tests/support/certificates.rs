//! Certificates of a test's own, good and bad in the way that it needs.

use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::CertificateDer;

/// Seconds.
pub const DAY: i64 = 24 * 60 * 60;

/// Who signs.
pub type Issuer = CertifiedIssuer<'static, KeyPair>;

/// A certificate with its key.
pub struct Made {
    /// Its own first.
    pub chain: Vec<CertificateDer<'static>>,
    /// DER.
    pub key: Vec<u8>,
}

/// Those of a server with these names, valid now.
pub fn params(name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    valid(&mut params, -DAY, 90 * DAY + DAY / 2);
    params
}

/// Valid from and to so many seconds from now.
pub fn valid(params: &mut CertificateParams, from: i64, to: i64) {
    let (from, to) = span(from, to);
    (params.not_before, params.not_after) = (from.into(), to.into());
}

/// Two moments, so many seconds from now.
pub fn span(from: i64, to: i64) -> (SystemTime, SystemTime) {
    let at = |seconds: i64| {
        let span = Duration::from_secs(seconds.unsigned_abs());
        let now = SystemTime::now();
        if seconds < 0 { now - span } else { now + span }
    };
    (at(from), at(to))
}

/// Somebody who signs.
pub fn authority(name: &str) -> Issuer {
    let mut params = params(name, &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    valid(&mut params, -DAY, 900 * DAY);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate signed by somebody.
pub fn signed(params: &CertificateParams, issuer: &Issuer) -> Made {
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    Made { chain: vec![certificate.der().clone()], key: key.serialize_der() }
}

/// A certificate signed by itself.
pub fn self_signed(params: &CertificateParams) -> Made {
    let key = KeyPair::generate().unwrap();
    Made { chain: vec![params.self_signed(&key).unwrap().der().clone()], key: key.serialize_der() }
}
