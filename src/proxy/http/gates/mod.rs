//! What a request waits for before anybody is picked: that a password is proved, that another service lets it pass.
//!
//! What can be decided at once has been, by `rules`; only what takes time comes here, in a future of its own that
//! connections without such rules have no room for. Called by `connection` between a head and its exchange.

pub mod hashing;
mod question;
mod verdict;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::connection::Connection;
use super::exchange::Incoming;
use super::http1::Reject;
use super::http1::edits::push_line;
use super::own::Own;
use crate::config::model::{BasicAuth, ErrorsOf, OnFailure, Rules};
use crate::net::buffer::{Buffer, Size};
use crate::proxy::attempt;
use crate::proxy::worker::View;
use crate::route::door::{Door, Unproven};
pub use question::Question;
use verdict::Said;

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
    incoming: &mut Incoming,
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
            return answer(incoming, refusal(incoming, reject, reject.status().0), &lines);
        }
    }
    let Some(question) = waiting.question else { return Passage::Free };
    match verdict::ask(connection, view, &question).await {
        Said::Passes(lines) => {
            add_lines(&mut incoming.head, &lines);
            Passage::Free
        }
        Said::Refused(refused) => {
            let own = Own::late(incoming, refused.status, "auth_refused");
            // It is the other service's, as that of a backend is.
            let is_all = |rules: &Arc<Rules>| rules.errors.as_ref().is_some_and(|pages| pages.of == ErrorsOf::All);
            let rules = rules(incoming).filter(is_all);
            let own = Own { kind: refused.kind.into(), body: refused.body.into(), rules, ..own };
            answer(incoming, own, &refused.lines)
        }
        Said::Nothing(_) if question.rule.on_failure == OnFailure::Allow => Passage::Free,
        Said::Nothing(cause) => answer(incoming, refusal(incoming, Reject::AuthFailed, cause.status().0), &[]),
        Said::ClientLeft => Passage::Left,
    }
}

/// What tells a browser to ask for a password (RFC 7617, section 2).
pub(super) fn challenge(rule: &BasicAuth) -> Vec<u8> {
    let mut line = Vec::new();
    push_line(&mut line, b"WWW-Authenticate", format!("Basic realm=\"{}\", charset=\"UTF-8\"", rule.realm).as_bytes());
    line
}

fn refusal(incoming: &Incoming, reject: Reject, status: u16) -> Own {
    let own = Own::late(incoming, status, reject.word()).saying(reject.sentence());
    Own { refusal: Some(reject), rules: rules(incoming), ..own }
}

fn rules(incoming: &Incoming) -> Option<Arc<Rules>> {
    incoming.rules.as_ref().map(|applied| Arc::clone(applied.rules()))
}

fn answer(incoming: &mut Incoming, mut own: Own, lines: &[u8]) -> Passage {
    own.line = incoming.line.take();
    own.lines = incoming.rules.as_ref().map(|rules| rules.own_lines(own.status)).unwrap_or_default();
    own.lines.extend_from_slice(lines);
    Passage::Answer(Box::new(own))
}

/// Has a password proved, while its client waits.
async fn prove(connection: &mut Connection, password: Password) -> Proof {
    let Password { door, unproven, password, .. } = password;
    let Some(mut proof) = hashing::submit(unproven.secret.clone(), password) else { return Proof::Busy };
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
