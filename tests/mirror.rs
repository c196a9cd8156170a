//! Copies of requests for another pool: the same request, and nothing of what becomes of it reaches the client.

mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use support::client::websocket;
use support::h2_origin::{H2Origin, Says, Terms};
use support::{Balancer, Client, Origin};

/// A listener `web` with these rules, whose own pool has `origin` and whose pool `shadow` has another one, with these keys.
fn balancer(origin: &Origin, shadow: SocketAddr, rules: &str, keys: &str) -> Balancer {
    Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n{rules}\n\
         [pool.p]\nbackends = ['{}']\n[pool.shadow]\nbackends = ['{shadow}']\n{keys}\n",
        origin.addr()
    ))
}

fn mirrored(lb: &Balancer, result: &str, count: u32) {
    lb.counts(&format!("evenkeel_listener_mirrored_total{{listener=web,result={result}}}"), count.into());
}

fn half_a_body(lb: &Balancer, length: usize) -> Client {
    let mut client = lb.client();
    client.send(format!("POST /half HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\nhalf"));
    client
}

// === what is copied ===

#[test]
fn the_copy_is_the_request_that_the_backend_gets() {
    let (origin, shadow) = (Origin::http().reply("real").start(), Origin::http().status(500).reply("shadow").start());
    let rules = "mirror = 'shadow'\nrequest_headers = { set = { 'X-By' = '$listener' } }";
    let lb = balancer(&origin, shadow.addr(), rules, "");
    let mut client = lb.client();
    for count in 1..=5 {
        assert_eq!(client.get("/path?query").text(), "real");
        mirrored(&lb, "answered", count);
    }
    let (real, copy) = (origin.last_request(), shadow.last_request());
    let lines = |head: &str| {
        let mut lines: Vec<String> = head.lines().map(str::to_owned).collect();
        lines[1..].sort();
        lines
    };
    assert_eq!(lines(&real.head), lines(&copy.head));
    assert_eq!((copy.header("x-by"), copy.header("x-forwarded-for")), (Some("web"), Some("127.0.0.1")));
    assert!(copy.header("x-request-id").is_some() && copy.header("host").is_some());
    assert!(shadow.connections() < 5, "idle connections are used again: {}", shadow.connections());
    lb.counts("evenkeel_pool_requests_total{pool=shadow,code=5xx}", 5.0);
    lb.counts("evenkeel_listener_requests_total{listener=web,code=2xx}", 5.0);
}

