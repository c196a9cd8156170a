//! What happened, over the API and by `evenkeel events`: numbered, followed, and told apart after a restart.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::cell::RefCell;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use evenkeel::admin::events::{EventView, EventsView};
use support::eventually::DEADLINE;
use support::process::{self, PROGRAM, free_address, run};
use support::{Balancer, Origin, Process, client, eventually};

fn check(backend: std::net::SocketAddr) -> String {
    format!(
        "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n[pool.p]\nbackends = [{{ name = 'a', address = '{backend}' }}]\n\
         [pool.p.check.home]\ntype = 'http'\ninterval = '50ms'\ntimeout = '50ms'\nfall = 1\nrise = 1\n"
    )
}

fn events(lb: &Balancer, query: &str) -> EventsView {
    let response = client::get(lb.admin(), &format!("/api/v1/events{query}"));
    assert_eq!(response.status, 200, "{}", response.text());
    serde_json::from_slice(&response.body).unwrap()
}

#[test]
fn a_follower_gets_what_comes_after_what_it_saw_as_soon_as_it_comes() {
    let origin = Origin::http().start();
    let lb = Balancer::start(&check(origin.addr()));
    let first = events(&lb, "");
    assert_eq!(first.events.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(), ["up"]);
    assert_eq!((first.last, first.events[0].number), (1, 1));
    assert_eq!(events(&lb, &format!("?after={}", first.last)).events, [], "nothing new, and nobody waits for it");

    let (admin, run) = (lb.admin(), first.run.clone());
    let follower = std::thread::spawn(move || {
        let path = format!("/api/v1/events?after=1&wait=30&run={run}");
        serde_json::from_slice::<EventsView>(&client::get(admin, &path).body).unwrap()
    });
    origin.stop();
    let next = follower.join().unwrap();
    assert_eq!((next.events[0].kind.as_str(), next.events[0].number, next.missed), ("down", 2, 0));
    assert!(next.events[0].message.contains("connection refused"), "{}", next.events[0].message);

    let again = events(&lb, "?after=7&run=of-another-life");
    assert_eq!(again.events[0].number, 1, "of another run, everything is new");
    assert_eq!(events(&lb, "?pool=other").events, []);
    assert_eq!(client::get(lb.admin(), "/api/v1/events?since=1").status, 400);
}

/// `evenkeel events --follow`, line by line.
struct Follower {
    child: Child,
    lines: Receiver<String>,
    /// Lines that came while another was waited for: what is said on two pipes has no order.
    skipped: RefCell<Vec<String>>,
}

impl Follower {
    fn start(admin: std::net::SocketAddr, further: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["events", "--follow", "--admin", &admin.to_string()])
            .args(further)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let out: Box<dyn std::io::Read + Send> = Box::new(child.stdout.take().unwrap());
        let errors: Box<dyn std::io::Read + Send> = Box::new(child.stderr.take().unwrap());
        for pipe in [out, errors] {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines() {
                    // The test has ended.
                    let _ = sender.send(line.unwrap());
                }
            });
        }
        Self { child, lines, skipped: RefCell::default() }
    }

    /// The next line that contains this.
    #[track_caller]
    fn says(&self, part: &str) -> String {
        let mut skipped = self.skipped.borrow_mut();
        if let Some(at) = skipped.iter().position(|line| line.contains(part)) {
            return skipped.remove(at);
        }
        loop {
            match self.lines.recv_timeout(DEADLINE) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => skipped.push(line),
                Err(late) => panic!("{part:?} did not come ({late}), but {skipped:?}"),
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_command_follows_over_a_restart_of_the_balancer() {
    let origin = Origin::http().start();
    let admin = free_address();
    let config = format!("{}[admin]\nbind = \"{admin}\"\n", check(origin.addr()));
    let mut balancer = Process::start(&config);
    let follower = Follower::start(admin, &[]);
    follower.says(" up ");
    origin.stop();
    let line = follower.says(" down ");
    assert!(line.contains("p/a") && line.contains("connection refused"), "{line}");
    balancer.stop();
    follower.says("asking until it answers");
    let balancer = Process::start(&config);
    follower.says("it answers again");
    follower.says("started anew");
    follower.says(" down ");
    origin.start_again();
    follower.says(" up ");
    drop(balancer);
}

#[test]
fn every_kind_of_change_is_an_event_that_a_program_can_read() {
    let origin = Origin::http().start();
    let other = Origin::http().start();
    let config = check(origin.addr()).replace("}]", &format!("}}, {{ name = 'b', address = '{}' }}]", other.addr()));
    let balancer = Process::start(&config);
    let admin = balancer.admin().to_string();
    let follower = Follower::start(balancer.admin(), &["--json", "--pool", "p"]);
    let next = |kind: &str| serde_json::from_str::<EventView>(&follower.says(&format!("\"kind\":\"{kind}\""))).unwrap();
    next("up");
    let order = |arguments: &[&str]| {
        let ran = run(&[arguments, &["--admin", &admin, "--owner", "alice"]].concat());
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    };
    order(&["drain", "p/b", "--reason", "new disk"]);
    let event = next("override");
    assert_eq!((event.pool.as_deref(), event.backend.as_deref()), (Some("p"), Some("b")));
    assert!(event.message.contains("drain") && event.message.contains("new disk"), "{}", event.message);
    order(&["ready", "p/b"]);
    assert!(next("override_taken_back").message.contains("alice"));
    order(&["weight", "p/b", "10%", "--for", "50ms"]);
    assert!(next("override_expired").message.contains("weight 10%"));
    assert!(balancer.reload(&config).status.success());
    next("reload");
    assert!(!balancer.reload("nonsense = 1\n").status.success());
    assert!(next("reload_refused").message.contains("nonsense"));
    eventually("the last event is listed", Duration::from_secs(5), || {
        let listed = process::run(&["events", "--admin", &admin]);
        String::from_utf8_lossy(&listed.stdout).contains("reload_refused")
    });
}
