//! HTTP/2 from clients: what they ask is served as if it had come by HTTP/1.1, what they may not do is refused, and
//! what is no work ends the connection.

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use support::h2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, H2, HEADERS, PING, PRIORITY, RST_STREAM, Raw, SETTINGS, Verdict,
    WINDOW_UPDATE, ask, block, frame, get, post,
};
use support::tls::Authority;
use support::{Balancer, Origin, client, eventually};

const ENHANCE_YOUR_CALM: u32 = 11;
const PROTOCOL_ERROR: u32 = 1;

/// A listener `web` that speaks both versions in clear text.
fn both(backends: &[SocketAddr], listener: &str) -> Balancer {
    let backends: Vec<String> = backends.iter().map(|address| format!("'{address}'")).collect();
    Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\nhttp = ['1.1', '2']\npool = 'p'\n{listener}\n\
         [pool.p]\nbackends = [{}]",
        backends.join(", ")
    ))
}

#[test]
fn one_port_serves_both_versions_in_clear_text() {
    let origin = Origin::http().reply("hello").start();
    let lb = both(&[origin.addr()], "");
    let mut http2 = H2::connect(lb.addr("web"));
    let answer = http2.get("/a");
    assert_eq!((answer.status, answer.text()), (200, "hello".into()));
    assert_eq!(lb.get("/b").text(), "hello");
    let asked = origin.requests();
    assert_eq!(asked[0].header("host"), Some("a.example"));
    assert_eq!(asked[0].header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(asked[0].header("x-forwarded-proto"), Some("http"));
}

#[test]
fn over_tls_the_client_chooses() {
    let authority = Authority::new("CA");
    let certificate = authority.issue("web", &["web.example.com"]);
    let origin = Origin::http().reply("hello").start();
    let lb = both(&[origin.addr()], "");
    drop(lb);
    let lb = Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\ntls = {{ certificates = [{certificate}] }}\npool = 'p'\n\
         [pool.p]\nbackends = ['{}']",
        origin.addr()
    ));
    let mut http2 = H2::connect_tls(lb.addr("web"), "web.example.com", &authority.client());
    assert_eq!(http2.get("/").text(), "hello");
    assert_eq!(origin.last_request().header("x-forwarded-proto"), Some("https"));
    let mut http1 = support::Client::connect_tls(lb.addr("web"), "web.example.com", &authority.client());
    assert_eq!(http1.get("/").text(), "hello");
}

#[test]
fn requests_of_one_connection_do_not_wait_for_each_other() {
    let slow = Origin::http().reply("slow").stalls_before_answer().start();
    let fast = Origin::http().reply("fast").start();
    let lb = Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\nhttp = '2'\npool = 'fast'\n\
         [[listener.web.route]]\npath = '/slow'\npool = 'slow'\n\
         [pool.fast]\nbackends = ['{}']\n[pool.slow]\nbackends = ['{}']",
        fast.addr(),
        slow.addr()
    ));
    let mut http2 = H2::connect(lb.addr("web"));
    let _waiting: Vec<_> = (0..20).map(|_| http2.begin(get("/slow"), true).unwrap()).collect();
    assert_eq!(http2.get("/").text(), "fast");
}

#[test]
fn bodies_of_any_framing_pass_both_ways() {
    let large = vec![b'x'; 3_000_000];
    let origin = Origin::http()
        .reply("ok")
        .at("/large", Origin::http().reply(&large))
        .at("/chunks", Origin::http().chunked(["one", "two"]))
        .at("/close", Origin::http().reply("until close").close_delimited())
        .at("/empty", Origin::http().status(204))
        .start();
    let lb = both(&[origin.addr()], "");
    let mut http2 = H2::connect(lb.addr("web"));
    assert_eq!(http2.get("/large").body.len(), large.len());
    assert_eq!(http2.get("/chunks").text(), "onetwo");
    assert_eq!(http2.get("/close").text(), "until close");
    assert_eq!(http2.get("/empty").status, 204);
    let answer = http2.ask(post("/up"), Some(&large));
    assert_eq!(answer.text(), "ok");
    let asked = origin.last_request();
    assert_eq!((asked.body.len(), asked.header("transfer-encoding")), (large.len(), Some("chunked")));
    let mut sized = post("/up");
    sized.headers_mut().insert("content-length", "5".parse().unwrap());
    http2.ask(sized, Some(b"12345"));
    assert_eq!(origin.last_request().header("content-length"), Some("5"));
    let mut head = get("/large");
    *head.method_mut() = http::Method::HEAD;
    let answer = http2.ask(head, None);
    assert_eq!((answer.header("content-length"), answer.body.len()), (Some("3000000"), 0));
}

