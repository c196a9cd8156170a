//! Traffic at a fixed rate, whatever becomes of it: each request leaves at its intended time, so that a balancer that
//! stalls is charged for everything that should have been sent meanwhile.
//!
//! Every other request goes over a kept connection, the rest over one of their own.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::eventually::eventually;

/// A request without an answer for this long is lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// GETs at a fixed rate, a fixed number of them.
pub struct OpenLoop {
    sent: Arc<AtomicUsize>,
    thread: JoinHandle<Vec<Sent>>,
}

/// What became of one request.
#[derive(Debug, Clone)]
pub struct Sent {
    /// When it was to be sent.
    pub at: Instant,
    /// From then to the end of the answer.
    pub took: Duration,
    /// The answer, or why there was none.
    pub end: Result<Answer, String>,
}

/// An answer, as far as it matters here.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// The code.
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Sent {
    /// Whether the answer was 200 with one of these bodies.
    pub fn is_right(&self, bodies: &[String]) -> bool {
        self.end.as_ref().is_ok_and(|answer| answer.status == 200 && bodies.contains(&answer.body))
    }
}

impl OpenLoop {
    /// Sends `count` requests, `rate` each second.
    pub fn start(address: SocketAddr, rate: u32, count: usize) -> Self {
        let sent = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&sent);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(run(address, rate, count, &counter))
        });
        Self { sent, thread }
    }

    /// Waits until `count` requests have been sent.
    #[track_caller]
    pub fn wait_for(&self, count: usize) {
        eventually("the requests are sent", Duration::from_secs(60), || self.sent.load(SeqCst) >= count);
    }

    /// Waits for its end; what became of each request, in the order in which they were to be sent.
    pub fn finish(self) -> Vec<Sent> {
        self.thread.join().expect("the load does not panic")
    }
}

async fn run(address: SocketAddr, rate: u32, count: usize, counter: &AtomicUsize) -> Vec<Sent> {
    let kept: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    let mut pace = tokio::time::interval(Duration::from_secs(1) / rate);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let mut under_way = Vec::with_capacity(count);
    for number in 0..count {
        let at = pace.tick().await.into_std();
        let kept = Arc::clone(&kept);
        under_way.push(tokio::spawn(async move {
            let end = tokio::time::timeout(PATIENCE, exchange(address, number % 2 == 0, &kept)).await;
            let end = match end {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_elapsed) => Err(format!("no answer within {PATIENCE:?}")),
            };
            Sent { at, took: at.elapsed(), end }
        }));
        counter.fetch_add(1, SeqCst);
    }
    let mut all = Vec::with_capacity(count);
    for task in under_way {
        all.push(task.await.expect("a request does not panic"));
    }
    all
}

async fn exchange(address: SocketAddr, keeps: bool, kept: &Mutex<Vec<TcpStream>>) -> io::Result<Answer> {
    let idle = if keeps { kept.lock().unwrap().pop() } else { None };
    let mut stream = match idle {
        Some(stream) => stream,
        None => TcpSocket::new_v4()?.connect(address).await?,
    };
    let last = if keeps { "" } else { "Connection: close\r\n" };
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {address}\r\n{last}\r\n").as_bytes()).await?;
    let (answer, reusable) = read(&mut stream).await?;
    if keeps && reusable {
        kept.lock().unwrap().push(stream);
    }
    Ok(answer)
}

/// Reads an answer with a length or up to the connection's end.
async fn read(stream: &mut TcpStream) -> io::Result<(Answer, bool)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed before an answer"));
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next()?.parse::<usize>().ok());
    while length.is_none_or(|length| bytes.len() < end + length) {
        if stream.read_buf(&mut bytes).await? == 0 {
            match length {
                None => break,
                Some(_) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed within a body")),
            }
        }
    }
    let body = String::from_utf8_lossy(&bytes[end..]).into_owned();
    let reusable = length.is_some() && !head.contains("connection: close");
    Ok((Answer { status, head, body }, reusable))
}
