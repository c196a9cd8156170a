//! Where requests go and as what: pools by share, redirects, conditions, paths that cannot be written two ways, paths that
//! are rewritten, and pages for errors.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fmt::Write as _;

use support::client::Response;
use support::{Balancer, Client, Origin};

/// One listener `web` with these keys and routes, and a pool for each origin.
fn balancer(pools: &[(&str, &Origin)], listener: &str) -> Balancer {
    let mut config = format!("[listener.web]\nbind = '127.0.0.1:0'\n{listener}\n");
    for (name, origin) in pools {
        let backend = format!("{{ name = 'of-{name}', address = '{}' }}", origin.addr());
        writeln!(config, "[pool.{name}]\nbackends = [{backend}]").unwrap();
    }
    Balancer::start(&config)
}

fn ask(client: &mut Client, method: &str, head: &str) -> Response {
    client.send(format!("{method} {head}\r\n\r\n"));
    client.try_read_final(method).unwrap()
}

fn get(lb: &Balancer, head: &str) -> Response {
    ask(&mut lb.client(), "GET", head)
}

fn location(response: &Response) -> (u16, &str) {
    (response.status, response.header("location").unwrap_or("nowhere"))
}

// === split ===

#[test]
fn requests_are_split_between_pools_by_share() {
    let (blue, green) = (Origin::http().reply("blue").start(), Origin::http().reply("green").start());
    let lb = balancer(&[("blue", &blue), ("green", &green)], "split = { blue = 3, green = 1 }");
    let mut client = lb.client();
    for _ in 0..400 {
        assert_eq!(client.get("/").status, 200);
    }
    // Six standard deviations around 100.
    assert!((48..=152).contains(&green.request_count()), "{} of 400", green.request_count());
    assert_eq!(blue.request_count() + green.request_count(), 400);
}

#[test]
fn a_client_stays_on_its_side_of_a_split() {
    let (blue, green) = (Origin::http().reply("blue").start(), Origin::http().reply("green").start());
    let lb = balancer(&[("blue", &blue), ("green", &green)], "split = { blue = 1, green = 1 }\nsplit_by = 'cookie:id'");
    let side = |id: u32| get(&lb, &format!("/ HTTP/1.1\r\nHost: a\r\nCookie: id={id}")).text();
    let sides: Vec<String> = (0..40).map(side).collect();
    assert_eq!((0..40).map(side).collect::<Vec<_>>(), sides);
    assert!(sides.contains(&"blue".to_owned()) && sides.contains(&"green".to_owned()), "{sides:?}");
}

#[test]
fn a_side_without_a_share_gets_nothing_and_one_that_is_down_leaves_its_share_to_the_other() {
    let (blue, green) = (Origin::http().reply("blue").start(), Origin::http().reply("green").start());
    let lb = Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\nsplit = {{ blue = 1, green = 1 }}\n[[listener.web.route]]\npath = '/new'\n\
         split = {{ blue = 100, green = 0 }}\n[pool.blue]\nbackends = ['{}']\n[pool.green]\nbackends = ['{}']\n\
         check.web = {{ type = 'http', interval = '20ms', fall = 1, rise = 1 }}\n",
        blue.addr(),
        green.addr()
    ));
    let mut client = lb.client();
    for _ in 0..20 {
        assert_eq!(client.get("/new").text(), "blue");
    }
    green.stop();
    lb.counts(
        "evenkeel_backend_up{backend=\"GREEN\",pool=\"green\"}".replace("GREEN", &green.addr().to_string()).as_str(),
        0.0,
    );
    for _ in 0..40 {
        assert_eq!(client.get("/").text(), "blue");
    }
    lb.counts("evenkeel_pool_failed_total{cause=\"no_backend\",pool=\"green\"}", 0.0);
}

// === redirect ===

#[test]
fn a_redirect_is_filled_in_and_the_connection_goes_on() {
    let lb = balancer(
        &[],
        "redirect = 'https://www.example.com:8443$target'\n\
         [[listener.web.route]]\npath = '/old'\nredirect = { to = '/new$path?from=$host&$query', status = 301 }\n\
         response_headers = { set = { 'X-Why' = '$status' } }\n\
         [[listener.web.route]]\npath = '/same'\nredirect = { to = 'https', status = 302 }\n\
         [[listener.web.route]]\npath = '/port'\nredirect = '$scheme://$hostname:81$target'\n",
    );
    let mut client = lb.client();
    let answer = ask(&mut client, "GET", "/a/b?c=d HTTP/1.1\r\nHost: a");
    assert_eq!(location(&answer), (307, "https://www.example.com:8443/a/b?c=d"));
    let answer = ask(&mut client, "HEAD", "/old/x?y HTTP/1.1\r\nHost: a:80");
    assert_eq!(location(&answer), (301, "/new/old/x?from=a:80&y"));
    assert_eq!(answer.header("x-why"), Some("301"));
    let answer = ask(&mut client, "GET", "/same?x HTTP/1.1\r\nHost: a.example:8080");
    assert_eq!(location(&answer), (302, "https://a.example/same?x"));
    let answer = ask(&mut client, "GET", "/port HTTP/1.1\r\nHost: [::1]:8080");
    assert_eq!(location(&answer), (307, "http://[::1]:81/port"));
    let answer = ask(&mut client, "GET", "/port HTTP/1.0");
    assert_eq!(answer.status, 400, "it has no host to be sent to");
    let answer = get(&lb, "http://b.example?q HTTP/1.1\r\nHost: a");
    assert_eq!(location(&answer), (307, "https://www.example.com:8443?q"));
    assert_eq!(ask(&mut lb.client(), "OPTIONS", "* HTTP/1.1\r\nHost: a").status, 400);
}

