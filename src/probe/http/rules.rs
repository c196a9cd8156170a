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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    type Row = (&'static str, Vec<Comparison>, &'static str, Result<(), &'static str>);

    use super::*;
    use crate::config::model::{HttpQuestion, Pattern};

    fn answer(status: u16, body: &[u8]) -> Answer {
        Answer { status, body: body.to_vec(), length: Length::Whole }
    }

    fn with(body: Vec<BodyRule>) -> HttpCheck {
        HttpCheck { body, ..HttpCheck::new(HttpQuestion::get("/")) }
    }

    #[test]
    fn the_body_is_judged_by_its_rule() {
        let contains = |text: &str| BodyRule::Contains(Arc::from(text));
        let lacks = |text: &str| BodyRule::Lacks(Arc::from(text));
        let pattern = |text: &str| Pattern(regex::bytes::Regex::new(text).unwrap());
        let matches = |text: &str| BodyRule::Matches(pattern(text));
        let matches_not = |text: &str| BodyRule::MatchesNot(pattern(text));
        let rows: &[(BodyRule, &[u8], bool)] = &[
            (contains("ok"), b"all ok here", true),
            (contains("ok"), b"all K here", false),
            (lacks("ok"), b"all K here", true),
            (lacks("ok"), b"all ok here", false),
            (lacks("ok"), b"", true),
            (matches("^O[kK]$"), b"OK", true),
            (matches("^O[kK]$"), b"OK\n", false),
            (matches("(?i)READY"), b"\xff ready \xfe", true),
            (matches_not("(?i)error"), b"all fine", true),
            (matches_not("(?i)error"), b"an Error here", false),
        ];
        for (rule, body, good) in rows {
            let judged = judge(&with(vec![rule.clone()]), &answer(200, body));
            assert_eq!(judged.is_ok(), *good, "{rule:?} over {:?}: {judged:?}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn values_are_compared_by_the_types_of_json() {
        use Comparison::{Above, Below, Equals, Not};
        let number = |text: &str| Number::parse(text).unwrap();
        let of = |text: &str| Wanted::Number(number(text));
        let text = |text: &str| Wanted::Text(Arc::from(text));
        let rows: &[Row] = &[
            ("/database", vec![Equals(text("ok"))], r#"{"database": "ok"}"#, Ok(())),
            (
                "/database",
                vec![Equals(text("ok"))],
                r#"{"database": "bad"}"#,
                Err("`/database` is \"bad\", wanted `ok`"),
            ),
            ("/a/0/b", vec![Equals(of("1"))], r#"{"a": [{"b": 1}]}"#, Ok(())),
            ("/a/0/b", vec![Equals(of("1"))], r#"{"a": [{"b": 1.0}]}"#, Ok(())),
            ("/a/0/b", vec![Equals(of("1"))], r#"{"a": [{"b": "1"}]}"#, Err("is \"1\", wanted 1")),
            ("/a/0/b", vec![Equals(Wanted::True)], r#"{"a": [{"b": 1}]}"#, Err("is 1, wanted true")),
            ("/a", vec![Equals(Wanted::False)], r#"{"a": false}"#, Ok(())),
            ("/a", vec![Not(text("down"))], r#"{"a": "up"}"#, Ok(())),
            ("/a", vec![Not(text("down"))], r#"{"a": "down"}"#, Err("wanted anything but `down`")),
            ("/a", vec![Not(text("down"))], r#"{"b": 1}"#, Err("the body has no `/a`")),
            ("/a", vec![Above(number("0")), Below(number("10"))], r#"{"a": 9.5}"#, Ok(())),
            ("/a", vec![Above(number("0")), Below(number("10"))], r#"{"a": 0}"#, Err("is 0, wanted above 0")),
            ("/a", vec![Above(number("0")), Below(number("10"))], r#"{"a": 1e1}"#, Err("wanted below 10")),
            ("/a", vec![Above(number("0"))], r#"{"a": "many"}"#, Err("wanted above 0, which is no number")),
            ("/a~1b", vec![Equals(of("2"))], r#"{"a/b": 2}"#, Ok(())),
            ("", vec![Equals(of("3"))], "3", Ok(())),
            ("/a", vec![Equals(of("1"))], "<html>", Err("the body is no JSON: it starts `<html>`")),
            ("/a", vec![Equals(of("1"))], "", Err("the body is no JSON: it is empty")),
        ];
        for (pointer, wanted, body, expected) in rows {
            let rule = BodyRule::Json { pointer: Arc::from(*pointer), wanted: wanted.clone() };
            let judged = judge(&with(vec![rule]), &answer(200, body.as_bytes()));
            match (judged, expected) {
                (Ok(_), Ok(())) => {}
                (Err(failure), Err(words)) => assert!(failure.what.contains(words), "{body}: {failure}"),
                (judged, _) => panic!("{pointer} {wanted:?} over {body}: {judged:?}"),
            }
        }
    }

    #[test]
    fn all_rules_must_hold_and_what_was_cut_is_not_taken_for_whole() {
        let both = vec![BodyRule::Contains(Arc::from("a")), BodyRule::Lacks(Arc::from("b"))];
        assert!(judge(&with(both.clone()), &answer(200, b"a")).is_ok());
        assert!(judge(&with(both.clone()), &answer(200, b"ab")).is_err());
        assert!(judge(&with(both), &answer(200, b"c")).is_err());
        let cut = Answer { length: Length::Cut, ..answer(200, b"{\"a\":1}") };
        let rule = BodyRule::Json { pointer: Arc::from("/a"), wanted: vec![Comparison::Equals(Wanted::True)] };
        assert!(judge(&with(vec![rule]), &cut).unwrap_err().what.contains("longer than 64 KiB"));
    }

    #[test]
    fn an_excerpt_is_one_short_line() {
        let text = excerpt("gr\u{fc}\u{df}e\r\n\0und so weiter, ".repeat(50).as_bytes());
        assert!(text.chars().count() < 90 && !text.contains('\n') && text.ends_with("…`"), "{text}");
        assert_eq!(excerpt(b""), "it is empty");
    }
}
