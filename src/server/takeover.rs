//! Taking over: this process asks the one before it for its work, and goes on with it.
//!
//! [`Takeover::ask`] and [`Takeover::of_parent`] hear the offer before anything is started; `control` takes up what is
//! offered, accepts, and says so by [`Takeover::ready`]. Until it hears that the old process has let go, that one may
//! still go on alone.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::control::handover::{Fault, Hello, Ledger, MAX_OFFER_BYTES, Message, Offer, Offered, Ready};
use crate::net::handover::Line;

/// How long the old process may take to say what it offers.
const OFFER: Duration = Duration::from_secs(30);
/// How long it may take to let go. It has set a limit of its own for us, and says when that is over.
const LET_GO: Duration = Duration::from_secs(30);

/// What the process before this one offers.
#[derive(Debug)]
pub struct Takeover {
    line: Line,
    pub(super) offer: Offer,
    /// One list for each of `offer.sockets`.
    pub(super) sockets: Vec<Vec<OwnedFd>>,
    /// Where processes that drain still tell what they count.
    pub(super) lines: Vec<OwnedFd>,
    /// Since when.
    pub(super) asked: Instant,
}

/// Why nothing is taken over.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    /// The conversation broke off.
    #[error("the running evenkeel cannot be asked for its work: {0}")]
    Line(String),
    /// It said something that cannot be used.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// It does not want to.
    #[error("the running evenkeel does not hand over: {0}")]
    Refused(String),
    /// Its sockets would die with its container.
    #[error(
        "the running evenkeel lives in another network than this one ({theirs}, here {ours}), and its sockets would end \
         with that: run both in the host's network, or in the network of one container that stays"
    )]
    Network {
        /// Its namespace.
        theirs: String,
        /// Ours.
        ours: String,
    },
}

impl From<io::Error> for TakeoverError {
    fn from(error: io::Error) -> Self {
        Self::Line(match error.kind() {
            io::ErrorKind::TimedOut => "it does not answer".to_owned(),
            io::ErrorKind::UnexpectedEof => "it has hung up; its log says why".to_owned(),
            _ => error.to_string(),
        })
    }
}

/// What became of the old process.
#[derive(Debug)]
pub(super) enum LetGo {
    /// It accepts no more, and has counted this.
    Done(Box<Ledger>),
    /// It has gone without a word.
    Vanished,
}

impl Takeover {
    /// Asks whoever listens at this socket; `None` where nobody does.
    ///
    /// # Errors
    /// Somebody listens there, and nothing came of it.
    pub fn ask(socket: &Path) -> Result<Option<Self>, TakeoverError> {
        match UnixStream::connect(socket) {
            Ok(stream) => Self::hear(stream).map(Some),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Asks the process that has started this one.
    ///
    /// # Errors
    /// As [`Takeover::ask`].
    pub fn of_parent(stream: OwnedFd) -> Result<Self, TakeoverError> {
        Self::hear(stream.into())
    }

    fn hear(stream: UnixStream) -> Result<Self, TakeoverError> {
        let asked = Instant::now();
        let mut line = Line::new(stream, OFFER)?;
        let said = line.say(&Message::Hello(Hello::here()).written());
        let heard = line.hear(MAX_OFFER_BYTES);
        // Who refuses may have said why and hung up before it was greeted: the reason counts, not the broken greeting.
        if !matches!(heard, Ok(Some(_))) {
            said?;
        }
        let frame = heard?.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        let offer = match Message::read(&frame)? {
            Message::Offer(offer) => *offer,
            Message::Refused { why } => return Err(TakeoverError::Refused(why)),
            _ => return Err(Fault::OutOfTurn.into()),
        };
        let counts = offer.sockets.iter().map(|offered| offered.count);
        let all = counts.clone().fold(offer.lines, usize::saturating_add);
        let mut taken = line.take(all)?.into_iter();
        let sockets = counts.map(|count| taken.by_ref().take(count).collect()).collect();
        let lines = taken.collect();
        if let (Some(theirs), Some(ours)) = (offer.network.clone(), network())
            && theirs != ours
        {
            return Err(TakeoverError::Network { theirs, ours });
        }
        Ok(Self { line, offer, sockets, lines, asked })
    }

    /// The same line once more, to say on it why nothing came of it.
    pub(super) fn last_word(&self) -> Option<LastWord> {
        self.line.again().ok().map(LastWord)
    }

    /// The line, for what the old process still counts.
    pub(super) fn further(&self) -> Option<UnixStream> {
        self.line.again().ok()
    }

    /// Whether the old process still waits for this one. May block for a moment.
    ///
    /// # Errors
    /// It waits no more; this process has accepted nothing yet.
    pub(super) fn is_wanted(&mut self) -> Result<(), TakeoverError> {
        if !self.line.has_spoken() {
            return Ok(());
        }
        self.line.allow(LET_GO);
        match self.line.hear(MAX_OFFER_BYTES)?.map(|frame| Message::read(&frame)).transpose()? {
            Some(Message::Refused { why }) => Err(TakeoverError::Refused(why)),
            _ => Err(Fault::OutOfTurn.into()),
        }
    }

    /// Says that this process accepts, and hears that the old one does so no more. May block.
    pub(super) fn ready(&mut self, taken: Vec<Offered>) -> Result<LetGo, TakeoverError> {
        self.line.allow(LET_GO);
        if self.line.say(&Message::Ready(Ready { taken }).written()).is_err() {
            // It may have said why before it closed.
            return match self.line.hear(MAX_OFFER_BYTES) {
                Ok(Some(frame)) => Self::let_go(&frame),
                _ => Ok(LetGo::Vanished),
            };
        }
        match self.line.hear(MAX_OFFER_BYTES) {
            Ok(Some(frame)) => Self::let_go(&frame),
            Ok(None) | Err(_) => Ok(LetGo::Vanished),
        }
    }

    fn let_go(frame: &[u8]) -> Result<LetGo, TakeoverError> {
        match Message::read(frame)? {
            Message::Done(ledger) => Ok(LetGo::Done(ledger)),
            Message::Refused { why } => Err(TakeoverError::Refused(why)),
            _ => Err(Fault::OutOfTurn.into()),
        }
    }
}

/// What is said to the old process by one that cannot start.
#[derive(Debug)]
pub(super) struct LastWord(UnixStream);

impl LastWord {
    pub(super) fn say(self, why: &str) {
        let message = Message::Refused { why: why.to_owned() }.written();
        // It notices our end in any case.
        let _ = Line::new(self.0, Duration::from_secs(1)).and_then(|mut line| line.say(&message));
    }
}

/// The network namespace that this process lives in, by the kernel's name for it.
pub(super) fn network() -> Option<String> {
    std::fs::read_link("/proc/self/ns/net").ok().map(|link| link.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_counts_though_whoever_gave_it_has_hung_up() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let refusal = Message::Refused { why: "not now".to_owned() }.written();
        Line::new(theirs, OFFER).unwrap().say(&refusal).unwrap();
        let heard = Takeover::hear(ours);
        assert!(matches!(&heard, Err(TakeoverError::Refused(why)) if why == "not now"), "{heard:?}");
    }
}