#[test]
fn trailers_pass() {
    let origin = Origin::http()
        .raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n")
        .start();
    let lb = both(&[origin.addr()], "");
    let answer = H2::connect(lb.addr("web")).get("/");
    assert_eq!((answer.text(), answer.trailer("x-sum")), ("ok".into(), Some("7")));
}

#[test]
fn an_answer_that_breaks_off_never_looks_complete() {
    let origin = Origin::http().reply("half of it").truncates_body().start();
    let lb = both(&[origin.addr()], "");
    let mut http2 = H2::connect(lb.addr("web"));
    let error = http2.try_ask(get("/"), None).unwrap_err();
    assert!(error.is_reset(), "{error}");
    // The other streams of the connection are not concerned.
    origin.becomes(Origin::http().reply("whole"));
    assert_eq!(http2.get("/").text(), "whole");
}

#[test]
fn what_the_balancer_says_itself_is_an_answer_like_any_other() {
    let lb = Balancer::start(
        "[listener.web]\nbind = '127.0.0.1:0'\nhttp = '2'\n[listener.web.limits]\nhead = '1KiB'\nheaders = 20\nbody = '10B'\n\
         [[listener.web.route]]\npath = '/p'\npool = 'p'\n[pool.p]\nbackends = ['127.0.0.1:1']",
    );
    let mut http2 = H2::connect(lb.addr("web"));
    assert_eq!(http2.get("/").status, 404);
    assert_eq!(http2.get("/p").status, 502);
    let mut large = get("/p");
    large.headers_mut().insert("x-large", "a".repeat(1200).parse().unwrap());
    assert_eq!(http2.ask(large, None).status, 431);
    let mut many = get("/p");
    (0..25).for_each(|number| {
        many.headers_mut().insert(http::HeaderName::try_from(format!("x-{number}")).unwrap(), "1".parse().unwrap());
    });
    assert_eq!(http2.ask(many, None).status, 431);
    let mut long = post("/p");
    long.headers_mut().insert("content-length", "50".parse().unwrap());
    assert_eq!(http2.ask(long, Some(&[b'x'; 50])).status, 413);
    lb.rejected("no_route", 1);
    lb.rejected("too_many_headers", 1);
}

#[test]
fn a_client_that_gives_up_frees_the_backend() {
    let origin = Origin::http().stalls_before_answer().start();
    let lb = both(&[origin.addr()], "");
    let mut raw = Raw::connect(lb.addr("web"));
    raw.get(1, "/");
    origin.wait_for_requests(1);
    raw.frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes());
    lb.failed("client_abort", 1);
    eventually("the backend's connection ends", Duration::from_secs(5), || origin.open_connections() == 0);
    // The connection goes on.
    raw.frame(PING, 0, 0, &[7; 8]);
    assert_eq!(raw.until(PING).payload, [7; 8]);
}

#[test]
fn a_slow_reader_makes_no_memory_grow() {
    let origin = Origin::http().endless_body().start();
    let lb = both(&[origin.addr()], "[listener.web.timeouts]\nbody_idle = '2s'");
    // Windows as large as can be, and nobody who reads.
    let mut raw = Raw::with_settings(lb.addr("web"), &[(4, 0x7fff_ffff)]);
    raw.frame(WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes());
    for stream in 0..50 {
        raw.get(1 + 2 * stream, "/");
    }
    // What is under way to the client is bounded, so nothing moves, and that is a client that does not read.
    lb.failed("client_abort", 50);
    let sent = lb.metric("evenkeel_listener_sent_bytes_total{listener=web}");
    assert!(sent < 24e6, "{sent} bytes");
}

#[test]
fn a_window_that_stays_shut_ends_the_stream() {
    let origin = Origin::http().reply(vec![b'x'; 100_000]).start();
    let lb = both(&[origin.addr()], "[listener.web.timeouts]\nbody_idle = '300ms'");
    let mut raw = Raw::with_settings(lb.addr("web"), &[(4, 0)]);
    raw.get(1, "/");
    assert_eq!(raw.until(HEADERS).stream, 1);
    assert_eq!(raw.until(RST_STREAM).stream, 1);
    lb.failed("client_abort", 1);
}

