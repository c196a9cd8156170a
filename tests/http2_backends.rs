//! HTTP/2 to backends, gRPC through the balancer, and WebSocket over HTTP/2.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use h2::Reason;
use http::Request;
use support::h2::{H2, Open, get, post};
use support::h2_origin::{H2Origin, Says, Terms};
use support::{Balancer, Origin, client, eventually};

/// A listener `web` of both versions on backends of HTTP/2.
fn balancer(backends: &[SocketAddr], pool: &str) -> Balancer {
    let backends: Vec<String> = backends.iter().map(|address| format!("'{address}'")).collect();
    Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\nhttp = ['1.1', '2']\npool = 'p'\n\
         [pool.p]\nhttp = '2'\nbackends = [{}]\n{pool}",
        backends.join(", ")
    ))
}

/// A call of gRPC.
fn call(path: &str) -> Request<()> {
    let mut request = post(path);
    request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    request.headers_mut().insert("te", "trailers".parse().unwrap());
    request
}

#[test]
fn both_versions_reach_a_backend_of_http2() {
    let large = vec![b'x'; 2_000_000];
    let body = large.clone();
    let origin = H2Origin::start(Terms::default(), move |parts| match parts.uri.path() {
        "/large" => Says::body(&body),
        "/empty" => Says::Head(204, vec![]),
        "/sum" => Says::Answer(200, vec![], b"ok".to_vec(), vec![("x-sum", "7")]),
        _ => Says::Answer(201, vec![("x-from", "h2")], b"hello".to_vec(), vec![]),
    });
    let lb = balancer(&[origin.addr()], "");
    let answer = lb.get("/a?b");
    assert_eq!((answer.status, answer.text()), (201, "hello".into()));
    assert_eq!(answer.header("x-from"), Some("h2"));
    assert_eq!(lb.get("/large").body.len(), large.len());
    let mut http2 = H2::connect(lb.addr("web"));
    assert_eq!(http2.get("/large").body, large);
    assert_eq!(http2.get("/empty").status, 204);
    let answer = http2.get("/sum");
    assert_eq!((answer.text(), answer.trailer("x-sum")), ("ok".into(), Some("7")));
    http2.ask(post("/up"), Some(&large));
    let asked = origin.requests();
    assert_eq!(asked[0].parts.uri.to_string(), format!("http://{}/a?b", lb.addr("web")));
    assert_eq!(asked[0].header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(asked.last().map(|asked| asked.body.len()), Some(large.len()));
    // One connection has carried all of it.
    assert_eq!(origin.connections(), 1);
}

#[test]
fn requests_share_a_connection_up_to_the_backends_limit() {
    let origin = H2Origin::start(Terms { streams: Some(4), ..Terms::default() }, |parts| {
        if parts.uri.path() == "/slow" { Says::Nothing } else { Says::body("fast") }
    });
    let lb = balancer(&[origin.addr()], "");
    let mut http2 = H2::connect(lb.addr("web"));
    let _waiting: Vec<_> = (0..9).map(|_| http2.begin(get("/slow"), true).unwrap()).collect();
    origin.wait_for_requests(9);
    assert_eq!(http2.get("/").text(), "fast");
    assert_eq!(origin.connections(), 3);
}

/// What a backend within TLS agrees on: these protocols, by ALPN.
fn config_of_tls(authority: &support::tls::Authority, protocols: &[&[u8]]) -> std::sync::Arc<rustls::ServerConfig> {
    authority.issue("b", &["b.example"]);
    let file = |ending: &str| std::fs::read(authority.folder().join(format!("b.{ending}"))).unwrap();
    let chain = rustls_pki_types::pem::PemObject::pem_slice_iter(&file("pem")).collect::<Result<Vec<_>, _>>().unwrap();
    let key = rustls_pki_types::pem::PemObject::from_pem_slice(&file("key")).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    std::sync::Arc::new(config)
}

/// The key of a pool with such backends.
fn tls_with(authority: &support::tls::Authority) -> String {
    format!("tls = {{ server_name = 'b.example', ca = '{}' }}", authority.file().display())
}

#[test]
fn tls_to_backends_agrees_on_http2() {
    let authority = support::tls::Authority::new("CA");
    let terms = Terms { tls: Some(config_of_tls(&authority, &[b"h2"])), ..Terms::default() };
    let origin = H2Origin::start(terms, |_| Says::body("secret"));
    let lb = balancer(&[origin.addr()], &tls_with(&authority));
    assert_eq!(lb.get("/").text(), "secret");
    assert_eq!(origin.requests()[0].parts.uri.scheme_str(), Some("https"));
}

#[test]
fn a_backend_that_goes_costs_nobody_a_request() {
    let origin = H2Origin::saying(Says::body("ok"));
    let lb = balancer(&[origin.addr()], "");
    let mut http2 = H2::connect(lb.addr("web"));
    for round in 1..=5 {
        assert_eq!(http2.ask(post("/"), Some(b"not to be lost")).text(), "ok", "round {round}");
        origin.goes();
    }
    assert_eq!(http2.get("/").text(), "ok");
    assert!(origin.connections() > 1);
    assert_eq!(lb.metric("evenkeel_pool_requests_total{pool=p,code=5xx}").to_string(), "0");
}

#[test]
fn a_refused_stream_goes_elsewhere_whatever_its_method() {
    let bad = H2Origin::saying(Says::Reset(Reason::REFUSED_STREAM));
    let good = H2Origin::saying(Says::body("good"));
    let lb = balancer(&[bad.addr(), good.addr()], "");
    let mut http2 = H2::connect(lb.addr("web"));
    for _ in 0..4 {
        assert_eq!(http2.ask(post("/"), Some(b"x")).text(), "good");
    }
    assert!(bad.begun() > 0);
    // Any other reset may mean that it has worked on it.
    let bad = H2Origin::saying(Says::Reset(Reason::INTERNAL_ERROR));
    let lb = balancer(&[bad.addr()], "");
    assert_eq!(H2::connect(lb.addr("web")).ask(post("/"), Some(b"x")).status, 502);
    assert_eq!(bad.begun(), 1);
}

#[test]
fn a_backend_that_dies_is_left_at_once() {
    let mut dies = H2Origin::saying(Says::Nothing);
    let stays = H2Origin::saying(Says::body("stays"));
    let lb = balancer(&[dies.addr(), stays.addr()], "");
    let mut http2 = H2::connect(lb.addr("web"));
    let mut open: Vec<_> = (0..4).map(|_| http2.begin(get("/"), true).unwrap()).collect();
    dies.wait_for_requests(2);
    dies.stop();
    for open in &mut open {
        assert_eq!(http2.answer(open).unwrap().text(), "stays");
    }
}

#[test]
fn an_answer_that_breaks_off_never_looks_complete() {
    let origin = H2Origin::saying(Says::Half);
    let lb = balancer(&[origin.addr()], "");
    let mut http2 = H2::connect(lb.addr("web"));
    assert!(http2.try_ask(get("/"), None).unwrap_err().is_reset());
    assert!(client::try_get(lb.addr("web"), "/").is_err());
}

#[test]
fn a_client_that_gives_up_frees_the_stream_and_keeps_the_connection() {
    let origin = H2Origin::saying(Says::Nothing);
    let lb = balancer(&[origin.addr()], "");
    let mut http2 = H2::connect(lb.addr("web"));
    for count in 1..=3 {
        let mut open = http2.begin(get("/"), true).unwrap();
        origin.wait_for_requests(count);
        open.sending.send_reset(Reason::CANCEL);
        origin.wait_for_resets(count);
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn idle_connections_end() {
    let origin = H2Origin::saying(Says::body("ok"));
    let lb = balancer(&[origin.addr()], "[pool.p.timeouts]\nidle = '100ms'");
    assert_eq!(lb.get("/").text(), "ok");
    eventually("the connection ends", Duration::from_secs(5), || origin.open_connections() == 0);
    assert_eq!(lb.get("/").text(), "ok");
}

#[test]
fn a_backend_that_speaks_http1_is_no_backend_of_http2() {
    let origin = Origin::http().reply("no").start();
    let lb = balancer(&[origin.addr()], "");
    assert_eq!(lb.get("/").status, 502);
    lb.failed("connect_failed", 1);
}

// === gRPC ===

#[test]
fn a_connection_that_carries_nothing_is_counted_as_idle() {
    let origin =
        H2Origin::start(
            Terms::default(),
            |parts| {
                if parts.uri.path() == "/hangs" { Says::Nothing } else { Says::body("a") }
            },
        );
    let lb = balancer(&[origin.addr()], "timeouts.idle = '1h'");
    let idle = format!("evenkeel_backend_idle_connections{{pool=p,backend={}}}", origin.addr());
    assert_eq!(lb.get("/").status, 200);
    lb.counts(&idle, 1.0);
    let mut hangs = lb.client();
    hangs.send("GET /hangs HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.wait_for_requests(2);
    lb.counts(&idle, 0.0);
    hangs.reset();
    lb.counts(&idle, 1.0);
    drop(origin);
    lb.counts(&idle, 0.0);
}

#[test]
fn calls_of_grpc_pass_with_their_status() {
    let origin = H2Origin::start(Terms::default(), |parts| match parts.uri.path() {
        "/a.B/Fails" => Says::Head(200, vec![("grpc-status", "5"), ("grpc-message", "no such thing")]),
        _ => Says::Answer(
            200,
            vec![("content-type", "application/grpc")],
            b"\0\0\0\0\x02ok".to_vec(),
            vec![("grpc-status", "0")],
        ),
    });
    let lb = balancer(&[origin.addr()], "");
    let mut http2 = H2::connect(lb.addr("web"));
    let answer = http2.ask(call("/a.B/Get"), Some(b"\0\0\0\0\x01x"));
    assert_eq!((answer.trailer("grpc-status"), &answer.body[5..]), (Some("0"), &b"ok"[..]));
    let answer = http2.ask(call("/a.B/Fails"), Some(b"\0\0\0\0\0"));
    assert_eq!((answer.header("grpc-status"), answer.header("grpc-message")), (Some("5"), Some("no such thing")));
    let asked = origin.requests();
    assert_eq!((asked[0].header("te"), asked[0].header("content-type")), (Some("trailers"), Some("application/grpc")));
}

#[test]
fn streams_of_grpc_flow_both_ways_at_once() {
    let origin = H2Origin::saying(Says::Echo);
    let lb = balancer(&[origin.addr()], "");
    let mut http2 = H2::connect(lb.addr("web"));
    let mut open = http2.begin(call("/a.B/Chat"), false).unwrap();
    http2.send(&mut open, b"first", false).unwrap();
    assert_eq!(http2.head(&mut open).unwrap().status(), 200);
    assert_eq!(http2.data(&mut open).unwrap().unwrap(), "first");
    for message in ["second", "third"] {
        http2.send(&mut open, message.as_bytes(), false).unwrap();
        assert_eq!(http2.data(&mut open).unwrap().unwrap(), message);
    }
    http2.send(&mut open, b"last", true).unwrap();
    assert_eq!(http2.data(&mut open).unwrap().unwrap(), "last");
    while http2.data(&mut open).is_some() {}
    assert_eq!(http2.trailers(&mut open).unwrap().unwrap()["grpc-status"], "0");
}

#[test]
fn a_stream_of_grpc_that_is_given_up_ends_at_the_backend() {
    let origin = H2Origin::saying(Says::Echo);
    let lb = balancer(&[origin.addr()], "");
    let mut http2 = H2::connect(lb.addr("web"));
    let mut open = http2.begin(call("/a.B/Watch"), false).unwrap();
    http2.send(&mut open, b"hello", false).unwrap();
    http2.head(&mut open).unwrap();
    assert_eq!(http2.data(&mut open).unwrap().unwrap(), "hello");
    open.sending.send_reset(Reason::CANCEL);
    origin.wait_for_resets(1);
}

#[test]
fn calls_of_one_connection_are_spread_over_backends() {
    let (a, b) =
        (H2Origin::saying(Says::Head(200, vec![("grpc-status", "0")])), H2Origin::saying(Says::Head(200, vec![])));
    let lb = balancer(&[a.addr(), b.addr()], "");
    let mut http2 = H2::connect(lb.addr("web"));
    for _ in 0..10 {
        http2.ask(call("/a.B/Get"), Some(b"\0\0\0\0\0"));
    }
    assert_eq!((a.begun(), b.begun()), (5, 5));
}

#[test]
fn what_the_balancer_says_itself_has_a_status_of_grpc() {
    let slow = H2Origin::saying(Says::Nothing);
    let lb = Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\nhttp = '2'\n[listener.web.limits]\nbody = '10B'\n\
         [[listener.web.route]]\npath = '/dead.A'\npool = 'dead'\n[[listener.web.route]]\npath = '/slow.A'\npool = 'slow'\n\
         [pool.dead]\nhttp = '2'\nbackends = ['127.0.0.1:1']\n[pool.slow]\nhttp = '2'\nbackends = ['{}']",
        slow.addr()
    ));
    let mut http2 = H2::connect(lb.addr("web"));
    for (path, timeout, body, status) in [
        ("/dead.A/Get", None, &b"x"[..], "14"),
        ("/none.A/Get", None, b"x", "12"),
        ("/slow.A/Get", Some("200m"), b"x", "4"),
        ("/slow.A/Get", None, b"more than ten bytes", "8"),
    ] {
        let mut request = call(path);
        if let Some(timeout) = timeout {
            request.headers_mut().insert("grpc-timeout", timeout.parse().unwrap());
        }
        let start = Instant::now();
        let answer = http2.ask(request, Some(body));
        assert_eq!((answer.status, answer.header("grpc-status")), (200, Some(status)), "{path}");
        assert_eq!(answer.header("content-type"), Some("application/grpc"));
        assert!(answer.header("grpc-message").is_some_and(|message| message.ends_with('.')));
        assert!(start.elapsed() < Duration::from_secs(3), "{path}: {:?}", start.elapsed());
    }
    // The backend is told how long the client waits, and that it has given up.
    slow.wait_for_resets(1);
    assert_eq!(slow.requests()[0].header("grpc-timeout"), Some("200m"));
    lb.counts("evenkeel_pool_failed_total{pool=slow,cause=deadline}", 1.0);
}

#[test]
fn a_call_waits_no_longer_for_a_backend_than_its_client_does() {
    let slow = H2Origin::saying(Says::Nothing);
    let lb = Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\nhttp = '2'\npool = 'full'\n\
         [[listener.web.route]]\npath = '/held.A'\npool = 'held'\n\
         [pool.held]\nhttp = '2'\nbackends = ['127.0.0.1:1']\nhold = '60s'\ncheck.port = {{ type = 'tcp' }}\n\
         [pool.full]\nhttp = '2'\nbackends = ['{}']\nconnections_max = 1\ntimeouts.queue = '60s'\n",
        slow.addr()
    ));
    let mut http2 = H2::connect(lb.addr("web"));
    let _first = http2.begin(call("/full.A/Get"), true).unwrap();
    slow.wait_for_requests(1);
    for path in ["/held.A/Get", "/full.A/Get"] {
        let mut request = call(path);
        request.headers_mut().insert("grpc-timeout", "200m".parse().unwrap());
        let start = Instant::now();
        let answer = http2.ask(request, Some(b"x"));
        assert_eq!((answer.status, answer.header("grpc-status")), (200, Some("4")), "{path}");
        let took = start.elapsed();
        assert!((Duration::from_millis(150)..Duration::from_secs(5)).contains(&took), "{path}: {took:?}");
    }
    for pool in ["held", "full"] {
        lb.counts(&format!("evenkeel_pool_failed_total{{pool={pool},cause=deadline}}"), 1.0);
    }
}

