//! Single probes: servers that treat each connection as a test wants it, questions to them, and what came of it.
//!
//! ```ignore
//! let at = probing::answering(b"HTTP/1.1 200 OK\r\n\r\n").await;
//! probing::good(&probing::probe(CheckKind::Tcp, at).await, "open");
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel::config::model::{Address, CheckKind};
use evenkeel::probe::{Layer, Question, Report, attempt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// More than a probe takes on the busiest machine.
pub const LONG: Duration = Duration::from_secs(20);

/// A server that treats every connection like this.
pub async fn server<F, T>(treat: F) -> SocketAddr
where
    F: Fn(TcpStream) -> T + Send + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(treat(stream));
        }
    });
    address
}

/// Reads a request and answers with these bytes, then closes.
pub async fn answering(bytes: impl AsRef<[u8]>) -> SocketAddr {
    let bytes: Arc<[u8]> = bytes.as_ref().into();
    server(move |mut stream| {
        let bytes = Arc::clone(&bytes);
        async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(&bytes).await;
        }
    })
    .await
}

/// The head of a request, or as much of it as came.
pub async fn read_head(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).await.is_ok_and(|n| n > 0) {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// Where nobody listens.
pub async fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// A question to `at`.
pub fn question(kind: CheckKind, at: SocketAddr, timeout: Duration) -> Arc<Question> {
    Arc::new(Question::new(kind, Address::Socket(at), timeout))
}

/// One probe with all the time that it needs.
pub async fn probe(kind: CheckKind, at: SocketAddr) -> Report {
    attempt(question(kind, at, LONG), at).await
}

/// One probe that must keep its deadline.
pub async fn probe_within(kind: CheckKind, at: SocketAddr, timeout: Duration) -> Report {
    let started = Instant::now();
    let report = attempt(question(kind, at, timeout), at).await;
    assert!(started.elapsed() < timeout + Duration::from_secs(1), "it keeps its deadline: {report:?}");
    report
}

/// It was good, and said these words.
#[track_caller]
pub fn good(report: &Report, words: &str) {
    match &report.result {
        Ok(found) => assert!(found.what.contains(words), "{found:?} should contain {words:?}"),
        Err(failure) => panic!("{failure}; {:?}", report.transcript.lines(200)),
    }
}

/// It failed at this layer, and said these words.
#[track_caller]
pub fn bad(report: &Report, layer: Layer, words: &str) {
    match &report.result {
        Ok(found) => panic!("should fail with {words:?} but: {found:?}"),
        Err(failure) => {
            assert_eq!(failure.layer, layer, "{failure}");
            assert!(failure.what.contains(words), "{:?} should contain {words:?}", failure.what);
        }
    }
}

/// Its transcript has these words, in this order.
#[track_caller]
pub fn tells(report: &Report, words: &[&str]) {
    let lines = report.transcript.lines(2_000).join("\n");
    let mut rest = lines.as_str();
    for word in words {
        let at = rest.find(word).unwrap_or_else(|| panic!("{word:?} is missing, or comes too early, in:\n{lines}"));
        rest = &rest[at + word.len()..];
    }
}