#[test]
fn deadlines_are_those_of_any_connection() {
    let origin = Origin::http().reply("ok").start();
    let timeouts = "[listener.web.timeouts]\nhead = '200ms'\nclient_idle = '400ms'";
    let lb = Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\nhttp = '2'\npool = 'p'\n{timeouts}\n[pool.p]\nbackends = ['{}']",
        origin.addr()
    ));
    // Nothing, a preface and nothing, a head that never ends.
    assert!(Raw::silent(lb.addr("web")).end() < Duration::from_secs(5));
    assert_eq!(Raw::connect(lb.addr("web")).goaway(), Some(0));
    let mut raw = Raw::connect(lb.addr("web"));
    raw.frame(HEADERS, END_STREAM, 1, &block(&ask("/")));
    assert!(raw.end() < Duration::from_secs(5));
    // A request, and then nothing; pings are no requests.
    let mut raw = Raw::connect(lb.addr("web"));
    raw.get(1, "/");
    assert_eq!(raw.verdict(1), Verdict::Answer(200));
    raw.frame(PING, 0, 0, &[0; 8]);
    assert_eq!(raw.goaway(), Some(0));
}

#[test]
fn streams_beyond_the_limit_are_refused() {
    let origin = Origin::http().stalls_before_answer().start();
    let lb = both(&[origin.addr()], "[listener.web.limits]\nstreams = 2");
    let mut raw = Raw::connect(lb.addr("web"));
    let settings = raw.until(SETTINGS).payload;
    assert!(settings.chunks(6).any(|one| one == [0, 3, 0, 0, 0, 2]), "{settings:?}");
    // The limit holds from when it is known.
    raw.frame(SETTINGS, 1, 0, &[]);
    (0..3).for_each(|stream| raw.get(1 + 2 * stream, "/"));
    assert_eq!(raw.verdict(5), Verdict::Reset(7));
}

#[test]
fn a_stop_lets_streams_finish_and_takes_no_more() {
    let origin = Origin::http().reply("late").delay(Duration::from_millis(500)).start();
    let lb = both(&[origin.addr()], "");
    let mut http2 = H2::connect(lb.addr("web"));
    let mut open = http2.begin(get("/"), true).unwrap();
    origin.wait_for_requests(1);
    // Another listener in place of this one: its connections end after what they are at.
    lb.reload(&format!(
        "[listener.other]\nbind = '127.0.0.1:0'\npool = 'p'\n[pool.p]\nbackends = ['{}']",
        origin.addr()
    ));
    assert_eq!(http2.answer(&mut open).unwrap().text(), "late");
    eventually("the connection takes no more", Duration::from_secs(5), || http2.begin(get("/"), true).is_err());
}

#[test]
fn a_reload_leaves_connections_alone() {
    let (a, b) = (Origin::http().reply("a").start(), Origin::http().reply("b").start());
    let lb = both(&[a.addr()], "");
    let mut http2 = H2::connect(lb.addr("web"));
    assert_eq!(http2.get("/").text(), "a");
    lb.reload(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\nhttp = ['1.1', '2']\npool = 'p'\n[pool.p]\nbackends = ['{}']",
        b.addr()
    ));
    assert_eq!(http2.get("/").text(), "b");
}

// === what a request may not be (RFC 9113, section 8) ===

/// Fields behind those of a valid request, each of which makes it none.
const TOO_MUCH: &[&[(&str, &str)]] = &[
    &[("connection", "close")],
    &[("keep-alive", "1")],
    &[("proxy-connection", "close")],
    &[("transfer-encoding", "chunked")],
    &[("upgrade", "h2c")],
    &[("te", "gzip")],
    &[("X-Upper", "1")],
    &[("", "1")],
    &[("x y", "1")],
    &[("x:y", "1")],
    &[("x", "a\r\nb: c")],
    &[("x", "a\nb")],
    &[("x", "a\0b")],
    &[("x", " a")],
    &[("x", "a ")],
    &[(":method", "GET")],
    &[(":path", "/b")],
    &[(":status", "200")],
    &[(":unknown", "1")],
    &[("host", "b.example")],
    &[("host", "a.example"), ("host", "a.example")],
    &[("content-length", "5")],
    &[("content-length", "0"), ("content-length", "0")],
    &[("content-length", "1"), ("content-length", "2")],
    &[("content-length", "+0")],
    &[("content-length", "x")],
];

