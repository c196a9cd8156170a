//! `type = "smtp"`: does the mail server greet, take our greeting, and say goodbye?
//!
//! It waits for the banner before it speaks: many servers turn away whoever talks first. Most of what a server that
//! cannot work says (421, 554) comes as its banner, and is passed on.

use super::question::Question;
use super::report::{Failure, Finding, Layer};
use super::transcript::{Log, readable};
use super::wire::{Wire, secured};
use crate::config::model::{Hello, Site, SmtpCheck};

/// An answer has no more lines than this.
const LINES_MAX: usize = 100;
/// Longest text of a server that is quoted.
const WIDTH: usize = 120;

/// An answer of one line or more: its code, and the text of its last line.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    code: u16,
    text: String,
}

/// One line of an answer.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    /// `250-text`: more follow.
    Middle(u16),
    /// `250 text`.
    Last(Answer),
}

pub(super) async fn ask(question: &Question, check: &SmtpCheck, address: &Site, log: &Log) -> Result<Finding, Failure> {
    let mut wire = Wire::open_with(question, secured(question)?, address, log).await?;
    let banner = answer(&mut wire, "a greeting").await?;
    expect_good(&banner, "as its greeting")?;
    let (command, name) = match &check.hello {
        Hello::Helo(name) => ("HELO", name),
        Hello::Ehlo(name) => ("EHLO", name),
    };
    wire.send(format!("{command} {name}\r\n").as_bytes()).await;
    let hello = answer(&mut wire, &format!("an answer to {command}")).await?;
    let good = expect_good(&hello, &format!("in answer to {command}"));
    wire.send(b"QUIT\r\n").await;
    wire.last_word(async |wire| match answer(wire, "a goodbye").await {
        Ok(goodbye) if (200..300).contains(&goodbye.code) => {}
        Ok(goodbye) => log.note(format!("its goodbye is {}", goodbye.code)),
        Err(failure) => log.note(format!("no goodbye: {}", failure.what)),
    })
    .await;
    wire.close().await;
    good.map(|()| Finding::new(format!("{} {}", banner.code, banner.text)))
}

/// One whole answer; all its lines have the same code.
async fn answer(wire: &mut Wire, waiting_for: &str) -> Result<Answer, Failure> {
    let mut first = None;
    for _ in 0..LINES_MAX {
        let line = wire.line(waiting_for).await?;
        match parse(&line) {
            Some(Line::Middle(code)) if first.is_none_or(|first| first == code) => first = Some(code),
            Some(Line::Last(answer)) if first.is_none_or(|first| first == answer.code) => return Ok(answer),
            _ => {
                let came = readable(&line, WIDTH);
                return Err(Failure::new(Layer::Protocol, format!("what came is not SMTP: `{came}`")));
            }
        }
    }
    Err(Failure::new(Layer::Protocol, format!("more than {LINES_MAX} lines came before {waiting_for} ended")))
}

fn parse(line: &[u8]) -> Option<Line> {
    let (code, rest) = line.split_at_checked(3)?;
    if !code.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let code: u16 = std::str::from_utf8(code).ok()?.parse().ok()?;
    match rest.split_first() {
        Some((b'-', _)) => Some(Line::Middle(code)),
        Some((b' ', text)) => Some(Line::Last(Answer { code, text: readable(text, WIDTH) })),
        None => Some(Line::Last(Answer { code, text: String::new() })),
        Some(_) => None,
    }
}

fn expect_good(answer: &Answer, place: &str) -> Result<(), Failure> {
    if (200..300).contains(&answer.code) {
        return Ok(());
    }
    let words = match answer.code {
        421 => "it takes no more work for now",
        450..=452 => "it cannot work for now",
        554 => "it serves nobody from here",
        500 | 502 => "it does not know this greeting",
        501 | 504 | 550 => "it does not like the name that it is greeted with",
        _ => "wanted 2xx",
    };
    Err(Failure::new(Layer::Answer, format!("{} {place}: {words} (it says: {})", answer.code, answer.text)))
}

/// For [`super::parsers`].
pub(super) fn feed(said: &[u8]) {
    for line in said.split(|byte| *byte == b'\n') {
        let _ = parse(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_a_code_and_say_whether_more_follow() {
        let last = |code: u16, text: &str| Some(Line::Last(Answer { code, text: text.into() }));
        let rows: &[(&[u8], Option<Line>)] = &[
            (b"220 mail.example.com ESMTP", last(220, "mail.example.com ESMTP")),
            (b"250-PIPELINING", Some(Line::Middle(250))),
            (b"250", last(250, "")),
            (b"250 ", last(250, "")),
            (b"421 4.3.2 \xff", last(421, "4.3.2 \\xff")),
            (b"25", None),
            (b"", None),
            (b"2500 x", None),
            (b"+OK POP3", None),
            (b"SSH-2.0-OpenSSH", None),
            (b"2\xc3\xa4 x", None),
        ];
        for (line, expected) in rows {
            assert_eq!(parse(line), *expected, "{}", line.escape_ascii());
        }
    }
}
