//! How many connections a client may have open: further ones are closed at once, and one that ends makes room.

mod support;

use std::net::{IpAddr, SocketAddr};

use support::eventually::DEADLINE;
use support::{Balancer, Client, Origin, eventually};

const REFUSED: &str = "connections_per_client";

fn config(origin: &Origin, most: u32, keys: &str) -> String {
    format!(
        "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\nlimits = {{ connections_per_client = {most} }}\n{keys}\n\
         [pool.p]\nbackends = ['{}']\n",
        origin.addr()
    )
}

/// Connections of one client that have been served and stay.
fn open(at: SocketAddr, count: usize) -> Vec<Client> {
    let connect = |_| {
        let mut client = Client::connect(at);
        assert_eq!(client.get("/").text(), "fine");
        client
    };
    (0..count).map(connect).collect()
}

/// Whether one more is served.
fn is_served(at: SocketAddr) -> bool {
    Client::try_connect(at).and_then(|mut client| client.try_get("/")).is_ok_and(|answer| answer.status == 200)
}

#[test]
fn the_fourth_is_closed_and_served_when_one_of_three_has_left() {
    let origin = Origin::http().reply("fine").start();
    let lb = Balancer::start(&config(&origin, 3, ""));
    let at = lb.addr("web");
    let mut three = open(at, 3);
    assert!(Client::connect(at).closed(), "without having said anything");
    assert!(!is_served(at));
    lb.rejected(REFUSED, 2);
    let elsewhere: IpAddr = [127, 1, 0, 1].into();
    assert_eq!(Client::connect_from(elsewhere, at).get("/").text(), "fine", "another client");
    drop(three.pop());
    eventually("there is room again", DEADLINE, || is_served(at));
    assert!(three.iter_mut().all(|client| client.get("/").status == 200), "who is in stays in");
}

#[test]
fn all_workers_count_together() {
    let origin = Origin::http().reply("fine").start();
    let lb = Balancer::start(&format!("workers = 3\n{}", config(&origin, 5, "")));
    let at = lb.addr("web");
    let five = open(at, 5);
    for _ in 0..20 {
        assert!(Client::connect(at).closed());
    }
    lb.rejected(REFUSED, 20);
    drop(five);
    eventually("there is room again", DEADLINE, || is_served(at));
}

#[test]
fn what_is_open_counts_on_after_a_reload() {
    let origin = Origin::http().reply("fine").start();
    let lb = Balancer::start(&config(&origin, 3, ""));
    let at = lb.addr("web");
    let _three = open(at, 3);
    assert_eq!(lb.reload(&config(&origin, 3, "unknown_host = 'serve'\nhsts = true")).status, 200);
    assert!(Client::connect(at).closed());
    assert_eq!(lb.reload(&config(&origin, 4, "")).status, 200);
    let _fourth = open(at, 1);
    assert!(Client::connect(at).closed());
    lb.rejected(REFUSED, 2);
}

#[test]
fn behind_a_proxy_it_is_the_client_that_counts() {
    let origin = Origin::http().reply("fine").start();
    let lb = Balancer::start(&config(&origin, 1, "accept_proxy = '127.0.0.0/8'"));
    let at = lb.addr("web");
    let named = |client: &str| {
        let mut connection = Client::connect(at);
        connection.send(format!("PROXY TCP4 {client} 192.0.2.1 40000 443\r\n"));
        connection
    };
    let (mut one, mut other) = (named("192.0.2.7"), named("192.0.2.8"));
    assert_eq!((one.get("/").status, other.get("/").status), (200, 200));
    assert!(named("192.0.2.7").closed());
    lb.rejected(REFUSED, 1);
}

#[test]
fn a_proxy_that_is_trusted_has_as_many_as_it_likes() {
    let origin = Origin::http().reply("fine").start();
    let lb = Balancer::start(&config(&origin, 1, "trusted_proxies = '127.0.0.1'"));
    let _three = open(lb.addr("web"), 3);
    let stranger: IpAddr = [127, 1, 0, 1].into();
    let mut first = Client::connect_from(stranger, lb.addr("web"));
    assert_eq!(first.get("/").text(), "fine");
    assert!(Client::connect_from(stranger, lb.addr("web")).closed());
}

#[test]
fn it_is_told_before_tls_and_without_http() {
    let origin = Origin::echo().start();
    let authority = support::tls::Authority::new("CA");
    let certificate = authority.issue("web", &["web.example.com"]);
    let lb = Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\nprotocol = 'tcp'\npool = 'p'\ntls = {{ certificates = [{certificate}] }}\n\
         limits = {{ connections_per_client = 1 }}\n[pool.p]\nbackends = ['{}']\n",
        origin.addr()
    ));
    let mut first = Client::connect_tls(lb.addr("web"), "web.example.com", &authority.client());
    assert!(first.echoes("hello"));
    assert!(Client::connect(lb.addr("web")).closed());
    lb.rejected(REFUSED, 1);
    lb.counts("evenkeel_listener_tls_handshakes_total{listener=web,result=ok}", 1.0);
    lb.counts("evenkeel_listener_tls_handshakes_total{listener=web,result=failed}", 0.0);
}
