//! Drills: a fault in the way to one backend, met by traffic and probes, with an end in every case.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};

use evenkeel::admin::drills::DrillLine;
use support::eventually::{DEADLINE, eventually};
use support::process::{PROGRAM, run};
use support::{Balancer, Load, Origin, client};

const CHECK: &str = "type = 'http'\ninterval = '100ms'\ntimeout = '100ms'\nrise = 1\nfall = 2\n";

fn config(origins: &[&Origin]) -> String {
    let names = ["a", "b"].iter().zip(origins);
    let backends: Vec<_> =
        names.map(|(name, it)| format!("{{ name = '{name}', address = '{}' }}", it.addr())).collect();
    format!(
        "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n[pool.p]\nbackends = [{}]\n[pool.p.check.home]\n{CHECK}",
        backends.join(", ")
    )
}

fn two() -> (Origin, Origin, Balancer) {
    let (a, b) = (Origin::http().reply("a").start(), Origin::http().reply("b").start());
    let lb = Balancer::start(&config(&[&a, &b]));
    (a, b, lb)
}

fn drill(lb: &Balancer, arguments: &[&str]) -> Output {
    run(&[&["drill", "--admin", &lb.admin().to_string(), "--owner", "tester"], arguments].concat())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn lines(output: &Output) -> Vec<DrillLine> {
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A drill that goes on beside the test.
struct Running(Child);

impl Running {
    fn start(lb: &Balancer, arguments: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["drill", "--json", "--admin", &lb.admin().to_string(), "--owner", "tester", "--reason", "a test"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Its first line says that the fault is there.
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("progress"), "{line}");
        Self(child)
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([&format!("-{name}"), &self.0.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn is_drilled(lb: &Balancer) -> bool {
    lb.metrics().contains("evenkeel_backend_drill{")
}

fn ends(lb: &Balancer) {
    eventually("the fault is gone", DEADLINE, || !is_drilled(lb));
    lb.wait_for_up(2);
}

#[test]
fn a_refused_backend_fails_over_without_a_failed_request_and_is_reported_like_an_incident() {
    let (_a, _b, lb) = two();
    let load = Load::start(lb.addr("web"), "/", 4);
    load.wait_for(100);
    let ran = drill(&lb, &["p/a", "--mode", "refuse", "--for", "2s", "--json", "--abort-if", "errors > 0.1%"]);
    load.stop().assert_none_failed();
    assert!(ran.status.success(), "{}", said(&ran));
    let lines = lines(&ran);
    assert!(matches!(&lines[lines.len() - 2], DrillLine::Over { ending, .. } if ending == "over"), "{lines:?}");
    let Some(DrillLine::Report { ending, counted, incident, .. }) = lines.last() else { panic!("{lines:?}") };
    let incident = incident.as_ref().unwrap();
    assert_eq!((ending.as_str(), counted.requests_failed, counted.errors), ("over", 0, 0));
    assert!(counted.requests > 100 && counted.requests_retried >= 1, "{counted:?}");
    assert_eq!(
        (incident.backend.as_str(), incident.origin.as_str(), incident.state.as_str()),
        ("a", "drill", "recovered")
    );
    assert!(incident.because.contains("refused"), "{}", incident.because);
    lb.counts("evenkeel_incidents_total{pool=p,origin=drill}", 1.0);
    let events = client::get(lb.admin(), "/api/v1/events").text();
    assert!(events.contains("drill by tester: refuse for 2s"), "{events}");
    assert!(events.contains("\"kind\":\"drill_over\""), "{events}");
    lb.wait_for_up(2);
}

#[test]
fn a_black_hole_is_found_by_the_deadlines() {
    let (_a, _b, lb) = two();
    let running = Running::start(&lb, &["p/a", "--mode", "blackhole", "--for", "60s"]);
    lb.wait_for_up(1);
    assert_eq!(lb.get("/").text(), "b");
    let why = client::get(lb.admin(), "/api/v1/pools/p/backends/a/why").text();
    assert!(why.contains("timeout"), "{why}");
    drop(running);
    ends(&lb);
}

#[test]
fn errors_are_answered_to_traffic_and_probes_and_never_reach_the_backend() {
    let (a, _b, lb) = two();
    let running = Running::start(&lb, &["p/a", "--mode", "errors", "--status", "500", "--for", "60s"]);
    a.forget();
    lb.wait_for_up(1);
    let why = client::get(lb.admin(), "/api/v1/pools/p/backends/a/why").text();
    assert!(why.contains("500"), "{why}");
    assert_eq!(a.request_count(), 0, "nothing has reached it");
    drop(running);
    ends(&lb);
}

#[test]
fn slow_answers_come_late_and_whole() {
    let a = Origin::http().reply("a").start();
    let lb = Balancer::start(&config(&[&a]).replace("'100ms'", "'5s'"));
    let _running = Running::start(&lb, &["p/a", "--mode", "slow", "--delay", "150ms", "--for", "60s", "--force"]);
    let begun = std::time::Instant::now();
    assert_eq!(lb.get("/").text(), "a");
    assert!(begun.elapsed().as_millis() >= 150, "{:?}", begun.elapsed());
}

#[test]
fn it_ends_with_whoever_watches_it() {
    let (_a, _b, lb) = two();
    for signal in ["INT", "KILL"] {
        let running = Running::start(&lb, &["p/a", "--mode", "refuse", "--for", "300s"]);
        assert!(is_drilled(&lb));
        let view = lb.pool();
        let order = &view.backends[0].overrides[0];
        assert_eq!(
            (order.words.as_str(), order.owner.as_str(), order.reason.as_str()),
            ("drill (refuse)", "tester", "a test")
        );
        running.signal(signal);
        ends(&lb);
    }
    let events = client::get(lb.admin(), "/api/v1/events").text();
    assert!(events.contains("whoever watched it has gone"), "{events}");
}

#[test]
fn it_ends_when_its_condition_comes_true() {
    let a = Origin::http().reply("a").start();
    let lb = Balancer::start(&config(&[&a]));
    let load = Load::start(lb.addr("web"), "/", 2);
    load.wait_for(50);
    let ran = drill(&lb, &["p/a", "--mode", "refuse", "--for", "60s", "--force", "--abort-if", "errors > 1%"]);
    drop(load);
    assert!(!ran.status.success());
    let text = said(&ran);
    assert!(text.contains("ended      aborted: ") && text.contains("which is more than 1%"), "{text}");
}

#[test]
fn it_ends_with_a_reload_that_takes_the_backend_away() {
    let (a, b, lb) = two();
    let mut running = Running::start(&lb, &["p/b", "--mode", "refuse", "--for", "300s"]);
    assert_eq!(lb.reload(&config(&[&a, &b])).status, 200);
    assert!(is_drilled(&lb), "a reload that keeps it changes nothing");
    assert_eq!(lb.reload(&config(&[&a])).status, 200);
    assert!(!running.0.wait().unwrap().success());
    let events = client::get(lb.admin(), "/api/v1/events").text();
    assert!(events.contains("the backend is in the configuration no more"), "{events}");
}

#[test]
fn only_the_drilled_backend_meets_the_fault_whoever_shares_its_address() {
    let (a, b) = (Origin::http().reply("a").start(), Origin::http().reply("b").start());
    let shared = format!(
        "[[listener.web.route]]\nhost = 'other.x'\npool = 'other'\n\
         [pool.other]\nbackends = ['{}']\n[pool.other.check.home]\n{CHECK}",
        a.addr()
    );
    let lb = Balancer::start(&format!("{}{shared}", config(&[&a, &b])));
    let running = Running::start(&lb, &["p/a", "--mode", "refuse", "--for", "60s"]);
    lb.wait_for_up(1);
    let ask = "GET / HTTP/1.1\r\nHost: other.x\r\nConnection: close\r\n\r\n";
    for _ in 0..20 {
        assert_eq!(client::try_request(lb.addr("web"), ask).unwrap().text(), "a");
    }
    lb.counts("evenkeel_pool_backends_up{pool=other}", 1.0);
    lb.counts(
        "evenkeel_backend_transitions_total{pool=other,backend=BACKEND,to=down}"
            .replace("BACKEND", &a.addr().to_string())
            .as_str(),
        0.0,
    );
    drop(running);
    ends(&lb);
}

#[test]
fn what_would_hurt_or_show_nothing_is_refused() {
    let (a, b, lb) = two();
    let refuse = |of: &str, further: &[&str]| {
        let ran = drill(&lb, &[&[of, "--mode", "refuse", "--for", "5s"], further].concat());
        assert!(!ran.status.success());
        said(&ran)
    };
    assert!(refuse("p/c", &[]).contains("pool `p` has no backend `c`"));
    assert!(refuse("q/a", &[]).contains("there is no pool `q`"));
    assert!(refuse("p/a", &["--abort-if", "errors < 1%"]).contains("no `>` in it"));
    assert!(refuse("p/a", &["--delay", "1s"]).contains("no meaning but with the mode slow"));
    let running = Running::start(&lb, &["p/b", "--mode", "slow", "--delay", "1ms", "--for", "60s"]);
    assert!(refuse("p/a", &[]).contains("a drill of `p/b` already, by tester"));
    drop(running);
    ends(&lb);
    b.stop();
    lb.wait_for_up(1);
    let said = refuse("p/a", &[]);
    assert!(said.contains("the last backend of pool `p` that is up") && said.contains("--force"), "{said}");
    assert!(refuse("p/b", &["--force"]).contains("is down already"));
    drop(a);
}

fn tcp(backends: &[SocketAddr]) -> Balancer {
    Balancer::tcp(backends, "[pool.p.check.port]\ntype = 'tcp'\ninterval = '100ms'\nrise = 1\nfall = 2\n")
}

#[test]
fn a_pool_of_tcp_is_drilled_by_its_connections_and_has_no_status_to_answer() {
    let (a, b) = (Origin::tcp_banner("a").start(), Origin::tcp_banner("b").start());
    let lb = tcp(&[a.addr(), b.addr()]);
    let of = format!("p/{}", a.addr());
    let ran = drill(&lb, &[&of, "--mode", "errors", "--for", "5s"]);
    assert!(said(&ran).contains("serves TCP, which has no status"), "{}", said(&ran));
    let running = Running::start(&lb, &[&of, "--mode", "refuse", "--for", "60s"]);
    for _ in 0..6 {
        assert_eq!(client::Client::connect(lb.addr("web")).read_exact(1), b"b");
    }
    lb.wait_for_up(1);
    drop(running);
    ends(&lb);
}
