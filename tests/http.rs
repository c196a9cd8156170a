//! HTTP/1.1 and 1.0 through the balancer, on the wire: what a client and a backend that keep the rules get.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use support::client::{self, Ending};
use support::{Balancer, Client, Origin, eventually};

use support::eventually::DEADLINE;

const SHORT: Duration = Duration::from_millis(150);

fn in_front_of(origin: &Origin) -> Balancer {
    Balancer::web(&[origin.addr()], "")
}

/// A body that shows where a byte is missing or doubled.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).take(length).collect()
}

/// Sends in parts, from a thread of its own, so that the test can read meanwhile.
fn send_all(client: &Client, bytes: Vec<u8>) -> std::thread::JoinHandle<std::io::Result<()>> {
    let mut stream = client.stream().try_clone().unwrap();
    std::thread::spawn(move || std::io::Write::write_all(&mut stream, &bytes))
}

fn chunks(body: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in body.chunks(size) {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

// === connections ===

#[test]
fn requests_of_a_connection_go_over_one_connection_to_the_backend() {
    let a = Origin::http().reply("a").start();
    let lb = in_front_of(&a);
    let mut client = lb.client();
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "a");
    }
    assert_eq!((a.request_count(), a.connections()), (20, 1));
    lb.counts(&format!("evenkeel_backend_reused_total{{pool=p,backend={}}}", a.addr()), 19.0);
}

#[test]
fn one_client_after_the_other_uses_the_same_connection_to_the_backend() {
    let a = Origin::http().reply("a").start();
    let lb = in_front_of(&a);
    for _ in 0..5 {
        assert_eq!(lb.get("/").text(), "a");
    }
    assert_eq!(a.connections(), 1);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let a = Origin::http().at("/1", Origin::http().reply("one")).at("/2", Origin::http().reply("two")).start();
    let lb = in_front_of(&a);
    let mut client = lb.client();
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    let answers = [client.read_response().text(), client.read_response().text(), client.read_response().text()];
    assert_eq!(answers, ["one", "two", "one"]);
    assert_eq!(a.requests()[1].body, b"abc");
    assert_eq!(client.ending(SHORT), Ending::Open);
}

#[test]
fn a_head_may_come_byte_by_byte() {
    let a = Origin::http().reply("a").start();
    let lb = in_front_of(&a);
    let mut client = lb.client();
    for byte in b"\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n" {
        client.send([*byte]);
    }
    assert_eq!(client.read_response().text(), "a");
    assert_eq!(a.last_request().target, "/x");
}

#[test]
fn connection_close_ends_the_connection_after_the_answer() {
    let a = Origin::http().reply("a").start();
    let lb = in_front_of(&a);
    let mut client = lb.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let answer = client.read_response();
    assert_eq!((answer.header("connection"), answer.text().as_str()), (Some("close"), "a"));
    assert_eq!(client.ending(DEADLINE), Ending::Closed);
    assert_eq!(lb.get("/").text(), "a");
    assert_eq!(a.connections(), 1, "the client's wish is no wish of the balancer's");
}

#[test]
fn a_client_that_has_ended_its_side_still_gets_its_answer() {
    let a = Origin::http().reply("a").delay(SHORT).start();
    let lb = in_front_of(&a);
    let mut client = lb.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.end_sending();
    assert_eq!(client.read_response().text(), "a");
    assert_eq!(client.ending(DEADLINE), Ending::Closed);
}

#[test]
fn http_1_0_ends_with_its_answer_unless_it_asks_to_stay() {
    let a = Origin::http().reply("a").start();
    let lb = in_front_of(&a);
    let mut once = lb.client();
    once.send("GET / HTTP/1.0\r\n\r\n");
    let answer = once.read_response();
    assert_eq!((answer.text().as_str(), answer.header("connection")), ("a", Some("close")));
    assert_eq!(once.ending(DEADLINE), Ending::Closed);

    let mut stays = lb.client();
    for _ in 0..3 {
        stays.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let answer = stays.read_response();
        assert_eq!((answer.text().as_str(), answer.header("connection")), ("a", Some("keep-alive")));
    }
    let asked = a.last_request();
    assert!(asked.head.starts_with("GET / HTTP/1.1\r\n"), "{}", asked.head);
    assert_eq!(asked.header("host"), Some(""));
}

