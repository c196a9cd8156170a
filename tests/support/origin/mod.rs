//! Servers that the balancer is put in front of: they answer well, or fail in exactly the way their script names.
//!
//! ```ignore
//! let good = Origin::http().reply("a").start();
//! let bad = Origin::http().resets_mid_body().start();
//! good.stop();        // as if killed: listening socket and connections are gone, the port stays reserved
//! good.start_again(); // on the same port
//! ```
//! Each connection has a thread of its own; the port comes from the system and is kept while the origin lives.

mod http;
mod script;
mod tcp;
mod wire;

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use super::eventually::{DEADLINE, eventually};
pub use script::Script;
use script::{Accept, Protocol};

/// Requests kept for asserting; later ones are only counted.
const MAX_KEPT: usize = 20_000;

/// A server that runs, or has been stopped and may start again.
pub struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
    run: Mutex<Option<Running>>,
    /// Bound and never listening: keeps the port ours, and refuses while nothing else listens.
    _reserved: Socket,
}

/// One request as it came.
#[derive(Debug, Clone, Default)]
pub struct Received {
    /// Number of the connection it came on, from 0.
    pub connection: usize,
    /// `GET`.
    pub method: String,
    /// `/path?query`.
    pub target: String,
    /// Request line and headers, with the empty line.
    pub head: String,
    /// The body, chunks put together.
    pub body: Vec<u8>,
    /// All bytes of the request.
    pub raw: Vec<u8>,
}

impl Received {
    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The value of a parameter of the query.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// Values of a header, in order, by a name in any case.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).first().copied()
    }
}

// === impl Origin ===

impl Origin {
    /// An HTTP server that answers every request with 200 and an empty body.
    pub fn http() -> Script {
        Script::new(Protocol::Http)
    }

    /// A TCP server that sends back what it gets, and ends its side when the other ended.
    pub fn echo() -> Script {
        Script::new(Protocol::Echo)
    }

    /// A TCP server that speaks first, then echoes.
    pub fn tcp_banner(banner: impl AsRef<[u8]>) -> Script {
        Script::new(Protocol::Banner(banner.as_ref().into()))
    }

    /// A TCP server that says nothing until the client has ended its side, and then sends this.
    pub fn tcp_answers_at_end(answer: impl AsRef<[u8]>) -> Script {
        Script::new(Protocol::AnswerAtEnd(answer.as_ref().into()))
    }

    /// A TCP server that sends so many bytes and closes.
    pub fn tcp_source(bytes: usize) -> Script {
        Script::new(Protocol::Source(bytes))
    }

