//! HAProxy's lines as words: quotes, backslashes and comments as its manual has them (2.2, "Quoting and escaping").

use super::super::draft::At;

/// Lines that are read; what stands further down is not ours to hold.
const LINES_MAX: usize = 20_000;

/// A line that says something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) at: At,
    pub(super) words: Vec<String>,
}

impl Line {
    /// The word at a place, or nothing.
    pub(super) fn word(&self, index: usize) -> &str {
        self.words.get(index).map_or("", String::as_str)
    }

    /// The words from a place on.
    pub(super) fn from(&self, index: usize) -> &[String] {
        self.words.get(index..).unwrap_or_default()
    }

    /// As reports show it.
    pub(super) fn shown(&self) -> String {
        self.words.join(" ")
    }
}

pub(super) fn lines(text: &str) -> Vec<Line> {
    let numbered = text.lines().take(LINES_MAX).enumerate();
    numbered
        .map(|(index, line)| Line { at: At { file: 0, line: index + 1 }, words: words(line) })
        .filter(|line| !line.words.is_empty())
        .collect()
}

fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = line.chars().peekable();
    let mut quote: Option<char> = None;
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('#', None) => break,
            ('\'' | '"', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (letter, Some(mark)) if letter == mark => quote = None,
            ('\\', None | Some('"')) => {
                let escaped = match letters.next() {
                    Some('n') => '\n',
                    Some('r') => '\r',
                    Some('t') => '\t',
                    Some('x') => hex(&mut letters),
                    // Only these lose their backslash; a pattern keeps its own.
                    Some(other @ (' ' | '#' | '\\' | '"' | '\'' | '$')) => other,
                    Some(other) => {
                        word.get_or_insert_default().push('\\');
                        other
                    }
                    None => break,
                };
                word.get_or_insert_default().push(escaped);
            }
            (' ' | '\t' | '\r', None) => words.extend(word.take()),
            (letter, _) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

/// Two digits after `\x`; a byte that is no letter of ASCII becomes that of Latin 1.
fn hex(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> char {
    let mut value = 0;
    for _ in 0..2 {
        let Some(digit) = letters.peek().and_then(|letter| letter.to_digit(16)) else { break };
        value = value * 16 + digit;
        letters.next();
    }
    char::from_u32(value).unwrap_or('?')
}

/// A time as HAProxy has it, milliseconds where no unit is given, as ours.
pub(super) fn time(text: &str) -> Option<String> {
    let digits = text.len() - text.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
    let number: u64 = text.get(..digits)?.parse().ok().filter(|number| *number > 0)?;
    let (unit, per) = match text.get(digits..)? {
        "us" => return Some(format!("{}ms", number.div_ceil(1000))),
        "" | "ms" => ("ms", 1),
        unit @ ("s" | "m" | "h" | "d") => (unit, 0),
        _ => return None,
    };
    if per == 1 && number.is_multiple_of(1000) {
        let seconds = number / 1000;
        return Some(if seconds.is_multiple_of(3600) {
            format!("{}h", seconds / 3600)
        } else if seconds.is_multiple_of(60) && seconds > 60 {
            format!("{}m", seconds / 60)
        } else {
            format!("{seconds}s")
        });
    }
    Some(format!("{number}{unit}"))
}

/// Milliseconds of such a time.
pub(super) fn milliseconds(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
    let number: u64 = text.get(..digits)?.parse().ok()?;
    let per = match text.get(digits..)? {
        "" | "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(per)
}
