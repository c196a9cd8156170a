//! Rules for requests: who may ask, what is changed of heads on their way, and what the balancer answers by itself.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::{Balancer, Client, Origin};

/// One listener `web` with these keys and routes, and a pool `p` of one backend.
fn with_rules(origin: &Origin, rules: &str) -> Balancer {
    Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\n{rules}\n[pool.p]\nbackends = [{{ name = 'one', address = '{}' }}]\n",
        origin.addr()
    ))
}

fn ask(client: &mut Client, method: &str, head: &str) -> support::client::Response {
    client.send(format!("{method} {head}\r\n\r\n"));
    client.try_read_response(method).unwrap()
}

// === fields ===

#[test]
fn fields_of_a_request_are_set_added_and_removed_with_variables() {
    let origin = Origin::http().reply("fine").start();
    let lb = with_rules(
        &origin,
        "pool = 'p'\n[listener.web.request_headers]\nset = { 'X-Real-IP' = '$client_ip', Host = 'inside', 'X-Say' = '$method $path?$query $$ $header:x-a $cookie:id $scheme $listener/$pool' }\n\
         add = { 'X-A' = 'ours' }\nremove = ['X-Debug']\n",
    );
    let mut client = lb.client();
    let head = "/a/b?c=d HTTP/1.1\r\nHost: outside\r\nX-Real-Ip: 6.6.6.6\r\nX-A: theirs\r\nx-debug: 1\r\nX-Debug: 2\r\nCookie: a=b; id=7";
    assert_eq!(ask(&mut client, "GET", head).text(), "fine");
    let seen = origin.last_request();
    assert_eq!(seen.headers("x-real-ip"), ["127.0.0.1"]);
    assert_eq!(seen.headers("host"), ["inside"]);
    assert_eq!(seen.headers("x-a"), ["theirs", "ours"]);
    assert_eq!(seen.header("x-debug"), None);
    assert_eq!(seen.header("x-say"), Some("GET /a/b?c=d $ theirs 7 http web/p"));
    assert_eq!(seen.header("x-forwarded-host"), Some("outside"), "what the client asked for is still said");
}

#[test]
fn fields_of_an_answer_are_changed_whoever_makes_it() {
    let origin = Origin::http().reply("fine").header("Server", "secret/1.0").header("X-Keep", "yes").start();
    let lb = with_rules(
        &origin,
        "pool = 'p'\nhsts = { max_age = '2d', subdomains = true }\n[listener.web.response_headers]\n\
         add = { 'X-Served-By' = '$backend, $status, $request_id' }\nremove = ['Server']\n",
    );
    let mut client = lb.client();
    let answer = ask(&mut client, "GET", "/ HTTP/1.1\r\nHost: a\r\nX-Request-ID: 77");
    assert_eq!((answer.header("server"), answer.header("x-keep")), (None, Some("yes")));
    assert_eq!(answer.header("x-served-by"), Some("one, 200, 77"));
    assert_eq!(answer.header("strict-transport-security"), Some("max-age=172800; includeSubDomains"));
    origin.stop();
    let answer = ask(&mut client, "GET", "/ HTTP/1.1\r\nHost: a\r\nX-Request-ID: 78");
    assert!([502, 503].contains(&answer.status), "as far as it is known to be down");
    assert_eq!(answer.header("x-served-by"), Some(format!("-, {}, 78", answer.status).as_str()));
    assert_eq!(answer.header("strict-transport-security"), Some("max-age=172800; includeSubDomains"));
}

#[test]
fn what_a_route_says_replaces_what_its_listener_says_of_the_same() {
    let origin = Origin::http().reply("fine").start();
    let lb = with_rules(
        &origin,
        "pool = 'p'\nhsts = true\nresponse_headers = { set = { 'X-Of' = 'listener' } }\n\
         [[listener.web.route]]\npath = '/own'\npool = 'p'\nresponse_headers = { set = { 'X-Of' = 'route' } }\n\
         [[listener.web.route]]\npath = '/plain'\npool = 'p'\nhsts = false\n",
    );
    let of = |path: &str| {
        let answer = lb.get(path);
        (answer.header("x-of").map(str::to_owned), answer.header("strict-transport-security").map(str::to_owned))
    };
    let (own, year) = (|word: &str| Some(word.to_owned()), Some("max-age=31536000".to_owned()));
    assert_eq!(of("/"), (own("listener"), year.clone()));
    assert_eq!(of("/own"), (own("route"), year));
    assert_eq!(of("/plain"), (own("listener"), None));
}

