//! `sticky`: a client stays with its backend, by a cookie of the balancer's or by what is remembered of it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use support::client::Response;
use support::eventually::DEADLINE;
use support::mysql::{FakeMysql, Script};
use support::systems::{addresses, common_port};
use support::tls::Authority;
use support::{Balancer, Client, Origin, Process, client, eventually};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const COOKIE: &str = "sticky = { cookie = 'node', secret = '0123456789abcdef0123456789abcdef' }\n";

/// Backends that answer with their names.
fn named(names: &[&str]) -> Vec<Origin> {
    names.iter().map(|name| Origin::http().reply(name).start()).collect()
}

/// A pool `p` of backends named a, b, c ..., and further keys of it, behind a listener `web`.
fn config(backends: &[Origin], keys: &str) -> String {
    let entries = backends.iter().zip('a'..);
    let entries: Vec<_> =
        entries.map(|(backend, name)| format!("{{ name = '{name}', address = '{}' }}", backend.addr())).collect();
    format!("[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n[pool.p]\nbackends = [{}]\n{keys}", entries.join(", "))
}

/// What a request with these field lines gets.
fn ask(lb: &Balancer, lines: &str) -> Response {
    let mut client = lb.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{lines}\r\n"));
    client.read_response()
}

fn cookie_line(cookie: &str) -> String {
    format!("Cookie: theme=dark; {cookie}; other=1\r\n")
}

/// Who answers whoever has this cookie, and the new one that comes with it.
fn visit(lb: &Balancer, cookie: &str) -> (String, Option<String>) {
    let answer = ask(lb, &cookie_line(cookie));
    (answer.text(), answer.header("set-cookie").map(|line| line.split(';').next().unwrap().to_owned()))
}

/// A cookie of somebody who has come for the first time and was served by this backend.
fn cookie_of(lb: &Balancer, name: &str) -> String {
    let tries = (0..50).map(|_| ask(lb, ""));
    let served = tries.into_iter().find(|answer| answer.text() == name).expect("it gets its share");
    served.header("set-cookie").expect("a cookie").split(';').next().unwrap().to_owned()
}

#[track_caller]
fn stays(lb: &Balancer, cookie: &str, name: &str) {
    for _ in 0..10 {
        assert_eq!(visit(lb, cookie), (name.to_owned(), None));
    }
}

fn results(lb: &Balancer, kept: u32, new: u32, moved: u32) {
    for (result, count) in [("kept", kept), ("new", new), ("moved", moved)] {
        lb.counts(&format!("evenkeel_pool_sticky_total{{pool=p,result={result}}}"), count.into());
    }
}

// === a cookie of the balancer's own ===

#[test]
fn a_client_stays_with_its_backend_and_gets_its_cookie_once() {
    let backends = named(&["a", "b", "c"]);
    let lb = Balancer::start(&config(&backends, COOKIE));
    for name in ["a", "b", "c"] {
        let cookie = cookie_of(&lb, name);
        stays(&lb, &cookie, name);
    }
    let asked = backends[0].last_request();
    assert!(asked.header("cookie").unwrap().contains("node="), "the backend sees it, like any other");
}

#[test]
fn no_cookie_is_set_unless_asked_for() {
    let backends = named(&["a", "b"]);
    let lb = Balancer::start(&config(&backends, ""));
    assert_eq!(ask(&lb, "").header("set-cookie"), None);
    assert!(!lb.metrics().contains("evenkeel_pool_sticky_total{"));
}

#[test]
fn a_cookie_says_nothing_of_its_backend_and_is_for_this_client_alone() {
    let backends = named(&["a"]);
    let lb = Balancer::start(&config(&backends, &format!("{COOKIE}[pool.p.timeouts]\nconnect = '1s'\n")));
    let answer = ask(&lb, "");
    let line = answer.header("set-cookie").unwrap();
    let value = line.strip_prefix("node=").unwrap().split(';').next().unwrap();
    assert!(value.len() == 32 && value.bytes().all(|byte| byte.is_ascii_hexdigit()), "{line}");
    assert_eq!(line.split_once(';').unwrap().1, " Path=/; HttpOnly; SameSite=Lax");
    assert_eq!(answer.header("cache-control"), Some("private"));
    let kept = ask(&lb, &cookie_line(&format!("node={value}")));
    assert_eq!((kept.header("set-cookie"), kept.header("cache-control")), (None, None));
}

