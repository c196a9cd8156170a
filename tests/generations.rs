//! Changes without fear: what a configuration would change is said before, and the way back is one command.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::net::SocketAddr;
use std::process::Output;

use support::eventually::DEADLINE;
use support::process::{free_address, run};
use support::{Load, Origin, Process, client, eventually};

/// One listener `web` on one pool `portal`, with a state file.
fn config(web: SocketAddr, backend: SocketAddr, rest: &str) -> String {
    format!(
        "state_file = \"state.json\"\n[listener.web]\nbind = \"{web}\"\npool = \"portal\"\n\
         [pool.portal]\nbackends = [{{ name = \"b1\", address = \"{backend}\" }}]\n{rest}"
    )
}

fn told(process: &Process, arguments: &[&str]) -> Output {
    let admin = format!("http://{}", process.admin());
    run(&[arguments, &["--admin", &admin]].concat())
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Writes a configuration beside the one in force; gives its path.
fn draft(process: &Process, text: &str) -> String {
    let path = process.folder().join("draft.toml");
    let admin = process.admin();
    fs::write(&path, format!("{text}\n[admin]\nbind = \"{admin}\"\n")).unwrap();
    path.display().to_string()
}

fn hashes(process: &Process) -> Vec<(u64, String, String)> {
    let history = told(process, &["history", "--json"]);
    let view: serde_json::Value = serde_json::from_slice(&history.stdout).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let list = view["generations"].as_array().unwrap().clone();
    list.iter().map(|one| (one["number"].as_u64().unwrap(), text(&one["hash"]), text(&one["why"]))).collect()
}

#[test]
fn a_plan_says_what_would_change_and_changes_nothing() {
    let origin = Origin::http().reply("a").start();
    let (web, api) = (free_address(), free_address());
    let text = config(web, origin.addr(), "");
    let process = Process::start(&text);

    let same = told(&process, &["plan", &draft(&process, &format!("# a remark\n{text}"))]);
    assert_eq!((same.status.code(), out(&same).as_str()), (Some(0), "nothing changes\n"), "{}", errors(&same));

    let more = format!("{text}weight_of = 1\n").replace("weight_of = 1\n", "balance = \"least-requests\"\n");
    let more = format!("{more}[listener.api]\nbind = \"{api}\"\npool = \"portal\"\n");
    let planned = told(&process, &["plan", &draft(&process, &more)]);
    let said = out(&planned);
    assert_eq!(planned.status.code(), Some(2), "{said}{}", errors(&planned));
    for line in [
        "listener web unchanged",
        &format!("listener api: new, binds {api}"),
        "pool portal: balance round-robin -> least-requests",
        &format!("bound anew: {api}"),
    ] {
        assert!(said.lines().any(|it| it == line), "{line}\nis none of\n{said}");
    }
    assert!(client::try_get(api, "/").is_err(), "nothing has been bound");

    let json = told(&process, &["plan", "--json", &draft(&process, &more)]);
    let view: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((json.status.code(), &view["changes_anything"]), (Some(2), &true.into()));
    assert_eq!(hashes(&process).len(), 1, "planning is no generation");
}

#[test]
fn a_bad_file_is_refused_as_check_does() {
    let origin = Origin::http().reply("a").start();
    let text = config(free_address(), origin.addr(), "");
    let process = Process::start(&text);
    let bad = draft(&process, &text.replace("backends", "bakends"));
    let (planned, checked) = (told(&process, &["plan", &bad]), run(&["check", &bad]));
    assert_eq!(planned.status.code(), Some(1));
    assert_eq!(errors(&planned).trim(), errors(&checked).trim());
    let missing = told(&process, &["plan", "/nowhere/at/all.toml"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(errors(&missing).contains("there is no such file"), "{}", errors(&missing));
}

#[test]
fn going_back_under_load_fails_no_request_and_is_exactly_what_was() {
    let (a, b) = (Origin::http().reply("a").start(), Origin::http().reply("b").start());
    let web = free_address();
    let first = config(web, a.addr(), "");
    let process = Process::start(&first);
    let load = Load::start(web, "/", 4);
    load.wait_for(50);
    assert!(process.reload(&config(web, b.addr(), "")).status.success());
    eventually("the other backend answers", DEADLINE, || client::get(web, "/").text() == "b");

    let diff = told(&process, &["diff", "1", "2"]);
    assert!(out(&diff).contains(&format!("address of b1 {} -> {}", a.addr(), b.addr())), "{}", out(&diff));
    assert_eq!(diff.status.code(), Some(2));

    let back = told(&process, &["rollback", "1", "--owner", "alice"]);
    assert!(back.status.success(), "{}", errors(&back));
    assert!(
        out(&back).contains("the next reload takes what they say") && out(&back).contains("show 1 --text"),
        "{}",
        out(&back)
    );
    eventually("the first backend answers again", DEADLINE, || client::get(web, "/").text() == "a");
    load.wait_for(50);
    load.stop().assert_none_failed();

    let kept = hashes(&process);
    assert_eq!(kept.iter().map(|it| it.2.as_str()).collect::<Vec<_>>(), ["start", "command", "rollback to 1"]);
    assert_eq!(kept[0].1, kept[2].1);
    assert_ne!(kept[0].1, kept[1].1);
    let shown = told(&process, &["show", "1", "--text"]);
    assert!(out(&shown).starts_with(&first), "{}", out(&shown));
    // Whoever reloads takes what the file says.
    assert!(told(&process, &["reload"]).status.success());
    eventually("the file is obeyed again", DEADLINE, || client::get(web, "/").text() == "b");
}

#[test]
fn generations_survive_a_kill_while_they_are_written() {
    let (a, b) = (Origin::http().reply("a").start(), Origin::http().reply("b").start());
    let web = free_address();
    let mut process = Process::start(&config(web, a.addr(), ""));
    // Whatever moment the kill meets, reloads are under way.
    for round in 0..20 {
        let backend = if round % 2 == 0 { b.addr() } else { a.addr() };
        process.write_config(&config(web, backend, ""));
        process.signal("HUP");
    }
    eventually("some are kept", DEADLINE, || hashes(&process).len() > 2);
    process.signal("KILL");
    process.wait(DEADLINE);
    let folder = process.folder().join("state.generations");
    let whole = |name: &str| -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(folder.join(name)).unwrap()).unwrap()
    };
    let names: Vec<String> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let kept: Vec<&String> = names.iter().filter(|name| name.strip_suffix(".json").is_some()).collect();
    assert!(kept.iter().all(|name| whole(name)["version"] == 1) && !kept.is_empty());
    fs::write(folder.join("900.json.new"), "{\"version\": 1, \"num").unwrap();
    fs::write(folder.join("901.json"), "{\"version\": 1, \"num").unwrap();

    let path = process.config_path();
    let state = process.folder().join("state.json");
    let text = fs::read_to_string(path).unwrap().replace("state.json", &state.display().to_string());
    let again = Process::start(&text.replace(&process.admin().to_string(), &free_address().to_string()));
    let list = hashes(&again);
    assert_eq!(list.len(), kept.len() + 1);
    assert_eq!(list.last().unwrap().2, "start");
    assert!(list.last().unwrap().0 > 1, "the count goes on");
    assert!(again.stderr().contains("901.json"), "what is broken is told of: {}", again.stderr());
}

#[test]
fn no_secret_is_shown_to_whoever_has_no_token() {
    let origin = Origin::http().reply("a").start();
    let check = "[pool.portal.check.db]\ntype = \"mysql\"\nuser = \"check\"\npassword = \"hunter2\"\n";
    let text = config(free_address(), origin.addr(), check);
    let process = Process::start(&text);
    let other = draft(&process, &text.replace("hunter2", "swordfish"));
    let planned = told(&process, &["plan", &other]);
    assert!(out(&planned).contains("password has another value"), "{}", out(&planned));
    let shown = told(&process, &["show", "1"]);
    let said = [out(&planned), out(&shown), client::get(process.admin(), "/api/v1/generations/1").text()].concat();
    assert!(said.contains("(hidden)") && !said.contains("hunter2") && !said.contains("swordfish"), "{said}");
    assert_eq!(told(&process, &["show", "1", "--text"]).status.code(), Some(1), "it is not all of it");
}

#[test]
fn without_a_state_file_generations_are_in_memory_and_that_is_said() {
    let origin = Origin::http().reply("a").start();
    let process =
        Process::start(&config(free_address(), origin.addr(), "").replace("state_file = \"state.json\"\n", ""));
    let history = told(&process, &["history"]);
    assert!(errors(&history).contains("in memory only"), "{}", errors(&history));
    let back = told(&process, &["rollback", "7"]);
    assert_eq!(back.status.code(), Some(1));
    assert!(errors(&back).contains("there is no generation 7; 1 to 1 are kept"), "{}", errors(&back));
}