// === who may ask ===

#[test]
fn clients_that_are_kept_out_get_403_and_are_counted() {
    let origin = Origin::http().reply("fine").start();
    let lb = with_rules(
        &origin,
        "pool = 'p'\ntrusted_proxies = ['127.0.0.1']\nallow = ['10.0.0.0/8', '127.0.0.1']\ndeny = '10.6.0.0/16'\n\
         [[listener.web.route]]\npath = '/open'\npool = 'p'\nallow = '0.0.0.0/0'\n",
    );
    let status = |path: &str, from: &str| {
        ask(&mut lb.client(), "GET", &format!("{path} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {from}")).status
    };
    assert_eq!(lb.get("/").status, 200);
    assert_eq!([status("/", "10.1.2.3"), status("/", "10.6.2.3"), status("/", "11.1.1.1")], [200, 403, 403]);
    assert_eq!([status("/open", "11.1.1.1"), status("/open", "10.6.2.3")], [200, 403]);
    lb.rejected("denied", 3);
    assert_eq!(origin.request_count(), 3);
}

// === own answers ===

#[test]
fn a_route_answers_by_itself_and_the_connection_goes_on() {
    let origin = Origin::http().reply("fine").start();
    let lb = with_rules(
        &origin,
        "pool = 'p'\n[[listener.web.route]]\npath = '/old'\nrespond = 410\n\
         [[listener.web.route]]\npath = '/robots.txt'\nrespond = { text = 'Disallow: /' }\n\
         response_headers = { add = { 'X-By' = '$status' } }\n",
    );
    let mut client = lb.client();
    let gone = ask(&mut client, "GET", "/old/page HTTP/1.1\r\nHost: a");
    assert_eq!(gone.status, 410);
    assert!(gone.text().starts_with("410 Gone"), "{}", gone.text());
    let robots = ask(&mut client, "GET", "/robots.txt HTTP/1.1\r\nHost: a");
    assert_eq!((robots.status, robots.text().as_str(), robots.header("x-by")), (200, "Disallow: /", Some("200")));
    let head = ask(&mut client, "HEAD", "/robots.txt HTTP/1.1\r\nHost: a");
    assert_eq!((head.status, head.text().as_str(), head.header("content-length")), (200, "", Some("11")));
    assert_eq!(ask(&mut client, "GET", "/ HTTP/1.1\r\nHost: a").text(), "fine");
    // A body that nobody reads must not be taken for the next request.
    let posted = ask(&mut client, "POST", "/old HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!((posted.status, posted.header("connection")), (410, Some("close")));
}

#[test]
fn a_listener_may_have_nothing_but_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("maintenance.html");
    std::fs::write(&page, "<h1>Back soon</h1>").unwrap();
    let lb = Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\nrespond = {{ status = 503, file = '{}' }}\n",
        page.display()
    ));
    let answer = lb.get("/any");
    assert_eq!((answer.status, answer.text().as_str()), (503, "<h1>Back soon</h1>"));
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[test]
fn an_answer_that_never_has_a_body_has_none_whatever_the_configuration_says() {
    let lb = Balancer::start(
        "[listener.web]\nbind = '127.0.0.1:0'\nrespond = { status = 204, text = 'HTTP/1.1 200 OK' }\n\
         [[listener.web.route]]\npath = '/304'\nrespond = { status = 304, text = 'HTTP/1.1 200 OK' }\n",
    );
    let mut client = lb.client();
    for (path, status) in [("/", 204), ("/304", 304), ("/", 204)] {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let end = client.try_read_response("HEAD").unwrap();
        assert_eq!((end.status, end.text().as_str()), (status, ""), "what stands behind it is the next answer");
    }
}
