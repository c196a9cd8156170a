//! Trying again: what may be, how often, at what cost; waiting for a backend; and what the client never notices.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use support::client::{self, Ending};
use support::eventually::DEADLINE;
use support::{Balancer, Client, Origin, eventually};

const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";

fn good() -> Origin {
    Origin::http().reply("good").start()
}

fn addresses(origins: &[&Origin]) -> Vec<SocketAddr> {
    origins.iter().map(|origin| origin.addr()).collect()
}

fn post(lb: &Balancer) -> client::Response {
    let mut client = lb.client();
    client.send(POST);
    client.try_read_final("POST").unwrap()
}

// === what may be tried again ===

#[test]
fn a_get_whose_backend_breaks_is_answered_by_another() {
    for bad in [
        Origin::http().resets_before_answer(),
        Origin::http().closes_before_answer(),
        Origin::http().resets_on_accept(),
        Origin::http().refuses(),
        Origin::http().garbage(),
        Origin::http().resets_mid_head(),
    ] {
        let (bad, good) = (bad.start(), good());
        let lb = Balancer::web(&addresses(&[&bad, &good]), "balance = 'first'\n");
        assert_eq!(lb.get("/").text(), "good");
        lb.counts("evenkeel_pool_retries_total{pool=p}", 1.0);
    }
}

#[test]
fn idempotent_methods_with_a_body_are_sent_again_whole() {
    let (bad, good) = (Origin::http().resets_before_answer().start(), good());
    let lb = Balancer::web(&addresses(&[&bad, &good]), "balance = 'first'\n");
    for (length, framing) in [(5, "length"), (60_000, "length"), (60_000, "chunked")] {
        let body: Vec<u8> = (0..=250).cycle().take(length).collect();
        let mut client = lb.client();
        if framing == "length" {
            client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"));
            client.send(&body);
        } else {
            client.send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
            for chunk in body.chunks(7_000) {
                client.send(format!("{:x}\r\n", chunk.len()));
                client.send(chunk);
                client.send("\r\n");
            }
            client.send("0\r\n\r\n");
        }
        assert_eq!(client.try_read_final("PUT").unwrap().text(), "good", "{length} {framing}");
        assert!(good.last_request().body == body, "{length} {framing}");
    }
}

#[test]
fn a_body_too_long_to_keep_is_not_sent_again() {
    let (bad, good) = (Origin::http().resets_before_answer().start(), good());
    let lb = Balancer::web(&addresses(&[&bad, &good]), "balance = 'first'\n");
    let mut client = lb.client();
    client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 200_000));
    let _ = client.try_send(vec![b'x'; 200_000]);
    assert_eq!(client.try_read_final("PUT").unwrap().status, 502);
    assert_eq!(good.request_count(), 0);
}

#[test]
fn a_post_that_has_been_sent_is_not_sent_again() {
    let (bad, good) = (Origin::http().resets_before_answer().start(), good());
    let lb = Balancer::web(&addresses(&[&bad, &good]), "balance = 'first'\n");
    let answer = post(&lb);
    assert_eq!((answer.status, good.request_count(), bad.request_count()), (502, 0, 1));
    assert!(answer.text().contains("Request: "), "{}", answer.text());
}

#[test]
fn a_post_that_was_never_sent_is_tried_elsewhere() {
    let (bad, good) = (Origin::http().refuses().start(), good());
    let lb = Balancer::web(&addresses(&[&bad, &good]), "balance = 'first'\n");
    for _ in 0..3 {
        assert_eq!(post(&lb).text(), "good");
    }
    assert_eq!(good.last_request().body, b"hello");
}

#[test]
fn a_post_to_a_backend_that_takes_no_connection_is_tried_elsewhere_within_the_connect_deadline() {
    let (full, good) = (full_backlog(), good());
    let address = full.1;
    let lb = Balancer::web(&[address, good.addr()], "balance = 'first'\n[pool.p.timeouts]\nconnect = '200ms'\n");
    let begun = Instant::now();
    assert_eq!(post(&lb).text(), "good");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

/// A listening socket whose queue is full: the kernel drops every further handshake.
fn full_backlog() -> (socket2::Socket, SocketAddr, Vec<std::net::TcpStream>) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        waiting.push(stream);
    }
    (socket, address, waiting)
}

