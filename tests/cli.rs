//! The commands that need no running evenkeel: what they print, where, and with which exit code.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

struct Ran {
    code: Option<i32>,
    out: String,
    errors: String,
}

fn evenkeel(folder: &Path, arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
    command.args(arguments).current_dir(folder).env_remove("EVENKEEL_CONFIG");
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), out: text(output.stdout), errors: text(output.stderr) }
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

const GOOD: &str = "listener.web = { bind = '127.0.0.1:0', pool = 'web' }\npool.web.backends = ['127.0.0.1:1']\n";
const BAD: &str = "[listener.web]\nbind = '127.0.0.1:0'\npool = 'wep'\n[pool.web]\nbackends = ['127.0.0.1']\n";

#[test]
fn check_says_that_a_configuration_is_good() {
    let folder = folder(&[("evenkeel.toml", GOOD), ("other.toml", GOOD)]);
    let ran = evenkeel(folder.path(), &["check", "other.toml"]);
    assert_eq!((ran.code, ran.errors.as_str()), (Some(0), ""));
    assert_eq!(ran.out, "other.toml is good: 1 listener, 1 pool, 1 backend\n");
    let ran = evenkeel(folder.path(), &["check"]);
    assert_eq!(ran.out, "evenkeel.toml is good: 1 listener, 1 pool, 1 backend\n", "the usual place is looked at");
    let ran = evenkeel(folder.path(), &["check", "--json", "other.toml"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "[]\n"));
}

#[test]
fn check_reports_every_problem_at_once_on_standard_error() {
    let folder = folder(&[("evenkeel.toml", BAD)]);
    let ran = evenkeel(folder.path(), &["check", "evenkeel.toml"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    for part in ["evenkeel.toml:3:", "wep", "evenkeel.toml:5:", "2 errors"] {
        assert!(ran.errors.contains(part), "{part} is not in\n{}", ran.errors);
    }
    assert!(!ran.errors.contains('\x1b'), "a pipe gets no colours: {:?}", ran.errors);
    let ran = evenkeel(folder.path(), &["check", "--json", "evenkeel.toml"]);
    assert_eq!(ran.code, Some(1));
    let problems: Vec<serde_json::Value> = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(problems.len(), 2);
    assert_eq!((&problems[0]["line"], &problems[0]["severity"]), (&3.into(), &"error".into()));
}

#[test]
fn run_starts_nothing_by_a_bad_configuration() {
    let folder = folder(&[("evenkeel.toml", BAD)]);
    for arguments in [&["run"][..], &["run", "evenkeel.toml"], &["run", "--config", "evenkeel.toml"]] {
        let ran = evenkeel(folder.path(), arguments);
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
        assert!(ran.errors.contains("2 errors; evenkeel was not started\n"), "{}", ran.errors);
    }
    let ran = evenkeel(folder.path(), &["run", "--listen", "127.0.0.1:0", "--backend", "nonsense"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.errors.contains("nonsense"), "{}", ran.errors);
}

#[test]
fn a_missing_file_is_named() {
    let folder = folder(&[]);
    let ran = evenkeel(folder.path(), &["check", "gone.toml"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.errors.contains("gone.toml"), "{}", ran.errors);
}

#[test]
fn usage_errors_have_their_own_exit_code() {
    let folder = folder(&[]);
    for arguments in [&["walk"][..], &["run", "--nope"], &["status", "--admin", "ftp://lb:1"], &[]] {
        let ran = evenkeel(folder.path(), arguments);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(ran.errors.contains("Usage:") || ran.errors.contains("--help"), "{}", ran.errors);
    }
    let ran = evenkeel(folder.path(), &["version"]);
    assert_eq!((ran.code, ran.out), (Some(0), format!("evenkeel {}\n", env!("CARGO_PKG_VERSION"))));
    assert_eq!(evenkeel(folder.path(), &["--help"]).code, Some(0));
}

const UCHIWA: &str = r#"{
  "sensu": [
    { "name": "us-east-1", "host": "10.0.0.1", "port": 4567, "timeout": 5 },
    { "name": "us-east-1", "host": "10.0.0.2", "port": 4567, "timeout": 5 }
  ],
  "uchiwa": { "host": "0.0.0.0", "port": 3000 }
}"#;

#[test]
fn what_uchiwa_is_imported_to_is_good() {
    let folder = folder(&[("uchiwa.json", UCHIWA)]);
    let ran = evenkeel(folder.path(), &["import", "uchiwa", "uchiwa.json", "-o", "evenkeel.toml"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), ""), "{}", ran.errors);
    let checked = evenkeel(folder.path(), &["check", "evenkeel.toml"]);
    assert!(checked.out.ends_with("1 pool, 2 backends\n"), "{}{}", checked.out, checked.errors);
    let printed = evenkeel(folder.path(), &["import", "uchiwa", "uchiwa.json"]);
    assert_eq!(printed.out, std::fs::read_to_string(folder.path().join("evenkeel.toml")).unwrap());
}

#[test]
fn import_overwrites_nothing_and_says_what_it_cannot_read() {
    let folder = folder(&[("uchiwa.json", UCHIWA), ("evenkeel.toml", GOOD), ("broken.json", "{")]);
    let ran = evenkeel(folder.path(), &["import", "uchiwa", "uchiwa.json", "-o", "evenkeel.toml"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.errors.contains("evenkeel.toml exists already"), "{}", ran.errors);
    assert_eq!(std::fs::read_to_string(folder.path().join("evenkeel.toml")).unwrap(), GOOD);
    let ran = evenkeel(folder.path(), &["import", "uchiwa", "broken.json"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    assert!(ran.errors.contains("broken.json"), "{}", ran.errors);
}