#[test]
fn attributes_are_as_the_configuration_says() {
    let keys = format!(
        "sticky = {{ cookie = 'node', secret = '{SECRET}', path = '/app', domain = 'example.com', http_only = false, \
         same_site = 'none', secure = true, max_age = '2h' }}\n"
    );
    let backends = named(&["a"]);
    let lb = Balancer::start(&config(&backends, &keys));
    let answer = ask(&lb, "");
    let line = answer.header("set-cookie").unwrap();
    let attributes = line.split_once(';').unwrap().1;
    assert_eq!(attributes, " Path=/app; Domain=example.com; Max-Age=7200; SameSite=None; Secure");
}

#[test]
fn a_client_that_has_come_by_https_gets_a_secure_cookie() {
    let backends = named(&["a"]);
    let text = config(&backends, COOKIE);
    let text = text.replace("pool = 'p'\n[pool", "pool = 'p'\ntrusted_proxies = ['127.0.0.0/8']\n[pool");
    let lb = Balancer::start(&text);
    let line = |lines: &str| ask(&lb, lines).header("set-cookie").unwrap().to_owned();
    assert!(line("X-Forwarded-Proto: https\r\n").ends_with("; Secure"));
    assert!(!line("X-Forwarded-Proto: http\r\n").contains("Secure"));
}

#[test]
fn balancers_with_the_same_secret_honour_each_others_cookies_and_nobody_elses() {
    let backends = named(&["a", "b"]);
    let here = Balancer::start(&config(&backends, COOKIE));
    let there = Balancer::start(&config(&backends, COOKIE));
    let elsewhere = Balancer::start(&config(&backends, &COOKIE.replace("0123", "3210")));
    let cookie = cookie_of(&here, "b");
    stays(&there, &cookie, "b");
    let (_, new) = visit(&elsewhere, &cookie);
    assert!(new.is_some_and(|new| new != cookie));
    results(&elsewhere, 0, 1, 0);
}

#[test]
fn a_cookie_that_nobody_made_counts_as_none() {
    let backends = named(&["a", "b"]);
    let lb = Balancer::start(&config(&backends, COOKIE));
    let cookie = cookie_of(&lb, "a");
    let forged = [
        "node=".to_owned(),
        "node=a".to_owned(),
        format!("node={}", "0".repeat(32)),
        format!("{cookie}0"),
        cookie.to_ascii_uppercase().replace("NODE", "node"),
        cookie.replace("node=", "Node="),
        format!("node={}", "x".repeat(3_000)),
    ];
    for cookie in forged {
        assert!(visit(&lb, &cookie).1.is_some(), "{cookie}");
    }
}

#[test]
fn a_backend_that_falls_loses_its_clients_for_good() {
    let backends = named(&["a", "b"]);
    let check = "[pool.p.check.c]\ntype = 'tcp'\ninterval = '50ms'\nrise = 1\nfall = 1\n";
    let lb = Balancer::start(&config(&backends, &format!("{COOKIE}{check}")));
    let cookie = cookie_of(&lb, "a");
    backends[0].stop();
    lb.wait_for_up(1);
    let (name, new) = visit(&lb, &cookie);
    assert_eq!(name, "b");
    let new = new.expect("a cookie for where it is now");
    backends[0].start_again();
    lb.wait_for_up(2);
    stays(&lb, &new, "b");
    assert!(lb.metric("evenkeel_pool_sticky_total{pool=p,result=moved}") >= 1.0);
}

#[test]
fn a_request_that_fails_at_its_backend_is_tried_elsewhere_and_its_client_stays_there() {
    let backends = named(&["a", "b"]);
    let lb = Balancer::start(&config(&backends, COOKIE));
    let cookie = cookie_of(&lb, "a");
    backends[0].becomes(Origin::http().resets_before_answer());
    let (name, new) = visit(&lb, &cookie);
    assert_eq!(name, "b");
    backends[0].becomes(Origin::http().reply("a"));
    stays(&lb, &new.unwrap(), "b");
}

