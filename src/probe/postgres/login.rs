//! A login: answers whatever the server asks for, and knows when life has been proven without one.

use std::sync::PoisonError;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::packet::{self, Auth, Message};
use super::scram::{self, Challenge, METHOD, Proof};
use super::{MESSAGES_MAX, Prepared, endless, receive};
use crate::config::model::PostgresAccount;
use crate::probe::report::{Failure, Finding, Layer};
use crate::probe::transcript::Log;
use crate::probe::wire::Wire;

/// Where a login led.
pub(super) enum Login {
    /// In: questions may be asked.
    Done,
    /// The server is alive, and that was all that was to be known.
    Alive(Finding),
}

/// Logs in after the startup message.
pub(super) async fn run(
    wire: &mut Wire,
    account: &PostgresAccount,
    prepared: &Prepared,
    log: &Log,
) -> Result<Login, Failure> {
    let only_life = account.password.is_none() && account.recovery.is_none() && account.query.is_none();
    let mut dialogue = Dialogue { account, prepared, scram: None };
    for _ in 0..MESSAGES_MAX {
        let auth = match receive(wire, "an answer to the login").await? {
            Message::Auth(auth) => auth,
            Message::Error(refusal) => {
                log.note(refusal.note());
                return if only_life { refusal.of_nobody().map(Login::Alive) } else { Err(refusal.failure()) };
            }
            Message::Ready => return Ok(Login::Done),
            Message::Columns(_) | Message::Row(_) | Message::Other => continue,
        };
        if auth == Auth::Welcome {
            dialogue.welcome()?;
            log.note("logged in");
            continue;
        }
        if only_life {
            return Ok(Login::Alive(Finding::new(format!("alive (it asks for {})", auth.words()))));
        }
        log.note(format!("it asks for {}", auth.words()));
        if let Some(answer) = dialogue.answer(auth).await? {
            wire.send_unseen(&answer).await;
        }
    }
    Err(endless())
}

struct Dialogue<'a> {
    account: &'a PostgresAccount,
    prepared: &'a Prepared,
    scram: Option<Scram>,
}

impl Dialogue<'_> {
    /// What to say to that, if anything.
    async fn answer(&mut self, auth: Auth) -> Result<Option<Vec<u8>>, Failure> {
        let Some(password) = &self.account.password else {
            let what = format!("it asks for {}: give the check a `password`", auth.words());
            return Err(Failure::new(Layer::Answer, what));
        };
        match (auth, &mut self.scram) {
            (Auth::Cleartext, _) if matches!(self.prepared.security, Ok(Some(_))) => {
                Ok(Some(packet::password(password)))
            }
            (Auth::Cleartext, _) => {
                let what = "it asks for the password in the clear, which is given over TLS only: write tls = true";
                Err(Failure::new(Layer::Answer, what))
            }
            (Auth::Md5(salt), _) => Ok(Some(packet::password(&packet::md5_word(&self.account.user, password, salt)))),
            (Auth::Sasl(methods), _) if methods.iter().any(|method| method == METHOD) => {
                let begun = self.scram.insert(Scram::begin()?);
                Ok(Some(packet::sasl_begin(METHOD, &scram::begin(&begun.nonce))))
            }
            (Auth::SaslContinue(challenge), Some(scram)) => {
                scram.answer(&challenge, password, self.prepared).await.map(Some)
            }
            (Auth::SaslFinal(last), Some(scram)) => scram.check(&last).map(|()| None),
            (other, _) => {
                let what = format!("it asks for {}, which a probe cannot give: let it in by {METHOD}", other.words());
                Err(Failure::new(Layer::Answer, what))
            }
        }
    }

    fn welcome(&self) -> Result<(), Failure> {
        match &self.scram {
            Some(scram) if !scram.is_proven => {
                Err(Failure::new(Layer::Protocol, "it did not prove that it knows the password"))
            }
            _ => Ok(()),
        }
    }
}

/// A login by SCRAM under way.
struct Scram {
    nonce: String,
    proof: Option<Proof>,
    is_proven: bool,
}

impl Scram {
    fn begin() -> Result<Self, Failure> {
        let mut bytes = [0; 18];
        aws_lc_rs::rand::fill(&mut bytes)
            .map_err(|_unspecified| Failure::new(Layer::Local, "the system has no random numbers"))?;
        Ok(Self { nonce: BASE64.encode(bytes), proof: None, is_proven: false })
    }

    async fn answer(&mut self, challenge: &[u8], password: &str, prepared: &Prepared) -> Result<Vec<u8>, Failure> {
        let challenge = Challenge::parse(challenge, &self.nonce).map_err(|why| Failure::new(Layer::Protocol, why))?;
        let known = prepared.keys.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (challenge, keys) = if let Some(keys) = known.filter(|keys| challenge.fits(keys)) {
            (challenge, keys)
        } else {
            let password = password.to_owned();
            // Milliseconds of hashing, for which control's thread has no time.
            let hashing = tokio::task::spawn_blocking(move || {
                let keys = challenge.keys(&password);
                (challenge, keys)
            });
            hashing.await.map_err(|_ended| Failure::new(Layer::Local, "the hashing of the password was stopped"))?
        };
        let proof = challenge.answer(&keys, &self.nonce);
        *prepared.keys.lock().unwrap_or_else(PoisonError::into_inner) = Some(keys);
        let message = packet::sasl_continue(&proof.message);
        self.proof = Some(proof);
        Ok(message)
    }

    fn check(&mut self, last: &[u8]) -> Result<(), Failure> {
        self.is_proven = self.proof.as_ref().is_some_and(|proof| proof.is_answered_by(last));
        if self.is_proven {
            return Ok(());
        }
        Err(Failure::new(Layer::Protocol, "it does not know the password that it asks for: is this the right server?"))
    }
}
