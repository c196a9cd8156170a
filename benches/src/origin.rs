//! The server behind every peer: one thread on bare epoll, answers made beforehand, about 3 µs a request.
//!
//! Runs as a process of its own. It prints its ports (HTTP, echo, echo once, bulk) and serves until its standard input
//! ends, so that it never outlives the program that started it.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener as Listening};
use std::process::{Child, Command, Stdio};

use memchr::memmem;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::cpu;
use crate::work::BULK;

/// Names the port for HTTP; without it, or with 0, the system chooses.
const PORT: &str = "EVENKEEL_ORIGIN_PORT";

/// The ports of a running origin.
pub struct Origin {
    pub http: u16,
    pub echo: u16,
    pub echo_once: u16,
    pub bulk: u16,
    child: Child,
}

impl Origin {
    /// Starts one on the load's CPU.
    pub fn start() -> Self {
        Self::start_at(0)
    }

    /// The same, at this port for HTTP.
    pub fn start_at(http: u16) -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let mut child = cpu::pinned(cpu::OF_LOAD, || {
            Command::new(program)
                .arg("origin")
                .env(PORT, http.to_string())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
        })
        .expect("this program starts again");
        let mut line = String::new();
        let mut out = io::BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        io::BufRead::read_line(&mut out, &mut line).expect("the origin says its ports");
        let ports: Vec<u16> = line.split_whitespace().map(|port| port.parse().expect("a port")).collect();
        Self { http: ports[0], echo: ports[1], echo_once: ports[2], bulk: ports[3], child }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// CPU time used, nanoseconds.
    pub fn cpu(&self) -> u64 {
        cpu::nanos(self.child.id())
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Clone, Copy)]
enum Door {
    Http,
    Echo,
    EchoOnce,
    Bulk,
}

struct Served {
    stream: TcpStream,
    door: Door,
    /// Bytes of a request not yet complete.
    request: Vec<u8>,
    /// Bytes of a request's body that are still to come.
    body: usize,
    /// The answer under way, and how much of it is sent.
    sending: Option<(usize, usize)>,
    /// Whether the answer under way is the connection's last.
    last: bool,
}

/// Serves until standard input ends.
pub fn run() -> Result<(), String> {
    serve().map_err(|error| format!("origin: {error}"))
}

