//! API Portal: Apache and `MySQL` together, sessions, datacenters.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::support::eventually::DEADLINE;
use crate::support::mysql::{FakeMysql, Script};
use crate::support::process::free_address;
use crate::support::systems::{Portal, Sessions, addresses, common_port};
use crate::support::{Balancer, Client, Load, Origin, Process, client, eventually};
use crate::{MANY, assert_even, quick, wait_for};

/// Two instances, each with a `MySQL` of its own.
struct Site {
    portals: Vec<Portal>,
    databases: Vec<Option<FakeMysql>>,
    ips: Vec<IpAddr>,
    port: u16,
}

impl Site {
    fn start(net: u8) -> Self {
        let (sessions, ips) = (Sessions::default(), addresses(net, 2));
        let port = common_port(&ips);
        let mut site = Self { portals: Vec::new(), databases: vec![None, None], ips, port };
        // First, or the system could give the common port to somebody else.
        site.start_database(0);
        site.start_database(1);
        let names = ["a", "b"].iter().zip(&site.ips);
        site.portals = names.map(|(name, ip)| Portal::start(name, *ip, &sessions)).collect();
        site
    }

    fn start_database(&mut self, instance: usize) {
        let address = SocketAddr::new(self.ips[instance], self.port);
        self.databases[instance] = Some(FakeMysql::start_at(address, Script::new().refuses_login(1045)));
    }

    fn stop_database(&mut self, instance: usize) {
        self.databases[instance] = None;
    }

    fn address(&self, instance: usize) -> SocketAddr {
        self.portals[instance].apache.addr()
    }

    /// The first instance falls, and is up again.
    #[track_caller]
    fn leaves_and_returns(&self, balancer: &Balancer) {
        self.portals[0].apache.stop();
        wait_for(balancer, self.address(0), false);
        self.portals[0].apache.start_again();
        wait_for(balancer, self.address(0), true);
    }

    /// In front of both, with further keys of the pool.
    fn balanced(&self, more: &str) -> Balancer {
        self.asking("interval = '200ms', timeout = '200ms', fast_interval = '50ms'", more)
    }

    /// The same, with keys of the check of `MySQL`.
    fn asking(&self, mysql: &str, more: &str) -> Balancer {
        let keys = format!(
            "preset = 'api-portal'\n{}check.mysql = {{ port = {}, {mysql} }}\n{more}",
            quick("apache"),
            self.port
        );
        Balancer::web(&[self.address(0), self.address(1)], &keys)
    }
}

fn share_of(backend: SocketAddr) -> String {
    format!("evenkeel_backend_share_ratio{{pool=p,backend={backend}}}")
}

#[track_caller]
fn share(balancer: &Balancer, backend: SocketAddr, expected: f64) {
    let share = balancer.metric(&share_of(backend));
    assert!((share - expected).abs() < 1e-9, "{share}");
}

/// A page, asked as whoever is signed in with this cookie; the answer's status, body and new cookie.
fn page(address: SocketAddr, cookie: Option<&str>, more: &str) -> (u16, String, Option<String>) {
    let cookie = cookie.map(|cookie| format!("Cookie: {cookie}\r\n")).unwrap_or_default();
    let mut client = Client::connect(address);
    client.send(format!("GET /catalog HTTP/1.1\r\nHost: portal.example.com\r\n{cookie}{more}\r\n"));
    let answer = client.read_response();
    (answer.status, answer.text(), answer.header("set-cookie").map(str::to_owned))
}

#[test]
fn an_instance_without_its_mysql_leaves_though_its_apache_is_fine() {
    let mut site = Site::start(31);
    let balancer = site.balanced("");
    site.stop_database(0);
    wait_for(&balancer, site.address(0), false);
    for _ in 0..20 {
        assert_eq!(page(balancer.addr("web"), None, "").1, "b");
    }
    site.start_database(0);
    wait_for(&balancer, site.address(0), true);
    site.portals[1].apache.stop();
    wait_for(&balancer, site.address(1), false);
    assert_eq!(page(balancer.addr("web"), None, "").1, "a");
}

