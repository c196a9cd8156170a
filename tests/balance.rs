//! Who gets which request: each way of picking, backups, and routes, on the wire.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use support::client::{self, Response};
use support::{Balancer, Client, Origin, eventually};

use support::eventually::DEADLINE;

const CHECKED: &str = "[pool.p.check.port]\ntype = 'tcp'\ninterval = '100ms'\nrise = 1\nfall = 1\n";

/// So many backends that answer with their number; `keys` are further keys of the pool.
struct Row {
    origins: Vec<Origin>,
    lb: Balancer,
}

impl Row {
    fn of(count: usize, rest: &str) -> Self {
        let origins: Vec<Origin> = (0..count).map(|number| Origin::http().reply(number.to_string()).start()).collect();
        let addresses: Vec<_> = origins.iter().map(Origin::addr).collect();
        let lb = Balancer::web(&addresses, rest);
        Self { origins, lb }
    }

    /// With a table for each backend; `ADDRESS` stands for its address.
    fn with(backends: &[&str], rest: &str) -> Self {
        let origins: Vec<Origin> =
            (0..backends.len()).map(|number| Origin::http().reply(number.to_string()).start()).collect();
        let tables: Vec<String> = backends
            .iter()
            .zip(&origins)
            .map(|(table, origin)| format!("{{ address = '{}'{table} }}", origin.addr()))
            .collect();
        let lb = Balancer::start(&format!(
            "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n[pool.p]\nbackends = [{}]\n{rest}",
            tables.join(", ")
        ));
        Self { origins, lb }
    }

    /// Who answers so many requests.
    fn shares(&self, requests: usize) -> BTreeMap<String, usize> {
        let mut client = self.lb.client();
        let mut shares = BTreeMap::new();
        for _ in 0..requests {
            *shares.entry(client.get("/").text()).or_insert(0) += 1;
        }
        shares
    }
}

fn counts(shares: &BTreeMap<String, usize>) -> Vec<usize> {
    shares.values().copied().collect()
}

fn ask(client: &mut Client, request: &str) -> Response {
    client.send(request);
    client.read_response()
}

// === picks ===

#[test]
fn round_robin_takes_turns() {
    let row = Row::of(3, "");
    let mut client = row.lb.client();
    let order: Vec<String> = (0..9).map(|_| client.get("/").text()).collect();
    assert_eq!(order[..3], order[3..6]);
    assert_eq!(order[..3], order[6..]);
    assert_eq!(counts(&row.shares(30)), [10, 10, 10]);
}

#[test]
fn round_robin_gives_each_its_weight_and_interleaves() {
    let row = Row::with(&["", ", weight = 3", ", weight = 2"], "");
    assert_eq!(counts(&row.shares(60)), [10, 30, 20]);
    let mut client = row.lb.client();
    let order: Vec<String> = (0..12).map(|_| client.get("/").text()).collect();
    assert!(!order.windows(3).any(|three| three[0] == three[1] && three[1] == three[2]), "{order:?}");
}

#[test]
fn a_backend_that_returns_gets_its_even_share_again() {
    let row = Row::of(3, CHECKED);
    row.lb.wait_for_up(3);
    row.origins[1].stop();
    row.lb.wait_for_up(2);
    assert_eq!(row.shares(20), BTreeMap::from([("0".into(), 10), ("2".into(), 10)]));
    row.origins[1].start_again();
    row.lb.wait_for_up(3);
    assert_eq!(counts(&row.shares(30)), [10, 10, 10]);
}

#[test]
fn random_and_p2c_and_peak_ewma_reach_everyone() {
    for balance in ["random", "p2c", "peak-ewma"] {
        let row = Row::of(3, &format!("balance = '{balance}'\n"));
        let shares = row.shares(300);
        assert_eq!(shares.len(), 3, "{balance}: {shares:?}");
        // The slowest of a busy moment gets little under peak-ewma for a while.
        let least = if balance == "peak-ewma" { 1 } else { 20 };
        assert!(shares.values().all(|share| *share >= least), "{balance}: {shares:?}");
    }
}

