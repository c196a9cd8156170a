//! Rewritten paths: what the backend is asked for, what it is told of it, and how its answers come back.

mod support;

use support::client::Response;
use support::eventually::{DEADLINE, eventually};
use support::h2::H2;
use support::h2_origin::{H2Origin, Says, Terms};
use support::{Balancer, Origin};

/// One listener `web` of both versions with these keys and routes, and a pool `p` of one backend.
fn with_rules(origin: &Origin, rules: &str) -> Balancer {
    Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\nhttp = ['1.1', '2']\n{rules}\n\
         [pool.p]\nbackends = [{{ name = 'one', address = '{}' }}]\n",
        origin.addr()
    ))
}

/// A GET with these lines behind the first.
fn ask(lb: &Balancer, target: &str, lines: &str) -> Response {
    let mut client = lb.client();
    client.send(format!("GET {target} HTTP/1.1\r\n{lines}\r\n"));
    client.read_response()
}

/// The target that the backend was asked for.
fn seen(lb: &Balancer, origin: &Origin, target: &str) -> String {
    let answer = ask(lb, target, "Host: a.example\r\n");
    assert_eq!(answer.status, 200, "{target}: {}", answer.text());
    origin.last_request().target
}

#[test]
fn a_prefix_is_taken_off_at_a_segment_boundary() {
    let origin = Origin::http().reply("fine").start();
    let lb = with_rules(&origin, "pool = 'p'\nrewrite = { strip_prefix = '/grafana' }");
    for (asked, told) in [
        ("/grafana", "/"),
        ("/grafana/", "/"),
        ("/grafana/x/y?z=/grafana", "/x/y?z=/grafana"),
        ("/grafana?q", "/?q"),
        ("/grafanas", "/grafanas"),
        ("/other/grafana", "/other/grafana"),
        ("/", "/"),
        ("http://a.example/grafana/x", "/x"),
        ("http://a.example?q", "/?q"),
        ("/grafana//evil.example", "/evil.example"),
    ] {
        assert_eq!(seen(&lb, &origin, asked), told, "{asked}");
    }
    let mut client = lb.client();
    client.send("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.read_response().status, 200);
    assert_eq!(origin.last_request().target, "*");
}

#[test]
fn a_prefix_is_replaced_and_one_is_put_in_front() {
    let origin = Origin::http().reply("fine").start();
    let lb = with_rules(
        &origin,
        "pool = 'p'\nrewrite = { prefix = '/', with = '/base' }\n\
         [[listener.web.route]]\npath = '/v1'\npool = 'p'\nrewrite = { prefix = '/v1', with = '/api/v1/' }\n\
         [[listener.web.route]]\npath = '/plain'\npool = 'p'\nrewrite = false\n",
    );
    for (asked, told) in
        [("/v1", "/api/v1"), ("/v1/x?y", "/api/v1/x?y"), ("/v1x", "/base/v1x"), ("/", "/base/"), ("/plain", "/plain")]
    {
        assert_eq!(seen(&lb, &origin, asked), told, "{asked}");
    }
}

#[test]
fn a_pattern_is_replaced_by_groups_and_the_query_stays_unless_the_rule_has_one() {
    let origin = Origin::http().reply("fine").start();
    let lb = with_rules(
        &origin,
        "pool = 'p'\n[[listener.web.route]]\npath = '/u'\npool = 'p'\nrewrite = { pattern = '^/u/([0-9]+)$', with = '/users/$1' }\n\
         [[listener.web.route]]\npath = '/q'\npool = 'p'\nrewrite = { pattern = '^/q/(?P<what>[a-z]+)', with = '/find?what=$what&x=$$' }\n\
         [[listener.web.route]]\npath = '/go'\npool = 'p'\nrewrite = { pattern = '^/go(.*)$', with = '$1' }\n",
    );
    for (asked, told) in [
        ("/u/17?full=1", "/users/17?full=1"),
        ("/u/x", "/u/x"),
        ("/q/abc?page=2", "/find?what=abc&x=$"),
        ("/go/there", "/there"),
        ("/go//evil.example", "/evil.example"),
    ] {
        assert_eq!(seen(&lb, &origin, asked), told, "{asked}");
    }
    let before = origin.request_count();
    // Nothing is left of the path: that is no target.
    assert_eq!(ask(&lb, "/go", "Host: a\r\n").status, 400);
    lb.rejected("bad_rewrite", 1);
    assert_eq!(origin.request_count(), before);
}

#[test]
fn what_a_rewrite_makes_too_long_or_lets_climb_is_never_sent() {
    let origin = Origin::http().reply("fine").start();
    let lb = with_rules(
        &origin,
        "pool = 'p'\nlimits = { target = '256B' }\n\
         [[listener.web.route]]\npath = '/a'\npool = 'p'\nrewrite = { prefix = '/a', with = '/much-longer-than-before' }\n\
         [[listener.web.route]]\npath = '/b'\npool = 'p'\nrewrite = { pattern = '^/b/x(.*)$', with = '/$1' }\n",
    );
    assert_eq!(ask(&lb, &format!("/a/{}", "x".repeat(250)), "Host: a\r\n").status, 414);
    assert_eq!(ask(&lb, "/b/x../etc/passwd", "Host: a\r\n").status, 400);
    lb.rejected("target_too_long", 1);
    lb.rejected("bad_rewrite", 1);
    assert_eq!(origin.request_count(), 0);
}

#[test]
fn the_backend_is_told_of_the_prefix_by_us_and_by_proxies_that_are_trusted() {
    let origin = Origin::http().reply("fine").start();
    let lb = with_rules(&origin, "pool = 'p'\nrewrite = { strip_prefix = '/app' }");
    let told = |lb: &Balancer, target: &str, lines: &str| {
        assert_eq!(ask(lb, target, &format!("Host: a\r\n{lines}")).status, 200);
        let request = origin.last_request();
        assert!(!request.head.to_ascii_lowercase().contains("x_forwarded"), "{}", request.head);
        request.headers("x-forwarded-prefix").join("|")
    };
    let spoofed = "X-Forwarded-Prefix: /evil\r\nX_Forwarded_Prefix: /evil\r\n";
    assert_eq!(told(&lb, "/app/x", ""), "/app");
    assert_eq!(told(&lb, "/app/x", spoofed), "/app");
    assert_eq!(told(&lb, "/x", spoofed), "");
    let lb = with_rules(&origin, "pool = 'p'\ntrusted_proxies = '127.0.0.1'\nrewrite = { strip_prefix = '/app' }");
    assert_eq!(told(&lb, "/app/x", spoofed), "/evil/app");
    assert_eq!(told(&lb, "/app/x", "X-Forwarded-Prefix: /a/, /b\r\n"), "/a/b/app");
    assert_eq!(told(&lb, "/x", "X-Forwarded-Prefix: /a\r\n"), "/a");
}

#[test]
fn places_in_answers_are_told_as_the_client_says_them() {
    let origin = Origin::http().start();
    let own = origin.addr();
    let lb = with_rules(
        &origin,
        "pool = 'p'\nrewrite = { strip_prefix = '/app' }\n\
         [[listener.web.route]]\nhost = 'raw.example'\npool = 'p'\nrewrite = { strip_prefix = '/app', map_back = false }\n",
    );
    let told = |host: &str, name: &str, value: &str| {
        origin.becomes(Origin::http().status(302).header(name, value).reply("x"));
        let answer = ask(&lb, "/app/x", &format!("Host: {host}\r\n"));
        answer.header(name).unwrap().to_owned()
    };
    for (name, value, mapped) in [
        ("Location", "/login?next=/x#y", "/app/login?next=/x#y"),
        ("Location", "/", "/app/"),
        ("Location", "/app/login", "/app/login"),
        ("Location", "login", "login"),
        ("Location", "?page=2", "?page=2"),
        ("Location", "http://a.example/login", "http://a.example/app/login"),
        ("Location", "https://A.example:443/", "https://A.example:443/app/"),
        ("Location", "http://a.example", "http://a.example/app/"),
        ("Location", "//a.example/x", "//a.example/app/x"),
        ("Location", &format!("http://{own}/login"), "/app/login"),
        ("Location", "https://other.example/login", "https://other.example/login"),
        ("Location", "https://a.example.evil/login", "https://a.example.evil/login"),
        ("Content-Location", "/doc/1", "/app/doc/1"),
        ("Refresh", "5; url=/next", "5; url=/app/next"),
        ("Refresh", "5;URL='/next'", "5;URL='/app/next'"),
        ("Refresh", "5", "5"),
        ("Set-Cookie", "s=1; Path=/; HttpOnly", "s=1; Path=/app; HttpOnly"),
        ("Set-Cookie", "s=1; HttpOnly", "s=1; HttpOnly"),
    ] {
        assert_eq!(told("a.example", name, value), mapped, "{name}: {value}");
        assert_eq!(told("raw.example", name, value), value, "{name}: {value}");
    }
}

#[test]
fn what_was_not_rewritten_is_not_mapped_back() {
    let origin = Origin::http().status(302).header("Location", "/login").reply("x").start();
    let lb = with_rules(&origin, "pool = 'p'\nrewrite = { strip_prefix = '/app' }");
    assert_eq!(ask(&lb, "/other", "Host: a\r\n").header("location"), Some("/login"));
    assert_eq!(ask(&lb, "/app", "Host: a\r\n").header("location"), Some("/app/login"));
}

#[test]
fn every_attempt_asks_for_the_same() {
    let bad = Origin::http().closes_before_answer().start();
    let good = Origin::http().reply("fine").start();
    let lb = Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\nrewrite = {{ strip_prefix = '/app' }}\n\
         [pool.p]\nbalance = 'first'\nbackends = ['{}', '{}']\n",
        bad.addr(),
        good.addr()
    ));
    assert_eq!(lb.get("/app/x?y").text(), "fine");
    assert_eq!(good.last_request().target, "/x?y");
    assert!(bad.requests().iter().all(|asked| asked.target == "/x?y") && bad.request_count() > 0);
}

