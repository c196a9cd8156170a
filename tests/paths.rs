//! Paths in one form: what routes look at is what the backend gets, and what could be read in two ways passes no guard.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::client::{self, Response};
use support::h2::{H2, get};
use support::{Balancer, Origin};

/// A listener `web` of both versions that guards `/admin`, and lets all else through to `p`.
fn guarded(origin: &Origin, listener: &str) -> Balancer {
    Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\nhttp = ['1.1', '2']\npool = 'p'\n{listener}\n\
         [[listener.web.route]]\npath = '/admin'\npool = 'p'\ndeny = ['0.0.0.0/0', '::/0']\n\
         [pool.p]\nbackends = ['{}']\n",
        origin.addr()
    ))
}

/// A GET on a connection of its own: a refusal may end it.
fn ask(lb: &Balancer, target: &str) -> Response {
    client::try_request(lb.addr("web"), &format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n")).unwrap()
}

/// Ways that some server or other takes for `/admin`.
const ATTEMPTS: &[&str] = &[
    "/admin",
    "/admin/",
    "/admin/users",
    "/admin?x",
    "/./admin",
    "/x/../admin",
    "/x/%2e%2e/admin",
    "/x/.%2E/admin",
    "/%61dmin",
    "/%61%64%6d%69%6e/users",
    "/a%64min",
    "/%2561dmin",
    "/%252561dmin",
    "/%25%36%31dmin",
    "//admin",
    "///admin/users",
    "/x//../../admin",
    "//x/../admin",
    "/.//admin",
    "/;/admin",
    "/;x=y/admin",
    "/admin;x",
    "/admin;x/users",
    "/admin%3Bx",
    "/admin%3b/users",
    "/x/..;/admin",
    "/x/..;a=b/admin",
    "/x/%2e%2e;/admin",
    "/x/..%3B/admin",
    "/x%2F..%2Fadmin",
    "/x/..%2fadmin",
    "/x%252f..%252fadmin",
    "/%2fadmin",
    "/%2Fadmin",
    "/%5cadmin",
    "/\\admin",
    "/x/..\\admin",
    "/x\\..\\admin",
    "/x%5c..%5cadmin",
    "/admin%2fusers",
    "/admin%2Fusers",
    "/admin%5cusers",
    "/admin\\users",
    "/admin%252fusers",
    "/admin%3fx",
    "/admin%23x",
    "/admin%00",
    "/admin%00.html",
    "/admin%2500",
    "/admin%0a",
    "/x/%c0%ae%c0%ae/admin",
    "/%c0%afadmin",
    "/%e0%80%afadmin",
    "/x/%25c0%25ae%25c0%25ae/admin",
    "/x/%u002e%u002e/admin",
    "/../admin",
    "/x/../../admin",
    "/%2e%2e/admin",
    "http://a.example/admin",
    "http://a.example//admin",
    "http://a.example/x/../admin",
    "http://a.example/%2561dmin",
];

#[test]
fn nothing_that_some_server_takes_for_a_guarded_path_gets_past_the_guard() {
    for policy in ["", "normalize = 'safe'", "normalize = 'merge'", "normalize = 'strict'"] {
        let origin = Origin::http().reply("fine").start();
        let lb = guarded(&origin, policy);
        for target in ATTEMPTS {
            let answer = ask(&lb, target);
            assert!([400, 403].contains(&answer.status), "{policy}: {target} was answered by {}", answer.status);
        }
        assert_eq!(origin.request_count(), 0, "{policy}: {:?}", origin.requests().first().map(|it| it.target.clone()));
        assert_eq!(ask(&lb, "/other").status, 200);
    }
}

#[test]
fn nor_does_it_over_http_2() {
    let origin = Origin::http().reply("fine").start();
    let lb = guarded(&origin, "");
    // What a client's own library refuses to send is left to HTTP/1.1.
    for target in ATTEMPTS.iter().filter(|target| target.starts_with('/') && !target.contains('\\')) {
        let answer = H2::connect(lb.addr("web")).ask(get(target), None);
        assert!([400, 403].contains(&answer.status), "{target} was answered by {}", answer.status);
    }
    assert_eq!(origin.request_count(), 0);
    assert_eq!(H2::connect(lb.addr("web")).get("/other").status, 200);
}

#[test]
fn routes_and_backends_see_the_normal_form_and_the_query_as_it_came() {
    let origin = Origin::http().reply("fine").start();
    let lb = guarded(&origin, "");
    for (asked, told) in [
        ("/a/b?x=%61/../y//z", "/a/b?x=%61/../y//z"),
        ("/%61/./b/../c", "/a/c"),
        ("/caf%c3%a9?%c3", "/caf%C3%A9?%c3"),
        ("/a%2fb%7e", "/a%2Fb~"),
        ("/a//b", "/a//b"),
        ("/a;v=1/b", "/a;v=1/b"),
        ("/a|b", "/a%7Cb"),
        ("/.well-known/acme", "/.well-known/acme"),
        ("/a/..", "/"),
        ("/100%25", "/100%25"),
        ("/proxy/http%253A%252F%252Fb", "/proxy/http%253A%252F%252Fb"),
        ("http://a.example?x=/../", "/?x=/../"),
        ("/administrators", "/administrators"),
    ] {
        assert_eq!(ask(&lb, asked).status, 200, "{asked}");
        assert_eq!(origin.last_request().target, told, "{asked}");
    }
    let mut client = lb.client();
    client.send("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.read_response().status, 200);
    assert_eq!(origin.last_request().target, "*");
}

#[test]
fn merge_passes_on_one_slash_for_several_and_strict_takes_nothing_that_is_not_normal() {
    let origin = Origin::http().reply("fine").start();
    let lb = guarded(&origin, "normalize = 'merge'");
    assert_eq!(ask(&lb, "//a///b//?x=//").status, 200);
    assert_eq!(origin.last_request().target, "/a/b/?x=//");
    let lb = guarded(&origin, "normalize = 'strict'");
    for target in ["/a%20b", "/%C3%A9", "/.x/y..z/", "/a%40b"] {
        assert_eq!(ask(&lb, target).status, 200, "{target}");
    }
    for target in ["/%61", "/a//b", "/a/./b", "/a/../b", "/a;b", "/a%2Fb", "/%e9", "/%C3", "/a|b", "/%2561"] {
        assert_eq!(ask(&lb, target).status, 400, "{target}");
    }
}

#[test]
fn what_is_refused_is_counted_by_its_reason() {
    let origin = Origin::http().reply("fine").start();
    let lb = guarded(&origin, "");
    for target in ["/..", "/a%00", "/a%2", "/a%zz", "/%c0%ae"] {
        assert_eq!(ask(&lb, target).status, 400, "{target}");
    }
    lb.rejected("bad_path", 5);
    for target in ["//admin", "/%2561dmin", "/a/..;/b"] {
        assert_eq!(ask(&lb, target).status, 400, "{target}");
    }
    lb.rejected("ambiguous_path", 3);
    assert_eq!(origin.request_count(), 0);
}

#[test]
fn two_routes_that_say_the_same_are_one_way_to_read_a_path() {
    let origin = Origin::http().reply("fine").start();
    let lb = guarded(&origin, "[[listener.web.route]]\npath = '/static'\npool = 'p'");
    assert_eq!(ask(&lb, "//static/x").status, 200);
    assert_eq!(origin.last_request().target, "//static/x");
}

#[test]
fn paths_stay_as_they_come_where_nobody_decides_anything_by_them() {
    let origin = Origin::http().reply("fine").start();
    let plain = format!("[pool.p]\nbackends = ['{}']\n", origin.addr());
    let listener = "[listener.web]\nbind = '127.0.0.1:0'\n";
    for rest in [
        "pool = 'p'\n",
        "[[listener.web.route]]\npath = '/'\npool = 'p'\n",
        "[[listener.web.route]]\nhost = 'a.example'\npool = 'p'\n",
        "normalize = 'off'\n[[listener.web.route]]\npath = '/x'\npool = 'p'\n[[listener.web.route]]\npool = 'p'\n",
    ] {
        let lb = Balancer::start(&format!("{listener}{rest}{plain}"));
        for target in ["/%61/../b//c;d%2f", "/a|b", "/%", "/..", "//"] {
            assert_eq!(ask(&lb, target).status, 200, "{rest}: {target}");
            assert_eq!(origin.last_request().target, target, "{rest}");
        }
    }
}

#[test]
fn another_service_judges_the_path_that_the_backend_gets() {
    let origin = Origin::http().reply("fine").start();
    let judge = Origin::http().status(204).start();
    let lb = Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\nforward_auth = {{ pool = 'judge' }}\n\
         [pool.p]\nbackends = ['{}']\n[pool.judge]\nbackends = ['{}']\n",
        origin.addr(),
        judge.addr()
    ));
    assert_eq!(ask(&lb, "/open/../%61dmin?x").status, 200);
    assert_eq!(judge.last_request().header("x-forwarded-uri"), Some("/admin?x"));
    assert_eq!(origin.last_request().target, "/admin?x");
}