#[test]
fn at_most_two_further_backends_are_tried() {
    let bad: Vec<Origin> = (0..4).map(|_| Origin::http().resets_before_answer().start()).collect();
    let lb = Balancer::web(&addresses(&bad.iter().collect::<Vec<_>>()), "");
    assert_eq!(lb.get("/").status, 502);
    let counts: Vec<usize> = bad.iter().map(Origin::request_count).collect();
    assert_eq!(counts.iter().sum::<usize>(), 3, "{counts:?}");
    assert!(counts.iter().all(|count| *count <= 1), "no backend is asked twice: {counts:?}");
    lb.counts("evenkeel_pool_retries_total{pool=p}", 2.0);
}

#[test]
fn a_lone_backend_is_not_tried_twice() {
    let bad = Origin::http().resets_before_answer().start();
    let lb = Balancer::web(&[bad.addr()], "");
    assert_eq!(lb.get("/").status, 502);
    assert_eq!(bad.request_count(), 1);
    lb.counts("evenkeel_pool_retries_total{pool=p}", 0.0);
}

#[test]
fn nothing_is_tried_again_once_the_answer_has_begun() {
    let (bad, good) = (Origin::http().reply("x".repeat(100_000)).truncates_body().start(), good());
    let lb = Balancer::web(&addresses(&[&bad, &good]), "balance = 'first'\n");
    let mut client = lb.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.try_read_final("GET").is_err());
    assert_eq!(good.request_count(), 0);
}

#[test]
fn retries_stay_within_the_budget() {
    let (bad, good) = (Origin::http().resets_before_answer().start(), good());
    let lb = Balancer::web(
        &addresses(&[&bad, &good]),
        "balance = 'first'\noutliers = false\n[pool.p.retry]\nbudget = '20%'\nmin_per_second = 0\n",
    );
    // The first retry needs five requests to pay for it.
    let answers: Vec<u16> = (0..20).map(|_| lb.get("/").status).collect();
    let retried = answers.iter().filter(|status| **status == 200).count();
    assert!((1..=4).contains(&retried), "{answers:?}");
    assert_eq!(answers[..4], [502; 4]);
    lb.counts("evenkeel_pool_retries_denied_total{pool=p}", (20 - retried) as f64);
}

#[test]
fn no_retry_where_none_is_allowed() {
    let (bad, good) = (Origin::http().resets_before_answer().start(), good());
    let lb = Balancer::web(&addresses(&[&bad, &good]), "balance = 'first'\n[pool.p.retry]\nattempts = 0\n");
    assert_eq!(lb.get("/").status, 502);
    assert_eq!(good.request_count(), 0);
}

// === status codes ===

#[test]
fn a_named_status_is_tried_elsewhere_for_idempotent_methods() {
    let (bad, good) = (Origin::http().status(503).reply("sorry").start(), good());
    let rules = "balance = 'first'\n[pool.p.retry]\nstatus = [500, 503]\n";
    let lb = Balancer::web(&addresses(&[&bad, &good]), rules);
    let mut client = lb.client();
    for _ in 0..3 {
        assert_eq!(client.get("/").text(), "good");
    }
    assert_eq!(post(&lb).text(), "sorry");
    assert_eq!(bad.request_count(), 4, "each was asked once");
    lb.counts(&format!("evenkeel_backend_up{{pool=p,backend={}}}", bad.addr()), 1.0);
}

#[test]
fn a_named_status_that_all_give_is_passed_on() {
    let bad: Vec<Origin> = (0..4).map(|_| Origin::http().status(503).reply("sorry").start()).collect();
    let lb = Balancer::web(&addresses(&bad.iter().collect::<Vec<_>>()), "[pool.p.retry]\nstatus = [503]\n");
    let answer = lb.get("/");
    assert_eq!((answer.status, answer.text().as_str()), (503, "sorry"));
    assert_eq!(bad.iter().map(Origin::request_count).sum::<usize>(), 3);
}

#[test]
fn a_named_status_passes_when_the_budget_is_spent() {
    let (bad, good) = (Origin::http().status(503).reply("sorry").start(), good());
    let lb = Balancer::web(
        &addresses(&[&bad, &good]),
        "balance = 'first'\n[pool.p.retry]\nstatus = [503]\nbudget = '0%'\nmin_per_second = 0\n",
    );
    let answer = lb.get("/");
    assert_eq!((answer.status, answer.text().as_str()), (503, "sorry"));
}

#[test]
fn a_status_that_is_not_named_is_an_answer() {
    let (bad, good) = (Origin::http().status(503).reply("sorry").start(), good());
    let lb = Balancer::web(&addresses(&[&bad, &good]), "balance = 'first'\n");
    assert_eq!((lb.get("/").status, good.request_count()), (503, 0));
}

