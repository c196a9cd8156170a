//! `type = "mysql"`: a login to `MySQL` or `MariaDB` and what is asked after it, ended as politely as it began.
//!
//! The server counts every handshake that breaks off, and after `max_connect_errors` of them it refuses the balancer's
//! address, client traffic included. So no login is ever dropped half-way: one that does not end in time goes on in the
//! background ([`Between`]). Beside it few others are begun, ever more seldom: the hanging of one connection says little
//! of the server, and a server that hangs wholly shall not be filled with logins. With `keep`, the connection waits there
//! for the next attempt; whoever drops it says goodbye.

mod auth;
mod examine;
mod facts;
mod login;
mod packet;
mod refusal;
mod rows;
mod wire;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;

use self::examine::examine;
pub(super) use self::examine::statements;
use self::login::{Entry, GREETING, log_in};
use self::rows::Answer;
use self::wire::{Goodbye, Waiting, Wire, quit_at_once};
use super::line::Line;
use super::question::{Question, Ready};
use super::report::{Failure, Finding, Layer};
use super::tls::Opener;
use super::transcript::Log;
use crate::config::model::{Address, CheckKind, Keep, MysqlCheck, MysqlFacts, Site};
use crate::net::connect::watch_over;

/// Longest life of an attempt that does not end in time: a server that was stopped and goes on finds it waiting.
const LONGEST: Duration = Duration::from_secs(600);

/// How long the youngest of one, two, three logins under way must have waited until another is begun beside them; with
/// more of them, none is.
const BESIDE: [Duration; 3] = [Duration::ZERO, Duration::from_secs(10), Duration::from_secs(60)];

/// What is ready for all attempts at one question.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The sentence says why there can be no TLS.
    tls: Option<Result<Opener, String>>,
    between: Mutex<Between>,
}

/// What one attempt leaves to the next.
#[derive(Debug, Default)]
struct Between {
    /// A connection, as `keep` wants it.
    kept: Option<Session>,
    stragglers: Vec<Straggler>,
}

/// An attempt that did not end in time and goes on. Whoever drops this lets it go on alone.
#[derive(Debug)]
struct Straggler {
    begun: Instant,
    visit: JoinHandle<Visit>,
}

/// How an attempt ended, and the connection that it leaves.
type Visit = (Result<Finding, Failure>, Option<Session>);

/// A connection that is logged in and has nothing under way.
#[derive(Debug)]
struct Session {
    pipe: Option<Line>,
    version: String,
    address: Site,
}

impl Prepared {
    pub(super) fn new(check: &MysqlCheck, at: &Address) -> Self {
        let tls = check.tls.as_ref().map(|tls| Opener::new(tls, at, &[]));
        Self { tls, between: Mutex::default() }
    }

