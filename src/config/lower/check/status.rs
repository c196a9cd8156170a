//! `status` of a check over HTTP: which codes are good, or what each code means.

use crate::config::model::{Codes, Pattern, StatusRule, StatusWord};
use crate::config::problem::Problem;
use crate::config::section::{Choice, Section};
use crate::config::tree::{Entry, Node, Table, Value};
use crate::config::units::Fault;

use super::body::pattern;

/// The codes that a status line can carry; Vault's 472 and 530 stand in no registry.
const FIRST: u16 = 100;
const LAST: u16 = 999;

const WORD: Choice<StatusWord> = Choice {
    words: &[
        ("active", StatusWord::Active),
        ("standby", StatusWord::Standby),
        ("read", StatusWord::Read),
        ("up", StatusWord::Up),
        ("draining", StatusWord::Draining),
        ("maintenance", StatusWord::Maintenance),
        ("down", StatusWord::Down),
    ],
    foreign: &[
        ("leader", "active"),
        ("master", "active"),
        ("primary", "active"),
        ("passive", "standby"),
        ("replica", "standby"),
        ("follower", "standby"),
        ("secondary", "standby"),
        ("backup", "standby"),
        ("read-only", "read"),
        ("readonly", "read"),
        ("ok", "up"),
        ("good", "up"),
        ("healthy", "up"),
        ("drain", "draining"),
        ("maint", "maintenance"),
        ("bad", "down"),
        ("fail", "down"),
        ("unhealthy", "down"),
    ],
    later: &[],
};

pub(super) fn status(section: &Section<'_>) -> Option<StatusRule> {
    if !section.has("status") {
        return Some(StatusRule::default());
    }
    let entry = section.entry("status")?;
    if let Value::Table(table) = &entry.node.value {
        return words(section, entry, table).map(StatusRule::Words);
    }
    let good: Vec<_> = section.one_or_more("status")?.iter().map(|node| codes_of(section, node)).collect();
    good.into_iter().collect::<Option<Vec<_>>>().map(StatusRule::Good)
}

fn codes_of<'a>(section: &Section<'a>, node: &'a Node) -> Option<Codes> {
    if let Value::Integer(_) = node.value {
        let range = i64::from(FIRST)..=i64::from(LAST);
        let code = u16::try_from(section.integer_of(node, "status", &range)?).ok()?;
        return Some(Codes::Range(code, code));
    }
    match codes(section.text_of(node, "status")?) {
        Ok(codes) => Some(codes),
        Err(fault) => {
            section.fault(node, fault);
            None
        }
    }
}

/// `200`, `200-299` or `/^(200|473)$/`.
fn codes(text: &str) -> Result<Codes, Fault> {
    if let Some(inner) = text.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')) {
        return pattern(inner).map(|regex| Codes::Matches(Pattern(regex)));
    }
    let code = |digits: &str| digits.trim().parse::<u16>().ok().filter(|code| (FIRST..=LAST).contains(code));
    let range = match text.split_once('-') {
        Some((first, last)) => code(first).zip(code(last)).filter(|(first, last)| first <= last),
        None => code(text).map(|code| (code, code)),
    };
    if let Some((first, last)) = range {
        return Ok(Codes::Range(first, last));
    }
    let fault = Fault::new(
        "status",
        format!("`{text}` is not a status code or a range of them"),
        format!("codes go from {FIRST} to {LAST}"),
    );
    let class = text.strip_suffix("xx").filter(|digit| ["1", "2", "3", "4", "5"].contains(digit));
    Err(match class {
        Some(digit) => fault.help(format!("write \"{digit}00-{digit}99\"")),
        None => fault.help("write 200, \"200-299\", \"/^(200|473)$/\" or a list of them"),
    })
}

// === a word for each code ===

fn words<'a>(section: &Section<'a>, entry: &'a Entry, table: &'a Table) -> Option<Vec<(Codes, StatusWord)>> {
    let read: Vec<_> = table.entries.iter().map(|entry| word(section, entry)).collect();
    let all_good = read.iter().all(Option::is_some);
    let mut words: Vec<(&Entry, Codes, StatusWord)> = read.into_iter().flatten().collect();
    // The more exact one counts, wherever it stands.
    words.sort_by_key(|(_, codes, _)| width(codes));
    let apart = refuse_overlaps(section, &words);
    if all_good && !words.iter().any(|(_, _, word)| *word != StatusWord::Down) {
        section.cx.report(
            Problem::error("status", entry.key_at, "no code of `status` is good")
                .label("nothing but down")
                .help("give the codes of a good answer too: status = { 200 = \"active\", 429 = \"standby\" }"),
        );
        return None;
    }
    (all_good && apart).then(|| words.into_iter().map(|(_, codes, word)| (codes, word)).collect())
}

fn word<'a>(section: &Section<'a>, entry: &'a Entry) -> Option<(&'a Entry, Codes, StatusWord)> {
    let codes = match codes(&entry.key) {
        Ok(codes) => Some(codes),
        Err(fault) => {
            let problem = Problem::error(fault.code, entry.key_at, fault.message).label(fault.label);
            section.cx.report(problem.help("write 200 = \"active\", \"500-599\" = \"down\" or '/^47/' = \"standby\""));
            None
        }
    };
    let Value::String(_) = &entry.node.value else {
        let help = format!("write {} = \"up\", or another of {}", entry.key, WORD.list());
        section.wrong_type(&entry.node, &entry.key, "a word", &help);
        return None;
    };
    let word = match WORD.find("status", section.text_of(&entry.node, &entry.key)?) {
        Ok(word) => word,
        Err(fault) => {
            section.fault(&entry.node, fault);
            return None;
        }
    };
    Some((entry, codes?, word))
}

fn width(codes: &Codes) -> u16 {
    match codes {
        Codes::Range(first, last) => last - first,
        Codes::Matches(_) => u16::MAX,
    }
}

/// Of two ranges, one may lie within the other; otherwise nobody could say which of them counts.
fn refuse_overlaps(section: &Section<'_>, words: &[(&Entry, Codes, StatusWord)]) -> bool {
    for (position, (one, codes, word)) in words.iter().enumerate() {
        for (other, wider, other_word) in &words[position + 1..] {
            let (Codes::Range(first, last), Codes::Range(from, to)) = (codes, wider) else { continue };
            let apart = last < from || to < first;
            let within = from <= first && last <= to && (first, last) != (from, to);
            if apart || within || word == other_word {
                continue;
            }
            let message = format!("`{}` and `{}` overlap", one.key, other.key);
            section.cx.report(
                Problem::error("conflict", other.key_at, message)
                    .label("which one counts?")
                    .second(one.key_at, "some codes are in both")
                    .help("make them disjoint, or one a part of the other: then the narrower one counts"),
            );
            return false;
        }
    }
    true
}
