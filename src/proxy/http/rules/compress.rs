//! `compress` at work: which coding a client takes (RFC 9110, section 12.5.3), and which answers get it.

use super::super::http1::answer::Answer;
use super::super::http1::edits::Edits;
use super::super::http1::fields;
use super::super::http1::request::Request;
use crate::config::model::{Coding, Compress};

/// Fields that are about the bytes as they were.
const OF_THE_BYTES: &[&str] = &["content-length", "accept-ranges", "content-md5", "etag"];

/// The coding that a client likes best; of those that it likes alike, the one that the configuration does.
pub(super) fn negotiate(rule: &Compress, request: &Request<'_>) -> Option<Coding> {
    let lists = || request.fields.iter().filter(|field| field.name.eq_ignore_ascii_case("accept-encoding"));
    // Thousandths, where the list has a word.
    let weight = |word: &str| {
        let parts = lists().flat_map(|list| fields::elements(list.value));
        let weights = parts.filter_map(|part| weight_of(part, word));
        weights.max()
    };
    let star = weight("*");
    let plain = weight("identity").unwrap_or(0);
    let mut best = None;
    let mut most = plain.max(1);
    for coding in &rule.with {
        let likes = weight(coding.word()).or(star).unwrap_or(0);
        // The first needs as much as the plain form has, a later one more than the one before.
        if likes >= most && (best.is_none() || likes > most) {
            (best, most) = (Some(*coding), likes);
        }
    }
    best
}

/// The weight of an element, where it is of this word.
fn weight_of(element: &[u8], word: &str) -> Option<u32> {
    let mut parts = element.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    if !parts.next()?.eq_ignore_ascii_case(word.as_bytes()) {
        return None;
    }
    let said = parts.find_map(|part| part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q=")));
    let Some(said) = said else { return Some(1000) };
    Some(thousandths(said))
}

/// `0.5` in thousandths; three digits behind the point at most, and what is none of it counts as nothing.
fn thousandths(said: &[u8]) -> u32 {
    match said {
        [b'1'] | [b'1', b'.', ..] => 1000,
        [b'0', b'.', digits @ ..] if digits.len() <= 3 && digits.iter().all(u8::is_ascii_digit) => {
            (0..3).fold(0, |sum, place| sum * 10 + digits.get(place).map_or(0, |digit| u32::from(digit - b'0')))
        }
        _ => 0,
    }
}

/// Whether an answer is one that the rule compresses, for whoever takes that.
pub(super) fn concerns(rule: &Compress, answer: &Answer<'_>) -> bool {
    if matches!(answer.status, ..200 | 204 | 206 | 304) {
        return false;
    }
    let mut kind: &[u8] = b"";
    for field in answer.fields {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        match field.name.len() {
            12 if is("content-type") => kind = field.value,
            16 if is("content-encoding") => return false,
            13 if is("content-range") => return false,
            13 if is("cache-control") && has_word(field.value, b"no-transform") => return false,
            // Trailers and digests are about the bytes as they were, and cannot be mended.
            7 if is("trailer") => return false,
            6 if is("digest") => return false,
            14 if is("content-digest") => return false,
            14 if is("content-length") && is_short(field.value, rule) => return false,
            _ => {}
        }
    }
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    // Its frames are compressed each by itself.
    let is_grpc = kind.get(..16).is_some_and(|start| start.eq_ignore_ascii_case(b"application/grpc"));
    !is_grpc && rule.types.iter().any(|wanted| is_of(kind, wanted.as_bytes()))
}

fn is_short(length: &[u8], rule: &Compress) -> bool {
    fields::content_length(length).is_some_and(|length| length < rule.min_bytes)
}

fn is_of(kind: &[u8], wanted: &[u8]) -> bool {
    if wanted.ends_with(b"/") {
        return kind.get(..wanted.len()).is_some_and(|start| start.eq_ignore_ascii_case(wanted));
    }
    kind.eq_ignore_ascii_case(wanted)
}

fn has_word(list: &[u8], word: &[u8]) -> bool {
    fields::elements(list).any(|element| element.eq_ignore_ascii_case(word))
}

/// What changes of the head of an answer that gets a coding; `None`: of one that would, for another client.
pub(super) fn amend(answer: &Answer<'_>, coding: Option<Coding>, edits: &mut Edits) {
    edits.add(b"Vary", b"Accept-Encoding");
    let Some(coding) = coding else { return };
    edits.remove(answer.fields, OF_THE_BYTES);
    edits.add(b"Content-Encoding", coding.word().as_bytes());
    let tag = answer.fields.iter().find(|field| field.name.eq_ignore_ascii_case("etag")).map(|field| field.value);
    match tag {
        // The same content in other bytes (RFC 9110, section 8.8.1).
        Some(strong) if strong.starts_with(b"\"") => edits.add(b"ETag", &[b"W/", strong].concat()),
        Some(weak) => edits.add(b"ETag", weak),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(accept: &str) -> Option<&'static str> {
        use super::super::super::http1::request::Limits;
        let rule = Compress { types: vec![], min_bytes: 1, with: vec![Coding::Zstd, Coding::Brotli, Coding::Gzip] };
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{accept}\r\n");
        let mut room = fields::room();
        let limits = Limits { head_bytes: 4096, target_bytes: 4096, headers: 100 };
        let request = Request::parse(text.as_bytes(), &mut room, limits).unwrap().unwrap();
        negotiate(&rule, &request).map(Coding::word)
    }

    #[test]
    fn the_coding_is_the_one_that_the_client_likes_best() {
        for (accept, expected) in [
            ("", None),
            ("Accept-Encoding: \r\n", None),
            ("Accept-Encoding: gzip, deflate, br, zstd\r\n", Some("zstd")),
            ("Accept-Encoding: GZIP\r\n", Some("gzip")),
            ("Accept-Encoding: gzip;q=1.0, br;q=0.5\r\n", Some("gzip")),
            ("Accept-Encoding: gzip;q=0.5\r\nAccept-Encoding: br;q=0.6\r\n", Some("br")),
            ("Accept-Encoding: gzip;q=0\r\n", None),
            ("Accept-Encoding: gzip;q=0.000, *;q=0\r\n", None),
            ("Accept-Encoding: *\r\n", Some("zstd")),
            ("Accept-Encoding: *;q=0.5, zstd;q=0\r\n", Some("br")),
            ("Accept-Encoding: identity, gzip;q=0.5\r\n", None),
            ("Accept-Encoding: identity;q=0.5, gzip\r\n", Some("gzip")),
            ("Accept-Encoding: gzip;q=many\r\n", None),
            ("Accept-Encoding: gzip;q=2\r\n", None),
            ("Accept-Encoding: compress, x-gzip\r\n", None),
        ] {
            assert_eq!(best(accept), expected, "{accept}");
        }
    }
}
