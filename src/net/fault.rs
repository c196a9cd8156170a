//! A fault that a drill injects on the way to a backend: traffic and probes meet it in the place of the connection.
//!
//! What it needs of the other side it plays itself, over a pair of sockets of this machine. Connections that stand are
//! left alone.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use super::connect::connect_by;
use super::transport::Transport;
use super::way::Way;
use crate::config::model::Site;

/// What a connection meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nobody listens.
    Refuse,
    /// Nothing comes back.
    Blackhole,
    /// The backend answers, each time so much later.
    Slow(Duration),
    /// Each request is answered with this status, by nobody but the drill.
    Errors(u16),
}

/// Who does it, and why.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct By {
    /// Who.
    pub owner: Arc<str>,
    /// Why.
    pub reason: Arc<str>,
}

/// A fault with an end.
#[derive(Debug)]
pub struct Fault {
    kind: Kind,
    /// Who does it, and why.
    pub by: By,
    began: Instant,
    /// It is over then, whatever becomes of those who should end it.
    until: Instant,
    /// It is over now. Written by whoever ends the drill.
    over: AtomicBool,
}

impl Kind {
    /// Its word on the command line, in the API and in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Blackhole => "blackhole",
            Self::Slow(_) => "slow",
            Self::Errors(_) => "errors",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refuse | Self::Blackhole => f.write_str(self.word()),
            Self::Slow(delay) => write!(f, "slow by {delay:?}"),
            Self::Errors(status) => write!(f, "errors {status}"),
        }
    }
}

/// One read of the two sides.
const PIECE: usize = 16 * 1024;
/// Longest head of a request that is answered with a status.
const MAX_HEAD: usize = 64 * 1024;
/// A client of the answer takes it within this time.
const LAST_WORDS: Duration = Duration::from_secs(5);

impl Fault {
    /// A fault that ends by itself after `lasts`.
    pub fn new(kind: Kind, lasts: Duration, by: By) -> Self {
        let began = Instant::now();
        Self { kind, by, began, until: began + lasts, over: AtomicBool::new(false) }
    }

    /// How long it has been there.
    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// How long it will be there.
    pub fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Ends it: also what has begun under it goes on as usual.
    pub fn end(&self) {
        self.over.store(true, Relaxed);
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        self.over.load(Relaxed) || Instant::now() >= self.until
    }

    /// Whether it stands in for the backend: then there is no TLS with it either.
    pub fn stands_in(&self) -> bool {
        matches!(self.kind, Kind::Errors(_)) && !self.is_over()
    }
}

/// Opens a connection as [`connect_by`] does, and meets the fault.
///
/// # Errors
/// What the fault wants said, or what the system says.
pub async fn connect_into(
    fault: &Arc<Fault>,
    way: Option<&Way>,
    site: &Site,
    deadline: Duration,
) -> io::Result<Transport> {
    if fault.is_over() {
        return connect_by(way, site, deadline).await;
    }
    match fault.kind {
        Kind::Refuse => Err(io::ErrorKind::ConnectionRefused.into()),
        Kind::Blackhole => {
            sleep(deadline).await;
            Err(io::ErrorKind::TimedOut.into())
        }
        Kind::Slow(delay) => {
            let backend = connect_by(way, site, deadline).await?;
            let (near, far) = UnixStream::pair()?;
            tokio::spawn(late(backend, far, delay, Arc::clone(fault)));
            Ok(near.into())
        }
        Kind::Errors(status) => {
            let (near, far) = UnixStream::pair()?;
            tokio::spawn(async move {
                // Whoever has sent something else than a request gets no answer.
                let _ = timeout(LAST_WORDS, answer(far, status)).await;
            });
            Ok(near.into())
        }
    }
}

