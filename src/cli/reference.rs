//! `evenkeel reference`: every option of this very version, from the file that the tests hold to the program.

use std::fmt::Write;

use anyhow::bail;
use clap::Args;
use evenkeel::config::nearest;
use serde::Serialize;

use super::Ending;
use super::form::Form;

/// The one list of options; a test proves that it names each and gives the defaults that hold.
const TEXT: &str = include_str!("../../config/reference.toml");
/// Columns in which explanations are set.
const WIDTH: usize = 100;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// An option, such as `sticky`, or a table, such as `listener.limits`; without it, all of them are printed
    word: Option<String>,
}

pub(super) fn reference(arguments: &Arguments, form: Form) -> anyhow::Result<Ending> {
    let options = options(TEXT);
    let Some(word) = &arguments.word else {
        form.say(&options, || TEXT.to_owned())?;
        return Ok(Ending::Good);
    };
    let found: Vec<&Explained<'_>> = options.iter().filter(|option| option.is(word)).collect();
    if found.is_empty() {
        let near = nearest(word, options.iter().map(|option| option.key));
        let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        bail!("there is no option and no table `{word}`{hint}");
    }
    form.say(&found, || shown(&found))?;
    Ok(Ending::Good)
}

/// An option where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Explained<'a> {
    /// The header of its table, brackets included; empty at the top.
    table: &'a str,
    /// What stands behind the header.
    about: &'a str,
    key: &'a str,
    /// Its lines up to the explanation, without the sign of a comment.
    written: Vec<&'a str>,
    /// The explanations of its lines.
    text: Vec<&'a str>,
}

impl Explained<'_> {
    /// `key`, or parts of the table's name in their order: `listener.limits` is [listener.web.limits].
    fn is(&self, word: &str) -> bool {
        let mut parts = self.table.trim_matches(['[', ']']).split('.');
        self.key == word || word.split('.').all(|wanted| parts.any(|part| part == wanted))
    }
}

fn options(text: &str) -> Vec<Explained<'_>> {
    let (mut table, mut about) = ("", "");
    let mut options: Vec<Explained<'_>> = Vec::new();
    let mut goes_on = false;
    for line in text.lines() {
        let (written, comment) = divided(line.strip_prefix("# ").unwrap_or(line));
        if line.trim().is_empty() {
            goes_on = false;
        } else if line.starts_with('[') {
            (table, about, goes_on) = (written, comment, false);
        } else if let Some(key) = key(written) {
            options.push(Explained { table, about, key, written: vec![written], text: vec![comment] });
            goes_on = true;
        } else if let Some(option) = options.last_mut().filter(|_| goes_on && !line.starts_with('#')) {
            option.written.push(written);
            option.text.push(comment);
        }
    }
    options
}

/// A line before and behind the `#` that begins its comment.
fn divided(line: &str) -> (&str, &str) {
    let mut quote = None;
    for (at, letter) in line.char_indices() {
        match (letter, quote) {
            ('"' | '\'', None) => quote = Some(letter),
            (letter, Some(mark)) if letter == mark => quote = None,
            ('#', None) => return (line[..at].trim_end(), line[at + 1..].trim()),
            _ => {}
        }
    }
    (line.trim_end(), "")
}

/// `key = …` at the beginning of a line; an explanation begins otherwise.
fn key(written: &str) -> Option<&str> {
    let (key, _) = written.split_once(" = ")?;
    let word = key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.".contains(&byte));
    (word && !key.is_empty()).then_some(key)
}

fn shown(found: &[&Explained<'_>]) -> String {
    let mut page = String::new();
    let mut table = None;
    for option in found {
        if table != Some(option.table) {
            let space = if page.is_empty() { "" } else { "\n" };
            let header = format!("{space}{}  {}", option.table, option.about);
            let _infallible = writeln!(page, "{}", header.trim_end());
            table = Some(option.table);
        }
        for (written, text) in option.written.iter().zip(&option.text) {
            let _infallible = writeln!(page, "{written}");
            wrapped(&mut page, text);
        }
    }
    page
}

fn wrapped(page: &mut String, text: &str) {
    let mut column = WIDTH;
    for word in text.split_whitespace() {
        let wide = word.chars().count();
        if column + 1 + wide > WIDTH {
            page.push_str(if column == WIDTH { "    " } else { "\n    " });
            column = 4;
        } else {
            page.push(' ');
            column += 1;
        }
        page.push_str(word);
        column += wide;
    }
    if !text.is_empty() {
        page.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_found_by_its_name_and_by_its_table() {
        let options = options(TEXT);
        let found = |word: &str| options.iter().filter(|option| option.is(word)).collect::<Vec<_>>();
        for (word, tables) in [
            ("state_file", vec![""]),
            ("token_file", vec!["[admin]"]),
            ("tunnels_max", vec!["[pool.web]"]),
            ("drain", vec!["[shutdown]"]),
        ] {
            assert_eq!(found(word).iter().map(|option| option.table).collect::<Vec<_>>(), tables, "{word}");
        }
        assert!(found("sticky").len() >= 4, "each form of it");
        assert!(found("listener.limits").iter().any(|option| option.key == "streams"));
        assert!(found("limits").iter().any(|option| option.key == "probes"));
        assert!(found("nosuch").is_empty());
    }

    #[test]
    fn what_is_shown_is_what_is_written_with_its_explanation() {
        let text = "[a.b]  # About.\nx = \"1 # 2\" # Said of it.\n# y = [   # A list:\n\n# No option is this.\nz = [\n  1,  # one\n]\n";
        let options = options(text);
        let page = shown(&options.iter().collect::<Vec<_>>());
        assert_eq!(
            page,
            "[a.b]  About.\nx = \"1 # 2\"\n    Said of it.\ny = [\n    A list:\nz = [\n  1,\n    one\n]\n"
        );
        let wide = page.lines().map(|line| line.chars().count()).max();
        assert!(wide <= Some(WIDTH));
        let all = super::options(TEXT);
        let page = shown(&all.iter().collect::<Vec<_>>());
        for option in &all {
            assert!(page.contains(option.written[0]), "{option:?}");
        }
    }
}
