//! The steps of a check of type `script`: a list of tables with exactly one key each.

use std::sync::Arc;

use super::{body, tls};
use crate::config::model::{CheckTls, Pattern, ScriptCheck, Step, Transport};
use crate::config::problem::Problem;
use crate::config::section::{Choice, Section};
use crate::config::tree::{Node, Text, Value};
use crate::config::units::Fault;
use crate::config::vocabulary::STEP;

/// Longer scripts are programs: `exec` runs those.
const STEPS_MAX: usize = 64;
/// Most bytes of one step.
const BYTES_MAX: usize = 8 * 1024;

const FORM: &str = "write steps = [{ send = \"PING\\r\\n\" }, { expect = \"+PONG\" }]";

const TRANSPORT: Choice<Transport> = Choice {
    words: &[("tcp", Transport::Tcp), ("udp", Transport::Udp)],
    foreign: &[("datagram", "udp"), ("stream", "tcp")],
    later: &["unix"],
};

pub(super) fn script(section: &Section<'_>) -> Option<ScriptCheck> {
    let tls = tls::tls(section);
    if !section.has("steps") {
        section.missing("steps", FORM);
    }
    let nodes = section.one_or_more("steps")?;
    if nodes.len() > STEPS_MAX {
        let entry = section.entry("steps")?;
        let fault = format!("{} steps are too many", nodes.len());
        let problem = Problem::error("range", entry.key_at, fault).label(format!("{STEPS_MAX} at most"));
        section.cx.report(problem.help("make it a command, for a check of type \"exec\", or two checks"));
        return None;
    }
    let steps: Vec<Option<Step>> = nodes.iter().map(|node| step(section, node)).collect();
    let steps: Vec<Step> = steps.into_iter().collect::<Option<_>>()?;
    let tls = tls?;
    refuse_tls_twice(section, nodes, &steps, tls.as_ref())?;
    let transport = section.choice("transport", &TRANSPORT).unwrap_or(Transport::Tcp);
    let secured = nodes.iter().zip(&steps).find(|(_, step)| matches!(step, Step::Tls(_))).map(|(node, _)| node.at);
    let secured = tls.as_ref().and(section.entry("tls")).map(|entry| entry.key_at).or(secured);
    if let Some(at) = secured.filter(|_| transport == Transport::Udp) {
        let problem = Problem::error("conflict", at, "TLS over datagrams").label("needs a connection");
        section.cx.report(problem.help("take it out, or write transport = \"tcp\""));
        return None;
    }
    if !steps.iter().any(|step| matches!(step, Step::Expect(_) | Step::Matches(_))) {
        let entry = section.entry("steps")?;
        let problem = Problem::warning("no-effect", entry.key_at, "this script expects nothing");
        section.cx.report(problem.label("proves only that the port is open").help("add { expect = \"text\" }"));
    }
    Some(ScriptCheck { steps, tls, transport })
}

fn step<'a>(section: &Section<'a>, node: &'a Node) -> Option<Step> {
    let Value::Table(table) = &node.value else {
        section.wrong_type(node, "steps", "tables", FORM);
        return None;
    };
    let step = Section::new(section.cx, table, node.at, section.path_of("steps"), &STEP);
    match table.entries.as_slice() {
        [] => {
            let problem = Problem::error("missing", node.at, "a step without anything to do").label("empty");
            section.cx.report(problem.help(FORM));
            return None;
        }
        [_] => {}
        [first, second, ..] => {
            section.cx.report(
                Problem::error("conflict", second.key_at, format!("`{}` and `{}` in one step", first.key, second.key))
                    .label("a step of its own")
                    .second(first.key_at, "the first one")
                    .help(format!("close the brace before it: {{ {} = ... }}, {{ {} = ... }}", first.key, second.key)),
            );
            return None;
        }
    }
    let key = table.entries[0].key.as_str();
    match key {
        "send" => text(&step, key).map(Step::Send),
        "send_hex" => step.parsed(key, hex).map(Step::Send),
        "expect" => text(&step, key).map(Step::Expect),
        "expect_hex" => step.parsed(key, hex).map(Step::Expect),
        "expect_regex" => step.parsed(key, pattern).map(Step::Matches),
        "connect" => Some(Step::Connect(u16::try_from(step.integer(key, 1..=65535)?).ok()?)),
        "tls" => {
            let tls = tls::tls(&step)?.map(Step::Tls);
            if tls.is_none() {
                let problem = Problem::error("no-effect", table.entries[0].key_at, "`tls = false` is no step");
                section.cx.report(problem.label("does nothing").help("take it out; a connection is plain by itself"));
            }
            tls
        }
        // Refused above, as a key that no step knows.
        _ => None,
    }
}

