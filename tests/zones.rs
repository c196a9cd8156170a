//! Zones: work stays in its own zone while that can bear it, and goes elsewhere when it cannot, and comes back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use support::{Balancer, Client, Origin};

const CHECK: &str = "[pool.p.check.port]\ntype = 'tcp'\ninterval = '100ms'\nrise = 1\nfall = 1\n";

/// Backends that answer with their names, each in a zone: the first letter of its name.
struct Land {
    origins: BTreeMap<&'static str, Origin>,
    lb: Balancer,
}

impl Land {
    /// `zone = "a"` is the balancer's own; `keys` are further ones of the pool.
    fn new(protocol: &str, names: &[&'static str], keys: &str) -> Self {
        let script = |name| if protocol == "tcp" { Origin::tcp_banner(name) } else { Origin::http().reply(name) };
        let origins: BTreeMap<_, _> = names.iter().map(|name| (*name, script(*name).start())).collect();
        let backends: Vec<String> = names
            .iter()
            .map(|name| format!("{{ name = '{name}', address = '{}', zone = '{}' }}", origins[name].addr(), &name[..1]))
            .collect();
        let lb = Balancer::start(&format!(
            "[listener.web]\nbind = '0.0.0.0:0'\nprotocol = '{protocol}'\npool = 'p'\n\
             [pool.p]\nbackends = [{}]\nzone = 'a'\n{keys}\n{CHECK}",
            backends.join(", ")
        ));
        lb.wait_for_up(names.len());
        Self { origins, lb }
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.lb.addr("web").port()))
    }

    fn stop(&self, name: &str) {
        self.origins[name].stop();
        self.lb.counts(&format!("evenkeel_backend_up{{pool=p,backend={name}}}"), 0.0);
    }

    fn start(&self, name: &str) {
        self.origins[name].start_again();
        self.lb.counts(&format!("evenkeel_backend_up{{pool=p,backend={name}}}"), 1.0);
    }

    /// Who answers so many requests, in percent.
    fn shares(&self, requests: usize) -> BTreeMap<String, usize> {
        let mut client = Client::connect(self.address());
        let mut shares = BTreeMap::new();
        for _ in 0..requests {
            *shares.entry(client.get("/").text()).or_insert(0) += 1;
        }
        shares.into_iter().map(|(name, count)| (name, count * 100 / requests)).collect()
    }

    fn names(&self, requests: usize) -> String {
        self.shares(requests).into_keys().collect::<Vec<_>>().join(" ")
    }

    /// A TCP connection, and who serves it.
    fn session(&self) -> (Client, String) {
        let mut client = Client::connect(self.address());
        let name = String::from_utf8(client.read_exact(2)).unwrap();
        (client, name)
    }
}

#[test]
fn work_stays_at_home_and_goes_elsewhere_when_nobody_is_at_home() {
    let land = Land::new("http", &["a1", "a2", "b1", "c1"], "");
    assert_eq!(land.names(20), "a1 a2");
    land.stop("a1");
    // Half of the zone's weight is up, and that is enough.
    assert_eq!(land.names(20), "a2");
    land.stop("a2");
    assert_eq!(land.names(20), "b1 c1");
    land.start("a2");
    assert_eq!(land.names(20), "a2");
    land.start("a1");
    assert_eq!(land.names(20), "a1 a2");
    land.stop("b1");
    assert_eq!(land.names(20), "a1 a2", "what happens elsewhere is no matter");
}

#[test]
fn a_zone_that_is_partly_down_gives_away_the_part_that_it_cannot_bear() {
    let land = Land::new("http", &["a1", "a2", "a3", "a4", "b1"], "spill_below = '80%'\n");
    land.stop("a1");
    let shares = land.shares(800);
    // 75 of 80 percent stay.
    assert!((2..=12).contains(shares.get("b1").unwrap_or(&0)), "{shares:?}");
    land.stop("a2");
    land.stop("a3");
    let shares = land.shares(800);
    // 25 of 80 percent stay.
    assert!((24..=40).contains(&shares["a4"]), "{shares:?}");
    for name in ["a1", "a2", "a3"] {
        land.start(name);
    }
    assert_eq!(land.names(100), "a1 a2 a3 a4");
}

#[test]
fn a_full_zone_gives_away_what_comes_then() {
    let land = Land::new("tcp", &["a1", "a2", "b1"], "spill_at = 2\n");
    let mut open: Vec<(Client, String)> = (0..4).map(|_| land.session()).collect();
    let count = |open: &[(Client, String)], name: &str| open.iter().filter(|(_, served)| served == name).count();
    assert_eq!((count(&open, "a1"), count(&open, "a2")), (2, 2));
    open.extend((0..2).map(|_| land.session()));
    assert_eq!(count(&open, "b1"), 2);
    // Everybody is full: it stays at home.
    open.push(land.session());
    assert_eq!(count(&open, "b1"), 2);
    // Somebody leaves at home, and there is room again.
    open.retain(|(_, served)| served == "b1");
    land.lb.counts("evenkeel_backend_in_flight{pool=p,backend=a1}", 0.0);
    land.lb.counts("evenkeel_backend_in_flight{pool=p,backend=a2}", 0.0);
    assert!(land.session().1.starts_with('a'));
}

#[test]
fn clients_of_another_zone_are_served_there() {
    for protocol in ["http", "tcp"] {
        let zones = "client_zones = { '127.0.0.0/8' = 'a', '127.2.0.0/16' = 'b', '127.2.3.0/24' = 'c' }\n";
        let land = Land::new(protocol, &["a1", "b1", "c1"], zones);
        let served = |from: [u8; 4]| {
            let mut client = Client::connect_from(from.into(), land.address());
            if protocol == "tcp" { String::from_utf8(client.read_exact(2)).unwrap() } else { client.get("/").text() }
        };
        for _ in 0..3 {
            assert_eq!(served([127, 0, 0, 1]), "a1");
            assert_eq!(served([127, 2, 0, 1]), "b1");
            assert_eq!(served([127, 2, 3, 1]), "c1");
        }
        land.stop("b1");
        assert_ne!(served([127, 2, 0, 1]), "b1");
        land.start("b1");
        assert_eq!(served([127, 2, 0, 1]), "b1");
    }
}

#[test]
fn a_key_keeps_its_backend_whatever_happens_in_other_zones() {
    let land = Land::new("http", &["a1", "a2", "a3", "b1", "b2"], "balance = 'header:X-Key'\n");
    let map = || -> Vec<String> {
        let mut client = Client::connect(land.address());
        let mut ask = |key: usize| {
            client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Key: {key}\r\n\r\n"));
            client.read_response().text()
        };
        (0..60).map(&mut ask).collect()
    };
    let before = map();
    assert!(before.iter().all(|name| name.starts_with('a')));
    land.stop("b1");
    assert_eq!(map(), before);
    land.stop("a3");
    let kept = before.iter().zip(map()).filter(|(before, now)| *before != "a3" && *before == now).count();
    let others = before.iter().filter(|name| *name != "a3").count();
    assert!(kept + 2 >= others, "{kept} of {others} stayed");
    land.start("a3");
    assert_eq!(map(), before);
}

#[test]
fn a_retry_leaves_the_zone_when_nobody_at_home_answers() {
    let land = Land::new("http", &["a1", "b1"], "[pool.p.retry]\nattempts = 3\n");
    // It falls silently: the first to notice is a request.
    land.origins["a1"].stop();
    let mut client = Client::connect(land.address());
    client.patience(Duration::from_secs(20));
    assert_eq!(client.get("/").text(), "b1");
}