/// Fields of a valid request with a value that they may not have; none: they are missing.
const WRONG: &[(&str, Option<&str>)] = &[
    (":method", None),
    (":scheme", None),
    (":path", None),
    (":authority", None),
    (":path", Some("")),
    (":path", Some("a")),
    (":path", Some("*")),
    (":path", Some("http://b/")),
    (":path", Some("/a b")),
    (":path", Some("/a\r\nb")),
    (":scheme", Some("ftp")),
    (":scheme", Some("ht tp")),
    (":authority", Some("u@a")),
    (":authority", Some("a b")),
    (":authority", Some("a/b")),
    (":method", Some("GE T")),
    (":method", Some("")),
    (":method", Some("CONNECT")),
];

#[test]
fn what_a_request_may_not_be_never_reaches_a_backend() {
    let origin = Origin::http().reply("ok").start();
    let lb = both(&[origin.addr()], "");
    let valid = ask("/");
    let mut cases: Vec<Vec<(&str, &str)>> = TOO_MUCH.iter().map(|more| [&valid, *more].concat()).collect();
    for (name, value) in WRONG {
        let others = valid.iter().filter(|(other, _)| other != name).copied();
        cases.push(value.map(|value| (*name, value)).into_iter().chain(others).collect());
    }
    // A field in front of a pseudo-header field, and hosts that are none.
    cases.push([&[("x", "1")], &valid[..]].concat());
    cases.push([&valid[..3], &[("host", "b, c")]].concat());
    for fields in &cases {
        let mut raw = Raw::connect(lb.addr("web"));
        raw.headers(1, END_STREAM, fields);
        let verdict = raw.verdict(1);
        assert!(!matches!(verdict, Verdict::Answer(200 | 204)), "{fields:?}: {verdict:?}");
    }
    assert_eq!(origin.request_count(), 0, "{:?}", origin.last_request());
}

#[test]
fn content_that_is_not_as_long_as_said_never_looks_whole() {
    let origin = Origin::http().reply("ok").start();
    let lb = both(&[origin.addr()], "");
    for body in [&b"1234"[..], b"123456"] {
        let mut raw = Raw::connect(lb.addr("web"));
        raw.headers(1, 0, &[&ask("/")[..], &[("content-length", "5")]].concat());
        raw.frame(DATA, END_STREAM, 1, body);
        let verdict = raw.verdict(1);
        assert!(matches!(verdict, Verdict::Reset(PROTOCOL_ERROR)), "{body:?}: {verdict:?}");
    }
    assert_eq!(origin.requests().iter().filter(|request| !request.body.is_empty()).count(), 0);
}

#[test]
fn trailers_of_a_request_frame_nothing() {
    let origin = Origin::http().reply("ok").start();
    let lb = both(&[origin.addr()], "");
    let mut raw = Raw::connect(lb.addr("web"));
    raw.headers(1, 0, &ask("/"));
    raw.frame(DATA, 0, 1, b"body");
    raw.headers(1, END_STREAM, &[("content-length", "9"), ("x-sum", "1"), ("host", "b")]);
    assert_eq!(raw.verdict(1), Verdict::Answer(200));
    let asked = String::from_utf8(origin.last_request().raw).unwrap();
    assert!(asked.ends_with("\r\n4\r\nbody\r\n0\r\nx-sum: 1\r\n\r\n"), "{asked}");
    // Pseudo-header fields are none of theirs, and reach nobody.
    let mut raw = Raw::connect(lb.addr("web"));
    raw.headers(1, 0, &ask("/"));
    raw.headers(1, END_STREAM, &[(":path", "/b"), ("x-sum", "2")]);
    assert_eq!(raw.verdict(1), Verdict::Answer(200));
    let asked = String::from_utf8(origin.last_request().raw).unwrap();
    assert!(asked.ends_with("\r\n0\r\nx-sum: 2\r\n\r\n"), "{asked}");
}

// === floods ===

