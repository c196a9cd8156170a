//! `[exec]`, and what a check of type `exec` runs: nothing that does not lie in a folder that `[exec]` allows.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::config::model::ExecCheck;
use crate::config::problem::Problem;
use crate::config::section::{Section, one_of};
use crate::config::units::Fault;
use crate::config::vocabulary::EXEC;

/// More words than this are a list, which belongs into a file.
const WORDS_MAX: usize = 64;

/// The folders whose commands may run; empty: none.
pub(in super::super) fn allowed(top: &Section<'_>) -> Vec<PathBuf> {
    let Some(section) = top.section("exec", &EXEC) else { return Vec::new() };
    if !section.has("allow") {
        section
            .missing("allow", "write allow = [\"/usr/lib/evenkeel/checks\"]: the folders of the commands that may run");
    }
    section.parsed_list("allow", folder).unwrap_or_default().into_iter().map(|(folder, _)| folder).collect()
}

fn folder(text: &str) -> Result<PathBuf, Fault> {
    let fault = |label: &str| Fault::new("path", format!("`{text}` is not a folder of checks"), label);
    let help = "write the whole path, such as \"/usr/lib/evenkeel/checks\"";
    let path = plain(text).ok_or_else(|| fault("not a whole path without `..`").help(help))?;
    if path.parent().is_none() {
        return Err(fault("this would allow every command there is").help(help));
    }
    Ok(path)
}

/// An absolute path that means what it says.
fn plain(text: &str) -> Option<PathBuf> {
    let path = Path::new(text);
    let is_plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    (path.is_absolute() && is_plain && !text.contains('\0')).then(|| path.components().collect())
}

pub(super) fn exec(section: &Section<'_>) -> Option<ExecCheck> {
    if !section.has("command") {
        section.missing("command", "write command = [\"/usr/lib/evenkeel/checks/queue\", \"argument\"]");
    }
    let nodes = section.one_or_more("command")?;
    let words = section.parsed_list("command", word)?;
    if words.len() < nodes.len() {
        return None;
    }
    if words.len() > WORDS_MAX {
        let entry = section.entry("command")?;
        let problem = Problem::error("range", entry.key_at, format!("{} words are too many", words.len()));
        section.cx.report(problem.label(format!("{WORDS_MAX} at most")).help("put them into the command itself"));
        return None;
    }
    let command = words.first()?;
    match permit(section.cx.exec_allowed.get().map_or(&[], Vec::as_slice), &command.0) {
        Ok(()) => Some(ExecCheck { command: words.into_iter().map(|(word, _)| word).collect() }),
        Err(fault) => {
            section.fault(nodes.first()?, fault);
            None
        }
    }
}

fn word(text: &str) -> Result<Arc<str>, Fault> {
    if text.contains('\0') {
        return Err(Fault::new("text", "a command cannot hold this", "holds a NUL byte").help("take the NUL byte out"));
    }
    Ok(text.into())
}

fn permit(allowed: &[PathBuf], command: &str) -> Result<(), Fault> {
    let Some(path) = plain(command) else {
        let fault =
            Fault::new("path", format!("`{command}` is not the whole path of a command"), "starts with `/`, no `..`");
        return Err(if command.contains(' ') {
            fault.help("no shell is involved; write command = [\"/path/of/command\", \"argument\"]")
        } else {
            fault.help("write it in full, such as \"/usr/lib/evenkeel/checks/queue\"")
        });
    };
    if allowed.iter().any(|folder| path.starts_with(folder) && path != *folder) {
        return Ok(());
    }
    if allowed.is_empty() {
        return Err(Fault::new(
            "not-allowed",
            format!("`{command}` may not run"),
            "no command may, unless [exec] says so",
        )
        .help(format!("add [exec] with allow = [\"{}\"]", path.parent().unwrap_or(&path).display())));
    }
    let folders = one_of(allowed.iter().map(|folder| format!("{}", folder.display())).collect());
    Err(Fault::new("not-allowed", format!("`{command}` may not run"), "not in a folder that [exec] allows")
        .help(format!("put it into {folders}, or add its folder to `allow`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_runs_from_an_allowed_folder_only() {
        let allowed = [PathBuf::from("/usr/lib/checks"), PathBuf::from("/opt/my checks")];
        let rows = [
            ("/usr/lib/checks/a", true),
            ("/usr/lib/checks/deep/a", true),
            ("/usr/lib/checks//a", true),
            ("/usr/lib/checks/./a", true),
            ("/opt/my checks/b", true),
            ("/usr/lib/checks", false),
            ("/usr/lib/checks/", false),
            ("/usr/lib/checks/../../bin/sh", false),
            ("/usr/lib/checksum", false),
            ("/bin/sh", false),
            ("sh", false),
            ("./checks/a", false),
            ("", false),
        ];
        for (command, good) in rows {
            assert_eq!(permit(&allowed, command).is_ok(), good, "{command}");
            assert!(permit(&[], command).is_err(), "{command}");
        }
    }

    #[test]
    fn an_allowed_folder_is_a_whole_path_below_the_root() {
        for (text, good) in [("/a", true), ("/a/b/", true), ("/", false), ("//", false), ("a", false), ("/a/..", false)]
        {
            assert_eq!(folder(text).is_ok(), good, "{text}");
        }
    }
}
