//! Yugabyte Platform: promotions by hand, with a gap, or with two leaders.

use std::net::SocketAddr;

use crate::MANY;
use crate::support::eventually::DEADLINE;
use crate::support::systems::{Platform, addresses};
use crate::support::{Balancer, Client, Load, Origin, client, eventually};

/// Plain HTTP where the preset asks within TLS, and asked more often.
const QUICK: &str = "tls = false, interval = '200ms', timeout = '200ms', fast_interval = '50ms'";

fn backends(platform: &Platform) -> Vec<SocketAddr> {
    platform.instances.iter().map(Origin::addr).collect()
}

fn in_front_of(platform: &Platform, more: &str) -> Balancer {
    let keys = format!("preset = 'yugabyte-platform'\ncheck.leader = {{ {QUICK} }}\n{more}");
    Balancer::web(&backends(platform), &keys)
}

/// Waits until requests are answered by this instance.
#[track_caller]
fn serves(balancer: &Balancer, name: &str) {
    let mut client = Client::connect(balancer.addr("web"));
    eventually(&format!("{name} has the work"), DEADLINE, || client.get("/").text() == name);
}

#[test]
fn a_passive_instance_gets_nothing_even_when_the_active_one_is_gone() {
    let platform = Platform::start(&addresses(41, 2));
    let balancer = in_front_of(&platform, "no_leader = { hold = '100ms' }\n");
    assert_eq!(balancer.get("/").text(), "platform-0");
    platform.instances[0].stop();
    let mut answer = client::get(balancer.addr("web"), "/");
    eventually("refused", DEADLINE, || {
        answer = client::get(balancer.addr("web"), "/");
        answer.status == 503
    });
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    assert_eq!(platform.work_at(1), 0);
    // Its pages would have been there.
    assert_eq!(client::get(platform.instances[1].addr(), "/").status, 200);
}

#[test]
fn a_promotion_with_its_gap_costs_no_request() {
    let platform = Platform::start(&addresses(42, 2));
    let balancer = in_front_of(&platform, "");
    let load = Load::start(balancer.addr("web"), "/", 4);
    load.wait_for(MANY / 4);
    platform.begin_promotion();
    // A restore takes seconds, in which nobody is active; everybody waits.
    balancer.counts("evenkeel_pool_waiting{pool=p}", 4.0);
    platform.activate(1);
    load.wait_for(MANY / 4);
    load.forget();
    load.wait_for(MANY / 4);
    let tally = load.stop();
    tally.assert_none_failed();
    assert!((tally.share("platform-1") - 1.0).abs() < f64::EPSILON, "{tally:?}");
}

#[test]
fn of_two_leaders_the_one_that_had_the_work_keeps_it_and_an_alarm_rises() {
    let platform = Platform::start(&addresses(43, 2));
    let balancer = in_front_of(&platform, "");
    serves(&balancer, "platform-0");
    platform.activate(1);
    balancer.counts(ALARM, 1.0);
    for _ in 0..20 {
        assert_eq!(balancer.get("/").text(), "platform-0");
    }
    platform.demote(0);
    serves(&balancer, "platform-1");
    balancer.counts(ALARM, 0.0);
    // An old active one that comes back does not take over either.
    platform.activate(0);
    balancer.counts(ALARM, 1.0);
    for _ in 0..20 {
        assert_eq!(balancer.get("/").text(), "platform-1");
    }
}

const ALARM: &str = "evenkeel_pool_alarm{pool=p,alarm=two_leaders}";

#[test]
fn the_metrics_port_follows_the_active_instance() {
    let platform = Platform::start(&addresses(44, 2));
    let list: Vec<String> = backends(&platform).iter().map(|address| format!("'{address}'")).collect();
    let balancer = Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\nprotocol = 'tcp'\npool = 'platform'\n\
         [listener.metrics]\nbind = '127.0.0.1:0'\nprotocol = 'tcp'\npool = 'platform-metrics'\n\
         [pool.platform-metrics]\nfollows = 'platform'\nport = {}\n\
         [pool.platform]\npreset = 'yugabyte-platform'\nbackends = [{}]\ncheck.leader = {{ {QUICK} }}\n",
        platform.metrics_port(),
        list.join(", ")
    ));
    // A session that is under way as the role is lost is cut.
    let asks = |listener: &str| {
        client::try_get(balancer.addr(listener), "/metrics").map(|answer| answer.text()).unwrap_or_default()
    };
    assert_eq!((&*asks("web"), &*asks("metrics")), ("platform-0", "metrics-0"));
    let mut session = Client::connect(balancer.addr("metrics"));
    assert_eq!(session.get("/").text(), "metrics-0");
    platform.begin_promotion();
    platform.activate(1);
    eventually("both have moved", DEADLINE, || (&*asks("web"), &*asks("metrics")) == ("platform-1", "metrics-1"));
    assert!(session.closed(), "a session with the metrics of the old one goes on");
    // Nobody asks Prometheus itself.
    assert_eq!(platform.prometheus[1].requests_for("/api/v1/ha_leader"), 0);
}

#[test]
fn sessions_end_with_a_promotion() {
    let platform = Platform::start(&addresses(45, 2));
    let keys = format!("preset = 'yugabyte-platform'\ncheck.leader = {{ {QUICK} }}\n");
    let balancer = Balancer::tcp(&backends(&platform), &keys);
    let mut session = Client::connect(balancer.addr("web"));
    assert_eq!(session.get("/").text(), "platform-0");
    platform.begin_promotion();
    platform.activate(1);
    assert!(session.closed());
    serves(&balancer, "platform-1");
}

#[test]
fn an_instance_that_cannot_read_its_configuration_is_down() {
    let platform = Platform::start(&addresses(46, 2));
    let balancer = in_front_of(&platform, "");
    platform.break_down(1);
    crate::wait_for(&balancer, platform.instances[1].addr(), false);
    assert_eq!(balancer.get("/").text(), "platform-0");
}