#[test]
fn whoever_sends_what_is_no_work_is_closed_within_a_second() {
    let origin = Origin::http().reply("ok").at("/slow", Origin::http().delay(Duration::from_secs(3600))).start();
    let lb = both(&[origin.addr()], "");
    let mut innocent = H2::connect(lb.addr("web"));
    let rst = |stream: u32| frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
    let asked = |stream: u32| frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(&ask("/")));
    let ids = (0..5000_u32).map(|number| 1 + 2 * number);
    let many = |bytes: Vec<u8>| bytes.repeat(5000);
    let open = asked(1);
    let begun = frame(HEADERS, END_HEADERS, 1, &block(&ask("/")));
    let wrong = block(&[&ask("/")[..], &[("te", "gzip")]].concat());
    let endless =
        [frame(HEADERS, 0, 1, &block(&ask("/"))), frame(CONTINUATION, 0, 1, &block(&[("x", "1")])).repeat(5000)];
    let large = "a".repeat(60_000);
    let huge = [("x-large", large.as_str())];
    let bomb = block(&huge).chunks(16_000).map(|part| frame(CONTINUATION, 0, 1, part)).collect::<Vec<_>>().concat();
    for (kind, bytes) in [
        ("settings", many(frame(SETTINGS, 0, 0, &[]))),
        ("ping", many(frame(PING, 0, 0, &[0; 8]))),
        ("priority", many(frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 1]))),
        ("window_update", many(frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()))),
        ("rapid_reset", ids.clone().flat_map(|id| [asked(id), rst(id)].concat()).collect()),
        ("rapid_reset", [open, many(rst(1))].concat()),
        ("empty_data", [begun.clone(), many(frame(DATA, 0, 1, &[]))].concat()),
        ("continuation", endless.concat()),
        ("unknown", many(frame(0xee, 0, 0, &[0; 4]))),
        ("errors", ids.clone().flat_map(|id| frame(HEADERS, END_STREAM | END_HEADERS, id, &wrong)).collect()),
        ("headers", [frame(HEADERS, 0, 1, &block(&ask("/"))), bomb.repeat(10)].concat()),
        ("tiny_data", [begun, frame(DATA, 0, 1, b"x").repeat(120_000)].concat()),
    ] {
        let before: f64 = lb.metric(&format!("evenkeel_http2_floods_total{{listener=web,kind={kind}}}"));
        let mut raw = Raw::connect(lb.addr("web"));
        raw.frame(SETTINGS, 1, 0, &[]);
        // It may be closed before it has sent all of it.
        let _ = raw.try_send(&bytes);
        let start = std::time::Instant::now();
        let code = raw.goaway();
        assert!(start.elapsed() < Duration::from_secs(1), "{kind}: {:?}", start.elapsed());
        assert!(matches!(code, Some(ENHANCE_YOUR_CALM) | None), "{kind}: {code:?}");
        lb.counts(&format!("evenkeel_http2_floods_total{{listener=web,kind={kind}}}"), before + 1.0);
        assert_eq!(innocent.get("/").text(), "ok", "{kind}");
    }
    assert_eq!(client::get(lb.addr("web"), "/").text(), "ok");
}

// === frames (RFC 9113, sections 4 to 6) ===

