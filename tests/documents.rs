//! What the documents promise: their configurations load, and the metrics and commands they name exist.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use evenkeel::config::import::{haproxy, nginx, uchiwa};
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

/// README and the guides.
fn documents() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/guides");
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut documents: Vec<String> = names.map(|name| format!("deploy/guides/{name}")).collect();
    documents.sort();
    assert!(documents.len() >= 10, "{documents:?}");
    documents.push("README.md".to_owned());
    documents
}

#[test]
fn configurations_in_the_documents_load() {
    // What stands in /etc/evenkeel on a machine of its own.
    let ca = Authority::new("CA");
    let folder = ca.folder();
    std::fs::create_dir(folder.join("sites")).unwrap();
    for file in ["web", "sites/more", "admin"] {
        ca.issue(file, &["web.example.com"]);
    }
    ca.revoke("ca.crl", &[], 30);
    for name in ["grafana", "ann"] {
        std::fs::write(folder.join(format!("{name}.token")), "a-token-that-is-long-enough").unwrap();
    }
    let mut loaded = 0;
    for document in documents() {
        for (number, block) in toml_blocks(&read(&document)).into_iter().enumerate() {
            let block = block.replace("/etc/evenkeel", folder.to_str().unwrap());
            must_load(&format!("{document}, configuration {}", number + 1), block);
            loaded += 1;
        }
    }
    assert!(loaded >= 25, "{loaded}");
}

/// What stands between `[` and `](`, and between those and `)`, of links to files.
#[test]
fn links_in_the_documents_lead_to_files() {
    for document in documents() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(&document).parent().unwrap().to_owned();
        let text = read(&document);
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            assert!(link.starts_with("http") || folder.join(link).exists(), "{document}: {link}");
        }
    }
}

#[test]
fn what_the_guides_import_becomes_what_they_show() {
    type Import = fn(&str) -> String;
    let peers: [(&str, Import); 2] = [
        ("haproxy", |text| haproxy::import("haproxy.cfg", text, &|_name| None).toml),
        ("nginx", |text| nginx::import("nginx.conf", text, &|_pattern| Vec::new()).toml),
    ];
    for (peer, import) in peers {
        let guide = read(&format!("deploy/guides/from-{peer}.md"));
        let theirs = guide.split("```text\n").nth(1).unwrap().split("```").next().unwrap();
        let imported = import(theirs);
        let facts = |text: &str| {
            let config = config::load(&Source::text(text)).unwrap_or_else(|problems| panic!("{problems}")).config;
            let pools = config.pools.iter().map(|pool| (pool.name.clone(), pool.members.len(), pool.balance.clone()));
            let listeners = config.listeners.iter().map(|listener| (listener.binds.clone(), listener.routes.len()));
            format!("{:?} {:?}", pools.collect::<Vec<_>>(), listeners.collect::<Vec<_>>())
        };
        assert_eq!(facts(&imported), facts(&toml_blocks(&guide)[0]), "{imported}");
    }
    let guide = read("deploy/guides/uchiwa.md");
    let file = guide.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let imported = uchiwa::import(&[("uchiwa.json".to_owned(), file.to_owned())]).unwrap();
    must_load("uchiwa.json", imported.toml);
}

/// All of the sources as text, strings that go on in the next line put together.
fn sources(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let file = std::fs::read_to_string(&path).unwrap();
            let mut lines = file.split("\\\n");
            text.push_str(lines.next().unwrap());
            lines.for_each(|line| text.push_str(line.trim_start()));
        }
    }
}

#[test]
fn what_troubleshooting_quotes_is_what_the_program_says() {
    let mut text = String::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut text);
    let guide = read("deploy/guides/troubleshooting.md");
    let quoted: Vec<&str> = (guide.lines()).filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`')).collect();
    assert!(quoted.len() >= 25, "{quoted:?}");
    // The system's own words.
    let unknown: Vec<_> = quoted.iter().filter(|words| !text.contains(**words) && !SYSTEM.contains(words)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// What the system says, and we pass on (strerror(3)).
const SYSTEM: &[&str] = &["Too many open files"];

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
