//! Open work of a backend that loses its role, drains or is cut; and what waits for a backend without its client.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use support::client::{self, Ending, Response};
use support::h2::H2;
use support::process::free_address;
use support::{Balancer, Client, Origin, Process, eventually};

use support::eventually::DEADLINE;

const ROLE: &str = "[pool.p.check.role]\ntype = 'http'\npath = '/role'\ninterval = '50ms'\nrise = 1\nfall = 1\n\
                    status = { 200 = 'active', 429 = 'standby', 477 = 'draining' }\n";

/// Two backends behind an HTTP and a TCP listener. `a` leads.
struct Pair {
    a: Origin,
    b: Origin,
    lb: Balancer,
}

fn script(reply: &str, role: u16) -> support::origin::Script {
    Origin::http()
        .reply(reply)
        .at("/role", Origin::http().status(role))
        .at("/socket", Origin::http().upgrade_echo())
        .at("/hangs", Origin::http().stalls_before_answer())
        .at("/stream", Origin::http().endless_body())
}

impl Pair {
    /// Both do the work.
    fn new(keys: &str) -> Self {
        Self::start(keys, 200)
    }

    fn start(keys: &str, role_of_b: u16) -> Self {
        let (a, b) = (script("a", 200).start(), script("b", role_of_b).start());
        let lb = Balancer::start(&format!(
            "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n\
             [listener.raw]\nbind = '127.0.0.1:0'\nprotocol = 'tcp'\npool = 'p'\n\
             [pool.p]\nbackends = [{{ name = 'a', address = '{}' }}, {{ name = 'b', address = '{}' }}]\n{keys}\n{ROLE}",
            a.addr(),
            b.addr(),
        ));
        lb.wait_for_up(2);
        Self { a, b, lb }
    }

    fn leaders(keys: &str) -> Self {
        let pair = Self::start(&format!("mode = 'leader'\n{keys}"), 429);
        eventually("a leads", DEADLINE, || pair.lb.get("/").text() == "a");
        pair
    }

    /// `b` takes over.
    fn swap(&self) {
        self.a.becomes(script("a", 429));
        self.b.becomes(script("b", 200));
        eventually("b leads", DEADLINE, || self.lb.get("/").text() == "b");
    }