// === WebSockets ===

/// CONNECT for a WebSocket (RFC 8441).
fn websocket(path: &str) -> Request<()> {
    let mut request = Request::builder().method("CONNECT").uri(format!("http://a.example{path}")).body(()).unwrap();
    request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
    request.headers_mut().insert("sec-websocket-version", "13".parse().unwrap());
    request
}

#[test]
fn a_websocket_over_http2_reaches_a_backend_of_http1() {
    let origin = Origin::http().upgrade_echo().start();
    let lb = Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\nhttp = '2'\npool = 'p'\n[pool.p]\nbackends = ['{}']",
        origin.addr()
    ));
    let mut http2 = H2::connect(lb.addr("web"));
    let mut open = http2.begin(websocket("/chat"), false).unwrap();
    assert_eq!(http2.head(&mut open).unwrap().status(), 200);
    http2.send(&mut open, b"ping", false).unwrap();
    assert_eq!(http2.data(&mut open).unwrap().unwrap(), "ping");
    let asked = origin.last_request();
    assert_eq!((asked.method.as_str(), asked.header("upgrade")), ("GET", Some("websocket")));
    assert_eq!(asked.header("sec-websocket-key").map(str::len), Some(24));
    http2.send(&mut open, b"bye", true).unwrap();
    assert_eq!(rest(&http2, &mut open), b"bye");
}

