//! What a request must pass before it is forwarded: rates, web pages, passwords, and what another service says.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use support::client::Response;
use support::eventually::DEADLINE;
use support::{Balancer, Client, Origin, eventually};

/// One listener `web` with these keys and routes, and a pool `p` of one backend.
fn with_rules(origin: &Origin, rules: &str) -> Balancer {
    Balancer::start(&configuration(origin, rules))
}

fn configuration(origin: &Origin, rules: &str) -> String {
    format!(
        "workers = 2\n[listener.web]\nbind = '127.0.0.1:0'\ntrusted_proxies = ['127.0.0.1']\n{rules}\n\
         [pool.p]\nbackends = ['{}']\n",
        origin.addr()
    )
}

fn ask(client: &mut Client, request: &str) -> Response {
    let method = request.split(' ').next().unwrap();
    client.send(format!("{request}\r\n\r\n"));
    client.try_read_response(method).unwrap()
}

/// A GET of this path with further fields, each ended.
fn get(lb: &Balancer, path: &str, fields: &str) -> Response {
    ask(&mut lb.client(), format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}").trim_end())
}

// === rate ===

#[test]
fn who_asks_too_often_is_told_when_to_come_back_and_the_connection_goes_on() {
    let origin = Origin::http().reply("fine").start();
    let lb = with_rules(
        &origin,
        "pool = 'p'\nrate = { requests = 2, every = '1h' }\nresponse_headers = { add = { 'X-Of' = 'us' } }\n\
         [[listener.web.route]]\npath = '/free'\npool = 'p'\nrate = false\n",
    );
    let mut client = lb.client();
    let mut statuses = |path: &str| ask(&mut client, &format!("GET {path} HTTP/1.1\r\nHost: a"));
    assert_eq!([statuses("/").status, statuses("/").status], [200, 200]);
    let refused = statuses("/");
    assert_eq!((refused.status, refused.header("x-of"), refused.header("connection")), (429, Some("us"), None));
    let seconds: u32 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1795..=1800).contains(&seconds), "{seconds}");
    assert_eq!(statuses("/free").status, 200, "the same connection, a route without a rate");
    lb.rejected("rate_limited", 1);
    assert_eq!(origin.request_count(), 3);
    assert_eq!(get(&lb, "/", "X-Forwarded-For: 10.0.0.1\r\n").status, 200, "another client behind a proxy");
}

#[test]
fn what_is_counted_apart_is_for_the_configuration_to_say() {
    let origin = Origin::http().reply("fine").start();
    let route = |path: &str, per: &str| {
        format!(
            "[[listener.web.route]]\npath = '{path}'\npool = 'p'\nrate = {{ per = '{per}', requests = 1, every = '1h' }}\n"
        )
    };
    let lb =
        with_rules(&origin, &[route("/key", "header:X-Key"), route("/id", "cookie:id"), route("/all", "all")].concat());
    let status = |path: &str, fields: &str| get(&lb, path, fields).status;
    assert_eq!([status("/key", "X-Key: a\r\n"), status("/key", "x-key: a\r\n")], [200, 429]);
    assert_eq!([status("/key", "X-Key: b\r\n"), status("/key", ""), status("/key", "")], [200, 200, 429]);
    assert_eq!([status("/id", "Cookie: id=7\r\n"), status("/id", "Cookie: a=b; id=7\r\n")], [200, 429]);
    assert_eq!([status("/all", ""), status("/all", "X-Forwarded-For: 10.0.0.1\r\n")], [200, 429]);
}

#[test]
fn a_rate_is_kept_exactly_by_two_workers_together() {
    let origin = Origin::http().reply("fine").start();
    let lb = with_rules(&origin, "pool = 'p'\nrate = { requests = 200, every = '1s', burst = 50 }\n");
    let address = lb.addr("web");
    let begun = Instant::now();
    let passed: u32 = std::thread::scope(|scope| {
        let asking = (0..8).map(|_| {
            scope.spawn(move || {
                let mut client = Client::connect(address);
                let mut passed = 0;
                while begun.elapsed() < Duration::from_secs(2) {
                    passed += u32::from(ask(&mut client, "GET / HTTP/1.1\r\nHost: a").status == 200);
                }
                passed
            })
        });
        asking.collect::<Vec<_>>().into_iter().map(|it| it.join().unwrap()).sum()
    });
    let most = 50.0 + 200.0 * begun.elapsed().as_secs_f64() + 1.0;
    assert!(f64::from(passed) <= most, "{passed} passed, {most} may");
    // Of the pace, nothing is lost while clients ask without a pause.
    assert!(passed >= 400, "{passed} passed");
}

