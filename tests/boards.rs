//! The alert rules and the board of `deploy/`: loaded by the tools that they are for, and about metrics that exist.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use evenkeel::metrics::family;
use serde_json::Value;
use support::eventually::DEADLINE;
use support::process::free_address;
use support::{Balancer, Origin, client, eventually};

/// What no scrape shows while all is well, or without what it is about.
const ABSENT_WHILE_WELL: [&str; 4] = [
    "evenkeel_backend_ejected",
    "evenkeel_backend_drill",
    "evenkeel_listener_certificate_expiry_timestamp_seconds",
    "evenkeel_check_certificate_expiry_timestamp_seconds",
];

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(deploy(path)).unwrap()
}

fn promtool(arguments: &[&str]) -> String {
    let ran = Command::new("promtool").args(arguments).current_dir(deploy("prometheus")).output();
    let ran = ran.expect("promtool is installed (Debian: prometheus)");
    let said = String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned();
    assert!(ran.status.success(), "{said}");
    said
}

/// Names of metrics in expressions.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| letter != '_' && !letter.is_ascii_alphanumeric());
    let ours = words.filter(|word| word.starts_with("evenkeel_") || word.starts_with("process_"));
    ours.filter(|word| *word != "evenkeel_").map(str::to_owned).collect()
}

fn board() -> Value {
    serde_json::from_str(&read("grafana/evenkeel.json")).unwrap()
}

/// Every value of this key, wherever it stands.
fn all<'v>(value: &'v Value, key: &str, found: &mut Vec<&'v Value>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if name == key {
                    found.push(value);
                }
                all(value, key, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| all(item, key, found)),
        _ => {}
    }
}

fn expressions() -> String {
    let board = board();
    let (mut expressions, mut definitions) = (Vec::new(), Vec::new());
    all(&board, "expr", &mut expressions);
    all(&board, "definition", &mut definitions);
    assert!(expressions.len() > 30, "{}", expressions.len());
    expressions.into_iter().chain(definitions).map(|it| it.as_str().unwrap().to_owned() + "\n").collect()
}

#[test]
fn prometheus_takes_the_rules_and_their_tests_hold() {
    let said = promtool(&["check", "rules", "alerts.yml"]);
    assert!(said.contains("SUCCESS: 19 rules found"), "{said}");
    assert!(promtool(&["test", "rules", "alerts_test.yml"]).contains("SUCCESS"));
}

#[test]
fn each_metric_of_rules_and_board_exists_and_stands_in_a_scrape() {
    let (a, gone) = (Origin::http().reply("a").start(), Origin::http().reply("b").start());
    let lb = Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n[pool.p]\n\
         backends = [{{ name = 'a', address = '{}' }}, {{ name = 'b', address = '{}' }}]\n\
         [pool.p.check.home]\ntype = 'http'\ninterval = '50ms'\nrise = 1\nfall = 1\n",
        a.addr(),
        gone.addr()
    ));
    assert_eq!(lb.get("/").status, 200);
    gone.stop();
    lb.wait_for_up(1);
    lb.order(&["maintenance", "p/b"]);
    eventually("there is an incident", DEADLINE, || {
        lb.metrics().contains("evenkeel_incident_detection_seconds_bucket{")
    });
    let page = lb.metrics();
    let wanted = names(&(expressions() + &read("prometheus/alerts.yml")));
    assert!(wanted.len() > 30, "{wanted:?}");
    for name in wanted {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
        let is_ours = family::ALL.iter().any(|known| known.name == family);
        assert!(is_ours || name.starts_with("process_"), "{name} is no metric of ours");
        let is_there = page.lines().any(|line| line.split(['{', ' ']).next() == Some(&name));
        assert!(is_there || ABSENT_WHILE_WELL.contains(&&*name), "{name} is not in a scrape");
    }
}

/// Every query of the board, asked of the real Prometheus: one that it cannot parse is answered 400.
#[test]
fn prometheus_understands_each_query_of_the_board() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prometheus.yml");
    std::fs::write(&file, "scrape_configs: []\n").unwrap();
    let address = free_address();
    let mut program = Command::new("prometheus")
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
        .arg(format!("--web.listen-address={address}"))
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("prometheus is installed");
    let ready = || client::try_get(address, "/-/ready").is_ok_and(|answer| answer.status == 200);
    eventually("prometheus is ready", DEADLINE, ready);
    let board = board();
    let mut expressions = Vec::new();
    all(&board, "expr", &mut expressions);
    let mut refused = Vec::new();
    for expression in expressions {
        let filled = expression.as_str().unwrap().replace("$instance", ".*").replace("$pool", ".*");
        let filled = filled.replace("$__rate_interval", "1m");
        let query = filled.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
        let answer = client::get(address, &format!("/api/v1/query?query={query}"));
        if answer.status != 200 {
            refused.push(format!("{filled}: {}", answer.text()));
        }
    }
    let _ = program.kill();
    let _ = program.wait();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

#[test]
fn the_board_can_be_imported_anywhere() {
    let board = board();
    assert_eq!((&board["id"], &board["uid"], &board["title"]), (&Value::Null, &"evenkeel".into(), &"Evenkeel".into()));
    assert!(board["schemaVersion"].as_u64().unwrap() >= 36);
    let variables = board["templating"]["list"].as_array().unwrap();
    assert_eq!((&variables[0]["type"], &variables[0]["name"]), (&"datasource".into(), &"datasource".into()));
    let mut sources = Vec::new();
    all(&board, "datasource", &mut sources);
    assert!(sources.iter().all(|source| source["uid"] == "${datasource}"), "a source of somebody's own Grafana");
    let panels = board["panels"].as_array().unwrap();
    let mut places = Vec::new();
    for panel in panels {
        assert!(panel.get("id").is_none(), "Grafana gives ids itself");
        assert!(!panel["title"].as_str().unwrap().is_empty());
        let number = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        let (x, y, w, h) = (number("x"), number("y"), number("w"), number("h"));
        assert!(x + w <= 24, "{}", panel["title"]);
        let meets = |other: &(u64, u64, u64, u64, &Value)| {
            x < other.0 + other.2 && other.0 < x + w && y < other.1 + other.3 && other.1 < y + h
        };
        if let Some(other) = places.iter().find(|other| meets(other)) {
            panic!("{} lies over {}", panel["title"], other.4);
        }
        places.push((x, y, w, h, &panel["title"]));
    }
}