// === names of fields ===

fn names(origin: &Origin, listener: &str, lines: &str) -> (u16, Vec<String>) {
    let before = origin.request_count();
    let lb = Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n{listener}\n[pool.p]\nbackends = ['{}']\n",
        origin.addr()
    ));
    let answer = client::try_request(lb.addr("web"), &format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")).unwrap();
    if listener.contains("'drop'") {
        lb.counts("evenkeel_listener_dropped_fields_total{listener=\"web\"}", 1.0);
    }
    if origin.request_count() == before {
        lb.rejected("underscore", 1);
        return (answer.status, vec![]);
    }
    let head = origin.last_request().head;
    (answer.status, head.lines().filter(|line| line.contains('_')).map(str::to_owned).collect())
}

#[test]
fn names_with_underscores_are_kept_dropped_or_refused() {
    let origin = Origin::http().reply("fine").start();
    let line = "X_Custom: 1\r\n";
    assert_eq!(names(&origin, "", line), (200, vec!["X_Custom: 1".to_owned()]));
    assert_eq!(names(&origin, "underscores = 'drop'", line), (200, vec![]));
    assert_eq!(names(&origin, "underscores = 'refuse'", line), (400, vec![]));
}

#[test]
fn what_the_balancer_says_itself_is_said_by_nobody_else_in_any_spelling() {
    let origin = Origin::http().reply("fine").start();
    for line in [
        "X_Forwarded_For: 6.6.6.6\r\n",
        "X-Forwarded_For: 6.6.6.6\r\n",
        "X_Forwarded_Proto: https\r\n",
        "X_Forwarded_Host: evil\r\n",
        "X_Request_ID: 7\r\n",
        "X_Real_IP: 6.6.6.6\r\n",
        "X-Real_Ip: 6.6.6.6\r\n",
    ] {
        let rules = "request_headers = { set = { 'X-Real-IP' = '$client_ip' } }";
        assert_eq!(names(&origin, rules, line), (200, vec![]), "{line}");
    }
}