#[test]
fn a_backend_that_closes_after_each_answer_is_connected_to_anew() {
    let a = Origin::http().reply("a").header("Connection", "close").start();
    let lb = in_front_of(&a);
    let mut client = lb.client();
    for _ in 0..3 {
        let answer = client.get("/");
        assert_eq!((answer.text().as_str(), answer.header("connection")), ("a", None));
    }
    assert_eq!(a.connections(), 3);
}

#[test]
fn an_answer_of_http_1_0_is_one_of_1_1_for_the_client() {
    let a = Origin::http().raw("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok").start();
    let lb = in_front_of(&a);
    let mut client = lb.client();
    for _ in 0..2 {
        let answer = client.get("/");
        assert!(answer.raw_head.starts_with(b"HTTP/1.1 200 OK\r\n"));
        assert_eq!(answer.text(), "ok");
    }
    assert_eq!(a.connections(), 2);
}

// === bodies ===

#[test]
fn chunked_answers_pass_with_their_trailers() {
    let a = Origin::http()
        .raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n")
        .start();
    let lb = in_front_of(&a);
    let mut client = lb.client();
    for _ in 0..2 {
        let answer = client.get("/");
        assert_eq!(answer.text(), "abcde");
        assert_eq!(answer.trailers, [("X-Sum".to_owned(), "5".to_owned())]);
    }
    assert_eq!(a.connections(), 1);
}

#[test]
fn chunked_requests_pass_with_their_trailers() {
    let a = Origin::http().reply("a").start();
    let lb = in_front_of(&a);
    let mut client = lb.client();
    for _ in 0..2 {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        client.send("1;last=1\r\n!\r\n0\r\nX-Sum: 6\r\n\r\n");
        assert_eq!(client.read_response().text(), "a");
        let got = a.last_request();
        assert_eq!(got.body, b"hello!");
        assert!(got.raw.ends_with(b"0\r\nX-Sum: 6\r\n\r\n"));
    }
}

#[test]
fn head_204_and_304_have_no_body_and_keep_the_connection() {
    let a = Origin::http()
        .at("/head", Origin::http().reply("not sent"))
        .at("/204", Origin::http().status(204))
        .at("/304", Origin::http().status(304).header("ETag", "x").reply("not sent"))
        .start();
    let lb = in_front_of(&a);
    let mut client = lb.client();
    for _ in 0..2 {
        client.send("HEAD /head HTTP/1.1\r\nHost: a\r\n\r\n");
        let head = client.try_read_response("HEAD").unwrap();
        assert_eq!((head.status, head.header("content-length")), (200, Some("8")));
        assert_eq!(client.get("/204").status, 204);
        let unchanged = client.get("/304");
        assert_eq!((unchanged.status, unchanged.header("etag")), (304, Some("x")));
    }
    assert_eq!(a.connections(), 1);
}

#[test]
fn a_204_says_nothing_of_a_body() {
    let a = Origin::http()
        .at("/length", Origin::http().raw("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"))
        .at("/chunked", Origin::http().raw("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"))
        .start();
    let lb = in_front_of(&a);
    for path in ["/length", "/chunked"] {
        let answer = lb.get(path);
        assert_eq!(answer.status, 204);
        assert_eq!((answer.header("content-length"), answer.header("transfer-encoding")), (None, None), "{path}");
    }
}

#[test]
fn an_answer_without_length_ends_with_the_connection() {
    let a = Origin::http().reply("until the end").close_delimited().start();
    let lb = in_front_of(&a);
    let mut client = lb.client();
    let answer = client.get("/");
    assert_eq!((answer.text().as_str(), answer.header("connection")), ("until the end", Some("close")));
}

#[test]
fn a_client_of_http_1_0_gets_a_chunked_answer_without_chunks() {
    let a = Origin::http().chunked(["hello ", "world"]).start();
    let lb = in_front_of(&a);
    let mut client = lb.client();
    client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let answer = client.read_response();
    assert_eq!(answer.header("transfer-encoding"), None);
    assert_eq!((answer.text().as_str(), answer.header("connection")), ("hello world", Some("close")));
    assert_eq!(lb.get("/").text(), "hello world");
    assert_eq!(a.connections(), 1, "the backend's connection is clean all the same");
}