fn serve() -> io::Result<()> {
    std::thread::spawn(|| {
        let _ = io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    let mut poll = Poll::new()?;
    let mut listeners = Vec::new();
    let doors = [Door::Http, Door::Echo, Door::EchoOnce, Door::Bulk];
    let http = std::env::var(PORT).ok().and_then(|port| port.parse().ok()).unwrap_or(0);
    for token in 0..doors.len() {
        let port = if token == 0 { http } else { 0 };
        // All addresses, because the probes ask at ten thousand addresses of the loopback network.
        let listening = Listening::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
        // The standard library's 128 would drop connections whenever this thread is held up for some milliseconds.
        rustix::net::listen(&listening, 4096)?;
        listening.set_nonblocking(true)?;
        let mut listener = TcpListener::from_std(listening);
        poll.registry().register(&mut listener, Token(token), Interest::READABLE)?;
        listeners.push(listener);
    }
    let ports: Vec<String> =
        listeners.iter().map(|l| l.local_addr().map(|a| a.port().to_string())).collect::<io::Result<_>>()?;
    println!("{}", ports.join(" "));

    let answers = answers();
    let mut served: HashMap<usize, Served> = HashMap::new();
    let mut next = doors.len();
    let mut scratch = vec![0; 64 * 1024];
    let mut events = Events::with_capacity(256);
    loop {
        match poll.poll(&mut events, None) {
            // It was stopped and goes on.
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result?,
        }
        for event in &events {
            let Token(token) = event.token();
            if let Some(door) = doors.get(token) {
                while let Ok((mut stream, _)) = listeners[token].accept() {
                    let _ = stream.set_nodelay(true);
                    poll.registry().register(&mut stream, Token(next), Interest::READABLE | Interest::WRITABLE)?;
                    served.insert(next, Served::new(stream, *door));
                    next += 1;
                }
            } else if let Some(connection) = served.get_mut(&token)
                && !connection.turn(&mut scratch, &answers).unwrap_or(false)
            {
                served.remove(&token);
            }
        }
    }
}

impl Served {
    fn new(stream: TcpStream, door: Door) -> Self {
        Self { stream, door, request: Vec::new(), body: 0, sending: None, last: false }
    }

    /// Does what can be done now; `false` when the connection is over.
    fn turn(&mut self, scratch: &mut [u8], answers: &[Vec<u8>]) -> io::Result<bool> {
        loop {
            if !self.send(answers)? {
                return Ok(true);
            }
            if self.last {
                return Ok(false);
            }
            let length = match self.stream.read(scratch) {
                Ok(0) => return Ok(false),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            };
            match self.door {
                Door::Http => self.take(&scratch[..length]),
                Door::Echo => self.stream.write_all(&scratch[..length])?,
                Door::EchoOnce => {
                    self.stream.write_all(&scratch[..length])?;
                    return Ok(false);
                }
                Door::Bulk => self.sending = Some((BULK_ANSWER, 0)),
            }
            // A short read has emptied the socket; the next bytes are a new event.
            if self.sending.is_none() && length < scratch.len() {
                return Ok(true);
            }
        }
    }

    /// Sends what is left of the answer; `false` when the socket takes no more.
    fn send(&mut self, answers: &[Vec<u8>]) -> io::Result<bool> {
        while let Some((answer, sent)) = self.sending {
            let bytes = &answers[answer];
            match self.stream.write(&bytes[sent..]) {
                Ok(length) if sent + length == bytes.len() => self.sending = None,
                Ok(length) => self.sending = Some((answer, sent + length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Peers send one request at a time: what follows a head is its body.
    fn take(&mut self, bytes: &[u8]) {
        if self.body > 0 {
            self.body = self.body.saturating_sub(bytes.len());
            if self.body == 0 {
                self.sending = Some((EMPTY_ANSWER, 0));
            }
            return;
        }
        let whole = if self.request.is_empty() {
            bytes
        } else {
            self.request.extend_from_slice(bytes);
            &self.request
        };
        let Some(end) = memmem::find(whole, b"\r\n\r\n").map(|at| at + 4) else {
            if self.request.is_empty() {
                self.request.extend_from_slice(bytes);
            }
            return;
        };
        if whole.starts_with(b"POST ") {
            self.body = content_length(&whole[..end]).saturating_sub(whole.len() - end);
            if self.body == 0 {
                self.sending = Some((EMPTY_ANSWER, 0));
            }
        } else {
            let answer =
                PATHS.iter().position(|(path, _)| whole.get(4..).is_some_and(|rest| rest.starts_with(path.as_bytes())));
            self.sending = Some((answer.unwrap_or(0), 0));
            self.last = whole.ends_with(LAST);
        }
        self.request.clear();
    }
}

/// What a head says of its body; every peer passes on that the load has given a length.
fn content_length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head);
    let fields = head.split("\r\n").filter_map(|line| line.split_once(':'));
    let mut lengths = fields.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    lengths.next().and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(0)
}

/// How the load's own requests end that ask for the end of the connection; peers keep theirs.
const LAST: &[u8] = b"\r\nConnection: close\r\n\r\n";

/// Paths and the sizes of their answers; the first one also answers every other path.
const PATHS: [(&str, usize); 5] =
    [("/health ", 2), ("/1k ", 1 << 10), ("/64k ", 1 << 16), ("/1m ", 1 << 20), ("/none ", 0)];

/// Where the answer without a body stands, for uploads.
const EMPTY_ANSWER: usize = 4;

/// Where the bytes of the bulk door stand, behind those of all paths.
const BULK_ANSWER: usize = PATHS.len();

fn answers() -> Vec<Vec<u8>> {
    PATHS
        .iter()
        .map(|(_, size)| {
            let head = format!(
                "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
                 Content-Type: text/plain\r\nContent-Length: {size}\r\n\r\n"
            );
            let mut bytes = head.into_bytes();
            bytes.resize(bytes.len() + size, b'o');
            bytes
        })
        .chain([vec![b'b'; BULK]])
        .collect()
}