#[test]
fn what_was_counted_survives_a_reload_that_does_not_change_the_rate() {
    let origin = Origin::http().reply("fine").start();
    let rules = "pool = 'p'\nrate = { requests = 1, every = '1h' }\n";
    let lb = with_rules(&origin, rules);
    assert_eq!(lb.get("/").status, 200);
    assert_eq!(lb.reload(&configuration(&origin, &format!("{rules}hsts = true\n"))).status, 200);
    let refused = lb.get("/");
    assert_eq!((refused.status, refused.header("strict-transport-security").is_some()), (429, true));
    assert_eq!(lb.reload(&configuration(&origin, "pool = 'p'\nrate = { requests = 2, every = '1h' }\n")).status, 200);
    assert_eq!([lb.get("/").status, lb.get("/").status, lb.get("/").status], [200, 200, 429]);
}

// === cors ===

fn preflight(lb: &Balancer, origin: &str, method: &str) -> Response {
    ask(
        &mut lb.client(),
        &format!(
            "OPTIONS /a HTTP/1.1\r\nHost: a\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: {method}\r\n\
             Access-Control-Request-Headers: x-a, content-type"
        ),
    )
}

#[test]
fn preflights_are_answered_by_the_balancer() {
    let origin = Origin::http().reply("fine").start();
    let lb = with_rules(
        &origin,
        "pool = 'p'\ncors = { origins = ['https://a.example', 'https://*.b.example'], methods = ['GET', 'PUT'], \
         headers = '*', credentials = true, max_age = '10m' }\n",
    );
    let answer = preflight(&lb, "https://x.b.example", "PUT");
    assert_eq!((answer.status, answer.header("content-length")), (204, None));
    for (name, value) in [
        ("access-control-allow-origin", "https://x.b.example"),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", "GET, PUT"),
        ("access-control-allow-headers", "x-a, content-type"),
        ("access-control-max-age", "600"),
        ("vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    let refused = preflight(&lb, "https://evil.example", "PUT");
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (403, None));
    assert_eq!(origin.request_count(), 0);
    lb.rejected("denied", 1);
    let plain = ask(&mut lb.client(), "OPTIONS /a HTTP/1.1\r\nHost: a\r\nOrigin: https://a.example");
    assert_eq!((plain.status, origin.request_count()), (200, 1), "no preflight, but a question to the backend");
}

#[test]
fn answers_say_which_page_may_read_them_whatever_the_backend_says() {
    let origin = Origin::http()
        .reply("fine")
        .header("Access-Control-Allow-Origin", "*")
        .header("Access-Control-Allow-Credentials", "true")
        .start();
    let lb = with_rules(
        &origin,
        "pool = 'p'\ncors = { origins = 'https://a.example', expose = ['X-Total', 'ETag'] }\n\
         [[listener.web.route]]\npath = '/any'\npool = 'p'\ncors = { origins = '*' }\n\
         [[listener.web.route]]\npath = '/theirs'\npool = 'p'\ncors = false\n",
    );
    let of = |path: &str, origin: &str| {
        let answer = get(&lb, path, origin);
        let named = |name| {
            answer
                .headers
                .iter()
                .filter(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.as_str())
                .collect::<Vec<_>>()
                .join("|")
        };
        [
            named("access-control-allow-origin"),
            named("access-control-allow-credentials"),
            named("vary"),
            named("access-control-expose-headers"),
        ]
    };
    assert_eq!(of("/", "Origin: https://a.example\r\n"), ["https://a.example", "", "Origin", "X-Total, ETag"]);
    assert_eq!(of("/", "Origin: https://b.example\r\n"), ["", "", "Origin", ""]);
    assert_eq!(of("/", ""), ["", "", "Origin", ""], "a cache must not give one page's answer to another");
    assert_eq!(of("/any", "Origin: https://b.example\r\n"), ["*", "", "", ""]);
    assert_eq!(of("/theirs", "Origin: https://b.example\r\n"), ["*", "true", "", ""]);
}

// === basic_auth ===

/// The threads that prove passwords, and their queue, are the process's: tests that need them take turns.
static PASSWORDS: Mutex<()> = Mutex::new(());

/// `secret`, by bcrypt with little work; `$2y$05$`.
const SECRET: &str = "$2y$05$CCCCCCCCCCCCCCCCCCCCC.pIKrLVkBX9/OvQMSygY1pWEVn72t6na";
/// `other`.
const OTHER: &str = "$2y$05$CCCCCCCCCCCCCCCCCCCCC.4trLMihVaLGP9SX44qqS9WM4F0dLviS";
/// `secret`, with the work of a quarter of a second.
const SLOW: &str = "$2y$12$CCCCCCCCCCCCCCCCCCCCC.a1EUcOw0CgFYsXsu36AAoUgQuzw6ore";

/// `ann:secret`, `ann:other` and `bob:secret` as a field.
const ANN: &str = "Authorization: Basic YW5uOnNlY3JldA==\r\n";
const ANN_OTHER: &str = "Authorization: Basic YW5uOm90aGVy\r\n";
const BOB: &str = "Authorization: Basic Ym9iOnNlY3JldA==\r\n";

#[test]
fn who_shows_no_right_password_is_asked_for_one() {
    let _turn = PASSWORDS.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users");
    std::fs::write(&file, format!("ann:{SECRET}\n")).unwrap();
    let origin = Origin::http().reply("fine").start();
    let lb = with_rules(
        &origin,
        &format!(
            "pool = 'p'\nbasic_auth = {{ users = '{0}', realm = 'inner', user_header = 'X-User' }}\n\
             request_headers = {{ set = {{ 'X-Say' = '$user' }} }}\n\
             [[listener.web.route]]\npath = '/open'\npool = 'p'\nbasic_auth = false\n\
             [[listener.web.route]]\npath = '/both'\npool = 'p'\nbasic_auth = {{ users = '{0}', authorization = 'pass' }}\n",
            file.display()
        ),
    );
    let twice = format!("{ANN}{ANN}");
    for (fields, what) in [
        ("", "nothing"),
        (ANN_OTHER, "another password"),
        (BOB, "a name that nobody has"),
        ("Authorization: Bearer abc\r\n", "another scheme"),
        (&twice, "two of them"),
    ] {
        let answer = get(&lb, "/", fields);
        let challenge = answer.header("www-authenticate");
        assert_eq!((answer.status, challenge), (401, Some("Basic realm=\"inner\", charset=\"UTF-8\"")), "{what}");
    }
    assert_eq!(origin.request_count(), 0);
    lb.rejected("unauthorized", 5);
    // The second time it is known.
    for turn in 0..2 {
        let forged = format!("{ANN}X-User: root\r\nX_User: root\r\n");
        assert_eq!(get(&lb, "/", &forged).status, 200, "{turn}");
        let seen = origin.last_request();
        assert_eq!((seen.headers("x-user"), seen.header("x_user")), (vec!["ann"], None));
        assert_eq!((seen.header("authorization"), seen.header("x-say")), (None, Some("ann")));
    }
    assert_eq!(get(&lb, "/open", "").status, 200);
    assert_eq!(get(&lb, "/both", ANN).status, 200);
    assert_eq!(origin.last_request().header("authorization"), Some("Basic YW5uOnNlY3JldA=="));
}

#[test]
fn users_are_taken_up_when_their_file_changes_and_only_when_it_is_good() {
    let _turn = PASSWORDS.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users");
    std::fs::write(&file, format!("ann:{SECRET}\n")).unwrap();
    let origin = Origin::http().reply("fine").start();
    let lb = with_rules(&origin, &format!("pool = 'p'\nbasic_auth = {{ users = '{}' }}\n", file.display()));
    assert_eq!(get(&lb, "/", ANN).status, 200);
    std::fs::write(&file, format!("# bob is new\nann:{OTHER}\nbob:{SECRET}\n")).unwrap();
    eventually("bob may pass", DEADLINE, || get(&lb, "/", BOB).status == 200);
    assert_eq!([get(&lb, "/", ANN).status, get(&lb, "/", ANN_OTHER).status], [401, 200], "the old one is forgotten");
    std::fs::write(&file, "bob:plain\n").unwrap();
    assert_eq!(get(&lb, "/", ANN_OTHER).status, 200);
}

#[test]
fn a_flood_of_wrong_passwords_neither_stops_others_nor_waits_without_bound() {
    let _turn = PASSWORDS.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users");
    std::fs::write(&file, format!("ann:{SLOW}\n")).unwrap();
    let origin = Origin::http().reply("fine").start();
    let lb = with_rules(
        &origin,
        &format!(
            "pool = 'p'\n[[listener.web.route]]\npath = '/door'\npool = 'p'\nbasic_auth = {{ users = '{}' }}\n",
            file.display()
        ),
    );
    // Known before the flood.
    assert_eq!(get(&lb, "/door", ANN).status, 200);
    let mut flood: Vec<Client> = (0..80).map(|_| lb.client()).collect();
    for client in &mut flood {
        client.send(format!("GET /door HTTP/1.1\r\nHost: a\r\n{ANN_OTHER}\r\n"));
    }
    let busy = "evenkeel_listener_rejected_total{listener=web,reason=auth_busy}";
    eventually("some are too many", DEADLINE, || lb.metric(busy) > 0.5);
    let mut client = lb.client();
    for _ in 0..50 {
        assert_eq!(ask(&mut client, "GET / HTTP/1.1\r\nHost: a").status, 200);
    }
    assert_eq!(get(&lb, "/door", ANN).status, 200, "who is known does not wait");
    lb.counts("evenkeel_listener_requests_total{listener=web,code=2xx}", 52.0);
    drop(flood);
    eventually("who has left is not waited for", DEADLINE, || get(&lb, "/door", BOB).status == 401);
}

#[test]
fn the_balancers_own_answers_are_for_who_shows_a_password() {
    let _turn = PASSWORDS.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users");
    std::fs::write(&file, format!("ann:{SECRET}\n")).unwrap();
    let origin = Origin::http().start();
    let lb = with_rules(
        &origin,
        &format!(
            "pool = 'p'\nbasic_auth = {{ users = '{}' }}\nresponse_headers = {{ set = {{ 'X-Of' = 'us' }} }}\n\
             [[listener.web.route]]\npath = '/own'\nrespond = {{ status = 200, text = 'secret' }}\n\
             [[listener.web.route]]\npath = '/moved'\nredirect = {{ to = 'https://secret.example$target' }}\n\
             [[listener.web.route]]\npath = '/open'\nbasic_auth = false\nrespond = 204\n",
            file.display()
        ),
    );
    for path in ["/own", "/moved"] {
        for fields in ["", ANN_OTHER] {
            let answer = get(&lb, path, fields);
            assert_eq!((answer.status, answer.header("x-of"), answer.header("location")), (401, Some("us"), None));
            assert!(answer.header("www-authenticate").is_some() && !answer.text().contains("secret"));
        }
    }
    let mut client = lb.client();
    for _ in 0..2 {
        let own = ask(&mut client, format!("GET /own HTTP/1.1\r\nHost: a\r\n{ANN}").trim_end());
        assert_eq!((own.status, own.text().as_str(), own.header("x-of")), (200, "secret", Some("us")));
        let moved = ask(&mut client, format!("GET /moved HTTP/1.1\r\nHost: a\r\n{ANN}").trim_end());
        assert_eq!(moved.header("location"), Some("https://secret.example/moved"));
    }
    assert_eq!(ask(&mut client, "GET /open HTTP/1.1\r\nHost: a").status, 204);
    assert_eq!(origin.request_count(), 0);
}

// === forward_auth ===

fn asking(app: &Origin, auth: &Origin, more: &str) -> Balancer {
    Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n\
         forward_auth = {{ pool = 'auth', path = '/verify?app=1', response_headers = ['X-User', 'X-Groups'], timeout = '1s' {more} }}\n\
         [pool.p]\nbackends = ['{}']\n[pool.auth]\nbackends = ['{}']\n",
        app.addr(),
        auth.addr()
    ))
}

