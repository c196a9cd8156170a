//! A client of HTTP/2 that writes frames as they come, right or wrong, and what frames are made of.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;

use super::eventually::DEADLINE;

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const WITH_PRIORITY: u8 = 0x20;

/// What a client begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection on which frames are written as they come, right or wrong.
pub struct Raw {
    stream: Box<dyn Carries>,
    buffer: Vec<u8>,
}

/// What carries a [`Raw`]: a socket, or TLS on one.
trait Carries: Read + Write + Send {}

impl<T: Read + Write + Send> Carries for T {}

/// Why there is no further frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// The other side has closed or reset.
    Ended,
    /// Nothing has come within [`DEADLINE`].
    Silent,
}

impl Raw {
    /// Connects and begins as a client must.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self::with_settings(address, &[])
    }

    /// The same with these settings.
    #[track_caller]
    pub fn with_settings(address: SocketAddr, values: &[(u16, u32)]) -> Self {
        let mut raw = Self::silent(address);
        raw.send(PREFACE);
        raw.send(&settings(values));
        raw
    }

    /// Connects and says nothing.
    #[track_caller]
    pub fn silent(address: SocketAddr) -> Self {
        Self { stream: Box::new(patient(address)), buffer: Vec::new() }
    }

    /// Connects over TLS, agrees on HTTP/2 there, and says nothing.
    #[track_caller]
    pub fn silent_tls(address: SocketAddr, name: &str, config: &Arc<rustls::ClientConfig>) -> Self {
        let mut config = (**config).clone();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut stream = patient(address);
        let mut tls = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        while tls.is_handshaking() {
            tls.complete_io(&mut stream).unwrap();
        }
        assert_eq!(tls.alpn_protocol(), Some(&b"h2"[..]));
        Self { stream: Box::new(rustls::StreamOwned::new(tls, stream)), buffer: Vec::new() }
    }

    /// Sends bytes.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap();
    }

    /// Sends bytes; the other side may have had enough.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a frame.
    #[track_caller]
    pub fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.send(&frame(kind, flags, stream, payload));
    }

    /// Sends a request's fields, which end the stream where `flags` say so.
    #[track_caller]
    pub fn headers(&mut self, stream: u32, flags: u8, fields: &[(&str, &str)]) {
        self.frame(HEADERS, flags | END_HEADERS, stream, &block(fields));
    }

    /// A GET of this path, whole.
    #[track_caller]
    pub fn get(&mut self, stream: u32, path: &str) {
        self.headers(stream, END_STREAM, &ask(path));
    }

    /// The next frame; `None` when the other side has closed or reset.
    #[track_caller]
    pub fn next(&mut self) -> Option<Frame> {
        match self.try_next() {
            Ok(frame) => Some(frame),
            Err(Over::Ended) => None,
            Err(Over::Silent) => panic!("no frame within {DEADLINE:?}"),
        }
    }

    /// The next frame, or why there is none.
    pub fn try_next(&mut self) -> Result<Frame, Over> {
        loop {
            if let Some(frame) = self.take() {
                return Ok(frame);
            }
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(Over::Ended),
                Ok(read) => self.buffer.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(Over::Silent),
                Err(_) => return Err(Over::Ended),
            }
        }
    }

    fn take(&mut self) -> Option<Frame> {
        let head = *self.buffer.first_chunk::<9>()?;
        let [_, _, _, kind, flags, stream @ ..] = head;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        if self.buffer.len() < 9 + length {
            return None;
        }
        let payload = self.buffer[9..9 + length].to_vec();
        self.buffer.drain(..9 + length);
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream) & 0x7fff_ffff, payload })
    }

    /// Reads to the next frame of this kind, over whatever comes before.
    #[track_caller]
    pub fn until(&mut self, kind: u8) -> Frame {
        loop {
            match self.next() {
                Some(frame) if frame.kind == kind => return frame,
                Some(_) => {}
                None => panic!("the connection ended before a frame of kind {kind}"),
            }
        }
    }

    /// Reads to the end of the connection; the error code of the last GOAWAY.
    #[track_caller]
    pub fn goaway(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.next() {
            if frame.kind == GOAWAY {
                code = Some(error_code(&frame.payload[4..8]));
            }
        }
        code
    }

    /// What the balancer makes of a stream: an answer with this status, a reset, or the end of the connection.
    #[track_caller]
    pub fn verdict(&mut self, stream: u32) -> Verdict {
        self.try_verdict(stream).unwrap_or_else(|| panic!("no verdict within {DEADLINE:?}"))
    }

    /// The same; none where nothing comes.
    pub fn try_verdict(&mut self, stream: u32) -> Option<Verdict> {
        loop {
            match self.try_next() {
                Err(Over::Silent) => return None,
                Err(Over::Ended) => return Some(Verdict::Closed),
                Ok(frame) if frame.kind == GOAWAY => return Some(Verdict::GoAway(error_code(&frame.payload[4..8]))),
                Ok(frame) if frame.stream != stream => {}
                Ok(frame) if frame.kind == RST_STREAM => return Some(Verdict::Reset(error_code(&frame.payload))),
                Ok(frame) if frame.kind == HEADERS => return Some(Verdict::Answer(status(&frame.payload))),
                Ok(_) => {}
            }
        }
    }

    /// Waits until the other side ends, and says how long that took.
    #[track_caller]
    pub fn end(&mut self) -> Duration {
        let start = Instant::now();
        while self.next().is_some() {}
        start.elapsed()
    }
}

/// What became of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The status, or 0 where it is none of those in the static table.
    Answer(u16),
    /// The error code.
    Reset(u32),
    /// The error code.
    GoAway(u32),
    Closed,
}

/// A socket that waits, but not for ever.
#[track_caller]
fn patient(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Bytes of SETTINGS.
pub fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let values = values.iter().flat_map(|(key, value)| [&key.to_be_bytes()[..], &value.to_be_bytes()].concat());
    frame(SETTINGS, 0, 0, &values.collect::<Vec<u8>>())
}

/// Fields of a GET.
pub fn ask(path: &str) -> [(&str, &str); 4] {
    [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "a.example")]
}

/// Fields as literals that nobody remembers (RFC 7541, section 6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let bytes: Vec<_> = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    block_of_bytes(&bytes)
}

/// The same of any bytes.
pub fn block_of_bytes(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend_from_slice(text);
        }
    }
    block
}

/// A length of seven bits and more (RFC 7541, section 5.1).
fn length(block: &mut Vec<u8>, length: usize) {
    if length < 127 {
        return block.push(u8::try_from(length).unwrap());
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap() | 0x80);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap());
}

/// The status that an answer's fields begin with, or 0 where it is none of those in the static table.
pub fn status(block: &[u8]) -> u16 {
    match block.first() {
        Some(0x88) => 200,
        Some(0x89) => 204,
        Some(0x8c) => 400,
        Some(0x8d) => 404,
        Some(0x8e) => 500,
        _ => 0,
    }
}

/// An error code as frames have it.
pub fn error_code(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(u32::MAX, u32::from_be_bytes)
}
