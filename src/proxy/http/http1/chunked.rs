//! Chunked bodies (RFC 9112, section 7.1), checked and passed on as they came.
//!
//! Sans-IO: given the bytes in hand, it says how many of them are whole, valid parts of the body. A line that is not
//! complete stays with the caller until it is, so nothing is passed on that has not been judged.
//!
//! Hot path: no allocation, no lock, no formatting.

use super::Reject;
use super::bytes::Bytes;
use super::fields::is_alike;

/// Longest chunk-size line (extensions included).
const MAX_SIZE_LINE: usize = 4096;
/// Longest trailer line: the details of a gRPC status stand in one, and its servers allow them 8 KiB.
const MAX_LINE: usize = 12 * 1024;
/// Longest trailer section.
const MAX_TRAILERS: usize = 16 * 1024;

/// Fields that mean something before the body and so must not follow it (RFC 9110, section 6.5.1).
const FORBIDDEN_TRAILERS: [&[u8]; 16] = [
    b"content-length",
    b"transfer-encoding",
    b"host",
    b"content-encoding",
    b"content-range",
    b"trailer",
    b"authorization",
    b"proxy-authorization",
    b"set-cookie",
    b"cookie",
    b"te",
    b"connection",
    b"expect",
    b"x-forwarded-for",
    b"x-forwarded-proto",
    b"x-forwarded-host",
];

/// Where in a chunked body the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunked {
    step: Step,
    trailer_bytes: usize,
    data_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Size,
    Data(u64),
    DataEnd,
    Trailer,
    Done,
}

impl Default for Chunked {
    fn default() -> Self {
        Self::new()
    }
}

impl Chunked {
    /// At its beginning.
    pub fn new() -> Self {
        Self { step: Step::Size, trailer_bytes: 0, data_bytes: 0 }
    }

    /// Whether the body is complete.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.step == Step::Done
    }

    /// Bytes of content seen so far, without the framing.
    #[inline]
    pub fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    /// Judges `bytes`, which follow what was accepted before: how many of them belong to the body and are valid.
    ///
    /// # Errors
    /// The rule that is broken.
    #[inline]
    pub fn accept(&mut self, bytes: &[u8]) -> Result<usize, Reject> {
        self.decode(bytes, |_| ())
    }

    /// Like [`Chunked::accept`], and hands the content, without the framing, to `content`.
    ///
    /// # Errors
    /// The rule that is broken.
    #[inline]
    pub fn decode(&mut self, bytes: &[u8], content: impl FnMut(&[u8])) -> Result<usize, Reject> {
        self.take_apart(bytes, content, |_| ())
    }

    /// Like [`Chunked::decode`], and hands each trailer line to `trailer`.
    ///
    /// # Errors
    /// The rule that is broken.
    #[inline]
    pub fn take_apart(
        &mut self,
        bytes: &[u8],
        mut content: impl FnMut(&[u8]),
        mut trailer: impl FnMut(&[u8]),
    ) -> Result<usize, Reject> {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            match self.step {
                Step::Done => return Ok(at),
                Step::Data(left) => {
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    content(&rest[..take]);
                    at += take;
                    self.data_bytes += take as u64;
                    let left = left - take as u64;
                    self.step = if left == 0 { Step::DataEnd } else { Step::Data(left) };
                    if left > 0 {
                        return Ok(at);
                    }
                }
                Step::DataEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        at += 2;
                        self.step = Step::Size;
                    }
                    [] | [b'\r'] => return Ok(at),
                    _ => return Err(Reject::Chunk),
                },
                Step::Size => {
                    let Some((line, used)) = whole_line(rest, MAX_SIZE_LINE, Reject::Chunk)? else { return Ok(at) };
                    let size = chunk_size(line)?;
                    at += used;
                    self.step = if size == 0 { Step::Trailer } else { Step::Data(size) };
                }
                Step::Trailer => {
                    let Some((line, used)) = whole_line(rest, MAX_LINE, Reject::Trailer)? else { return Ok(at) };
                    at += used;
                    self.trailer_bytes += used;
                    if line.is_empty() {
                        self.step = Step::Done;
                    } else if self.trailer_bytes > MAX_TRAILERS || !is_trailer(line) {
                        return Err(Reject::Trailer);
                    } else {
                        trailer(line);
                    }
                }
            }
        }
    }
}

/// The line that `bytes` begin with, without its CR LF, and its length with it; `None` while it is incomplete.
#[inline]
fn whole_line(bytes: &[u8], most: usize, reject: Reject) -> Result<Option<(&[u8], usize)>, Reject> {
    let window = &bytes[..bytes.len().min(most)];
    match memchr::memchr2(b'\n', b'\r', window) {
        None if bytes.len() >= most => Err(reject),
        None => Ok(None),
        Some(at) if window[at] == b'\n' => Err(reject),
        Some(at) => match bytes.get(at + 1) {
            None => Ok(None),
            Some(b'\n') => Ok(Some((&bytes[..at], at + 2))),
            Some(_) => Err(reject),
        },
    }
}