#[test]
fn a_thousand_probes_leave_no_broken_handshake_behind() {
    let site = Site::start(32);
    let _balancer = site.asking("interval = '10ms', timeout = '10ms', fall = 1000", "");
    for database in site.databases.iter().flatten() {
        eventually("five hundred probes", DEADLINE, || database.connections() >= 500);
        // A login that is refused proves that the server is alive, and counts as nothing.
        assert_eq!(database.broken_handshakes(), 0);
    }
}

#[test]
fn whoever_is_signed_in_stays_so_whatever_port_the_client_comes_from() {
    let site = Site::start(33);
    let balancer = site.balanced("");
    let address = balancer.addr("web");
    let (_, _, cookie) = page(address, None, "");
    let cookie = cookie.expect("a session begins");
    let mut seen = Vec::new();
    for claim in ["", "X-Forwarded-For: 192.0.2.7:50238\r\n", "X-Forwarded-For: 192.0.2.7:50239\r\n", ""] {
        let (status, name, _) = page(address, Some(&cookie), claim);
        assert_eq!(status, 200, "signed out after {claim:?}");
        seen.push(name);
    }
    assert!(seen.contains(&"a".into()) && seen.contains(&"b".into()), "{seen:?}");
    let requests = site.portals[0].apache.requests();
    let pages = requests.iter().filter(|request| request.target == "/catalog");
    assert!(pages.into_iter().all(|page| page.headers("x-forwarded-for") == ["127.0.0.1"]));
}

#[test]
fn whoever_is_signed_in_stays_so_behind_two_balancers() {
    let site = Site::start(34);
    let inner = site.balanced("");
    let outer = Balancer::web(&[inner.addr("web")], "");
    let (_, _, cookie) = page(outer.addr("web"), None, "");
    for _ in 0..10 {
        assert_eq!(page(outer.addr("web"), cookie.as_deref(), "").0, 200);
    }
}

#[test]
fn an_attachment_is_found_again_where_its_owner_comes_from_the_same_address() {
    let site = Site::start(39);
    // Attachments are not shared here, and cookies for that are not there yet.
    let balancer = site.balanced("balance = 'source'\n");
    let ask = |ip: IpAddr, request: &str| {
        let mut client = Client::connect_from(ip, balancer.addr("web"));
        client.send(format!("{request} HTTP/1.1\r\nHost: portal.example.com\r\nContent-Type: text/plain\r\n"));
        client.send("Content-Length: 0\r\n\r\n");
        let answer = client.read_response();
        (answer.status, answer.text())
    };
    let mut owners = Vec::new();
    for ip in addresses(40, 16) {
        let (status, name) = ask(ip, &format!("POST /attachments/{ip}"));
        assert_eq!(status, 201);
        for _ in 0..20 {
            assert_eq!(ask(ip, &format!("GET /attachments/{ip}")), (200, name.clone()));
        }
        owners.push((ip, name));
    }
    // Whose instance stays does not move when another one falls.
    site.portals[0].apache.stop();
    wait_for(&balancer, site.address(0), false);
    for (ip, name) in owners {
        let (status, now) = ask(ip, &format!("GET /attachments/{ip}"));
        if name == "b" {
            assert_eq!((status, now), (200, name));
        } else {
            assert_eq!(status, 404);
            assert_eq!(ask(ip, &format!("POST /attachments/{ip}")), (201, "b".to_owned()));
        }
    }
}

#[test]
fn an_attachment_of_a_hundred_megabytes_passes_and_is_never_kept_whole() {
    const PIECE: usize = 1 << 20;
    let portal = Origin::http().status(201).reply("a").start();
    let web = free_address();
    let process = Process::start(&format!(
        "workers = 1\n[listener.web]\nbind = '{web}'\npool = 'p'\n\
         [pool.p]\npreset = 'api-portal'\nbackends = ['{}']\nhealthy_when = 'apache'\n",
        portal.addr()
    ));
    let before = most_resident_kib(process.pid());
    let mut client = Client::connect(web);
    let length = 100 * PIECE;
    client.send(format!("POST /attachments/big HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"));
    let piece = vec![b'x'; PIECE];
    for _ in 0..100 {
        client.send(&piece);
    }
    assert_eq!(client.read_response().status, 201);
    assert_eq!(portal.last_request().body.len(), length);
    let after = most_resident_kib(process.pid());
    assert!(after < before + 16 * 1024, "{before} KiB before, {after} at most since");
}