    /// A TCP session that has spoken to its backend.
    fn session(&self) -> Client {
        let mut client = Client::connect(self.lb.addr("raw"));
        client.send("GET /socket HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
        assert_eq!(client.read_response().status, 101);
        client
    }

    fn tunnel(&self) -> Client {
        client::websocket(self.lb.addr("web"), "/socket")
    }

    fn counts(&self, name: &str, value: f64) {
        self.lb.counts(&format!("evenkeel_backend_{name}{{pool=p,backend=a}}"), value);
    }

    fn order(&self, verb: &str, body: &str) {
        let response = order(self.lb.admin(), verb, body);
        assert_eq!(response.status, 200, "{}", response.text());
    }
}

fn order(admin: SocketAddr, verb: &str, body: &str) -> Response {
    let body = format!("{{\"owner\": \"test\"{body}}}");
    client::try_request(
        admin,
        &format!(
            "POST /api/v1/pools/p/backends/a/{verb} HTTP/1.1\r\nHost: {admin}\r\nContent-Length: {}\r\n\
             Content-Type: application/json\r\nX-Evenkeel-Request: 1\r\nConnection: close\r\n\r\n{body}",
            body.len()
        ),
    )
    .unwrap()
}

/// A request whose answer is waited for.
fn ask(address: SocketAddr, method: &str, path: &str) -> Client {
    let mut client = Client::connect(address);
    client.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"));
    client
}

// === a lost role ===

#[test]
fn sessions_of_a_lost_role_end_where_the_pool_says_so() {
    let pair = Pair::leaders("on_role_loss = 'close'\n");
    let (mut session, mut tunnel) = (pair.session(), pair.tunnel());
    assert!(session.echoes("one") && tunnel.echoes("one"));
    pair.swap();
    assert_eq!(session.ending(DEADLINE), Ending::Reset, "its client comes back to the new leader at once");
    assert_eq!(tunnel.ending(DEADLINE), Ending::Reset);
    pair.lb.failed("cut", 2);
    pair.counts("cut_total", 2.0);
    assert!(pair.session().echoes("two"));
    pair.counts("in_flight", 0.0);
}

#[test]
fn sessions_of_a_lost_role_stay_where_the_pool_says_nothing() {
    let pair = Pair::leaders("");
    let (mut session, mut tunnel) = (pair.session(), pair.tunnel());
    pair.swap();
    assert!(session.echoes("one") && tunnel.echoes("one"));
    pair.counts("cut_total", 0.0);
}

#[test]
fn a_request_that_waits_for_a_lost_leader_is_answered_by_the_new_one() {
    let pair = Pair::leaders("on_role_loss = 'close'\nhold = '10s'\n");
    // The old leader would never answer it; the new one does.
    let mut waiting = ask(pair.lb.addr("web"), "GET", "/hangs");
    pair.a.wait_for_requests_for("/hangs", 1);
    pair.a.becomes(script("a", 429));
    pair.b.becomes(Origin::http().reply("b"));
    assert_eq!(waiting.read_response().text(), "b");
    pair.counts("cut_total", 0.0);
}

#[test]
fn what_cannot_be_sent_again_has_a_moment_to_be_answered() {
    let pair = Pair::leaders("on_role_loss = 'close'\n");
    let slow = || script("a", 200).at("/order", Origin::http().reply("done").delay(Duration::from_millis(700)));
    pair.a.becomes(slow());
    let mut quick = ask(pair.lb.addr("web"), "POST", "/order");
    let mut never = ask(pair.lb.addr("web"), "POST", "/hangs");
    let mut stream = ask(pair.lb.addr("web"), "GET", "/stream");
    stream.read_exact(100_000);
    pair.a.wait_for_requests_for("/order", 1);
    pair.a.wait_for_requests_for("/hangs", 1);
    pair.swap();
    assert_eq!(quick.read_response().text(), "done");
    assert_eq!(never.read_response().status, 502);
    assert!(stream.try_read_to_end().is_err(), "an answer that was cut does not look complete");
    pair.lb.failed("cut", 2);
    pair.counts("cut_total", 2.0);
}

// === drain ===

#[test]
fn a_backend_that_drains_gets_nothing_new_and_finishes_what_it_has() {
    let pair = Pair::new("");
    let mut sessions = [pair.session(), pair.session()];
    pair.order("drain", "");
    for _ in 0..10 {
        assert_eq!(pair.lb.get("/").text(), "b");
    }
    assert!(sessions.iter_mut().all(|session| session.echoes("still here")));
    pair.counts("in_flight", 1.0);
    pair.order("ready", "");
    assert!((0..2).any(|_| pair.lb.get("/").text() == "a"), "it gets work again");
}

#[test]
fn the_backends_own_wish_to_drain_is_heeded() {
    let pair = Pair::new("");
    let mut session = [pair.session(), pair.session()];
    pair.a.becomes(script("a", 477));
    pair.lb.wait_for_up(1);
    for _ in 0..10 {
        assert_eq!(pair.lb.get("/").text(), "b");
    }
    assert!(session.iter_mut().all(|session| session.echoes("still here")));
}

#[test]
fn an_answer_of_a_backend_that_drains_asks_its_client_to_come_anew() {
    let pair = Pair::new("balance = 'first'\n");
    pair.a.becomes(script("a", 200).at("/slow", Origin::http().reply("a").delay(Duration::from_millis(500))));
    let mut client = ask(pair.lb.addr("web"), "GET", "/");
    assert_eq!(client.read_response().header("connection"), None);
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    pair.a.wait_for_requests_for("/slow", 1);
    pair.order("drain", "");
    let answer = client.read_response();
    assert_eq!((answer.text().as_str(), answer.header("connection")), ("a", Some("close")));
    assert!(client.closed());
    // Its connection to the backend is not kept, and those that idled end.
    pair.counts("idle_connections", 0.0);
}

#[test]
fn when_the_time_of_a_drain_is_over_the_rest_is_cut() {
    let pair = Pair::new("balance = 'first'\n");
    let (mut session, mut tunnel) = (pair.session(), pair.tunnel());
    let mut hangs = ask(pair.lb.addr("web"), "POST", "/hangs");
    pair.a.wait_for_requests_for("/hangs", 1);
    pair.order("drain", ", \"deadline_seconds\": 0.5");
    assert!(session.echoes("a last word"));
    assert_eq!(session.ending(DEADLINE), Ending::Reset);
    let goes_away = Ending::Data(vec![0x88, 2, 0x03, 0xf4]);
    assert_eq!(tunnel.ending(DEADLINE), goes_away, "a WebSocket is told: 1012 (RFC 6455, section 7.4)");
    assert_eq!(tunnel.ending(DEADLINE), Ending::Closed);
    assert_eq!(hangs.read_response().status, 502);
    pair.counts("cut_total", 3.0);
    pair.counts("in_flight", 0.0);
}

#[test]
fn maintenance_takes_new_work_away_and_lets_the_old_finish() {
    let pair = Pair::new("balance = 'first'\n");
    let mut session = pair.session();
    pair.order("maintenance", "");
    assert_eq!(pair.lb.get("/").text(), "b", "new work goes elsewhere as soon as the order is answered");
    assert!(session.echoes("still here"));
}

// === clients that leave ===

#[test]
fn a_held_request_is_dropped_when_its_client_leaves() {
    let dead = Origin::http().refuses().start();
    let lb = Balancer::web(&[dead.addr()], "hold = '60s'\n[pool.p.check.port]\ntype = 'tcp'\ninitial = 'down'\n");
    let waiting = "evenkeel_pool_waiting{pool=p}";
    let ended = ask(lb.addr("web"), "GET", "/");
    let reset = ask(lb.addr("web"), "POST", "/");
    let stays = ask(lb.addr("web"), "GET", "/");
    lb.counts(waiting, 3.0);
    reset.reset();
    lb.counts(waiting, 2.0);
    drop(ended);
    lb.counts(waiting, 1.0);
    lb.failed("client_abort", 2);
    drop(stays);
    lb.counts(waiting, 0.0);
}

#[test]
fn a_held_tcp_connection_is_dropped_when_its_client_resets_and_stays_after_half_a_close() {
    let echo = Origin::echo().start();
    let lb = Balancer::tcp(
        &[echo.addr()],
        "hold = '60s'\n[pool.p.check.port]\ntype = 'tcp'\ninterval = '50ms'\nrise = 1\nfall = 1\n",
    );
    echo.stop();
    lb.wait_for_up(0);
    let waiting = "evenkeel_pool_waiting{pool=p}";
    let mut leaves = Client::connect(lb.addr("web"));
    leaves.send("never mind");
    let mut stays = Client::connect(lb.addr("web"));
    stays.send("an early word");
    stays.end_sending();
    lb.counts(waiting, 2.0);
    leaves.reset();
    lb.counts(waiting, 1.0);
    lb.failed("client_abort", 1);
    echo.start_again();
    assert_eq!(stays.try_read_to_end().unwrap(), b"an early word");
}

// === backends that go without a word ===

/// In how many hundredths of a second the system asks the other side of a connection to `remote` whether it is still
/// there; `None` where it does not, or waits for a confirmation of what was sent.
fn asks_within(remote: SocketAddr) -> Option<u64> {
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let SocketAddr::V4(address) = remote else { unreachable!("the tests are on 127.0.0.1") };
    let end = format!("{:08X}:{:04X}", u32::from_le_bytes(address.ip().octets()), address.port());
    // sl local remote st tx:rx tr:when …; a `tr` of 2 is the keepalive timer (proc_net_tcp).
    let fields = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut timers = fields.filter(|fields| fields.get(2) == Some(&end.as_str())).map(|fields| fields[5].to_owned());
    timers.find_map(|timer| u64::from_str_radix(timer.strip_prefix("02:")?, 16).ok())
}

#[test]
fn the_system_watches_sessions_that_are_quiet() {
    let echo = Origin::echo().start();
    let lb = Balancer::tcp(&[echo.addr()], "");
    let mut session = Client::connect(lb.addr("web"));
    assert!(session.echoes("hello"));
    assert!(asks_within(session.local_addr()).is_some(), "towards the client from the start");
    eventually("and towards the backend after a second", DEADLINE, || asks_within(echo.addr()).is_some());
    assert!(session.echoes("it goes on"));
}

#[test]
fn the_system_watches_sessions_that_never_rest() {
    let echo = Origin::echo().start();
    let lb = Balancer::tcp(&[echo.addr()], "");
    let mut session = Client::connect(lb.addr("web"));
    eventually("while bytes come and go", DEADLINE, || session.echoes("x") && asks_within(echo.addr()).is_some());
}

#[test]
fn sessions_of_a_backend_that_is_down_are_watched_more_closely_until_it_is_up_again() {
    let (echo, health) = (Origin::echo().start(), Origin::http().start());
    let lb = Balancer::tcp(
        &[echo.addr()],
        &format!(
            "[pool.p.timeouts]\nresponse = '40s'\nconnect = '8s'\n[pool.p.check.web]\ntype = 'http'\nport = {}\n\
             interval = '50ms'\nrise = 1\nfall = 1\n",
            health.addr().port()
        ),
    );
    lb.wait_for_up(1);
    let mut session = Client::connect(lb.addr("web"));
    assert!(session.echoes("hello"));
    // The time to the next question falls until it is asked, and begins anew then: one of more than two seconds is seen
    // only where questions are rare, and one of two that begins, only where they are not. While it waits for a
    // confirmation there is nothing to be seen.
    let asks_rarely = || {
        eventually("asked each 3 to 10 s", DEADLINE, || {
            asks_within(echo.addr()).is_some_and(|rest| (3..=10).contains(&rest.div_ceil(100)))
        });
    };
    let asks_often = || {
        let mut before = u64::MAX;
        eventually("asked each 2 s", DEADLINE, || {
            let Some(rest) = asks_within(echo.addr()) else { return false };
            let begins = rest > std::mem::replace(&mut before, rest);
            begins && rest.div_ceil(100) <= 2
        });
    };
    asks_rarely();
    health.becomes(Origin::http().status(500));
    lb.wait_for_up(0);
    assert!(session.echoes("a session that lives goes on"));
    asks_often();
    health.becomes(Origin::http());
    lb.wait_for_up(1);
    assert!(session.echoes("and afterwards"));
    asks_rarely();
}

// === the end of the process ===

#[test]
fn websockets_are_told_when_the_time_of_a_stop_is_over() {
    let origin = Origin::http().upgrade_echo().start();
    let web = free_address();
    let mut process = Process::start(&format!(
        "shutdown.drain = '300ms'\n[listener.web]\nbind = '{web}'\nhttp = ['1.1', '2']\npool = 'p'\n\
         [pool.p]\nbackends = ['{}']\n",
        origin.addr()
    ));
    let mut tunnel = client::websocket(web, "/chat");
    let frame = [0x81, 0x80, 0, 0, 0, 0];
    assert!(tunnel.echoes(frame));
    let mut http2 = H2::connect(web);
    let mut request = http::Request::builder().method("CONNECT").uri("http://a/chat").body(()).unwrap();
    request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
    let mut open = http2.begin(request, false).unwrap();
    assert_eq!(http2.head(&mut open).unwrap().status(), 200);
    http2.send(&mut open, &frame, false).unwrap();
    assert_eq!(http2.data(&mut open).unwrap().unwrap()[..], frame);
    process.signal("TERM");
    let goes_away = [0x88, 2, 0x03, 0xf4];
    assert_eq!(tunnel.ending(DEADLINE), Ending::Data(goes_away.to_vec()), "1012 (RFC 6455, section 7.4)");
    assert_eq!(tunnel.ending(DEADLINE), Ending::Closed);
    assert_eq!(&http2.data(&mut open).unwrap().unwrap()[..], goes_away);
    while let Some(behind) = http2.data(&mut open) {
        assert!(behind.unwrap().is_empty(), "the stream ends in order");
    }
    assert!(process.wait(DEADLINE).success());
}
