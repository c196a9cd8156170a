//! `--json`: every command that there is gives one value, or one a line, whatever becomes of it. The commands are those
//! of the program's own manual, so that a new one cannot be forgotten here.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use support::eventually::DEADLINE;
use support::process::{PROGRAM, free_address, run};
use support::{Origin, Process, eventually};
use tempfile::TempDir;

/// How much a command says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    One,
    Lines,
}

/// A command, how it ends, and what is in what it says.
struct Row {
    line: &'static str,
    codes: &'static [i32],
    said: Said,
    has: &'static [&'static str],
}

const fn one(line: &'static str, has: &'static [&'static str]) -> Row {
    Row { line, codes: &[0], said: Said::One, has }
}

impl Row {
    const fn ends(self, codes: &'static [i32]) -> Self {
        Self { codes, ..self }
    }

    const fn lines(self) -> Self {
        Self { said: Said::Lines, ..self }
    }

    fn words(&self) -> Vec<&'static str> {
        self.line.split(' ').collect()
    }
}

/// In this order: some need what those before them have done. A number stands for a place in a list.
const ROWS: &[Row] = &[
    one("version", &["version"]),
    one("check evenkeel.toml", &[]),
    one("check evenkeel.toml --probe", &["problems", "pools.0.probes.0.report.good", "pools.0.up"]),
    one("check bad.toml", &["0.message", "0.line"]).ends(&[1]),
    // What else this machine lacks is not for this test to say.
    one("doctor evenkeel.toml", &["0.topic", "0.level", "0.what"]).ends(&[0, 1]),
    one("status", &["version", "pools.0.backends.0.state"]),
    one("top --once", &["pools.0.up", "backends.0.state", "backends.0.requests_per_second", "events.0.kind"]),
    one("why p", &["backends.0.because"]),
    one("why p/a", &["state", "checks.0.last_good"]),
    one("probe p/a", &["probes.0.report.good"]),
    one("health", &["ready"]),
    one("health --pool p", &["ready"]),
    one("health --pool nosuch", &["ready", "answer"]).ends(&[1]),
    one("drain p/b --owner tester --reason test", &["message", "overrides.0.reason"]),
    one("drain p/b --owner tester --wait", &["may_be_stopped", "cut", "waited_seconds"]),
    one("ready p/b --owner tester", &["message"]),
    one("maintenance p/b --owner tester", &["message", "overrides.0.order"]),
    one("ready p/b --owner tester --force", &["message"]),
    one("weight p/b 50% --owner tester", &["message", "overrides.0.words"]),
    one("weight p/b --reset --owner tester", &["message"]),
    one("promote p b --owner tester --force", &["message"]),
    one("demote p b --owner tester --force", &["message"]),
    one("ready p/nosuch --owner tester", &["error"]).ends(&[1]),
    one("drill p/b --mode refuse --for 500ms --owner tester --force", &[]).lines(),
    one("drill p/nosuch --mode refuse --for 1s --owner tester", &["error"]).ends(&[1]),
    one("incidents", &["incidents"]),
    one("events", &["number", "kind", "message"]).lines(),
    one("plan evenkeel.toml", &["changes", "changes_anything"]),
    one("plan more.toml", &["changes", "changes_anything"]).ends(&[2]),
    one("plan bad.toml", &["error", "problems.0.message"]).ends(&[1]),
    one("plan broken.toml", &["error", "problems.0.message"]).ends(&[1]),
    one("reload --owner tester", &["message", "generation", "hash"]),
    one("changes", &["changes.0.connections"]),
    // Whether something is weak is of the machine, too.
    one("security", &["findings.0.what"]).ends(&[0, 1]),
    one("apply more.toml --confirm 60s --owner tester", &["message", "generation", "hash"]),
    one("confirm --owner tester", &["message", "generation", "hash"]),
    one("confirm --owner tester", &["error"]).ends(&[1]),
    one("apply evenkeel.toml --confirm 60s --owner tester", &["generation"]),
    one("take-back --owner tester", &["message", "generation", "hash"]),
    one("apply evenkeel.toml --confirm 2s --yes --owner tester", &["message", "generation", "hash"]),
    one("apply bad.toml --owner tester", &["error"]).ends(&[1]),
    one("history", &["generations.0.hash", "current"]),
    one("show", &["generation", "layers"]),
    one("show 1", &["number", "files.0.text"]),
    one("show 1000", &["error"]).ends(&[1]),
    // The second one is of the reload.
    one("diff 1 2", &["changes", "changes_anything"]),
    one("diff 1 3", &["changes", "changes_anything"]).ends(&[2]),
    one("rollback 1 --owner tester", &["message", "generation", "hash"]),
    one("reload --owner tester --prove", &["message", "canaries.0.sent", "canaries.0.longest_gap_seconds"]),
    one("import uchiwa uchiwa.json", &["toml", "notes"]),
    one("import haproxy haproxy.cfg", &["toml", "lost.0.line"]),
    one("import nginx nginx.conf -o imported.toml", &["written", "lost"]),
    one("import nginx nginx.conf -o imported.toml", &["error"]).ends(&[1]),
    one("preset", &["0.name", "0.summary"]),
    one("preset grafana", &["name", "text"]),
    one("preset nosuch", &["error"]).ends(&[1]),
    one("reference", &["0.key", "0.written.0", "0.text.0"]),
    one("token alice", &["name", "role", "token", "hash"]),
    one("reference token_file", &["0.table"]),
    one("completions bash", &["shell", "script"]),
    one("man", &["pages.0.command", "pages.0.text"]),
    one("man pages", &["written.0"]),
];

