//! The clients of the soak, each a thread that does one kind of work again and again.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use super::tally::{Fragile, Tally};

/// Nothing that is done here takes longer, faults included.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two pieces of work of one client: the soak is long, not hard.
const PAUSE: Duration = Duration::from_millis(4);

struct Connection(BufReader<TcpStream>);

/// The head of an answer.
struct Head {
    status: u16,
    length: u64,
    closes: bool,
}

impl Connection {
    fn open(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }

    fn head(&mut self) -> io::Result<Head> {
        let mut text = String::new();
        while !text.ends_with("\r\n\r\n") {
            if self.0.read_line(&mut text)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        let lower = text.to_ascii_lowercase();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let length =
            lower.split_once("\r\ncontent-length: ").and_then(|(_, rest)| rest.split("\r\n").next()?.parse().ok());
        Ok(Head { status, length: length.unwrap_or(0), closes: lower.contains("\r\nconnection: close") })
    }

    fn body(&mut self, length: u64) -> io::Result<()> {
        let got = io::copy(&mut (&mut self.0).take(length), &mut io::sink())?;
        if got == length { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }

    /// There and back.
    fn echo(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.send(bytes)?;
        let mut back = vec![0; bytes.len()];
        self.0.read_exact(&mut back)?;
        if back == bytes { Ok(()) } else { Err(io::Error::other("other bytes came back")) }
    }
}

fn said(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::UnexpectedEof => "closed".into(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "reset".into(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "no answer in time".into(),
        _ => error.to_string(),
    }
}

/// GETs of so many bytes, over a connection that is kept, or each over its own.
pub fn gets(kind: &'static str, to: SocketAddr, target: &str, keep: usize, tally: &Tally) {
    let mut open: Option<(Connection, usize)> = None;
    while !tally.is_over() {
        let begun = Instant::now();
        let (mut connection, used) = match open.take() {
            Some(open) => open,
            None => match Connection::open(to) {
                Ok(connection) => (connection, 0),
                Err(error) => {
                    tally.failed(kind, &format!("connect: {}", said(&error)), Fragile::No, begun);
                    continue;
                }
            },
        };
        let last = used + 1 >= keep;
        let close = if last { "Connection: close\r\n" } else { "" };
        let asked = connection.send(format!("GET {target} HTTP/1.1\r\nHost: soak\r\n{close}\r\n").as_bytes());
        match asked.and_then(|()| connection.head()) {
            // A GET can be asked again elsewhere until its answer begins.
            Err(error) => tally.failed(kind, &format!("no answer: {}", said(&error)), Fragile::No, begun),
            Ok(head) if head.status != 200 => tally.failed(kind, &head.status.to_string(), Fragile::No, begun),
            Ok(head) => {
                if let Err(error) = connection.body(head.length) {
                    tally.failed(kind, &format!("within the answer: {}", said(&error)), Fragile::Yes, begun);
                } else {
                    tally.good(kind);
                    if !last && !head.closes {
                        open = Some((connection, used + 1));
                    }
                }
            }
        }
        std::thread::sleep(PAUSE);
    }
}

/// Uploads, too large to be sent twice: with their length, or in chunks.
pub fn uploads(kind: &'static str, to: SocketAddr, tally: &Tally) {
    let block = vec![b'u'; 64 * 1024];
    let mut round = 0_usize;
    while !tally.is_over() {
        let begun = Instant::now();
        round += 1;
        let blocks = 1 + round % 24;
        let upload = || -> io::Result<(Head, String)> {
            let mut connection = Connection::open(to)?;
            let chunked = round.is_multiple_of(2);
            let framing = if chunked {
                "Transfer-Encoding: chunked".to_owned()
            } else {
                format!("Content-Length: {}", blocks * block.len())
            };
            connection.send(
                format!("POST /count HTTP/1.1\r\nHost: soak\r\n{framing}\r\nConnection: close\r\n\r\n").as_bytes(),
            )?;
            for _ in 0..blocks {
                if chunked {
                    connection.send(format!("{:x}\r\n", block.len()).as_bytes())?;
                }
                connection.send(&block)?;
                if chunked {
                    connection.send(b"\r\n")?;
                }
            }
            if chunked {
                connection.send(b"0\r\n\r\n")?;
            }
            let head = connection.head()?;
            let mut text = vec![0; head.length as usize];
            connection.0.read_exact(&mut text)?;
            Ok((head, String::from_utf8_lossy(&text).into_owned()))
        };
        match upload() {
            Err(error) => tally.failed(kind, &said(&error), Fragile::Yes, begun),
            Ok((head, _)) if head.status != 200 => tally.failed(kind, &head.status.to_string(), Fragile::Yes, begun),
            Ok((_, text)) if text != (blocks * block.len()).to_string() => {
                tally.failed(kind, "the backend got other bytes", Fragile::No, begun);
            }
            Ok(_) => tally.good(kind),
        }
        std::thread::sleep(PAUSE * 8);
    }
}

/// Sessions of bytes, or WebSockets, that last for a while and say something now and then.
pub fn sessions(kind: &'static str, to: SocketAddr, upgrade: Option<&str>, length: Duration, tally: &Tally) {
    while !tally.is_over() {
        let begun = Instant::now();
        let session = || -> Result<(), (String, Fragile)> {
            let broken = |error: io::Error| (said(&error), Fragile::Yes);
            let mut connection =
                Connection::open(to).map_err(|error| (format!("connect: {}", said(&error)), Fragile::No))?;
            if let Some(request) = upgrade {
                let asked = connection.send(request.as_bytes());
                let head = asked.and_then(|()| connection.head()).map_err(broken)?;
                if head.status != 101 {
                    return Err((head.status.to_string(), Fragile::No));
                }
            }
            let mut said = 0_u32;
            while begun.elapsed() < length && !tally.is_over() {
                said += 1;
                connection.echo(format!("message {said} of {kind}, and some more of it").as_bytes()).map_err(broken)?;
                std::thread::sleep(length / 40);
            }
            Ok(())
        };
        match session() {
            Ok(()) => tally.good(kind),
            Err((why, fragile)) => tally.failed(kind, &why, fragile, begun),
        }
        std::thread::sleep(PAUSE);
    }
}

/// GETs by curl over TLS, twenty to a process; `version` is what it asks for.
pub fn curls(kind: &'static str, to: SocketAddr, version: &str, expected: &str, tally: &Tally) {
    let url = format!("https://{to}/bytes/[2000-2019]");
    while !tally.is_over() {
        let begun = Instant::now();
        let arguments =
            ["-sk", version, "--max-time", "30", "-o", "/dev/null", "-w", "%{http_code} %{http_version}\\n", &url];
        match Command::new("curl").args(arguments).output() {
            Err(error) => tally.failed(kind, &format!("curl: {error}"), Fragile::No, begun),
            Ok(output) => {
                for line in String::from_utf8_lossy(&output.stdout).lines() {
                    if line == format!("200 {expected}") {
                        tally.good(kind);
                    } else {
                        tally.failed(kind, &format!("{line}, {}", output.status), Fragile::No, begun);
                    }
                }
                if !output.status.success() {
                    // 18: broke off within an answer; 92: the same of a stream of HTTP/2.
                    let broke_off = matches!(output.status.code(), Some(18 | 56 | 92));
                    let fragile = if broke_off { Fragile::Yes } else { Fragile::No };
                    tally.failed(kind, &format!("curl: {}", output.status), fragile, begun);
                }
            }
        }
        std::thread::sleep(PAUSE * 25);
    }
}

/// Datagrams that come back; one that is lost while a backend falls is nobody's fault.
pub fn datagrams(kind: &'static str, to: SocketAddr, tally: &Tally) {
    let mut lost = 0;
    while !tally.is_over() {
        let begun = Instant::now();
        let ask = || -> io::Result<()> {
            let socket = UdpSocket::bind(("127.0.0.1", 0))?;
            socket.set_read_timeout(Some(Duration::from_secs(2)))?;
            socket.connect(to)?;
            for number in 0..10_u8 {
                socket.send(&[number; 100])?;
                let mut room = [0; 200];
                let length = socket.recv(&mut room)?;
                if room[..length] != [number; 100] {
                    return Err(io::Error::other("other bytes came back"));
                }
            }
            Ok(())
        };
        match ask() {
            Ok(()) => tally.good(kind),
            Err(error) => {
                lost += 1;
                tally.failed(kind, &said(&error), Fragile::Yes, begun);
            }
        }
        std::thread::sleep(PAUSE * if lost > 100 { 100 } else { 5 });
    }
}
