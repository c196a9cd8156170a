//! Every limit and every deadline, with the status that says so; and the end of descriptors, which nobody dies of.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::client::{self, Ending};
use support::eventually::{DEADLINE, eventually_some};
use support::process::{PROGRAM, free_address};
use support::{Balancer, Client, Origin, eventually};

/// Longer than the deadlines here, shorter than those that are not meant.
const SOON: Duration = Duration::from_secs(5);
const NOT_YET: Duration = Duration::from_millis(60);

fn web(rest: &str) -> (Origin, Balancer) {
    let origin = Origin::http().reply("fine").start();
    let lb = Balancer::web(&[origin.addr()], rest);
    (origin, lb)
}

#[track_caller]
fn refused(lb: &Balancer, request: impl AsRef<[u8]>, status: u16, reason: &str) {
    let mut client = lb.client();
    let _ = client.try_send(request);
    let answer = client.try_read_response("GET").unwrap_or_else(|error| panic!("{reason}: {error}"));
    assert_eq!((answer.status, answer.header("connection")), (status, Some("close")), "{reason}");
    assert!(matches!(client.ending(SOON), Ending::Closed | Ending::Reset), "{reason}");
    lb.rejected(reason, 1);
    assert_eq!(lb.get("/").text(), "fine");
}

// === sizes ===

#[test]
fn a_head_that_is_too_large_is_431() {
    let (_origin, lb) = web("[listener.web.limits]\nhead = '4KiB'\ntarget = '1KiB'\n");
    let fits = format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n", "x".repeat(3_900));
    let mut client = lb.client();
    client.send(&fits);
    assert_eq!(client.read_response().text(), "fine");
    refused(&lb, format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n", "x".repeat(4_200)), 431, "head_too_large");
}

#[test]
fn a_head_without_end_is_431_as_soon_as_it_is_too_large() {
    let (_origin, lb) = web("[listener.web.limits]\nhead = '64KiB'\n");
    refused(
        &lb,
        format!("GET / HTTP/1.1\r\nHost: a\r\n{}", "A: xxxxxxxxxxxx\r\n".repeat(80))
            + &format!("B: {}", "x".repeat(70_000)),
        431,
        "head_too_large",
    );
}

#[test]
fn too_many_fields_are_431() {
    let (_origin, lb) = web("[listener.web.limits]\nheaders = 10\n");
    let request = |fields: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(fields - 1));
    let mut client = lb.client();
    client.send(request(10));
    assert_eq!(client.read_response().text(), "fine");
    refused(&lb, request(11), 431, "too_many_headers");
}

#[test]
fn more_fields_than_there_is_room_for_are_431_too() {
    let (_origin, lb) = web("[listener.web.limits]\nheaders = 256\n");
    refused(&lb, format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(300)), 431, "too_many_headers");
}

#[test]
fn a_target_that_is_too_long_is_414() {
    let (_origin, lb) = web("[listener.web.limits]\ntarget = '1KiB'\n");
    refused(&lb, format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(1_100)), 414, "target_too_long");
}

#[test]
fn a_target_without_end_is_414() {
    let (_origin, lb) = web("[listener.web.limits]\nhead = '8KiB'\ntarget = '1KiB'\n");
    let mut client = lb.client();
    client.send("GET /");
    for _ in 0..20 {
        let _ = client.try_send("x".repeat(500));
    }
    let answer = client.try_read_response("GET").unwrap();
    assert_eq!(answer.status, 414);
}

#[test]
fn a_body_that_says_it_is_too_long_is_413_before_it_is_read() {
    let (origin, lb) = web("[listener.web.limits]\nbody = '1KiB'\n");
    let mut client = lb.client();
    assert_eq!(client.post("/", "x".repeat(1024)).text(), "fine");
    refused(&lb, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\n\r\n", 413, "body_too_large");
    assert_eq!(origin.requests().iter().filter(|request| request.method == "POST").count(), 1);
}

#[test]
fn a_chunked_body_that_becomes_too_long_is_413() {
    let (origin, lb) = web("[listener.web.limits]\nbody = '100KB'\n");
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    refused(
        &lb,
        format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(200)),
        413,
        "body_too_large",
    );
    assert_eq!(origin.requests().iter().filter(|request| request.method == "POST").count(), 0);
}