fn text(step: &Section<'_>, key: &str) -> Option<Arc<[u8]>> {
    let text = step.parsed(key, |text| fitting(text.as_bytes().to_vec()))?;
    let node = &step.entry(key)?.node;
    let written = match &node.value {
        Value::String(Text { value, raw: None }) => value.as_str(),
        Value::String(Text { raw: Some(raw), .. }) => raw,
        _ => "",
    };
    if ["\\r", "\\n"].iter().any(|escape| written.contains(escape)) {
        let problem = Problem::warning("escape", node.at, "a backslash and a letter instead of the end of a line");
        step.cx.report(problem.label("taken as it stands").help("between double quotes, \\r\\n is the end of a line"));
    }
    Some(text)
}

fn hex(text: &str) -> Result<Arc<[u8]>, Fault> {
    let fault = |label: &str| {
        Fault::new("hex", format!("`{text}` is not hexadecimal"), label).help("write pairs of digits: \"52 00 0d0a\"")
    };
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    if !digits.len().is_multiple_of(2) {
        return Err(fault("an odd number of digits"));
    }
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(|pair| Some(value(pair[0])? << 4 | value(pair[1])?)).collect();
    fitting(bytes.ok_or_else(|| fault("digits go from 0 to f"))?)
}

fn fitting(bytes: Vec<u8>) -> Result<Arc<[u8]>, Fault> {
    if bytes.is_empty() {
        return Err(Fault::new("text", "an empty text does nothing", "empty").help("take the step out"));
    }
    if bytes.len() > BYTES_MAX {
        let fault = Fault::new("text", "too long for a step", format!("longer than {} KiB", BYTES_MAX / 1024));
        return Err(fault.help("make several steps of it"));
    }
    Ok(bytes.into())
}

fn pattern(text: &str) -> Result<Pattern, Fault> {
    let pattern = body::pattern(text)?;
    if pattern.is_match(b"") {
        let fault = Fault::new("regex", format!("`{text}` matches nothing at all too"), "waits for nothing");
        return Err(fault.help("write a pattern that needs at least one byte"));
    }
    Ok(Pattern(pattern))
}

/// TLS within TLS is a slip of the pen.
fn refuse_tls_twice(section: &Section<'_>, nodes: &[Node], steps: &[Step], tls: Option<&CheckTls>) -> Option<()> {
    let mut secure = tls.is_some();
    for (node, step) in nodes.iter().zip(steps) {
        match step {
            Step::Connect(_) => secure = tls.is_some(),
            Step::Tls(_) if secure => {
                let problem = Problem::error("conflict", node.at, "TLS has begun already on this connection");
                let help = "take this step out, or the check's own `tls`, with which every connection begins";
                section.cx.report(problem.label("for the second time").help(help));
                return None;
            }
            Step::Tls(_) => secure = true,
            _ => {}
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_is_pairs_of_digits() {
        let rows: &[(&str, Option<&[u8]>)] = &[
            ("16", Some(b"\x16")),
            ("52 00\t0d0A", Some(b"\x52\x00\r\n")),
            ("5 2", Some(b"\x52")),
            ("", None),
            ("5", None),
            ("0x16", None),
            ("zz", None),
            ("é1", None),
        ];
        for (text, expected) in rows {
            assert_eq!(hex(text).ok().as_deref(), *expected, "{text:?}");
        }
        assert!(fitting(vec![0; BYTES_MAX]).is_ok() && fitting(vec![0; BYTES_MAX + 1]).is_err());
    }
}
