//! Each change leaves a record of what it meant for connections; canaries prove it from outside; and what was applied can be
//! written into the file that the program was started with.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use support::eventually::{DEADLINE, eventually_some};
use support::process::{PROGRAM, free_address, run};
use support::{Client, Origin, Process, client, eventually};

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

/// The last record.
#[track_caller]
fn last(process: &Process) -> Value {
    let output = told(process, &["changes", "1", "--json"]);
    let view: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", errors(&output)));
    view["changes"][0].clone()
}

/// The last record, once nothing of it is open any more.
#[track_caller]
fn settled(process: &Process) -> Value {
    eventually_some("the record is whole", DEADLINE, || {
        Some(last(process)).filter(|record| record["state"] == "done" && record["accepted"]["after"].is_u64())
    })
}

fn tcp(name: &str, at: SocketAddr) -> String {
    format!("[listener.{name}]\nbind = '{at}'\nprotocol = 'tcp'\npool = 'echo'\n")
}

#[test]
fn a_reload_leaves_a_record_of_what_it_meant() {
    let echo = Origin::echo().start();
    let (stay, go) = (free_address(), free_address());
    let rest = format!("state_file = 'state.json'\n[pool.echo]\nbackends = ['{}']\n", echo.addr());
    let process = Process::start(&format!("{rest}{}{}", tcp("stay", stay), tcp("go", go)));
    assert_eq!(out(&told(&process, &["changes"])), "nothing has changed since the start\n");
    let mut sessions = [Client::connect(stay), Client::connect(go)];
    assert!(sessions.iter_mut().all(|session| session.echoes("hello")));
    process.write_config(&format!("{rest}{}", tcp("stay", stay)));
    let reload = told(&process, &["reload", "--owner", "ann", "--reason", "no more of that"]);
    assert!(reload.status.success(), "{}", errors(&reload));

    let record = last(&process);
    for (key, value) in
        [("before", "1"), ("generation", "2"), ("why", "\"command\""), ("owner", "\"ann\""), ("state", "\"draining\"")]
    {
        assert_eq!(record[key].to_string(), value, "{record}");
    }
    assert_eq!(record["sockets"], serde_json::json!({ "kept": 1, "opened": 0, "closed": 1, "handed_over": 0 }));
    let connections =
        |drained| serde_json::json!({ "open": 2, "kept": 1, "draining": 1, "drained": drained, "cut": 0 });
    assert_eq!(record["connections"], connections(0));
    assert!(sessions.iter_mut().all(|session| session.echoes("still")), "both go on");
    let [kept, gone] = sessions;
    drop(gone);
    let record = settled(&process);
    assert_eq!(record["connections"], connections(1));
    assert!(record["drained_after_ms"].is_u64(), "{record}");
    let text = out(&told(&process, &["changes"]));
    for words in
        ["generation 1 to 2, command, by ann: no more of that, in", "1 kept, 1 given up", "1 to drain, of which 1 have"]
    {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
    let kept_on_disk = || fs::read_to_string(process.folder().join("state.changes.json")).unwrap_or_default();
    eventually("it is on the disk", DEADLINE, || kept_on_disk().contains("\"state\": \"done\""));
    drop(kept);
}

#[test]
fn work_at_a_backend_that_is_gone_is_followed_to_its_end() {
    let (echo, next) = (Origin::echo().start(), Origin::echo().start());
    let at = free_address();
    let text = |backend: &Origin| format!("{}[pool.echo]\nbackends = ['{}']\n", tcp("t", at), backend.addr());
    let process = Process::start(&text(&echo));
    let mut session = Client::connect(at);
    assert!(session.echoes("hello"));
    assert!(process.reload(&text(&next)).status.success());
    let record = last(&process);
    assert_eq!((&record["work"]["draining"], &record["connections"]["kept"]), (&1.into(), &1.into()), "{record}");
    drop(session);
    assert_eq!(settled(&process)["work"], serde_json::json!({ "draining": 1, "drained": 1 }));
}

#[test]
fn canaries_tell_whether_a_change_was_felt() {
    let (a, b, echo) = (Origin::http().reply("a").start(), Origin::http().reply("b").start(), Origin::echo().start());
    let (web, raw, new) = (free_address(), free_address(), free_address());
    let text = |backend: SocketAddr, more: &str| {
        let pools = format!("[pool.p]\nbackends = ['{backend}']\n[pool.echo]\nbackends = ['{}']\n", echo.addr());
        format!("[listener.web]\nbind = '{web}'\npool = 'p'\n{}{pools}{more}", tcp("raw", raw))
    };
    let process = Process::start(&text(a.addr(), ""));
    process.write_config(&text(b.addr(), &tcp("new", new)));
    let proved = told(&process, &["reload", "--prove", "--canary-path", "/x", "--canary-host", "b.example.com"]);
    let said = out(&proved);
    assert!(proved.status.success(), "{said}{}", errors(&proved));
    for (name, at, kind) in [("web", web, "HEAD"), ("raw", raw, "connecting"), ("new", new, "connecting")] {
        let line = said.lines().find(|line| line.starts_with(&format!("canaries of {name} at {at}: ")));
        let line = line.unwrap_or_else(|| panic!("{name} is not in\n{said}"));
        assert!(line.contains(&format!("sent by {kind}, 0 failed, longest gap ")), "{line}");
    }
    assert_eq!(client::get(web, "/").text(), "b");
    let canary = a.last_request();
    assert_eq!((canary.method.as_str(), canary.path(), canary.header("host")), ("HEAD", "/x", Some("b.example.com")));
    assert!(b.requests_for("/x") > 0, "they go on after the change");
    let record = settled(&process);
    let accepted = |when: &str| record["accepted"][when].as_u64().unwrap();
    assert!(accepted("before") > 0 && accepted("after") > 0, "{record}");

    // A listener that is given up on purpose is no failure, one whose backend is gone is one.
    process.write_config(&text(b.addr(), ""));
    let proved = told(&process, &["reload", "--prove"]);
    assert!(proved.status.success() && out(&proved).contains("canaries of new (given up)"), "{}", out(&proved));
    process.write_config(&text(free_address(), ""));
    let proved = told(&process, &["reload", "--prove"]);
    assert!(proved.status.code() == Some(1), "{}", out(&proved));
    assert!(errors(&proved).contains(", and before the change 200"), "{}", errors(&proved));
}

#[test]
fn an_upgrade_leaves_a_record_in_the_process_that_goes_on() {
    let (echo, at) = (Origin::echo().start(), free_address());
    let config = format!(
        "{}[pool.echo]\nbackends = ['{}']\n[upgrade]\nsocket = 'up.sock'\n[shutdown]\ndrain = '60s'\n",
        tcp("t", at),
        echo.addr()
    );
    let mut process = Process::start(&config);
    let mut sessions = [Client::connect(at), Client::connect(at)];
    assert!(sessions.iter_mut().all(|session| session.echoes("hello")));
    // A reload before it: its record goes over, too.
    assert!(process.reload(&config).status.success());
    let mut next = takes_over(&process);
    let record = eventually_some("there is a record of it", DEADLINE, || {
        let output = told(&process, &["changes", "1", "--json"]);
        let view: Value = serde_json::from_slice(&output.stdout).ok()?;
        Some(view["changes"][0].clone()).filter(|record| record["why"] == "upgrade")
    });
    assert_eq!((&record["before"], &record["generation"]), (&2.into(), &3.into()), "{record}");
    assert_eq!(record["sockets"]["handed_over"], 1, "{record}");
    let connections =
        |drained| serde_json::json!({ "open": 2, "kept": 0, "draining": 2, "drained": drained, "cut": 0 });
    assert_eq!(record["connections"], connections(0));
    let all: Value = serde_json::from_slice(&told(&process, &["changes", "--json"]).stdout).unwrap();
    assert_eq!(all["changes"].as_array().map(Vec::len), Some(2), "{all}");
    assert!(sessions.iter_mut().all(|session| session.echoes("still")));
    let [first, second] = sessions;
    drop(first);
    eventually("one of them has ended", DEADLINE, || last(&process)["connections"] == connections(1));
    // Before the process that has them ends by itself: what becomes of the other one is not known then.
    process.signal("KILL");
    process.wait(DEADLINE);
    eventually("that is said", DEADLINE, || last(&process)["state"] == "unknown");
    drop(second);
    assert!(next.0.try_wait().unwrap().is_none(), "the other one goes on");
}

#[test]
fn the_end_of_a_process_that_has_handed_over_is_in_its_record() {
    let (echo, at) = (Origin::echo().start(), free_address());
    let config = format!(
        "{}[pool.echo]\nbackends = ['{}']\n[upgrade]\nsocket = 'up.sock'\n[shutdown]\ndrain = '60s'\n",
        tcp("t", at),
        echo.addr()
    );
    let mut process = Process::start(&config);
    let mut sessions = [Client::connect(at), Client::connect(at)];
    assert!(sessions.iter_mut().all(|session| session.echoes("hello")));
    let _next = takes_over(&process);
    eventually("there is a record of it", DEADLINE, || last(&process)["why"] == "upgrade");
    let connections =
        |drained, cut| serde_json::json!({ "open": 2, "kept": 0, "draining": 2, "drained": drained, "cut": cut });
    let [first, mut second] = sessions;
    drop(first);
    eventually("one of them has ended", DEADLINE, || last(&process)["connections"] == connections(1, 0));
    // Told again, it cuts the other.
    eventually("it has ended", DEADLINE, || {
        process.signal("TERM");
        process.has_ended()
    });
    assert!(second.closed());
    assert_eq!(settled(&process)["connections"], connections(1, 1));
}

/// The next process.
fn takes_over(process: &Process) -> Ended {
    let log = File::create(process.folder().join("next")).unwrap();
    let mut next = Command::new(PROGRAM);
    next.args(["run", "--takeover", "up.sock", "evenkeel.toml"]).current_dir(process.folder());
    Ended(next.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap())
}

/// Ended with this.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_was_applied_can_be_saved_where_it_means_the_same() {
    let (a, b) = (Origin::http().reply("a").start(), Origin::http().reply("b").start());
    let (web, admin, elsewhere) = (free_address(), free_address(), tempfile::tempdir().unwrap());
    let token = elsewhere.path().join("token");
    fs::write(&token, "s3cret-s3cret-s3cret\n").unwrap();
    let rest = format!("[admin]\nbind = \"{admin}\"\ntoken_file = '{}'\n", token.display());
    let text = |backend: SocketAddr| {
        format!("[listener.web]\nbind = '{web}'\npool = 'p'\n{rest}[pool.p]\nbackends = ['{backend}']\n")
    };
    let process = Process::start(&text(a.addr()));
    let file = process.config_path();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let draft = elsewhere.path().join("draft.toml");
    let apply = |draft_says: &str| {
        fs::write(&draft, draft_says).unwrap();
        told(&process, &["apply", draft.to_str().unwrap(), "--save", "--token-file", token.to_str().unwrap()])
    };
    let wanted = format!("# by hand\n{}", text(b.addr()));
    let saved = apply(&wanted);
    assert!(
        saved.status.success() && out(&saved).contains("says what is in force from now on"),
        "{}{}",
        out(&saved),
        errors(&saved)
    );
    let backup = process.folder().join("evenkeel.toml.bak");
    assert_eq!(
        (fs::read_to_string(&file).unwrap(), fs::read_to_string(&backup).unwrap()),
        (wanted.clone(), text(a.addr()))
    );
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o640);
    let reload = told(&process, &["reload", "--token-file", token.to_str().unwrap()]);
    assert!(reload.status.success() && client::get(web, "/").text() == "b", "{}", errors(&reload));

    // Beside the draft there is a file that is not beside the configuration.
    fs::write(elsewhere.path().join("name"), "Basic abc").unwrap();
    let relative =
        format!("{}check.c = {{ type = 'http', headers = {{ Authorization = '${{file:name}}' }} }}\n", text(a.addr()));
    let refused = apply(&relative);
    assert!(refused.status.code() == Some(1) && errors(&refused).contains("nothing is saved"), "{}", errors(&refused));
    assert_eq!(fs::read_to_string(&file).unwrap(), wanted, "the file is as it was");
    eventually("the change is in force all the same", DEADLINE, || client::get(web, "/").text() == "a");
    // The same name, and something else in it.
    fs::write(process.folder().join("name"), "Basic xyz").unwrap();
    let refused = apply(&relative);
    assert!(errors(&refused).contains("it would mean something else"), "{}", errors(&refused));
    assert_eq!(fs::read_to_string(&file).unwrap(), wanted);
}
