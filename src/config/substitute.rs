//! `${NAME}`, `${NAME:-default}` and `${file:/path}` in strings; `$${` stands for a plain `${`.
//!
//! An unset variable or an unreadable file is a problem: silently taking nothing for it has cost others a backend.

use std::path::{Path, PathBuf};

use super::Cx;
use super::problem::{At, Problem};
use super::tree::Text;
use crate::confinement::{Use, why_refused};

/// The text with everything substituted; `None` when that failed, which is then reported.
pub(super) fn text(cx: &Cx<'_>, at: At, written: &str) -> Option<Text> {
    if !written.contains("${") {
        return Some(Text { value: written.to_owned(), raw: None });
    }
    let mut value = String::with_capacity(written.len());
    let mut whole = Some(());
    let mut rest = written;
    while let Some(dollar) = rest.find("${") {
        if rest[..dollar].ends_with('$') {
            value.push_str(&rest[..dollar - 1]);
            value.push_str("${");
            rest = &rest[dollar + 2..];
            continue;
        }
        value.push_str(&rest[..dollar]);
        let Some(close) = rest[dollar..].find('}') else {
            report_open(cx, at, &rest[dollar..]);
            return None;
        };
        let inner = &rest[dollar + 2..dollar + close];
        match expand(cx, within(cx, at, &rest[dollar..=dollar + close]), inner) {
            Some(expanded) => {
                value.push_str(&expanded);
                cx.substituted.borrow_mut().push((rest[dollar..=dollar + close].to_owned(), expanded));
            }
            None => whole = None,
        }
        rest = &rest[dollar + close + 1..];
    }
    value.push_str(rest);
    whole.map(|()| Text { value, raw: Some(written.to_owned()) })
}

fn report_open(cx: &Cx<'_>, at: At, piece: &str) {
    cx.report(
        Problem::error("substitution", within(cx, at, piece), "`${` without its `}`")
            .label("starts here")
            .help("close it with `}`, or write `$${` for a plain `${`"),
    );
}

/// The place of a piece inside a string, when the source spells it the same way.
fn within(cx: &Cx<'_>, at: At, piece: &str) -> At {
    let source = cx.files.slice(at);
    source.find(piece).map_or(at, |offset| {
        let start = at.start as usize + offset;
        At::new(at.file, start..start + piece.len())
    })
}

fn expand(cx: &Cx<'_>, at: At, inner: &str) -> Option<String> {
    if let Some(path) = inner.strip_prefix("file:") {
        return read(cx, at, path);
    }
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    if !is_name(name) {
        cx.report(
            Problem::error("substitution", at, format!("`{name}` is not the name of a variable"))
                .label("letters, digits and `_`, not starting with a digit")
                .help("the forms are ${NAME}, ${NAME:-default} and ${file:/path}; write `$${` for a plain `${`"),
        );
        return None;
    }
    // As in the shell, `:-` also takes the default for a variable that is set to nothing.
    let found = cx.variable(name).filter(|value| default.is_none() || !value.is_empty());
    if let Some(value) = found.or_else(|| default.map(str::to_owned)) {
        return Some(value);
    }
    cx.report(
        Problem::error("unset-variable", at, format!("the environment variable `{name}` is not set"))
            .label("needed here")
            .help(format!("set it, or give a default: ${{{name}:-default}}")),
    );
    None
}

fn is_name(name: &str) -> bool {
    let mut letters = name.bytes();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == b'_')
}

fn read(cx: &Cx<'_>, at: At, path: &str) -> Option<String> {
    let content = read_bytes(cx, at, path)?;
    let Ok(text) = String::from_utf8(content) else {
        cx.report(Problem::error("unreadable-file", at, format!("`{path}` is not UTF-8 text")).label("read from here"));
        return None;
    };
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Some(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

/// Reads a file that the configuration names, relative to the folder of the file that names it.
pub(super) fn read_bytes(cx: &Cx<'_>, at: At, path: &str) -> Option<Vec<u8>> {
    let path = resolve(cx, at, path);
    cx.note_file(&path);
    match std::fs::read(&path) {
        Ok(content) => Some(content),
        Err(error) => {
            let why = reason(&error);
            let confined =
                (error.kind() == std::io::ErrorKind::PermissionDenied).then(|| why_refused(&path, Use::Read));
            let help = confined.flatten();
            cx.report(
                Problem::error("unreadable-file", at, format!("cannot read `{}`: {why}", path.display()))
                    .label("named here")
                    .help(help.unwrap_or_else(|| "paths are relative to the folder of the configuration file".into())),
            );
            None
        }
    }
}

/// A path as it is meant: relative to the folder of the file that names it.
pub(super) fn resolve(cx: &Cx<'_>, at: At, path: &str) -> PathBuf {
    let folder = cx.files.file(at.file).path.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
    folder.join(path)
}

/// An operating-system error in words.
pub(super) fn reason(error: &std::io::Error) -> String {
    use std::io::ErrorKind as Kind;
    match error.kind() {
        Kind::NotFound => "there is no such file".into(),
        Kind::PermissionDenied => "permission denied".into(),
        Kind::IsADirectory => "it is a folder".into(),
        Kind::InvalidData => "it is not UTF-8 text".into(),
        _ => error.to_string(),
    }
}
