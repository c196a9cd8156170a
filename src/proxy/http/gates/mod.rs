//! What a request waits for before anybody is picked: that a password is proved, that another service lets it pass.
//!
//! What can be decided at once has been, by `rules`; only what takes time comes here, in a future of its own that
//! connections without such rules have no room for. Called by `connection` between a head and its exchange.

mod question;
mod verdict;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use super::connection::Connection;
use super::exchange::Incoming;
use super::http1::Reject;
use super::http1::edits::push_line;
use super::own::Own;
use super::rules::Applied;
use crate::config::model::{BasicAuth, ErrorsOf, OnFailure, Rules};
use crate::net::buffer::{Buffer, Size};
use crate::proxy::attempt;
use crate::proxy::worker::View;
use crate::route::door::{Door, Unproven};
use crate::route::proving::Prover;
pub use question::Question;
use verdict::Said;

/// Passwords that wait, each with its client.
const PASSWORDS_WAITING: usize = 64;
/// Processors for each thread that proves them.
const PROCESSORS_EACH: usize = 4;
/// Such threads at most: each of them may need hundreds of megabytes.
const THREADS_MAX: usize = 4;
/// Below everything else (nice(2)).
const NICE: i32 = 15;
/// One for all workers.
static PROVER: OnceLock<Prover> = OnceLock::new();
/// A password that has not been proved by then waits behind too many others.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a request waits for.
#[derive(Debug, Default)]
pub struct Waiting {
    /// A proof of its password.
    pub password: Option<Password>,
    /// The leave of another service.
    pub question: Option<Question>,
}

/// A password that is to be proved.
#[derive(Debug)]
pub struct Password {
    /// Where it was shown.
    pub door: Arc<Door>,
    /// What the door does not know of it.
    pub unproven: Unproven,
    /// As it came.
    pub password: Vec<u8>,
    /// What is said when it is wrong.
    pub rule: Arc<BasicAuth>,
}

/// What waits.
pub(super) enum Held<'h> {
    /// A request for a backend.
    Request(&'h mut Incoming),
    /// An answer by rule, and the rules.
    Own(&'h mut Own, &'h Applied),
}

/// What becomes of a request.
pub(super) enum Passage {
    /// It goes on its way.
    Free,
    /// It gets this answer.
    Answer(Box<Own>),
    /// The client has left.
    Left,
}

/// What becomes of a password.
enum Proof {
    Right,
    Wrong,
    /// Too many others wait.
    Busy,
    ClientLeft,
}

/// Waits for all that a request must pass.
pub(super) async fn pass(
    connection: &mut Connection,
    view: &Rc<View>,
    mut held: Held<'_>,
    waiting: Waiting,
) -> Passage {
    if let Some(password) = waiting.password {
        let rule = Arc::clone(&password.rule);
        let (reject, lines) = match prove(connection, password).await {
            Proof::Right => (None, Vec::new()),
            Proof::Wrong => (Some(Reject::Unauthorized), challenge(&rule)),
            Proof::Busy => (Some(Reject::AuthBusy), Vec::new()),
            Proof::ClientLeft => return Passage::Left,
        };
        if let Some(reject) = reject {
            return held.refuse(reject, reject.status().0, &lines);
        }
    }
    let Some(question) = waiting.question else { return Passage::Free };
    match verdict::ask(connection, view, &question).await {
        Said::Passes(lines) => {
            held.add_lines(&lines);
            Passage::Free
        }
        Said::Refused(refused) => {
            let own = held.late(refused.status, "auth_refused");
            // It is the other service's, as that of a backend is.
            let is_all = |rules: &Arc<Rules>| rules.errors.as_ref().is_some_and(|pages| pages.of == ErrorsOf::All);
            let rules = held.rules().map(Arc::clone).filter(is_all);
            let own = Own { kind: refused.kind.into(), body: refused.body.into(), rules, ..own };
            held.answer(own, &refused.lines)
        }
        Said::Nothing(_) if question.rule.on_failure == OnFailure::Allow => Passage::Free,
        Said::Nothing(cause) => held.refuse(Reject::AuthFailed, cause.status().0, &[]),
        Said::ClientLeft => Passage::Left,
    }
}

