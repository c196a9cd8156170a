//! Policies of a pool over real sockets: traffic that takes a backend out, probes and traffic that contradict each
//! other, what happens when everybody is down, alarms, and backends that come and go too often.

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use support::eventually::DEADLINE;
use support::origin::Script;
use support::{Balancer, Load, Origin, eventually};

/// A check that is asked often and falls at once.
const LIVE: &str = "[pool.p.check.live]\ntype = 'http'\npath = '/health'\ninterval = '50ms'\nrise = 1\nfall = 1\n";

/// Says that it is well, whatever its answers to others are.
fn well(answers: Script) -> Script {
    answers.at("/health", Origin::http())
}

/// Says that it is unwell, whatever its answers to others are.
fn unwell(answers: Script) -> Script {
    answers.at("/health", Origin::http().status(500))
}

fn named(name: &str) -> Script {
    Origin::http().reply(name)
}

/// A pool of backends `a`, `b`, … behind a listener.
fn balancer(backends: &[&Origin], keys: &str, checks: &str) -> Balancer {
    let names = ["a", "b", "c", "d"];
    let members = names.iter().zip(backends).map(|(name, origin)| member(name, origin.addr()));
    Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n[pool.p]\nbackends = [{}]\n{keys}\n{checks}",
        members.collect::<Vec<_>>().join(", ")
    ))
}

fn member(name: &str, address: SocketAddr) -> String {
    format!("{{ name = '{name}', address = '{address}' }}")
}

fn of(backend: &str, family: &str, label: &str) -> String {
    format!("evenkeel_backend_{family}{{pool=p,backend={backend}{label}}}")
}

fn alarm(kind: &str) -> String {
    format!("evenkeel_pool_alarm{{pool=p,alarm={kind}}}")
}

/// The events of one kind, as text.
fn events(balancer: &Balancer, kind: &str) -> Vec<String> {
    let listed = support::client::get(balancer.admin(), "/api/v1/events").text();
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("events are JSON");
    let of_kind = |event: &&serde_json::Value| event["kind"] == kind;
    let events = listed["events"].as_array().expect("a list").iter().filter(of_kind);
    events.map(|event| event["message"].as_str().unwrap_or_default().to_owned()).collect()
}

// === outliers ===

#[test]
fn traffic_takes_out_a_backend_whose_probes_are_fine_and_brings_it_back() {
    let (a, b) = (well(named("a")).start(), well(named("b")).start());
    let lb = balancer(&[&a, &b], "outliers = { failures = 3, time = '1s' }", LIVE);
    lb.wait_for_up(2);
    b.becomes(well(Origin::http().resets_before_answer()));
    let load = Load::start(lb.addr("web"), "/", 4);
    lb.counts(&of("b", "ejected", ",reason=traffic"), 1.0);
    lb.counts(&of("b", "ejections_total", ",reason=traffic"), 1.0);
    lb.counts(&of("b", "disagreement", ",kind=traffic_fails"), 1.0);
    b.becomes(well(named("b")));
    lb.counts(&of("b", "ejected", ",reason=traffic"), 0.0);
    eventually("b gets work again", DEADLINE, || {
        load.forget();
        load.wait_for(100);
        load.so_far().share("b") > 0.3
    });
    load.stop().assert_none_failed();
    let told = events(&lb, "down");
    assert!(told.iter().any(|message| message.contains("in a row")), "{told:?}");
}

#[test]
fn a_share_of_errors_is_enough_and_the_last_one_is_never_taken_out() {
    let (a, b) = (well(named("a")).start(), well(Origin::http().status(500)).start());
    let keys = "outliers = { errors = '50%', requests = 20, window = '2s', time = '1h', time_max = '1h', \
                max_ejected = '100%' }\nbalance = 'round-robin'";
    let lb = balancer(&[&a, &b], keys, LIVE);
    lb.wait_for_up(2);
    let load = Load::start(lb.addr("web"), "/", 4);
    lb.counts(&of("b", "ejected", ",reason=traffic"), 1.0);
    a.becomes(well(Origin::http().status(500)));
    // Somebody has to do it: one of the two remains, however bad.
    eventually("answers of the last one come", DEADLINE, || {
        load.forget();
        load.wait_for(200);
        let tally = load.so_far();
        tally.good == 0 && tally.failures.iter().all(|failure| failure.contains("500"))
    });
    let out = ["a", "b"].iter().filter(|name| lb.metric(&of(name, "ejected", ",reason=traffic")) > 0.0).count();
    assert!(out <= 1, "both are out");
    drop(load);
}