#[test]
fn no_client_can_make_a_redirect_lead_to_a_place_of_its_own() {
    let lb =
        balancer(&[], "redirect = '$target'\n[[listener.web.route]]\nheader = 'X-To'\nredirect = '/$header:x-to'\n");
    for (target, to) in [
        ("//evil.example/a", "/evil.example/a"),
        ("///evil.example", "/evil.example"),
        ("/\\evil.example", "/%5Cevil.example"),
        ("http://b//evil.example", "/evil.example"),
        ("/ä", "/%C3%A4"),
        ("/a\"<b>", "/a%22%3Cb%3E"),
    ] {
        let answer = get(&lb, &format!("{target} HTTP/1.1\r\nHost: b"));
        assert_eq!(location(&answer), (307, to), "{target}");
    }
    let answer = get(&lb, "/ HTTP/1.1\r\nHost: a\r\nX-To: /evil.example/\tx");
    assert_eq!(location(&answer), (307, "/evil.example/%09x"));
}

#[test]
fn a_listener_that_sends_all_to_https_may_have_routes_of_its_own() {
    let origin = Origin::http().reply("token").start();
    let lb = balancer(
        &[("acme", &origin)],
        "redirect = 'https'\n[[listener.web.route]]\npath = '/.well-known/acme-challenge'\npool = 'acme'\n",
    );
    assert_eq!(lb.get("/.well-known/acme-challenge/x").text(), "token");
    assert_eq!(lb.get("/.well-known/other").status, 308);
}

// === conditions ===

#[test]
fn routes_look_at_cookies_queries_headers_and_paths_of_every_kind() {
    let lb = balancer(
        &[],
        "respond = { text = 'none' }\n\
         [[listener.web.route]]\npath = { exact = '/exact' }\nrespond = { text = 'exact' }\n\
         [[listener.web.route]]\npath = ['/one', { regex = '^/v[0-9]+/x$' }]\nrespond = { text = 'list' }\n\
         [[listener.web.route]]\ncookie = { name = 'plan', prefix = 'gold' }\nrespond = { text = 'cookie' }\n\
         [[listener.web.route]]\nquery = [{ name = 'v', value = 'a b' }, 'w']\nrespond = { text = 'query' }\n\
         [[listener.web.route]]\nheader = { name = 'User-Agent', regex = '(?i)bot|spider' }\nrespond = { text = 'bot' }\n\
         [[listener.web.route]]\nheader = { name = 'Accept', contains = 'json' }\nrespond = { text = 'json' }\n\
         [[listener.web.route]]\npath = '/closed'\nheader = { name = 'X-Key', not = true }\nrespond = { status = 403, text = 'key' }\n",
    );
    let mut client = lb.client();
    for (head, expected) in [
        ("/exact", "exact"),
        ("/exact?x", "exact"),
        ("/exact/x", "none"),
        ("/one/x", "list"),
        ("/v12/x", "list"),
        ("/v12/xy", "none"),
        ("/?v=a+b&w", "query"),
        ("/?w=&v=a%20b", "query"),
        ("/?v=a+b", "none"),
        ("/?v=b&w", "none"),
        ("/closed", "key"),
    ] {
        let answer = ask(&mut client, "GET", &format!("{head} HTTP/1.1\r\nHost: a"));
        assert_eq!(answer.text(), expected, "{head}");
    }
    for (field, expected) in [
        ("Cookie: a=b; plan=golden", "cookie"),
        ("Cookie: xplan=gold; plan=silver", "none"),
        ("User-Agent: GoogleBot/2", "bot"),
        ("Accept: text/html\r\nAccept: application/json", "json"),
        ("X-Key: 1", "none"),
    ] {
        let answer = ask(&mut client, "GET", &format!("/ HTTP/1.1\r\nHost: a\r\n{field}"));
        assert_eq!(answer.text(), expected, "{field}");
    }
    assert_eq!(get(&lb, "/closed HTTP/1.1\r\nHost: a\r\nX-Key: 1").text(), "none");
}
