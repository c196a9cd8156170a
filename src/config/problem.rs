//! What is wrong with a configuration: each problem with its place, the fault and the remedy.
//!
//! Everything that reads a configuration reports here and goes on, so that an operator sees all of it at once.
//! Rendered for people by `render`, for programs by [`Problems::report`].

use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::render;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// It is taken, but someone should look.
    Warning,
}

/// Whether the rendered text may carry colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    /// Plain text, for files and pipes.
    Plain,
    /// Escape codes, for a terminal.
    Terminal,
}

/// Bytes of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At {
    /// Position in [`Files`].
    pub(super) file: u32,
    /// First byte.
    pub(super) start: u32,
    /// Byte after the last.
    pub(super) end: u32,
}

impl At {
    pub(super) fn new(file: u32, span: std::ops::Range<usize>) -> Self {
        let small = |byte: usize| u32::try_from(byte).unwrap_or(u32::MAX);
        Self { file, start: small(span.start), end: small(span.end) }
    }
}

/// Whether a problem can be the mere consequence of another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// Wrong in itself.
    Own,
    /// Something is missing, which a syntax error elsewhere may have swallowed.
    Absence,
}

/// One thing that is wrong.
#[derive(Debug, Clone)]
pub struct Problem {
    pub(super) severity: Severity,
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) at: Option<At>,
    pub(super) label: Option<String>,
    pub(super) second: Option<(At, String)>,
    pub(super) note: Option<String>,
    pub(super) help: Option<String>,
    pub(super) cause: Cause,
}

impl Problem {
    pub(super) fn error(code: &'static str, at: At, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            at: Some(at),
            label: None,
            second: None,
            note: None,
            help: None,
            cause: Cause::Own,
        }
    }

    pub(super) fn warning(code: &'static str, at: At, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, at, message) }
    }

    /// A problem that has no place in any file, such as a file that cannot be read.
    pub(super) fn placeless(code: &'static str, message: impl Into<String>) -> Self {
        Self { at: None, ..Self::error(code, At { file: 0, start: 0, end: 0 }, message) }
    }

    pub(super) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn second(mut self, at: At, label: impl Into<String>) -> Self {
        self.second = Some((at, label.into()));
        self
    }

    pub(super) fn absence(mut self) -> Self {
        self.cause = Cause::Absence;
        self
    }

    /// How bad it is.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// A short name of its kind, such as `unknown-key`.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// The fault in one line.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to write instead.
    pub fn help_text(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

/// Everything found in one configuration, with the text of its files.
#[derive(Clone)]
pub struct Problems {
    pub(super) list: Vec<Problem>,
    pub(super) files: Arc<Files>,
}

/// A problem for programs: `evenkeel check --json` prints a list of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Reported {
    /// The file as it was named; absent when the problem belongs to no file.
    pub file: Option<String>,
    /// Line, from 1.
    pub line: Option<usize>,
    /// Column in characters, from 1.
    pub column: Option<usize>,
    /// Line of the end of the underlined text.
    pub end_line: Option<usize>,
    /// Column after the underlined text.
    pub end_column: Option<usize>,
    /// `error` or `warning`.
    pub severity: &'static str,
    /// A short name of its kind.
    pub code: &'static str,
    /// The fault.
    pub message: String,
    /// What stands under the underlined text.
    pub label: Option<String>,
    /// What to write instead.
    pub help: Option<String>,
    /// Where a substituted value came from.
    pub note: Option<String>,
    /// The other place of a duplicate or a clash.
    pub second: Option<Second>,
}

/// The other place of a problem that has two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Second {
    /// The file as it was named.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is there.
    pub label: String,
}

impl Problems {
    /// Nothing wrong.
    pub fn none() -> Self {
        Self { list: Vec::new(), files: Arc::default() }
    }

    pub(super) fn of(problem: Problem) -> Self {
        Self { list: vec![problem], files: Arc::default() }
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All of them, in the order of the files.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }

    /// How many refuse the configuration.
    pub fn errors(&self) -> usize {
        self.list.iter().filter(|problem| problem.severity == Severity::Error).count()
    }

