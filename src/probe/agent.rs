//! `type = "agent"`: what an agent beside the backend says of it, in the words of `HAProxy`'s agents, unchanged.
//!
//! One line a visit: health (`up`, `down`, `fail`, `stopped`, with a `#reason`), will (`ready`, `drain`, `maint`), weight
//! (`75%`, `weight:128`) and a limit (`maxconn:30`), in any order and case, parted by blanks or commas. What a line leaves
//! out stays as it was, and so does everything when the agent cannot be reached or says nothing that makes sense: only the
//! agent takes back what the agent said, and one that was never heard says nothing against its backend.

use std::num::NonZeroU16;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::timeout;

use super::question::{Question, Ready};
use super::report::{Failure, Finding, Layer};
use super::transcript::{Log, readable};
use super::wire::Wire;
use crate::config::model::{AgentCheck, Site};
use crate::health::{Says, Wish};

/// Longest text of an agent that is quoted.
const WIDTH: usize = 120;
/// More than this share of the configured weight is a slip of the pen: it is taken as this.
const SHARE_MAX: u16 = 1000;

/// What the agent has said so far.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<Said>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Said {
    heard: Heard,
    /// `None`: up, or it never said.
    down: Option<String>,
    wish: Wish,
    share: Option<u16>,
    connections: Option<NonZeroU16>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Heard {
    #[default]
    Never,
    Once,
}

/// What one line says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Line {
    health: Option<Health>,
    wish: Option<Wish>,
    share: Option<u16>,
    /// `maxconn:N`; 0 takes back what was said.
    connections: Option<u16>,
    /// The first word that nobody knows.
    unknown: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Health {
    Up,
    /// In the agent's words.
    Down(String),
}

pub(super) async fn ask(
    question: &Arc<Question>,
    check: &AgentCheck,
    address: &Site,
    log: &Log,
) -> Result<Finding, Failure> {
    let Ready::Agent(memory) = question.prepared() else {
        return Err(Failure::new(Layer::Local, "this is no question to an agent"));
    };
    let heard = match timeout(question.timeout, hear(question, check, address, log)).await {
        Ok(heard) => heard,
        Err(_elapsed) => Err(Failure::new(Layer::Timeout, format!("no line within {:?}", question.timeout))),
    };
    let mut said = memory.0.lock().unwrap_or_else(PoisonError::into_inner);
    let trouble = match heard {
        Ok(line) => said.take(&line, log),
        Err(failure) => Some(failure.what),
    };
    said.result(trouble.as_deref())
}

/// The agent's line, without its end.
async fn hear(question: &Question, check: &AgentCheck, address: &Site, log: &Log) -> Result<Vec<u8>, Failure> {
    let mut wire = Wire::open(question, address, log).await?;
    if let Some(text) = &check.send {
        wire.send(text.as_bytes()).await;
    }
    loop {
        if let Some(end) = wire.hand().iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
            let line = wire.take(end);
            wire.close().await;
            return Ok(line);
        }
        wire.fill("a whole line").await?;
    }
}

impl Said {
    /// Takes what a line says; what is wrong with it, where nothing of it could be taken.
    fn take(&mut self, line: &[u8], log: &Log) -> Option<String> {
        let parsed = Line::parse(&String::from_utf8_lossy(line));
        if let Some(word) = &parsed.unknown {
            log.note(format!("`{word}` is no word of an agent"));
        }
        if parsed.is_empty() {
            return Some(format!("`{}` says nothing", readable(line, WIDTH)));
        }
        self.heard = Heard::Once;
        match parsed.health {
            Some(Health::Up) => self.down = None,
            Some(Health::Down(words)) => self.down = Some(words),
            None => {}
        }
        self.wish = parsed.wish.unwrap_or(self.wish);
        self.share = parsed.share.or(self.share);
        self.connections = parsed.connections.map_or(self.connections, NonZeroU16::new);
        None
    }