#[test]
fn random_follows_the_weights() {
    let row = Row::with(&["", ", weight = 4"], "balance = 'random'\n");
    let shares = row.shares(500);
    assert!((300..470).contains(&shares["1"]), "{shares:?}");
}

#[test]
fn least_requests_and_p2c_avoid_a_slow_backend() {
    for balance in ["least-requests", "p2c"] {
        let row = Row::of(2, &format!("balance = '{balance}'\n"));
        row.origins[0].becomes(Origin::http().reply("0").delay(Duration::from_secs(60)));
        // One request hangs at the slow one; the others see it there.
        let mut waiting = Vec::new();
        while row.lb.metric(&format!("evenkeel_backend_in_flight{{pool=p,backend={}}}", row.origins[0].addr())) == 0.0 {
            let mut client = row.lb.client();
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            waiting.push(client);
            eventually("it is under way or answered", DEADLINE, || {
                row.lb.metric("evenkeel_listener_connections_total{listener=web}") >= waiting.len() as f64
            });
        }
        assert_eq!(row.shares(30), BTreeMap::from([("1".into(), 30)]), "{balance}");
    }
}

#[test]
fn peak_ewma_prefers_the_quicker() {
    let row = Row::of(2, "balance = 'peak-ewma'\n");
    row.origins[0].becomes(Origin::http().reply("0").delay(Duration::from_millis(30)));
    row.shares(4);
    let shares = row.shares(40);
    assert!(shares["1"] > 30, "{shares:?}");
}

#[test]
fn first_takes_the_first_that_is_up() {
    let row = Row::of(3, &format!("balance = 'first'\n{CHECKED}"));
    row.lb.wait_for_up(3);
    assert_eq!(row.shares(10), BTreeMap::from([("0".into(), 10)]));
    row.origins[0].stop();
    assert_eq!(row.shares(10), BTreeMap::from([("1".into(), 10)]));
    row.lb.wait_for_up(2);
    row.origins[0].start_again();
    row.lb.wait_for_up(3);
    assert_eq!(row.shares(10), BTreeMap::from([("0".into(), 10)]));
}

#[test]
fn backups_work_only_while_no_regular_backend_does() {
    let row = Row::with(&["", ", backup = true", ", backup = true"], CHECKED);
    row.lb.wait_for_up(3);
    assert_eq!(row.shares(10), BTreeMap::from([("0".into(), 10)]));
    row.origins[0].stop();
    row.lb.wait_for_up(2);
    assert_eq!(row.shares(10), BTreeMap::from([("1".into(), 5), ("2".into(), 5)]));
    row.origins[0].start_again();
    row.lb.wait_for_up(3);
    assert_eq!(row.shares(10), BTreeMap::from([("0".into(), 10)]));
}

#[test]
fn a_request_whose_regular_backend_just_died_reaches_the_backup() {
    let row = Row::with(&["", ", backup = true"], &format!("hold = '5s'\n{CHECKED}"));
    row.lb.wait_for_up(2);
    row.origins[0].stop();
    for _ in 0..5 {
        assert_eq!(row.lb.get("/").text(), "1");
    }
}

// === picks by key ===

/// Who answers for each key.
fn homes(lb: &Balancer, request: impl Fn(usize) -> String, keys: usize) -> Vec<String> {
    let mut client = lb.client();
    (0..keys).map(|key| ask(&mut client, &request(key)).text()).collect()
}

fn stays_and_moves_a_little(balance: &str, request: impl Fn(usize) -> String) {
    const KEYS: usize = 200;
    let row = Row::of(4, &format!("balance = '{balance}'\n{CHECKED}"));
    row.lb.wait_for_up(4);
    let before = homes(&row.lb, &request, KEYS);
    assert_eq!(homes(&row.lb, &request, KEYS), before, "{balance}: a key stays");
    for number in ["0", "1", "2", "3"] {
        let share = before.iter().filter(|home| *home == number).count();
        assert!((20..=85).contains(&share), "{balance}: {number} has {share} of {KEYS}");
    }
    row.origins[2].stop();
    row.lb.wait_for_up(3);
    let without = homes(&row.lb, &request, KEYS);
    let moved = before.iter().zip(&without).filter(|(before, after)| *before != "2" && before != after).count();
    assert!(moved <= KEYS / 20, "{balance}: {moved} keys moved that need not have");
    assert!(!without.contains(&"2".into()));
    row.origins[2].start_again();
    row.lb.wait_for_up(4);
    assert_eq!(homes(&row.lb, &request, KEYS), before, "{balance}: all come home");
}

