//! Tests of routes that stand in the configuration: they are asked of what serves traffic, and what fails is refused.

mod support;

use std::fs;

use evenkeel::config::{Color, Problems, Source};
use evenkeel::server;
use support::process::{free_address, run};
use support::{Origin, Process, client};

/// Two listeners and what they do with requests.
const ROUTES: &str = r#"
[listener.web]
bind = "127.0.0.1:80"
trusted_proxies = ["10.9.0.0/16"]
normalize = "merge"
pool = "a"
[[listener.web.route]]
host = ["api.example.com", "*.api.example.com"]
path = "/v1"
pool = "b"
[[listener.web.route]]
path = "/internal"
allow = ["10.0.0.0/8"]
pool = "b"
[[listener.web.route]]
host = "old.example.com"
redirect = "https://new.example.com$path"
[[listener.web.route]]
path = "/pot"
respond = { status = 418 }
[[listener.web.route]]
path = "/split"
split = { a = 1, b = 1 }
[[listener.web.route]]
path = "/once"
rate = { requests = 1, every = "1h" }
pool = "b"
[[listener.web.route]]
path = "/beta"
header = { name = "X-Beta", value = "1" }
method = "POST"
pool = "b"
[listener.bare]
bind = "127.0.0.1:8080"
[[listener.bare.route]]
host = "only.example.com"
pool = "b"
[listener.db]
bind = "127.0.0.1:3306"
protocol = "tcp"
[[listener.db.route]]
host = "db.example.com"
pool = "b"
[pool.a]
backends = ["127.0.0.1:1"]
[pool.b]
backends = ["127.0.0.1:2"]
"#;

fn judged(test: &str) -> Result<(), Problems> {
    server::load(&Source::text(format!("{ROUTES}\n[[test]]\n{test}\n"))).map(|loaded| assert_eq!(loaded.tests.len(), 1))
}

#[test]
fn a_test_passes_when_traffic_would_go_there() {
    for test in [
        "request = 'GET http://x/'\nexpect = { pool = 'a' }",
        "request = 'GET http://api.example.com/v1/x?q=1'\nexpect = { pool = 'b' }",
        "request = 'GET http://API.example.com.:80/v1'\nexpect = { pool = 'b' }",
        "request = 'GET http://api.example.com/v1x'\nexpect = { pool = 'a' }",
        "request = 'GET http://api.example.com/%76%31//x/../y'\nexpect = { pool = 'b' }",
        "request = 'GET http://x/../etc/passwd'\nexpect = { status = 400 }",
        "request = 'GET http://x/internal'\nexpect = { status = 403 }",
        "request = 'GET http://x/internal'\nclient = '10.1.2.3'\nexpect = { pool = 'b' }",
        "request = 'GET http://x/internal'\nclient = '10.9.0.1'\nheaders = { X-Forwarded-For = '198.51.100.7' }\n\
         expect = { status = 403 }",
        "request = 'GET http://old.example.com/z?q=1'\nexpect = { redirect = 'https://new.example.com/z', status = 307 }",
        "request = 'GET http://old.example.com/z'\nexpect = { status = 307 }",
        "request = 'PUT http://x/pot'\nexpect = { status = 418 }",
        "request = 'GET http://x/split'\nexpect = { pool = ['b', 'a'] }",
        "request = 'GET http://x/once'\nexpect = { pool = 'b' }",
        "request = 'POST http://x/beta'\nheaders = { X-Beta = '1' }\nexpect = { pool = 'b' }",
        "request = 'GET http://x/beta'\nheaders = { X-Beta = '1' }\nexpect = { pool = 'a' }",
        "request = 'GET http://x/'\nheaders = { Host = 'api.example.com', X-Way = 'odd' }\nexpect = { pool = 'a' }",
        "request = 'GET http://x/v1'\nheaders = { Host = 'api.example.com' }\nexpect = { pool = 'b' }",
        "request = 'GET http://x:8080/'\nexpect = { status = 404 }",
        "request = 'GET http://x/'\nlistener = 'bare'\nexpect = { status = 404 }",
        "request = 'tls://db.example.com'\nexpect = { pool = 'b' }",
        "request = 'tls://DB.example.com'\nexpect = { pool = 'b' }",
        "request = 'tcp://'\nexpect = { closed = true }",
    ] {
        judged(test).unwrap_or_else(|problems| panic!("{test}\n{problems}"));
    }
}

#[test]
fn no_test_takes_anything_from_another() {
    let test = "[[test]]\nrequest = 'GET http://x/once'\nexpect = { pool = 'b' }\n";
    let loaded = server::load(&Source::text(format!("{ROUTES}\n{test}{test}{test}")));
    assert_eq!(loaded.unwrap_or_else(|problems| panic!("{problems}")).tests.len(), 3);
}

