//! One exchange after the other on a connection that blocks, for whoever counts them and not their time.

use std::io::{self, ErrorKind, Read};

use crate::tls;
use crate::work::{Connection, Entry, Exchange};

/// What is waited for.
#[derive(Clone, Copy)]
pub enum Answer {
    Http,
    Bytes(usize),
}

/// A question for this door, of HTTP for `path` and of TCP so many bytes, and what answers it.
pub fn exchange(entry: Entry, connection: Connection, path: &'static str, echoed: usize) -> (Vec<u8>, Answer) {
    match entry {
        Entry::Http | Entry::Https => (Exchange::Get(path).question(tls::NAME, connection), Answer::Http),
        _ => (Exchange::Echo(echoed).question(tls::NAME, connection), Answer::Bytes(echoed)),
    }
}

/// Reads one answer whole.
pub fn read(from: &mut impl Read, answer: Answer) -> io::Result<()> {
    let mut wanted = match answer {
        Answer::Bytes(length) => Some(length),
        Answer::Http => None,
    };
    let (mut buffer, mut read) = (vec![0; 96 << 10], 0);
    while wanted.is_none_or(|wanted| read < wanted) {
        match from.read(&mut buffer[read..])? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            length => read += length,
        }
        if wanted.is_none() {
            wanted = whole_length(&buffer[..read])?;
        }
    }
    Ok(())
}

/// How long an answer of HTTP is, once its head is there.
fn whole_length(bytes: &[u8]) -> io::Result<Option<usize>> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let length = head.split("\r\n").find_map(|line| line.strip_prefix("content-length:"));
    match length.and_then(|length| length.trim().parse::<usize>().ok()) {
        Some(length) if head.starts_with("http/1.1 200") => Ok(Some(end + 4 + length)),
        _ => Err(io::Error::other(format!("answer {:?}", head.lines().next().unwrap_or_default()))),
    }
}