// === idle connections ===

#[test]
fn an_idle_connection_that_the_backend_ends_as_it_is_used_is_invisible() {
    for script in [Origin::http().reply("a").closes_on_reuse(), Origin::http().reply("a").resets_on_reuse()] {
        let origin = script.start();
        // No retry and no other backend: the same one is asked anew.
        let lb = Balancer::web(&[origin.addr()], "[pool.p.retry]\nattempts = 0\n");
        let mut client = lb.client();
        for _ in 0..10 {
            assert_eq!(client.get("/").text(), "a");
        }
        lb.failed("reset_before_answer", 0);
        lb.counts("evenkeel_pool_retries_total{pool=p}", 0.0);
    }
}

#[test]
fn a_post_does_not_meet_a_connection_that_the_backend_has_closed() {
    let origin = Origin::http().reply("a").keep_alive_then_closes_silently().start();
    let lb = Balancer::web(&[origin.addr()], "");
    let mut client = lb.client();
    for _ in 0..30 {
        assert_eq!(client.get("/").text(), "a");
        eventually("the backend has closed", DEADLINE, || origin.open_connections() == 0);
        assert_eq!(client.post("/", "hello").text(), "a");
        eventually("the backend has closed", DEADLINE, || origin.open_connections() == 0);
    }
}

#[test]
fn idle_connections_end_after_their_time() {
    let origin = good();
    let lb = Balancer::web(&[origin.addr()], "[pool.p.timeouts]\nidle = '300ms'\n");
    assert_eq!(lb.get("/").text(), "good");
    eventually("the idle connection is closed", DEADLINE, || origin.open_connections() == 0);
    assert_eq!(lb.get("/").text(), "good");
    assert_eq!(origin.connections(), 2);
}

#[test]
fn no_more_idle_connections_are_kept_than_allowed() {
    let origin = Origin::http().reply("good").delay(Duration::from_millis(100)).start();
    let lb = Balancer::web(&[origin.addr()], "idle_connections = 2\n");
    let mut clients: Vec<Client> = (0..6).map(|_| lb.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.read_response().text(), "good");
    }
    eventually("two are left", DEADLINE, || origin.open_connections() == 2);
}

// === no backend ===

#[test]
fn no_backend_is_503_with_an_identity_and_a_sentence() {
    let origin = Origin::http().refuses().start();
    let lb = Balancer::web(&[origin.addr()], "[pool.p.check.port]\ntype = 'tcp'\ninterval = '100ms'\n");
    lb.wait_for_up(0);
    let mut client = lb.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Request-ID: mine-1\r\n\r\n");
    let answer = client.read_response();
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert_eq!(
        (answer.header("x-request-id"), answer.header("content-type")),
        (Some("mine-1"), Some("text/plain; charset=utf-8"))
    );
    assert_eq!(answer.text(), "503 Service Unavailable\n\nNo backend can serve this right now.\nRequest: mine-1\n");
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.try_read_response("HEAD").unwrap().status, 503, "the connection goes on");
    assert_eq!(client.get("/").status, 503);
    lb.failed("no_backend", 3);
}

const HOLD: &str = "hold = '10s'\n[pool.p.check.port]\ntype = 'tcp'\ninterval = '100ms'\nrise = 1\nfall = 1\n";

#[test]
fn a_request_is_held_until_a_backend_returns() {
    let origin = good();
    let lb = Balancer::web(&[origin.addr()], HOLD);
    origin.stop();
    lb.wait_for_up(0);
    let mut clients: Vec<Client> = (0..5).map(|_| lb.client()).collect();
    for client in &mut clients {
        client.send(POST);
    }
    lb.counts("evenkeel_pool_waiting{pool=p}", 5.0);
    origin.start_again();
    for client in &mut clients {
        assert_eq!(client.read_response().text(), "good");
    }
    lb.counts("evenkeel_pool_waiting{pool=p}", 0.0);
    lb.counts("evenkeel_pool_held_total{pool=p}", 5.0);
}

#[test]
fn a_request_that_finds_the_outage_itself_is_held_too() {
    let origin = good();
    let lb = Balancer::web(&[origin.addr()], HOLD);
    assert_eq!(lb.get("/").text(), "good");
    origin.stop();
    // No verdict has fallen yet: this request is refused by the backend, and waits for it all the same.
    let mut client = lb.client();
    client.send(POST);
    lb.counts("evenkeel_pool_waiting{pool=p}", 1.0);
    origin.start_again();
    assert_eq!(client.read_response().text(), "good");
}

