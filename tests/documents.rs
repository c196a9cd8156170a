//! What the documents promise: their configurations load, and the metrics and commands they name exist.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use evenkeel::config::{self, Color, Source};
use evenkeel::metrics::family;
use evenkeel::pool::events::EventKind;
use support::tls::Authority;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn must_load(name: &str, text: String) {
    let source = Source::Text { name: name.to_owned(), text };
    if let Err(problems) = config::load(&source) {
        panic!("{}", problems.render(Color::Plain, name));
    }
}

/// What stands between ```` ```toml ```` and ```` ``` ````.
fn toml_blocks(text: &str) -> Vec<String> {
    let blocks = text.split("```toml\n").skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn configurations_in_the_documents_load() {
    let blocks = toml_blocks(&read("README.md"));
    assert!(blocks.len() >= 2);
    // What stands in /etc/evenkeel on a machine of its own.
    let ca = Authority::new("CA");
    let folder = ca.folder();
    std::fs::create_dir(folder.join("sites")).unwrap();
    for file in ["web", "sites/more"] {
        ca.issue(file, &["web.example.com"]);
    }
    ca.revoke("ca.crl", &[], 30);
    for (number, block) in blocks.into_iter().enumerate() {
        let block = block.replace("/etc/evenkeel", folder.to_str().unwrap());
        must_load(&format!("README.md, configuration {}", number + 1), block);
    }
}

#[test]
fn the_quick_start_of_the_readme_is_the_one_in_the_file() {
    let values = |text: &str| text.parse::<toml::Table>().unwrap();
    assert_eq!(values(&toml_blocks(&read("README.md"))[0]), values(&read("config/quickstart.toml")));
}

#[test]
fn the_compose_example_loads() {
    let token = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy/compose/token");
    let text = read("deploy/compose/evenkeel.toml");
    assert!(text.contains("/run/secrets/evenkeel-token"));
    must_load("compose", text.replace("/run/secrets/evenkeel-token", token.to_str().unwrap()));
}

#[test]
fn metrics_in_the_documents_exist() {
    let text = read("README.md") + &read("ARCHITECTURE.md") + &read("deploy/compose/compose.yaml");
    let names =
        text.split(|c: char| c != '_' && !c.is_ascii_alphanumeric()).filter(|word| word.starts_with("evenkeel_"));
    let unknown: Vec<_> = names.filter(|name| !family::ALL.iter().any(|family| family.name == *name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn the_readme_lists_every_kind_of_event() {
    let text = read("README.md");
    let unknown: Vec<_> = EventKind::ALL.iter().filter(|kind| !text.contains(&format!("`{}`", kind.word()))).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn the_readme_lists_every_command() {
    let help = Command::new(env!("CARGO_BIN_EXE_evenkeel")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let commands = list.lines().filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
    let readme = read("README.md");
    let missing: Vec<_> = commands.filter(|name| !readme.contains(&format!("| `evenkeel {name}"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