/// Those that go on until they are told to stop; the first value says where everything is.
const LASTING: &[(&str, &[&str])] = &[
    ("run lasting.toml", &["listeners.0.address", "admin"]),
    ("demo --listen 127.0.0.1:0", &["listeners.0.address", "admin", "backends.0.address", "switch"]),
];

const HAPROXY: &str = "frontend web\n  bind 127.0.0.1:8080\n  stats enable\n  default_backend app\n\
                       backend app\n  server a 127.0.0.1:9001 check\n";
const NGINX: &str = "upstream app { server 127.0.0.1:9001; }\n\
                     server { listen 127.0.0.1:8080; location / { proxy_pass http://app; } }\n";
const UCHIWA: &str =
    r#"{"sensu": [{"name": "east", "host": "10.0.0.1"}], "uchiwa": {"host": "0.0.0.0", "port": 3000}}"#;

struct Scene {
    process: Process,
    token: PathBuf,
    _folder: TempDir,
    _origins: [Origin; 2],
}

impl Scene {
    fn new() -> Self {
        let origins = [Origin::http().reply("a").start(), Origin::http().reply("b").start()];
        let (web, admin) = (free_address(), free_address());
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        fs::write(&token, "s3cret\n").unwrap();
        let text = config(web, admin, &origins, &token);
        let process = Process::start(&text);
        for (name, text) in [
            ("more.toml", format!("{text}[pool.q]\nbackends = [\"{}\"]\n", origins[0].addr())),
            ("bad.toml", format!("{text}[pool.q]\nbakends = [\"{}\"]\n", origins[0].addr())),
            ("broken.toml", "[listener\n".to_owned()),
            (
                "lasting.toml",
                "[listener.web]\nbind = \"127.0.0.1:0\"\npool = \"p\"\n[pool.p]\nbackends = [\"127.0.0.1:1\"]\n\
                 [admin]\nbind = \"127.0.0.1:0\"\n"
                    .to_owned(),
            ),
            ("haproxy.cfg", HAPROXY.to_owned()),
            ("nginx.conf", NGINX.to_owned()),
            ("uchiwa.json", UCHIWA.to_owned()),
        ] {
            fs::write(process.folder().join(name), text).unwrap();
        }
        let scene = Self { process, token, _folder: folder, _origins: origins };
        eventually("both are up", DEADLINE, || {
            let said = value(&scene.run(&["status"]).stdout, "status");
            said["pools"][0]["backends_up"] == 2
        });
        scene
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words, self.process.admin()).output().unwrap()
    }

    fn command(&self, words: &[&str], admin: SocketAddr) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("--json").args(words).current_dir(self.process.folder()).stdin(Stdio::null());
        command.env("EVENKEEL_ADMIN", admin.to_string()).env("EVENKEEL_TOKEN_FILE", &self.token);
        command.env_remove("EVENKEEL_CONFIG");
        command
    }
}

fn config(web: SocketAddr, admin: SocketAddr, origins: &[Origin; 2], token: &Path) -> String {
    let [a, b] = origins.each_ref().map(Origin::addr);
    format!(
        "[listener.web]\nbind = \"{web}\"\npool = \"p\"\n[admin]\nbind = \"{admin}\"\ntoken_file = \"{}\"\n\
         [pool.p]\nmode = \"active-standby\"\n\
         backends = [{{ name = \"a\", address = \"{a}\" }}, {{ name = \"b\", address = \"{b}\" }}]\n\
         [pool.p.check.home]\ntype = \"http\"\ninterval = \"5s\"\ntimeout = \"5s\"\nrise = 1\nfall = 2\n",
        token.display()
    )
}

#[track_caller]
fn value(bytes: &[u8], who: &str) -> Value {
    let text = String::from_utf8_lossy(bytes);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{who}: {error} in {text:?}"))
}

/// `generations.0.hash` of a value.
fn within<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(value, |at, word| match word.parse::<usize>() {
        Ok(place) => at.get(place),
        Err(_word) => at.get(word),
    })
}

