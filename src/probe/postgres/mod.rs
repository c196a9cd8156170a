//! `type = "postgres"`: is the server ready to let somebody in? With an account: a login, whether it is in recovery,
//! and a query of the operator's own.
//!
//! Without an account its first answer decides. Whatever password it asks for proves that it is alive and has a place
//! left, also for a user that it does not know; then silence is the polite end: a goodbye before the login would stand
//! in its log as an error.

mod facts;
mod login;
mod packet;
mod scram;

use std::sync::Mutex;

use self::login::Login;
use self::packet::{Auth, Message, Refusal};
use self::scram::Keys;
use super::question::{Question, Ready};
use super::report::{Failure, Finding, Layer};
use super::transcript::{Log, readable};
use super::wire::{Security, Wire, security};
use crate::config::model::{Address, PostgresCheck, Site};

/// Messages until the login is done: a greeting has some twenty.
const MESSAGES_MAX: usize = 500;
/// Longest text of a server that is quoted.
const WIDTH: usize = 160;
/// Who we are where the check names nobody.
const NOBODY: &str = "evenkeel";

/// TLS, and the hashed password of the last login.
#[derive(Debug)]
pub(super) struct Prepared {
    security: Security,
    keys: Mutex<Option<Keys>>,
}

impl Prepared {
    pub(super) fn new(check: &PostgresCheck, at: &Address) -> Self {
        Self { security: security(check.tls.as_ref(), at), keys: Mutex::default() }
    }
}

pub(super) async fn ask(
    question: &Question,
    check: &PostgresCheck,
    address: &Site,
    log: &Log,
) -> Result<Finding, Failure> {
    let Ready::Postgres(prepared) = question.prepared() else {
        return Err(Failure::new(Layer::Local, "this is no question to PostgreSQL"));
    };
    let mut wire = open(question, prepared, address, log).await?;
    let user = check.account.as_ref().map_or(NOBODY, |account| &account.user);
    let mut parameters = vec![("user", user)];
    if let Some(account) = &check.account {
        parameters.extend([("database", &*account.database), ("application_name", "evenkeel")]);
    }
    wire.send(&packet::startup(&parameters)).await;
    let found = match &check.account {
        None => first_words(&mut wire, log).await,
        Some(account) => match login::run(&mut wire, account, prepared, log).await {
            Ok(Login::Alive(finding)) => Ok(finding),
            Ok(Login::Done) => {
                let found = facts::ask(&mut wire, account, question.timeout, log).await;
                wire.send(&packet::TERMINATE).await;
                found
            }
            Err(failure) => Err(failure),
        },
    };
    wire.close().await;
    found
}

/// A connection, with TLS where the check says so.
async fn open(question: &Question, prepared: &Prepared, address: &Site, log: &Log) -> Result<Wire, Failure> {
    let opener = match &prepared.security {
        Ok(opener) => opener.as_ref(),
        Err(why) => return Err(Failure::new(Layer::Tls, why.clone())),
    };
    let mut wire = Wire::open(question, address, log).await?;
    let Some(opener) = opener else { return Ok(wire) };
    wire.send(&packet::SSL_REQUEST).await;
    match wire.exactly(1, "an answer to the wish for TLS").await?.first() {
        Some(b'S') => wire.secure(opener).await,
        Some(b'N') => Err(Failure::new(Layer::Tls, "it has no TLS: set ssl = on there, or take `tls` out here")),
        Some(byte) => {
            let came = readable(&[*byte], WIDTH);
            Err(Failure::new(Layer::Protocol, format!("what came is not the PostgreSQL protocol: `{came}`")))
        }
        None => Err(Failure::new(Layer::Protocol, "nothing came")),
    }
}

/// What the server says to a user whom it need not know.
async fn first_words(wire: &mut Wire, log: &Log) -> Result<Finding, Failure> {
    for _ in 0..MESSAGES_MAX {
        match receive(wire, "its first words").await? {
            Message::Auth(auth) => {
                if auth == Auth::Welcome {
                    wire.send(&packet::TERMINATE).await;
                }
                return Ok(Finding::new(format!("alive (it asks for {})", auth.words())));
            }
            Message::Error(refusal) => {
                log.note(refusal.note());
                return refusal.of_nobody();
            }
            _ => {}
        }
    }
    Err(endless())
}

