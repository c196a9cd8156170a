//! Why there is no TLS: what rustls means by an error, sorted by what an operator does about it.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

/// Why there is no TLS, or no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The certificate is for other names.
    WrongName,
    /// It has ended, or one that signed it has.
    Expired,
    /// It is not valid yet, or one that signed it is not.
    NotYetValid,
    /// Nobody whom we trust has signed it.
    UnknownIssuer,
    /// It is not trusted for another reason, in words.
    Distrusted(String),
    /// The backend refused us, and said so by this alert: `handshake failure`.
    Alert(String),
    /// It speaks none of the protocols that were asked for by ALPN.
    NoProtocol,
    /// It speaks no version, cipher or key exchange that we do.
    NothingInCommon(String),
    /// What came is not TLS.
    NotTls,
    /// It does not follow the rules of TLS, in words.
    Misbehaves(String),
}

/// What is behind an error of a stream; `None` where it is not of TLS but of the connection.
pub fn refusal(error: &io::Error) -> Option<Refusal> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match error {
        Error::InvalidCertificate(why) => distrust(why),
        Error::AlertReceived(AlertDescription::NoApplicationProtocol) | Error::NoApplicationProtocol => {
            Refusal::NoProtocol
        }
        Error::AlertReceived(alert) => Refusal::Alert(spaced(&format!("{alert:?}"))),
        Error::PeerIncompatible(why) => Refusal::NothingInCommon(incompatible(why)),
        // The first bytes decide whether it is TLS at all; what comes later is at least encrypted.
        Error::InvalidMessage(_) => Refusal::NotTls,
        other => Refusal::Misbehaves(other.to_string()),
    })
}

fn distrust(why: &CertificateError) -> Refusal {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => Refusal::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Refusal::NotYetValid,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Refusal::WrongName,
        CertificateError::UnknownIssuer | CertificateError::BadSignature => Refusal::UnknownIssuer,
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            Refusal::Distrusted("it is not made for servers".to_owned())
        }
        CertificateError::Other(why) => Refusal::Distrusted(spaced(&why.to_string())),
        other => Refusal::Distrusted(other.to_string()),
    }
}

fn incompatible(why: &PeerIncompatible) -> String {
    match why {
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled => "version".to_owned(),
        other => spaced(&format!("{other:?}")),
    }
}

/// `HandshakeFailure` as `handshake failure`.
fn spaced(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 4);
    let mut after_small = false;
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && after_small {
            text.push(' ');
        }
        after_small = letter.is_ascii_lowercase() || letter.is_ascii_digit();
        text.push(if letter.is_ascii_uppercase() && name.is_ascii() { letter.to_ascii_lowercase() } else { letter });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_sorted_by_what_to_do_about_them() {
        let alert = |words: &str| Refusal::Alert(words.to_owned());
        let rows = [
            (Error::InvalidCertificate(CertificateError::Expired), Refusal::Expired),
            (Error::InvalidCertificate(CertificateError::NotValidYet), Refusal::NotYetValid),
            (Error::InvalidCertificate(CertificateError::NotValidForName), Refusal::WrongName),
            (Error::InvalidCertificate(CertificateError::UnknownIssuer), Refusal::UnknownIssuer),
            (Error::AlertReceived(AlertDescription::NoApplicationProtocol), Refusal::NoProtocol),
            (Error::AlertReceived(AlertDescription::HandshakeFailure), alert("handshake failure")),
            (Error::AlertReceived(AlertDescription::UnknownCA), alert("unknown ca")),
            (
                Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13),
                Refusal::NothingInCommon("version".to_owned()),
            ),
            (Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType), Refusal::NotTls),
            (Error::DecryptError, Refusal::Misbehaves(Error::DecryptError.to_string())),
        ];
        for (error, expected) in rows {
            assert_eq!(refusal(&io::Error::new(io::ErrorKind::InvalidData, error.clone())), Some(expected), "{error}");
        }
        assert_eq!(refusal(&io::ErrorKind::ConnectionReset.into()), None);
        assert_eq!(refusal(&io::Error::other("words")), None);
    }
}