#[test]
fn big_uploads_arrive_whole_in_both_framings() {
    let a = Origin::http().reply("got it").start();
    let lb = in_front_of(&a);
    let body = pattern(5_000_000);
    let mut client = lb.client();
    assert_eq!(client.post("/", &body).text(), "got it");
    assert_eq!(a.last_request().body, body);
    for size in [1_000, 70_001] {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(chunks(&body, size));
        assert_eq!(client.read_response().text(), "got it");
        assert_eq!(a.last_request().body, body);
    }
    assert_eq!(a.connections(), 1);
}

#[test]
fn big_downloads_arrive_whole_in_every_framing() {
    let body = pattern(5_000_000);
    let a = Origin::http()
        .at("/length", Origin::http().reply(&body))
        .at("/chunked", Origin::http().chunked(body.chunks(33_333)))
        .at("/close", Origin::http().reply(&body).close_delimited())
        .start();
    let lb = in_front_of(&a);
    let mut client = lb.client();
    for path in ["/length", "/chunked", "/length", "/close"] {
        assert!(client.get(path).body == body, "{path}");
    }
    assert_eq!(a.connections(), 1);
    let mut old = lb.client();
    old.send("GET /chunked HTTP/1.0\r\n\r\n");
    assert!(old.read_response().body == body, "unchunked");
}

