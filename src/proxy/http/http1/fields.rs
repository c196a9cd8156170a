//! Field lines of a head: which are passed on, and the few whose meaning the balancer must know.
//!
//! Hot path: no allocation, no lock, no formatting.

use std::mem::MaybeUninit;

/// Most field lines that a head may have, whatever a listener allows.
pub const MAX_FIELDS: usize = 256;

/// Room for the fields of a head, on the stack.
pub type Room<'b> = [MaybeUninit<httparse::Header<'b>>; MAX_FIELDS];

/// Fresh room.
pub fn room<'b>() -> Room<'b> {
    [const { MaybeUninit::uninit() }; MAX_FIELDS]
}

/// Which lines of a head are left out when it is passed on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Left([u64; MAX_FIELDS / 64]);

impl Left {
    /// Leaves a line out.
    #[inline]
    pub fn out(&mut self, line: usize) {
        self.0[line / 64] |= 1 << (line % 64);
    }

    /// Those that either leaves out.
    #[inline]
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let mut both = *self;
        for (word, more) in both.0.iter_mut().zip(other.0) {
            *word |= more;
        }
        both
    }

    /// Whether a line is left out.
    #[inline]
    pub fn is_out(&self, line: usize) -> bool {
        self.0[line / 64] & (1 << (line % 64)) != 0
    }
}

/// Whether every line of a head, which `httparse` has accepted, ends in CR LF: it accepts LF alone, this program does not.
#[inline]
pub fn all_lines_end_in_crlf(head: &[u8]) -> bool {
    // Every pair is looked at, and the result is known at the end only: that is what a compiler makes vectors of.
    let alone = head
        .iter()
        .zip(head.iter().skip(1))
        .fold(0, |alone, (before, byte)| alone | (u8::from(*byte == b'\n') & u8::from(*before != b'\r')));
    alone == 0 && head.first() != Some(&b'\n')
}

/// Elements of a comma-separated list (RFC 9110, section 5.6.1), white space trimmed, empty ones left out.
#[inline]
pub fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// The value of a Content-Length: digits only, at most 2^63 - 1.
#[inline]
pub fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 40 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut length: u64 = 0;
    for digit in value {
        length = length.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    (i64::try_from(length).is_ok()).then_some(length)
}

/// Where in `head` a part of it begins.
#[inline]
pub fn offset(head: &[u8], part: &[u8]) -> usize {
    (part.as_ptr() as usize).wrapping_sub(head.as_ptr() as usize)
}

/// The spans of `head` that are passed on: its field lines less those left out, neighbours joined.
#[inline]
pub fn kept<'b>(
    head: &'b [u8],
    fields: &'b [httparse::Header<'b>],
    left: &'b Left,
) -> impl Iterator<Item = &'b [u8]> + 'b {
    let start_of =
        move |line: usize| fields.get(line).map_or(head.len() - 2, |field| offset(head, field.name.as_bytes()));
    let mut line = 0;
    std::iter::from_fn(move || {
        while line < fields.len() && left.is_out(line) {
            line += 1;
        }
        if line == fields.len() {
            return None;
        }
        let from = start_of(line);
        while line < fields.len() && !left.is_out(line) {
            line += 1;
        }
        Some(&head[from..start_of(line)])
    })
}

/// Whether a name is `known` to who cannot tell an underscore from a hyphen, as gateways to programs (CGI, WSGI) cannot.
#[inline]
pub fn is_alike(name: &[u8], known: &[u8]) -> bool {
    name.len() == known.len()
        && name
            .iter()
            .zip(known)
            .all(|(byte, known)| byte.eq_ignore_ascii_case(known) || (b"-_".contains(byte) && b"-_".contains(known)))
}

/// Names that a Connection field cannot make hop-by-hop: without them the message would mean something else, and the
/// balancer sets its own of the forwarding ones anyway (RFC 9110, section 7.6.1: the sender must not list end-to-end fields).
pub fn is_essential(name: &[u8]) -> bool {
    [
        &b"host"[..],
        b"expect",
        b"content-length",
        b"transfer-encoding",
        b"content-type",
        b"content-encoding",
        b"authorization",
    ]
    .iter()
    .any(|essential| name.eq_ignore_ascii_case(essential))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_length_is_digits_that_fit() {
        for (value, length) in [
            (&b"0"[..], Some(0)),
            (b"0005", Some(5)),
            (b"9223372036854775807", Some(i64::MAX as u64)),
            (b"9223372036854775808", None),
            (b"99999999999999999999999", None),
            (b"", None),
            (b"+5", None),
            (b"-5", None),
            (b"5 ", None),
            (b"0x5", None),
            (b"5,5", None),
        ] {
            assert_eq!(content_length(value), length, "{value:?}");
        }
    }

    #[test]
    fn kept_lines_come_in_as_few_pieces_as_can_be() {
        let head = b"GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n\r\n";
        let mut room = room();
        let mut request = httparse::Request::new(&mut []);
        request.parse_with_uninit_headers(head, &mut room).unwrap();
        let mut left = Left::default();
        left.out(2);
        let kept: Vec<&[u8]> = kept(head, request.headers, &left).collect();
        assert_eq!(kept, [&b"A: 1\r\nB: 2\r\n"[..], b"D: 4\r\n"]);
    }
}