#[test]
fn a_held_request_that_nobody_takes_is_answered_when_its_time_is_up() {
    let origin = Origin::http().refuses().start();
    let lb = Balancer::web(&[origin.addr()], "hold = '200ms'\n[pool.p.check.port]\ntype = 'tcp'\ninterval = '100ms'\n");
    lb.wait_for_up(0);
    let begun = Instant::now();
    assert_eq!(lb.get("/").status, 503);
    assert!(begun.elapsed() >= Duration::from_millis(200));
    lb.failed("no_backend", 1);
}

#[test]
fn a_full_queue_answers_at_once() {
    let origin = Origin::http().refuses().start();
    let lb = Balancer::web(
        &[origin.addr()],
        "queue = 2\nhold = '30s'\n[pool.p.check.port]\ntype = 'tcp'\ninterval = '100ms'\n",
    );
    lb.wait_for_up(0);
    let mut held: Vec<Client> = (0..2).map(|_| lb.client()).collect();
    for client in &mut held {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    lb.counts("evenkeel_pool_waiting{pool=p}", 2.0);
    let answer = lb.get("/");
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("Too many requests are waiting"), "{}", answer.text());
    lb.failed("queue_full", 1);
    assert_eq!(held[0].ending(Duration::from_millis(50)), Ending::Open);
}

// === a backend goes down ===

const QUICK: &str =
    "[pool.p.check.port]\ntype = 'http'\npath = '/health'\ninterval = '50ms'\ntimeout = '50ms'\nrise = 1\nfall = 2\n";

#[test]
fn a_get_that_waits_for_a_backend_that_goes_down_is_answered_by_another() {
    let hangs = Origin::http().stalls_before_answer().at("/health", Origin::http()).start();
    let good = good();
    let lb = Balancer::web(&addresses(&[&hangs, &good]), &format!("balance = 'first'\n{QUICK}"));
    lb.wait_for_up(2);
    let mut client = lb.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    hangs.wait_for_requests(1);
    hangs.becomes(Origin::http().stalls_before_answer());
    assert_eq!(client.read_response().text(), "good");
}

#[test]
fn on_down_close_ends_sessions_and_keep_does_not() {
    for (on_down, ends) in [("close", true), ("keep", false)] {
        let origin = Origin::http().upgrade_echo().start();
        let lb = Balancer::web(&[origin.addr()], &format!("on_down = '{on_down}'\n{QUICK}"));
        lb.wait_for_up(1);
        let mut tunnel = client::websocket(lb.addr("web"), "/ws");
        assert!(tunnel.echoes("x"));
        origin.becomes(Origin::http().upgrade_echo().at("/health", Origin::http().status(500)));
        lb.wait_for_up(0);
        if ends {
            assert_eq!(tunnel.ending(DEADLINE), Ending::Reset);
            lb.failed("backend_down", 1);
        } else {
            assert!(tunnel.echoes("still here"));
        }
    }
}

/// A backend that answers one request and then takes no connection any more: the queue of its socket is full, so that
/// the kernel drops whoever knocks.
struct Jammed {
    socket: std::net::TcpListener,
    queue: Vec<std::net::TcpStream>,
}

impl Jammed {
    fn new() -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(1).unwrap();
        Self { socket: socket.into(), queue: Vec::new() }
    }

    fn addr(&self) -> std::net::SocketAddr {
        self.socket.local_addr().unwrap()
    }

    fn answer_once(&self) {
        use std::io::{Read, Write};
        let (mut stream, _) = self.socket.accept().unwrap();
        let mut head = [0; 4096];
        assert!(stream.read(&mut head).unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nonce").unwrap();
    }

    fn jam(&mut self) {
        while let Ok(stream) = std::net::TcpStream::connect_timeout(&self.addr(), Duration::from_millis(100)) {
            self.queue.push(stream);
        }
    }
}

#[test]
fn a_connect_that_hangs_is_tried_elsewhere_before_the_kernel_tries_again() {
    let (mut jammed, good) = (Jammed::new(), Origin::http().reply("good").start());
    let lb = Balancer::web(&[jammed.addr(), good.addr()], "balance = \"first\"\n");
    std::thread::scope(|scope| {
        scope.spawn(|| jammed.answer_once());
        assert_eq!(lb.get("/").text(), "once");
    });
    jammed.jam();
    let begun = Instant::now();
    assert_eq!(lb.get("/").text(), "good");
    // The kernel repeats a SYN after a second.
    assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
}