#[test]
fn a_uri_stays_with_its_backend() {
    stays_and_moves_a_little("uri", |key| format!("GET /page/{key} HTTP/1.1\r\nHost: a\r\n\r\n"));
}

#[test]
fn a_header_stays_with_its_backend() {
    stays_and_moves_a_little("header:X-User", |key| format!("GET / HTTP/1.1\r\nHost: a\r\nx-user: u{key}\r\n\r\n"));
}

#[test]
fn a_cookie_stays_with_its_backend() {
    stays_and_moves_a_little("cookie:session", |key| {
        format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: other=1; session=s{key}; last=2\r\n\r\n")
    });
}

#[test]
fn requests_without_the_key_are_spread() {
    for balance in ["header:X-User", "cookie:session"] {
        let row = Row::of(3, &format!("balance = '{balance}'\n"));
        assert_eq!(counts(&row.shares(30)), [10, 10, 10], "{balance}");
    }
}

#[test]
fn a_client_address_stays_with_its_backend() {
    let row = Row::of(4, "balance = 'source'\n");
    let ask_from = |last: u8| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&std::net::SocketAddr::from(([127, 0, 9, last], 0)).into()).unwrap();
        socket.connect(&row.lb.addr("web").into()).unwrap();
        let mut stream: std::net::TcpStream = socket.into();
        std::io::Write::write_all(&mut stream, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut stream, &mut text).unwrap();
        text.chars().last().unwrap()
    };
    let homes: Vec<char> = (1..=40).map(ask_from).collect();
    assert_eq!((1..=40).map(ask_from).collect::<Vec<char>>(), homes);
    let distinct: std::collections::BTreeSet<_> = homes.iter().collect();
    assert_eq!(distinct.len(), 4, "{homes:?}");
    assert_eq!(
        row.origins[0].last_request().header("x-forwarded-for").map(|from| from.starts_with("127.0.9.")),
        Some(true)
    );
}

// === routes ===

fn routed(routes: &str) -> (Vec<Origin>, Balancer) {
    let names = ["a", "b", "c", "d"];
    let origins: Vec<Origin> = names.iter().map(|name| Origin::http().reply(name).start()).collect();
    let pools: Vec<String> = names
        .iter()
        .zip(&origins)
        .map(|(name, origin)| format!("[pool.{name}]\nbackends = ['{}']\n", origin.addr()))
        .collect();
    let lb = Balancer::start(&format!("[listener.web]\nbind = '127.0.0.1:0'\n{routes}\n{}", pools.concat()));
    (origins, lb)
}

fn route(conditions: &str, pool: &str) -> String {
    format!("[[listener.web.route]]\n{conditions}\npool = '{pool}'\n")
}

