//! The body of an answer on its way through an encoder, and into chunks where the client knows them.
//!
//! Used by `download`, which decides how much at once. What an encoder holds back is flushed whenever the backend pauses,
//! so that nothing waits for more to come. Each encoder has a window that is small for its kind: some hundred kilobytes
//! for each answer on its way, whatever its length.

use std::io::{self, Write};

use super::http1::Version;
use crate::config::model::Coding;
use crate::net::buffer::Buffer;

/// Fast levels: a third of the time of the usual ones, for a tenth more bytes.
const GZIP_LEVEL: u32 = 4;
const BROTLI_LEVEL: u32 = 4;
const ZSTD_LEVEL: i32 = 2;
/// Windows, as powers of two.
const BROTLI_WINDOW: u32 = 18;
const ZSTD_WINDOW: u32 = 18;
/// What the encoder of brotli hands on at once.
const BROTLI_BUFFER: usize = 4096;

/// An encoder, and what has come out of it.
pub struct Encoder {
    codec: Codec,
    chunked: bool,
    /// Something has gone in since the last flush.
    holds: bool,
}

enum Codec {
    Gzip(Box<flate2::write::GzEncoder<Vec<u8>>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, Vec<u8>>>),
    /// It has ended.
    Done,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Encoder").field("chunked", &self.chunked).finish_non_exhaustive()
    }
}

impl Encoder {
    /// An encoder for a client of this version; chunks are for those that know them.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn new(coding: Coding, version: Version) -> io::Result<Self> {
        let out = Vec::new();
        let codec = match coding {
            Coding::Gzip => {
                let level = flate2::Compression::new(GZIP_LEVEL);
                Codec::Gzip(Box::new(flate2::write::GzEncoder::new(out, level)))
            }
            Coding::Brotli => {
                let writer = brotli::CompressorWriter::new(out, BROTLI_BUFFER, BROTLI_LEVEL, BROTLI_WINDOW);
                Codec::Brotli(Box::new(writer))
            }
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(out, ZSTD_LEVEL)?;
                encoder.set_parameter(zstd::zstd_safe::CParameter::WindowLog(ZSTD_WINDOW))?;
                Codec::Zstd(Box::new(encoder))
            }
        };
        Ok(Self { codec, chunked: version == Version::Http11, holds: false })
    }

    /// Takes content in.
    ///
    /// # Errors
    /// The encoder has failed, which none does that writes to memory.
    pub fn push(&mut self, content: &[u8]) -> io::Result<()> {
        if content.is_empty() {
            return Ok(());
        }
        self.holds = true;
        match &mut self.codec {
            Codec::Gzip(encoder) => encoder.write_all(content),
            Codec::Brotli(encoder) => encoder.write_all(content),
            Codec::Zstd(encoder) => encoder.write_all(content),
            Codec::Done => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    /// Moves to `out` what has come out so far.
    pub fn drain(&mut self, out: &mut Buffer) {
        let (made, chunked) = match &mut self.codec {
            Codec::Gzip(encoder) => (encoder.get_mut(), self.chunked),
            Codec::Brotli(encoder) => (encoder.get_mut(), self.chunked),
            Codec::Zstd(encoder) => (encoder.get_mut(), self.chunked),
            Codec::Done => return,
        };
        emit(made, chunked, out);
        made.clear();
    }

    /// Has everything come out that has gone in; says whether that is anything.
    ///
    /// # Errors
    /// As for [`Encoder::push`].
    pub fn flush(&mut self, out: &mut Buffer) -> io::Result<bool> {
        if !std::mem::replace(&mut self.holds, false) {
            return Ok(false);
        }
        match &mut self.codec {
            Codec::Gzip(encoder) => encoder.flush()?,
            Codec::Brotli(encoder) => encoder.flush()?,
            Codec::Zstd(encoder) => encoder.flush()?,
            Codec::Done => {}
        }
        self.drain(out);
        Ok(true)
    }

    /// The end of the body.
    ///
    /// # Errors
    /// As for [`Encoder::push`].
    pub fn finish(&mut self, out: &mut Buffer) -> io::Result<()> {
        let rest = match std::mem::replace(&mut self.codec, Codec::Done) {
            Codec::Gzip(encoder) => encoder.finish()?,
            Codec::Brotli(encoder) => encoder.into_inner(),
            Codec::Zstd(encoder) => encoder.finish()?,
            Codec::Done => return Ok(()),
        };
        emit(&rest, self.chunked, out);
        if self.chunked {
            out.append(b"0\r\n\r\n");
        }
        Ok(())
    }
}

fn emit(bytes: &[u8], chunked: bool, out: &mut Buffer) {
    if bytes.is_empty() {
        return;
    }
    if chunked {
        out.append(format!("{:x}\r\n", bytes.len()).as_bytes());
    }
    out.append(bytes);
    if chunked {
        out.append(b"\r\n");
    }
}