    fn result(&self, trouble: Option<&str>) -> Result<Finding, Failure> {
        let silence = match (trouble, self.heard) {
            (Some(trouble), Heard::Never) => {
                return Ok(Finding::new(format!("no word from the agent yet: {trouble}")));
            }
            (Some(trouble), Heard::Once) => format!("; nothing new since: {trouble}"),
            (None, _) => String::new(),
        };
        if let Some(words) = &self.down {
            return Err(Failure::new(Layer::Answer, format!("the agent says {words}{silence}")));
        }
        let wish = match self.wish {
            Wish::Work => "",
            Wish::Drain => ", drain",
            Wish::Maintenance => ", maint",
        };
        let share = self.share.map_or_else(String::new, |share| format!(", weight {share}%"));
        let most = self.connections.map_or_else(String::new, |most| format!(", {most} at once at most"));
        let finding = Finding::new(format!("the agent says up{wish}{share}{most}{silence}"));
        let says = Says { wish: self.wish, share: self.share, connections: self.connections, ..Says::default() };
        Ok(finding.saying(says))
    }
}

impl Line {
    fn parse(text: &str) -> Self {
        let (words, reason) = text.split_once('#').unwrap_or((text, ""));
        let mut line = Self::default();
        for word in words.split([' ', '\t', ',']).filter(|word| !word.is_empty()) {
            line.take(word);
        }
        let reason = reason.trim();
        if let Some(Health::Down(words)) = &mut line.health
            && !reason.is_empty()
        {
            *words = format!("{words}: {}", readable(reason.as_bytes(), WIDTH));
        }
        line
    }

    /// The last word of a kind counts, as `HAProxy` has it.
    fn take(&mut self, word: &str) {
        match word.to_ascii_lowercase().as_str() {
            "up" => self.health = Some(Health::Up),
            down @ ("down" | "fail" | "stopped") => self.health = Some(Health::Down(down.to_owned())),
            "ready" => self.wish = Some(Wish::Work),
            "drain" => self.wish = Some(Wish::Drain),
            "maint" => self.wish = Some(Wish::Maintenance),
            other => match (share(other), other.strip_prefix("maxconn:").and_then(digits)) {
                (Some(share), _) => self.share = Some(share),
                (None, Some(most)) => self.connections = Some(most),
                _ => {
                    let word = readable(word.as_bytes(), WIDTH);
                    self.unknown.get_or_insert(word);
                }
            },
        }
    }

    fn is_empty(&self) -> bool {
        self.health.is_none() && self.wish.is_none() && self.share.is_none() && self.connections.is_none()
    }
}

/// `75%`, `weight:75%`, and `weight:75`, which counts as so many percent: agents that say it say it of all backends.
fn share(word: &str) -> Option<u16> {
    let number = match word.strip_prefix("weight:") {
        Some(number) => number.strip_suffix('%').unwrap_or(number),
        None => word.strip_suffix('%')?,
    };
    digits(number).map(|number| number.min(SHARE_MAX))
}

/// Digits only: no sign. What is too large for the number is as large as it can be.
fn digits(text: &str) -> Option<u16> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u16::MAX))
}

