//! `type = "script"`: sends and expects what the configuration says, step by step, over one connection after the other.
//!
//! What has come stays in hand until an expectation takes it: all up to the end of what was expected. The step that
//! fails is named by its number, with what came instead.

use std::sync::Arc;

use tokio::time::timeout_at;

use super::question::{Question, Ready};
use super::report::{Failure, Finding, Layer};
use super::tls::Opener;
use super::transcript::{Log, printable, readable};
use super::wire::{Security, Wire, security};
use crate::config::model::{Address, ScriptCheck, Site, Step, Transport};

/// Longest text that is quoted.
const WIDTH: usize = 120;

/// The TLS of a script, ready.
#[derive(Debug)]
pub(super) struct Prepared {
    /// With which every connection begins.
    always: Security,
    /// Of each step; nothing where the step is not about TLS.
    steps: Vec<Security>,
}

impl Prepared {
    pub(super) fn new(check: &ScriptCheck, at: &Address) -> Self {
        let of = |step: &Step| match step {
            Step::Tls(tls) => security(Some(tls), at),
            _ => Ok(None),
        };
        Self { always: security(check.tls.as_ref(), at), steps: check.steps.iter().map(of).collect() }
    }
}

pub(super) async fn ask(
    question: &Arc<Question>,
    check: &ScriptCheck,
    address: &Site,
    log: &Log,
) -> Result<Finding, Failure> {
    let Ready::Script(prepared) = question.prepared() else {
        return Err(Failure::new(Layer::Local, "this is no question by script"));
    };
    let deadline = log.began() + question.timeout;
    let mut play = Play { question, prepared, transport: check.transport, address, log, wire: None };
    if !matches!(check.steps.first(), Some(Step::Connect(_))) {
        match timeout_at(deadline, play.connect(address)).await {
            Ok(connected) => connected?,
            Err(_elapsed) => return Err(play.late("no TLS")),
        }
    }
    for (position, step) in check.steps.iter().enumerate() {
        let number = position + 1;
        let named = |failure: Failure| Failure { what: format!("step {number}: {}", failure.what), ..failure };
        match timeout_at(deadline, play.act(step, position)).await {
            Ok(Ok(())) => log.note(format!("step {number} done: {}", words(step))),
            Ok(Err(failure)) => return Err(named(failure)),
            Err(_elapsed) => return Err(named(play.unfinished(step))),
        }
    }
    if let Some(wire) = play.wire.take() {
        wire.close().await;
    }
    let count = check.steps.len();
    Ok(Finding::new(if count == 1 { "the one step is done".to_owned() } else { format!("all {count} steps are done") }))
}

/// A script under way.
struct Play<'a> {
    question: &'a Question,
    prepared: &'a Prepared,
    transport: Transport,
    address: &'a Site,
    log: &'a Log,
    wire: Option<Wire>,
}