/// What tells a browser to ask for a password (RFC 7617, section 2).
pub(super) fn challenge(rule: &BasicAuth) -> Vec<u8> {
    let mut line = Vec::new();
    push_line(&mut line, b"WWW-Authenticate", format!("Basic realm=\"{}\", charset=\"UTF-8\"", rule.realm).as_bytes());
    line
}

// === impl Held ===

impl Held<'_> {
    fn applied(&self) -> Option<&Applied> {
        match self {
            Self::Request(incoming) => incoming.rules.as_deref(),
            Self::Own(_, applied) => Some(applied),
        }
    }

    fn rules(&self) -> Option<&Arc<Rules>> {
        self.applied().map(Applied::rules)
    }

    /// Puts lines of the service that lets it pass into the head for the backend, where there is one.
    fn add_lines(&mut self, lines: &[u8]) {
        if let Self::Request(incoming) = self {
            add_lines(&mut incoming.head, lines);
        }
    }

    /// What it is told instead; without a body.
    fn late(&mut self, status: u16, end: &'static str) -> Own {
        match self {
            Self::Request(incoming) => Own { line: incoming.line.take(), ..Own::late(incoming, status, end) },
            Self::Own(own, _) => own.instead(status, end),
        }
    }

    fn refuse(&mut self, reject: Reject, status: u16, lines: &[u8]) -> Passage {
        let own = self.late(status, reject.word()).saying(reject.sentence());
        self.answer(Own { refusal: Some(reject), rules: self.rules().map(Arc::clone), ..own }, lines)
    }

    fn answer(&self, mut own: Own, lines: &[u8]) -> Passage {
        own.lines = self.applied().map(|applied| applied.own_lines(own.status)).unwrap_or_default();
        own.lines.extend_from_slice(lines);
        Passage::Answer(Box::new(own))
    }
}

/// Has a password proved, while its client waits.
async fn prove(connection: &mut Connection, password: Password) -> Proof {
    let Password { door, unproven, password, .. } = password;
    let secret = unproven.secret.clone();
    let queue = PROVER.get_or_init(|| Prover::new("passwords", threads(), PASSWORDS_WAITING, NICE));
    let Some(mut proof) = queue.submit(move || secret.fits(&password)) else { return Proof::Busy };
    let Connection { client, hand, timer, .. } = connection;
    timer.set(PATIENCE);
    let proved = poll_fn(|context| {
        if let Poll::Ready(fits) = Pin::new(&mut proof).poll(context) {
            return Poll::Ready(match fits {
                Ok(true) if !unproven.stranger => Proof::Right,
                Ok(_) => Proof::Wrong,
                Err(_) => Proof::Busy,
            });
        }
        if attempt::poll_end(context, client, hand).is_ready() {
            return Poll::Ready(Proof::ClientLeft);
        }
        if timer.poll_elapsed(context) { Poll::Ready(Proof::Busy) } else { Poll::Pending }
    })
    .await;
    if matches!(proved, Proof::Right) {
        door.believe(&unproven);
    }
    proved
}

/// So many threads prove passwords.
fn threads() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    (processors / PROCESSORS_EACH).clamp(1, THREADS_MAX)
}

/// Puts further lines into a head that is written already.
fn add_lines(head: &mut Buffer, lines: &[u8]) {
    if lines.is_empty() {
        return;
    }
    let written = head.filled();
    let mut longer = Buffer::take(Size::Small);
    longer.append(&written[..written.len().saturating_sub(2)]);
    longer.append(lines);
    longer.append(b"\r\n");
    *head = longer;
}
