//! One connection to a `MySQL` server: packets in and out, plain or within TLS, written down for the transcript.
//!
//! It knows whether it can be used further ([`Wire::is_sound`]) and what it is waiting for ([`Waiting`]), so that
//! whoever gives an attempt up can say what did not come.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::auth::Channel;
use super::packet::{self, framed};
use super::rows::{Answer, Reader, Transaction};
use crate::probe::line::Line;
use crate::probe::report::{Failure, Layer};
use crate::probe::tls::Opener;
use crate::probe::transcript::{Log, Recorder};

/// A packet of the login phase that is longer is no such packet.
const MAX_PACKET: usize = 16 * 1024;
/// Most bytes of one answer to a statement.
const MAX_ANSWER: usize = 1024 * 1024;
/// How long the server may take to close after it was told goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// What an attempt waits for, told to whoever waits for the attempt.
#[derive(Debug, Clone)]
pub(super) struct Waiting(Arc<Mutex<&'static str>>);

/// A connection in use.
#[derive(Debug)]
pub(super) struct Wire {
    stream: Recorder<Line>,
    log: Log,
    waiting: Waiting,
    /// Of the next packet that is sent.
    number: u8,
    soundness: Soundness,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Soundness {
    /// Both sides are at the same place of the protocol.
    Sound,
    /// A packet was cut, or something came that belongs nowhere.
    Broken,
    /// In order, but not fit to be kept: a transaction is open.
    Used,
}

impl Waiting {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new("connection")))
    }

    pub(super) fn for_what(&self) -> &'static str {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, what: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }
}

impl Wire {
    pub(super) fn new(pipe: Line, log: &Log, waiting: &Waiting) -> Self {
        let stream = Recorder::new(pipe, log);
        Self { stream, log: log.clone(), waiting: waiting.clone(), number: 0, soundness: Soundness::Sound }
    }

    /// Goes on within TLS; the packets are counted on. The failure beside it says why nothing confidential may be sent.
    pub(super) async fn secured(self, tls: &Opener) -> Result<(Self, Option<Failure>), Failure> {
        let Self { stream, log, waiting, number, .. } = self;
        waiting.set("TLS handshake");
        let Line::Plain(plain) = stream.into_inner() else {
            return Err(Failure::new(Layer::Local, "TLS within TLS"));
        };
        // What breaks off here is counted against us, and nothing can be done about it but to ask less often.
        let opened = Box::pin(tls.open_to_the_end(plain, &log)).await.map_err(Failure::slowly)?;
        let wire = Self::new(Line::Tls(Box::new(opened.stream)), &log, &waiting);
        Ok((Self { number, ..wire }, opened.distrust))
    }

    /// Gives the bytes' way back.
    pub(super) fn into_pipe(self) -> Line {
        self.stream.into_inner()
    }

    /// Whether others can read along.
    pub(super) fn channel(&mut self) -> Channel {
        match self.stream.unseen() {
            Line::Plain(_) | Line::Datagrams(_) => Channel::Plain,
            Line::Tls(_) => Channel::Tls,
        }
    }

    /// Whether the next command can be sent.
    pub(super) fn is_sound(&self) -> bool {
        self.soundness != Soundness::Broken
    }

    /// Whether the connection may wait for the next attempt.
    pub(super) fn may_be_kept(&self) -> bool {
        self.soundness == Soundness::Sound
    }

    /// What came belongs nowhere.
    pub(super) fn astray(&mut self) -> Failure {
        self.soundness = Soundness::Broken;
        Failure::new(Layer::Protocol, "what came is not the MySQL protocol")
    }

    /// One packet of the login phase.
    pub(super) async fn receive(&mut self, what: &'static str) -> Result<Vec<u8>, Failure> {
        self.packet(what, MAX_PACKET).await
    }

    async fn packet(&mut self, what: &'static str, most: usize) -> Result<Vec<u8>, Failure> {
        self.waiting.set(what);
        let mut head = [0; 4];
        self.read(&mut head, what).await?;
        let length = usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16;
        if length > most && most == MAX_ANSWER {
            return Err(self.too_long(what));
        }
        if length == 0 || length > most {
            return Err(self.astray());
        }
        let mut payload = vec![0; length];
        self.read(&mut payload, what).await?;
        self.number = head[3].wrapping_add(1);
        Ok(payload)
    }

