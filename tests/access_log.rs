//! The access log: one line for each request or connection, with where its time went and why it ended.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::client::{self, Client};
use support::origin::Origin;
use support::process::{Process, free_address};

fn config(format: &str, web: std::net::SocketAddr, tcp: std::net::SocketAddr, backend: std::net::SocketAddr) -> String {
    format!(
        "[log]\naccess = \"{format}\"\n\
         [listener.web]\nbind = \"{web}\"\npool = \"app\"\n\
         [listener.raw]\nbind = \"{tcp}\"\nprotocol = \"tcp\"\npool = \"app\"\n\
         [pool.app]\nbackends = [{{ name = \"one\", address = \"{backend}\" }}]\n"
    )
}

/// Lines of the log after the program has ended: what a worker still held must be there too.
fn lines(format: &str) -> Vec<String> {
    let origin = Origin::http().reply("hello").start();
    let (web, tcp) = (free_address(), free_address());
    let mut process = Process::start(&config(format, web, tcp, origin.addr()));
    let mut client = Client::connect(web);
    client.send("GET /a?b HTTP/1.1\r\nHost: shop.example\r\nX-Request-ID: abc-1\r\n\r\n");
    assert_eq!(client.read_response().status, 200);
    assert_eq!(client::try_request(web, "GET / HTTP/1.1\r\n\r\n").unwrap().status, 400);
    assert_eq!(client::get(tcp, "/over-tcp").status, 200);
    drop(client);
    assert!(process.stop().success());
    process.stdout().lines().map(str::to_owned).collect()
}

fn field<'a>(object: &'a serde_json::Value, name: &str) -> &'a serde_json::Value {
    object.get(name).unwrap_or_else(|| panic!("no {name} in {object}"))
}

#[test]
fn a_line_of_json_says_who_asked_what_who_answered_and_how_long_it_took() {
    let lines: Vec<serde_json::Value> = lines("json").iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let request = lines.iter().find(|line| field(line, "target") == "/a?b").expect("the request's line");
    for (name, value) in [
        ("listener", "web"),
        ("client", "127.0.0.1"),
        ("method", "GET"),
        ("host", "shop.example"),
        ("pool", "app"),
        ("backend", "one"),
        ("end", "ok"),
        ("request_id", "abc-1"),
    ] {
        assert_eq!(field(request, name), value, "{name}");
    }
    assert_eq!(field(request, "status"), 200);
    assert_eq!(field(request, "retries"), 0);
    let time = |name: &str| field(request, name).as_f64().unwrap();
    assert!(time("response_seconds") > 0.0 && time("connect_seconds") > 0.0);
    assert!(time("seconds") >= time("response_seconds"));
    assert!(field(request, "sent_bytes").as_u64().unwrap() > 5);
    let refused = lines.iter().find(|line| field(line, "status") == 400).expect("the refused request's line");
    assert_eq!(field(refused, "end"), "missing_host");
    let connection = lines.iter().find(|line| field(line, "listener") == "raw").expect("the connection's line");
    assert_eq!(field(connection, "status"), 0);
    assert!(field(connection, "received_bytes").as_u64().unwrap() > 0);
}

#[test]
fn a_line_of_text_reads_like_a_sentence_and_cannot_be_forged() {
    let lines = lines("text");
    let request = lines.iter().find(|line| line.contains("/a?b")).expect("the request's line");
    for part in ["127.0.0.1 web", "\"GET shop.example/a?b\" 200", "app/one", "retries=0 ok abc-1"] {
        assert!(request.contains(part), "{part} in {request}");
    }
    assert!(lines.iter().any(|line| line.contains("127.0.0.1 raw tcp app/one")), "{lines:?}");
}

#[test]
fn without_the_option_nothing_is_written() {
    let origin = Origin::http().reply("hello").start();
    let web = free_address();
    let mut process = Process::start(&format!(
        "[listener.web]\nbind = \"{web}\"\npool = \"app\"\n[pool.app]\nbackends = [\"{}\"]\n",
        origin.addr()
    ));
    assert_eq!(client::get(web, "/").status, 200);
    process.stop();
    assert_eq!(process.stdout(), "");
}
