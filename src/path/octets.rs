//! Bytes of paths: which stand for themselves, and escapes undone and made (RFC 3986, sections 2 and 3.3).
//!
//! Hot path: no lock, no formatting.

use std::borrow::Cow;

/// What a byte is to whoever looks for paths that are plain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// It stands for itself, to everybody.
    Plain,
    /// `/`
    Slash,
    /// `.`
    Dot,
    /// Anything else: escapes, what some servers read in their own ways, and what no path holds.
    Special,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Special; 256];
    let mut byte = 0;
    while byte < 256 {
        if may_stand(byte as u8) && byte as u8 != b';' {
            classes[byte] = Class::Plain;
        }
        byte += 1;
    }
    classes[b'/' as usize] = Class::Slash;
    classes[b'.' as usize] = Class::Dot;
    classes
};

#[inline]
pub(super) fn class(byte: u8) -> Class {
    CLASSES[usize::from(byte)]
}

/// Whether its escape means the same as the byte (RFC 3986, section 2.3).
pub(super) const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Whether it may stand in a path as it is (RFC 3986, section 3.3).
pub(super) const fn may_stand(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'/' | b':' | b'@' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
        )
}

/// The byte that the escape at the beginning stands for.
#[inline]
pub(super) fn unescaped(bytes: &[u8]) -> Option<u8> {
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (high, low) = (digit(1)?, digit(2)?);
    (bytes.first() == Some(&b'%')).then_some((high * 16 + low) as u8)
}

/// Appends the escape of a byte.
pub(super) fn escape(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
}

/// All escapes undone, once; what is none stays.
pub(super) fn decoded(path: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'%', path).is_none() {
        return Cow::Borrowed(path);
    }
    let mut out = Vec::with_capacity(path.len());
    let mut at = 0;
    while let Some(byte) = path.get(at) {
        let value = if *byte == b'%' { unescaped(&path[at..]) } else { None };
        out.push(value.unwrap_or(*byte));
        at += if value.is_some() { 3 } else { 1 };
    }
    Cow::Owned(out)
}

/// Whether there is neither a byte nor an escape beyond ASCII.
pub(super) fn is_ascii(path: &[u8]) -> bool {
    path.is_ascii() && memchr::memchr_iter(b'%', path).all(|at| unescaped(&path[at..]).is_none_or(|byte| byte < 128))
}

/// Whether some bytes are UTF-8 for what fewer bytes would say (RFC 3629, section 3).
pub(super) fn is_overlong(bytes: &[u8]) -> bool {
    let goes_on = |byte: u8| (0x80..0xc0).contains(&byte);
    bytes.windows(2).any(|two| match two {
        [0xc0 | 0xc1 | 0xf8..=0xff, next] => goes_on(*next),
        [0xe0, next] => (0x80..0xa0).contains(next),
        [0xf0, next] => (0x80..0x90).contains(next),
        _ => false,
    })
}