    /// How many do not.
    pub fn warnings(&self) -> usize {
        self.list.len() - self.errors()
    }

    /// Text for people: every problem, then their number and the consequence, unless it is empty.
    pub fn render(&self, color: Color, consequence: &str) -> String {
        render::problems(self, color, consequence)
    }

    /// The same for programs.
    pub fn report(&self) -> Vec<Reported> {
        self.list.iter().map(|problem| self.reported(problem)).collect()
    }

    fn reported(&self, problem: &Problem) -> Reported {
        let start = problem.at.map(|at| self.files.position(at.file, at.start));
        let end = problem.at.map(|at| self.files.position(at.file, at.end));
        Reported {
            file: problem.at.map(|at| self.files.name(at.file).to_owned()),
            line: start.map(|(line, _)| line),
            column: start.map(|(_, column)| column),
            end_line: end.map(|(line, _)| line),
            end_column: end.map(|(_, column)| column),
            severity: match problem.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            code: problem.code,
            message: problem.message.clone(),
            label: problem.label.clone(),
            help: problem.help.clone(),
            note: problem.note.clone(),
            second: problem.second.as_ref().map(|(at, label)| {
                let (line, column) = self.files.position(at.file, at.start);
                Second { file: self.files.name(at.file).to_owned(), line, column, label: label.clone() }
            }),
        }
    }

    /// Into the order of the files: by place, those without a place first, stable otherwise.
    pub(super) fn sort(&mut self) {
        self.list.sort_by_key(|problem| problem.at.map(|at| (at.file, at.start)));
    }
}

impl std::fmt::Display for Problems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.render(Color::Plain, ""))
    }
}

impl std::fmt::Debug for Problems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.render(Color::Plain, ""))
    }
}

impl std::error::Error for Problems {}

/// The texts that places point into.
#[derive(Debug, Default)]
pub(super) struct Files(Vec<File>);

/// One text.
#[derive(Debug)]
pub(super) struct File {
    /// As the operator named it.
    pub(super) name: String,
    /// Its path; `None` for a text that stands in no file.
    pub(super) path: Option<PathBuf>,
    /// What it says.
    pub(super) text: String,
    /// Where each line starts.
    lines: Vec<u32>,
}

impl Files {
    pub(super) fn add(&mut self, name: String, path: Option<PathBuf>, text: String) -> u32 {
        let newlines = memchr::memchr_iter(b'\n', text.as_bytes());
        let small = |byte: usize| u32::try_from(byte).unwrap_or(u32::MAX);
        let lines = std::iter::once(0).chain(newlines.map(|byte| small(byte + 1))).collect();
        self.0.push(File { name, path, text, lines });
        small(self.0.len() - 1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &File> {
        self.0.iter()
    }

    pub(super) fn file(&self, file: u32) -> &File {
        &self.0[file as usize]
    }

    pub(super) fn name(&self, file: u32) -> &str {
        &self.file(file).name
    }

    /// The bytes at a place.
    pub(super) fn slice(&self, at: At) -> &str {
        self.file(at.file).text.get(at.start as usize..at.end as usize).unwrap_or("")
    }

    /// Number of the line, from 0.
    pub(super) fn line(&self, file: u32, byte: u32) -> usize {
        self.file(file).lines.partition_point(|start| *start <= byte) - 1
    }

    /// Bytes of a line without its end.
    pub(super) fn line_span(&self, file: u32, line: usize) -> std::ops::Range<usize> {
        let File { text, lines, .. } = self.file(file);
        let start = lines[line] as usize;
        let end = lines.get(line + 1).map_or(text.len(), |next| *next as usize);
        start..start + text[start..end].trim_end_matches(['\n', '\r']).len()
    }

    pub(super) fn line_text(&self, file: u32, line: usize) -> &str {
        &self.file(file).text[self.line_span(file, line)]
    }

    /// Line and column, both from 1, the column in characters.
    pub(super) fn position(&self, file: u32, byte: u32) -> (usize, usize) {
        let line = self.line(file, byte);
        let start = self.line_span(file, line).start;
        let before = self.file(file).text.get(start..byte as usize).unwrap_or("");
        (line + 1, before.chars().count() + 1)
    }
}
