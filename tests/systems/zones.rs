//! Two datacenters in front of which the balancer stands.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::support::{Balancer, Client, Load, Origin};
use crate::{MANY, assert_even};

/// Two backends in each of `dc-a` and `dc-b`, which answer with their name; further keys of the pool.
fn two_sites(keys: &str) -> ([Origin; 4], Balancer) {
    let origins = ["a1", "a2", "b1", "b2"].map(|name| Origin::http().reply(name).start());
    let backends: Vec<String> = origins
        .iter()
        .zip(["dc-a", "dc-a", "dc-b", "dc-b"])
        .map(|(origin, zone)| format!("{{ address = '{}', zone = '{zone}' }}", origin.addr()))
        .collect();
    let balancer = Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n[pool.p]\nbackends = [{}]\n{keys}\n\
         check.port = {{ type = 'http', interval = '200ms', timeout = '200ms', fast_interval = '50ms' }}\n",
        backends.join(", ")
    ));
    (origins, balancer)
}

/// Who answered, over some requests.
fn answers(mut ask: impl FnMut() -> String) -> BTreeMap<String, usize> {
    let mut answers = BTreeMap::new();
    for _ in 0..40 {
        *answers.entry(ask()).or_default() += 1;
    }
    answers
}

#[test]
fn without_a_preference_both_datacenters_work_alike() {
    let (_origins, balancer) = two_sites("");
    let load = Load::start(balancer.addr("web"), "/", 4);
    assert_even(&load, &["a1", "a2", "b1", "b2"]);
}

#[test]
fn weights_share_the_work_between_datacenters() {
    let [a, b] = ["a", "b"].map(|name| Origin::http().reply(name).start());
    let balancer = Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n[pool.p]\nbackends = [\
         {{ address = '{}', zone = 'dc-a', weight = 3 }}, {{ address = '{}', zone = 'dc-b' }}]\n",
        a.addr(),
        b.addr()
    ));
    let load = Load::start(balancer.addr("web"), "/", 4);
    load.wait_for(MANY);
    assert!((load.so_far().share("a") - 0.75).abs() < 0.05, "{:?}", load.so_far());
}

#[test]
fn a_datacenter_that_falls_costs_no_request_and_gets_its_work_back() {
    let (origins, balancer) = two_sites("zone = 'dc-a'\n");
    let load = Load::start(balancer.addr("web"), "/", 4);
    assert_even(&load, &["a1", "a2"]);
    origins[0].stop();
    origins[1].stop();
    balancer.wait_for_up(2);
    assert_even(&load, &["b1", "b2"]);
    origins[0].start_again();
    origins[1].start_again();
    balancer.wait_for_up(4);
    load.wait_for(100);
    assert_even(&load, &["a1", "a2"]);
    load.stop().assert_none_failed();
}

#[test]
fn a_datacenter_of_which_little_is_left_sends_part_of_its_work_elsewhere() {
    let (origins, balancer) = two_sites("zone = 'dc-a'\nspill_below = '75%'\n");
    origins[0].stop();
    balancer.wait_for_up(3);
    let load = Load::start(balancer.addr("web"), "/", 4);
    load.wait_for(MANY);
    let tally = load.stop();
    tally.assert_none_failed();
    // Half of its weight is up, which is two thirds of what it should keep.
    let kept = tally.share("a2");
    assert!((0.55..0.8).contains(&kept), "{kept} of {tally:?}");
    assert!(tally.share("b1") > 0.05 && tally.share("b2") > 0.05, "{tally:?}");
}

#[test]
fn clients_are_served_by_the_datacenter_near_them() {
    let zones = "client_zones = { '127.1.0.0/16' = 'dc-a', '127.2.0.0/16' = 'dc-b' }\n";
    let (origins, balancer) = two_sites(zones);
    let from = |ip: [u8; 4]| answers(|| Client::connect_from(IpAddr::from(ip), balancer.addr("web")).get("/").text());
    let only = |answers: &BTreeMap<String, usize>, zone: char| answers.keys().all(|name| name.starts_with(zone));
    let (near_a, near_b, far) = (from([127, 1, 0, 1]), from([127, 2, 0, 1]), from([127, 3, 0, 1]));
    assert!(only(&near_a, 'a') && near_a.len() == 2, "{near_a:?}");
    assert!(only(&near_b, 'b') && near_b.len() == 2, "{near_b:?}");
    assert_eq!(far.len(), 4, "{far:?}");
    origins[2].stop();
    origins[3].stop();
    balancer.wait_for_up(2);
    assert!(only(&from([127, 2, 0, 1]), 'a'));
}

#[test]
fn a_slow_datacenter_keeps_its_clients_until_it_is_full() {
    let (origins, balancer) = two_sites("zone = 'dc-a'\nspill_at = 2\n");
    for (origin, name) in origins.iter().zip(["a1", "a2"]) {
        origin.becomes(Origin::http().reply(name).delay(Duration::from_millis(30)));
    }
    let one_at_a_time = answers(|| balancer.get("/").text());
    assert!(one_at_a_time.keys().all(|name| name.starts_with('a')), "{one_at_a_time:?}");
    let load = Load::start(balancer.addr("web"), "/", 12);
    load.wait_for(200);
    let tally = load.stop();
    assert!(tally.share("b1") + tally.share("b2") > 0.1, "{tally:?}");
}
