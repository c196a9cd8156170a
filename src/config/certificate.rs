//! What a certificate says of itself, for people: whose it is, who signed it, for which names and until when.
//!
//! PURE. Proves nothing: trust is decided in `net::tls`. Whatever a backend sends is read without a panic and kept short.

use std::net::IpAddr;

use x509_parser::prelude::{CertificateRevocationList, FromDer, GeneralName, X509Certificate};

/// Most names that are kept of a certificate; large sites have hundreds.
const MAX_NAMES: usize = 100;
/// Longest text kept of a subject, an issuer or a name, in characters.
const MAX_TEXT: usize = 200;

/// What ends within this many seconds is worth a warning: three weeks.
pub const SOON: i64 = 21 * 24 * 60 * 60;

/// A certificate, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Whose it is: `CN=web.example.com`.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Host names and addresses that it is for.
    pub names: Vec<String>,
    /// First second of its validity, since 1970.
    pub not_before: i64,
    /// Last second of its validity, since 1970.
    pub not_after: i64,
}

impl Certificate {
    /// Reads DER; `None` when it is no certificate.
    pub fn parse(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let names = match certificate.subject_alternative_name() {
            Ok(Some(extension)) => extension.value.general_names.iter().filter_map(name).take(MAX_NAMES).collect(),
            _ => Vec::new(),
        };
        let validity = certificate.validity();
        Some(Self {
            subject: clean(&certificate.subject().to_string()),
            issuer: clean(&certificate.issuer().to_string()),
            names,
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
        })
    }

    /// The serial number of a certificate, as it is written there; `None` when it is no certificate.
    pub fn serial(der: &[u8]) -> Option<Vec<u8>> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        Some(certificate.raw_serial().to_vec())
    }

    /// Signed by its own key, as far as the names tell.
    pub fn is_self_signed(&self) -> bool {
        self.subject == self.issuer
    }
}

/// A list of revoked certificates, as far as operators want to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocations {
    /// Whose certificates it is about.
    pub issuer: String,
    /// When the next one is due, since 1970.
    pub next_update: Option<i64>,
}

impl Revocations {
    /// Reads DER; `None` when it is no such list.
    pub fn parse(der: &[u8]) -> Option<Self> {
        let (_, list) = CertificateRevocationList::from_der(der).ok()?;
        let next_update = list.next_update().map(|moment| moment.timestamp());
        Some(Self { issuer: clean(&list.issuer().to_string()), next_update })
    }
}

/// A moment as certificates have it, in UTC: `2026-12-01T00:00:00Z`.
pub fn moment(since_1970: i64) -> String {
    jiff::Timestamp::from_second(since_1970)
        .map_or_else(|_beyond| format!("second {since_1970}"), |moment| moment.to_string())
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(clean(name)),
        GeneralName::IPAddress(bytes) => {
            let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let address = four.or_else(|_other| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            address.ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

/// One line of a bearable length, whatever the backend put into its certificate.
fn clean(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(change: impl FnOnce(&mut rcgen::CertificateParams)) -> Vec<u8> {
        let mut params =
            rcgen::CertificateParams::new(vec!["web.example.com".to_owned(), "10.0.0.1".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "web");
        params.not_before = rcgen::date_time_ymd(2024, 1, 1);
        params.not_after = rcgen::date_time_ymd(2025, 2, 3);
        change(&mut params);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn a_certificate_says_who_for_what_and_until_when() {
        let certificate = Certificate::parse(&made(|_| {})).unwrap();
        assert_eq!((certificate.subject.as_str(), certificate.issuer.as_str()), ("CN=web", "CN=web"));
        assert!(certificate.is_self_signed());
        assert_eq!(certificate.names, ["web.example.com", "10.0.0.1"]);
        assert_eq!(moment(certificate.not_before), "2024-01-01T00:00:00Z");
        assert_eq!(moment(certificate.not_after), "2025-02-03T00:00:00Z");
    }

    #[test]
    fn odd_certificates_are_read_or_refused_but_never_believed_to_be_short() {
        let long = made(|params| {
            params.distinguished_name.push(rcgen::DnType::OrganizationName, "x\n".repeat(10_000));
            params.subject_alt_names =
                (0..500).map(|n| rcgen::SanType::DnsName(format!("n{n}.example.com").try_into().unwrap())).collect();
        });
        let certificate = Certificate::parse(&long).unwrap();
        assert!(certificate.subject.chars().count() <= MAX_TEXT && !certificate.subject.contains('\n'));
        assert_eq!(certificate.names.len(), MAX_NAMES);

        let good = made(|_| {});
        for end in 0..good.len() {
            assert_eq!(Certificate::parse(&good[..end]), None, "cut at {end}");
        }
        for at in 0..good.len() {
            let mut bent = good.clone();
            bent[at] ^= 0xff;
            // Read or refused; what counts is that it comes back.
            let _ = Certificate::parse(&bent);
        }
        for moment_of in [i64::MIN, i64::MAX, -1, 0] {
            assert!(!moment(moment_of).is_empty());
        }
    }
}
