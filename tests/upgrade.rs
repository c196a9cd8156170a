//! Another process of the program takes over, or does not: what is open lives on, nobody is refused, and what was known and
//! counted goes on.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::float_cmp, reason = "counters are whole numbers")]

mod support;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::client::{self, websocket};
use support::eventually::{DEADLINE, eventually_some};
use support::process::{self, PROGRAM, free_address};
use support::{Client, Load, Origin, Process, eventually};

/// Of each kind, open all the time.
const SESSIONS: usize = 50;
const UPGRADES: usize = 6;

/// The first process, and those that come after it with the same configuration file.
struct Line {
    first: Process,
    later: Vec<Child>,
}

impl Line {
    #[track_caller]
    fn start(config: &str) -> Self {
        Self {
            first: Process::start(&format!("{config}\n[upgrade]\nsocket = 'up.sock'\ntimeout = '5s'\n")),
            later: Vec::new(),
        }
    }

    fn socket(&self) -> PathBuf {
        self.first.folder().join("up.sock")
    }

    fn metric(&self, name_and_labels: &str) -> f64 {
        self.first.metric(name_and_labels).unwrap_or_else(|| panic!("no {name_and_labels}"))
    }

    fn generation(&self) -> f64 {
        self.metric("evenkeel_config_generation")
    }