#[track_caller]
fn holds(row: &str, value: &Value, has: &[&str]) {
    for path in has {
        assert!(within(value, path).is_some(), "{row}: no {path} in {value:#}");
    }
}

/// The commands that do something themselves, by the manual.
fn commands() -> Vec<(String, String)> {
    let pages = value(&run(&["man", "--json"]).stdout, "man");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let all: Vec<_> = pages["pages"].as_array().unwrap().clone();
    let all: Vec<_> = all.iter().map(|page| (text(&page["command"]), text(&page["text"]))).collect();
    let is_leaf = |words: &str| !all.iter().any(|(other, _)| other.starts_with(&format!("{words} ")));
    let leaves = all.iter().filter(|(words, _)| is_leaf(words));
    leaves.map(|(words, text)| (words.strip_prefix("evenkeel ").unwrap().to_owned(), text.clone())).collect()
}

fn covers(line: &str, command: &str) -> bool {
    line == command || line.starts_with(&format!("{command} "))
}

#[test]
fn every_command_answers_in_json_when_all_is_well_and_when_it_is_not() {
    let scene = Scene::new();
    for row in ROWS {
        let ran = scene.run(&row.words());
        let code = ran.status.code().unwrap();
        let said = format!("{}: {}{}", row.line, text(&ran.stdout), text(&ran.stderr));
        assert!(row.codes.contains(&code), "exit code {code} of {said}");
        match row.said {
            Said::One => holds(row.line, &value(&ran.stdout, row.line), row.has),
            Said::Lines => {
                assert!(text(&ran.stdout).lines().count() > 0, "{said}");
                text(&ran.stdout).lines().for_each(|line| holds(row.line, &value(line.as_bytes(), &said), row.has));
            }
        }
        let remarks = text(&ran.stderr);
        assert!(remarks.is_empty(), "what else there is to say is in the value: {said}");
    }
    for (line, has) in LASTING {
        lasting(&scene, line, has);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A child that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn lasting(scene: &Scene, line: &str, has: &[&str]) {
    let words: Vec<_> = line.split(' ').collect();
    let mut command = scene.command(&words, scene.process.admin());
    let mut child = Ended(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut values = serde_json::Deserializer::from_reader(child.0.stdout.take().unwrap()).into_iter::<Value>();
    holds(line, &values.next().unwrap_or_else(|| panic!("{line} said nothing")).unwrap(), has);
    assert!(Command::new("kill").arg(child.0.id().to_string()).status().unwrap().success());
    assert!(child.0.wait().unwrap().success(), "{line}");
    assert!(values.next().is_none(), "{line} said more");
}

#[test]
fn no_command_is_forgotten_here() {
    let known: Vec<&str> = ROWS.iter().map(|row| row.line).chain(LASTING.iter().map(|(line, _)| *line)).collect();
    let commands = commands();
    assert!(commands.len() > 30, "{commands:?}");
    for (command, _) in &commands {
        assert!(known.iter().any(|line| covers(line, command)), "`evenkeel {command}` is in no row of this file");
    }
    for line in known {
        assert!(commands.iter().any(|(command, _)| covers(line, command)), "there is no `evenkeel {line}`");
    }
}

#[test]
fn a_wrong_command_line_is_said_in_json_too() {
    for (command, _) in commands() {
        let words: Vec<_> = command.split(' ').chain(["--json", "--no-such-option"]).collect();
        let ran = run(&words);
        assert_eq!((ran.status.code(), text(&ran.stderr).as_str()), (Some(2), ""), "{command}");
        let error = value(&ran.stdout, &command)["error"].as_str().unwrap().to_owned();
        assert!(error.contains("--no-such-option"), "{command}: {error}");
    }
    let ran = run(&["--json"]);
    assert_eq!(ran.status.code(), Some(2));
    assert!(value(&ran.stdout, "none")["error"].as_str().unwrap().contains("Usage"));
}

#[test]
fn whoever_finds_no_balancer_says_so_in_json() {
    let scene = Scene::new();
    let nobody = free_address();
    let asking: BTreeSet<String> =
        commands().into_iter().filter(|(_, page)| page.contains("\\-\\-admin")).map(|(command, _)| command).collect();
    assert!(asking.len() > 20, "{asking:?}");
    for command in asking {
        // `doctor` finds that nobody is there, and says what else it finds; `run` means its own admin port.
        if ["doctor", "run"].contains(&command.as_str()) {
            continue;
        }
        let row = ROWS.iter().find(|row| covers(row.line, &command)).unwrap();
        let ran = scene.command(&row.words(), nobody).output().unwrap();
        assert_eq!((ran.status.code(), text(&ran.stderr).as_str()), (Some(1), ""), "{command}");
        let error = value(&ran.stdout, &command)["error"].as_str().unwrap().to_owned();
        assert!(error.contains(&nobody.to_string()), "{command}: {error}");
    }
}
