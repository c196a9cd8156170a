//! A backend falls, and a backend returns: real Apaches with real `MariaDB`s behind them, and processes that are killed.
//!
//! The program checks what it should (a portal is up when its page and its database are), no request fails meanwhile,
//! and after the return the traffic is even again.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant, SystemTime};

use evenkeel::net::connect::connect_by;
use evenkeel::net::way::Way;
use support::eventually::DEADLINE;
use support::process::free_address;
use support::real::{RealApache, RealMariaDb};
use support::{BackendProcess, Balancer, Load, Origin, Process, client, eventually};
use tokio::io::AsyncReadExt;

const INTERVAL: Duration = Duration::from_millis(200);
const TIMEOUT: Duration = Duration::from_millis(200);
const FALL: u32 = 3;
/// Requests over which shares are looked at.
const MANY: u64 = 2_000;
/// Out of rotation within this, for a backend that refuses.
const AT_ONCE: Duration = Duration::from_millis(50);
const PROBES: f64 = 2_000.0;

/// Two instances of a portal, `a` and `b`, each an Apache with its `MariaDB`, and the balancer in front of them.
struct Portal {
    apaches: [RealApache; 2],
    databases: [RealMariaDb; 2],
    balancer: Process,
    listener: SocketAddr,
}

impl Portal {
    async fn start(ips: [&str; 2]) -> Self {
        let apaches = [RealApache::start(ips[0], "a").await, RealApache::start(ips[1], "b").await];
        // A check has one port for all backends.
        let port = common_port(ips);
        let mut databases = Vec::new();
        for ip in ips {
            let database = RealMariaDb::start_at(SocketAddr::new(ip.parse().unwrap(), port), &[]).await;
            database.query("CREATE USER 'evenkeel'@'%'");
            databases.push(database);
        }
        let listener = free_address();
        let timing = format!("interval = '{INTERVAL:?}'\ntimeout = '{TIMEOUT:?}'\nfall = {FALL}\n");
        let balancer = Process::start(&format!(
            "[listener.web]\nbind = '{listener}'\npool = 'portal'\n\
             [pool.portal]\nhealthy_when = 'apache and mysql'\n\
             backends = [{{ name = 'a', address = '{}' }}, {{ name = 'b', address = '{}' }}]\n\
             [pool.portal.check.apache]\ntype = 'apache'\n{timing}\
             [pool.portal.check.mysql]\ntype = 'mysql'\nport = {port}\nuser = 'evenkeel'\n{timing}",
            apaches[0].address, apaches[1].address,
        ));
        let databases = databases.try_into().unwrap_or_else(|_| unreachable!("one for each of two addresses"));
        Self { apaches, databases, balancer, listener }
    }

    fn is_up(&self, backend: &str) -> bool {
        self.balancer.metric(&format!("evenkeel_backend_up{{pool=\"portal\",backend=\"{backend}\"}}")) == Some(1.0)
    }
}

