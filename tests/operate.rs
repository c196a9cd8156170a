//! Orders of operators: what they do, whose they are, that they survive a reload and a restart, and that they end.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use evenkeel::admin::orders::OverridesView;
use evenkeel::admin::view::{BackendView, PoolView};
use support::eventually::DEADLINE;
use support::process::{PROGRAM, run};
use support::{Client, Origin, Process, client, eventually};

/// A pool of two backends with a check each.
struct Scene {
    a: Origin,
    _b: Origin,
    balancer: Process,
}

fn config(a: &Origin, b: &Origin, top: &str, pool: &str) -> String {
    let listen = support::process::free_address();
    format!(
        "{top}\nworkers = 1\n[listener.web]\nbind = '{listen}'\npool = 'p'\n\
         [pool.p]\nbackends = [{{ name = 'a', address = '{}' }}, {{ name = 'b', address = '{}' }}]\n{pool}\n\
         [pool.p.check.home]\ntype = 'http'\ninterval = '100ms'\ntimeout = '100ms'\nfall = 1\nrise = 1\n",
        a.addr(),
        b.addr()
    )
}

impl Scene {
    fn new(top: &str, pool: &str) -> Self {
        let (a, b) = (Origin::http().reply("a").start(), Origin::http().reply("b").start());
        let balancer = Process::start(&config(&a, &b, top, pool));
        let scene = Self { a, _b: b, balancer };
        scene.until("a is up", "a", |view| view.state == "up" && view.gets_work);
        scene.until("b is up", "b", |view| view.state == "up");
        scene
    }

    /// With a state file in the program's folder.
    fn with_file(pool: &str) -> Self {
        Self::new("state_file = 'state.json'", pool)
    }

    fn order(&self, arguments: &[&str]) -> Output {
        run(&[arguments, &["--admin", &self.balancer.admin().to_string()]].concat())
    }

    #[track_caller]
    fn done(&self, arguments: &[&str]) -> String {
        let ran = self.order(&[arguments, &["--owner", "alice"]].concat());
        assert!(ran.status.success(), "{arguments:?}: {}", text(&ran.stderr));
        text(&ran.stdout) + &text(&ran.stderr)
    }

    #[track_caller]
    fn refused(&self, arguments: &[&str]) -> String {
        let ran = self.order(&[arguments, &["--owner", "bob"]].concat());
        assert_eq!(ran.status.code(), Some(1), "{arguments:?}: {}", text(&ran.stdout));
        text(&ran.stderr)
    }

    fn view(&self, backend: &str) -> BackendView {
        let path = format!("/api/v1/pools/p/backends/{backend}");
        serde_json::from_slice(&client::get(self.balancer.admin(), &path).body).unwrap()
    }

    fn pool(&self) -> PoolView {
        serde_json::from_slice(&client::get(self.balancer.admin(), "/api/v1/pools/p").body).unwrap()
    }

    fn overrides(&self) -> OverridesView {
        serde_json::from_slice(&client::get(self.balancer.admin(), "/api/v1/overrides").body).unwrap()
    }

    #[track_caller]
    fn until(&self, what: &str, backend: &str, condition: impl Fn(&BackendView) -> bool) {
        eventually(what, DEADLINE, || condition(&self.view(backend)));
    }

    fn web(&self) -> std::net::SocketAddr {
        let line = self.balancer_config().lines().find(|line| line.starts_with("bind")).unwrap().to_owned();
        line.split('\'').nth(1).unwrap().parse().unwrap()
    }

    fn balancer_config(&self) -> String {
        fs::read_to_string(self.balancer.config_path()).unwrap()
    }

    /// The same configuration in a new process, with the same folder.
    fn restart(&mut self) {
        let state = self.state_file();
        let config = self.balancer_config();
        assert!(self.balancer.stop().success());
        let next = Process::spawn(&config.replace("'state.json'", &format!("'{}'", state.display())));
        // The folder of the one before holds the file.
        let before = std::mem::replace(&mut self.balancer, next);
        eventually("the program is ready", DEADLINE, || {
            client::try_get(self.balancer.admin(), "/readyz").is_ok_and(|response| response.status == 200)
        });
        std::mem::forget(before);
    }