/// The most memory that a process has had.
fn most_resident_kib(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn an_instance_that_comes_back_begins_with_a_tenth_of_its_share() {
    let site = Site::start(35);
    // So slow that the share stands still while it is looked at.
    let balancer = site.balanced("slow_start = '1h'\n");
    let load = Load::start_as("portal.example.com", balancer.addr("web"), "/catalog", 4);
    assert_even(&load, &["a", "b"]);
    site.leaves_and_returns(&balancer);
    share(&balancer, site.address(0), 0.1);
    load.forget();
    load.wait_for(MANY);
    let early = load.so_far().share("a");
    assert!((early - 0.1 / 1.1).abs() < 0.02, "{early} of the work at a tenth of its share");
    load.stop().assert_none_failed();
}

#[test]
fn an_instance_that_comes_back_has_its_whole_share_after_the_time_of_slow_start() {
    let site = Site::start(37);
    let balancer = site.balanced("slow_start = '2s'\n");
    let load = Load::start_as("portal.example.com", balancer.addr("web"), "/catalog", 4);
    let left = Instant::now();
    site.leaves_and_returns(&balancer);
    let mut seen = Vec::new();
    eventually("its whole share", DEADLINE, || {
        seen.push(balancer.metric(&share_of(site.address(0))));
        (seen[seen.len() - 1] - 1.0).abs() < f64::EPSILON
    });
    assert!(left.elapsed() > Duration::from_secs(2), "all of it after {:?}", left.elapsed());
    let grows = seen.iter().any(|share| (0.15..0.95).contains(share));
    assert!(grows && seen.is_sorted(), "{seen:?}");
    assert_even(&load, &["a", "b"]);
    load.stop().assert_none_failed();
}

#[test]
fn fewer_healthy_instances_than_wanted_raise_an_alarm() {
    let mut site = Site::start(38);
    let balancer = site.balanced("min_healthy = 2\n");
    balancer.alarm(None);
    site.stop_database(0);
    balancer.alarm(Some("1 of 2 backends are up, `min_healthy` wants 2"));
    balancer.counts("evenkeel_pool_alarm{pool=p,alarm=min_healthy}", 1.0);
    assert_eq!(page(balancer.addr("web"), None, "").1, "b", "an alarm takes nothing out");
    site.start_database(0);
    balancer.alarm(None);
    let events = client::get(balancer.admin(), "/api/v1/events").text();
    assert!(events.contains("\"alarm\"") && events.contains("\"alarm_over\""), "{events}");
}

#[test]
fn one_database_node_of_three_may_fail() {
    let ips = addresses(36, 3);
    let port = common_port(&ips);
    let start = |ip: IpAddr| FakeMysql::start_at(SocketAddr::new(ip, port), Script::new());
    let mut nodes: Vec<Option<FakeMysql>> = ips.iter().map(|ip| Some(start(*ip))).collect();
    let sessions = Sessions::default();
    let portal = Portal::start("a", "127.0.0.1".parse().unwrap(), &sessions);
    let timing = "interval = '200ms', timeout = '200ms', fast_interval = '50ms'";
    let checks: Vec<String> = (0..3)
        .map(|node| {
            let ip = ips[node];
            format!(
                "check.db{node} = {{ type = 'mysql', user = 'evenkeel', host = '{ip}', port = {port}, {timing} }}\n"
            )
        })
        .collect();
    let rule = "healthy_when = 'apache and 2 of (db0, db1, db2)'\nmin_healthy = 1\n";
    let keys = format!("{rule}check.apache = {{ type = 'tcp', {timing} }}\n{}", checks.concat());
    let balancer = Balancer::web(&[portal.apache.addr()], &keys);
    let is_up = |check: &str, up: f64| {
        let backend = portal.apache.addr();
        balancer.counts(&format!("evenkeel_check_up{{pool=p,backend={backend},check={check}}}"), up);
    };
    nodes[0] = None;
    is_up("db0", 0.0);
    balancer.wait_for_up(1);
    nodes[1] = None;
    is_up("db1", 0.0);
    wait_for(&balancer, portal.apache.addr(), false);
    nodes[0] = Some(start(ips[0]));
    wait_for(&balancer, portal.apache.addr(), true);
}