    fn take(&self) -> Between {
        std::mem::take(&mut *self.between.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn leave(&self, between: Between) {
        *self.between.lock().unwrap_or_else(PoisonError::into_inner) = between;
    }
}

// === impl Between ===

impl Between {
    /// Whether another login may begin beside those that still wait.
    fn may_begin(&self) -> bool {
        let Some(youngest) = self.stragglers.iter().map(|straggler| straggler.begun).max() else { return true };
        BESIDE.get(self.stragglers.len() - 1).is_some_and(|wait| youngest.elapsed() >= *wait)
    }

    /// Takes in those that have ended. Their results came too late for whoever asked.
    async fn gather(&mut self) {
        while let Some(at) = self.stragglers.iter().position(|straggler| straggler.visit.is_finished()) {
            let ended = self.stragglers.swap_remove(at).visit.await;
            self.take_in(ended);
        }
    }

    /// Waits for one of them to end.
    async fn one_ends(&mut self) {
        let ended = poll_fn(|context| {
            for (at, straggler) in self.stragglers.iter_mut().enumerate() {
                if let Poll::Ready(ended) = Pin::new(&mut straggler.visit).poll(context) {
                    return Poll::Ready((at, ended));
                }
            }
            Poll::Pending
        });
        let (at, ended) = ended.await;
        self.stragglers.swap_remove(at);
        self.take_in(ended);
    }

    fn take_in(&mut self, ended: Result<Visit, JoinError>) {
        let session = ended.ok().and_then(|(_, session)| session);
        self.kept = self.kept.take().or(session);
    }
}

// === impl Session ===

impl Drop for Session {
    /// The server counts a connection that ends without a goodbye.
    fn drop(&mut self) {
        if let Some(pipe) = self.pipe.take() {
            quit_at_once(pipe);
        }
    }
}

pub(super) async fn ask(question: &Arc<Question>, address: &Site, log: &Log) -> Result<Finding, Failure> {
    let Ready::Mysql(prepared) = question.prepared() else {
        return Err(Failure::new(Layer::Local, "this is no question to MySQL"));
    };
    let deadline = log.began() + question.timeout;
    let mut between = prepared.take();
    between.gather().await;
    if !between.may_begin() && tokio::time::timeout_at(deadline, between.one_ends()).await.is_err() {
        prepared.leave(between);
        log.note("earlier attempts still wait for the server; no other is begun yet");
        return Err(late(question, "answer to earlier attempts"));
    }
    let (begun, kept, waiting) = (Instant::now(), between.kept.take(), Waiting::new());
    let mut visit = tokio::spawn({
        let (question, address) = (Arc::clone(question), address.clone());
        let (log, waiting) = (log.clone(), waiting.clone());
        async move { Box::pin(visit(&question, &address, kept, &log, &waiting)).await }
    });
    let result = match tokio::time::timeout_at(deadline, &mut visit).await {
        Ok(Ok((result, session))) => {
            between.kept = session;
            result
        }
        Ok(Err(_ended)) => Err(Failure::new(Layer::Local, "the attempt was stopped")),
        Err(_elapsed) => {
            between.stragglers.push(Straggler { begun, visit });
            Err(late(question, waiting.for_what()))
        }
    };
    prepared.leave(between);
    result
}

fn late(question: &Question, what: &str) -> Failure {
    // A server looks its client's name up before it greets, unless it is told not to.
    let remedy = if what == GREETING { " (is its DNS slow? see skip_name_resolve)" } else { "" };
    Failure::new(Layer::Timeout, format!("no {what} within {:?}{remedy}", question.timeout))
}

/// One attempt, however long it takes, on the connection that was kept if it still works.
async fn visit(question: &Question, address: &Site, kept: Option<Session>, log: &Log, waiting: &Waiting) -> Visit {
    let (CheckKind::Mysql(check), Ready::Mysql(prepared)) = (&question.kind, question.prepared()) else {
        return (Err(Failure::new(Layer::Local, "this is no question to MySQL")), None);
    };
    let whole = async {
        // A name may point elsewhere by now; then the connection is dropped, with a goodbye.
        if let Some(session) = kept.filter(|session| session.address == *address) {
            match again(session, check, log, waiting).await {
                Ok(visit) => return visit,
                Err(failure) => log.note(format!("the kept connection is gone ({}); logging in anew", failure.what)),
            }
        }
        let tls = match prepared.tls.as_ref().map(Result::as_ref).transpose() {
            Ok(tls) => tls,
            Err(why) => return (Err(Failure::new(Layer::Tls, why.clone())), None),
        };
        waiting.set("connection");
        let stream = match question.connect(address, log).await {
            Ok(stream) => stream,
            Err(failure) => return (Err(failure), None),
        };
        watch_over(&stream, question.way.as_ref(), question.timeout);
        match Box::pin(log_in(stream, check, tls, log, waiting)).await {
            Entry::Out(result) => (result, None),
            Entry::In(mut wire, version) => {
                let opening = format!("logged in to {version}");
                let result = examine(&mut wire, &check.facts, &version, opening, log).await;
                (result, leave(*wire, version, address.clone(), check.keep).await)
            }
        }
    };
    match tokio::time::timeout(LONGEST, whole).await {
        Ok(visit) => visit,
        Err(_elapsed) => {
            (Err(Failure::new(Layer::Timeout, format!("no {} within {LONGEST:?}", waiting.for_what()))), None)
        }
    }
}

/// Asks on the connection that was kept. The failure says that it cannot be used any more.
async fn again(mut session: Session, check: &MysqlCheck, log: &Log, waiting: &Waiting) -> Result<Visit, Failure> {
    let Some(pipe) = session.pipe.take() else { return Err(Failure::new(Layer::Local, "there is none")) };
    let (version, address) = (std::mem::take(&mut session.version), session.address.clone());
    log.note(format!("asking {version} on the connection that was kept"));
    let mut wire = Wire::new(pipe, log, waiting);
    let opening = format!("connected to {version}");
    let result = if check.facts == MysqlFacts::default() {
        match wire.command(&packet::PING, "answer to a ping").await {
            Ok(Answer::Done) => Ok(Finding::new(opening)),
            Ok(Answer::Refused(refusal)) => Err(refusal::of_statement(&refusal, "ping")),
            Ok(Answer::Rows(_)) => Err(wire.astray()),
            Err(failure) => Err(failure),
        }
    } else {
        examine(&mut wire, &check.facts, &version, opening, log).await
    };
    match result {
        Err(failure) if !wire.is_sound() => {
            wire.end(Goodbye::Silence).await;
            Err(failure)
        }
        result => Ok((result, leave(wire, version, address, check.keep).await)),
    }
}

/// Keeps a connection for the next attempt, or ends it.
async fn leave(wire: Wire, version: String, address: Site, keep: Keep) -> Option<Session> {
    if keep == Keep::Connection && wire.may_be_kept() {
        return Some(Session { pipe: Some(wire.into_pipe()), version, address });
    }
    wire.end(Goodbye::Quit).await;
    None
}

/// For [`super::parsers`]: each packet with a byte before it that says its length.
pub(super) fn feed(said: &[u8]) {
    let mut reader = rows::Reader::new();
    let mut rest = said;
    while let Some((length, more)) = rest.split_first() {
        let (packet, after) = more.split_at(usize::from(*length).min(more.len()));
        let _ = packet::Greeting::parse(packet);
        let _ = packet::Reply::parse(packet);
        match reader.take(packet) {
            Ok(None) => {}
            Ok(Some(_)) | Err(_) => reader = rows::Reader::new(),
        }
        rest = after;
    }
}
