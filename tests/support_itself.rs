//! The origins and clients that the other tests stand on do what their names say.

mod support;

use std::io::ErrorKind::{ConnectionReset, InvalidData, UnexpectedEof};
use std::time::Duration;

use support::client::{self, Ending};
use support::eventually::DEADLINE;
use support::{Client, Load, Origin, Process, process};

#[test]
fn an_origin_answers_and_remembers() {
    let origin = Origin::http().reply("a").header("X-Is", "me").start();
    let mut client = Client::connect(origin.addr());
    for _ in 0..2 {
        let response = client.get("/x?y=1");
        assert_eq!((response.status, response.text().as_str(), response.header("x-is")), (200, "a", Some("me")));
    }
    assert_eq!(client.post("/up", "body").text(), "a");
    client.send("POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /p HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((client.read_response().status, client.read_response().status), (200, 200));
    let requests = origin.requests();
    assert_eq!(requests.iter().map(|r| r.target.as_str()).collect::<Vec<_>>(), ["/x?y=1", "/x?y=1", "/up", "/c", "/p"]);
    assert_eq!((requests[2].body.as_slice(), requests[3].body.as_slice()), (&b"body"[..], &b"abc"[..]));
    assert_eq!((origin.connections(), origin.open_connections()), (1, 1));
}

#[test]
fn a_stopped_origin_refuses_and_comes_back_on_its_port() {
    let origin = Origin::http().reply("a").start();
    let mut client = Client::connect(origin.addr());
    assert_eq!(client.get("/").text(), "a");
    origin.stop();
    assert!(client.closed());
    assert_eq!(Client::try_connect(origin.addr()).err().map(|e| e.kind()), Some(std::io::ErrorKind::ConnectionRefused));
    origin.start_again();
    assert_eq!(client::get(origin.addr(), "/").text(), "a");
}

#[test]
fn connections_end_as_named() {
    let refuses = Origin::http().refuses().start();
    assert!(Client::try_connect(refuses.addr()).is_err());
    let closes = Origin::http().closes_on_accept().start();
    assert_eq!(Client::connect(closes.addr()).ending(DEADLINE), Ending::Closed);
    let resets = Origin::http().resets_on_accept().start();
    assert_eq!(Client::connect(resets.addr()).ending(DEADLINE), Ending::Reset);
    let stalls = Origin::http().accepts_and_stalls().start();
    let mut client = Client::connect(stalls.addr());
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.ending(Duration::from_millis(50)), Ending::Open);
    let half = Origin::http().half_closes().start();
    let mut client = Client::connect(half.addr());
    assert_eq!(client.get("/").status, 200);
    assert_eq!(client.ending(DEADLINE), Ending::Closed);
}

#[test]
fn answers_break_as_named() {
    let kind = |script: support::origin::Script| {
        let origin = script.reply("0123456789").start();
        client::try_get(origin.addr(), "/").expect_err("no whole answer").kind()
    };
    assert_eq!(kind(Origin::http().resets_mid_head()), ConnectionReset);
    assert_eq!(kind(Origin::http().resets_mid_body()), ConnectionReset);
    assert_eq!(kind(Origin::http().truncates_body()), UnexpectedEof);
    assert_eq!(kind(Origin::http().garbage()), InvalidData);
    assert_eq!(kind(Origin::http().closes_before_answer()), UnexpectedEof);
    assert_eq!(
        kind(Origin::http().raw("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab").keep_alive_then_closes_silently()),
        UnexpectedEof
    );

    let huge = Origin::http().huge_head().start();
    assert!(client::get(huge.addr(), "/").raw_head.len() > 1 << 20);
    let endless = Origin::http().endless_body().start();
    let mut client = Client::connect(endless.addr());
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.read_exact(1 << 20).len(), 1 << 20);
}

