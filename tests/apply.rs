//! Changes that take themselves back: a configuration that is sent stays only if somebody says so, and not even until then
//! where live numbers speak against it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Output;
use std::time::{Duration, Instant};

use support::eventually::DEADLINE;
use support::process::{free_address, run};
use support::{Load, Origin, Process, client, eventually};
use tempfile::TempDir;

/// A program whose admin port has a token.
struct Guarded {
    process: Process,
    folder: TempDir,
    web: SocketAddr,
    rest: String,
}

impl Guarded {
    /// One listener `web` on one pool `p` with this backend.
    fn start(backend: SocketAddr, rest: &str) -> Self {
        let (web, admin, folder) = (free_address(), free_address(), tempfile::tempdir().unwrap());
        let token = folder.path().join("token");
        fs::write(&token, "s3cret\n").unwrap();
        let rest = format!("{rest}\n[admin]\nbind = \"{admin}\"\ntoken_file = \"{}\"\n", token.display());
        let process = Process::start(&config(web, backend, &rest));
        Self { process, folder, web, rest }
    }

    /// A configuration for it on another backend, written beside; gives its path.
    fn draft(&self, backend: SocketAddr) -> String {
        self.write(&config(self.web, backend, &self.rest))
    }

    fn write(&self, text: &str) -> String {
        let path = self.folder.path().join("draft.toml");
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn token(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    fn told(&self, arguments: &[&str]) -> Output {
        let (admin, token) = (format!("http://{}", self.process.admin()), self.token().display().to_string());
        run(&[arguments, &["--admin", &admin, "--token-file", &token]].concat())
    }

    /// An answer of the API.
    fn view(&self, path: &str) -> serde_json::Value {
        let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer s3cret\r\n\r\n");
        serde_json::from_str(&client::try_request(self.process.admin(), &head).unwrap().text()).unwrap()
    }

    fn in_force(&self) -> serde_json::Value {
        self.view("/api/v1/configuration")
    }

    fn hash(&self) -> String {
        self.in_force()["hash"].as_str().unwrap().to_owned()
    }

    fn served(&self) -> String {
        client::get(self.web, "/").text()
    }

    fn kinds(&self) -> Vec<(String, String)> {
        let events = self.view("/api/v1/events")["events"].as_array().unwrap().clone();
        let text = |event: &serde_json::Value, key: &str| event[key].as_str().unwrap().to_owned();
        events.iter().map(|event| (text(event, "kind"), text(event, "message"))).collect()
    }

    /// The message of the last event of this kind.
    #[track_caller]
    fn event(&self, kind: &str) -> String {
        let found = self.kinds().into_iter().rev().find(|(it, _)| it == kind);
        found.unwrap_or_else(|| panic!("no {kind} in {:?}", self.kinds())).1
    }
}

fn config(web: SocketAddr, backend: SocketAddr, rest: &str) -> String {
    format!(
        "[listener.web]\nbind = \"{web}\"\npool = \"p\"\n[pool.p]\nbackends = [{{ name = \"b\", address = \"{backend}\" }}]\n\
         {rest}"
    )
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn assert_good(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}{}", out(output), errors(output));
}

#[test]
fn a_change_that_nobody_confirms_is_taken_back_to_the_last_byte() {
    let (a, b) = (Origin::http().reply("a").start(), Origin::http().reply("b").start());
    let lb = Guarded::start(a.addr(), "");
    let before = lb.hash();
    let load = Load::start(lb.web, "/", 2);
    let applied =
        lb.told(&["apply", &lb.draft(b.addr()), "--confirm", "2s", "--owner", "alice", "--reason", "new disk"]);
    assert_good(&applied);
    assert!(out(&applied).contains("unless it is confirmed"), "{}", out(&applied));
    eventually("the other backend answers", DEADLINE, || lb.served() == "b");
    let view = lb.in_force();
    assert_ne!(view["hash"], before.as_str());
    assert_eq!((&view["awaiting"]["owner"], &view["awaiting"]["before"]), (&"alice".into(), &1.into()));
    assert_eq!((&view["layers"][0]["layer"], &view["layers"][1]["layer"]), (&"files".into(), &"api".into()));
    assert_eq!(view["layers"][1]["reason"], "new disk");
    assert!(out(&lb.told(&["status"])).contains("waits for its confirmation"));

    eventually("the first backend answers again", DEADLINE, || lb.served() == "a");
    eventually("nothing waits any more", DEADLINE, || lb.in_force()["awaiting"].is_null());
    let view = lb.in_force();
    assert_eq!(view["hash"], before.as_str(), "all is as it was");
    assert_eq!(view["layers"].as_array().unwrap().len(), 1, "{view}");
    assert_eq!(view["taken_back"]["why"], "nobody has confirmed it in time");
    assert!(lb.event("applied").contains("generation 2"));
    assert!(lb.event("taken_back").contains("generation 2 is taken back, nobody has confirmed it in time"));
    let history = out(&lb.told(&["history"]));
    assert!(history.contains("apply, by alice: new disk") && history.contains("taking back 2"), "{history}");
    load.stop().assert_none_failed();
}

#[test]
fn a_change_that_is_confirmed_stays_until_the_files_are_read_again() {
    let (a, b) = (Origin::http().reply("a").start(), Origin::http().reply("b").start());
    let lb = Guarded::start(a.addr(), "");
    let files = lb.hash();
    assert_good(&lb.told(&["apply", &lb.draft(b.addr()), "--confirm", "1s"]));
    let confirmed = lb.told(&["confirm", "--owner", "bob"]);
    assert_good(&confirmed);
    assert!(out(&confirmed).contains("generation 2 is confirmed by bob"), "{}", out(&confirmed));
    let sent = lb.hash();
    assert!(lb.in_force()["awaiting"].is_null());
    let again = lb.told(&["confirm"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(errors(&again).contains("nothing waits for a confirmation"), "{}", errors(&again));
    let since = Instant::now();
    eventually("its time would be over", DEADLINE, || since.elapsed() > Duration::from_millis(1500));
    assert_eq!((lb.hash(), lb.served()), (sent, "b".to_owned()), "it stays");
    assert!(lb.event("confirmed").contains("by bob"));

    assert_good(&lb.told(&["reload"]));
    assert_eq!(lb.hash(), files, "a reload takes what the files say");
    eventually("the first backend answers again", DEADLINE, || lb.served() == "a");
}

#[test]
fn a_change_without_terms_stays_and_one_may_be_taken_back_by_hand() {
    let (a, b) = (Origin::http().reply("a").start(), Origin::http().reply("b").start());
    let lb = Guarded::start(a.addr(), "");
    let nothing = lb.told(&["take-back"]);
    assert!(errors(&nothing).contains("nothing waits"), "{}", errors(&nothing));
    let before = lb.hash();
    assert_good(&lb.told(&["apply", &lb.draft(b.addr()), "--confirm", "10m"]));
    let back = lb.told(&["take-back", "--owner", "carol"]);
    assert_good(&back);
    assert_eq!((lb.hash(), lb.in_force()["taken_back"]["why"].as_str()), (before, Some("wanted by carol")));
    let open = lb.told(&["apply", &lb.draft(b.addr())]);
    assert_good(&open);
    assert!(out(&open).contains("the next reload or start takes what they say"), "{}", out(&open));
    assert!(lb.in_force()["awaiting"].is_null());
    eventually("the other backend answers", DEADLINE, || lb.served() == "b");
}

#[test]
fn while_one_waits_nothing_else_changes() {
    let (a, b) = (Origin::http().reply("a").start(), Origin::http().reply("b").start());
    let lb = Guarded::start(a.addr(), "");
    assert_good(&lb.told(&["apply", &lb.draft(b.addr()), "--confirm", "10m", "--owner", "alice"]));
    let (sent, draft) = (lb.hash(), lb.draft(a.addr()));
    for command in [&["apply", &draft][..], &["apply", &draft, "--confirm", "1s"], &["reload"], &["rollback", "1"]] {
        let refused = lb.told(command);
        assert_eq!(refused.status.code(), Some(1), "{command:?}");
        let told = errors(&refused);
        assert!(told.contains("generation 2, by alice, waits for its confirmation until"), "{command:?}: {told}");
    }
    lb.process.signal("HUP");
    eventually("the signal is refused", DEADLINE, || lb.kinds().iter().any(|(kind, _)| kind == "reload_refused"));
    assert_eq!((lb.hash(), lb.served()), (sent, "b".to_owned()));
    assert_good(&lb.told(&["confirm"]));
    assert_good(&lb.told(&["reload"]));
}

#[test]
fn a_file_that_changes_meanwhile_is_read_afterwards() {
    let (a, b, c) =
        (Origin::http().reply("a").start(), Origin::http().reply("b").start(), Origin::http().reply("c").start());
    let lb = Guarded::start(a.addr(), "");
    // `watch` belongs to the top of the file.
    let watched = |backend| format!("watch = true\n{}", config(lb.web, backend, &lb.rest));
    assert!(lb.told(&["reload"]).status.success());
    lb.process.write_config(&watched(a.addr()));
    assert_good(&lb.told(&["reload"]));
    assert_good(&lb.told(&["apply", &lb.write(&watched(b.addr())), "--confirm", "2s"]));
    lb.process.write_config(&watched(c.addr()));
    eventually("it is taken back, and then the file is read", DEADLINE, || lb.served() == "c");
    assert!(lb.kinds().iter().any(|(kind, _)| kind == "taken_back"), "{:?}", lb.kinds());
}

#[test]
fn a_program_that_starts_anew_while_one_waits_goes_by_its_files() {
    let (a, b) = (Origin::http().reply("a").start(), Origin::http().reply("b").start());
    let mut lb = Guarded::start(a.addr(), "");
    lb.process.write_config(&format!("state_file = \"state.json\"\n{}", config(lb.web, a.addr(), &lb.rest)));
    assert_good(&lb.told(&["reload"]));
    assert_good(&lb.told(&["apply", &lb.draft(b.addr()), "--confirm", "10m"]));
    eventually("the other backend answers", DEADLINE, || lb.served() == "b");
    let text = fs::read_to_string(lb.process.config_path()).unwrap();
    lb.process.signal("KILL");
    lb.process.wait(DEADLINE);
    lb.process = Process::start(&text);
    assert_eq!(lb.served(), "a", "what was sent is in no file");
    assert!(lb.in_force()["awaiting"].is_null());
}

#[test]
fn a_pool_that_points_at_a_dead_port_under_load_is_taken_back_by_the_guard() {
    for check in ["", "check.up = { type = \"http\", path = \"/\", interval = \"200ms\", timeout = \"200ms\" }"] {
        let a = Origin::http().reply("a").start();
        let lb = Guarded::start(a.addr(), check);
        let before = lb.hash();
        let load = Load::start(lb.web, "/", 4);
        load.wait_for(200);
        let guard = "errors < 1%, p99 < 2x";
        let begun = Instant::now();
        assert_good(&lb.told(&["apply", &lb.draft(free_address()), "--confirm", "60s", "--guard", guard]));
        eventually("it is taken back", Duration::from_secs(12), || !lb.in_force()["taken_back"].is_null());
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(12), "the guard's window of ten seconds and two: {took:?}");
        assert_eq!(lb.hash(), before);
        let why = lb.in_force()["taken_back"]["why"].as_str().unwrap().to_owned();
        assert!(why.contains("its guard does not hold: ") && why.contains("p: "), "{why}");
        eventually("all is well again", DEADLINE, || lb.served() == "a");
        drop(load.stop());
    }
}

#[test]
fn a_good_change_passes_its_guard_and_confirms_itself_when_told_to() {
    let (a, b) = (Origin::http().reply("a").start(), Origin::http().reply("b").start());
    let lb = Guarded::start(a.addr(), "");
    let load = Load::start(lb.web, "/", 2);
    load.wait_for(50);
    let guard = "errors < 1%, p99 < 5s";
    let applied = lb.told(&["apply", &lb.draft(b.addr()), "--confirm", "3s", "--guard", guard, "--yes"]);
    assert_good(&applied);
    assert!(out(&applied).contains("generation 2 is confirmed"), "{}", out(&applied));
    assert_eq!(lb.served(), "b");
    load.stop().assert_none_failed();
}

#[test]
fn a_change_is_made_over_what_was_seen_or_not_at_all() {
    let (a, b) = (Origin::http().reply("a").start(), Origin::http().reply("b").start());
    let lb = Guarded::start(a.addr(), "");
    let seen = lb.hash();
    let head = "GET /api/v1/configuration HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer s3cret\r\n\r\n";
    let answer = client::try_request(lb.process.admin(), head).unwrap();
    assert_eq!(answer.header("etag"), Some(format!("\"{seen}\"").as_str()));
    assert_good(&lb.told(&["apply", &lb.draft(b.addr()), "--only-over", &seen]));
    let stale = lb.told(&["apply", &lb.draft(a.addr()), "--only-over", &seen]);
    assert_eq!(stale.status.code(), Some(1));
    assert!(errors(&stale).contains("something else is in force by now"), "{}", errors(&stale));
    for (path, tag, status) in [
        ("/api/v1/reload", format!("\"{seen}\""), 412),
        ("/api/v1/generations/1/rollback", format!("W/\"{}\"", lb.hash()), 412),
        ("/api/v1/reload", format!("\"x\", \"{}\"", lb.hash()), 200),
        ("/api/v1/reload", "*".to_owned(), 200),
    ] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer s3cret\r\nX-Evenkeel-Request: 1\r\n\
             If-Match: {tag}\r\nContent-Length: 0\r\n\r\n"
        );
        assert_eq!(client::try_request(lb.process.admin(), &head).unwrap().status, status, "{path} {tag}");
    }
}

#[test]
fn nobody_sends_a_configuration_to_a_port_that_everybody_reaches() {
    let a = Origin::http().reply("a").start();
    let web = free_address();
    let process = Process::start(&config(web, a.addr(), ""));
    let refused = run(&[
        "apply",
        &process.config_path().display().to_string(),
        "--admin",
        &format!("http://{}", process.admin()),
    ]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(errors(&refused).contains("token_file"), "{}", errors(&refused));
}

#[test]
fn what_is_wrong_is_refused_before_anything_changes() {
    let a = Origin::http().reply("a").start();
    let lb = Guarded::start(a.addr(), "");
    let good = config(lb.web, a.addr(), &lb.rest);
    let before = lb.hash();
    let bad = lb.write(&good.replace("backends", "bakends"));
    let refused = lb.told(&["apply", &bad, "--confirm", "60s"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(errors(&refused).contains("did you mean `backends`?"), "{}", errors(&refused));
    let failing =
        lb.write(&format!("{good}\n[[test]]\nrequest = 'GET http://{}/'\nexpect = {{ status = 404 }}\n", lb.web));
    let refused = lb.told(&["apply", &failing]);
    assert!(errors(&refused).contains("goes to pool `p`"), "{}", errors(&refused));
    let draft = lb.write(&good);
    for (arguments, why) in [
        (&["--guard", "errors < 1%"][..], "--confirm"),
        (&["--confirm", "60s", "--guard", "errors"], "no `<` in it"),
        (&["--confirm", "0s"], "1s to 24h"),
        (&["--yes"], "--confirm"),
    ] {
        let refused = lb.told(&[&["apply", &draft], arguments].concat());
        assert!(!refused.status.success() && errors(&refused).contains(why), "{arguments:?}: {}", errors(&refused));
    }
    assert_eq!((lb.hash(), lb.in_force()["generation"].as_u64()), (before, Some(1)));
}