/// For [`super::parsers`].
pub(super) fn feed(said: &[u8]) {
    let _ = Line::parse(&String::from_utf8_lossy(said)).is_empty();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy)]
    enum Event<'a> {
        Says(&'a str),
        Silent,
    }
    use Event::{Says as Line_, Silent};

    fn down(words: &str) -> Line {
        Line { health: Some(Health::Down(words.to_owned())), ..Line::default() }
    }

    #[test]
    fn lines_are_read_as_haproxy_reads_them() {
        let rows: &[(&str, Line)] = &[
            ("up", Line { health: Some(Health::Up), ..Line::default() }),
            ("UP", Line { health: Some(Health::Up), ..Line::default() }),
            ("down", down("down")),
            ("Fail", down("fail")),
            ("stopped#for repairs", down("stopped: for repairs")),
            ("down #  disk, full ", down("down: disk, full")),
            ("up#fine", Line { health: Some(Health::Up), ..Line::default() }),
            ("75%", Line { share: Some(75), ..Line::default() }),
            ("weight:75", Line { share: Some(75), ..Line::default() }),
            ("Weight:75%", Line { share: Some(75), ..Line::default() }),
            ("0%", Line { share: Some(0), ..Line::default() }),
            ("99999999%", Line { share: Some(SHARE_MAX), ..Line::default() }),
            ("maxconn:30", Line { connections: Some(30), ..Line::default() }),
            ("maxconn:70000", Line { connections: Some(u16::MAX), ..Line::default() }),
            ("maxconn:-1", Line { unknown: Some("maxconn:-1".into()), ..Line::default() }),
            ("drain", Line { wish: Some(Wish::Drain), ..Line::default() }),
            ("MAINT", Line { wish: Some(Wish::Maintenance), ..Line::default() }),
            (
                "ready,up\t50% maxconn:8",
                Line {
                    health: Some(Health::Up),
                    wish: Some(Wish::Work),
                    share: Some(50),
                    connections: Some(8),
                    unknown: None,
                },
            ),
            (" , up,, ,drain", Line { health: Some(Health::Up), wish: Some(Wish::Drain), ..Line::default() }),
            ("up down", down("down")),
            ("up hello", Line { health: Some(Health::Up), unknown: Some("hello".into()), ..Line::default() }),
            ("", Line::default()),
            ("# only a reason", Line::default()),
            ("-5%", Line { unknown: Some("-5%".into()), ..Line::default() }),
            ("%", Line { unknown: Some("%".into()), ..Line::default() }),
            ("weight:", Line { unknown: Some("weight:".into()), ..Line::default() }),
            ("maxconn:x", Line { unknown: Some("maxconn:x".into()), ..Line::default() }),
            ("75", Line { unknown: Some("75".into()), ..Line::default() }),
        ];
        for (text, expected) in rows {
            assert_eq!(Line::parse(text), *expected, "{text:?}");
        }
        assert!(Line::parse("").is_empty() && Line::parse("nonsense").is_empty());
    }

    #[test]
    fn only_the_agent_takes_back_what_the_agent_said() {
        // What happens, then whether it is good, what it says, and a word of it.
        type Row<'a> = (&'a [Event<'a>], Option<(Wish, Option<u16>)>, &'a str);
        let rows: &[Row<'_>] = &[
            (&[Silent], Some((Wish::Work, None)), "no word from the agent yet: why"),
            (&[Line_("nonsense")], Some((Wish::Work, None)), "no word from the agent yet: `nonsense`"),
            (&[Line_("up")], Some((Wish::Work, None)), "says up"),
            (&[Line_("down#disk")], None, "the agent says down: disk"),
            (&[Line_("down#disk"), Silent], None, "down: disk; nothing new since: why"),
            (&[Line_("down"), Line_("nonsense")], None, "`nonsense` says nothing"),
            (&[Line_("down"), Line_("50%")], None, "says down"),
            (&[Line_("down"), Line_("50%"), Line_("up")], Some((Wish::Work, Some(50))), "weight 50%"),
            (&[Line_("50%"), Line_("drain")], Some((Wish::Drain, Some(50))), "drain"),
            (&[Line_("drain"), Line_("up")], Some((Wish::Drain, None)), "drain"),
            (&[Line_("maint"), Line_("down")], None, "down"),
            (&[Line_("maint"), Line_("down"), Line_("up")], Some((Wish::Maintenance, None)), "maint"),
            (&[Line_("maint"), Line_("ready")], Some((Wish::Work, None)), "says up"),
            (&[Line_("drain"), Silent], Some((Wish::Drain, None)), "nothing new since: why"),
            (&[Line_("maxconn:5")], Some((Wish::Work, None)), "says up, 5 at once at most"),
            (&[Line_("maxconn:5"), Line_("up")], Some((Wish::Work, None)), "up, 5 at once"),
        ];
        for (events, expected, words) in rows {
            let mut said = Said::default();
            let mut trouble = None;
            for event in *events {
                trouble = match event {
                    Line_(line) => said.take(line.as_bytes(), &Log::new()),
                    Silent => Some("why".to_owned()),
                };
            }
            let result = said.result(trouble.as_deref());
            let what = match &result {
                Ok(finding) => finding.what.to_string(),
                Err(failure) => failure.what.clone(),
            };
            assert!(what.contains(words), "{what} should contain {words}");
            assert_eq!(result.ok().map(|finding| (finding.says.wish, finding.says.share)), *expected);
        }
    }
}
