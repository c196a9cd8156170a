//! A connection of a check that speaks a protocol of its own: opened as every probe opens one, plain or TLS, with what
//! has come and was not taken yet in hand.
//!
//! Used by `postgres`, `redis`, `smtp`, `ldap`, `script` and `agent`. Never holds more than [`MAX_HAND`].

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::line::Line;
use super::question::{Question, Ready};
use super::report::{Failure, Layer};
use super::tls::{self, Opener};
use super::transcript::{Log, Recorder};
use crate::config::model::{Address, CheckTls, Site};
use crate::net::datagram;

/// Most that may come before it is understood: no answer of a check is longer.
pub(super) const MAX_HAND: usize = 64 * 1024;
/// How long the answer to a goodbye is waited for.
const LAST_WORD: Duration = Duration::from_millis(250);
/// Room made for one read.
const PIECE: usize = 4 * 1024;

/// A connection, and what has come over it.
#[derive(Debug)]
pub(super) struct Wire {
    line: Recorder<Line>,
    hand: Vec<u8>,
    log: Log,
    /// When the attempt has to be over.
    deadline: Instant,
}

/// The TLS that a check begins every connection with, ready; the sentence says why it cannot be.
pub(super) type Security = Result<Option<Opener>, String>;

/// Makes the TLS of a check ready.
pub(super) fn security(tls: Option<&CheckTls>, at: &Address) -> Security {
    tls.map(|tls| Opener::new(tls, at, &[])).transpose()
}

/// The TLS of a question that was made ready by [`security`].
pub(super) fn secured(question: &Question) -> Result<Option<&Opener>, Failure> {
    match question.prepared() {
        Ready::Wire(Ok(opener)) => Ok(opener.as_ref()),
        Ready::Wire(Err(why)) => Err(Failure::new(Layer::Tls, why.clone())),
        _ => Err(Failure::new(Layer::Local, "this question was made ready for another protocol")),
    }
}

impl Wire {
    /// Opens a connection to `address`, plain.
    pub(super) async fn open(question: &Question, address: &Site, log: &Log) -> Result<Self, Failure> {
        let stream = question.connect(address, log).await?;
        let line = Recorder::new(Line::Plain(stream), log);
        Ok(Self { line, hand: Vec::new(), log: log.clone(), deadline: log.began() + question.timeout })
    }

    /// Makes a socket for datagrams to `address`. A datagram beyond [`PIECE`] is cut off there.
    pub(super) fn towards(question: &Question, address: SocketAddr, log: &Log) -> Result<Self, Failure> {
        let socket = datagram::Line::by_to(question.way.as_ref(), address);
        let socket = socket.map_err(|error| Failure::connecting(&error, question.timeout))?;
        log.connected(socket.local_address().ok(), address.into());
        let line = Recorder::new(Line::Datagrams(socket), log);
        Ok(Self { line, hand: Vec::new(), log: log.clone(), deadline: log.began() + question.timeout })
    }

    /// Opens a connection that begins with TLS where the check says so.
    pub(super) async fn open_with(
        question: &Question,
        opener: Option<&Opener>,
        address: &Site,
        log: &Log,
    ) -> Result<Self, Failure> {
        let wire = Self::open(question, address, log).await?;
        match opener {
            Some(opener) => wire.secure(opener).await,
            None => Ok(wire),
        }
    }

    /// TLS begins. What came before belongs to the plain part: nobody may have slipped in a word of the other.
    pub(super) async fn secure(self, opener: &Opener) -> Result<Self, Failure> {
        if !self.hand.is_empty() {
            return Err(Failure::new(Layer::Protocol, "it spoke on before TLS had begun"));
        }
        let Self { line, log, deadline, .. } = self;
        let Line::Plain(stream) = line.into_inner() else {
            return Err(Failure::new(Layer::Local, "TLS has begun already"));
        };
        let stream = opener.open(stream, &log).await?;
        let line = Recorder::new(Line::Tls(Box::new(stream)), &log);
        Ok(Self { line, hand: Vec::new(), log, deadline })
    }

    /// Sends all of it, or as much as the server takes: one that closes has often said why, and the next read hears
    /// it, or says that the connection broke.
    pub(super) async fn send(&mut self, bytes: &[u8]) {
        if self.line.write_all(bytes).await.is_ok() {
            let _ = self.line.flush().await;
        }
    }

    /// The same for what nobody may read later: a password, or what can be made of one.
    pub(super) async fn send_unseen(&mut self, bytes: &[u8]) {
        self.log.note("sent what stands for the password (not written down)");
        let line = self.line.unseen();
        if line.write_all(bytes).await.is_ok() {
            let _ = line.flush().await;
        }
    }

    /// What has come and was not taken.
    pub(super) fn hand(&self) -> &[u8] {
        &self.hand
    }

    /// Takes the first bytes out of the hand.
    pub(super) fn take(&mut self, count: usize) -> Vec<u8> {
        let rest = self.hand.split_off(count.min(self.hand.len()));
        std::mem::replace(&mut self.hand, rest)
    }

    /// Waits until more has come; the end of the connection is a failure.
    pub(super) async fn fill(&mut self, waiting_for: &str) -> Result<(), Failure> {
        match self.more().await {
            Ok(0) => Err(Failure::broken(&io::ErrorKind::UnexpectedEof.into(), waiting_for)),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::OutOfMemory => Err(Failure::new(
                Layer::Protocol,
                format!("more than {} KiB came before {waiting_for}", MAX_HAND / 1024),
            )),
            // A server that does not like our certificate says so after the handshake.
            Err(error) => Err(tls::late(&error).unwrap_or_else(|| Failure::broken(&error, waiting_for))),
        }
    }

    /// Waits until more has come, or the end: then 0.
    pub(super) async fn more(&mut self) -> io::Result<usize> {
        if self.hand.len() >= MAX_HAND {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.hand.reserve(PIECE);
        self.line.read_buf(&mut self.hand).await
    }

    /// Exactly so many bytes.
    pub(super) async fn exactly(&mut self, count: usize, waiting_for: &str) -> Result<Vec<u8>, Failure> {
        while self.hand.len() < count {
            self.fill(waiting_for).await?;
        }
        Ok(self.take(count))
    }

    /// One line, without its end.
    pub(super) async fn line(&mut self, waiting_for: &str) -> Result<Vec<u8>, Failure> {
        let mut seen = 0;
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.hand[seen..]) {
                let mut line = self.take(seen + end + 1);
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(line);
            }
            seen = self.hand.len();
            self.fill(waiting_for).await?;
        }
    }

    /// Waits for the server's last word. What was found stands already: so it waits a little, and never to the end of
    /// the attempt's time.
    pub(super) async fn last_word(&mut self, hearing: impl AsyncFnOnce(&mut Self)) {
        let left = self.deadline.saturating_duration_since(Instant::now());
        // Late or never is the same.
        let _ = timeout(LAST_WORD.min(left / 2), hearing(self)).await;
    }

    /// Says that nothing more is coming. What becomes of it no longer matters.
    pub(super) async fn close(mut self) {
        let _ = self.line.shutdown().await;
    }
}