#[test]
fn a_backend_that_drains_keeps_its_clients_till_the_deadline_and_gets_no_new_ones() {
    let backends = named(&["a", "b"]);
    let lb = Balancer::start(&config(&backends, COOKIE));
    let cookie = cookie_of(&lb, "a");
    lb.order(&["drain", "p/a"]);
    eventually("it drains", DEADLINE, || lb.pool().backends[0].state == "draining");
    stays(&lb, &cookie, "a");
    for _ in 0..10 {
        assert_eq!(ask(&lb, "").text(), "b");
    }
    lb.order(&["drain", "p/a", "--deadline", "50ms"]);
    eventually("its time is over", DEADLINE, || visit(&lb, &cookie).0 == "b");
    lb.order(&["ready", "p/a"]);
    eventually("it is back", DEADLINE, || lb.pool().backends[0].state == "up");
    stays(&lb, &cookie, "a");
}

#[test]
fn the_last_backend_that_drains_still_serves_its_clients() {
    let backends = named(&["a"]);
    let lb = Balancer::start(&config(&backends, COOKIE));
    let cookie = cookie_of(&lb, "a");
    lb.order(&["drain", "p/a", "--force"]);
    eventually("it drains", DEADLINE, || lb.pool().backends[0].state == "draining");
    stays(&lb, &cookie, "a");
    assert_eq!(ask(&lb, "").status, 503);
}

#[test]
fn a_standby_is_nobodys_home() {
    let keys = format!("mode = 'active-standby'\n{COOKIE}[pool.p.check.c]\ntype = 'tcp'\ninterval = '50ms'\n");
    let backends = named(&["a", "b"]);
    let lb = Balancer::start(&config(&backends, &keys));
    lb.is_active(Some("a"));
    let cookie = cookie_of(&lb, "a");
    lb.order(&["demote", "p", "a"]);
    lb.is_active(Some("b"));
    let (name, new) = visit(&lb, &cookie);
    assert_eq!((name.as_str(), new.is_some()), ("b", true));
}

#[test]
fn a_client_waits_for_its_own_backend_where_that_is_full() {
    let slow = Origin::http().at("/slow", Origin::http().stalls_before_answer()).reply("a").start();
    let backends = [slow, Origin::http().reply("b").start()];
    let keys = format!("connections_max = 1\n{COOKIE}[pool.p.timeouts]\nqueue = '30s'\n");
    let lb = Balancer::start(&config(&backends, &keys));
    let cookie = cookie_of(&lb, "a");
    let mut busy = lb.client();
    busy.send(format!("GET /slow HTTP/1.1\r\nHost: a\r\n{}\r\n", cookie_line(&cookie)));
    backends[0].wait_for_requests_for("/slow", 1);
    let mut own = lb.client();
    own.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", cookie_line(&cookie)));
    eventually("it waits", DEADLINE, || lb.pool().waiting == 1);
    assert_eq!(ask(&lb, "").text(), "b", "others need not");
    busy.reset();
    let answer = own.read_response();
    assert_eq!((answer.text().as_str(), answer.header("set-cookie")), ("a", None));
}

#[test]
fn a_cookie_may_name_a_zone() {
    let backends = named(&["a", "b", "c", "d"]);
    let mut text = config(&backends, &COOKIE.replace(" }", ", scope = 'zone' }"));
    for (backend, zone) in ["a", "b", "c", "d"].iter().zip(["za", "za", "zb", "zb"]) {
        text = text.replace(&format!("name = '{backend}',"), &format!("name = '{backend}', zone = '{zone}',"));
    }
    text += "[pool.p.check.c]\ntype = 'tcp'\ninterval = '50ms'\nrise = 1\nfall = 1\n";
    let lb = Balancer::start(&text);
    let cookie = cookie_of(&lb, "c");
    let mut seen: Vec<String> =
        (0..20).map(|_| visit(&lb, &cookie)).map(|(name, new)| name + &new.unwrap_or_default()).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, ["c", "d"], "its zone, and no new cookie");
    backends[2].stop();
    backends[3].stop();
    lb.wait_for_up(2);
    let (name, new) = visit(&lb, &cookie);
    assert!(["a", "b"].contains(&name.as_str()) && new.is_some(), "{name}");
}