    /// A TCP server that reads so many bytes and resets the connection.
    pub fn tcp_resets_after(bytes: usize) -> Script {
        Script::new(Protocol::ResetAfter(bytes))
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Behaves by another script from the next connection or request on.
    pub fn becomes(&self, script: Script) {
        *self.shared.script.lock().unwrap() = script;
    }

    /// Goes as if killed: nothing listens, every connection is closed. Returns when all of it is done.
    pub fn stop(&self) {
        if let Some(running) = self.run.lock().unwrap().take() {
            running.stop();
        }
    }

    /// Listens again on the same port; does nothing while it runs.
    pub fn start_again(&self) {
        let mut run = self.run.lock().unwrap();
        if run.is_none() {
            *run = Some(Running::start(self.address, &self.shared));
        }
    }

    /// Closes every open connection and goes on listening.
    pub fn drop_connections(&self) {
        if let Some(running) = self.run.lock().unwrap().as_ref() {
            running.run.close_connections();
        }
    }

    /// The requests so far, in the order in which they were complete.
    pub fn requests(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// The last request.
    #[track_caller]
    pub fn last_request(&self) -> Received {
        self.shared.received.lock().unwrap().last().cloned().expect("the origin got a request")
    }

    /// Requests so far.
    pub fn request_count(&self) -> usize {
        self.shared.requests.load(SeqCst)
    }

    /// Requests so far for this path (without query).
    pub fn requests_for(&self, path: &str) -> usize {
        let received = self.shared.received.lock().unwrap();
        received.iter().filter(|request| request.target.split('?').next() == Some(path)).count()
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.accepted.load(SeqCst)
    }

    /// Connections open now.
    pub fn open_connections(&self) -> usize {
        self.run.lock().unwrap().as_ref().map_or(0, |running| *running.run.open.lock().unwrap())
    }

    /// Bytes that TCP connections sent it.
    pub fn received_bytes(&self) -> usize {
        self.shared.bytes.load(SeqCst)
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.shared.received.lock().unwrap().clear();
        self.shared.requests.store(0, SeqCst);
    }

    /// Waits until it got so many requests.
    #[track_caller]
    pub fn wait_for_requests(&self, count: usize) {
        eventually(&format!("{count} requests at the origin"), DEADLINE, || self.request_count() >= count);
    }

    /// Waits until it got so many requests for this path.
    #[track_caller]
    pub fn wait_for_requests_for(&self, path: &str, count: usize) {
        eventually(&format!("{count} requests for {path}"), DEADLINE, || self.requests_for(path) >= count);
    }

    fn start(script: Script) -> Self {
        let ip = script.ip;
        let refuses = matches!(script.accept, Accept::Refuse);
        let reserved = socket().unwrap();
        reserved.bind(&SocketAddr::new(ip, script.port).into()).expect("the address is free");
        let address = reserved.local_addr().unwrap().as_socket().expect("an IP socket");
        let shared = Arc::new(Shared {
            script: Mutex::new(script),
            received: Mutex::default(),
            requests: AtomicUsize::new(0),
            accepted: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        });
        let run = (!refuses).then(|| Running::start(address, &shared));
        Self { address, shared, run: Mutex::new(run), _reserved: reserved }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What outlives a stop.
struct Shared {
    script: Mutex<Script>,
    received: Mutex<Vec<Received>>,
    requests: AtomicUsize,
    accepted: AtomicUsize,
    bytes: AtomicUsize,
}

impl Shared {
    fn script(&self) -> Script {
        self.script.lock().unwrap().clone()
    }

    /// Records a request and gives its number, from 1.
    fn record(&self, request: Received) -> usize {
        let mut received = self.received.lock().unwrap();
        if received.len() < MAX_KEPT {
            received.push(request);
        }
        self.requests.fetch_add(1, SeqCst) + 1
    }
}

/// One life, from a start to a stop.
struct Run {
    stopped: Mutex<bool>,
    changed: Condvar,
    connections: Mutex<Vec<Weak<TcpStream>>>,
    open: Mutex<usize>,
}

impl Run {
    /// Lets `time` pass; ends at once when the origin is stopped.
    fn wait(&self, time: Duration) {
        let end = Instant::now() + time;
        let mut stopped = self.stopped.lock().unwrap();
        while !*stopped {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            stopped = self.changed.wait_timeout(stopped, left).unwrap().0;
        }
    }

    fn is_stopped(&self) -> bool {
        *self.stopped.lock().unwrap()
    }

    fn close_connections(&self) {
        for stream in self.connections.lock().unwrap().drain(..).filter_map(|stream| stream.upgrade()) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn add(&self, stream: &Arc<TcpStream>) {
        let mut connections = self.connections.lock().unwrap();
        if connections.len().is_power_of_two() {
            connections.retain(|stream| stream.strong_count() > 0);
        }
        connections.push(Arc::downgrade(stream));
        *self.open.lock().unwrap() += 1;
    }
}

struct Running {
    run: Arc<Run>,
    listener: Arc<TcpListener>,
    accepting: JoinHandle<()>,
}

impl Running {
    fn start(address: SocketAddr, shared: &Arc<Shared>) -> Self {
        let socket = socket().unwrap();
        socket.bind(&address.into()).expect("the port is reserved for this origin");
        socket.listen(1024).unwrap();
        let listener: Arc<TcpListener> = Arc::new(socket.into());
        let run = Arc::new(Run {
            stopped: Mutex::new(false),
            changed: Condvar::new(),
            connections: Mutex::default(),
            open: Mutex::new(0),
        });
        let (listening, accepted_by, shared) = (Arc::clone(&listener), Arc::clone(&run), Arc::clone(shared));
        let accepting = std::thread::spawn(move || accept(&listening, &accepted_by, &shared));
        Self { run, listener, accepting }
    }

    fn stop(self) {
        *self.run.stopped.lock().unwrap() = true;
        self.run.changed.notify_all();
        // On Linux this wakes a blocked accept.
        let _ = SockRef::from(&*self.listener).shutdown(Shutdown::Both);
        drop(self.listener);
        self.accepting.join().expect("the accepting thread does not panic");
        self.run.close_connections();
        eventually("the origin's connections end", DEADLINE, || *self.run.open.lock().unwrap() == 0);
    }
}

fn socket() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    // The reserving socket and the listening one hold the same port.
    socket.set_reuse_port(true)?;
    Ok(socket)
}

fn accept(listener: &TcpListener, run: &Arc<Run>, shared: &Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept() {
        if run.is_stopped() {
            return;
        }
        let number = shared.accepted.fetch_add(1, SeqCst);
        let script = shared.script();
        let _ = stream.set_nodelay(true);
        let stream = Arc::new(stream);
        match script.accept {
            Accept::Reset => reset(&stream),
            Accept::Close => {}
            Accept::Serve | Accept::Stall | Accept::Refuse => {
                run.add(&stream);
                let (run, shared) = (Arc::clone(run), Arc::clone(shared));
                std::thread::spawn(move || {
                    let open = Open(&run);
                    // An error is the other side's end, which is what most tests are about.
                    let _ = serve(stream, number, &run, &shared, &script);
                    drop(open);
                });
            }
        }
    }
}

/// Counts a connection off when its thread ends, also by panic.
struct Open<'run>(&'run Run);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        *self.0.open.lock().unwrap() -= 1;
    }
}

fn serve(stream: Arc<TcpStream>, number: usize, run: &Run, shared: &Shared, script: &Script) -> io::Result<()> {
    let mut wire = wire::Wire::new(stream);
    if matches!(script.accept, Accept::Stall) {
        return wire.discard();
    }
    match &script.protocol {
        Protocol::Http => http::serve(&mut wire, number, run, shared),
        other => tcp::serve(&mut wire, other, run, shared),
    }
}

/// The connection's end, when it comes, is a reset.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