    /// One more process, which is to take over; its log stands in `later-N`.
    fn next(&mut self) {
        let log = self.first.folder().join(format!("later-{}", self.later.len()));
        let child = Command::new(PROGRAM)
            .args(["run", "--takeover", "up.sock", "evenkeel.toml"])
            .current_dir(self.first.folder())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(log).unwrap())
            .spawn()
            .unwrap();
        self.later.push(child);
    }

    fn log(&self, later: usize) -> String {
        fs::read_to_string(self.first.folder().join(format!("later-{later}"))).unwrap()
    }

    #[track_caller]
    fn upgrade(&mut self) {
        let before = self.generation();
        self.next();
        eventually("the new process has taken over", DEADLINE, || {
            self.first.metric("evenkeel_config_generation").is_some_and(|now| now > before)
        });
    }

    /// The last of them does not take over, says this, and the first one goes on.
    #[track_caller]
    fn last_fails(&mut self, said_by_it: &str, said_by_the_first: &str) {
        let status = eventually_some("it ends", DEADLINE, || self.later.last_mut().unwrap().try_wait().unwrap());
        assert!(!status.success(), "{status}");
        let log = self.log(self.later.len() - 1);
        assert!(log.contains(said_by_it), "{log}");
        eventually("the first one says why", DEADLINE, || self.first.stderr().contains(said_by_the_first));
        assert!(!self.first.has_ended());
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        for child in &mut self.later {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn two_listeners(web: SocketAddr, tcp: SocketAddr, http: &Origin, echo: &Origin, rest: &str) -> String {
    format!(
        "workers = 2\nshutdown.drain = '60s'\n\
         [listener.web]\nbind = '{web}'\npool = 'web'\n\
         [listener.tcp]\nbind = '{tcp}'\nprotocol = 'tcp'\npool = 'tcp'\n\
         [pool.web]\nbackends = [{{ name = 'a', address = '{}' }}]\ncheck.c = {{ type = 'http', interval = '60s' }}\n\
         [pool.tcp]\nbackends = ['{}']\n{rest}",
        http.addr(),
        echo.addr()
    )
}

#[test]
fn sessions_live_on_and_no_request_fails_through_upgrades_with_other_numbers_of_workers() {
    let (http, echo) = (Origin::http().upgrade_echo().start(), Origin::echo().start());
    let (web, tcp) = (free_address(), free_address());
    let config = two_listeners(web, tcp, &http, &echo, "");
    let mut line = Line::start(&config);
    let probes = "evenkeel_backend_probes_total{pool=\"web\",backend=\"a\",result=\"good\"}";
    let answers = "evenkeel_backend_requests_total{pool=\"web\",backend=\"a\",code=\"2xx\"}";
    assert_eq!(line.metric(probes), 1.0);
    let mut sockets: Vec<Client> = (0..SESSIONS).map(|_| websocket(web, "/live")).collect();
    let mut streams: Vec<Client> = (0..SESSIONS).map(|_| Client::connect(tcp)).collect();
    let mut idle = Client::connect(web);
    assert_eq!(idle.get("/").status, 200);
    // Two keep their connections, two connect for each request: both sides of a handover are met in the act.
    let load = [Load::start(web, "/", 2), Load::start(web, "/?close", 1)];
    let mut counted = line.metric(answers);
    for upgrade in 0..UPGRADES {
        let workers = [1, 4, 3][upgrade % 3];
        let file = fs::read_to_string(line.first.config_path()).unwrap();
        let (_, rest) = file.split_once('\n').unwrap();
        fs::write(line.first.config_path(), format!("workers = {workers}\n{rest}")).unwrap();
        line.upgrade();
        let now = line.metric(answers);
        assert!(now >= counted, "the counter went back from {counted} to {now}");
        counted = now;
        for session in sockets.iter_mut().chain(&mut streams) {
            assert!(session.echoes("still there"), "a session is lost: {}", line.log(upgrade));
        }
    }
    // One that was idle all the time asks the first process, which answers and says that it is the last time.
    let last = idle.get("/");
    assert_eq!((last.status, last.header("connection")), (200, Some("close")));
    for load in load {
        load.wait_for(20);
        load.stop().assert_none_failed();
    }
    assert_eq!(line.metric(probes), 1.0, "nobody had to ask again");
    assert_eq!(line.metric("evenkeel_backend_transitions_total{pool=\"web\",backend=\"a\",to=\"up\"}"), 1.0);
    // What the first process has counted last comes by way of all the others.
    let sessions = "evenkeel_listener_connections_total{listener=\"tcp\"}";
    assert_eq!(line.metric(sessions), SESSIONS as f64);
    let total = http.request_count() as f64 - 1.0 - SESSIONS as f64;
    eventually("all is counted", DEADLINE, || line.metric(answers) >= total);
    assert_eq!(line.metric(answers), total);
    let received = "evenkeel_pool_received_bytes_total{pool=\"tcp\"}";
    let before = line.metric(received);
    assert!(streams[0].echoes("four"));
    drop((sockets, streams));
    eventually("the last word is counted", DEADLINE, || line.metric(received) >= before + 4.0);
    let status = line.first.wait(DEADLINE);
    assert!(status.success(), "{}", line.first.stderr());
}

#[test]
fn usr2_starts_the_file_anew_and_the_new_process_knows_what_the_old_one_knew() {
    let (http, echo) = (Origin::http().start(), Origin::echo().start());
    let (web, tcp) = (free_address(), free_address());
    let mut process = Process::start(&two_listeners(web, tcp, &http, &echo, ""));
    let admin = process.admin().to_string();
    let whom = format!("tcp/{}", echo.addr());
    let drained = process::run(&["drain", &whom, "--owner", "me", "--reason", "disk", "--force", "--admin", &admin]);
    assert!(drained.status.success(), "{}", String::from_utf8_lossy(&drained.stderr));
    let mut kept = Client::connect(web);
    assert_eq!(kept.get("/").status, 200);
    process.signal("USR2");
    eventually("another process has taken over", DEADLINE, || {
        process.metric("evenkeel_config_generation") == Some(2.0)
    });
    assert_eq!(kept.get("/").status, 200);
    drop(kept);
    assert!(process.wait(DEADLINE).success(), "{}", process.stderr());
    let overrides = client::get(process.admin(), "/api/v1/overrides").text();
    assert!(overrides.contains("disk") && overrides.contains("\"me\""), "{overrides}");
    assert_eq!(process.metric("evenkeel_config_generation"), Some(2.0));
    let history = client::get(process.admin(), "/api/v1/generations").text();
    assert!(history.contains("\"number\":1") && history.contains("\"number\":2"), "{history}");
    let answers = "evenkeel_backend_requests_total{pool=\"web\",backend=\"a\",code=\"2xx\"}";
    assert_eq!(process.metric(answers), Some(2.0));
    kill_whoever_answers(&process);
}

#[test]
fn what_is_not_ready_leaves_everything_as_it_was() {
    let (http, echo) = (Origin::http().start(), Origin::echo().start());
    let (web, tcp) = (free_address(), free_address());
    let mut line = Line::start(&two_listeners(web, tcp, &http, &echo, ""));
    let load = Load::start(web, "/", 2);
    let good = fs::read_to_string(line.first.config_path()).unwrap();
    let set = |line: &Line, text: &str| fs::write(line.first.config_path(), text).unwrap();

    // A configuration with a problem never gets as far as the socket; USR2 brings it to the old one's own log.
    set(&line, &good.replace("pool = 'web'", "pool = 'wed'"));
    line.next();
    let ended = eventually_some("it ends", DEADLINE, || line.later[0].try_wait().unwrap());
    assert_eq!(ended.code(), Some(1));
    line.first.signal("USR2");
    eventually("the old one says why", DEADLINE, || line.first.stderr().contains("(exit status: 1)"));
    assert!(line.first.stderr().contains("did you mean `web`?"), "{}", line.first.stderr());

    // An address that it cannot have.
    let taken = std::net::TcpListener::bind(free_address()).unwrap();
    let more = format!("[listener.more]\nbind = '{}'\npool = 'web'\n", taken.local_addr().unwrap());
    set(&line, &format!("{good}\n{more}"));
    line.next();
    line.last_fails("another program listens there", "it says: listener `more` cannot listen");

    // Killed, or silent, before it is ready: a backend that says nothing keeps it from that.
    let dead = Origin::http().stalls_before_answer().start();
    let waits = format!(
        "{good}\n[pool.slow]\nbackends = ['{}']\ncheck.c = {{ type = 'http', timeout = '60s', interval = '60s' }}\n[listener.slow]\nbind = '{}'\npool = 'slow'\n",
        dead.addr(),
        free_address()
    );
    set(&line, &waits);
    line.next();
    eventually("it probes", DEADLINE, || {
        assert!(line.later[2].try_wait().unwrap().is_none(), "{}", line.log(2));
        dead.connections() > 0
    });
    line.later.last_mut().unwrap().kill().unwrap();
    line.last_fails("", "it ended before it was ready");
    line.next();
    line.last_fails("does not hand over: it did not become ready within 5s", "it did not become ready within 5s");

    // And after all that, one that is good takes over.
    set(&line, &good);
    line.upgrade();
    load.wait_for(20);
    load.stop().assert_none_failed();
    assert!(line.first.wait(DEADLINE).success());
}

#[test]
fn while_a_change_waits_for_its_confirmation_nobody_takes_over() {
    let (http, echo) = (Origin::http().start(), Origin::echo().start());
    let (web, tcp) = (free_address(), free_address());
    let (folder, admin) = (tempfile::tempdir().unwrap(), free_address().to_string());
    let token = folder.path().join("token").display().to_string();
    fs::write(&token, "s3cret\n").unwrap();
    let rest = format!("[admin]\nbind = \"{admin}\"\ntoken_file = \"{token}\"\n");
    let mut line = Line::start(&two_listeners(web, tcp, &http, &echo, &rest));
    let told = |arguments: &[&str]| {
        let whom = ["--owner", "me", "--admin", &admin, "--token-file", &token];
        let done = process::run(&[arguments, &whom].concat());
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    let draft = line.first.folder().join("draft");
    let file = fs::read_to_string(line.first.config_path()).unwrap();
    fs::write(&draft, format!("{file}\n[pool.more]\nbackends = ['{}']\n", echo.addr())).unwrap();
    told(&["apply", draft.to_str().unwrap(), "--confirm", "10m"]);
    line.next();
    line.last_fails("generation 2, by me, waits for its confirmation until", "");
    line.first.signal("USR2");
    let said = "this one goes on: generation 2, by me, waits for its confirmation until";
    eventually("the old one says why", DEADLINE, || line.first.stderr().contains(said));
    told(&["confirm"]);
    line.next();
    eventually("the new process has taken over", DEADLINE, || line.log(1).contains("has taken over from process"));
    assert_eq!(client::get(web, "/").status, 200);
}

#[test]
fn strangers_at_the_socket_are_answered_by_a_sentence_and_change_nothing() {
    let (http, echo) = (Origin::http().start(), Origin::echo().start());
    let (web, tcp) = (free_address(), free_address());
    let mut line = Line::start(&two_listeners(web, tcp, &http, &echo, ""));
    let say = |bytes: &[u8]| {
        let mut stream = UnixStream::connect(line.socket()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        // It may hang up in the middle of what is too long.
        let _ = stream.write_all(bytes);
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard);
        String::from_utf8_lossy(&heard).into_owned()
    };
    let frame = |text: &str| [&u32::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat();
    for (bytes, answer) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "where at most 4096 may come"),
        (vec![0xff; 1_000_000], "where at most 4096 may come"),
        (frame("{}"), "this is no message of an evenkeel"),
        (frame(&"[".repeat(4_000)), "this is no message of an evenkeel"),
        (frame(r#"{"say":"ready","taken":[]}"#), "this was not to be said now"),
        (
            frame(r#"{"say":"hello","program":"evenkeel","form":7,"version":"9.0.0","pid":1}"#),
            "evenkeel 9.0.0 hands over in form 7, and this evenkeel",
        ),
    ] {
        let heard = say(&bytes);
        assert!(heard.contains(answer), "{heard}");
        assert_eq!(client::get(web, "/").status, 200);
    }
    // One that says nothing is in the way of others for a moment only, and is told of.
    let silent = UnixStream::connect(line.socket()).unwrap();
    eventually("somebody is being heard", DEADLINE, || say(b"").contains("another process is taking over already"));
    let order = ["maintenance", "web/a", "--admin", &line.first.admin().to_string()];
    let refused = process::run(&order);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("another process is taking over"));
    drop(silent);
    eventually("orders are taken again", DEADLINE, || {
        process::run(&["weight", "web/a", "50", "--admin", &line.first.admin().to_string()]).status.success()
    });
    line.upgrade();
    assert_eq!(client::get(web, "/").status, 200);
}

#[test]
fn sockets_with_files_datagrams_and_the_admin_port_change_hands() {
    let (udp_backend, udp) = (UdpSocket::bind("127.0.0.1:0").unwrap(), free_address());
    let echo = Origin::echo().start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web.sock");
    let config = format!(
        "workers = 2\nshutdown.drain = '2s'\n[listener.u]\nbind = 'unix:{}'\nprotocol = 'tcp'\npool = 't'\n[pool.t]\nbackends = ['{}']\n\
         [listener.d]\nbind = '{udp}'\nprotocol = 'udp'\npool = 'd'\n[pool.d]\nbackends = ['{}']\n",
        file.display(),
        echo.addr(),
        udp_backend.local_addr().unwrap()
    );
    let mut line = Line::start(&config);
    let ask = |client: &UdpSocket| {
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client.send_to(b"ping", udp).unwrap();
        let mut room = [0; 16];
        let (_, from) = udp_backend.recv_from(&mut room).unwrap();
        udp_backend.send_to(b"pong", from).unwrap();
        let (length, _) = client.recv_from(&mut room).unwrap();
        assert_eq!(&room[..length], b"pong");
    };
    let talk = |stream: &mut UnixStream| {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(b"hear").unwrap();
        let mut room = [0; 4];
        stream.read_exact(&mut room).unwrap();
        assert_eq!(&room, b"hear");
    };
    let clients: Vec<UdpSocket> = (0..8).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    let mut old = UnixStream::connect(&file).unwrap();
    talk(&mut old);
    clients.iter().for_each(ask);
    for _ in 0..2 {
        line.upgrade();
        talk(&mut old);
        talk(&mut UnixStream::connect(&file).unwrap());
        clients.iter().for_each(ask);
    }
    drop(old);
    assert!(line.first.wait(DEADLINE).success());
    assert!(file.exists(), "it is another process's file");
    talk(&mut UnixStream::connect(&file).unwrap());
    let pid = line.later.last().unwrap().id();
    Command::new("kill").arg(pid.to_string()).status().unwrap();
    eventually("the last one ends", DEADLINE, || line.later.last_mut().unwrap().try_wait().unwrap().is_some());
    assert!(!file.exists() && !line.socket().exists(), "the last one takes the files away");
}

#[test]
fn without_anybody_to_take_over_from_it_starts_as_usual() {
    let (http, web) = (Origin::http().start(), free_address());
    let folder = tempfile::tempdir().unwrap();
    let admin = free_address();
    let config = format!(
        "[admin]\nbind = '{admin}'\n[listener.web]\nbind = '{web}'\npool = 'p'\n[pool.p]\nbackends = ['{}']\n",
        http.addr()
    );
    fs::write(folder.path().join("evenkeel.toml"), config).unwrap();
    let mut child = Command::new(PROGRAM)
        .args(["run", "--takeover", "nobody.sock", "evenkeel.toml"])
        .current_dir(folder.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    eventually("it serves", DEADLINE, || client::try_get(web, "/").is_ok_and(|answer| answer.status == 200));
    assert!(begun.elapsed() < Duration::from_secs(10));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Ends the process that has taken over from one that has ended: nobody else knows its number.
fn kill_whoever_answers(process: &Process) {
    let said = process.stderr();
    let pid =
        said.split("has taken over; what is open finishes here pid=").nth(1).and_then(|rest| rest.split(' ').next());
    let pid = pid.unwrap_or_else(|| panic!("{said}"));
    Command::new("kill").args(["-KILL", pid]).status().unwrap();
}
