//! nginx's directives as a tree: words, quotes, comments and braces, and the files that it includes.

use super::super::draft::{At, Draft};

/// Files that are read, and how deep blocks may lie in each other.
const FILES_MAX: usize = 200;
const DEPTH_MAX: usize = 20;
const DIRECTIVES_MAX: usize = 100_000;

/// One directive, with what stands between its braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directive {
    pub(super) at: At,
    pub(super) words: Vec<String>,
    pub(super) inner: Vec<Directive>,
}

impl Directive {
    pub(super) fn name(&self) -> &str {
        self.word(0)
    }

    /// The word at a place, or nothing.
    pub(super) fn word(&self, index: usize) -> &str {
        self.words.get(index).map_or("", String::as_str)
    }

    pub(super) fn from(&self, index: usize) -> &[String] {
        self.words.get(index..).unwrap_or_default()
    }

    /// As reports show it.
    pub(super) fn shown(&self) -> String {
        self.words.join(" ")
    }

    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Directive> {
        self.inner.iter().filter(move |inner| inner.name() == name)
    }

    pub(super) fn first(&self, name: &str) -> Option<&Directive> {
        self.inner.iter().find(|inner| inner.name() == name)
    }
}

/// The files of a pattern of `include`: their names and texts.
pub(super) type Include<'a> = &'a dyn Fn(&str) -> Vec<(String, String)>;

pub(super) fn read(draft: &mut Draft, file: &str, text: &str, include: Include<'_>) -> Directive {
    draft.files.push(file.to_owned());
    let mut left = DIRECTIVES_MAX;
    let inner = tree(draft, draft.files.len() - 1, text, include, &mut left);
    Directive { at: At::default(), words: Vec::new(), inner }
}

fn tree(draft: &mut Draft, file: usize, text: &str, include: Include<'_>, left: &mut usize) -> Vec<Directive> {
    let mut open: Vec<Directive> = Vec::new();
    let mut top: Vec<Directive> = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut at = At { file, line: 1 };
    for token in tokens(text) {
        if *left == 0 {
            draft.lose(at, "the rest", "more directives than are read");
            break;
        }
        match token {
            Token::Word(word, line) => {
                if words.is_empty() {
                    at = At { file, line };
                }
                words.push(word);
            }
            Token::Open if open.len() < DEPTH_MAX => {
                *left -= 1;
                open.push(Directive { at, words: std::mem::take(&mut words), inner: Vec::new() });
            }
            Token::Open => {
                draft.lose(at, &words.join(" "), "blocks lie too deep in each other");
                words.clear();
            }
            Token::Close => {
                if let Some(done) = open.pop() {
                    open.last_mut().map_or(&mut top, |above| &mut above.inner).push(done);
                }
                words.clear();
            }
            Token::End if words.first().is_some_and(|word| word == "include") => {
                let pattern = words.get(1).cloned().unwrap_or_default();
                words.clear();
                let included = included(draft, at, &pattern, include, left);
                open.last_mut().map_or(&mut top, |above| &mut above.inner).extend(included);
            }
            Token::End if words.is_empty() => {}
            Token::End => {
                *left -= 1;
                let done = Directive { at, words: std::mem::take(&mut words), inner: Vec::new() };
                open.last_mut().map_or(&mut top, |above| &mut above.inner).push(done);
            }
        }
    }
    // A block that is not closed ends with the file.
    while let Some(done) = open.pop() {
        open.last_mut().map_or(&mut top, |above| &mut above.inner).push(done);
    }
    top
}

fn included(draft: &mut Draft, at: At, pattern: &str, include: Include<'_>, left: &mut usize) -> Vec<Directive> {
    // Types of files are for who serves files.
    if pattern.ends_with("mime.types") {
        return Vec::new();
    }
    let files = include(pattern);
    if files.is_empty() && !pattern.contains('*') {
        draft.lose(at, &format!("include {pattern}"), "there is no such file here");
    }
    let mut inner = Vec::new();
    for (name, text) in files {
        // A file that includes itself comes to an end here.
        if draft.files.len() >= FILES_MAX || draft.files.contains(&name) {
            draft.lose(at, &format!("include {pattern}"), "included twice, or too many files");
            continue;
        }
        draft.files.push(name);
        inner.extend(tree(draft, draft.files.len() - 1, &text, include, left));
    }
    inner
}

enum Token {
    Word(String, usize),
    Open,
    Close,
    End,
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut letters = text.chars().peekable();
    let mut line = 1;
    let mut word: Option<(String, usize)> = None;
    let mut quote: Option<char> = None;
    let finish = |word: &mut Option<(String, usize)>, tokens: &mut Vec<Token>| {
        tokens.extend(word.take().map(|(word, line)| Token::Word(word, line)));
    };
    while let Some(letter) = letters.next() {
        line += usize::from(letter == '\n');
        match (letter, quote) {
            (letter, Some(mark)) if letter == mark => quote = None,
            ('\\', _) => {
                let word = &mut word.get_or_insert((String::new(), line)).0;
                match letters.next() {
                    Some(other @ ('"' | '\'' | ' ' | ';' | '{' | '}')) => word.push(other),
                    Some(other) => word.extend(['\\', other]),
                    None => word.push('\\'),
                }
            }
            ('"' | '\'', None) if word.is_none() => {
                quote = Some(letter);
                word = Some((String::new(), line));
            }
            ('#', None) if word.is_none() => while letters.next_if(|letter| *letter != '\n').is_some() {},
            // `${name}` is a variable, and `{2}` within a word is a pattern's.
            ('{', None) if word.as_ref().is_some_and(|(word, _)| word.ends_with('$')) => {
                if let Some((word, _)) = &mut word {
                    word.extend(std::iter::from_fn(|| letters.next_if(|letter| !matches!(letter, '}' | '\n' | ';'))));
                    letters.next_if_eq(&'}');
                }
            }
            (';' | '{' | '}', None) => {
                finish(&mut word, &mut tokens);
                tokens.push(match letter {
                    ';' => Token::End,
                    '{' => Token::Open,
                    _ => Token::Close,
                });
            }
            (letter, None) if letter.is_whitespace() => finish(&mut word, &mut tokens),
            (letter, _) => word.get_or_insert((String::new(), line)).0.push(letter),
        }
    }
    finish(&mut word, &mut tokens);
    tokens
}

/// A time as nginx has it, seconds where no unit is given, as ours.
pub(super) fn time(text: &str) -> Option<String> {
    let digits = text.len() - text.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
    let number: u64 = text.get(..digits)?.parse().ok().filter(|number| *number > 0)?;
    match text.get(digits..)? {
        "" | "s" => Some(format!("{number}s")),
        unit @ ("ms" | "m" | "h" | "d") => Some(format!("{number}{unit}")),
        _ => None,
    }
}

/// A size as nginx has it, as ours.
pub(super) fn size(text: &str) -> Option<String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok()?;
    match text.get(digits.len()..)?.to_ascii_lowercase().as_str() {
        _ if number == 0 => Some("unlimited".into()),
        "" => Some(format!("{number}B")),
        "k" => Some(format!("{number}KiB")),
        "m" => Some(format!("{number}MiB")),
        "g" => Some(format!("{number}GiB")),
        _ => None,
    }
}
