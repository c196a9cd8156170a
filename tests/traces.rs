//! Traces: the context that is passed on, and the spans that a collector gets.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use support::Balancer;
use support::client;
use support::eventually::{DEADLINE, eventually, eventually_some};
use support::origin::Origin;
use support::process::{Process, free_address};

const CAME: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A GET with this `traceparent`.
fn request(context: &str) -> String {
    let context =
        if context.is_empty() { String::new() } else { format!("traceparent: {context}\r\ntracestate: a=b\r\n") };
    format!("GET /a?b HTTP/1.1\r\nHost: shop\r\n{context}Connection: close\r\n\r\n")
}

fn tracing(collector: &Origin, more: &str) -> String {
    format!("[tracing]\notlp = 'http://{}'\nservice_name = 'front'\n{more}\n", collector.addr())
}

/// All spans that the collector has got.
fn spans(collector: &Origin) -> Vec<Value> {
    let batches = collector.requests();
    let bodies = batches.iter().map(|batch| serde_json::from_slice::<Value>(&batch.body).unwrap());
    bodies.flat_map(|body| body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone()).collect()
}

fn attribute(span: &Value, key: &str) -> Value {
    let all = span["attributes"].as_array().unwrap();
    let found = all.iter().find(|it| it["key"] == key).map(|it| it["value"].as_object().unwrap());
    found.map_or(Value::Null, |value| value.values().next().unwrap().clone())
}

#[test]
fn without_tracing_the_context_passes_as_it_came() {
    let origin = Origin::http().reply("x").start();
    let lb = Balancer::web(&[origin.addr()], "");
    client::try_request(lb.addr("web"), &request("any thing")).unwrap();
    assert_eq!(origin.last_request().headers("traceparent"), ["any thing"]);
    assert_eq!(origin.last_request().headers("tracestate"), ["a=b"]);
}

#[test]
fn a_request_that_is_recorded_goes_on_as_a_child_and_its_spans_are_told() {
    let (origin, collector) = (Origin::http().reply("x").start(), Origin::http().reply("{}").start());
    let lb = Balancer::web(&[origin.addr()], &tracing(&collector, "sample = 0"));
    client::try_request(lb.addr("web"), &request(CAME)).unwrap();
    let got = origin.last_request();
    let context = got.headers("traceparent");
    assert_eq!(context.len(), 1, "{context:?}");
    let parts: Vec<&str> = context[0].split('-').collect();
    assert_eq!((parts[0], parts[1], parts[3]), ("00", "0af7651916cd43dd8448eb211c80319c", "01"));
    assert_ne!(parts[2], "b7ad6b7169203331");
    assert_eq!(got.headers("tracestate"), ["a=b"]);
    let spans = eventually_some("the spans come", DEADLINE, || Some(spans(&collector)).filter(|all| !all.is_empty()));
    let [server, attempt] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(server["parentSpanId"], "b7ad6b7169203331");
    assert_eq!((&server["kind"], &attempt["kind"]), (&2.into(), &3.into()));
    assert_eq!(attempt["parentSpanId"], server["spanId"]);
    assert_eq!(attempt["spanId"], parts[2], "the backend's parent is the attempt");
    assert_eq!(attribute(server, "url.path"), "/a");
    assert_eq!(attribute(server, "http.response.status_code"), "200");
    assert_eq!(attribute(attempt, "evenkeel.backend"), origin.addr().to_string());
    let time = |key: &str| server[key].as_str().unwrap().parse::<u64>().unwrap();
    assert!(time("endTimeUnixNano") > time("startTimeUnixNano"));
    lb.counts("evenkeel_spans_total{result=exported}", 2.0);
}

#[test]
fn each_attempt_is_a_span_of_its_own_and_each_backend_is_told_its_own() {
    let (bad, good) = (Origin::http().resets_before_answer().start(), Origin::http().reply("x").start());
    let collector = Origin::http().reply("{}").start();
    let lb =
        Balancer::web(&[bad.addr(), good.addr()], &format!("balance = 'first'\n{}", tracing(&collector, "sample = 1")));
    assert_eq!(client::try_request(lb.addr("web"), &request("")).unwrap().status, 200);
    let spans = eventually_some("the spans come", DEADLINE, || Some(spans(&collector)).filter(|all| !all.is_empty()));
    let [server, first, second] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(attribute(first, "error.type"), "reset_before_answer");
    assert_eq!(attribute(second, "http.request.resend_count"), "1");
    assert_eq!(server.get("parentSpanId"), None);
    let told = |origin: &Origin| origin.last_request().headers("traceparent")[0].split('-').nth(2).unwrap().to_owned();
    assert_eq!((first["spanId"].as_str(), second["spanId"].as_str()), (Some(&*told(&bad)), Some(&*told(&good))));
}

#[test]
fn who_is_recorded_is_decided_by_the_flag_or_by_the_share() {
    let unsampled = CAME.replace("-01", "-00");
    let collector = Origin::http().reply("{}").start();
    for (options, came, flag) in [
        ("sample = 1", "", "01"),
        ("sample = 0", "", "00"),
        ("sample = 1", unsampled.as_str(), "00"),
        ("sample = 0\nparent = 'ignore'", CAME, "00"),
        ("sample = 1\nparent = 'ignore'", unsampled.as_str(), "01"),
        ("sample = 1", "00-zz", "01"),
    ] {
        let origin = Origin::http().reply("x").start();
        let lb = Balancer::web(&[origin.addr()], &tracing(&collector, options));
        client::try_request(lb.addr("web"), &request(came)).unwrap();
        let got = origin.last_request();
        assert_eq!(got.headers("traceparent").len(), 1);
        assert!(got.headers("traceparent")[0].ends_with(flag), "{options} {came}: {:?}", got.headers("traceparent"));
        // What belongs to a context that is not valid goes with it.
        assert_eq!(
            got.headers("tracestate").len(),
            usize::from(!came.is_empty() && came != "00-zz"),
            "{options} {came}"
        );
    }
}

#[test]
fn a_collector_that_is_away_is_said_once_and_costs_nothing_else() {
    let origin = Origin::http().reply("x").start();
    let (web, nobody) = (free_address(), free_address());
    let process = Process::start(&format!(
        "[tracing]\notlp = 'http://{nobody}'\nsample = 1\n[listener.web]\nbind = '{web}'\npool = 'p'\n[pool.p]\nbackends = ['{}']\n",
        origin.addr()
    ));
    for _ in 0..20 {
        assert_eq!(client::get(web, "/").status, 200);
    }
    eventually("it is said", DEADLINE, || process.stderr().contains("traces cannot be exported"));
    eventually("they are counted", DEADLINE, || {
        let text = client::get(process.admin(), "/metrics").text();
        text.contains("evenkeel_spans_total{result=\"dropped\"} 40")
    });
    assert_eq!(process.stderr().matches("cannot be exported").count(), 1);
}
