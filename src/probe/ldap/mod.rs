//! `type = "ldap"`: a bind to a directory, anonymous or with a name and a password, ended with an unbind.
//!
//! A directory that lets in nobody anonymous is alive all the same when nobody is what the check is.

mod ber;

use self::ber::{Answer, Kind};
use super::question::Question;
use super::report::{Failure, Finding, Layer};
use super::transcript::{Log, readable};
use super::wire::{Wire, secured};
use crate::config::model::{LdapCheck, Site};

/// Longest answer to a bind.
const MESSAGE_MAX: usize = 32 * 1024;
/// Longest text of a server that is quoted.
const WIDTH: usize = 120;

pub(super) async fn ask(question: &Question, check: &LdapCheck, address: &Site, log: &Log) -> Result<Finding, Failure> {
    let mut wire = Wire::open_with(question, secured(question)?, address, log).await?;
    let (user, password) = match &check.account {
        Some(account) => (&*account.user, &*account.password),
        None => ("", ""),
    };
    wire.send(&ber::bind(user, password)).await;
    let answer = loop {
        match ber::parse(wire.hand(), MESSAGE_MAX) {
            Ok(Some(answer)) => break answer,
            Ok(None) => wire.fill("an answer to the bind").await?,
            Err(_garbage) => {
                let came = readable(wire.hand(), WIDTH);
                return Err(Failure::new(Layer::Protocol, format!("what came is no LDAP answer: `{came}`")));
            }
        }
    };
    wire.send(&ber::UNBIND).await;
    wire.close().await;
    judge(check, &answer)
}

fn judge(check: &LdapCheck, answer: &Answer) -> Result<Finding, Failure> {
    let code = answer.code;
    let words = match code {
        0 if answer.kind == Kind::Bind => {
            return Ok(Finding::new(if check.account.is_some() { "bound" } else { "bound as nobody" }));
        }
        // strongerAuthRequired, confidentialityRequired, inappropriateAuthentication
        8 | 13 | 48 if answer.kind == Kind::Bind && check.account.is_none() => {
            return Ok(Finding::new(format!("alive (code {code}: it lets in nobody without a name)")));
        }
        1 => "an error within the directory",
        2 => "it did not understand the bind",
        3 | 11 => "a limit of the directory was reached",
        7 => "it knows no simple bind",
        8 | 13 => "it wants TLS first: write tls = true, with its port",
        10 => "it refers to another directory",
        32 | 34 => "the name of `user` is none that it knows",
        48 => "this `user` has no password to bind with",
        49 => "`user` or `password` is wrong",
        50 => "this `user` may not bind",
        51 => "it is busy",
        52 => "it is not available: shutting down, or without its database",
        53 => "it is unwilling; an anonymous bind may be forbidden: give a `user` and a `password`",
        _ => "the bind failed",
    };
    let said = match answer.text.as_slice() {
        [] => String::new(),
        text => format!(" (it says: {})", readable(text, WIDTH)),
    };
    let what = match answer.kind {
        Kind::Bind => format!("code {code}: {words}{said}"),
        Kind::Notice => format!("it ends the connection with code {code}: {words}{said}"),
    };
    Err(Failure::new(Layer::Answer, what))
}

/// For [`super::parsers`].
pub(super) fn feed(said: &[u8]) {
    let _ = ber::parse(said, MESSAGE_MAX);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::LdapAccount;

    #[test]
    fn codes_are_said_in_words() {
        type Row = (Option<()>, Kind, u32, Result<&'static str, &'static str>);
        let rows: &[Row] = &[
            (None, Kind::Bind, 0, Ok("bound as nobody")),
            (Some(()), Kind::Bind, 0, Ok("bound")),
            (None, Kind::Bind, 48, Ok("alive (code 48")),
            (None, Kind::Bind, 8, Ok("alive (code 8")),
            (Some(()), Kind::Bind, 48, Err("no password to bind with")),
            (Some(()), Kind::Bind, 13, Err("tls = true")),
            (Some(()), Kind::Bind, 49, Err("is wrong (it says: its words)")),
            (None, Kind::Bind, 51, Err("busy")),
            (None, Kind::Bind, 52, Err("not available")),
            (None, Kind::Bind, 53, Err("unwilling")),
            (None, Kind::Bind, 4096, Err("code 4096: the bind failed")),
            (None, Kind::Notice, 52, Err("ends the connection with code 52")),
            (None, Kind::Notice, 0, Err("ends the connection with code 0")),
        ];
        for (account, kind, code, expected) in rows {
            let account = account.map(|()| LdapAccount { user: "cn=a".into(), password: "b".into() });
            let answer = Answer { kind: *kind, code: *code, text: b"its words".to_vec() };
            let found = judge(&LdapCheck { account, tls: None }, &answer);
            match (&found, expected) {
                (Ok(finding), Ok(words)) => assert!(finding.what.contains(words), "{code}: {finding:?}"),
                (Err(failure), Err(words)) => assert!(failure.what.contains(words), "{code}: {failure}"),
                _ => panic!("{code}: {found:?}"),
            }
        }
    }
}
