//! Each failure of a backend in figures: when it was seen, found and over, and what it cost; over the API, by
//! `evenkeel incidents` and in the metrics.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use evenkeel::admin::incidents::{IncidentView, IncidentsView};
use support::eventually::{DEADLINE, eventually_some};
use support::process::run;
use support::{Balancer, Load, Origin, client, eventually};

fn config(origins: &[&Origin]) -> String {
    let names = ["a", "b", "c"].iter().zip(origins);
    let backends: Vec<_> =
        names.map(|(name, it)| format!("{{ name = '{name}', address = '{}' }}", it.addr())).collect();
    format!(
        "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n[pool.p]\nbackends = [{}]\n\
         [pool.p.check.home]\ntype = 'http'\ninterval = '100ms'\ntimeout = '100ms'\nrise = 1\nfall = 3\n",
        backends.join(", ")
    )
}

fn incidents(lb: &Balancer, query: &str) -> Vec<IncidentView> {
    let answer = client::get(lb.admin(), &format!("/api/v1/incidents{query}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice::<IncidentsView>(&answer.body).unwrap().incidents
}

/// The only incident, once it is in this state.
fn only(lb: &Balancer, state: &str) -> IncidentView {
    eventually_some(&format!("one incident is {state}"), DEADLINE, || match &incidents(lb, "")[..] {
        [one] if one.state == state => Some(one.clone()),
        _ => None,
    })
}

#[test]
fn a_killed_backend_under_load_is_one_incident_with_its_figures() {
    let (a, b) = (Origin::http().reply("a").start(), Origin::http().reply("b").start());
    let lb = Balancer::start(&config(&[&a, &b]));
    assert_eq!(incidents(&lb, ""), [], "what was never up has not failed");
    let load = Load::start(lb.addr("web"), "/", 4);
    load.wait_for(200);
    a.stop();
    let open = only(&lb, "open");
    assert_eq!((open.pool.as_str(), open.backend.as_str(), open.origin.as_str()), ("p", "a", "failure"));
    assert!(open.because.starts_with("check home: connect: "), "{}", open.because);
    load.wait_for(400);
    a.start_again();
    let over = only(&lb, "recovered");
    load.stop().assert_none_failed();

    assert_eq!(over.requests_failed, 0);
    assert!(over.requests_retried >= 1, "traffic met it first: {over:?}");
    assert!(over.first_failed_request.is_some() && over.last_failed_request.is_some(), "{over:?}");
    let out = over.out_of_rotation_seconds.unwrap();
    assert!(over.detection_seconds <= out && out < over.duration_seconds, "{over:?}");
    assert!(
        over.first_failed_request <= Some(over.detected.clone()) && Some(over.detected.clone()) <= over.out_of_rotation
    );
    assert!(over.out_of_rotation <= over.ended, "{over:?}");

    lb.counts("evenkeel_incidents_total{pool=p,origin=failure}", 1.0);
    lb.counts("evenkeel_incidents_open{pool=p}", 0.0);
    lb.counts("evenkeel_incident_detection_seconds_count{pool=p,origin=failure}", 1.0);
    lb.counts("evenkeel_incident_out_of_rotation_seconds_bucket{pool=p,origin=failure,le=+Inf}", 1.0);
    lb.counts("evenkeel_incident_duration_seconds_count{pool=p,origin=failure}", 1.0);
    let retried = "evenkeel_incident_requests_total{pool=p,origin=failure,result=retried}";
    lb.counts(retried, over.requests_retried as f64);
}

#[test]
fn what_fails_for_the_client_and_what_waits_is_counted() {
    let only_one = Origin::http().reply("a").start();
    let held = config(&[&only_one]).replace("[pool.p.check", "hold = '5s'\n[pool.p.check");
    let lb = Balancer::start(&held);
    assert_eq!(lb.get("/").status, 200);
    only_one.stop();
    only(&lb, "open");
    let waiting = std::thread::spawn({
        let web = lb.addr("web");
        move || client::get(web, "/").status
    });
    lb.counts("evenkeel_pool_waiting{pool=p}", 1.0);
    assert_eq!(only(&lb, "open").requests_held, 1);
    only_one.start_again();
    assert_eq!(waiting.join().unwrap(), 200, "it waited for the return");
    assert_eq!(only(&lb, "recovered").requests_held, 1);
}

#[test]
fn an_incident_outlives_a_reload_and_ends_with_its_backend() {
    let (a, b) = (Origin::http().reply("a").start(), Origin::http().reply("b").start());
    let lb = Balancer::start(&config(&[&a, &b]));
    b.stop();
    let before = only(&lb, "open");
    let reload = lb.reload(&format!("{}# nothing else\n", config(&[&a, &b]).replace("fall = 3", "fall = 2")));
    assert_eq!(reload.status, 200, "{}", reload.text());
    let after = only(&lb, "open");
    assert_eq!((after.number, &after.detected[..16]), (before.number, &before.detected[..16]));
    assert_eq!(lb.reload(&config(&[&a])).status, 200);
    let gone = only(&lb, "removed");
    assert_eq!((gone.number, gone.backend.as_str()), (before.number, "b"));
    assert!(gone.ended.is_some());
}

#[test]
fn the_command_shows_them_as_a_table_or_as_the_api_does() {
    let (a, b) = (Origin::http().reply("a").start(), Origin::http().reply("b").start());
    let lb = Balancer::start(&config(&[&a, &b]));
    let admin = lb.admin().to_string();
    let said = |arguments: &[&str]| {
        let ran = run(&[&["incidents", "--admin", &admin], arguments].concat());
        (ran.status.success(), String::from_utf8(if ran.status.success() { ran.stdout } else { ran.stderr }).unwrap())
    };
    assert_eq!(said(&[]), (true, "no backend that was up has failed since the start\n".to_owned()));
    a.stop();
    only(&lb, "open");
    let (_, table) = said(&[]);
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 2, "{table}");
    for word in ["NO", "FOUND IN", "OUT IN", "RETRIED", "CUT"] {
        assert!(lines[0].contains(word), "{table}");
    }
    assert!(
        lines[1].contains("p/a") && lines[1].contains("open") && lines[1].contains("check home: connect"),
        "{table}"
    );
    let (_, json) = said(&["--json", "--pool", "p"]);
    assert_eq!(serde_json::from_str::<IncidentsView>(&json).unwrap().incidents.len(), 1);
    let (ok, refused) = said(&["--pool", "q"]);
    assert!(!ok && refused.contains("there is no pool `q`"), "{refused}");
    assert_eq!(client::get(lb.admin(), "/api/v1/incidents?since=1").status, 400);
}

#[test]
fn one_bad_probe_is_no_incident() {
    let a = Origin::http().reply("a").start();
    let lb = Balancer::start(&config(&[&a]).replace("fall = 3", "fall = 100"));
    a.stop();
    eventually("probes have failed", DEADLINE, || {
        lb.metric("evenkeel_backend_probes_total{pool=p,backend=a,result=connect}") >= 1.0
    });
    a.start_again();
    assert_eq!(incidents(&lb, ""), []);
}