/// What answers: the pool's name, or the status.
fn answer(lb: &Balancer, method: &str, host: &str, target: &str, fields: &str) -> String {
    let mut client = lb.client();
    let answer = ask(&mut client, &format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"));
    if answer.status == 200 { answer.text() } else { answer.status.to_string() }
}

#[test]
fn a_host_chooses_the_pool() {
    let (_origins, lb) = routed(
        &[
            route("host = 'one.example'", "a"),
            route("host = ['two.example', 'ZWEI.example']", "b"),
            route("host = '*.wild.example'", "c"),
        ]
        .concat(),
    );
    for (host, expected) in [
        ("one.example", "a"),
        ("ONE.example:8080", "a"),
        ("one.example.", "a"),
        ("two.example", "b"),
        ("zwei.example", "b"),
        ("x.wild.example", "c"),
        ("x.y.wild.example", "c"),
        ("wild.example", "404"),
        ("xone.example", "404"),
        ("", "404"),
    ] {
        assert_eq!(answer(&lb, "GET", host, "/", ""), expected, "{host}");
    }
    assert_eq!(answer(&lb, "GET", "other", "http://one.example/x", ""), "a", "the target's authority counts");
    lb.rejected("no_route", 3);
}

#[test]
fn a_path_ends_at_a_segment() {
    let (_origins, lb) =
        routed(&[route("path = '/v1'", "a"), route("path = '/v2/'", "b"), route("path = '/'", "c")].concat());
    for (target, expected) in [
        ("/v1", "a"),
        ("/v1/", "a"),
        ("/v1/x?y", "a"),
        ("/v1?x", "a"),
        ("/v1x", "c"),
        ("/V1", "c"),
        ("/v2/x", "b"),
        ("/", "c"),
        ("/?x=/v1", "c"),
    ] {
        assert_eq!(answer(&lb, "GET", "h", target, ""), expected, "{target}");
    }
}

#[test]
fn method_header_and_client_choose_the_pool() {
    let (_origins, lb) = routed(
        &[
            route("method = ['PUT', 'PATCH']", "a"),
            route("header = [{ name = 'X-Beta', value = '1' }, 'X-Tenant']", "b"),
            route("client = ['10.0.0.0/8', '127.0.9.0/24']", "d"),
            route("client = '127.0.0.0/16'", "c"),
        ]
        .concat(),
    );
    for (method, fields, expected) in [
        ("PUT", "", "a"),
        ("PATCH", "X-Beta: 1\r\nX-Tenant: t\r\n", "a"),
        ("GET", "X-Beta: 1\r\nX-Tenant: t\r\n", "b"),
        ("GET", "x-tenant:\r\nx-beta: 1\r\n", "b"),
        ("GET", "X-Beta: 2\r\nX-Tenant: t\r\n", "c"),
        ("GET", "X-Beta: 1\r\n", "c"),
        ("put", "", "c"),
    ] {
        assert_eq!(answer(&lb, method, "h", "/", fields), expected, "{method} {fields:?}");
    }
}

#[test]
fn the_first_route_that_matches_wins() {
    let (_origins, lb) = routed(
        &[
            route("path = '/api'", "a"),
            route("host = 'h.example'", "b"),
            route("host = 'h.example'\npath = '/api/v2'", "c"),
        ]
        .concat(),
    );
    assert_eq!(answer(&lb, "GET", "h.example", "/api/v2", ""), "a");
    assert_eq!(answer(&lb, "GET", "h.example", "/other", ""), "b");
    assert_eq!(answer(&lb, "GET", "x.example", "/other", ""), "404");
}

#[test]
fn what_no_route_takes_goes_to_the_listeners_pool() {
    let (_origins, lb) = routed(&format!("pool = 'd'\n{}", route("path = '/v1'", "a")));
    assert_eq!(answer(&lb, "GET", "h", "/v1", ""), "a");
    assert_eq!(answer(&lb, "GET", "h", "/v2", ""), "d");
}

#[test]
fn without_a_match_it_is_404_with_a_sentence() {
    let (_origins, lb) = routed(&route("path = '/v1'", "a"));
    let answer = lb.get("/other");
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (404, "404 Not Found\n\nNothing is served under this address.\n")
    );
    let mut client = lb.client();
    client.send("HEAD /other HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.try_read_response("HEAD").unwrap();
    assert_eq!(head.status, 404);
    assert!(client.closed(), "no body behind the answer to HEAD");
}

#[test]
fn requests_of_one_connection_go_where_each_belongs() {
    let (origins, lb) = routed(&[route("path = '/a'", "a"), route("path = '/b'", "b")].concat());
    let mut client = lb.client();
    for _ in 0..5 {
        assert_eq!(client.get("/a").text(), "a");
        assert_eq!(client.get("/b").text(), "b");
    }
    assert_eq!((origins[0].connections(), origins[1].connections()), (1, 1));
    assert_eq!(client::get(lb.addr("web"), "/a").text(), "a");
}
