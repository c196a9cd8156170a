//! The few LDAP messages of a bind, in BER. PURE: parses and builds, never reads or writes.
//!
//! Lengths are read in every form that a server may choose: Active Directory writes four bytes where one would do.

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const ENUMERATED: u8 = 0x0a;
const BIND_REQUEST: u8 = 0x60;
const BIND_RESPONSE: u8 = 0x61;
const EXTENDED_RESPONSE: u8 = 0x78;
/// The password of a simple bind.
const SIMPLE: u8 = 0x80;

/// `UnbindRequest`, as message 2.
pub(super) const UNBIND: [u8; 7] = [SEQUENCE, 5, INTEGER, 1, 2, 0x42, 0];

/// What the server says to a bind.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) kind: Kind,
    /// `resultCode`.
    pub(super) code: u32,
    /// `diagnosticMessage`, as it came.
    pub(super) text: Vec<u8>,
}

/// Whether it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The answer to our bind.
    Bind,
    /// A notice of disconnection.
    Notice,
}

/// What came is no such message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Garbage;

/// A simple bind, as message 1; both empty: anonymous.
pub(super) fn bind(user: &str, password: &str) -> Vec<u8> {
    let mut request = element(INTEGER, &[3]);
    request.extend(element(OCTETS, user.as_bytes()));
    request.extend(element(SIMPLE, password.as_bytes()));
    let mut message = element(INTEGER, &[1]);
    message.extend(element(BIND_REQUEST, &request));
    element(SEQUENCE, &message)
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX).to_be_bytes();
    match content.len() {
        0..=0x7f => bytes.push(length[3]),
        0x80..=0xff => bytes.extend([0x81, length[3]]),
        0x100..=0xffff => bytes.extend([0x82, length[2], length[3]]),
        _ => bytes.extend([0x84, length[0], length[1], length[2], length[3]]),
    }
    bytes.extend_from_slice(content);
    bytes
}

/// The first message; `None` while it is not whole. One longer than `max` is none.
pub(super) fn parse(bytes: &[u8], max: usize) -> Result<Option<Answer>, Garbage> {
    match bytes.first() {
        None => return Ok(None),
        Some(&SEQUENCE) => {}
        Some(_) => return Err(Garbage),
    }
    let Some((length, head)) = length(&bytes[1..])? else { return Ok(None) };
    if length > max {
        return Err(Garbage);
    }
    match bytes.get(1 + head..1 + head + length) {
        Some(message) => answer(message).map(Some),
        None => Ok(None),
    }
}

fn answer(message: &[u8]) -> Result<Answer, Garbage> {
    let mut message = Reader(message);
    let id = message.expect(INTEGER)?;
    let (tag, content) = message.next()?;
    let kind = match (number(id)?, tag) {
        (1, BIND_RESPONSE) => Kind::Bind,
        (0, EXTENDED_RESPONSE) => Kind::Notice,
        _ => return Err(Garbage),
    };
    let mut content = Reader(content);
    let code = number(content.expect(ENUMERATED)?)?;
    content.expect(OCTETS)?;
    let text = content.expect(OCTETS)?.to_vec();
    Ok(Answer { kind, code, text })
}

/// A length and how many bytes it takes; `None` while these have not come.
fn length(bytes: &[u8]) -> Result<Option<(usize, usize)>, Garbage> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    match first {
        0..=0x7f => Ok(Some((usize::from(first), 1))),
        0x81..=0x84 => {
            let count = usize::from(first & 0x7f);
            let Some(digits) = bytes.get(1..=count) else { return Ok(None) };
            let length = digits.iter().fold(0_usize, |sum, digit| sum << 8 | usize::from(*digit));
            Ok(Some((length, 1 + count)))
        }
        // Without end, or longer than any message.
        _ => Err(Garbage),
    }
}