#[test]
fn it_works_from_clients_and_to_backends_of_http_2() {
    let origin = H2Origin::start(Terms::default(), |_| {
        Says::Answer(302, vec![("location", "/login"), ("set-cookie", "s=1; path=/")], b"x".to_vec(), vec![])
    });
    let lb = Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\nhttp = ['1.1', '2']\npool = 'p'\nrewrite = {{ strip_prefix = '/app' }}\n\
         [pool.p]\nhttp = '2'\nbackends = ['{}']\n",
        origin.addr()
    ));
    let answer = H2::connect(lb.addr("web")).get("/app/x?y");
    assert_eq!((answer.header("location"), answer.header("set-cookie")), (Some("/app/login"), Some("s=1; path=/app")));
    assert_eq!(lb.get("/app/z").header("location"), Some("/app/login"));
    let asked = origin.requests();
    assert_eq!((asked[0].parts.uri.path(), asked[0].parts.uri.query()), ("/x", Some("y")));
    assert_eq!((asked[1].parts.uri.path(), asked[1].header("x-forwarded-prefix")), ("/z", Some("/app")));
}

#[test]
fn another_service_is_asked_about_the_clients_own_path() {
    let origin = Origin::http().reply("fine").start();
    let judge = Origin::http().status(204).start();
    let lb = Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\nrewrite = {{ strip_prefix = '/app' }}\nforward_auth = {{ pool = 'judge' }}\n\
         [pool.p]\nbackends = ['{}']\n[pool.judge]\nbackends = ['{}']\n",
        origin.addr(),
        judge.addr()
    ));
    assert_eq!(lb.get("/app/x?y").text(), "fine");
    assert_eq!(judge.last_request().header("x-forwarded-uri"), Some("/app/x?y"));
    assert_eq!(origin.last_request().target, "/x?y");
}

#[test]
fn a_reload_takes_up_another_rewrite() {
    let origin = Origin::http().reply("fine").start();
    let config = |prefix: &str| {
        format!(
            "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\nrewrite = {{ strip_prefix = '{prefix}' }}\n\
             [pool.p]\nbackends = ['{}']\n",
            origin.addr()
        )
    };
    let lb = Balancer::start(&config("/a"));
    let mut client = lb.client();
    assert_eq!(client.get("/a/b").status, 200);
    assert_eq!(origin.last_request().target, "/b");
    assert_eq!(lb.reload(&config("/a/b")).status, 200);
    eventually("the new prefix", DEADLINE, || client.get("/a/b").status == 200 && origin.last_request().target == "/");
}
