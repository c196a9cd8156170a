//! Probes against real Apaches and real `MariaDB`s, above all: whatever is asked of `MySQL`, and however often, it never
//! blocks the balancer's address.
//!
//! A `MySQL` server exempts 127.0.0.1 from blocking. So the probes here come from 127.0.1.1, and a first look proves that
//! this address is not exempt.

#![expect(clippy::unwrap_used, reason = "the servers of a test fail by panicking, as tests do")]

mod support;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::config::model::{
    Address, ApacheCheck, ApacheWeights, BodyRule, CheckKind, HttpCheck, HttpQuestion, MysqlCheck,
};
use evenkeel::net::connect::connect_by;
use evenkeel::net::way::Way;
use evenkeel::probe::{Layer, Question, Report, attempt};
use support::eventually::{DEADLINE, eventually};
use support::real::{RealApache, RealMariaDb};
use tokio::io::AsyncReadExt;

const TIMEOUT: Duration = Duration::from_secs(10);
const PROBES: usize = 2_000;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn mysql(user: &str, password: &str) -> CheckKind {
    CheckKind::Mysql(MysqlCheck::login(user, password))
}

fn page(path: &str) -> HttpQuestion {
    HttpQuestion::get(path)
}

fn status(path: &str, idle_workers_min: u32) -> CheckKind {
    CheckKind::Apache(ApacheCheck { request: page(path), idle_workers_min, weights: ApacheWeights::ByIdleWorkers })
}

fn question(kind: CheckKind, at: std::net::SocketAddr, source: IpAddr) -> Arc<Question> {
    Arc::new(Question::new(kind, Address::Socket(at), TIMEOUT).ask_from(source))
}

async fn probe(kind: CheckKind, at: std::net::SocketAddr, source: &str) -> Report {
    attempt(question(kind, at, ip(source)), at).await
}

#[track_caller]
fn good(report: &Report) -> &str {
    match &report.result {
        Ok(found) => &found.what,
        Err(failure) => panic!("{failure}; {:?}", report.transcript),
    }
}

#[track_caller]
fn bad(report: &Report, layer: Layer, words: &str) {
    let failure = report.result.as_ref().expect_err("it should fail");
    assert_eq!(failure.layer, layer, "{failure}");
    assert!(failure.what.contains(words), "{failure} should contain {words}");
}

/// Connects from `source`, reads the greeting and leaves: what a naive check does.
async fn leave_rudely(server: &RealMariaDb, source: &str) {
    let mut stream = connect_by(Some(&Way::from_source(ip(source))), &server.address.into(), TIMEOUT).await.unwrap();
    let _ = stream.read(&mut [0; 256]).await;
}

async fn strict_mariadb(address: &str) -> RealMariaDb {
    let server = RealMariaDb::start_with(address, &["--max-connect-errors=5"]).await;
    server.query("CREATE USER 'evenkeel'@'%'; CREATE USER 'secretive'@'%' IDENTIFIED BY 'secret'");
    // This proves that the addresses of the test count, and that blocking is named with its remedy.
    for _ in 0..6 {
        leave_rudely(&server, "127.0.1.9").await;
    }
    // Its threads count them after the fact.
    eventually("all six are counted", DEADLINE, || server.status("Aborted_connects") >= 6);
    bad(&probe(mysql("evenkeel", ""), server.address, "127.0.1.9").await, Layer::Answer, "FLUSH HOSTS");
    server
}

#[tokio::test]
async fn two_thousand_knocks_are_not_even_seen() {
    let server = strict_mariadb("127.0.1.3").await;
    let asked = question(CheckKind::Tcp, server.address, ip("127.0.1.1"));
    let (aborted, connections) = (server.status("Aborted_connects"), server.status("Connections"));
    for _ in 0..PROBES {
        good(&attempt(Arc::clone(&asked), server.address).await);
    }
    assert_eq!(server.status("Aborted_connects"), aborted);
    // The queries of this test are the only connections: the two above, one here and this one.
    assert!(server.status("Connections") <= connections + 4);
    good(&probe(mysql("evenkeel", ""), server.address, "127.0.1.1").await);
}