#[test]
fn another_service_lets_requests_pass_and_says_whose_they_are() {
    let app = Origin::http().reply("fine").start();
    let auth = Origin::http().reply("ignored").header("X-User", "ann").header("X-Other", "no").start();
    let lb = asking(&app, &auth, ", request_headers = ['X-Tenant']");
    let mut client = lb.client();
    for turn in 0..3 {
        let answer = ask(
            &mut client,
            "POST /a/b?c=d HTTP/1.1\r\nHost: app\r\nCookie: id=7\r\nAuthorization: Bearer x\r\nX-Tenant: t\r\n\
             X-User: root\r\nx_groups: admins\r\nX-Forwarded-Uri: /evil\r\nContent-Length: 3\r\n\r\nabc",
        );
        assert_eq!((answer.status, answer.text().as_str()), (200, "fine"), "{turn}");
        let (asked, seen) = (auth.last_request(), app.last_request());
        assert_eq!((asked.method.as_str(), asked.target.as_str(), asked.body.len()), ("GET", "/verify?app=1", 0));
        for (name, value) in [
            ("host", "app"),
            ("x-forwarded-method", "POST"),
            ("x-forwarded-uri", "/a/b?c=d"),
            ("x-forwarded-host", "app"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-for", "127.0.0.1"),
            ("cookie", "id=7"),
            ("authorization", "Bearer x"),
            ("x-tenant", "t"),
        ] {
            assert_eq!(asked.headers(name), [value], "{name}");
        }
        assert_eq!(
            (seen.headers("x-user"), seen.header("x_groups"), seen.header("x-other")),
            (vec!["ann"], None, None)
        );
        assert_eq!((seen.body.as_slice(), seen.header("authorization")), (&b"abc"[..], Some("Bearer x")));
    }
    assert_eq!(auth.last_request().connection, 0, "its connection is used again");
}

#[test]
fn what_the_service_refuses_goes_back_to_the_client_whole() {
    let app = Origin::http().reply("fine").start();
    let auth = Origin::http()
        .status(302)
        .header("Location", "https://login.example/?rd=x")
        .header("Set-Cookie", "state=1")
        .header("Content-Type", "text/html")
        .chunked(["<a>", "login</a>"])
        .start();
    let lb = asking(&app, &auth, "");
    let mut client = lb.client();
    for _ in 0..2 {
        let answer = ask(&mut client, "GET / HTTP/1.1\r\nHost: app");
        assert_eq!((answer.status, answer.text().as_str()), (302, "<a>login</a>"));
        assert_eq!(answer.header("location"), Some("https://login.example/?rd=x"));
        assert_eq!((answer.header("set-cookie"), answer.header("content-type")), (Some("state=1"), Some("text/html")));
    }
    assert_eq!(app.request_count(), 0);
}

#[test]
fn without_the_service_nobody_passes_unless_the_configuration_says_so() {
    let app = Origin::http().reply("fine").start();
    let status = |auth: &Origin, more: &str| {
        let lb = asking(&app, auth, more);
        let answer = lb.get("/");
        if answer.status != 200 {
            lb.rejected("auth_failed", 1);
        }
        answer.status
    };
    assert_eq!(status(&Origin::http().accepts_and_stalls().start(), ""), 504);
    assert_eq!(status(&Origin::http().status(500).start(), ""), 502);
    assert_eq!(status(&Origin::http().garbage().start(), ""), 502);
    assert_eq!(status(&Origin::http().status(403).reply(vec![b'x'; 100_000]).start(), ""), 502);
    let gone = Origin::http().start();
    gone.stop();
    assert!([502, 503].contains(&status(&gone, "")));
    assert_eq!(app.request_count(), 0);
    assert_eq!(status(&gone, ", on_failure = 'allow'"), 200);
    assert_eq!(status(&Origin::http().endless_body().start(), ""), 200, "it is the status that says yes");
}

#[test]
fn another_service_is_asked_about_the_balancers_own_answers() {
    let app = Origin::http().reply("fine").start();
    let auth = Origin::http().header("X-User", "ann").start();
    let lb = Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\nforward_auth = {{ pool = 'auth', path = '/verify' }}\n\
         [[listener.web.route]]\npath = '/own'\nrespond = {{ status = 200, text = 'secret' }}\n\
         [pool.p]\nbackends = ['{}']\n[pool.auth]\nbackends = ['{}']\n",
        app.addr(),
        auth.addr()
    ));
    let mut client = lb.client();
    for _ in 0..2 {
        let own = ask(&mut client, "GET /own?x HTTP/1.1\r\nHost: a");
        assert_eq!((own.text().as_str(), own.header("x-user")), ("secret", None));
    }
    assert_eq!(auth.last_request().header("x-forwarded-uri"), Some("/own?x"));
    auth.becomes(Origin::http().status(403).reply("not you"));
    let refused = ask(&mut client, "GET /own HTTP/1.1\r\nHost: a");
    assert_eq!((refused.status, refused.text().as_str()), (403, "not you"));
    auth.becomes(Origin::http().resets_before_answer());
    assert_eq!(ask(&mut client, "GET /own HTTP/1.1\r\nHost: a").status, 502);
    assert_eq!(app.request_count(), 0);
}
