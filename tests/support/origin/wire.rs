//! One accepted connection, read in requests and written in pieces.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

/// Longest request head that an origin reads.
const MAX_HEAD: usize = 1 << 20;

/// A connection with the bytes that were read and not yet used.
pub(super) struct Wire {
    pub(super) stream: Arc<TcpStream>,
    buffer: Vec<u8>,
}

impl Wire {
    pub(super) fn new(stream: Arc<TcpStream>) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        (&*self.stream).write_all(bytes)
    }

    /// Bytes that came along with what was asked for.
    pub(super) fn take_rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    /// Some bytes; empty at the end.
    pub(super) fn read_some(&mut self) -> io::Result<Vec<u8>> {
        if self.buffer.is_empty() {
            self.fill()?;
        }
        Ok(self.take_rest())
    }

    /// Reads until the other side ends, and forgets it.
    pub(super) fn discard(&mut self) -> io::Result<()> {
        while !self.read_some()?.is_empty() {}
        Ok(())
    }

    /// A head with its empty line; `None` when the connection ends before its first byte.
    pub(super) fn read_head(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                return Ok(Some(self.buffer.drain(..end + 4).collect()));
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if self.fill()? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    pub(super) fn read_exact(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            self.fill_or_end()?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    /// A chunked body: its data, and the bytes as they came.
    pub(super) fn read_chunked(&mut self) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let (mut body, mut raw) = (Vec::new(), Vec::new());
        loop {
            let line = self.read_line()?;
            raw.extend_from_slice(&line);
            let digits = String::from_utf8_lossy(&line);
            let digits = digits.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(digits, 16).map_err(|_malformed| io::ErrorKind::InvalidData)?;
            if size == 0 {
                break;
            }
            let chunk = self.read_exact(size + 2)?;
            body.extend_from_slice(&chunk[..size]);
            raw.extend_from_slice(&chunk);
        }
        loop {
            let trailer = self.read_line()?;
            raw.extend_from_slice(&trailer);
            if trailer == b"\r\n" {
                return Ok((body, raw));
            }
        }
    }

    fn read_line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                return Ok(self.buffer.drain(..end + 2).collect());
            }
            self.fill_or_end()?;
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut bytes = [0; 16 * 1024];
        let length = (&*self.stream).read(&mut bytes)?;
        self.buffer.extend_from_slice(&bytes[..length]);
        Ok(length)
    }

    fn fill_or_end(&mut self) -> io::Result<()> {
        if self.fill()? == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

pub(super) fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
