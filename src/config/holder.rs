//! Whose a certificate is, written so that it can be compared: what a backend is told of a client.
//!
//! PURE. A subject is written by RFC 4514, with everything escaped that could be taken for another part of it; so are the
//! alternative names. What is too long to be a header is left out rather than cut, for a part could be somebody else.

use std::fmt::Write as _;
use std::net::IpAddr;

use x509_parser::prelude::{AttributeTypeAndValue, FromDer, GeneralName, RelativeDistinguishedName, X509Certificate};

/// Longest subject and longest list of names, bytes: most backends take 8 KiB of headers in all.
const MAX_TEXT: usize = 3072;

/// Who holds a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The subject by RFC 4514, its last part first: `CN=alice,O=Example`. `None`: empty or too long.
    pub subject: Option<Box<str>>,
    /// The common name of the subject, by itself. `None`: none, or not text.
    pub common_name: Option<Box<str>>,
    /// The alternative names: `DNS:a.example.com,URI:spiffe://example/a`. `None`: none or too long.
    pub names: Option<Box<str>>,
}

impl Holder {
    /// Reads DER; `None` when it is no certificate.
    pub fn of(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let parts: Vec<_> = certificate.subject().iter_rdn().collect();
        let subject: Vec<String> = parts.into_iter().rev().map(relative).collect();
        let names = match certificate.subject_alternative_name() {
            Ok(Some(extension)) => extension.value.general_names.iter().filter_map(alternative).collect(),
            _ => Vec::new(),
        };
        let common_name = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        let common_name = common_name.map(Into::into);
        Some(Self { subject: bounded(&subject), common_name, names: bounded(&names) })
    }
}

impl Holder {
    /// Whether it has this name: as the common name of its subject, or as one of its alternative names.
    pub fn has(&self, name: &str) -> bool {
        let name = escaped(name);
        let is_common = self.common_name.as_deref().is_some_and(|common| escaped(common) == name);
        let mut is_escaped = false;
        let is_comma = move |letter: char| {
            let is_end = letter == ',' && !is_escaped;
            is_escaped = letter == '\\' && !is_escaped;
            is_end
        };
        let alternatives = self.names.as_deref().unwrap_or_default();
        let is = |entry: &str| entry.split_once(':').is_some_and(|(_, value)| value == name);
        is_common || alternatives.split(is_comma).any(is)
    }
}

fn bounded(parts: &[String]) -> Option<Box<str>> {
    let text = parts.join(",");
    (!text.is_empty() && text.len() <= MAX_TEXT).then(|| text.into())
}

fn relative(part: &RelativeDistinguishedName<'_>) -> String {
    part.iter().map(attribute).collect::<Vec<_>>().join("+")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    // RFC 4514, section 3, and the address that many authorities still put there.
    let name = match oid.as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        other => other,
    };
    match attribute.as_str() {
        Ok(value) => format!("{name}={}", escaped(value)),
        Err(_not_text) => {
            let digits = attribute.as_slice().iter().fold(String::new(), |mut digits, byte| {
                // Writing to a string cannot fail.
                let _ = write!(digits, "{byte:02x}");
                digits
            });
            format!("{name}=#{digits}")
        }
    }
}

fn alternative(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(format!("DNS:{}", escaped(name))),
        GeneralName::URI(name) => Some(format!("URI:{}", escaped(name))),
        GeneralName::RFC822Name(name) => Some(format!("email:{}", escaped(name))),
        GeneralName::IPAddress(bytes) => {
            let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let address = four.or_else(|_other| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok()?;
            Some(format!("IP:{address}"))
        }
        _ => None,
    }
}

/// RFC 4514, section 2.4, in ASCII: a separator with `\` before it, and every byte that is not printable as `\` and its
/// two hexadecimal digits.
fn escaped(value: &str) -> String {
    let bytes = value.as_bytes();
    let mut text = String::with_capacity(bytes.len());
    for (at, byte) in bytes.iter().enumerate() {
        let is_edge = at == 0 || at + 1 == bytes.len();
        match byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' => {
                text.push('\\');
                text.push(char::from(*byte));
            }
            b'#' if at == 0 => text.push_str("\\#"),
            b' ' if is_edge => text.push_str("\\ "),
            b' '..=b'~' => text.push(char::from(*byte)),
            // Writing to a string cannot fail.
            other => drop(write!(text, "\\{other:02x}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    use super::*;

    fn made(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn subject(parts: &[(DnType, &str)]) -> Option<String> {
        let der = made(|params| {
            for (kind, value) in parts {
                params.distinguished_name.push(kind.clone(), *value);
            }
        });
        Holder::of(&der).unwrap().subject.map(Into::into)
    }

    #[test]
    fn a_subject_is_written_so_that_no_part_passes_for_another() {
        for (value, written) in [
            ("alice", "CN=alice"),
            ("alice,O=Admins", "CN=alice\\,O=Admins"),
            ("a+b;c<d>e\"f\\g", "CN=a\\+b\\;c\\<d\\>e\\\"f\\\\g"),
            (" x ", "CN=\\ x\\ "),
            ("#1#", "CN=\\#1#"),
            ("x\r\nX-Admin: yes", "CN=x\\0d\\0aX-Admin: yes"),
            ("Zoë", "CN=Zo\\c3\\ab"),
        ] {
            assert_eq!(subject(&[(DnType::CommonName, value)]).as_deref(), Some(written));
        }
        let several = [(DnType::CountryName, "DE"), (DnType::OrganizationName, "Example"), (DnType::CommonName, "a")];
        assert_eq!(subject(&several).as_deref(), Some("CN=a,O=Example,C=DE"), "the last part first");
        let odd = DnType::CustomDnType(vec![1, 2, 3, 4]);
        assert_eq!(subject(&[(odd, "x")]).as_deref(), Some("1.2.3.4=x"));
        assert_eq!(subject(&[]), None);
        assert_eq!(subject(&[(DnType::CommonName, &"x".repeat(MAX_TEXT))]), None, "never a part of it");
    }

    #[test]
    fn alternative_names_say_of_what_kind_they_are() {
        let der = made(|params| {
            params.subject_alt_names = vec![
                SanType::DnsName("a.example.com".try_into().unwrap()),
                SanType::URI("spiffe://example/a,b".try_into().unwrap()),
                SanType::Rfc822Name("a@example.com".try_into().unwrap()),
                SanType::IpAddress("10.0.0.1".parse().unwrap()),
                SanType::IpAddress("2001:db8::1".parse().unwrap()),
            ];
        });
        let names = Holder::of(&der).unwrap().names;
        let expected = "DNS:a.example.com,URI:spiffe://example/a\\,b,email:a@example.com,IP:10.0.0.1,IP:2001:db8::1";
        assert_eq!(names.as_deref(), Some(expected));
        assert_eq!(Holder::of(&made(|_| {})).unwrap().names, None);
    }

    #[test]
    fn broken_certificates_are_read_or_refused() {
        let good = made(|params| params.subject_alt_names = vec![SanType::DnsName("a.b".try_into().unwrap())]);
        for at in 0..good.len() {
            assert_eq!(Holder::of(&good[..at]), None);
            let mut bent = good.clone();
            bent[at] ^= 0xff;
            // Read or refused; what is read is fit for a header.
            let read = Holder::of(&bent);
            let texts = read.iter().flat_map(|it| [&it.subject, &it.names]).flatten();
            assert!(texts.into_iter().all(|text| text.bytes().all(|byte| (b' '..=b'~').contains(&byte))));
        }
    }
}
