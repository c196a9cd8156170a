//! Clients of HTTP/2: one that behaves, on a library, and one that writes frames as they come.
//!
//! Both wait for whatever they do, and no longer than [`DEADLINE`].

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Runtime;

use super::eventually::DEADLINE;

/// A connection that behaves.
pub struct H2 {
    runtime: Runtime,
    sender: SendRequest<Bytes>,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The first value of a trailer.
    pub fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.as_ref()?.get(name).map(|value| value.to_str().unwrap())
    }
}

/// A stream whose request is under way.
pub struct Open {
    pub sending: SendStream<Bytes>,
    answer: Option<ResponseFuture>,
    receiving: Option<RecvStream>,
}

impl H2 {
    /// Connects in clear text.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        let runtime = runtime();
        let stream = runtime.block_on(async { socket(address) });
        Self::over(runtime, stream)
    }

    /// Connects over TLS and agrees on HTTP/2.
    #[track_caller]
    pub fn connect_tls(address: SocketAddr, name: &str, config: &Arc<rustls::ClientConfig>) -> Self {
        let mut config = (**config).clone();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let runtime = runtime();
        let stream = runtime.block_on(async {
            let stream = socket(address);
            tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
        });
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        Self::over(runtime, stream)
    }

    fn over(runtime: Runtime, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let sender = runtime.block_on(async {
            let (sender, connection) = h2::client::handshake(stream).await.unwrap();
            tokio::spawn(async move {
                // Its end is what some tests are about; they see it at their requests.
                let _ = connection.await;
            });
            sender
        });
        Self { runtime, sender }
    }

    fn wait<T>(&self, doing: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { tokio::time::timeout(DEADLINE, doing).await }).expect("it comes in time")
    }

    /// Begins a request; `ends`: it has no body.
    pub fn begin(&mut self, request: Request<()>, ends: bool) -> Result<Open, h2::Error> {
        let sender = self.sender.clone();
        let mut sender = self.wait(sender.ready())?;
        let (answer, sending) = sender.send_request(request, ends)?;
        self.sender = sender;
        Ok(Open { sending, answer: Some(answer), receiving: None })
    }

    /// A GET of this path at `a.example`.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> Answer {
        self.try_ask(get(path), None).unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// A whole request.
    #[track_caller]
    pub fn ask(&mut self, request: Request<()>, body: Option<&[u8]>) -> Answer {
        self.try_ask(request, body).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A whole request, which may fail.
    pub fn try_ask(&mut self, request: Request<()>, body: Option<&[u8]>) -> Result<Answer, h2::Error> {
        let mut open = self.begin(request, body.is_none())?;
        if let Some(body) = body {
            self.send(&mut open, body, true)?;
        }
        self.answer(&mut open)
    }

    /// Sends content as the windows allow.
    pub fn send(&self, open: &mut Open, mut body: &[u8], ends: bool) -> Result<(), h2::Error> {
        self.wait(async {
            if body.is_empty() {
                open.sending.send_data(Bytes::new(), ends)?;
            }
            while !body.is_empty() {
                open.sending.reserve_capacity(body.len());
                let window = std::future::poll_fn(|context| open.sending.poll_capacity(context)).await;
                let Some(window) = window.transpose()? else { break };
                let part = window.min(body.len());
                open.sending.send_data(Bytes::copy_from_slice(&body[..part]), ends && part == body.len())?;
                body = &body[part..];
            }
            Ok(())
        })
    }

    /// The head of the answer.
    pub fn head(&self, open: &mut Open) -> Result<http::Response<()>, h2::Error> {
        let answer = open.answer.take().expect("it is asked once");
        let (parts, body) = self.wait(answer)?.into_parts();
        open.receiving = Some(body);
        Ok(http::Response::from_parts(parts, ()))
    }

    /// The next piece of the body; `None` at its end. The window is opened again.
    pub fn data(&self, open: &mut Open) -> Option<Result<Bytes, h2::Error>> {
        let receiving = open.receiving.as_mut().expect("the head was read");
        let data = self.wait(receiving.data())?;
        if let Ok(data) = &data {
            let _ = receiving.flow_control().release_capacity(data.len());
        }
        Some(data)
    }

    /// Trailers, behind the body.
    pub fn trailers(&self, open: &mut Open) -> Result<Option<HeaderMap>, h2::Error> {
        let receiving = open.receiving.as_mut().expect("the head was read");
        self.wait(receiving.trailers())
    }

    /// The whole answer.
    pub fn answer(&self, open: &mut Open) -> Result<Answer, h2::Error> {
        let head = self.head(open)?;
        let mut body = Vec::new();
        while let Some(data) = self.data(open) {
            body.extend_from_slice(&data?);
        }
        let trailers = self.trailers(open)?;
        Ok(Answer { status: head.status().as_u16(), headers: head.headers().clone(), body, trailers })
    }
}

/// Within a runtime.
fn socket(address: SocketAddr) -> tokio::net::TcpStream {
    let stream = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
    stream.set_nonblocking(true).unwrap();
    stream.set_nodelay(true).unwrap();
    tokio::net::TcpStream::from_std(stream).unwrap()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// A GET of this path at `a.example`.
pub fn get(path: &str) -> Request<()> {
    Request::builder().uri(format!("http://a.example{path}")).body(()).unwrap()
}

/// A POST to this path at `a.example`.
pub fn post(path: &str) -> Request<()> {
    Request::builder().method("POST").uri(format!("http://a.example{path}")).body(()).unwrap()
}

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

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// A connection on which frames are written as they come, right or wrong.
pub struct Raw {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Raw {
    /// Connects and begins as a client must.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self::with_settings(address, &[])
    }

    /// The same with these settings.
    #[track_caller]
    pub fn with_settings(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut raw = Self::silent(address);
        raw.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let payload: Vec<u8> =
            settings.iter().flat_map(|(key, value)| [&key.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
        raw.frame(SETTINGS, 0, 0, &payload);
        raw
    }

    /// Connects and says nothing.
    #[track_caller]
    pub fn silent(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
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
        loop {
            if let Some(frame) = self.take() {
                return Some(frame);
            }
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(read) => self.buffer.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("no frame within {DEADLINE:?}"),
                Err(_) => return None,
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
        loop {
            match self.next() {
                None => return Verdict::Closed,
                Some(frame) if frame.kind == GOAWAY => return Verdict::GoAway(error_code(&frame.payload[4..8])),
                Some(frame) if frame.stream != stream => {}
                Some(frame) if frame.kind == RST_STREAM => return Verdict::Reset(error_code(&frame.payload)),
                Some(frame) if frame.kind == HEADERS => return Verdict::Answer(status(&frame.payload)),
                Some(_) => {}
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

/// Bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
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

fn status(block: &[u8]) -> u16 {
    match block.first() {
        Some(0x88) => 200,
        Some(0x89) => 204,
        Some(0x8c) => 400,
        Some(0x8d) => 404,
        Some(0x8e) => 500,
        _ => 0,
    }
}

fn error_code(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(u32::MAX, u32::from_be_bytes)
}
