//! What a probe did and saw, for a terminal: one line a step, text as lines, bytes escaped or dumped.
//!
//! What a backend sent is shown with its control characters escaped: nobody else writes on this terminal.

use evenkeel::admin::why::{ReportView, StepView};

use super::terminal::{Ink, Page, Paint};

/// Characters of a line that are shown.
const WIDTH: usize = 100;
/// Lines of one step that are shown.
const LINES: usize = 16;
/// Bytes in a line of a dump.
const ROW: usize = 16;

/// Whether bytes are dumped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bytes {
    /// As text, with escapes.
    Text,
    /// In hexadecimal, with text beside.
    Hex,
}

/// The steps of a report and how it ended, each line indented by `indent` spaces.
pub(super) fn steps(report: &ReportView, indent: usize, bytes: Bytes, paint: Paint) -> String {
    let mut text = Page::default();
    let space = " ".repeat(indent);
    for step in &report.steps {
        let mut lines = step_lines(step, bytes).into_iter();
        let first = lines.next().unwrap_or_default();
        text.line(format!("{space}{}  {first}", Ink::Dim.on(&at(step.at_seconds), paint)));
        let below = " ".repeat(at(0.0).len() + 2);
        lines.for_each(|line| text.line(format!("{space}{below}{line}")));
    }
    let (ink, what) = match &report.layer {
        Some(layer) => (Ink::Red, format!("{layer}: {}", clean(&report.what))),
        None => (Ink::Green, clean(&report.what)),
    };
    text.line(format!("{space}{}  {}", Ink::Dim.on(&at(report.took_seconds), paint), ink.on(&what, paint)));
    text.finish()
}

/// A time within a probe: `  12.3 ms`.
fn at(seconds: f64) -> String {
    format!("{:>9}", took(seconds))
}

/// How long something took.
pub(super) fn took(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.1} ms", seconds * 1e3) } else { format!("{seconds:.2} s") }
}

/// How long ago something was, or how soon it is.
pub(super) fn moment(seconds: f64) -> String {
    if seconds < 60.0 { format!("{seconds:.1} s") } else { super::status::span(seconds) }
}

fn step_lines(step: &StepView, bytes: Bytes) -> Vec<String> {
    let Some(raw) = step.hex.as_deref().map(unhex) else { return vec![cut(&clean(&step.text))] };
    let arrow = if step.kind == "sent" { '>' } else { '<' };
    let count = if raw.len() == 1 { "1 byte".to_owned() } else { format!("{} bytes", raw.len()) };
    let mut lines = vec![format!("{} {count}", step.kind)];
    match bytes {
        Bytes::Hex => lines.extend(raw.chunks(ROW).enumerate().map(|(row, chunk)| dumped(row * ROW, chunk))),
        Bytes::Text => lines.extend(text_lines(&raw).into_iter().map(|line| format!("{arrow} {line}"))),
    }
    lines
}

/// Bytes as lines where they are text, else as one line with escapes.
fn text_lines(raw: &[u8]) -> Vec<String> {
    let is_text =
        std::str::from_utf8(raw).is_ok_and(|text| !text.chars().any(|c| c.is_control() && !"\r\n\t".contains(c)));
    if !is_text {
        return vec![cut(&raw.escape_ascii().to_string())];
    }
    let text = String::from_utf8_lossy(raw);
    let lines: Vec<&str> = text.lines().collect();
    let more = lines.len().saturating_sub(LINES);
    let mut shown: Vec<String> = lines.iter().take(LINES).map(|line| cut(&clean(line))).collect();
    if more > 0 {
        shown.push(format!("… and {more} more lines"));
    }
    shown
}

fn cut(line: &str) -> String {
    if line.chars().count() <= WIDTH {
        return line.to_owned();
    }
    line.chars().take(WIDTH - 1).chain(['…']).collect()
}

/// Text of somebody else without anything that a terminal would obey.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// `0000  47 45 54 20 …  GET …`
fn dumped(offset: usize, chunk: &[u8]) -> String {
    let hex: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
    let halves: Vec<String> = hex.chunks(ROW / 2).map(|half| half.join(" ")).collect();
    let hex = halves.join("  ");
    let text: String =
        chunk.iter().map(|byte| if (b' '..=b'~').contains(byte) { char::from(*byte) } else { '.' }).collect();
    format!("{offset:04x}  {hex:<50}{text}")
}

/// The bytes of a text in hexadecimal; what is none is left out.
pub(super) fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks_exact(2);
    digits.filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(at: f64, kind: &str, text: &str, bytes: Option<&[u8]>) -> StepView {
        let hex = bytes.map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat());
        StepView { at_seconds: at, kind: kind.into(), text: text.into(), hex, local: None, remote: None }
    }

    pub(crate) fn report(layer: Option<&str>, what: &str, steps: Vec<StepView>) -> ReportView {
        ReportView {
            at: "2025-07-01T00:00:00Z".into(),
            age_seconds: 0.8,
            took_seconds: 0.002,
            good: layer.is_none(),
            layer: layer.map(Into::into),
            what: what.into(),
            certificate_expires: None,
            steps,
        }
    }

    #[test]
    fn steps_are_lines_that_no_backend_can_write_on_the_terminal_with() {
        let page = report(
            Some("answer"),
            "HTTP 503, wanted 200",
            vec![
                step(0.0, "connected", "connected to 127.0.0.1:80", None),
                step(0.000_3, "sent", "", Some(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")),
                step(0.001, "received", "", Some(b"\x0a\0\x1b[2J\xff")),
                step(0.001, "note", "said \x1b[2J", None),
            ],
        );
        let expected = "
     0.0 ms  connected to 127.0.0.1:80
     0.3 ms  sent 27 bytes
             > GET / HTTP/1.1
             > host: a
             >\x20
     1.0 ms  received 7 bytes
             < \\n\\x00\\x1b[2J\\xff
     1.0 ms  said \\u{1b}[2J
     2.0 ms  answer: HTTP 503, wanted 200
";
        assert_eq!(format!("\n{}", steps(&page, 2, Bytes::Text, Paint::Plain)), expected);
        let dump = steps(&page, 2, Bytes::Hex, Paint::Plain);
        let row = "0000  47 45 54 20 2f 20 48 54  54 50 2f 31 2e 31 0d 0a  GET / HTTP/1.1..\n";
        assert!(dump.contains(row), "{dump}");
        assert!(dump.contains("0010  68 6f 73 74 3a 20 61 0d  0a 0d 0a"), "{dump}");
    }

    #[test]
    fn a_flood_of_text_is_cut() {
        let many = report(None, "fine", vec![step(0.0, "received", "", Some("line\n".repeat(500).as_bytes()))]);
        let shown = steps(&many, 0, Bytes::Text, Paint::Plain);
        assert!(shown.lines().count() < 25 && shown.contains("… and 484 more lines"), "{shown}");
        let long = report(None, "fine", vec![step(0.0, "received", "", Some("x".repeat(4_000).as_bytes()))]);
        assert!(steps(&long, 0, Bytes::Text, Paint::Plain).lines().all(|line| line.chars().count() < 130));
    }
}
