//! What shells and manuals make of the command line: completions that complete, pages that can be read.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use support::process::run;

fn script(shell: &str) -> String {
    let ran = run(&["completions", shell]);
    assert!(ran.status.success());
    String::from_utf8(ran.stdout).unwrap()
}

/// Whether a program is there.
fn there(program: &str) -> bool {
    let started = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    started.is_ok_and(|status| status.success())
}

/// What bash offers for the last of these words.
fn offered(file: &Path, line: &str) -> Vec<String> {
    let words: Vec<_> = line.split(' ').collect();
    let (last, before) = (words[words.len() - 1], words.get(words.len().wrapping_sub(2)).copied().unwrap_or_default());
    let asked = format!(
        "source '{}'\nfunction=$(complete -p evenkeel | sed 's/.*-F \\([^ ]*\\) .*/\\1/')\n\
         COMP_WORDS=({})\nCOMP_CWORD={}\n$function evenkeel '{last}' '{before}'\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        file.display(),
        words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
        words.len() - 1,
    );
    let ran = Command::new("bash").args(["--norc", "--noprofile", "-c", &asked]).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap().split_whitespace().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_values() {
    if !there("bash") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("evenkeel");
    fs::write(&file, script("bash")).unwrap();
    assert_eq!(offered(&file, "evenkeel st"), ["status"]);
    assert_eq!(offered(&file, "evenkeel status --js"), ["--json"]);
    assert_eq!(offered(&file, "evenkeel drill p/a --mode b"), ["blackhole"]);
    let imports = offered(&file, "evenkeel import ");
    for from in ["haproxy", "nginx", "uchiwa"] {
        assert!(imports.iter().any(|word| word == from), "{imports:?}");
    }
}

#[test]
fn every_shell_is_told_every_command() {
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names: Vec<_> =
        listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).filter(|it| !it.is_empty()).collect();
    assert!(names.len() > 30, "{names:?}");
    for (shell, mark) in [("bash", "complete -F"), ("zsh", "#compdef evenkeel"), ("fish", "complete -c evenkeel")] {
        let script = script(shell);
        assert!(script.contains(mark), "{shell}");
        for name in &names {
            assert!(script.contains(name), "{shell} is not told of {name}");
        }
        if there(shell) {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("script");
            fs::write(&file, &script).unwrap();
            let read = Command::new(shell).arg("-n").arg(&file).output().unwrap();
            assert!(read.status.success(), "{shell}: {}", String::from_utf8_lossy(&read.stderr));
        }
    }
}

#[test]
fn each_command_has_a_page_that_can_be_set() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    assert!(run(&["man", &pages.display().to_string()]).status.success());
    let mut files: Vec<_> = fs::read_dir(&pages).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let names: Vec<_> = files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
    for name in ["evenkeel.1", "evenkeel-status.1", "evenkeel-take-back.1", "evenkeel-import-haproxy.1"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let sets = there("groff");
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        for part in [".TH evenkeel", ".SH NAME\n", ".SH SYNOPSIS\n", ".SH DESCRIPTION\n"] {
            assert!(text.contains(part), "no {part:?} in {}", file.display());
        }
        if sets {
            let set = Command::new("groff").args(["-man", "-Tutf8", "-ww", "-z"]).arg(file).output().unwrap();
            let said = String::from_utf8_lossy(&set.stderr);
            assert!(set.status.success() && said.is_empty(), "{}: {said}", file.display());
        }
    }
    let first = run(&["man"]);
    assert_eq!(first.stdout, fs::read(pages.join("evenkeel.1")).unwrap(), "without a folder it is printed");
}
