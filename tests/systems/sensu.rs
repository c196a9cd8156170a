//! Uchiwa and the Sensu APIs behind it.

use crate::support::eventually::DEADLINE;
use crate::support::process::free_address;
use crate::support::systems::{Datacenters, SensuApi, Uchiwa};
use crate::support::{Balancer, Client, Load, Origin, Process, client, eventually};
use crate::{MANY, assert_even, quick, wait_for};

fn in_front_of(apis: [&SensuApi; 2], more: &str) -> Balancer {
    let addresses = apis.map(|api| api.origin.addr());
    Balancer::web(&addresses, &format!("preset = 'sensu'\n{}{more}", quick("api")))
}

#[test]
fn sensu_requests_are_balanced_over_both_apis() {
    let (a, b) = (SensuApi::start("a"), SensuApi::start("b"));
    let balancer = in_front_of([&a, &b], "balance = 'round-robin'\n");
    let load = Load::start(balancer.addr("web"), "/clients", 4);
    assert_even(&load, &["a", "b"]);
    load.stop().assert_none_failed();
}

#[test]
fn a_lost_sensu_api_costs_no_get_and_returns_by_itself() {
    let (a, b) = (SensuApi::start("a"), SensuApi::start("b"));
    let balancer = in_front_of([&a, &b], "");
    let load = Load::start(balancer.addr("web"), "/clients", 4);
    load.wait_for(MANY / 4);
    a.origin.stop();
    wait_for(&balancer, a.origin.addr(), false);
    load.wait_for(MANY / 4);
    a.origin.start_again();
    wait_for(&balancer, a.origin.addr(), true);
    load.forget();
    eventually("the one that came back has work again", DEADLINE, || load.so_far().by_body.contains_key("a"));
    load.stop().assert_none_failed();
}

#[test]
fn a_result_that_was_sent_is_not_sent_again() {
    let healthy = || Origin::http().status(204);
    let breaks = || Origin::http().at("/health", healthy()).resets_before_answer();
    let (a, b) = (breaks().start(), breaks().start());
    let balancer = Balancer::web(&[a.addr(), b.addr()], "preset = 'sensu'\n");
    let answer = Client::connect(balancer.addr("web")).post("/results", "{}");
    assert_eq!(answer.status, 502);
    assert_eq!(a.requests_for("/results") + b.requests_for("/results"), 1);
}

#[test]
fn a_sensu_api_without_redis_leaves_although_its_info_page_is_fine() {
    let (a, b) = (SensuApi::start("a"), SensuApi::start("b"));
    let balancer = in_front_of([&a, &b], "");
    a.lose_redis();
    wait_for(&balancer, a.origin.addr(), false);
    assert_eq!(client::get(a.origin.addr(), "/info").status, 200);
    for _ in 0..20 {
        assert_eq!(balancer.get("/clients").text(), "b");
    }
    a.find_redis();
    wait_for(&balancer, a.origin.addr(), true);
}

#[test]
fn a_dashboard_stays_when_one_of_its_datacenters_fails() {
    let datacenters = Datacenters::new();
    let (a, b) = (Uchiwa::start("a", "key", &datacenters), Uchiwa::start("b", "key", &datacenters));
    let addresses = [a.origin.addr(), b.origin.addr()];
    let balancer = Balancer::web(&addresses, &format!("preset = 'uchiwa'\n{}", quick("alive")));
    datacenters.lose_one();
    assert_eq!(client::get(addresses[0], "/health").status, 503);
    let asked = || a.origin.requests_for("/health/uchiwa").min(b.origin.requests_for("/health/uchiwa"));
    let before = asked();
    eventually("some further probes of each", DEADLINE, || asked() >= before + 5);
    balancer.wait_for_up(2);
    assert_eq!(a.origin.requests_for("/health") + b.origin.requests_for("/health"), 1);
}

#[test]
fn a_login_is_good_at_every_dashboard_that_has_the_same_key_and_else_at_its_own() {
    for (keys, balance) in [(["key", "key"], "round-robin"), (["key-a", "key-b"], "source")] {
        let datacenters = Datacenters::new();
        let (a, b) = (Uchiwa::start("a", keys[0], &datacenters), Uchiwa::start("b", keys[1], &datacenters));
        let more = format!("preset = 'uchiwa'\nbalance = '{balance}'\n");
        let balancer = Balancer::web(&[a.origin.addr(), b.origin.addr()], &more);
        let login = balancer.get("/login");
        let cookie = login.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        for _ in 0..20 {
            let request = format!("GET /events HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n");
            let answer = client::try_request(balancer.addr("web"), &request).unwrap();
            assert_eq!(answer.status, 200, "{balance}");
        }
    }
}

#[test]
fn the_log_is_json_with_a_message_where_that_is_wanted() {
    let api = SensuApi::start("a");
    let mut process = Process::start(&format!(
        "[log]\nformat = 'json'\n[listener.web]\nbind = '{}'\npool = 'p'\n\
         [pool.p]\npreset = 'sensu'\nbackends = ['{}']\n{}",
        free_address(),
        api.origin.addr(),
        quick("api")
    ));
    api.lose_redis();
    eventually("its fall is said", DEADLINE, || {
        process.stderr().lines().any(|line| line.contains("backend is down") && line.contains("412"))
    });
    assert!(process.stop().success());
    let lines = process.stderr();
    let messages: Vec<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .map(|line| line["message"].as_str().unwrap_or_else(|| panic!("no message in {line}")).to_owned())
        .collect();
    let says = |words: &str| messages.iter().any(|message| message == words);
    assert!(says("ready") && says("backend is down"), "{messages:#?}");
}