/// All that is still to come.
fn rest(http2: &H2, open: &mut Open) -> Vec<u8> {
    std::iter::from_fn(|| http2.data(open)).flat_map(|data| data.unwrap().to_vec()).collect()
}

#[test]
fn a_websocket_reaches_a_backend_of_http2_that_takes_it() {
    let terms = Terms { tunnels: true, ..Terms::default() };
    let origin = H2Origin::start(terms, |_| Says::Echo);
    let lb = balancer(&[origin.addr()], "");
    let mut tunnel = client::websocket(lb.addr("web"), "/chat");
    tunnel.send(b"over both");
    assert_eq!(tunnel.read_exact(9), b"over both");
    let mut http2 = H2::connect(lb.addr("web"));
    let mut open = http2.begin(websocket("/chat"), false).unwrap();
    assert_eq!(http2.head(&mut open).unwrap().status(), 200);
    http2.send(&mut open, b"all the way", false).unwrap();
    assert_eq!(http2.data(&mut open).unwrap().unwrap(), "all the way");
}

/// A WebSocket from clients of both versions, which carries bytes both ways.
#[track_caller]
fn tunnels_of_both_versions_work(lb: &Balancer) {
    let mut tunnel = client::websocket(lb.addr("web"), "/chat?a=b");
    assert!(tunnel.echoes("by HTTP/1.1"));
    let mut http2 = H2::connect(lb.addr("web"));
    let mut open = http2.begin(websocket("/chat?a=b"), false).unwrap();
    assert_eq!(http2.head(&mut open).unwrap().status(), 200);
    http2.send(&mut open, b"by HTTP/2", false).unwrap();
    assert_eq!(http2.data(&mut open).unwrap().unwrap(), "by HTTP/2");
    assert!(tunnel.echoes("and still"));
}

