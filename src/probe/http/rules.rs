//! Whether an answer over HTTP is the one that is wanted, and what it says of the backend. PURE.

use std::cell::OnceCell;

use serde_json::Value;

use super::{Answer, Length, MAX_BODY};
use crate::config::model::{BodyRule, Codes, Comparison, HttpCheck, Number, StatusRule, StatusWord, Wanted};
use crate::health::{Role, Says, Wish};
use crate::probe::report::{Failure, Finding, Layer};

/// Longest piece of an answer that is quoted, in characters.
const QUOTED: usize = 60;

/// The check's verdict over an answer.
pub(super) fn judge(check: &HttpCheck, answer: &Answer) -> Result<Finding, Failure> {
    let bad = |what: String| Failure::new(Layer::Answer, what);
    let (mut says, mut what) = status(&check.status, answer.status).map_err(bad)?;
    let page = Page { answer, json: OnceCell::new() };
    for rule in &check.body {
        page.keeps(rule).map_err(|why| bad(format!("HTTP {}, but {why}", answer.status)))?;
    }
    if !check.body.is_empty() {
        what.push_str(", body as wanted");
    }
    if let Some(pointer) = &check.epoch {
        says.epoch = page.epoch(pointer);
        what = match says.epoch {
            Some(epoch) => format!("{what}, epoch {epoch}"),
            // Not held against it: a standby often has none.
            None => format!("{what}, no epoch at `{pointer}`"),
        };
    }
    Ok(Finding::new(what).saying(says))
}

// === the status ===

fn status(rule: &StatusRule, status: u16) -> Result<(Says, String), String> {
    match rule {
        StatusRule::Good(good) if good.iter().any(|codes| codes.have(status)) => {
            Ok((Says::default(), format!("HTTP {status}")))
        }
        StatusRule::Good(good) => {
            let wanted: Vec<String> = good.iter().map(Codes::to_string).collect();
            Err(format!("HTTP {status}, wanted {}", wanted.join(", ")))
        }
        StatusRule::Words(words) => {
            let Some((_, word)) = words.iter().find(|(codes, _)| codes.have(status)) else {
                return Err(format!("HTTP {status} is not in `status`; add it there with the word for what it means"));
            };
            let said = format!("HTTP {status}, {}", word.word());
            says(*word).map(|says| (says, said)).ok_or_else(|| format!("HTTP {status}, which `status` calls down"))
        }
    }
}

fn says(word: StatusWord) -> Option<Says> {
    Some(match word {
        StatusWord::Active => Says::role(Role::Active),
        StatusWord::Standby => Says::role(Role::Standby),
        StatusWord::Read => Says::role(Role::Read),
        StatusWord::Up => Says::default(),
        StatusWord::Draining => Says::wish(Wish::Drain),
        StatusWord::Maintenance => Says::wish(Wish::Maintenance),
        StatusWord::Down => return None,
    })
}

// === the body ===

/// An answer whose body is read as JSON at most once.
struct Page<'a> {
    answer: &'a Answer,
    json: OnceCell<Result<Value, String>>,
}

impl Page<'_> {
    fn keeps(&self, rule: &BodyRule) -> Result<(), String> {
        let body = &self.answer.body;
        let has = |text: &str| memchr::memmem::find(body, text.as_bytes()).is_some();
        let wrong = match rule {
            BodyRule::Contains(text) if !has(text) => format!("the body does not contain `{text}`"),
            BodyRule::Lacks(text) if has(text) => format!("the body contains `{text}`"),
            BodyRule::Matches(pattern) if !pattern.0.is_match(body) => {
                format!("the body does not match `{}`", pattern.0.as_str())
            }
            BodyRule::MatchesNot(pattern) if pattern.0.is_match(body) => {
                format!("the body matches `{}`", pattern.0.as_str())
            }
            BodyRule::Json { pointer, wanted } => return self.value_keeps(pointer, wanted),
            _ => return Ok(()),
        };
        Err(format!("{wrong}: {}", excerpt(body)))
    }

    fn value_keeps(&self, pointer: &str, wanted: &[Comparison]) -> Result<(), String> {
        let value = self.json()?.pointer(pointer).ok_or_else(|| format!("the body has no `{pointer}`"))?;
        let Some(missed) = wanted.iter().find(|wanted| !is_met(wanted, value)) else { return Ok(()) };
        let note = match missed {
            Comparison::Above(_) | Comparison::Below(_) if number(value).is_none() => ", which is no number",
            _ => "",
        };
        Err(format!("`{pointer}` is {}, wanted {missed}{note}", short(&value.to_string())))
    }

    fn json(&self) -> Result<&Value, String> {
        let read = self.json.get_or_init(|| {
            if self.answer.length == Length::Cut {
                return Err(format!("the body is longer than {} KiB", MAX_BODY / 1024));
            }
            let body = &self.answer.body;
            serde_json::from_slice(body).map_err(|_invalid| format!("the body is no JSON: {}", excerpt(body)))
        });
        read.as_ref().map_err(String::clone)
    }

    /// A number, also one that is written as text.
    fn epoch(&self, pointer: &str) -> Option<u64> {
        let value = self.json().ok()?.pointer(pointer)?;
        value.as_u64().or_else(|| value.as_str()?.parse().ok())
    }
}

fn is_met(wanted: &Comparison, value: &Value) -> bool {
    match wanted {
        Comparison::Equals(wanted) => is_equal(wanted, value),
        Comparison::Not(wanted) => !is_equal(wanted, value),
        Comparison::Above(limit) => number(value).is_some_and(|number| number > *limit),
        Comparison::Below(limit) => number(value).is_some_and(|number| number < *limit),
    }
}

/// JSON has types of its own: the text "1" is no number, and 1 is not true.
fn is_equal(wanted: &Wanted, value: &Value) -> bool {
    match wanted {
        Wanted::Text(text) => value.as_str() == Some(text),
        Wanted::Number(wanted) => number(value) == Some(*wanted),
        Wanted::True => *value == Value::Bool(true),
        Wanted::False => *value == Value::Bool(false),
    }
}

fn number(value: &Value) -> Option<Number> {
    match value {
        Value::Number(number) => Number::parse(&number.to_string()),
        _ => None,
    }
}

// === words ===

/// How a body starts, in one line.
fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * QUOTED)]);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let clean: String = words.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect();
    if body.is_empty() { "it is empty".to_owned() } else { format!("it starts `{}`", short(&clean)) }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
