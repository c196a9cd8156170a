//! Problems as text for people, in the look of rustc: place, the line underlined, the remedy.
//!
//! Only the lines that matter are given to the renderer, so that a file of a hundred thousand lines costs no more
//! per problem than a small one.

use std::borrow::Cow;
use std::fmt::Write;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::problem::{At, Color, Files, Problem, Problems, Severity};

/// All problems, their number and the consequence.
pub(super) fn problems(problems: &Problems, color: Color, consequence: &str) -> String {
    let renderer = match color {
        Color::Plain => Renderer::plain(),
        Color::Terminal => Renderer::styled().hyperlink(false),
    };
    let mut text = String::new();
    for problem in &problems.list {
        text.push_str(&one(&problems.files, problem, &renderer));
        text.push_str("\n\n");
    }
    text.push_str(&count(problems.errors(), problems.warnings()));
    if !consequence.is_empty() {
        let _infallible = write!(text, "; {consequence}");
    }
    text.push('\n');
    text
}

fn count(errors: usize, warnings: usize) -> String {
    let many = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    match (errors, warnings) {
        (0, 0) => "no problems".into(),
        (errors, 0) => many(errors, "error"),
        (0, warnings) => many(warnings, "warning"),
        (errors, warnings) => format!("{}, {}", many(errors, "error"), many(warnings, "warning")),
    }
}

fn one(files: &Files, problem: &Problem, renderer: &Renderer) -> String {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(problem.message.as_str()).id(problem.code));
    if let Some(at) = problem.at {
        let label = problem.label.as_deref();
        match &problem.second {
            Some((second, text)) if second.file == at.file => {
                group = group.element(excerpt(files, at, label, Some((*second, text))));
            }
            Some((second, text)) => {
                group = group.element(excerpt(files, at, label, None));
                group = group.element(other_file(files, *second, text));
            }
            None => group = group.element(excerpt(files, at, label, None)),
        }
    }
    if let Some(note) = &problem.note {
        group = group.element(Level::NOTE.message(note.as_str()));
    }
    if let Some(help) = &problem.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    renderer.render(&[group])
}

type Lines<'a> = Snippet<'a, annotate_snippets::Annotation<'a>>;

fn excerpt<'a>(files: &'a Files, at: At, label: Option<&'a str>, second: Option<(At, &'a str)>) -> Lines<'a> {
    let first = files.line(at.file, at.start.min(second.map_or(at.start, |(other, _)| other.start)));
    let last = files.line(at.file, at.end.max(second.map_or(at.end, |(other, _)| other.end)));
    let from = files.line_span(at.file, first).start;
    let to = files.line_span(at.file, last).end;
    let mut snippet = Snippet::source(&files.file(at.file).text[from..to])
        .path(files.name(at.file))
        .line_start(first + 1)
        .annotation(AnnotationKind::Primary.span(inside(at, from, to)).label(label.map(Cow::Borrowed)));
    if let Some((other, text)) = second {
        snippet = snippet.annotation(AnnotationKind::Context.span(inside(other, from, to)).label(text));
    }
    snippet
}

fn other_file<'a>(files: &'a Files, at: At, label: &'a str) -> Lines<'a> {
    let first = files.line(at.file, at.start);
    let from = files.line_span(at.file, first).start;
    let to = files.line_span(at.file, files.line(at.file, at.end)).end;
    Snippet::source(&files.file(at.file).text[from..to])
        .path(files.name(at.file))
        .line_start(first + 1)
        .annotation(AnnotationKind::Context.span(inside(at, from, to)).label(label))
}

/// The place within the excerpt; an end of line counts as its last byte.
fn inside(at: At, from: usize, to: usize) -> std::ops::Range<usize> {
    let start = (at.start as usize).clamp(from, to);
    let end = (at.end as usize).clamp(start, to);
    start - from..end - from
}