fn endless() -> Failure {
    Failure::new(Layer::Protocol, "it speaks without end")
}

async fn receive(wire: &mut Wire, waiting_for: &str) -> Result<Message, Failure> {
    loop {
        match packet::parse(wire.hand()) {
            Ok(Some((message, length))) => {
                wire.take(length);
                return Ok(message);
            }
            Ok(None) => wire.fill(waiting_for).await?,
            Err(_garbage) => {
                let came = readable(wire.hand(), WIDTH);
                let what = format!("what came is not the PostgreSQL protocol, or too long: `{came}`");
                return Err(Failure::new(Layer::Protocol, what));
            }
        }
    }
}

impl Refusal {
    fn note(&self) -> String {
        format!("error {}: {}", readable(self.code.as_bytes(), 5), readable(self.text.as_bytes(), WIDTH))
    }

    /// Whether it is life that speaks so to somebody who has no account. A server that looks at who comes has started,
    /// and has a place left: it says so earlier when it has not.
    fn of_nobody(&self) -> Result<Finding, Failure> {
        match self.code.as_str() {
            "28000" | "28P01" | "3D000" | "42501" => {
                Ok(Finding::new(format!("alive (error {}: {})", self.code, readable(self.text.as_bytes(), WIDTH))))
            }
            _ => Err(self.failure()),
        }
    }

    fn failure(&self) -> Failure {
        let words = match self.code.as_str() {
            "57P03" => "it is starting up, shutting down or recovering",
            "57P01" | "57P02" => "it is shutting down",
            "53300" => "it has too many connections: raise max_connections, or find out who holds them",
            "53200" => "it is out of memory",
            "53100" => "its disk is full",
            "28P01" => "user or password is wrong",
            "28000" => "it lets this user in from here only if pg_hba.conf says so",
            "3D000" => "there is no such database: give the check a `database`",
            "42501" => "this user may not ask that: grant it pg_monitor, or what the query needs",
            "57014" => "the query took too long",
            "42601" | "42P01" | "42703" | "42883" => "the query is wrong",
            "25006" => "it takes no writes",
            "0A000" | "08P01" => "it does not understand",
            _ => "it refuses",
        };
        let said = readable(self.text.as_bytes(), WIDTH);
        let code = readable(self.code.as_bytes(), 5);
        let failure = Failure::new(Layer::Answer, format!("error {code}: {words} (it says: {said})"));
        if self.code == "53300" { failure.slowly() } else { failure }
    }
}

/// For [`super::parsers`].
pub(super) fn feed(said: &[u8]) {
    let mut rest = said;
    while let Ok(Some((_message, length))) = packet::parse(rest) {
        rest = &rest[length.max(1)..];
    }
    let _ = scram::Challenge::parse(said, "abc");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::report::Pace;

    #[test]
    fn refusals_are_told_apart_and_name_the_remedy() {
        let rows = [
            ("57P03", None, "starting up"),
            ("57P01", None, "shutting down"),
            ("53300", None, "max_connections"),
            ("28000", Some("alive (error 28000: its words)"), "pg_hba.conf"),
            ("28P01", Some("alive (error 28P01"), "wrong"),
            ("3D000", Some("alive"), "`database`"),
            ("42501", Some("alive"), "grant"),
            ("57014", None, "too long"),
            ("XX000", None, "it refuses (it says: its words)"),
            ("", None, "it refuses"),
        ];
        for (code, alive, words) in rows {
            let refusal = Refusal { code: code.into(), text: "its words".into() };
            match (refusal.of_nobody(), alive) {
                (Ok(finding), Some(words)) => assert!(finding.what.contains(words), "{finding:?}"),
                (Err(_), None) => {}
                (found, _) => panic!("{code}: {found:?}"),
            }
            let failure = refusal.failure();
            assert!(failure.what.contains(words), "{failure}");
            assert_eq!(failure.pace == Pace::Slow, code == "53300", "{failure}");
        }
    }
}