#[test]
fn frames_that_break_the_protocol_end_the_connection() {
    let origin = Origin::http().reply("ok").start();
    let lb = both(&[origin.addr()], "");
    let get = |stream: u32| frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(&ask("/")));
    let begun = |stream: u32| frame(HEADERS, 0, stream, &block(&ask("/")));
    let setting = |key: u16, value: u32| [&key.to_be_bytes()[..], &value.to_be_bytes()].concat();
    for (what, bytes) in [
        ("DATA on stream 0", frame(DATA, 0, 0, b"x")),
        ("DATA on an idle stream", frame(DATA, 0, 5, b"x")),
        ("HEADERS on stream 0", frame(HEADERS, END_HEADERS, 0, &block(&ask("/")))),
        ("HEADERS on an even stream", get(2)),
        ("HEADERS on a stream before the last one", [get(5), get(3)].concat()),
        ("fields that cannot be decoded", frame(HEADERS, END_HEADERS, 1, &[0xff; 8])),
        ("padding longer than the frame", frame(HEADERS, END_HEADERS | 0x8, 1, &[200, 0, 0])),
        ("PRIORITY on stream 0", frame(PRIORITY, 0, 0, &[0; 5])),
        ("RST_STREAM on stream 0", frame(RST_STREAM, 0, 0, &[0; 4])),
        ("RST_STREAM of an idle stream", frame(RST_STREAM, 0, 1, &[0; 4])),
        ("RST_STREAM of three bytes", [begun(1), frame(RST_STREAM, 0, 1, &[0; 3])].concat()),
        ("SETTINGS on a stream", frame(SETTINGS, 0, 1, &[])),
        ("SETTINGS of five bytes", frame(SETTINGS, 0, 0, &[0; 5])),
        ("acknowledged SETTINGS that hold some", frame(SETTINGS, 1, 0, &setting(3, 1))),
        ("ENABLE_PUSH of 2", frame(SETTINGS, 0, 0, &setting(2, 2))),
        ("a window beyond its limit", frame(SETTINGS, 0, 0, &setting(4, 0x8000_0000))),
        ("frames smaller than allowed", frame(SETTINGS, 0, 0, &setting(5, 100))),
        ("frames larger than allowed", frame(SETTINGS, 0, 0, &setting(5, 1 << 24))),
        ("PUSH_PROMISE of a client", frame(5, END_HEADERS, 1, &[0, 0, 0, 2])),
        ("PING on a stream", frame(PING, 0, 1, &[0; 8])),
        ("PING of seven bytes", frame(PING, 0, 0, &[0; 7])),
        ("GOAWAY on a stream", frame(7, 0, 1, &[0; 8])),
        ("WINDOW_UPDATE of nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("WINDOW_UPDATE of nothing on a stream", [get(1), frame(WINDOW_UPDATE, 0, 1, &[0; 4])].concat()),
        ("WINDOW_UPDATE of three bytes", frame(WINDOW_UPDATE, 0, 0, &[0; 3])),
        ("a window that overflows", frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes())),
        ("CONTINUATION of nothing", frame(CONTINUATION, END_HEADERS, 1, &block(&[("x", "1")]))),
        ("another frame within fields", [begun(1), frame(PING, 0, 0, &[0; 8])].concat()),
        ("another stream's CONTINUATION", [begun(1), frame(CONTINUATION, END_HEADERS, 3, &[])].concat()),
        ("a frame larger than ours may be", frame(DATA, 0, 1, &vec![0; 16_385])),
    ] {
        let mut raw = Raw::connect(lb.addr("web"));
        raw.frame(SETTINGS, 1, 0, &[]);
        let _ = raw.try_send(&bytes);
        let code = raw.goaway();
        assert!(code.is_none_or(|code| code != 0), "{what}: {code:?}");
    }
    let mut raw = Raw::silent(lb.addr("web"));
    raw.send(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n");
    raw.end();
    assert_eq!(lb.get("/").text(), "ok");
}

#[test]
fn what_is_wrong_with_one_stream_ends_that_one() {
    let origin = Origin::http().stalls_before_answer().at("/ok", Origin::http().reply("ok")).start();
    let lb = both(&[origin.addr()], "");
    let mut raw = Raw::connect(lb.addr("web"));
    raw.get(3, "/");
    raw.frame(WINDOW_UPDATE, 0, 3, &0x7fff_ffff_u32.to_be_bytes());
    assert!(matches!(raw.verdict(3), Verdict::Reset(_)));
    // A stream that depends on itself, in HEADERS with a priority.
    let on_itself = [&[0, 0, 0, 7, 16][..], &block(&ask("/"))].concat();
    raw.frame(HEADERS, END_STREAM | END_HEADERS | 0x20, 7, &on_itself);
    assert!(matches!(raw.verdict(7), Verdict::Reset(PROTOCOL_ERROR)));
    raw.get(9, "/ok");
    assert_eq!(raw.verdict(9), Verdict::Answer(200));
}

#[test]
fn what_is_not_known_is_passed_over() {
    let origin = Origin::http().reply("ok").start();
    let lb = both(&[origin.addr()], "");
    let mut raw = Raw::with_settings(lb.addr("web"), &[(0xff, 7)]);
    raw.frame(0xee, 0xff, 0, b"whatever");
    raw.frame(PING, 0x7e, 0, &[3; 8]);
    // Fields in three frames, with padding and a priority.
    let fields = block(&ask("/"));
    let (one, two) = fields.split_at(10);
    raw.frame(HEADERS, END_STREAM | 0x8 | 0x20, 1, &[&[4, 0, 0, 0, 0, 7][..], one, &[0; 4]].concat());
    raw.frame(CONTINUATION, 0, 1, &two[..5]);
    raw.frame(CONTINUATION, END_HEADERS, 1, &two[5..]);
    assert_eq!(raw.verdict(1), Verdict::Answer(200));
}