#[test]
fn a_test_that_fails_says_what_came_and_who_decides() {
    for (test, came, decides) in [
        (
            "request = 'GET http://api.example.com/v1'\nexpect = { pool = 'a' }",
            "`GET http://api.example.com/v1` goes to pool `b`",
            "this route decides",
        ),
        (
            "request = 'GET http://x/'\nexpect = { pool = 'b' }",
            "goes to pool `a`",
            "no route of listener `web` matches",
        ),
        ("request = 'GET http://x/split'\nexpect = { pool = 'a' }", "one of the pools `a`, `b`", "this route decides"),
        ("request = 'GET http://x/pot'\nexpect = { status = 404 }", "answered 418 (respond)", "this route decides"),
        (
            "request = 'GET http://old.example.com/z'\nexpect = { redirect = '/z' }",
            "sent by 307 to https://new.example.com/z",
            "this route decides",
        ),
        ("request = 'GET http://x:8080/'\nexpect = { pool = 'b' }", "answered 404 (no_route)", "none of its routes"),
        ("request = 'GET http://x/internal'\nexpect = { pool = 'b' }", "answered 403", "this route decides"),
        ("request = 'tcp://'\nexpect = { pool = 'b' }", "is closed", "none of its routes decides"),
    ] {
        let problems = judged(test).unwrap_err();
        let told = problems.render(Color::Plain, "");
        assert_eq!(problems.errors(), 1, "{told}");
        assert_eq!(problems.iter().next().unwrap().code(), "test-failed");
        assert!(told.contains(came) && told.contains(decides) && told.contains("wanted: "), "{test}\n{told}");
    }
}

#[test]
fn what_a_test_expects_is_what_traffic_meets() {
    let (a, b) = (Origin::http().reply("a").start(), Origin::http().reply("b").start());
    let lb = support::Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\npool = 'a'\nnormalize = 'merge'\n\
         [[listener.web.route]]\npath = '/v1'\npool = 'b'\n\
         [pool.a]\nbackends = ['{}']\n[pool.b]\nbackends = ['{}']\n",
        a.addr(),
        b.addr()
    ));
    for path in
        ["/", "/v1", "/v1/", "/v1x", "//v1", "/%76%31", "/x/../v1/y", "/v1/../x", "/v1%2f..", "/..", "/v1;a=b/c"]
    {
        let served = client::get(lb.addr("web"), path);
        let text = |expect: &str| {
            format!(
                "[listener.web]\nbind = '127.0.0.1:80'\npool = 'a'\nnormalize = 'merge'\n[[listener.web.route]]\n\
                 path = '/v1'\npool = 'b'\n[pool.a]\nbackends = ['127.0.0.1:1']\n[pool.b]\nbackends = ['127.0.0.1:2']\n\
                 [[test]]\nrequest = 'GET http://{}{path}'\nexpect = {expect}\n",
                lb.addr("web")
            )
        };
        let text = match served.status {
            200 => text(&format!("{{ pool = '{}' }}", served.text())),
            status => text(&format!("{{ status = {status} }}")),
        };
        server::load(&Source::text(text)).unwrap_or_else(|problems| panic!("{path}: {}\n{problems}", served.status));
    }
}

#[test]
fn a_configuration_whose_tests_fail_is_used_nowhere() {
    let (a, b) = (Origin::http().reply("a").start(), Origin::http().reply("b").start());
    let web = free_address();
    let config = |pool: &str| {
        format!(
            "[listener.web]\nbind = '{web}'\npool = '{pool}'\n[pool.a]\nbackends = ['{}']\n[pool.b]\nbackends = ['{}']\n\
             [[listener.web.route]]\nhost = 'never.example.com'\npool = 'a'\n\
             [[listener.web.route]]\nhost = 'no.example.com'\npool = 'b'\n\
             [[test]]\nrequest = 'GET http://{web}/'\nexpect = {{ pool = 'a' }}\n",
            a.addr(),
            b.addr()
        )
    };
    let process = Process::start(&config("a"));
    let admin = format!("http://{}", process.admin());
    let refused = process.reload(&config("b"));
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{told}");
    assert!(told.contains("test-failed") && told.contains("goes to pool `b`"), "{told}");
    assert_eq!(client::get(web, "/").text(), "a", "the running configuration stays");

    let path = process.config_path().display().to_string();
    for command in [&["check", &path][..], &["plan", &path, "--admin", &admin], &["run", &path]] {
        let output = run(command);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{command:?}: {told}");
        assert!(told.contains("goes to pool `b`"), "{command:?}: {told}");
    }
    fs::write(&path, format!("{}\n[admin]\nbind = '{}'\n", config("a"), process.admin())).unwrap();
    let good = run(&["check", &path]);
    assert!(String::from_utf8_lossy(&good.stdout).contains("1 test passed"), "{good:?}");
    let json = run(&["check", "--json", &path]);
    assert_eq!(String::from_utf8_lossy(&json.stdout).trim(), "[]");
}
