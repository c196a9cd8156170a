//! Grafana.

use std::time::Duration;

use crate::support::eventually::DEADLINE;
use crate::support::systems::{Database, Grafana};
use crate::support::{Balancer, Client, Load, client, eventually};
use crate::{MANY, assert_even, quick, wait_for};

fn in_front_of(nodes: &[&Grafana], more: &str) -> Balancer {
    let addresses: Vec<_> = nodes.iter().map(|node| node.origin.addr()).collect();
    let timing = quick("api") + &quick("alive");
    Balancer::web(&addresses, &format!("preset = 'grafana'\n{timing}{more}"))
}

#[test]
fn dashboards_are_spread_and_a_lost_node_costs_no_request() {
    let database = Database::new();
    let (a, b) = (Grafana::start("a", &database), Grafana::start("b", &database));
    let balancer = in_front_of(&[&a, &b], "slow_start = '0s'\nbalance = 'round-robin'\n");
    let load = Load::start(balancer.addr("web"), "/d/home", 4);
    assert_even(&load, &["a", "b"]);
    a.origin.stop();
    wait_for(&balancer, a.origin.addr(), false);
    load.wait_for(MANY / 4);
    a.origin.start_again();
    wait_for(&balancer, a.origin.addr(), true);
    assert_even(&load, &["a", "b"]);
    load.stop().assert_none_failed();
}

#[test]
fn no_cookie_is_set_that_nobody_asked_for() {
    let database = Database::new();
    let node = Grafana::start("a", &database);
    let balancer = in_front_of(&[&node], "");
    assert_eq!(balancer.get("/d/home").header("set-cookie"), None);
}

#[test]
fn host_passes_with_its_port_so_that_grafana_finds_its_own_origin() {
    let database = Database::new();
    let node = Grafana::start("a", &database);
    let balancer = in_front_of(&[&node], "");
    let ask = |origin: &str| {
        let head = format!(
            "POST /api/dashboards/db HTTP/1.1\r\nHost: grafana.example.com:3000\r\nOrigin: {origin}\r\n\
             Cookie: grafana_session=1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        client::try_request(balancer.addr("web"), &head).unwrap().status
    };
    assert_eq!(ask("https://grafana.example.com:3000"), 200);
    assert_eq!(ask("https://evil.example.com"), 403);
}

#[test]
fn live_passes_on_every_path() {
    let database = Database::new();
    let node = Grafana::start("a", &database);
    let balancer = in_front_of(&[&node], "");
    for path in ["/api/live/ws", "/api/datasources/proxy/1/loki/api/v1/tail"] {
        let mut tunnel = client::websocket(balancer.addr("web"), path);
        assert!(tunnel.echoes("ping"), "{path}");
    }
}

#[test]
fn when_the_shared_database_fails_the_nodes_that_are_alive_go_on() {
    let database = Database::looked_at_every(Duration::from_millis(100));
    let (a, b, c) = (Grafana::start("a", &database), Grafana::start("b", &database), Grafana::start("c", &database));
    let balancer = in_front_of(&[&a, &b, &c], "slow_start = '0s'\n");
    database.fail();
    for node in [&a, &b, &c] {
        wait_for(&balancer, node.origin.addr(), false);
    }
    let load = Load::start(balancer.addr("web"), "/public/app.js", 4);
    load.wait_for(MANY / 4);
    // Grafana's own words, not ours.
    assert_eq!(balancer.get("/d/home").text(), "Internal server error");
    c.origin.stop();
    load.wait_for(MANY / 4);
    load.forget();
    load.wait_for(MANY / 4);
    assert!(!load.so_far().by_body.contains_key("c"), "{:?}", load.so_far());
    database.recover();
    for node in [&a, &b] {
        wait_for(&balancer, node.origin.addr(), true);
    }
    load.stop().assert_none_failed();
    assert_eq!(balancer.get("/d/home").status, 200);
}

#[test]
fn without_the_policy_a_failed_database_means_an_answer_of_our_own() {
    let database = Database::looked_at_every(Duration::from_millis(100));
    let node = Grafana::start("a", &database);
    let balancer = in_front_of(&[&node], "all_down = 'fail'\n");
    database.fail();
    wait_for(&balancer, node.origin.addr(), false);
    let mut client = Client::connect(balancer.addr("web"));
    eventually("refused", DEADLINE, || client.get("/public/app.js").status == 503);
}