    fn too_long(&mut self, what: &str) -> Failure {
        self.soundness = Soundness::Broken;
        let limit = MAX_ANSWER / 1024;
        Failure::new(Layer::Answer, format!("the {what} is longer than {limit} KiB: add LIMIT 1"))
    }

    async fn read(&mut self, bytes: &mut [u8], what: &str) -> Result<(), Failure> {
        match self.stream.read_exact(bytes).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.broken(&error, what)),
        }
    }

    fn broken(&mut self, error: &io::Error, what: &str) -> Failure {
        self.soundness = Soundness::Broken;
        Failure::broken(error, &format!("the {what}"))
    }

    /// Sends the next packet.
    pub(super) async fn send(&mut self, payload: &[u8]) -> Result<(), Failure> {
        let bytes = framed(self.number, payload);
        self.number = self.number.wrapping_add(1);
        match self.stream.write_all(&bytes).await {
            Ok(()) => self.flush().await,
            Err(error) => Err(self.broken(&error, self.waiting.for_what())),
        }
    }

    /// The same, and nobody writes it down.
    pub(super) async fn send_unseen(&mut self, payload: &[u8]) -> Result<(), Failure> {
        let bytes = framed(self.number, payload);
        self.number = self.number.wrapping_add(1);
        match self.stream.unseen().write_all(&bytes).await {
            Ok(()) => self.flush().await,
            Err(error) => Err(self.broken(&error, self.waiting.for_what())),
        }
    }

    /// TLS may hold back what was written.
    async fn flush(&mut self) -> Result<(), Failure> {
        match self.stream.flush().await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.broken(&error, self.waiting.for_what())),
        }
    }

    /// Sends a command and reads the answer to it.
    pub(super) async fn command(&mut self, command: &[u8], what: &'static str) -> Result<Answer, Failure> {
        self.number = 0;
        self.waiting.set(what);
        self.send(command).await?;
        let mut reader = Reader::new();
        let mut left = MAX_ANSWER;
        loop {
            let payload = self.packet(what, MAX_ANSWER).await?;
            let Some(rest) = left.checked_sub(payload.len() + 4) else { return Err(self.too_long(what)) };
            left = rest;
            match reader.take(&payload) {
                Ok(None) => {}
                Ok(Some(answer)) => {
                    if reader.transaction() == Transaction::Open {
                        self.soundness = Soundness::Used;
                    }
                    return Ok(answer);
                }
                Err(_malformed) => return Err(self.astray()),
            }
        }
    }

    /// Says goodbye where the server would listen, and leaves it to the background to wait for the end.
    pub(super) async fn end(mut self, goodbye: Goodbye) {
        if goodbye == Goodbye::Quit && self.is_sound() {
            self.number = 0;
            // A server that is gone needs no goodbye.
            let _ = self.send(&packet::QUIT).await;
        }
        tokio::spawn(close(self.into_pipe()));
    }
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goodbye {
    /// Logged in: with `COM_QUIT`.
    Quit,
    /// The server has had the last word.
    Silence,
}

/// The server closes first. Whatever it still says is read, so that we end with FIN and not with a reset.
async fn close(mut pipe: Line) {
    let ending = async {
        pipe.shutdown().await?;
        let mut rest = [0_u8; 512];
        while pipe.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    // A server that does not close within the time has been told all the same.
    let _ = tokio::time::timeout(GOODBYE, ending).await;
}

/// Says goodbye without waiting for anything: when a connection that was kept is dropped, there is nobody to wait.
pub(super) fn quit_at_once(mut pipe: Line) {
    let bytes = framed(0, &packet::QUIT);
    let mut context = Context::from_waker(Waker::noop());
    // Nothing else is under way on it, so that five bytes have room; where they have not, the server is gone.
    if let Poll::Ready(Ok(_)) = Pin::new(&mut pipe).poll_write(&mut context, &bytes) {
        let _ = Pin::new(&mut pipe).poll_flush(&mut context);
        let _ = Pin::new(&mut pipe).poll_shutdown(&mut context);
    }
}