fn number(bytes: &[u8]) -> Result<u32, Garbage> {
    if bytes.is_empty() || bytes.len() > 4 {
        return Err(Garbage);
    }
    Ok(bytes.iter().fold(0, |sum, digit| sum << 8 | u32::from(*digit)))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(u8, &'a [u8]), Garbage> {
        let (tag, rest) = self.0.split_first().ok_or(Garbage)?;
        let (length, head) = length(rest)?.ok_or(Garbage)?;
        let (content, rest) = rest[head..].split_at_checked(length).ok_or(Garbage)?;
        self.0 = rest;
        Ok((*tag, content))
    }

    fn expect(&mut self, tag: u8) -> Result<&'a [u8], Garbage> {
        match self.next()? {
            (found, content) if found == tag => Ok(content),
            _ => Err(Garbage),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 4096;
    const GOOD: &[u8] = b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00";
    const ACTIVE_DIRECTORY: &[u8] =
        b"\x30\x84\x00\x00\x00\x10\x02\x01\x01\x61\x84\x00\x00\x00\x07\x0a\x01\x00\x04\x00\x04\x00";
    const NOTICE: &[u8] = b"\x30\x24\x02\x01\x00\x78\x1f\x0a\x01\x34\x04\x00\x04\x00\x8a\x16\x31.3.6.1.4.1.1466.20036";

    #[test]
    fn a_bind_has_these_bytes() {
        assert_eq!(bind("", ""), b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00");
        let long = bind(&"x".repeat(300), "secret");
        assert_eq!(long[..4], [0x30, 0x82, 0x01, 0x42]);
        assert_eq!(long.len(), 4 + 0x142);
        let middle = bind(&"x".repeat(130), "");
        assert_eq!(middle[..3], [0x30, 0x81, 0x90]);
        assert_eq!(middle.len(), 3 + 0x90);
    }

    #[test]
    fn answers_are_read_with_short_and_long_lengths() {
        let answer = |kind, code, text: &[u8]| Answer { kind, code, text: text.to_vec() };
        let refused = b"\x30\x16\x02\x01\x01\x61\x11\x0a\x01\x31\x04\x00\x04\x0awrong word";
        let rows: &[(&[u8], Answer)] = &[
            (GOOD, answer(Kind::Bind, 0, b"")),
            (ACTIVE_DIRECTORY, answer(Kind::Bind, 0, b"")),
            (refused, answer(Kind::Bind, 49, b"wrong word")),
            (NOTICE, answer(Kind::Notice, 52, b"")),
            (b"\x30\x0d\x02\x02\x00\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00", answer(Kind::Bind, 0, b"")),
        ];
        for (bytes, expected) in rows {
            assert_eq!(parse(bytes, MAX).as_ref(), Ok(&Some(answer(expected.kind, expected.code, &expected.text))));
            for cut in 0..bytes.len() {
                assert_eq!(parse(&bytes[..cut], MAX), Ok(None), "{}", bytes[..cut].escape_ascii());
            }
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let rows: &[&[u8]] = &[
            b"HTTP/1.1 400",
            b"\x30\x80\x02\x01\x01",
            b"\x30\x85\x00\x00\x00\x00\x05",
            b"\x30\x84\xff\xff\xff\xff",
            b"\x30\x00",
            b"\x30\x0c\x02\x01\x02\x61\x07\x0a\x01\x00\x04\x00\x04\x00",
            b"\x30\x0c\x02\x01\x01\x65\x07\x0a\x01\x00\x04\x00\x04\x00",
            b"\x30\x0c\x02\x01\x01\x61\x07\x02\x01\x00\x04\x00\x04\x00",
            b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x7f",
            b"\x30\x05\x02\x01\x01\x61\x7f",
        ];
        for bytes in rows {
            assert_eq!(parse(bytes, MAX), Err(Garbage), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn no_mutation_panics() {
        for good in [GOOD, ACTIVE_DIRECTORY, NOTICE] {
            for at in 0..good.len() {
                for byte in 0..=255 {
                    let mut bytes = good.to_vec();
                    bytes[at] = byte;
                    let _ = parse(&bytes, MAX);
                    let _ = parse(&bytes[..at], MAX);
                }
            }
        }
    }
}