#[test]
fn a_client_that_does_not_read_does_not_fill_the_memory() {
    let a = Origin::http().endless_body().at("/other", Origin::http().reply("a")).start();
    let lb = in_front_of(&a);
    let before = resident_kib();
    let slow: Vec<Client> = (0..8)
        .map(|_| {
            let mut client = lb.client();
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            client
        })
        .collect();
    // The sockets' own buffers fill up, and then nothing moves any more.
    let sent = || lb.metric("process_resident_memory_bytes");
    eventually("the origin has filled every socket", DEADLINE, || a.open_connections() == 8 && sent() > 0.0);
    for _ in 0..20 {
        assert_eq!(lb.get("/other").text(), "a");
    }
    assert!(resident_kib() < before + 32 * 1024, "{before} KiB before, {} after", resident_kib());
    drop(slow);
    eventually("the backends' connections end with the clients'", DEADLINE, || a.open_connections() <= 1);
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn an_answer_that_drips_arrives_as_it_drips() {
    let a = Origin::http().reply("slowly").slow(Duration::from_millis(10)).start();
    let lb = in_front_of(&a);
    assert_eq!(lb.get("/").text(), "slowly");
}

#[test]
fn an_early_answer_arrives_and_ends_the_connection() {
    let a = Origin::http().reply("enough").answers_early().start();
    let lb = in_front_of(&a);
    let mut client = lb.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\nbegin");
    let answer = client.read_response();
    assert_eq!((answer.text().as_str(), answer.header("connection")), ("enough", Some("close")));
    // What the client still sends does not turn the answer into a reset.
    let _ = client.try_send(vec![b'x'; 500_000]);
    client.end_sending();
    assert_eq!(client.ending(DEADLINE), Ending::Closed);
    assert_eq!(lb.get("/").text(), "enough");
}

#[test]
fn an_early_answer_to_a_request_that_comes_whole_changes_nothing_for_the_next() {
    let a = Origin::http().reply("enough").answers_early().start();
    let lb = in_front_of(&a);
    for _ in 0..5 {
        let mut client = lb.client();
        let body = pattern(300_000);
        let sending = send_all(
            &client,
            [b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n".as_slice(), &body].concat(),
        );
        assert_eq!(client.read_response().text(), "enough");
        let _ = sending.join().unwrap();
    }
    assert_eq!(lb.get("/").text(), "enough");
}

#[test]
fn a_request_and_its_answer_can_stream_at_the_same_time() {
    let a = Origin::http().reply(pattern(1_000_000)).answers_early().start();
    let lb = in_front_of(&a);
    let mut client = lb.client();
    let body = pattern(2_000_000);
    let sending = send_all(
        &client,
        [b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n".as_slice(), &body].concat(),
    );
    assert!(client.read_response().body == pattern(1_000_000));
    let _ = sending.join().unwrap();
}

// === interim answers ===

#[test]
fn an_expectation_is_answered_by_the_backend() {
    let a = Origin::http().reply("a").continue_100().start();
    let lb = in_front_of(&a);
    let mut client = lb.client();
    for _ in 0..2 {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
        assert_eq!(client.read_response().status, 100);
        client.send("hello");
        assert_eq!(client.read_response().text(), "a");
        assert_eq!(a.last_request().body, b"hello");
        assert_eq!(a.last_request().header("expect"), Some("100-continue"));
    }
    assert_eq!(a.connections(), 1);
}

#[test]
fn an_expectation_may_be_refused_before_the_body() {
    let a = Origin::http().status(417).reply("no").answers_early().start();
    let lb = in_front_of(&a);
    let mut client = lb.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    let answer = client.read_response();
    assert_eq!((answer.status, answer.header("connection")), (417, Some("close")));
}

#[test]
fn who_did_not_ask_gets_no_100() {
    let a = Origin::http().reply("a").continue_100().start();
    let lb = in_front_of(&a);
    let mut client = lb.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.read_response().status, 200);
}

#[test]
fn early_hints_pass_to_1_1_and_not_to_1_0() {
    let a = Origin::http().reply("a").informs(103).informs(103).start();
    let lb = in_front_of(&a);
    let mut client = lb.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    for _ in 0..2 {
        let hint = client.read_response();
        assert_eq!((hint.status, hint.header("link")), (103, Some("</a.css>")));
    }
    assert_eq!(client.read_response().text(), "a");
    client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(client.read_response().status, 200);
    assert_eq!(a.connections(), 1);
}

#[test]
fn an_answer_long_after_its_early_hints_is_waited_for() {
    let (early, late) = ("HTTP/1.1 103 Early Hints\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let slow = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).unwrap();
        for part in [early, late] {
            // Longer than the silence that brings a probe.
            pause(Duration::from_millis(400));
            stream.write_all(part.as_bytes()).unwrap();
        }
        let _ = stream.read(&mut head);
    });
    let lb = Balancer::web(&[address], "");
    assert_eq!(lb.get("/").text(), "late");
    drop(lb);
    slow.join().unwrap();
}

/// Lets time pass where time is what the test is about.
fn pause(time: Duration) {
    let (_keep, never) = std::sync::mpsc::channel::<()>();
    let _ = never.recv_timeout(time);
}

// === heads ===

#[test]
fn methods_that_nobody_knows_pass() {
    let a = Origin::http().reply("a").start();
    let lb = in_front_of(&a);
    let mut client = lb.client();
    for method in ["PURGE", "M-SEARCH", "x", "PROPFIND", "OPTIONS", "TRACE", "LIST"] {
        client.send(format!("{method} /m HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.read_response().text(), "a");
        assert_eq!(a.last_request().method, method);
    }
}

#[test]
fn what_concerns_one_connection_only_ends_at_the_balancer() {
    let a = Origin::http()
        .raw("HTTP/1.1 200 OK\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\nX-Kept: 1\r\nContent-Length: 0\r\n\r\n")
        .start();
    let lb = in_front_of(&a);
    let mut client = lb.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x-mine , Cookie2\r\nX-Mine: 1\r\nCookie2: 2\r\nKeep-Alive: 5\r\nProxy-Connection: close\r\nTE: trailers\r\nProxy-Authorization: secret\r\nUpgrade: websocket\r\nX-Kept: 1\r\n\r\n");
    let answer = client.read_response();
    for gone in ["connection", "x-hop", "keep-alive", "proxy-connection"] {
        assert_eq!(answer.header(gone), None, "{gone} in the answer");
    }
    assert_eq!(answer.header("x-kept"), Some("1"));
    let got = a.last_request();
    for gone in
        ["connection", "x-mine", "cookie2", "keep-alive", "proxy-connection", "te", "proxy-authorization", "upgrade"]
    {
        assert_eq!(got.header(gone), None, "{gone} in the request");
    }
    assert_eq!(got.header("x-kept"), Some("1"));
}

#[test]
fn host_stays_as_it_came() {
    let a = Origin::http().start();
    let lb = in_front_of(&a);
    let mut client = lb.client();
    for host in ["Portal.Example:8080", "[::1]:80", "xn--bcher-kva.example", ""] {
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(client.read_response().status, 200);
        assert_eq!(a.last_request().headers("host"), [host]);
    }
}

#[test]
fn who_asks_is_told_by_the_balancer_and_not_by_the_client() {
    let a = Origin::http().start();
    let lb = in_front_of(&a);
    let mut client = lb.client();
    client.send("GET / HTTP/1.1\r\nHost: a.example:81\r\nX-Forwarded-For: 6.6.6.6\r\nX-FORWARDED-FOR: 7.7.7.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nForwarded: for=6.6.6.6\r\n\r\n");
    assert_eq!(client.read_response().status, 200);
    let got = a.last_request();
    assert_eq!(got.headers("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(got.headers("x-forwarded-proto"), ["http"]);
    assert_eq!(got.headers("x-forwarded-host"), ["a.example:81"]);
    assert!(got.headers("forwarded").is_empty());
}

#[test]
fn a_request_has_one_identity_kept_or_made() {
    let a = Origin::http().start();
    let lb = in_front_of(&a);
    let mut client = lb.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Request-ID: mine-7\r\n\r\n");
    client.read_response();
    assert_eq!(a.last_request().headers("x-request-id"), ["mine-7"]);
    let mut made = std::collections::HashSet::new();
    for _ in 0..10 {
        client.get("/");
        let request = a.last_request();
        let ids = request.headers("x-request-id");
        assert!(ids.len() == 1 && ids[0].len() == 32 && ids[0].bytes().all(|byte| byte.is_ascii_hexdigit()), "{ids:?}");
        made.insert(ids[0].to_owned());
    }
    assert_eq!(made.len(), 10);
    for bad in ["a b", &"x".repeat(200), ""] {
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Request-ID: {bad}\r\n\r\n"));
        client.read_response();
        let request = a.last_request();
        let ids = request.headers("x-request-id");
        assert!(ids.len() == 1 && ids[0].len() == 32, "{ids:?}");
    }
}

#[test]
fn an_absolute_target_becomes_a_path_and_outranks_host() {
    let a = Origin::http().start();
    let lb = in_front_of(&a);
    let mut client = lb.client();
    client.send("GET http://portal.example:81/x?y HTTP/1.1\r\nHost: other\r\n\r\n");
    assert_eq!(client.read_response().status, 200);
    let got = a.last_request();
    assert_eq!((got.target.as_str(), got.headers("host")), ("/x?y", vec!["portal.example:81"]));
    assert_eq!(got.headers("x-forwarded-host"), ["portal.example:81"]);
}

#[test]
fn a_head_larger_than_a_buffer_passes() {
    let long = "v".repeat(30_000);
    let a = Origin::http().reply("a").header("X-Long", &long).start();
    let lb = in_front_of(&a);
    let mut client = lb.client();
    for _ in 0..2 {
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Long: {long}\r\nX-Last: 1\r\n\r\n"));
        let answer = client.read_response();
        assert_eq!((answer.text().as_str(), answer.header("x-long")), ("a", Some(long.as_str())));
        assert_eq!(
            (a.last_request().header("x-long"), a.last_request().header("x-last")),
            (Some(long.as_str()), Some("1"))
        );
    }
}

// === tunnels ===

#[test]
fn a_websocket_is_a_tunnel() {
    let a = Origin::http().upgrade_echo().start();
    let lb = in_front_of(&a);
    let mut tunnel = client::websocket(lb.addr("web"), "/ws");
    assert!(tunnel.echoes("hello"));
    assert!(tunnel.echoes(pattern(200_000)));
    let got = a.requests();
    assert_eq!(got.len(), 1);
    assert_eq!((got[0].header("connection"), got[0].header("upgrade")), (Some("upgrade"), Some("websocket")));
    tunnel.end_sending();
    assert_eq!(tunnel.ending(DEADLINE), Ending::Closed);
    lb.counts("evenkeel_pool_in_flight{pool=p}", 0.0);
    lb.counts("evenkeel_pool_requests_total{code=1xx,pool=p}", 1.0);
}

#[test]
fn what_a_client_sends_with_its_upgrade_reaches_the_other_side() {
    let a = Origin::http().upgrade_echo().start();
    let lb = in_front_of(&a);
    let mut client = lb.client();
    client.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly bytes");
    let answer = client.read_response();
    assert_eq!(
        (answer.status, answer.header("connection"), answer.header("upgrade")),
        (101, Some("upgrade"), Some("websocket"))
    );
    assert_eq!(client.read_exact(11), b"early bytes");
    assert!(client.echoes("and later ones"));
}

#[test]
fn what_a_backend_sends_with_its_101_reaches_the_client() {
    let a = Origin::http()
        .raw("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nwelcome")
        .start();
    let lb = in_front_of(&a);
    let mut client = lb.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    assert_eq!(client.read_response().status, 101);
    assert_eq!(client.read_exact(7), b"welcome");
}

#[test]
fn a_refused_upgrade_is_a_plain_answer() {
    let a = Origin::http().reply("no").status(403).start();
    let lb = in_front_of(&a);
    let mut client = lb.client();
    client.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    let answer = client.read_response();
    assert_eq!((answer.status, answer.text().as_str(), answer.header("upgrade")), (403, "no", None));
    assert_eq!(client.get("/").status, 403, "the connection goes on");
}

#[test]
fn a_tunnel_that_one_side_resets_is_reset_for_the_other() {
    let a = Origin::http().upgrade_echo().start();
    let lb = in_front_of(&a);
    let mut tunnel = client::websocket(lb.addr("web"), "/ws");
    assert!(tunnel.echoes("x"));
    tunnel.reset();
    eventually("the backend's side ends", DEADLINE, || a.open_connections() == 0);
}

// === accounts ===

#[test]
fn requests_and_bytes_are_counted() {
    let a = Origin::http().reply("12345").start();
    let lb = in_front_of(&a);
    let mut client = lb.client();
    for _ in 0..3 {
        client.post("/", "abcdefghij");
    }
    client.send("BAD\r\n\r\n");
    assert_eq!(client.read_response().status, 400);
    let is = |name: &str, value: f64| lb.counts(name, value);
    is(r#"evenkeel_listener_requests_total{code="2xx",listener="web"}"#, 3.0);
    is(r#"evenkeel_listener_requests_total{code="4xx",listener="web"}"#, 1.0);
    is(r#"evenkeel_pool_requests_total{code="2xx",pool="p"}"#, 3.0);
    is(r#"evenkeel_listener_received_bytes_total{listener="web"}"#, 30.0);
    is(r#"evenkeel_pool_in_flight{pool="p"}"#, 0.0);
    assert!(lb.metric(r#"evenkeel_pool_sent_bytes_total{pool="p"}"#) >= 15.0);
    lb.rejected("bad_request_line", 1);
}

#[test]
fn two_workers_serve_as_one() {
    let a = Origin::http().reply("a").start();
    let lb = Balancer::start(&format!(
        "workers = 2\n[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n[pool.p]\nbackends = ['{}']\n",
        a.addr()
    ));
    let web: SocketAddr = lb.addr("web");
    for _ in 0..50 {
        assert_eq!(client::get(web, "/").text(), "a");
    }
    lb.counts("evenkeel_listener_requests_total{code=2xx,listener=web}", 50.0);
    assert!(a.connections() <= 2, "{}", a.connections());
}

#[test]
fn a_reload_takes_effect_on_the_next_request_of_an_open_connection() {
    let (a, b) = (Origin::http().reply("a").start(), Origin::http().reply("b").start());
    let text = |origin: &Origin| {
        format!("[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n[pool.p]\nbackends = ['{}']\n", origin.addr())
    };
    let lb = Balancer::start(&text(&a));
    let mut client = lb.client();
    assert_eq!(client.get("/").text(), "a");
    assert_eq!(lb.reload(&text(&b)).status, 200);
    assert_eq!(client.get("/").text(), "b");
    eventually("idle connections to what is gone are closed", DEADLINE, || a.open_connections() == 0);
}