#[tokio::test]
async fn logins_that_are_refused_prove_life_and_block_nothing() {
    let server = strict_mariadb("127.0.1.4").await;
    for (user, password) in [("nobody", ""), ("nobody", "wrong"), ("secretive", "wrong"), ("secretive", "")] {
        for _ in 0..50 {
            let report = probe(mysql(user, password), server.address, "127.0.1.1").await;
            assert!(good(&report).contains("alive (error 1045"), "{report:?}");
        }
    }
    let report = probe(mysql("secretive", "secret"), server.address, "127.0.1.1").await;
    assert!(good(&report).starts_with("logged in"), "{report:?}");
    server.query("CREATE USER 'modern'@'%' IDENTIFIED VIA unix_socket");
    good(&probe(mysql("modern", ""), server.address, "127.0.1.1").await);
}

#[tokio::test]
async fn a_stopped_mariadb_is_down_by_both_checks_and_back_after_its_start() {
    let mut server = RealMariaDb::start("127.0.1.5").await;
    // Without any user that may come from elsewhere the answer would be 1130, whoever asks.
    bad(&probe(mysql("nobody", ""), server.address, "127.0.1.1").await, Layer::Answer, "create one for it");
    server.query("CREATE USER 'somebody'@'%'");
    good(&probe(mysql("nobody", ""), server.address, "127.0.1.1").await);
    server.stop();
    bad(&probe(mysql("nobody", ""), server.address, "127.0.1.1").await, Layer::Connect, "refused");
    bad(&probe(CheckKind::Tcp, server.address, "127.0.1.1").await, Layer::Connect, "refused");
    server.restart().await;
    good(&probe(mysql("nobody", ""), server.address, "127.0.1.1").await);
    good(&probe(CheckKind::Tcp, server.address, "127.0.1.1").await);
}

#[tokio::test]
async fn too_many_connections_are_named_with_the_remedy() {
    let server = RealMariaDb::start_with("127.0.1.6", &["--max-connections=10"]).await;
    server.query("CREATE USER 'evenkeel'@'%'");
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(connect_by(Some(&Way::from_source(ip("127.0.1.8"))), &server.address.into(), TIMEOUT).await.unwrap());
        if held.len() > 10 {
            let report = probe(mysql("evenkeel", ""), server.address, "127.0.1.1").await;
            if report.result.is_err() {
                return bad(&report, Layer::Answer, "max_connections");
            }
        }
    }
    panic!("40 connections and still not too many");
}

#[tokio::test]
async fn apache_answers_by_page_and_by_status() {
    let mut server = RealApache::start("127.0.1.7", "<h1>Welcome to the portal</h1>").await;
    let at = server.address;
    let welcome = |text: &str| {
        let body = vec![BodyRule::Contains(Arc::from(text))];
        CheckKind::Http(HttpCheck { body, ..HttpCheck::new(page("/")) })
    };
    good(&probe(welcome("Welcome"), at, "127.0.1.1").await);
    bad(&probe(welcome("Error"), at, "127.0.1.1").await, Layer::Answer, "does not contain");
    assert!(good(&probe(status("/server-status?auto", 1), at, "127.0.1.1").await).contains("idle workers of"));
    bad(&probe(status("/server-status?auto", 101), at, "127.0.1.1").await, Layer::Answer, "wanted at least 101");
    bad(&probe(status("/server-status", 1), at, "127.0.1.1").await, Layer::Protocol, "?auto");
    bad(&probe(status("/forbidden-status?auto", 1), at, "127.0.1.1").await, Layer::Answer, "Require ip");
    bad(&probe(status("/nowhere?auto", 1), at, "127.0.1.1").await, Layer::Answer, "mod_status");
    server.stop();
    bad(&probe(welcome("Welcome"), at, "127.0.1.1").await, Layer::Connect, "refused");
    server.restart().await;
    good(&probe(welcome("Welcome"), at, "127.0.1.1").await);
}