#[test]
fn without_a_secret_a_cookie_holds_over_reloads_and_the_warning_says_what_breaks() {
    let backends = named(&["a", "b"]);
    let text = config(&backends, "sticky = { cookie = 'node' }\n");
    let lb = Balancer::start(&text);
    let cookie = cookie_of(&lb, "b");
    assert_eq!(lb.reload(&format!("{text}hold = '1s'\n")).status, 200);
    stays(&lb, &cookie, "b");
    let process = Process::start(&text);
    let said = process.stderr() + &process.stdout();
    assert!(said.contains("holds until the program starts anew") && said.contains("another balancer"), "{said}");
}

// === what is remembered ===

#[test]
fn the_cookie_of_an_application_says_whose_its_client_is() {
    let judge = |name: &'static str| {
        Origin::http()
            .by(move |request| {
                let answer = Origin::http().reply(name);
                match request.path() {
                    "/login" => answer.header("Set-Cookie", &format!("JSESSIONID=of-{name}; Path=/; HttpOnly")),
                    _ => answer,
                }
            })
            .start()
    };
    let backends = [judge("a"), judge("b")];
    let text = config(&backends, "sticky = { application_cookie = 'JSESSIONID' }\n");
    let lb = Balancer::start(&text);
    let mut client = lb.client();
    client.send("GET /login HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let signed_in = client.read_response();
    let name = signed_in.text();
    let cookies: Vec<_> =
        signed_in.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie")).collect();
    assert_eq!(cookies.len(), 1, "the application's own, and no other: {cookies:?}");
    stays(&lb, &format!("JSESSIONID=of-{name}"), &name);
    assert_eq!(lb.reload(&format!("{text}hold = '1s'\n")).status, 200);
    stays(&lb, &format!("JSESSIONID=of-{name}"), &name);
    // One that was given out before the program started stays with whom it meets first.
    let (met, _) = visit(&lb, "JSESSIONID=older");
    stays(&lb, "JSESSIONID=older", &met);
}

#[test]
fn a_header_says_whose_its_client_is_whoever_comes_and_goes() {
    let backends = named(&["a", "b", "c"]);
    let check = "[pool.p.check.c]\ntype = 'tcp'\ninterval = '50ms'\nrise = 1\nfall = 1\n";
    let lb = Balancer::start(&config(&backends, &format!("sticky = {{ header = 'X-User' }}\n{check}")));
    let who = |user: usize| ask(&lb, &format!("X-User: u{user}\r\n")).text();
    let homes: Vec<String> = (0..30).map(who).collect();
    assert!(["a", "b", "c"].iter().all(|name| homes.iter().any(|home| home == name)));
    backends[0].stop();
    lb.wait_for_up(2);
    for (user, home) in homes.iter().enumerate().filter(|(_, home)| *home != "a") {
        assert_eq!(who(user), *home);
    }
    backends[0].start_again();
    lb.wait_for_up(3);
    for (user, home) in homes.iter().enumerate().filter(|(_, home)| *home != "a") {
        assert_eq!(who(user), *home);
    }
}

#[test]
fn a_tcp_client_stays_by_its_address() {
    let backends: Vec<_> = (0..3).map(|at| Origin::tcp_banner(format!("{at}")).start()).collect();
    let addresses: Vec<SocketAddr> = backends.iter().map(Origin::addr).collect();
    let lb = Balancer::tcp(&addresses, "sticky = { by = 'source' }\n");
    let serves = |host: u8| Client::connect_from(IpAddr::from([127, 0, 2, host]), lb.addr("web")).read_exact(1);
    let homes: Vec<_> = (1..=6).map(serves).collect();
    assert!(homes[..3].iter().collect::<std::collections::BTreeSet<_>>().len() == 3, "spread by `balance`: {homes:?}");
    for _ in 0..5 {
        assert_eq!((1..=6).map(serves).collect::<Vec<_>>(), homes);
    }
    results(&lb, 30, 6, 0);
}

#[test]
fn whoever_has_not_come_for_long_is_forgotten() {
    let backends = named(&["a", "b"]);
    let lb = Balancer::start(&config(&backends, "sticky = { by = 'source', expire = '100ms' }\n"));
    let _ = lb.get("/");
    let begun = std::time::Instant::now();
    eventually("its time is over", DEADLINE, || begun.elapsed() > Duration::from_millis(150));
    let _ = client::get(lb.addr("web"), "/");
    results(&lb, 0, 2, 0);
}