fn common_port(ips: [&str; 2]) -> u16 {
    let ips = ips.map(|ip| ip.parse::<IpAddr>().unwrap());
    loop {
        let first = TcpListener::bind((ips[0], 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        if TcpListener::bind((ips[1], port)).is_ok() {
            return port;
        }
    }
}

/// When the backend last went down.
fn went_down(balancer: &Process, backend: &str) -> Option<SystemTime> {
    let events = client::get(balancer.admin(), "/api/v1/events").text();
    let events: serde_json::Value = serde_json::from_str(&events).unwrap();
    let down = |event: &&serde_json::Value| event["kind"] == "down" && event["backend"] == backend;
    let last = events["events"].as_array().unwrap().iter().rfind(down)?;
    Some(last["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().into())
}

#[track_caller]
fn assert_even(load: &Load, names: &[&str]) {
    load.forget();
    load.wait_for(MANY);
    let tally = load.so_far();
    let fair = 1.0 / names.len() as f64;
    for name in names {
        let share = tally.share(name);
        assert!((share - fair).abs() <= 0.05 * fair, "{name} has {share} of {tally:?}");
    }
}

#[tokio::test]
async fn a_portal_leaves_with_its_database_and_comes_back_with_it() {
    let mut portal = Portal::start(["127.0.1.21", "127.0.1.22"]).await;
    let load = Load::start(portal.listener, "/", 4);
    assert_even(&load, &["a", "b"]);
    for (number, name, other) in [(0, "a", "b"), (1, "b", "a")] {
        load.forget();
        portal.databases[number].stop();
        let stopped = SystemTime::now();
        eventually("the instance leaves", DEADLINE, || !portal.is_up(name));
        let down = went_down(&portal.balancer, name).expect("it is down");
        // It may have left before the last of its database's process was gone.
        let took = down.duration_since(stopped).unwrap_or_default();
        assert!(took <= INTERVAL * FALL + TIMEOUT, "{name} left after {took:?}");
        load.so_far().assert_none_failed();
        load.forget();
        load.wait_for(MANY / 4);
        // One request of each client may have been under way when counting began anew.
        assert!(load.so_far().by_body.get(name).is_none_or(|count| *count <= 4), "{:?}", load.so_far());
        assert!(load.so_far().share(other) > 0.98);
        portal.databases[number].restart().await;
        eventually("the instance comes back", DEADLINE, || portal.is_up(name));
        load.so_far().assert_none_failed();
        assert_even(&load, &["a", "b"]);
    }
    load.stop().assert_none_failed();
}

#[tokio::test]
async fn a_stopped_apache_costs_no_request() {
    let mut portal = Portal::start(["127.0.1.23", "127.0.1.24"]).await;
    let load = Load::start(portal.listener, "/", 4);
    load.wait_for(MANY / 4);
    for number in [0, 1] {
        let name = ["a", "b"][number];
        let begun = Instant::now();
        portal.apaches[number].stop();
        eventually("the instance leaves", DEADLINE, || !portal.is_up(name));
        assert!(begun.elapsed() < INTERVAL * FALL + TIMEOUT + DEADLINE);
        load.wait_for(MANY / 4);
        portal.apaches[number].restart().await;
        eventually("the instance comes back", DEADLINE, || portal.is_up(name));
        load.so_far().assert_none_failed();
    }
    assert_even(&load, &["a", "b"]);
    load.stop().assert_none_failed();
}

/// Three backend processes, and the balancer in front of them with a lazy check: what is fast, traffic has brought.
fn three() -> ([BackendProcess; 3], Process, SocketAddr) {
    let backends = ["a", "b", "c"].map(BackendProcess::http);
    let listener = free_address();
    let members: Vec<_> = ["a", "b", "c"]
        .iter()
        .zip(&backends)
        .map(|(name, backend)| format!("{{ name = '{name}', address = '{}' }}", backend.addr()))
        .collect();
    let balancer = Process::start(&format!(
        "[listener.web]\nbind = '{listener}'\npool = 'web'\n[pool.web]\nbackends = [{}]\n\
         [pool.web.check.page]\ntype = 'http'\ninterval = '2s'\ntimeout = '1s'\nfast_interval = '200ms'\n",
        members.join(", ")
    ));
    (backends, balancer, listener)
}

#[test]
fn a_killed_backend_costs_no_request_and_is_out_at_once() {
    let (backends, balancer, listener) = three();
    let load = Load::start(listener, "/", 8);
    load.wait_for(MANY / 4);
    let mut took = Vec::new();
    for (backend, name) in backends.iter().zip(["a", "b", "c"]) {
        let killed = SystemTime::now();
        backend.kill();
        load.wait_for(MANY / 4);
        eventually("it is out", DEADLINE, || went_down(&balancer, name).is_some());
        took.push(went_down(&balancer, name).unwrap().duration_since(killed).unwrap());
        backend.start_again();
        let up = format!("evenkeel_backend_up{{pool=\"web\",backend=\"{name}\"}}");
        eventually("it is back", DEADLINE, || balancer.metric(&up) == Some(1.0));
    }
    assert_even(&load, &["a", "b", "c"]);
    load.stop().assert_none_failed();
    // The machine may be busy with something else once, not three times.
    assert!(took.iter().any(|took| *took <= AT_ONCE), "{took:?}");
    assert!(took.iter().all(|took| *took <= 10 * AT_ONCE), "{took:?}");
}

#[test]
fn a_frozen_backend_costs_no_request() {
    let (backends, balancer, listener) = three();
    let load = Load::start(listener, "/", 8);
    load.wait_for(MANY / 4);
    backends[1].signal("STOP");
    eventually("it is out", DEADLINE, || went_down(&balancer, "b").is_some());
    load.wait_for(MANY);
    backends[1].signal("CONT");
    eventually("it is back", DEADLINE, || {
        balancer.metric("evenkeel_backend_up{pool=\"web\",backend=\"b\"}") == Some(1.0)
    });
    assert_even(&load, &["a", "b", "c"]);
    let tally = load.stop();
    tally.assert_none_failed();
}

#[test]
fn a_backend_that_answers_neither_traffic_nor_a_probe_is_out_long_before_the_probe_has_to_give_up() {
    let stalls = || Origin::http().stalls_before_answer();
    let backends = [Origin::http().reply("a").start(), Origin::http().reply("b").start()];
    let lb = Balancer::web(
        &[backends[0].addr(), backends[1].addr()],
        "[pool.p.check.live]\ntype = 'http'\npath = '/health'\ninterval = '1h'\ntimeout = '1h'\n",
    );
    lb.wait_for_up(2);
    let load = Load::start(lb.addr("web"), "/", 8);
    load.wait_for(MANY / 4);
    backends[1].becomes(stalls());
    lb.wait_for_up(1);
    // One that is merely slow stays: some of its answers still come.
    let slow = Origin::http().delay(Duration::from_millis(400));
    backends[0].becomes(Origin::http().reply("a").at("/slow", slow).at("/health", stalls()));
    let slow = Load::start(lb.addr("web"), "/slow", 4);
    backends[0].wait_for_requests_for("/health", 2);
    slow.wait_for(20);
    slow.stop().assert_none_failed();
    lb.wait_for_up(1);
    load.stop().assert_none_failed();
}

/// An address of this machine that `MariaDB` does not exempt from blocking; connections to it come from it.
fn own_address() -> IpAddr {
    // Nothing is sent: connecting a datagram socket only asks which of our addresses would be used.
    let outward = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("198.51.100.1:9")?;
        socket.local_addr()
    });
    outward.expect("this test needs an address beside loopback; `ip addr` shows what there is").ip()
}

#[tokio::test]
async fn two_thousand_probes_of_the_running_program_leave_no_trace_at_a_strict_mariadb() {
    let ip = own_address();
    let database = RealMariaDb::start_with(&ip.to_string(), &["--max-connect-errors=5"]).await;
    for number in 0..8 {
        database.query(&format!("CREATE USER 'evenkeel{number}'@'%'"));
    }
    let aborted = database.status("Aborted_connects");
    // Each pool asks as another user, so that their questions are not one.
    let mut config = format!("[listener.db]\nbind = '{}'\nprotocol = 'tcp'\npool = 'p0'\n", free_address());
    for number in 0..8 {
        write!(
            config,
            "[pool.p{number}]\nbackends = ['{0}']\n\
             [pool.p{number}.check.login]\ntype = 'mysql'\nuser = 'evenkeel{number}'\ninterval = '20ms'\n\
             [pool.p{number}.check.port]\ntype = 'tcp'\ninterval = '20ms'\n",
            database.address
        )
        .unwrap();
    }
    let balancer = Process::start(&config);
    let good = || {
        let metrics = balancer.metrics();
        let lines = metrics.lines().filter(|line| line.starts_with("evenkeel_backend_probes_total{"));
        lines
            .filter(|line| line.contains("result=\"good\""))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum::<f64>()
    };
    eventually("the program probes", 4 * DEADLINE, || good() >= 2.0 * PROBES);
    assert_eq!(database.status("Aborted_connects"), aborted);
    assert_eq!(database.status("Aborted_clients"), 0);
    drop(balancer);
    // The address counts: what a naive check does gets it blocked.
    // The server counts them a moment later.
    let mut said = Vec::new();
    for _ in 0..100 {
        let mut stream = connect_by(Some(&Way::from_source(ip)), &database.address.into(), DEADLINE).await.unwrap();
        said = vec![0; 256];
        let length = stream.read(&mut said).await.unwrap_or(0);
        said.truncate(length);
        if String::from_utf8_lossy(&said).contains("blocked") {
            break;
        }
    }
    assert!(String::from_utf8_lossy(&said).contains("blocked"), "{}", String::from_utf8_lossy(&said));
}
