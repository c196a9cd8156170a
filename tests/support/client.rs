//! A client that shows bytes: HTTP/1 without any cleverness, TCP, and tunnels.
//!
//! Methods without `try_` panic with a sentence; those with it are for tests in which failing is a right answer.
//! Nothing waits longer than [`DEADLINE`].

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;

use super::eventually::DEADLINE;

/// A connection.
pub struct Client {
    stream: TcpStream,
    tls: Option<Box<rustls::ClientConnection>>,
    buffer: Vec<u8>,
}

/// An answer.
#[derive(Debug, Clone, Default)]
pub struct Response {
    /// The code.
    pub status: u16,
    /// In order, names as they came.
    pub headers: Vec<(String, String)>,
    /// Chunks put together.
    pub body: Vec<u8>,
    /// Status line and headers, with the empty line.
    pub raw_head: Vec<u8>,
    /// Trailers of a chunked body.
    pub trailers: Vec<(String, String)>,
}

/// How a connection stands when nothing is read from it any more.
#[derive(Debug, PartialEq, Eq)]
pub enum Ending {
    /// The other side ended in order.
    Closed,
    /// The other side reset.
    Reset,
    /// The other side sent this.
    Data(Vec<u8>),
    /// Neither, for as long as was waited.
    Open,
}

impl Response {
    /// The first value of a header, by a name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One GET on a connection of its own.
#[track_caller]
pub fn get(address: SocketAddr, path: &str) -> Response {
    try_get(address, path).unwrap_or_else(|error| panic!("GET {path} at {address}: {error}"))
}

/// One GET on a connection of its own, which may fail.
pub fn try_get(address: SocketAddr, path: &str) -> io::Result<Response> {
    try_request(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"))
}

/// One request, given whole, on a connection of its own.
pub fn try_request(address: SocketAddr, request: &str) -> io::Result<Response> {
    let mut client = Client::try_connect(address)?;
    client.try_send(request.as_bytes())?;
    client.try_read_final(method_of(request.as_bytes()))
}

/// Asks for an upgrade to WebSocket and gives the open tunnel.
#[track_caller]
pub fn websocket(address: SocketAddr, path: &str) -> Client {
    let mut client = Client::connect(address);
    client.send(
        format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        .as_bytes(),
    );
    let response = client.read_response();
    assert_eq!(response.status, 101, "{}", String::from_utf8_lossy(&response.raw_head));
    client
}

// === impl Client ===

impl Client {
    /// Connects.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap_or_else(|error| panic!("connecting to {address}: {error}"))
    }

    /// Connects from an address of one's own, such as 127.1.0.1.
    #[track_caller]
    pub fn connect_from(source: IpAddr, address: SocketAddr) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
        socket
            .connect_timeout(&address.into(), DEADLINE)
            .unwrap_or_else(|error| panic!("{source} to {address}: {error}"));
        Self::of(socket.into()).unwrap()
    }

