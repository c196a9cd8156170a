//! The answer of an OCSP responder, as far as operators want to know of it before clients are shown it: what it says of
//! which certificate, and until when.
//!
//! PURE. Proves nothing: whether the signature is good is for the clients to find out. RFC 6960, section 4.2.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// An answer, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Staple {
    /// The serial number of the certificate, as certificates write it.
    pub(super) serial: Vec<u8>,
    /// What the responder says.
    pub(super) says: Says,
    /// When a newer one will be there, since 1970; `None`: one is there at any time.
    pub(super) next_update: Option<i64>,
}

/// What a responder says of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    /// It is not revoked.
    Good,
    /// It is.
    Revoked,
    /// The responder does not know it.
    Unknown,
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const ENUMERATED: u8 = 0x0a;
const TIME: u8 = 0x18;
const EXPLICIT_0: u8 = 0xa0;

impl Staple {
    /// Reads DER; `None` when it is not a good answer of a responder about one certificate or more.
    pub(super) fn parse(der: &[u8]) -> Option<Self> {
        let mut response = whole(der, SEQUENCE)?;
        // Successful; any other answer says nothing of a certificate.
        if take(&mut response, ENUMERATED)? != [0] {
            return None;
        }
        let mut bytes = whole(take(&mut response, EXPLICIT_0)?, SEQUENCE)?;
        take(&mut bytes, OID)?;
        let mut basic = whole(take(&mut bytes, OCTETS)?, SEQUENCE)?;
        let mut data = take(&mut basic, SEQUENCE)?;
        if data.first() == Some(&EXPLICIT_0) {
            take(&mut data, EXPLICIT_0)?;
        }
        // Who answers, by name or by key, and when.
        any(&mut data)?;
        take(&mut data, TIME)?;
        let mut single = take(&mut take(&mut data, SEQUENCE)?, SEQUENCE)?;
        let mut id = take(&mut single, SEQUENCE)?;
        take(&mut id, SEQUENCE)?;
        take(&mut id, OCTETS)?;
        take(&mut id, OCTETS)?;
        let serial = take(&mut id, INTEGER)?.to_vec();
        let says = match any(&mut single)?.0 {
            0x80 => Says::Good,
            0xa1 => Says::Revoked,
            _ => Says::Unknown,
        };
        take(&mut single, TIME)?;
        let next_update = match single.first() {
            Some(&EXPLICIT_0) => Some(moment(whole(take(&mut single, EXPLICIT_0)?, TIME)?)?),
            _ => None,
        };
        Some(Self { serial, says, next_update })
    }
}

/// Takes the next element: its tag and its content.
fn any<'b>(bytes: &mut &'b [u8]) -> Option<(u8, &'b [u8])> {
    let [tag, length, rest @ ..] = *bytes else { return None };
    let (length, rest) = match length {
        0..=0x7f => (usize::from(*length), rest),
        // Longer than four bytes of length nothing here is.
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (digits.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some((*tag, content))
}

/// The same, of an element that must be of this kind.
fn take<'b>(bytes: &mut &'b [u8], kind: u8) -> Option<&'b [u8]> {
    any(bytes).filter(|(tag, _)| *tag == kind).map(|(_, content)| content)
}

/// An element with nothing behind it.
fn whole(mut bytes: &[u8], kind: u8) -> Option<&[u8]> {
    take(&mut bytes, kind).filter(|_| bytes.is_empty())
}

/// `20260102030405Z`.
fn moment(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let time = DateTime::strptime("%Y%m%d%H%M%SZ", text).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = content.len().to_be_bytes();
        if content.len() < 0x80 {
            [&[tag, length[7]][..], content].concat()
        } else {
            [&[tag, 0x82][..], &length[6..], content].concat()
        }
    }

    fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
        element(SEQUENCE, &parts.concat())
    }

    /// As `openssl ocsp` writes it, with this status and next update.
    fn answer(status: &[u8], next: Option<&str>) -> Vec<u8> {
        let time = |text: &str| element(TIME, text.as_bytes());
        let algorithm = sequence(&[element(OID, &[1, 2, 3]), element(5, &[])]);
        let id = sequence(&[
            algorithm.clone(),
            element(OCTETS, &[1; 20]),
            element(OCTETS, &[2; 20]),
            element(INTEGER, &[0, 200]),
        ]);
        let mut single = vec![id, status.to_vec(), time("20260101000000Z")];
        single.extend(next.map(|next| element(EXPLICIT_0, &time(next))));
        let data = sequence(&[
            element(0xa2, &element(OCTETS, &[3; 20])),
            time("20260101000000Z"),
            sequence(&[sequence(&single)]),
        ]);
        let basic = sequence(&[data, algorithm, element(3, &[0; 200])]);
        let bytes = sequence(&[element(OID, &[4, 5, 6]), element(OCTETS, &basic)]);
        sequence(&[element(ENUMERATED, &[0]), element(EXPLICIT_0, &bytes)])
    }

    const GOOD: &[u8] = &[0x80, 0];

    #[test]
    fn an_answer_says_what_of_whom_and_until_when() {
        let read = |status: &[u8], next| Staple::parse(&answer(status, next));
        let staple = |says, next_update| Some(Staple { serial: vec![0, 200], says, next_update });
        assert_eq!(read(GOOD, Some("20300101000000Z")), staple(Says::Good, Some(1_893_456_000)));
        assert_eq!(read(GOOD, None), staple(Says::Good, None));
        let revoked = element(0xa1, &element(TIME, b"20250101000000Z"));
        assert_eq!(read(&revoked, None), staple(Says::Revoked, None));
        assert_eq!(read(&[0x82, 0], None), staple(Says::Unknown, None));
        assert_eq!(read(GOOD, Some("tomorrow")), None);
    }

    #[test]
    fn what_is_no_answer_is_not_taken_for_one() {
        let refused = sequence(&[element(ENUMERATED, &[6])]);
        for bytes in [&b""[..], b"hello", &refused, &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0x30, 0x80]] {
            assert_eq!(Staple::parse(bytes), None, "{bytes:?}");
        }
        let good = answer(GOOD, Some("20300101000000Z"));
        assert_eq!(Staple::parse(&[&good[..], &[0]].concat()), None, "something behind it");
        for at in 0..good.len() {
            assert_eq!(Staple::parse(&good[..at]), None, "cut at {at}");
            for bit in 0..8 {
                let mut bent = good.clone();
                bent[at] ^= 1 << bit;
                // Read or refused; what counts is that it comes back.
                let _ = Staple::parse(&bent);
            }
        }
    }
}
