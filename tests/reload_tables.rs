//! Connections and tables: whatever a reload moves about, a connection is served by one table, and by the right pool.

mod support;

use std::time::Duration;

use support::origin::Origin;
use support::{Balancer, Client};

/// Two pools in the order given, one listener for each, over HTTP and over TCP.
fn config(order: &[&str], a: &Origin, b: &Origin) -> String {
    let pool = |name: &&str| {
        let address = if *name == "a" { a.addr() } else { b.addr() };
        format!("[pool.{name}]\nbackends = ['{address}']\n")
    };
    let pools = order.iter().map(pool).collect::<Vec<_>>().concat();
    format!(
        "workers = 1\n[admin]\nbind = '127.0.0.1:0'\n\
         [listener.web]\nbind = '127.0.0.1:0'\npool = 'b'\n\
         [listener.raw]\nbind = '127.0.0.1:0'\nprotocol = 'tcp'\npool = 'b'\n{pools}"
    )
}

fn all_lead_to_b(lb: &Balancer, kept: &mut Client) {
    for _ in 0..3 {
        assert_eq!(support::client::get(lb.addr("web"), "/").text(), "b");
        assert_eq!(support::client::get(lb.addr("raw"), "/").text(), "b");
        assert_eq!(kept.get("/").text(), "b");
    }
}

#[test]
fn pools_that_change_places_or_go_leave_each_connection_its_pool() {
    let (a, b) = (Origin::http().reply("a").start(), Origin::http().reply("b").start());
    let lb = Balancer::start(&config(&["a", "b"], &a, &b));
    let mut kept = Client::connect(lb.addr("web"));
    all_lead_to_b(&lb, &mut kept);
    for order in [&["b", "a"][..], &["b"], &["a", "b"], &["b"]] {
        assert_eq!(lb.reload(&config(order, &a, &b)).status, 200);
        // The very first connection after the change was accepted by a loop that had waited since before it.
        all_lead_to_b(&lb, &mut kept);
    }
    assert_eq!(a.request_count(), 0);
}

#[test]
fn a_new_pool_with_checks_serves_from_its_first_request() {
    let origin = Origin::http().reply("a").start();
    let config = |name: &str| {
        format!(
            "workers = 1\n[admin]\nbind = '127.0.0.1:0'\n[listener.web]\nbind = '127.0.0.1:0'\npool = '{name}'\n\
             [pool.{name}]\nbackends = ['{}']\n[pool.{name}.check.home]\ntype = 'http'\npath = '/'\n",
            origin.addr()
        )
    };
    let lb = Balancer::start(&config("one"));
    assert_eq!(lb.get("/").status, 200);
    for name in ["two", "three", "four"] {
        assert_eq!(lb.reload(&config(name)).status, 200);
        assert_eq!(lb.get("/").status, 200, "{name}");
    }
}

#[test]
fn answers_of_the_balancer_that_a_client_does_not_take_are_never_run_together() {
    let lb = Balancer::start(
        "workers = 1\n[admin]\nbind = '127.0.0.1:0'\n[listener.web]\nbind = '127.0.0.1:0'\npool = 'none'\n\
         [listener.web.timeouts]\nbody_idle = '300ms'\n\
         [pool.none]\nbackends = ['127.0.0.1:1']\n[pool.none.check.port]\ntype = 'tcp'\ninitial = 'down'\n",
    );
    let mut client = Client::connect(lb.addr("web"));
    client.patience(Duration::from_secs(20));
    // So many answers that they fill every buffer between the two.
    let requests = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
    let mut sent = 0;
    while sent < 200 && client.try_send(&requests).is_ok() {
        sent += 1;
        if lb.metric("evenkeel_listener_open_connections{listener=web}") == 0.0 {
            break;
        }
    }
    let text = String::from_utf8(read_all(&mut client)).unwrap();
    let answers: Vec<&str> = text.split("HTTP/1.1 503 ").collect();
    assert!(sent < 200 && answers.len() > 100, "{sent} {}", answers.len());
    // Each is whole, but for the last one, which the reset has cut.
    for answer in &answers[1..answers.len().saturating_sub(1)] {
        assert!(answer.contains("\r\n\r\n") && answer.trim_end().contains("Request: "), "{answer}");
    }
}

/// What comes until the end, be it an end or a reset.
fn read_all(client: &mut Client) -> Vec<u8> {
    let mut all = Vec::new();
    while let Ok(byte) = client.try_read_exact(1) {
        all.extend(byte);
    }
    all
}