#[test]
fn framings_interims_paths_and_changes_work() {
    let origin = Origin::http()
        .chunked(["ab", "c"])
        .at("/close", Origin::http().reply("until the end").close_delimited())
        .at("/early", Origin::http().reply("early").answers_early())
        .at("/hints", Origin::http().reply("final").informs(103))
        .at("/continue", Origin::http().reply("went on").continue_100())
        .at("/slow", Origin::http().reply("slow").slow(Duration::from_millis(1)))
        .start();
    assert_eq!(client::get(origin.addr(), "/").text(), "abc");
    assert_eq!(client::get(origin.addr(), "/close").text(), "until the end");
    assert_eq!(client::get(origin.addr(), "/slow").text(), "slow");
    let mut client = Client::connect(origin.addr());
    client.send("GET /hints HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((client.read_response().status, client.read_response().text().as_str()), (103, "final"));
    client.send("PUT /continue HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_eq!(client.read_response().status, 100);
    client.send("ok");
    assert_eq!(client.read_response().text(), "went on");
    client.send("PUT /early HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n");
    assert_eq!(client.read_response().text(), "early");
    client.send("ok");
    origin.becomes(Origin::http().status(503).stalls_after(usize::MAX));
    assert_eq!(client.get("/").status, 503);
    client.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.try_read_response("HEAD").unwrap().status, 503);
}

#[test]
fn connections_that_must_not_be_reused_end_when_reused() {
    let origin = Origin::http().reply("once").closes_on_reuse().start();
    let mut client = Client::connect(origin.addr());
    assert_eq!(client.get("/").text(), "once");
    assert!(client.try_get("/").is_err());
    assert_eq!(origin.request_count(), 1);
    let origin = Origin::http().stalls_after(1).start();
    let mut client = Client::connect(origin.addr());
    assert_eq!(client.get("/").status, 200);
    client.patience(Duration::from_millis(50));
    assert!(client.try_get("/").is_err());
}

#[test]
fn tunnels_and_tcp_servers_answer() {
    let origin = Origin::http().upgrade_echo().start();
    let mut tunnel = client::websocket(origin.addr(), "/live");
    assert!(tunnel.echoes("hello") && tunnel.echoes(vec![7; 100_000]));
    tunnel.end_sending();
    assert!(tunnel.closed());

    let echo = Origin::echo().start();
    let mut client = Client::connect(echo.addr());
    assert!(client.echoes("ping"));
    assert_eq!(echo.received_bytes(), 4);
    let banner = Origin::tcp_banner("5.5.5\0").start();
    assert_eq!(Client::connect(banner.addr()).read_exact(6), b"5.5.5\0");
    let last = Origin::tcp_answers_at_end("bye").start();
    let mut client = Client::connect(last.addr());
    client.send("all of it");
    client.end_sending();
    assert_eq!(client.try_read_to_end().unwrap(), b"bye");
    let source = Origin::tcp_source(100_000).start();
    assert_eq!(Client::connect(source.addr()).try_read_to_end().unwrap().len(), 100_000);
    let resets = Origin::tcp_resets_after(3).start();
    let mut client = Client::connect(resets.addr());
    client.send("abc");
    assert_eq!(client.ending(DEADLINE), Ending::Reset);
}

#[test]
fn load_counts_what_failed() {
    let origin = Origin::http().reply("a").start();
    let load = Load::start(origin.addr(), "/", 4);
    load.wait_for(100);
    assert_eq!(load.so_far().failed, 0);
    origin.becomes(Origin::http().status(500));
    load.wait_for(10);
    let tally = load.stop();
    assert!(tally.good >= 100 && tally.failed > 0);
    assert!((tally.share("a") - 1.0).abs() < f64::EPSILON);
}

#[test]
fn the_program_starts_reloads_and_stops() {
    let (a, b) = (Origin::http().reply("a").start(), Origin::http().reply("b").start());
    let web = process::free_address();
    let config = |origin: &Origin| {
        format!("[listener.web]\nbind = \"{web}\"\npool = \"web\"\n\n[pool.web]\nbackends = [\"{}\"]\n", origin.addr())
    };
    let mut program = Process::start(&config(&a));
    assert_eq!(client::get(web, "/").text(), "a");
    let said = program.reload(&config(&b));
    assert!(said.status.success(), "{said:?}");
    assert_eq!(client::get(web, "/").text(), "b");
    let refused = program.reload("[pool.web]\nbackends = 7\n");
    assert!(!refused.status.success(), "{refused:?}");
    assert_eq!(client::get(web, "/").text(), "b");
    assert!(program.stop().success(), "{}", program.stderr());
    assert!(process::run(&["version"]).status.success());
}

#[test]
fn a_schema_is_held_to_the_letter() {
    let document = serde_json::json!({ "schemas": { "inner": {
        "type": "object", "properties": { "b": { "type": ["integer", "null"], "minimum": 1 } }, "required": ["b"],
    } } });
    let schema = serde_json::json!({
        "type": "object",
        "properties": { "a": { "const": "x" } },
        "required": ["a"],
        "$ref": "#/schemas/inner",
    });
    for (value, faults) in [
        (serde_json::json!({ "a": "x", "b": 1 }), 0),
        (serde_json::json!({ "a": "x", "b": null }), 0),
        (serde_json::json!({ "a": "y", "b": 1 }), 1),
        (serde_json::json!({ "a": "x", "b": 0 }), 1),
        (serde_json::json!({ "a": "x", "b": "1" }), 1),
        (serde_json::json!({ "a": "x" }), 1),
        (serde_json::json!({ "a": "x", "b": 1, "c": 2 }), 1),
        (serde_json::json!([]), 4),
    ] {
        let found = support::json_schema::faults(&document, &schema, &value);
        assert_eq!(found.len(), faults, "{value}: {found:?}");
    }
    let unknown = serde_json::json!({ "pattern": "x" });
    assert_eq!(support::json_schema::faults(&document, &unknown, &serde_json::json!("x")).len(), 1);
}