#[test]
fn bodies_are_copied_as_far_as_they_are_short() {
    let (origin, shadow) = (Origin::http().reply("real").start(), Origin::http().start());
    let lb = balancer(&origin, shadow.addr(), "mirror = { pool = 'shadow', body_max = '1KiB' }", "");
    let mut client = lb.client();
    let body = vec![b'x'; 1024];
    assert_eq!(client.post("/length", &body).text(), "real");
    mirrored(&lb, "answered", 1);
    assert_eq!(shadow.last_request().body, body);
    client.send("POST /chunks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    client.send("2\r\nde\r\n0\r\n\r\n");
    assert_eq!(client.read_response().text(), "real");
    mirrored(&lb, "answered", 2);
    assert_eq!(shadow.last_request().body, b"abcde");
    assert_eq!(client.post("/long", vec![b'x'; 1025]).text(), "real");
    mirrored(&lb, "too_large", 1);
    let long = format!("400\r\n{}\r\n", "y".repeat(1024));
    client.send(format!("POST /chunks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{long}0\r\n\r\n"));
    assert_eq!(client.read_response().text(), "real");
    mirrored(&lb, "too_large", 2);
    assert_eq!((origin.request_count(), shadow.request_count()), (4, 2));
}

#[test]
fn a_share_of_the_requests_and_only_where_it_is_said() {
    let (origin, shadow) = (Origin::http().reply("real").upgrade_echo().start(), Origin::http().start());
    let rules = "mirror = { pool = 'shadow', share = 50 }\n\
                 [[listener.web.route]]\npath = '/none'\npool = 'p'\nmirror = false\n\
                 [[listener.web.route]]\npath = '/all'\npool = 'p'\nmirror = { pool = 'shadow', share = '100%' }\n\
                 [[listener.web.route]]\npath = '/own'\nrespond = 410\n";
    let lb = balancer(&origin, shadow.addr(), rules, "");
    let mut client = lb.client();
    for _ in 0..100 {
        client.get("/none");
        client.get("/own");
    }
    let _tunnel = websocket(lb.addr("web"), "/all");
    for _ in 0..200 {
        client.get("/half");
    }
    client.get("/all");
    shadow.wait_for_requests_for("/all", 1);
    let some = shadow.requests_for("/half");
    assert!((50..150).contains(&some), "{some}");
    assert_eq!(shadow.request_count(), some + 1, "and nothing else");
}

#[test]
fn a_pool_of_http2_and_one_of_tls_get_copies_by_their_own_terms() {
    let origin = Origin::http().reply("real").start();
    let clear = H2Origin::saying(Says::body("shadow"));
    let authority = support::tls::Authority::new("CA");
    authority.issue("b", &["shadow.example"]);
    let file = |ending: &str| std::fs::read(authority.folder().join(format!("b.{ending}"))).unwrap();
    let chain = rustls_pki_types::pem::PemObject::pem_slice_iter(&file("pem")).collect::<Result<Vec<_>, _>>().unwrap();
    let key = rustls_pki_types::pem::PemObject::from_pem_slice(&file("key")).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let terms = Terms { tls: Some(std::sync::Arc::new(config)), ..Terms::default() };
    let sealed = H2Origin::start(terms, |_| Says::body("shadow"));
    let keys = format!(
        "http = '2'\n[pool.sealed]\nhttp = '2'\nbackends = ['{}']\ntls = {{ ca = '{}', server_name = 'shadow.example' }}\n",
        sealed.addr(),
        authority.file().display()
    );
    let rules = "mirror = 'shadow'\n[[listener.web.route]]\npath = '/sealed'\npool = 'p'\nmirror = 'sealed'\n";
    let lb = balancer(&origin, clear.addr(), rules, &keys);
    let mut client = lb.client();
    assert_eq!(client.post("/clear", "body").text(), "real");
    assert_eq!(client.post("/sealed", "body").text(), "real");
    mirrored(&lb, "answered", 2);
    for (origin, path) in [(&clear, "/clear"), (&sealed, "/sealed")] {
        let asked = origin.requests();
        assert_eq!((asked.len(), asked[0].parts.uri.path(), &asked[0].body[..]), (1, path, &b"body"[..]));
        assert!(asked[0].header("x-request-id").is_some());
    }
}

// === what it costs ===

#[test]
fn a_shadow_that_is_slow_or_gone_is_nobodys_loss() {
    let origin = Origin::http().reply("real").start();
    let shadow = Origin::http().stalls_before_answer().start();
    let rules = "mirror = { pool = 'shadow', in_flight_max = 2 }";
    let check = "timeouts = { response = '400ms', connect = '100ms' }\ncheck.port = { type = 'tcp', interval = '50ms', fall = 1 }";
    let lb = balancer(&origin, shadow.addr(), rules, check);
    let mut client = lb.client();
    let begun = Instant::now();
    for _ in 0..5 {
        assert_eq!(client.get("/").text(), "real");
    }
    assert!(begun.elapsed() < Duration::from_millis(400), "nobody waits for a copy");
    mirrored(&lb, "busy", 3);
    mirrored(&lb, "failed", 2);
    lb.counts("evenkeel_pool_failed_total{pool=shadow,cause=response_timeout}", 2.0);
    lb.counts("evenkeel_pool_backends_up{pool=shadow}", 1.0);
    shadow.stop();
    lb.counts("evenkeel_pool_backends_up{pool=shadow}", 0.0);
    assert_eq!(client.get("/").text(), "real");
    mirrored(&lb, "no_backend", 1);
    lb.counts("evenkeel_pool_retries_total{pool=shadow}", 0.0);
}

#[test]
fn what_a_shadow_answers_is_no_evidence_against_it() {
    let origin = Origin::http().reply("real").start();
    let shadow = Origin::http().resets_before_answer().start();
    // Three failures in a row would take out a backend of real traffic, for long.
    let keys = "outliers = { failures = 3, time = '1h', time_max = '1h', max_ejected = '100%' }";
    let lb = balancer(&origin, shadow.addr(), "mirror = 'shadow'", keys);
    for count in 1..=6 {
        assert_eq!(lb.get("/").text(), "real");
        mirrored(&lb, "failed", count);
    }
    lb.counts("evenkeel_pool_backends_up{pool=shadow}", 1.0);
}

#[test]
fn copies_that_are_being_made_count_and_one_that_is_never_whole_is_not_sent() {
    let (origin, shadow) = (Origin::http().reply("real").start(), Origin::http().start());
    let lb = balancer(&origin, shadow.addr(), "mirror = { pool = 'shadow', in_flight_max = 2 }", "");
    let halves = [half_a_body(&lb, 8), half_a_body(&lb, 8)];
    origin_has(&origin, 2);
    assert_eq!(lb.get("/busy").text(), "real");
    mirrored(&lb, "busy", 1);
    let [mut first, second] = halves;
    drop(second);
    mirrored(&lb, "incomplete", 1);
    first.send("rest");
    assert_eq!(first.read_response().text(), "real");
    mirrored(&lb, "answered", 1);
    assert_eq!(lb.get("/after").text(), "real");
    mirrored(&lb, "answered", 2);
    assert_eq!((shadow.request_count(), shadow.requests_for("/busy")), (2, 0));
}

/// Waits until so many connections are open to the origin: each request under way has one.
fn origin_has(origin: &Origin, connections: usize) {
    support::eventually("the requests are under way", support::eventually::DEADLINE, || {
        origin.open_connections() >= connections
    });
}

#[test]
fn copies_keep_to_a_backend_where_their_pool_goes_by_what_requests_say() {
    let origin = Origin::http().reply("real").start();
    for (balance, request) in [
        ("uri", "GET /app/KEY HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("header:X-Key", "GET / HTTP/1.1\r\nHost: a\r\nX-Key: KEY\r\n\r\n"),
        ("cookie:key", "GET / HTTP/1.1\r\nHost: a\r\nCookie: key=KEY\r\n\r\n"),
    ] {
        let (one, other) = (Origin::http().start(), Origin::http().start());
        let lb = Balancer::start(&format!(
            "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\nmirror = 'shadow'\n\
             [pool.p]\nbackends = ['{}']\n[pool.shadow]\nbalance = '{balance}'\nbackends = ['{}', '{}']\n",
            origin.addr(),
            one.addr(),
            other.addr()
        ));
        let mut client = lb.client();
        let (mut seen, mut sent) = (0, 0);
        for key in 0..16 {
            let before = one.request_count();
            for _ in 0..4 {
                client.send(request.replace("KEY", &format!("k{key}")));
                assert_eq!(client.read_response().text(), "real");
                sent += 1;
                mirrored(&lb, "answered", sent);
            }
            let to_one = one.request_count() - before;
            assert!(to_one == 0 || to_one == 4, "{balance}: one key, one backend: {to_one}");
            seen += to_one;
        }
        assert!(seen > 0 && other.request_count() > 0, "{balance}: keys are spread");
    }
}

#[test]
fn an_endless_answer_to_a_copy_ends_with_its_time() {
    let origin = Origin::http().reply("real").start();
    let shadow = Origin::http().reply("some").stalls_mid_body().start();
    let lb =
        balancer(&origin, shadow.addr(), "mirror = 'shadow'", "timeouts = { response = '200ms', connect = '100ms' }");
    assert_eq!(lb.get("/").text(), "real");
    mirrored(&lb, "failed", 1);
    support::eventually("its connection ends", support::eventually::DEADLINE, || shadow.open_connections() == 0);
}