// === deadlines ===

#[test]
fn a_head_that_does_not_come_whole_is_408() {
    let (_origin, lb) = web("[listener.web.timeouts]\nhead = '200ms'\n");
    let begun = Instant::now();
    refused(&lb, "GET / HTTP/1.1\r\nHost", 408, "head_timeout");
    assert!(begun.elapsed() >= Duration::from_millis(200));
}

#[test]
fn a_head_that_drips_is_408_all_the_same() {
    let (_origin, lb) = web("[listener.web.timeouts]\nhead = '300ms'\n");
    let mut client = lb.client();
    let begun = Instant::now();
    client.send("GET / HTTP/1.1\r\n");
    loop {
        if client.try_send("A: b\r\n").is_err() || begun.elapsed() > SOON {
            break;
        }
        match client.ending(Duration::from_millis(20)) {
            Ending::Open => {}
            Ending::Data(answer) => {
                assert!(answer.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&answer));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    lb.rejected("head_timeout", 1);
}

#[test]
fn a_connection_without_a_request_ends_silently() {
    let (_origin, lb) = web("[listener.web.timeouts]\nclient_idle = '200ms'\n");
    let mut fresh = lb.client();
    let mut used = lb.client();
    assert_eq!(used.get("/").text(), "fine");
    assert_eq!(used.ending(NOT_YET), Ending::Open);
    assert_eq!(fresh.ending(SOON), Ending::Closed);
    assert_eq!(used.ending(SOON), Ending::Closed);
    lb.rejected("head_timeout", 0);
}

#[test]
fn a_body_that_stops_is_408() {
    let (origin, lb) = web("[listener.web.timeouts]\nbody_idle = '200ms'\n");
    for request in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nbegin",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbe",
    ] {
        let mut client = lb.client();
        client.send(request);
        let answer = client.read_response();
        assert_eq!((answer.status, answer.header("connection")), (408, Some("close")));
    }
    lb.rejected("body_timeout", 2);
    assert_eq!(origin.request_count(), 0);
    eventually("the backend's connections are closed", DEADLINE, || origin.open_connections() == 0);
}

#[test]
fn a_body_that_comes_slowly_but_comes_is_waited_for() {
    let (origin, lb) = web("[listener.web.timeouts]\nbody_idle = '300ms'\n");
    let mut client = lb.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n");
    for _ in 0..11 {
        client.send("x");
        assert_eq!(client.ending(NOT_YET), Ending::Open);
    }
    client.send("x");
    assert_eq!(client.read_response().text(), "fine");
    assert_eq!(origin.last_request().body, b"xxxxxxxxxxxx");
}

#[test]
fn a_client_that_stops_reading_is_cut() {
    let origin = Origin::http().endless_body().start();
    let lb = Balancer::web(&[origin.addr()], "[listener.web.timeouts]\nbody_idle = '200ms'\n");
    let mut client = lb.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("the backend's connection is closed", DEADLINE, || {
        origin.connections() == 1 && origin.open_connections() == 0
    });
    lb.failed("client_abort", 1);
    assert!(client.try_read_final("GET").is_err());
}

#[test]
fn an_answer_that_does_not_come_is_504() {
    let origin = Origin::http().stalls_before_answer().start();
    let lb = Balancer::web(&[origin.addr()], "[pool.p.timeouts]\nresponse = '400ms'\n");
    let mut client = lb.client();
    let begun = Instant::now();
    assert_eq!(client.get("/").status, 504);
    assert!(begun.elapsed() >= Duration::from_millis(400) && begun.elapsed() < SOON, "{:?}", begun.elapsed());
    lb.failed("response_timeout", 1);
}

#[test]
fn an_answer_later_than_the_silence_that_brings_a_probe_is_waited_for() {
    let origin = Origin::http().reply("late").delay(Duration::from_millis(500)).start();
    let lb = Balancer::web(&[origin.addr()], "");
    assert_eq!(lb.get("/").text(), "late");
    let mut client = lb.client();
    assert_eq!(client.post("/", "x".repeat(200_000)).text(), "late");
}

#[test]
fn the_time_for_an_answer_runs_from_the_end_of_the_request() {
    let origin = Origin::http().reply("fine").continue_100().delay(Duration::from_millis(250)).start();
    let lb = Balancer::web(&[origin.addr()], "[pool.p.timeouts]\nresponse = '500ms'\n");
    let mut client = lb.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.read_response().status, 100);
    assert_eq!(client.ending(Duration::from_millis(600)), Ending::Open);
    client.send("hello");
    assert_eq!(client.read_response().text(), "fine");
}