/// Asks within `deadline` whether the port is open, as [`super::connect::knock`] does, and meets the fault.
///
/// # Errors
/// What the fault wants said, or what the system says.
pub async fn knock_into(fault: &Arc<Fault>, way: Option<&Way>, site: &Site, deadline: Duration) -> io::Result<()> {
    match fault.kind {
        // A port is as open as before.
        Kind::Slow(_) | Kind::Errors(_) => super::connect::knock(way, site, deadline).await,
        Kind::Refuse | Kind::Blackhole => connect_into(fault, way, site, deadline).await.map(drop),
    }
}

/// Passes everything on, and holds back what the backend says first, and first after each thing that it is told.
async fn late(backend: Transport, near: UnixStream, delay: Duration, fault: Arc<Fault>) {
    let (mut from_backend, mut to_backend) = tokio::io::split(backend);
    let (mut from_near, mut to_near) = near.into_split();
    let asked = AtomicBool::new(true);
    let up = async {
        let mut piece = vec![0; PIECE];
        loop {
            let read = from_near.read(&mut piece).await?;
            if read == 0 {
                return to_backend.shutdown().await;
            }
            asked.store(true, Relaxed);
            to_backend.write_all(&piece[..read]).await?;
        }
    };
    let down = async {
        let mut piece = vec![0; PIECE];
        loop {
            let read = from_backend.read(&mut piece).await?;
            if asked.swap(false, Relaxed) && !fault.is_over() {
                sleep(delay).await;
            }
            if read == 0 {
                return to_near.shutdown().await;
            }
            to_near.write_all(&piece[..read]).await?;
        }
    };
    // What breaks off on one side breaks off on the other, by the drop of both.
    let _: io::Result<((), ())> = async { tokio::try_join!(up, down) }.await;
}

/// Answers one request.
async fn answer(mut stream: UnixStream, status: u16) -> io::Result<()> {
    let mut head = Vec::new();
    let mut piece = vec![0; PIECE];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut piece).await?;
        if read == 0 || head.len() > MAX_HEAD {
            return Ok(());
        }
        head.extend_from_slice(&piece[..read]);
    }
    let answer = format!("HTTP/1.1 {status} Drill\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    // A socket that is closed with something unread in it resets, and the answer would be lost.
    while stream.read(&mut piece).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    async fn echo() -> (Site, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let site = listener.local_addr().unwrap().into();
        let serving = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        (site, serving)
    }

    async fn said(fault: Kind, word: &[u8]) -> io::Result<Vec<u8>> {
        let (site, _serving) = echo().await;
        let mut stream = connect_into(&Arc::new(Fault::new(fault, LONG, By::default())), None, &site, LONG).await?;
        stream.write_all(word).await?;
        stream.shutdown().await?;
        let mut said = Vec::new();
        stream.read_to_end(&mut said).await?;
        Ok(said)
    }

    #[tokio::test]
    async fn each_fault_is_what_it_says() {
        assert_eq!(said(Kind::Refuse, b"x").await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let begun = Instant::now();
        assert_eq!(said(Kind::Slow(Duration::from_millis(80)), b"word").await.unwrap(), b"word");
        assert!(begun.elapsed() >= Duration::from_millis(80));
        let answer = said(Kind::Errors(503), b"GET / HTTP/1.1\r\nHost: x\r\n\r\nand a body").await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 503 "), "{}", String::from_utf8_lossy(&answer));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_comes_out_of_a_black_hole_within_the_deadline() {
        let fault = Arc::new(Fault::new(Kind::Blackhole, LONG, By::default()));
        let site = "127.0.0.1:1".parse::<std::net::SocketAddr>().unwrap().into();
        let error = connect_into(&fault, None, &site, Duration::from_secs(7)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_fault_that_is_over_is_none() {
        let (site, _serving) = echo().await;
        let ended = Arc::new(Fault::new(Kind::Refuse, LONG, By::default()));
        ended.end();
        assert!(connect_into(&ended, None, &site, LONG).await.is_ok());
        let late = Arc::new(Fault::new(Kind::Refuse, Duration::ZERO, By::default()));
        assert!(late.is_over() && connect_into(&late, None, &site, LONG).await.is_ok());
    }
}