    fn state_file(&self) -> std::path::PathBuf {
        self.balancer.folder().join("state.json")
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

// === what orders do ===

#[test]
fn drain_gives_no_new_work_and_ready_takes_it_back() {
    let scene = Scene::new("", "");
    let said = scene.done(&["drain", "p/a", "--reason", "new disk"]);
    assert!(said.contains("p/a: drain, by alice: new disk"), "{said}");
    assert!(said.contains("does not survive a restart"), "without a file, that is said: {said}");
    let view = scene.view("a");
    assert!(view.state == "draining" && !view.gets_work, "who has the answer may rely on it: {}", view.state);
    let before = scene.a.request_count();
    let served: Vec<_> = (0..20).map(|_| client::get(scene.web(), "/x").text()).collect();
    assert!(served.iter().all(|body| body == "b"), "{served:?}");
    assert_eq!(scene.a.requests_for("/x"), 0, "{before}");
    let status = text(&scene.order(&["status"]).stdout);
    assert!(status.contains("! a: drain by alice") && status.contains("new disk"), "{status}");
    scene.done(&["ready", "p/a"]);
    scene.until("a is up", "a", |view| view.state == "up" && view.gets_work);
    let again = scene.done(&["ready", "p/a"]);
    assert!(again.contains("nothing of the kind"), "{again}");
}

#[test]
fn maintenance_stands_whatever_the_checks_say() {
    let scene = Scene::new("", "");
    scene.done(&["maintenance", "p/a"]);
    assert_eq!(scene.view("a").state, "maintenance");
    scene.a.stop();
    scene.a.start_again();
    scene.until("b serves", "b", |view| view.gets_work);
    assert_eq!(scene.view("a").state, "maintenance");
    scene.done(&["ready", "p/a"]);
    scene.until("a is up", "a", |view| view.state == "up");
}

#[test]
fn a_weight_shifts_the_work() {
    let scene = Scene::new("", "balance = 'round-robin'");
    scene.done(&["weight", "p/a", "25%"]);
    assert_eq!(scene.view("a").share_percent, 25);
    let served: Vec<_> = (0..50).map(|_| client::get(scene.web(), "/").text()).collect();
    let of_a = served.iter().filter(|body| *body == "a").count();
    assert!((5..=15).contains(&of_a), "{of_a} of 50");
    scene.done(&["weight", "p/a", "--reset"]);
    scene.until("a has all of it", "a", |view| view.share_percent == 100);
}

#[test]
fn promote_moves_the_work_of_an_active_standby_pool_and_back() {
    let scene = Scene::new("", "mode = 'active-standby'\nfailback = 'never'");
    eventually("a is active", DEADLINE, || scene.pool().active.as_deref() == Some("a"));
    let said = scene.done(&["promote", "p", "b"]);
    assert!(said.contains("p/b: promote, by alice"), "{said}");
    assert_eq!(scene.pool().active.as_deref(), Some("b"));
    assert_eq!(client::get(scene.web(), "/").text(), "b");
    let status = text(&scene.order(&["status"]).stdout);
    assert!(status.contains("b is active") && status.contains("! b: promote by alice"), "{status}");
    scene.done(&["demote", "p", "b"]);
    eventually("a is active again", DEADLINE, || scene.pool().active.as_deref() == Some("a"));
    assert_eq!(scene.overrides().overrides.len(), 1, "the demotion took the place of the promotion");
}

// === what is refused ===

#[test]
fn what_makes_no_sense_is_refused_with_the_reason() {
    let scene = Scene::new("", "");
    for (arguments, words) in [
        (&["promote", "p", "a"][..], "every backend of pool `p` that is up gets work"),
        (&["drain", "q/a"], "there is no pool `q`"),
        (&["drain", "p/aa"], "did you mean `a`?"),
        (&["weight", "p/a", "2000%"], "1000 at most"),
    ] {
        let said = scene.refused(arguments);
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    for arguments in
        [&["drain", "p"][..], &["weight", "p/a"], &["weight", "p/a", "half"], &["drain", "p/a", "--for", "2"]]
    {
        assert_eq!(scene.order(arguments).status.code(), Some(2), "{arguments:?} is no command");
    }
    scene.done(&["drain", "p/a"]);
    let said = scene.refused(&["drain", "p/b"]);
    assert!(said.contains("last backend of pool `p` that is up"), "{said}");
    let said = scene.refused(&["maintenance", "p/a"]);
    assert!(said.contains("drain by alice") && said.contains("--force"), "{said}");
    let said = scene.refused(&["ready", "p/a"]);
    assert!(said.contains("drain by alice"), "{said}");
    assert!(scene.order(&["maintenance", "p/a", "--owner", "bob", "--force"]).status.success());
    scene.until("bob's order stands", "a", |view| view.overrides.len() == 1 && view.overrides[0].owner == "bob");
}

// === that they last, and that they end ===

#[test]
fn orders_survive_a_reload_and_a_restart() {
    let mut scene = Scene::with_file("mode = 'active-standby'\nfailback = 'at once'");
    let said = scene.done(&["promote", "p", "b", "--reason", "new disk in a", "--for", "1h"]);
    assert!(!said.contains("survive"), "{said}");
    eventually("b is active", DEADLINE, || scene.pool().active.as_deref() == Some("b"));
    let reloaded = text(&run(&["reload", "--admin", &scene.balancer.admin().to_string()]).stdout);
    assert!(reloaded.contains("1 order of operators as before"), "{reloaded}");
    assert_eq!(scene.pool().active.as_deref(), Some("b"));
    assert_eq!(fs::metadata(scene.state_file()).unwrap().permissions().mode() & 0o777, 0o600);

    scene.restart();
    eventually("b is active after the restart", DEADLINE, || scene.pool().active.as_deref() == Some("b"));
    let view = scene.overrides();
    assert_eq!((view.overrides.len(), view.warning), (1, None));
    let order = &view.overrides[0];
    assert_eq!((order.owner.as_str(), order.reason.as_str()), ("alice", "new disk in a"));
    assert!(order.left_seconds.is_some_and(|left| (3_000.0..3_600.0).contains(&left)), "{order:?}");
}

#[test]
fn who_is_active_survives_a_restart() {
    let mut scene = Scene::with_file("mode = 'active-standby'\nfailback = 'never'");
    scene.a.stop();
    eventually("b is active", DEADLINE, || scene.pool().active.as_deref() == Some("b"));
    scene.a.start_again();
    scene.until("a is well again", "a", |view| view.state == "up");
    assert_eq!(scene.pool().active.as_deref(), Some("b"));
    eventually("it stands in the file", DEADLINE, || {
        fs::read_to_string(scene.state_file()).is_ok_and(|text| text.contains("\"p\": \"b\""))
    });
    scene.restart();
    scene.until("a is well", "a", |view| view.state == "up");
    assert_eq!(scene.pool().active.as_deref(), Some("b"), "the incumbent stays");
}

#[test]
fn an_order_ends_by_itself() {
    let scene = Scene::with_file("");
    scene.done(&["drain", "p/a", "--for", "300ms"]);
    scene.until("a drained and is up again", "a", |view| view.state == "up" && view.overrides.is_empty());
    let events = text(&scene.order(&["events"]).stdout);
    assert!(events.contains("override_expired") && events.contains("its time is over: drain by alice"), "{events}");
    eventually("it has left the file", DEADLINE, || {
        fs::read_to_string(scene.state_file()).is_ok_and(|text| !text.contains("drain"))
    });
}

#[test]
fn an_order_on_a_backend_that_is_gone_is_kept_and_shown() {
    let scene = Scene::with_file("");
    scene.done(&["maintenance", "p/a", "--reason", "gone"]);
    let whole = scene.balancer_config();
    let without = whole.replace(&format!("{{ name = 'a', address = '{}' }}, ", scene.a.addr()), "");
    assert!(run_reload(&scene, &without).status.success());
    let status = text(&scene.order(&["status"]).stdout);
    assert!(status.contains("orders without effect now") && status.contains("no backend `a` now"), "{status}");
    assert!(run_reload(&scene, &whole).status.success());
    scene.until("it is obeyed again", "a", |view| view.state == "maintenance");
    assert!(run_reload(&scene, &without).status.success());
    scene.done(&["ready", "p/a"]);
    assert_eq!(scene.overrides().overrides, []);
}

fn run_reload(scene: &Scene, config: &str) -> Output {
    fs::write(scene.balancer.config_path(), config).unwrap();
    run(&["reload", "--admin", &scene.balancer.admin().to_string()])
}

#[test]
fn a_state_file_that_cannot_be_understood_stops_the_start_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.json");
    let config = folder.path().join("evenkeel.toml");
    let text_of =
        "admin.bind = 'off'\nlistener.web = { bind = '127.0.0.1:0', pool = 'p' }\npool.p.backends = ['127.0.0.1:1']\n";
    fs::write(&config, format!("state_file = '{}'\n{text_of}", state.display())).unwrap();
    for (content, words) in [("{ \"version\": 99 }", "version 99"), ("half a fi", "not what evenkeel wrote")] {
        fs::write(&state, content).unwrap();
        let ran = run(&["run", config.to_str().unwrap()]);
        assert_eq!(ran.status.code(), Some(1));
        let said = text(&ran.stderr);
        assert!(said.contains(words) && said.contains("mv "), "{said}");
        assert_eq!(fs::read_to_string(&state).unwrap(), content);
    }
}

#[test]
fn a_state_file_that_cannot_be_written_is_said_and_the_order_stands() {
    let scene = Scene::with_file("");
    // A folder where the new file is written first: also root cannot write it.
    fs::create_dir(scene.balancer.folder().join("state.json.new")).unwrap();
    let said = scene.done(&["drain", "p/a"]);
    assert!(said.contains("does not survive a restart") && said.contains("cannot be written"), "{said}");
    scene.until("a drains all the same", "a", |view| view.state == "draining");
    assert!(scene.balancer.metric("evenkeel_state_file_writes_total{result=\"failed\"}").unwrap() >= 1.0);
    assert!(scene.balancer.stderr().contains("the state file cannot be written"), "{}", scene.balancer.stderr());
    assert!(scene.overrides().warning.unwrap().contains("cannot be written"));
    fs::remove_dir(scene.balancer.folder().join("state.json.new")).unwrap();
    let said = scene.done(&["weight", "p/a", "10%"]);
    assert!(!said.contains("survive"), "{said}");
    assert!(fs::read_to_string(scene.state_file()).unwrap().contains("\"drain\""));
}

// === drain --wait ===

#[test]
fn drain_waits_until_the_backend_may_be_stopped() {
    let scene = Scene::new("", "");
    // An idle connection to each, and a request under way at a.
    (0..2).for_each(|_| assert_eq!(client::get(scene.web(), "/").status, 200));
    let slow = Origin::http().reply("slow a").delay(Duration::from_millis(700));
    scene.a.becomes(Origin::http().reply("a").at("/slow", slow));
    let mut clients: Vec<Client> = (0..2).map(|_| Client::connect(scene.web())).collect();
    for client in &mut clients {
        client.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    scene.until("a has work", "a", |view| view.in_flight > 0);
    let said = scene.done(&["drain", "p/a", "--wait", "--deadline", "30s"]);
    assert!(said.contains("1 in flight") && said.contains("p/a may be stopped now"), "{said}");
    let view = scene.view("a");
    assert_eq!((view.in_flight, view.idle_connections, view.cut), (0, 0, 0));
    let answers: Vec<_> = clients.iter_mut().map(|client| client.read_response().text()).collect();
    assert!(answers.contains(&"slow a".to_owned()), "what was under way was finished: {answers:?}");
    eventually("no probe and no idle connection is left", DEADLINE, || scene.a.open_connections() <= 1);
}

#[test]
fn at_its_deadline_a_drain_cuts_what_is_left_and_counts_it() {
    let scene = Scene::new("", "");
    scene.a.becomes(Origin::http().at("/stall", Origin::http().stalls_before_answer()));
    // A GET would go elsewhere, and nothing would be lost.
    let mut clients: Vec<Client> = (0..2).map(|_| Client::connect(scene.web())).collect();
    for client in &mut clients {
        client.send("POST /stall HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    }
    scene.until("a has work", "a", |view| view.in_flight > 0);
    let said = scene.done(&["drain", "p/a", "--wait", "--deadline", "500ms"]);
    assert!(said.contains("p/a may be stopped now") && said.contains("1 session was cut"), "{said}");
    assert!(scene.balancer.metric("evenkeel_backend_cut_total{pool=\"p\",backend=\"a\"}").unwrap() >= 1.0);
    let events = text(&run(&["events", "--admin", &scene.balancer.admin().to_string()]).stdout);
    let sentence =
        "the time of its drain is over: 1 request or connection left, tried elsewhere where that is safe, else cut";
    assert!(events.lines().any(|line| line.contains("cut") && line.contains(sentence)), "{events}");
    assert_eq!(scene.balancer.stderr().matches(sentence).count(), 1, "{}", scene.balancer.stderr());
}

#[test]
fn giving_up_to_wait_leaves_the_drain_in_force() {
    let scene = Scene::new("", "");
    scene.a.becomes(Origin::http().at("/stall", Origin::http().stalls_before_answer()));
    let mut clients: Vec<Client> = (0..2).map(|_| Client::connect(scene.web())).collect();
    for client in &mut clients {
        client.send("GET /stall HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    scene.until("a has work", "a", |view| view.in_flight > 0);
    let mut waiting = Command::new(PROGRAM)
        .args(["drain", "p/a", "--wait", "--admin", &scene.balancer.admin().to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(waiting.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("1 in flight")), "it says how far it is");
    assert!(Command::new("kill").args(["-INT", &waiting.id().to_string()]).status().unwrap().success());
    let output = waiting.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("p/a stays in drain"), "{}", text(&output.stderr));
    assert_eq!(scene.view("a").state, "draining");
}
