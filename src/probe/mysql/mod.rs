//! `type = "mysql"`: a login to `MySQL` or `MariaDB` and what is asked after it, ended as politely as it began.
//!
//! The server counts every handshake that breaks off, and after `max_connect_errors` of them it refuses the balancer's
//! address, client traffic included. So no login is ever dropped half-way: one that does not end in time goes on in the
//! background, and until it has ended no other is begun ([`Between`]). With `keep`, the connection waits there for the
//! next attempt; whoever drops it says goodbye.

mod auth;
mod examine;
mod facts;
mod login;
mod packet;
mod refusal;
mod rows;
mod wire;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use self::examine::examine;
pub(super) use self::examine::statements;
use self::login::{Entry, log_in};
use self::rows::Answer;
use self::wire::{Goodbye, Waiting, Wire, quit_at_once};
use super::line::Line;
use super::question::{Question, Ready};
use super::report::{Failure, Finding, Layer};
use super::tls::Opener;
use super::transcript::Log;
use crate::config::model::{Address, CheckKind, Keep, MysqlCheck, MysqlFacts};
use crate::net::connect::watch_over;

/// Longest life of an attempt that does not end in time: a server that was stopped and goes on finds it waiting.
const LONGEST: Duration = Duration::from_secs(600);

/// What is ready for all attempts at one question.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The sentence says why there can be no TLS.
    tls: Option<Result<Opener, String>>,
    between: Mutex<Option<Between>>,
}

/// What one attempt leaves to the next.
#[derive(Debug)]
enum Between {
    /// It did not end in time and goes on.
    Straggler(JoinHandle<Visit>),
    /// A connection, as `keep` wants it.
    Kept(Session),
}

/// How an attempt ended, and the connection that it leaves.
type Visit = (Result<Finding, Failure>, Option<Session>);

/// A connection that is logged in and has nothing under way.
#[derive(Debug)]
struct Session {
    pipe: Option<Line>,
    version: String,
    address: SocketAddr,
}

impl Prepared {
    pub(super) fn new(check: &MysqlCheck, at: &Address) -> Self {
        let tls = check.tls.as_ref().map(|tls| Opener::new(tls, at, &[]));
        Self { tls, between: Mutex::default() }
    }

    fn take(&self) -> Option<Between> {
        self.between.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn leave(&self, between: Between) {
        *self.between.lock().unwrap_or_else(PoisonError::into_inner) = Some(between);
    }
}

impl Drop for Session {
    /// The server counts a connection that ends without a goodbye.
    fn drop(&mut self) {
        if let Some(pipe) = self.pipe.take() {
            quit_at_once(pipe);
        }
    }
}

pub(super) async fn ask(question: &Arc<Question>, address: SocketAddr, log: &Log) -> Result<Finding, Failure> {
    let Ready::Mysql(prepared) = question.prepared() else {
        return Err(Failure::new(Layer::Local, "this is no question to MySQL"));
    };
    let deadline = log.began() + question.timeout;
    let kept = match prepared.take() {
        None => None,
        Some(Between::Kept(session)) => Some(session),
        Some(Between::Straggler(mut straggler)) => {
            match tokio::time::timeout_at(deadline, &mut straggler).await {
                // Its result came too late for whoever asked.
                Ok(ended) => ended.ok().and_then(|(_, session)| session),
                Err(_elapsed) => {
                    prepared.leave(Between::Straggler(straggler));
                    log.note("an earlier attempt still waits for the server; no other is begun");
                    return Err(late(question, "answer to an earlier attempt"));
                }
            }
        }
    };
    let waiting = Waiting::new();
    let mut visit = tokio::spawn({
        let (question, log, waiting) = (Arc::clone(question), log.clone(), waiting.clone());
        async move { Box::pin(visit(&question, address, kept, &log, &waiting)).await }
    });
    match tokio::time::timeout_at(deadline, &mut visit).await {
        Ok(Ok((result, session))) => {
            if let Some(session) = session {
                prepared.leave(Between::Kept(session));
            }
            result
        }
        Ok(Err(_ended)) => Err(Failure::new(Layer::Local, "the attempt was stopped")),
        Err(_elapsed) => {
            prepared.leave(Between::Straggler(visit));
            Err(late(question, waiting.for_what()))
        }
    }
}

fn late(question: &Question, what: &str) -> Failure {
    Failure::new(Layer::Timeout, format!("no {what} within {:?}", question.timeout))
}

/// One attempt, however long it takes, on the connection that was kept if it still works.
async fn visit(question: &Question, address: SocketAddr, kept: Option<Session>, log: &Log, waiting: &Waiting) -> Visit {
    let (CheckKind::Mysql(check), Ready::Mysql(prepared)) = (&question.kind, question.prepared()) else {
        return (Err(Failure::new(Layer::Local, "this is no question to MySQL")), None);
    };
    let whole = async {
        // A name may point elsewhere by now; then the connection is dropped, with a goodbye.
        if let Some(session) = kept.filter(|session| session.address == address) {
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
        watch_over(&stream, question.timeout);
        match Box::pin(log_in(stream, check, tls, log, waiting)).await {
            Entry::Out(result) => (result, None),
            Entry::In(mut wire, version) => {
                let opening = format!("logged in to {version}");
                let result = examine(&mut wire, &check.facts, &version, opening, log).await;
                (result, leave(*wire, version, address, check.keep).await)
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
    let (version, address) = (std::mem::take(&mut session.version), session.address);
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
async fn leave(wire: Wire, version: String, address: SocketAddr, keep: Keep) -> Option<Session> {
    if keep == Keep::Connection && wire.may_be_kept() {
        return Some(Session { pipe: Some(wire.into_pipe()), version, address });
    }
    wire.end(Goodbye::Quit).await;
    None
}