#[test]
fn a_connection_that_is_not_taken_is_504() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        waiting.push(stream);
    }
    let lb = Balancer::web(&[address], "[pool.p.timeouts]\nconnect = '300ms'\n");
    let begun = Instant::now();
    assert_eq!(lb.get("/").status, 504);
    assert!(begun.elapsed() >= Duration::from_millis(300) && begun.elapsed() < SOON);
    lb.failed("connect_timeout", 1);
}

#[test]
fn a_tunnel_in_which_nothing_moves_ends() {
    let origin = Origin::http().upgrade_echo().start();
    let lb = Balancer::web(&[origin.addr()], "[listener.web.timeouts]\ntunnel_idle = '300ms'\n");
    let mut tunnel = client::websocket(lb.addr("web"), "/ws");
    for _ in 0..4 {
        assert!(tunnel.echoes("x"));
        assert_eq!(tunnel.ending(NOT_YET * 2), Ending::Open);
    }
    assert!(tunnel.closed());
    lb.failed("tunnel_idle", 1);
    eventually("the backend's side is closed", DEADLINE, || origin.open_connections() == 0);
}

#[test]
fn a_pool_may_have_its_own_silence_for_tunnels() {
    let origin = Origin::http().upgrade_echo().start();
    let lb = Balancer::web(&[origin.addr()], "[pool.p.timeouts]\ntunnel = '200ms'\n");
    let mut tunnel = client::websocket(lb.addr("web"), "/ws");
    assert!(tunnel.closed());
}

// === connections ===

#[test]
fn at_the_listeners_limit_accepting_pauses_and_goes_on() {
    let (_origin, lb) = web("[listener.web.limits]\nconnections = 3\n");
    at_the_limit(&lb);
}

#[test]
fn at_the_limit_of_the_process_accepting_pauses_and_goes_on() {
    let (_origin, lb) = web("[limits]\nconnections = 3\n");
    at_the_limit(&lb);
}

fn at_the_limit(lb: &Balancer) {
    let mut three: Vec<Client> = (0..3).map(|_| lb.client()).collect();
    for client in &mut three {
        assert_eq!(client.get("/").text(), "fine");
    }
    let mut fourth = lb.client();
    fourth.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(fourth.ending(Duration::from_millis(200)), Ending::Open, "it waits in the kernel's queue");
    lb.counts("evenkeel_listener_open_connections{listener=web}", 3.0);
    three.pop();
    assert_eq!(fourth.read_response().text(), "fine");
    assert_eq!(three[0].get("/").text(), "fine");
}

// === descriptors ===

struct Starved(Child);