impl Play<'_> {
    async fn act(&mut self, step: &Step, position: usize) -> Result<(), Failure> {
        match step {
            Step::Connect(port) => {
                if let Some(wire) = self.wire.take() {
                    wire.close().await;
                }
                self.connect_to(*port).await
            }
            Step::Tls(_) => {
                let opener = match self.prepared.steps.get(position) {
                    Some(Ok(Some(opener))) => opener,
                    Some(Err(why)) => return Err(Failure::new(Layer::Tls, why.clone())),
                    _ => return Err(Failure::new(Layer::Local, "its TLS was not made ready")),
                };
                let wire = self.wire.take().ok_or_else(unconnected)?;
                self.wire = Some(wire.secure(opener).await?);
                Ok(())
            }
            Step::Send(bytes) => {
                self.wire()?.send(bytes).await;
                Ok(())
            }
            Step::Expect(_) | Step::Matches(_) => self.expect(step).await,
        }
    }

    /// To another port of the same machine.
    async fn connect_to(&mut self, port: u16) -> Result<(), Failure> {
        let Some(mut address) = self.address.ip() else {
            return Err(Failure::new(Layer::Local, "a unix socket has no port to connect to"));
        };
        address.set_port(port);
        self.connect(&address.into()).await
    }

    async fn connect(&mut self, site: &Site) -> Result<(), Failure> {
        let opener: Option<&Opener> = match &self.prepared.always {
            Ok(opener) => opener.as_ref(),
            Err(why) => return Err(Failure::new(Layer::Tls, why.clone())),
        };
        if self.transport == Transport::Udp {
            let refused = || Failure::new(Layer::Local, "a unix socket takes no datagrams of ours");
            self.wire = Some(Wire::towards(self.question, site.ip().ok_or_else(refused)?, self.log)?);
            return Ok(());
        }
        self.wire = Some(Wire::open_with(self.question, opener, site, self.log).await?);
        Ok(())
    }

    async fn expect(&mut self, step: &Step) -> Result<(), Failure> {
        let waiting_for = words(step);
        let wire = self.wire()?;
        loop {
            if let Some(end) = found(step, wire.hand()) {
                wire.take(end);
                return Ok(());
            }
            if let Err(failure) = wire.fill(&format!("{waiting_for} came")).await {
                let came = readable(wire.hand(), WIDTH);
                return Err(if came.is_empty() {
                    failure
                } else {
                    Failure::new(Layer::Answer, format!("{}; what came is `{came}`", failure.what))
                });
            }
        }
    }

    fn wire(&mut self) -> Result<&mut Wire, Failure> {
        self.wire.as_mut().ok_or_else(unconnected)
    }

    /// The time is over within this step.
    fn unfinished(&self, step: &Step) -> Failure {
        match (step, &self.wire) {
            (Step::Expect(_) | Step::Matches(_), Some(wire)) if !wire.hand().is_empty() => {
                let came = readable(wire.hand(), WIDTH);
                let what =
                    format!("{} did not come within {:?}; what came is `{came}`", words(step), self.question.timeout);
                Failure::new(Layer::Answer, what)
            }
            (Step::Expect(_) | Step::Matches(_), _) => self.late(&format!("{} did not come", words(step))),
            _ => self.late(&format!("{} was not done", words(step))),
        }
    }

    fn late(&self, what: &str) -> Failure {
        Failure::new(Layer::Timeout, format!("{what} within {:?}", self.question.timeout))
    }
}

fn unconnected() -> Failure {
    Failure::new(Layer::Local, "there is no connection")
}

/// Where what is expected ends in what has come.
fn found(step: &Step, hand: &[u8]) -> Option<usize> {
    match step {
        Step::Expect(bytes) => memchr::memmem::find(hand, bytes).map(|at| at + bytes.len()),
        Step::Matches(pattern) => pattern.0.find(hand).map(|found| found.end()),
        _ => None,
    }
}

/// A step as its author knows it.
fn words(step: &Step) -> String {
    match step {
        Step::Connect(port) => format!("connect to port {port}"),
        Step::Tls(_) => "TLS".to_owned(),
        Step::Send(bytes) => format!("send `{}`", printable(bytes, WIDTH)),
        Step::Expect(bytes) => format!("`{}`", printable(bytes, WIDTH)),
        Step::Matches(pattern) => format!("a match of `{}`", pattern.0.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Pattern;

    #[test]
    fn an_expectation_takes_all_up_to_its_end() {
        let text = |text: &str| Step::Expect(text.as_bytes().into());
        let regex = |text: &str| Step::Matches(Pattern(regex::bytes::Regex::new(text).unwrap()));
        let rows: &[(Step, &[u8], Option<usize>)] = &[
            (text("+PONG"), b"+PONG\r\n", Some(5)),
            (text("+PONG"), b"-ERR\r\n+PONG\r\n", Some(11)),
            (text("+PONG"), b"+PON", None),
            (text("+PONG"), b"", None),
            (Step::Expect([0x52, 0].as_slice().into()), b"\x52\x00\x00", Some(2)),
            (regex("role:(master|slave)\r\n"), b"# Replication\r\nrole:master\r\nx", Some(28)),
            (regex("^role"), b"# Replication\r\nrole:master", None),
            (regex("(?-u)\\xff"), b"a\xff", Some(2)),
            (Step::Connect(1), b"anything", None),
        ];
        for (step, hand, expected) in rows {
            assert_eq!(found(step, hand), *expected, "{step:?} in {}", hand.escape_ascii());
        }
    }
}