// === disagreement ===

#[test]
fn a_probe_that_fails_while_traffic_is_fine_may_be_overruled_and_is_named_all_the_same() {
    for (policy, up) in [("keep", 1.0), ("down", 0.0)] {
        let (a, b) = (well(named("a")).start(), well(named("b")).start());
        let keys = format!("disagree = {{ probe_fails = '{policy}' }}");
        // Traffic is seen between failed probes: there must be some of both before it is down.
        let lb = balancer(&[&a, &b], &keys, &LIVE.replace("fall = 1", "fall = 20"));
        lb.wait_for_up(2);
        let load = Load::start(lb.addr("web"), "/", 2);
        load.wait_for(100);
        let probes = b.requests_for("/health");
        b.becomes(unwell(named("b")));
        lb.counts(&of("b", "disagreement", ",kind=probe_fails"), 1.0);
        b.wait_for_requests_for("/health", probes + 25);
        lb.counts(&of("b", "up", ""), up);
        load.stop().assert_none_failed();
        assert!(!events(&lb, "probe_fails").is_empty(), "it is told");
    }
}

#[test]
fn traffic_that_fails_may_merely_be_reported() {
    let (a, b) = (well(named("a")).start(), well(named("b")).start());
    let keys = "outliers = { failures = 3 }\ndisagree = { traffic_fails = 'report' }";
    let lb = balancer(&[&a, &b], keys, LIVE);
    lb.wait_for_up(2);
    b.becomes(well(Origin::http().resets_before_answer()));
    let load = Load::start(lb.addr("web"), "/", 4);
    lb.counts(&of("b", "disagreement", ",kind=traffic_fails"), 1.0);
    load.wait_for(200);
    assert!(lb.metric(&of("b", "ejections_total", ",reason=traffic")) < 1.0, "reported, not ejected");
    drop(load);
}

#[test]
fn an_open_port_alone_is_no_traffic_that_is_fine() {
    let silent = Origin::http().stalls_before_answer().start();
    let health = Origin::http().start();
    let check = format!("{}port = {}\n", LIVE, health.addr().port());
    let lb = Balancer::tcp(&[silent.addr()], &format!("disagree = {{ probe_fails = 'keep' }}\n{check}"));
    lb.wait_for_up(1);
    let mut sessions = vec![lb.client()];
    health.becomes(Origin::http().status(500));
    // Sessions go on coming, and the backend says nothing in any of them: nobody contradicts the probe.
    eventually("it is down", DEADLINE, || {
        // Those that come after the fall are refused.
        sessions.extend(support::Client::try_connect(lb.addr("web")));
        lb.metric("evenkeel_pool_backends_up{pool=p}") < 1.0
    });
}

// === all down ===

/// Both are down; with what the pool does then.
fn nobody(all_down: &str) -> (Origin, Origin, Balancer) {
    let (a, b) = (unwell(named("a")).start(), unwell(named("b")).start());
    let alive = "[pool.p.check.alive]\ntype = 'tcp'\ninterval = '50ms'\nrise = 1\nfall = 1\n";
    let lb = balancer(&[&a, &b], all_down, &format!("{LIVE}{alive}"));
    (a, b, lb)
}

#[test]
fn with_all_down_fail_requests_are_refused_at_once() {
    let (_a, _b, lb) = nobody("all_down = 'fail'");
    let answer = lb.get("/");
    assert_eq!((answer.status, answer.header("retry-after").is_some()), (503, true));
}

#[test]
fn with_all_down_hold_requests_wait_for_the_first_that_is_well() {
    let (a, _b, lb) = nobody("all_down = 'hold'");
    let mut client = lb.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    lb.counts("evenkeel_pool_waiting{pool=p}", 1.0);
    a.becomes(well(named("a")));
    assert_eq!(client.read_response().text(), "a");
}

#[test]
fn with_all_down_serve_anyway_all_get_work_and_an_alarm_tells() {
    let (_a, _b, lb) = nobody("all_down = 'serve-anyway'");
    lb.counts(&alarm("serving_down"), 1.0);
    let load = Load::start(lb.addr("web"), "/", 2);
    load.wait_for(200);
    let tally = load.stop();
    tally.assert_none_failed();
    assert!(tally.share("a") > 0.3 && tally.share("b") > 0.3, "{tally:?}");
    lb.counts("evenkeel_pool_backends_up{pool=p}", 0.0);
}

