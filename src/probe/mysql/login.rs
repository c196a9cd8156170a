//! From the greeting to the server's verdict on a login.
//!
//! The server counts every handshake that breaks off. So whatever is amiss (no TLS, a certificate that proves nothing, a
//! method that is not supported), the login goes on to its end, only without the password, and the failure is told then.

use super::auth::{Channel, Dialogue, Next};
use super::packet::{self, Greeting, Login, Reply};
use super::refusal::{self, Wants};
use super::wire::{Goodbye, Waiting, Wire};
use crate::config::model::MysqlCheck;
use crate::net::transport::Transport;
use crate::probe::line::Line;
use crate::probe::report::{Failure, Finding, Layer};
use crate::probe::tls::Opener;
use crate::probe::transcript::Log;

/// Questions of the server after the login packet: a switch of method, a key, more data, and the verdict.
const MAX_ROUNDS: usize = 6;

/// What is waited for first.
pub(super) const GREETING: &str = "greeting";

/// What became of a login.
pub(super) enum Entry {
    /// Let in, by a server of this version.
    In(Box<Wire>, String),
    /// It has ended, and this is what the attempt found.
    Out(Result<Finding, Failure>),
}

/// Logs in over a connection that stands.
pub(super) async fn log_in(
    stream: Transport,
    check: &MysqlCheck,
    tls: Option<&Opener>,
    log: &Log,
    waiting: &Waiting,
) -> Entry {
    let mut wire = Wire::new(Line::Plain(stream), log, waiting);
    let greeting = match wire.receive(GREETING).await {
        Ok(payload) => Greeting::parse(&payload),
        Err(failure) => return Entry::Out(Err(failure)),
    };
    let greeting = match greeting {
        Ok(greeting) => greeting,
        Err(reply) => {
            let refused = refused(&mut wire, &reply, check, None, log);
            wire.end(Goodbye::Silence).await;
            return Entry::Out(refused);
        }
    };
    log.note(format!("greeted by {}", greeting.version));
    let (mut wire, distrust) = match secure(wire, &greeting, check, tls, log).await {
        Ok(secured) => secured,
        Err(failure) => return Entry::Out(Err(failure)),
    };
    let password = if distrust.is_none() { &*check.password } else { "" };
    let admitted = Box::pin(converse(&mut wire, &greeting, check, password, log)).await;
    match (admitted, distrust) {
        (Ok(Admission::Granted), None) => Entry::In(Box::new(wire), greeting.version),
        (Ok(Admission::Granted), Some(distrust)) => {
            wire.end(Goodbye::Quit).await;
            Entry::Out(Err(distrust))
        }
        (outcome, distrust) => {
            wire.end(Goodbye::Silence).await;
            Entry::Out(match (outcome, distrust) {
                (_, Some(distrust)) => Err(distrust),
                (Err(failure), None) => Err(failure),
                (Ok(Admission::Denied(found)), None) => found,
                (Ok(Admission::Granted), None) => Err(Failure::new(Layer::Local, "the login was lost")),
            })
        }
    }
}

/// Begins TLS where it is asked for. Whom it is not to be trusted with the password comes back with the reason.
async fn secure(
    mut wire: Wire,
    greeting: &Greeting,
    check: &MysqlCheck,
    tls: Option<&Opener>,
    log: &Log,
) -> Result<(Wire, Option<Failure>), Failure> {
    let Some(tls) = tls else { return Ok((wire, None)) };
    if greeting.capabilities & packet::SSL == 0 {
        let what = "the server offers no TLS: give it a certificate, or take `tls` out";
        log.note("it offers no TLS; the login goes on without the password");
        return Ok((wire, Some(Failure::new(Layer::Tls, what))));
    }
    let database = check.database.as_deref();
    let login = Login { user: &check.user, database, method: "", proof: b"", ssl: packet::SSL };
    wire.send(&packet::ssl_request(greeting, &login)).await?;
    let (wire, distrust) = wire.secured(tls).await?;
    if distrust.is_some() {
        log.note("its certificate is not trusted; the login goes on without the password");
    }
    Ok((wire, distrust))
}

enum Admission {
    Granted,
    Denied(Result<Finding, Failure>),
}

async fn converse(
    wire: &mut Wire,
    greeting: &Greeting,
    check: &MysqlCheck,
    password: &str,
    log: &Log,
) -> Result<Admission, Failure> {
    let channel = wire.channel();
    let key = check.public_key.as_deref();
    let mut dialogue = Dialogue::new(password, channel, key, &greeting.method, &greeting.salt);
    let login = Login {
        user: &check.user,
        database: check.database.as_deref(),
        method: dialogue.method(),
        proof: &dialogue.first(),
        ssl: if channel == Channel::Tls { packet::SSL } else { 0 },
    };
    let login = packet::login(greeting, &login);
    log.note(format!("logging in as {} by {}", check.user, dialogue.method()));
    wire.send(&login).await?;
    for _ in 0..MAX_ROUNDS {
        let reply = Reply::parse(&wire.receive("answer to the login").await?);
        let next = match reply {
            Reply::Ok => {
                log.note("logged in");
                return Ok(Admission::Granted);
            }
            Reply::Switch(switch) => {
                log.note(format!("asked to log in by {}", switch.method));
                dialogue.switch(&switch.method, &switch.salt)
            }
            Reply::More(data) => dialogue.more(&data),
            reply => return Ok(Admission::Denied(refused(wire, &reply, check, dialogue.trouble(), log))),
        };
        match next {
            Next::Send(bytes) => wire.send(&bytes).await?,
            Next::Hide(bytes) => {
                log.note("the password was sent within TLS (its bytes are not shown)");
                wire.send_unseen(&bytes).await?;
            }
            Next::Wait => {}
            Next::Astray => return Err(wire.astray()),
        }
    }
    Err(Failure::new(Layer::Protocol, "the login leads nowhere"))
}

/// The server said no: whether that is a sign of life, and what to do about it.
fn refused(
    wire: &mut Wire,
    reply: &Reply,
    check: &MysqlCheck,
    trouble: Option<&str>,
    log: &Log,
) -> Result<Finding, Failure> {
    let Reply::Error(refusal) = reply else { return Err(wire.astray()) };
    log.note(format!("error {}: {}", refusal.code, refusal.text));
    let wants = if check.takes_refusal_for_life() { Wants::Life } else { Wants::Entry };
    refusal::of_login(refusal, wants, trouble)
}