    /// Connects, or says why not.
    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        Self::of(TcpStream::connect_timeout(&address, DEADLINE)?)
    }

    fn of(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, tls: None, buffer: Vec::new() })
    }

    /// Connects and agrees on TLS; the other side must be `name`.
    #[track_caller]
    pub fn connect_tls(address: SocketAddr, name: &str, config: &Arc<rustls::ClientConfig>) -> Self {
        Self::try_connect_tls(address, name, config).unwrap_or_else(|error| panic!("TLS with {name}: {error}"))
    }

    /// Connects and agrees on TLS, or says why not.
    pub fn try_connect_tls(address: SocketAddr, name: &str, config: &Arc<rustls::ClientConfig>) -> io::Result<Self> {
        Self::try_connect(address)?.agree_on_tls(name, config)
    }

    /// Agrees on TLS from here on, or says why not.
    pub fn agree_on_tls(mut self, name: &str, config: &Arc<rustls::ClientConfig>) -> io::Result<Self> {
        let name = rustls::pki_types::ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let mut tls = rustls::ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut self.stream)?;
        }
        self.tls = Some(Box::new(tls));
        Ok(self)
    }

    /// What TLS has agreed on.
    pub fn tls(&self) -> &rustls::ClientConnection {
        self.tls.as_ref().expect("it speaks TLS")
    }

    /// The socket, for its options and addresses.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Its own address.
    pub fn local_addr(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    /// Waits so long for bytes from now on.
    pub fn patience(&self, time: Duration) {
        self.stream.set_read_timeout(Some(time)).unwrap();
    }

    /// Sends bytes.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("sending");
    }

    /// Sends bytes, or says why not.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        match &mut self.tls {
            None => self.stream.write_all(bytes.as_ref()),
            Some(tls) => {
                let mut stream = rustls::Stream::new(tls.as_mut(), &mut self.stream);
                stream.write_all(bytes.as_ref())?;
                stream.flush()
            }
        }
    }

    /// A GET that keeps the connection.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> Response {
        self.try_get(path).unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// A GET that keeps the connection, or why there is no whole answer.
    pub fn try_get(&mut self, path: &str) -> io::Result<Response> {
        let host = self.stream.peer_addr()?;
        self.try_send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"))?;
        self.try_read_final("GET")
    }

    /// A request with a body of known length that keeps the connection.
    #[track_caller]
    pub fn post(&mut self, path: &str, body: impl AsRef<[u8]>) -> Response {
        let (host, body) = (self.stream.peer_addr().unwrap(), body.as_ref());
        self.send(format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n", body.len()));
        self.send(body);
        self.try_read_final("POST").unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    /// The next answer to anything but HEAD, interim ones (1xx) included.
    #[track_caller]
    pub fn read_response(&mut self) -> Response {
        self.try_read_response("GET").unwrap_or_else(|error| panic!("reading an answer: {error}"))
    }

    /// The next answer to `method`, or why there is no whole one.
    pub fn try_read_response(&mut self, method: &str) -> io::Result<Response> {
        let raw_head = self.read_until(b"\r\n\r\n")?;
        let text = String::from_utf8_lossy(&raw_head).into_owned();
        let mut lines = text.split("\r\n");
        let status_line = lines.next().unwrap_or_default();
        let status = status_line
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.split(' ').nth(1))
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("no status line: {status_line:?}")))?;
        let headers = lines.filter_map(header_line).collect();
        let mut response = Response { status, headers, raw_head, ..Response::default() };
        self.read_body(method, &mut response)?;
        Ok(response)
    }

    /// The next answer that is not interim, or why there is no whole one.
    pub fn try_read_final(&mut self, method: &str) -> io::Result<Response> {
        loop {
            let response = self.try_read_response(method)?;
            if !(100..200).contains(&response.status) || response.status == 101 {
                return Ok(response);
            }
        }
    }

    /// Exactly so many bytes.
    #[track_caller]
    pub fn read_exact(&mut self, length: usize) -> Vec<u8> {
        self.try_read_exact(length).unwrap_or_else(|error| panic!("reading {length} bytes: {error}"))
    }

    /// Exactly so many bytes, or why not.
    pub fn try_read_exact(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            self.fill()?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    /// All bytes until the other side ends; an error when it resets.
    pub fn try_read_to_end(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match self.fill() {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(std::mem::take(&mut self.buffer));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends bytes and says whether the very same came back.
    pub fn echoes(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let bytes = bytes.as_ref();
        self.try_send(bytes).is_ok() && self.try_read_exact(bytes.len()).is_ok_and(|back| back == bytes)
    }

    /// Ends this side; the other may still send.
    pub fn end_sending(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Leaves with a reset.
    pub fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// What comes next within `time`: data, an end, or nothing.
    pub fn ending(&mut self, time: Duration) -> Ending {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let result = if self.buffer.is_empty() { self.fill() } else { Ok(()) };
        self.stream.set_read_timeout(Some(DEADLINE)).unwrap();
        match result {
            Ok(()) => Ending::Data(std::mem::take(&mut self.buffer)),
            Err(error) => match error.kind() {
                io::ErrorKind::UnexpectedEof => Ending::Closed,
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Ending::Open,
                _ => Ending::Reset,
            },
        }
    }

    /// Whether the other side has ended or ends soon, with nothing more sent.
    pub fn closed(&mut self) -> bool {
        matches!(self.ending(DEADLINE), Ending::Closed | Ending::Reset)
    }

    fn read_body(&mut self, method: &str, response: &mut Response) -> io::Result<()> {
        let bodiless = method == "HEAD" || response.status < 200 || matches!(response.status, 204 | 304);
        if bodiless {
            return Ok(());
        }
        let chunked = response.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        if chunked {
            return self.read_chunked(response);
        }
        response.body = match response.header("content-length") {
            Some(length) => {
                let length = length.parse().map_err(|_malformed| io::ErrorKind::InvalidData)?;
                self.try_read_exact(length)?
            }
            None => self.try_read_to_end()?,
        };
        Ok(())
    }

    fn read_chunked(&mut self, response: &mut Response) -> io::Result<()> {
        loop {
            let line = self.read_until(b"\r\n")?;
            let digits = String::from_utf8_lossy(&line);
            let digits = digits.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(digits, 16)
                .map_err(|_malformed| io::Error::new(io::ErrorKind::InvalidData, format!("chunk size {digits:?}")))?;
            if size == 0 {
                break;
            }
            let chunk = self.try_read_exact(size + 2)?;
            if !chunk.ends_with(b"\r\n") {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a chunk is not followed by CRLF"));
            }
            response.body.extend_from_slice(&chunk[..size]);
        }
        loop {
            let line = self.read_until(b"\r\n")?;
            if line == b"\r\n" {
                return Ok(());
            }
            response.trailers.extend(header_line(String::from_utf8_lossy(&line).trim_end()));
        }
    }

    fn read_until(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end) {
                return Ok(self.buffer.drain(..at + end.len()).collect());
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut bytes = [0; 16 * 1024];
        let read = match &mut self.tls {
            None => self.stream.read(&mut bytes),
            Some(tls) => rustls::Stream::new(tls.as_mut(), &mut self.stream).read(&mut bytes).map_err(unannounced),
        };
        match read? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            length => {
                self.buffer.extend_from_slice(&bytes[..length]);
                Ok(())
            }
        }
    }
}

/// An end that TLS did not announce is no end in order: anybody may have cut the connection.
fn unannounced(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof { io::ErrorKind::ConnectionAborted.into() } else { error }
}

fn header_line(line: &str) -> Option<(String, String)> {
    line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
}

fn method_of(request: &[u8]) -> &str {
    request.split(|byte| *byte == b' ').next().and_then(|word| std::str::from_utf8(word).ok()).unwrap_or("GET")
}