impl Drop for Starved {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Starved {
    /// Processor time used so far, in ticks of 10 ms.
    fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let after = stat.rsplit_once(')').unwrap().1;
        let fields: Vec<&str> = after.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
}

#[test]
fn without_descriptors_nothing_crashes_or_spins_and_all_recovers() {
    let origin = Origin::http().reply("fine").start();
    let (web, admin) = (free_address(), free_address());
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("evenkeel.toml");
    std::fs::write(
        &config,
        format!(
            "workers = 2\n[admin]\nbind = '{admin}'\n[listener.web]\nbind = '{web}'\npool = 'p'\n\
             [pool.p]\nbackends = ['{}']\n[pool.p.check.home]\ntype = 'http'\ninterval = '200ms'\n",
            origin.addr()
        ),
    )
    .unwrap();
    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    let mut starved = Starved(
        Command::new("bash")
            .args(["-c", "ulimit -n 64; exec \"$0\" run --config \"$1\"", PROGRAM])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap(),
    );
    eventually_some("the program is ready", DEADLINE, || {
        client::try_get(admin, "/readyz").ok().filter(|answer| answer.status == 200)
    });
    assert_eq!(client::get(web, "/").text(), "fine");

    let hungry: Vec<Client> = (0..200).filter_map(|_| Client::try_connect(web).ok()).collect();
    assert!(hungry.len() > 100, "{}", hungry.len());
    let all_taken = || std::fs::read_dir(format!("/proc/{}/fd", starved.0.id())).map_or(0, Iterator::count) >= 63;
    eventually("no descriptor is left", DEADLINE, all_taken);
    let (before, begun) = (starved.ticks(), Instant::now());
    let mut idle = Client::connect(web);
    assert_eq!(idle.ending(Duration::from_secs(1)), Ending::Open);
    let share = (starved.ticks() - before) as f64 / 100.0 / begun.elapsed().as_secs_f64();
    assert!(share < 0.3, "{share} of a processor while there is nothing to do");
    assert!(starved.0.try_wait().unwrap().is_none(), "it runs on");

    drop((hungry, idle));
    eventually("requests are served again", DEADLINE, || {
        client::try_get(web, "/").is_ok_and(|answer| answer.text() == "fine")
    });
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(log.lines().count() < 60, "the log is not flooded:\n{log}");
    assert!(!log.contains("panicked"), "{log}");
}

// === tunnels ===

#[test]
fn each_backend_has_as_many_websockets_as_it_may_have_and_plain_requests_go_on() {
    let backends = [Origin::http().upgrade_echo().start(), Origin::http().upgrade_echo().start()];
    let lb = Balancer::web(&[backends[0].addr(), backends[1].addr()], "tunnels_max = 2\nbalance = 'first'\n");
    let mut tunnels: Vec<Client> = (0..4).map(|_| client::websocket(lb.addr("web"), "/live")).collect();
    assert!(tunnels.iter_mut().all(|tunnel| tunnel.echoes("hello")));
    for backend in &backends {
        lb.counts(&format!("evenkeel_backend_tunnels{{pool=p,backend={}}}", backend.addr()), 2.0);
    }
    let upgrade = "GET /live HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let mut one_too_many = lb.client();
    one_too_many.send(upgrade);
    let answer = one_too_many.read_response();
    assert_eq!((answer.status, answer.header("retry-after").is_some()), (503, true));
    assert_eq!(lb.get("/").status, 200, "only tunnels are limited");
    drop(tunnels.remove(0));
    lb.counts(&format!("evenkeel_backend_tunnels{{pool=p,backend={}}}", backends[0].addr()), 1.0);
    one_too_many.send(upgrade);
    assert_eq!(one_too_many.read_response().status, 101, "a place has become free");
    drop((tunnels, one_too_many));
    for backend in &backends {
        lb.counts(&format!("evenkeel_backend_tunnels{{pool=p,backend={}}}", backend.addr()), 0.0);
    }
}

#[test]
fn a_request_for_a_tunnel_that_becomes_none_gives_its_place_back() {
    let backend = Origin::http().reply("plain").start();
    let lb = Balancer::web(&[backend.addr()], "tunnels_max = 1");
    let mut client = lb.client();
    for _ in 0..5 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        assert_eq!(client.read_response().text(), "plain");
    }
}