#[test]
fn with_serve_when_those_get_work_for_which_the_expression_holds() {
    let (a, b, lb) = nobody("all_down = { serve_when = 'alive' }");
    lb.counts(&alarm("serving_down"), 1.0);
    b.stop();
    eventually("b is not alive", DEADLINE, || lb.metric("evenkeel_check_up{pool=p,backend=b,check=alive}") < 1.0);
    for _ in 0..20 {
        assert_eq!(lb.get("/").text(), "a");
    }
    a.becomes(well(named("a")));
    lb.counts(&alarm("serving_down"), 0.0);
}

// === alarms and what comes too often ===

#[test]
fn fewer_than_min_healthy_raise_an_alarm_until_enough_are_well_again() {
    let (a, b) = (well(named("a")).start(), well(named("b")).start());
    let lb = balancer(&[&a, &b], "min_healthy = 2", LIVE);
    lb.wait_for_up(2);
    lb.counts(&alarm("min_healthy"), 0.0);
    b.becomes(unwell(named("b")));
    lb.counts(&alarm("min_healthy"), 1.0);
    b.becomes(well(named("b")));
    lb.counts(&alarm("min_healthy"), 0.0);
    let told = events(&lb, "alarm");
    assert!(told.iter().any(|message| message.contains("1 of 2")), "{told:?}");
}

#[test]
fn a_backend_that_flaps_is_kept_out_for_a_while() {
    let (a, b) = (well(named("a")).start(), well(named("b")).start());
    let lb = balancer(&[&a, &b], "flaps = { max = 3, within = '1m', hold = '1h' }", LIVE);
    lb.wait_for_up(2);
    for round in 0.. {
        assert!(round < 10, "it flaps without an end");
        b.becomes(unwell(named("b")));
        lb.counts(&of("b", "up", ""), 0.0);
        b.becomes(well(named("b")));
        let check = "evenkeel_check_up{pool=p,backend=b,check=live}";
        eventually("its check is well", DEADLINE, || lb.metric(check) > 0.0);
        let held = || lb.metric(&of("b", "ejected", ",reason=flapping")) > 0.0;
        eventually("it is up or held", DEADLINE, || held() || lb.metric(&of("b", "up", "")) > 0.0);
        if held() {
            break;
        }
    }
    lb.counts(&alarm("flapping"), 1.0);
    lb.counts(&of("b", "ejections_total", ",reason=flapping"), 1.0);
    lb.counts(&of("b", "up", ""), 0.0);
}

#[test]
fn slow_start_begins_with_a_small_share() {
    let (a, b) = (well(named("a")).start(), well(named("b")).start());
    let lb = balancer(&[&a, &b], "slow_start = '1h'\nbalance = 'round-robin'", LIVE);
    lb.wait_for_up(2);
    b.becomes(unwell(named("b")));
    lb.counts(&of("b", "up", ""), 0.0);
    b.becomes(well(named("b")));
    lb.counts(&of("b", "up", ""), 1.0);
    let share = lb.metric(&of("b", "share_ratio", ""));
    assert!((0.01..0.2).contains(&share), "{share}");
    let load = Load::start(lb.addr("web"), "/", 4);
    load.wait_for(2_000);
    let tally = load.stop();
    tally.assert_none_failed();
    let got = tally.share("b");
    let fair = share / (1.0 + share);
    assert!((got - fair).abs() < 0.5 * fair, "it has {got}, its weight asks for {fair}");
}

#[test]
fn a_verdict_waits_as_long_as_up_after_and_down_after_say() {
    let a = well(named("a")).start();
    let lb = balancer(&[&a], "up_after = '1h'\ndown_after = '1h'", LIVE);
    lb.wait_for_up(1);
    let probes = a.requests_for("/health");
    a.becomes(unwell(named("a")));
    a.wait_for_requests_for("/health", probes + 10);
    assert_eq!(lb.get("/").text(), "a", "unwell, but not for long enough");
    let check = "evenkeel_check_up{pool=p,backend=a,check=live}";
    eventually("its check is down", Duration::from_secs(5), || lb.metric(check) < 1.0);
    lb.counts(&of("a", "up", ""), 1.0);
}