/// A request for a change to this protocol.
fn upgrade(lb: &Balancer, protocol: &str) -> client::Client {
    let mut client = lb.client();
    client.send(format!(
        "GET /up HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ));
    client
}

#[test]
fn a_websocket_that_http2_does_not_take_goes_by_http1() {
    let origin = H2Origin::start(Terms { upgrades: true, ..Terms::default() }, |_| Says::body("plain"));
    let lb = balancer(&[origin.addr()], "");
    tunnels_of_both_versions_work(&lb);
    for head in origin.upgraded() {
        assert!(
            head.starts_with("GET /chat?a=b HTTP/1.1\r\n") && head.contains("X-Forwarded-For: 127.0.0.1"),
            "{head}"
        );
    }
    assert_eq!(lb.get("/").text(), "plain");
    // Other protocols never go by HTTP/2.
    let mut other = upgrade(&lb, "other/1");
    assert_eq!(other.read_response().header("upgrade"), Some("other/1"));
    assert!(other.echoes("bytes"));
    assert_eq!((origin.upgraded().len(), origin.connections()), (3, 1), "all else shares one connection of HTTP/2");
}

#[test]
fn a_websocket_goes_by_http1_over_tls_where_the_backend_agrees_on_it() {
    let authority = support::tls::Authority::new("CA");
    let tls = Some(config_of_tls(&authority, &[b"h2", b"http/1.1"]));
    let origin = H2Origin::start(Terms { upgrades: true, tls, ..Terms::default() }, |_| Says::body("plain"));
    let lb = balancer(&[origin.addr()], &tls_with(&authority));
    tunnels_of_both_versions_work(&lb);
    assert_eq!(lb.get("/").text(), "plain");
    assert_eq!((origin.upgraded().len(), origin.connections()), (2, 1));
}

#[test]
fn a_websocket_to_a_backend_that_takes_none_by_either_version_is_told_so() {
    let authority = support::tls::Authority::new("CA");
    let tls = Some(config_of_tls(&authority, &[b"h2"]));
    for (terms, pool) in [(Terms::default(), String::new()), (Terms { tls, ..Terms::default() }, tls_with(&authority))]
    {
        let origin = H2Origin::start(terms, |_| Says::body("plain"));
        // Whatever clients ask for is no evidence against the backend.
        let lb = balancer(&[origin.addr()], &format!("{pool}\noutliers = {{ failures = 1, max_ejected = '100%' }}"));
        let answer = upgrade(&lb, "websocket").read_response();
        assert_eq!(answer.status, 502);
        assert!(answer.text().contains("RFC 8441") && answer.text().contains("HTTP/1.1"), "{}", answer.text());
        let mut http2 = H2::connect(lb.addr("web"));
        let mut open = http2.begin(websocket("/chat"), true).unwrap();
        assert_eq!(http2.head(&mut open).unwrap().status(), 502);
        lb.failed("no_upgrade", 2);
        assert_eq!(lb.get("/").text(), "plain");
        assert_eq!(origin.begun(), 1);
    }
}

#[test]
fn a_websocket_that_is_cut_is_told_so_between_two_frames() {
    let origin = Origin::http().upgrade_echo().start();
    let lb = Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\nhttp = ['1.1', '2']\npool = 'p'\n\
         [pool.p]\nbackends = [{{ name = 'a', address = '{}' }}]",
        origin.addr()
    ));
    let mut http1 = client::websocket(lb.addr("web"), "/");
    let mut within = client::websocket(lb.addr("web"), "/");
    let mut http2 = H2::connect(lb.addr("web"));
    let mut open = http2.begin(websocket("/chat"), false).unwrap();
    assert_eq!(http2.head(&mut open).unwrap().status(), 200);
    let whole = b"\x81\x02hi";
    http1.send(whole);
    assert_eq!(http1.read_exact(4), whole);
    http2.send(&mut open, whole, false).unwrap();
    assert_eq!(http2.data(&mut open).unwrap().unwrap(), &whole[..]);
    // Half of a frame: whatever came now would be taken for its rest.
    within.send(b"\x81\x05hel");
    assert_eq!(within.read_exact(5), b"\x81\x05hel");
    lb.order(&["drain", "p/a", "--force", "--deadline", "1s"]);
    let goodbye = b"\x88\x02\x03\xf4";
    assert_eq!(http1.read_exact(4), goodbye);
    assert_eq!(rest(&http2, &mut open), goodbye);
    assert!(matches!(within.ending(Duration::from_secs(5)), client::Ending::Reset));
}