// === all of it ===

/// Everything that stands in front of a portal in two datacenters: proxies in front, TLS both ways, two checks, zones.
#[test]
fn a_portal_in_two_datacenters_keeps_its_clients() {
    let (ca, ips) = (Authority::new("CA"), addresses(52, 4));
    let port = common_port(&ips);
    let database = |ip: &IpAddr| FakeMysql::start_at(SocketAddr::new(*ip, port), Script::new().refuses_login(1045));
    let mut databases: Vec<_> = ips.iter().map(|ip| Some(database(ip))).collect();
    let names = ["a1", "a2", "b1", "b2"];
    let origins = named(&names);
    let shown = ca.issue("portal", &["portal.example.com"]);
    let apaches = ips.iter().zip(&origins).map(|(ip, origin)| {
        Balancer::start(&format!(
            "[listener.web]\nbind = '{ip}:0'\npool = 'p'\ntrusted_proxies = ['127.0.0.0/8']\n[listener.web.tls]\ncertificates = [{shown}]\n\
             [pool.p]\nbackends = ['{}']\n",
            origin.addr()
        ))
    });
    let apaches: Vec<Balancer> = apaches.collect();
    let entries = names.iter().zip(&apaches).map(|(name, apache)| {
        format!("{{ name = '{name}', address = '{}', zone = 'dc-{}' }}", apache.addr("web"), &name[..1])
    });
    let key = ca.folder().join("sticky.key");
    std::fs::write(&key, format!("{SECRET}\n")).unwrap();
    let lb = Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\ntrusted_proxies = ['127.0.0.0/8']\naccept_proxy = true\n\
         [listener.web.tls]\ncertificates = [{shown}]\n[listener.web.limits]\nbody = '100MiB'\n\
         [pool.p]\nzone = 'dc-a'\nbackends = [{}]\nhealthy_when = 'apache and mysql'\n\
         sticky = {{ cookie = 'portal_node', secret = '${{file:{}}}' }}\nslow_start = '20s'\nmin_healthy = 2\n\
         [pool.p.tls]\nserver_name = 'portal.example.com'\nca = '{}'\n[pool.p.check.apache]\ntype = 'tcp'\n\
         [pool.p.check.mysql]\ntype = 'mysql'\nport = {port}\nuser = 'evenkeel'\ninterval = '200ms'\n\
         timeout = '200ms'\nfast_interval = '50ms'\n",
        entries.collect::<Vec<_>>().join(", "),
        key.display(),
        ca.file().display()
    ));
    let page = |cookie: &str| {
        let mut client = Client::connect(lb.addr("web"));
        client.send("PROXY TCP4 192.0.2.7 192.0.2.1 40000 443\r\n");
        let mut client = client.agree_on_tls("portal.example.com", &ca.client()).unwrap();
        client.send(format!("GET /home HTTP/1.1\r\nHost: portal.example.com\r\n{cookie}\r\n"));
        let answer = client.read_response();
        (answer.text(), answer.header("set-cookie").map(str::to_owned))
    };
    let (home, set) = page("");
    assert!(["a1", "a2"].contains(&home.as_str()), "its own datacenter first: {home}");
    let set = set.expect("a cookie");
    assert!(set.starts_with("portal_node=") && set.ends_with("; Secure"), "{set}");
    let cookie = cookie_line(set.split(';').next().unwrap());
    for _ in 0..10 {
        assert_eq!(page(&cookie), (home.clone(), None));
    }
    let at = names.iter().position(|name| *name == home).unwrap();
    assert!(origins[at].requests().iter().all(|request| request.header("x-forwarded-for") == Some("192.0.2.7")));
    databases[at] = None;
    eventually("it has no database", DEADLINE, || lb.pool().backends[at].state == "down");
    let (next, set) = page(&cookie);
    assert!(next.starts_with('a') && next != home && set.is_some(), "{next}");
    databases[at] = Some(database(&ips[at]));
    eventually("it has", DEADLINE, || lb.pool().backends[at].state == "up");
    let cookie = cookie_line(set.unwrap().split(';').next().unwrap());
    for _ in 0..10 {
        assert_eq!(page(&cookie), (next.clone(), None));
    }
}