/// The size that a chunk line says: hexadecimal digits, then nothing or an extension.
#[inline]
fn chunk_size(line: &[u8]) -> Result<u64, Reject> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if digits == 0 {
        return Err(Reject::Chunk);
    }
    let mut size: u64 = 0;
    for digit in &line[..digits] {
        let value = (*digit as char).to_digit(16).unwrap_or(0);
        // 15 digits at most: room is left so that no sum of sizes overflows.
        if size >> 56 != 0 {
            return Err(Reject::Chunk);
        }
        size = size << 4 | u64::from(value);
    }
    let extension = &line[digits..];
    if !extension.is_empty() {
        let begins = extension.trim_ascii_start().first() == Some(&b';');
        if !begins || extension.iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f) {
            return Err(Reject::Chunk);
        }
    }
    Ok(size)
}

/// Whether a field of this name may stand behind a body.
pub fn may_follow(name: &[u8]) -> bool {
    !FORBIDDEN_TRAILERS.iter().any(|forbidden| is_alike(name, forbidden))
}

fn is_trailer(line: &[u8]) -> bool {
    let Some(colon) = memchr::memchr(b':', line) else { return false };
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    !name.is_empty()
        && name.iter().all(|byte| is_token(*byte))
        && value.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f))
        && may_follow(name)
}

/// A byte of a token (RFC 9110, section 5.6.2).
#[inline]
pub fn is_token(byte: u8) -> bool {
    static TOKEN: Bytes = Bytes::alphanumeric_and(b"!#$%&'*+-.^_`|~");
    TOKEN.has(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that is accepted of `bytes`, given in pieces of `piece`, and whether it is complete.
    fn run(bytes: &[u8], piece: usize) -> Result<(usize, bool), Reject> {
        let mut chunked = Chunked::new();
        let (mut accepted, mut given) = (0, 0);
        while given < bytes.len() && !chunked.is_done() {
            given = (given + piece).min(bytes.len());
            accepted += chunked.accept(&bytes[accepted..given])?;
        }
        Ok((accepted, chunked.is_done()))
    }

    #[test]
    fn valid_bodies_are_accepted_whole_however_they_arrive() {
        for body in [
            &b"0\r\n\r\n"[..],
            b"5\r\nhello\r\n0\r\n\r\n",
            b"5;name=value\r\nhello\r\n0\r\n\r\n",
            b"5 ;name=\"v\"\r\nhello\r\n0;last\r\n\r\n",
            b"00005\r\nhello\r\n000\r\n\r\n",
            b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\nX-Check: 1\r\n\r\n",
        ] {
            for piece in 1..=body.len() {
                assert_eq!(run(body, piece), Ok((body.len(), true)), "{} by {piece}", body.escape_ascii());
            }
        }
    }

    #[test]
    fn what_follows_the_body_is_not_taken() {
        let bytes = b"1\r\nx\r\n0\r\n\r\nGET / HTTP/1.1\r\n";
        assert_eq!(run(bytes, bytes.len()), Ok((11, true)));
    }

    #[test]
    fn broken_framing_is_refused() {
        for body in [
            &b"\r\n"[..],
            b"x\r\n",
            b"5\nhello\r\n0\r\n\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"5\r\nhelloX\r\n0\r\n\r\n",
            b"5 \r\nhello\r\n0\r\n\r\n",
            b"0x5\r\nhello\r\n0\r\n\r\n",
            b"-5\r\nhello\r\n",
            b"+5\r\nhello\r\n",
            b"5;a\x00b\r\nhello\r\n",
            b"5\rX\nhello\r\n",
            b"1000000000000000\r\n",
            b"fffffffffffffffff\r\n",
        ] {
            assert_eq!(run(body, body.len()), Err(Reject::Chunk), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn trailers_that_frame_or_route_are_refused() {
        for trailer in
            ["Content-Length: 5", "transfer-encoding: chunked", "Host: a", "X Y: 1", "nothing", ": 1", "A: \x01"]
        {
            let body = format!("0\r\n{trailer}\r\n\r\n");
            assert_eq!(run(body.as_bytes(), body.len()), Err(Reject::Trailer), "{trailer}");
        }
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut body = b"5;".to_vec();
        body.resize(MAX_SIZE_LINE + 1, b'a');
        assert_eq!(run(&body, body.len()), Err(Reject::Chunk));
    }
}
