//! Heads that are judged, and heads that are written anew.

use super::*;
use crate::net::buffer::{Buffer, Size};

const LIMITS: Limits = Limits { head_bytes: 4096, target_bytes: 256, headers: 20 };

fn judge(text: &str) -> Result<Option<Framing>, Reject> {
    let mut room = fields::room();
    Request::parse(text.as_bytes(), &mut room, LIMITS).map(|request| request.map(|request| request.framing))
}

fn rewrite(text: &str) -> String {
    let mut room = fields::room();
    let request = Request::parse(text.as_bytes(), &mut room, LIMITS).unwrap().unwrap();
    let mut out = Buffer::take(Size::Small);
    let sender = Sender {
        client: b"192.0.2.7",
        scheme: b"http",
        host: None,
        request_id: b"id-1",
        fallback_host: b"fallback",
        proof: Proof::Untold,
    };
    request.write(&mut out, &sender, None);
    String::from_utf8(out.filled().to_vec()).unwrap()
}

#[test]
fn framing_is_what_the_head_says() {
    for (head, framing) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Framing::Empty),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Framing::Empty),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", Framing::Length(5)),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", Framing::Chunked),
        ("BREW /pot HTTP/1.1\r\nHost:\r\n\r\n", Framing::Empty),
        ("GET / HTTP/1.0\r\n\r\n", Framing::Empty),
        ("OPTIONS * HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", Framing::Empty),
    ] {
        assert_eq!(judge(head), Ok(Some(framing)), "{head:?}");
    }
}

#[test]
fn what_could_be_read_two_ways_is_refused() {
    let with = |field: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
    for (head, reject) in [
        (with("Content-Length: 5\r\nTransfer-Encoding: chunked"), Reject::LengthAndChunked),
        (with("Content-Length: 5\r\nContent-Length: 5"), Reject::ContentLength),
        (with("Content-Length: 5, 5"), Reject::ContentLength),
        (with("Content-Length: +5"), Reject::ContentLength),
        (with("Transfer-Encoding: gzip, chunked"), Reject::TransferEncoding),
        (with("Transfer-Encoding: chunked, identity"), Reject::TransferEncoding),
        (with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), Reject::TransferEncoding),
        (with("Transfer-Encoding: \x0bchunked"), Reject::Header),
        (with("Content-Length : 5"), Reject::Header),
        (with("A: b\r\n folded"), Reject::Header),
        (with("A: b\rc"), Reject::Header),
        (with("A: b\nContent-Length: 5"), Reject::BareLineFeed),
        (with("A: \x01"), Reject::Header),
        (with("Host: b"), Reject::DuplicateHost),
        ("GET / HTTP/1.1\r\n\r\n".into(), Reject::MissingHost),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n".into(), Reject::Host),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".into(), Reject::Host),
        ("GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n".into(), Reject::Host),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n".into(), Reject::Version),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n".into(), Reject::Version),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n".into(), Reject::RequestLine),
        ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n".into(), Reject::Target),
        ("GET a HTTP/1.1\r\nHost: a\r\n\r\n".into(), Reject::Target),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n".into(), Reject::Target),
        ("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n".into(), Reject::Target),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n".into(), Reject::Connect),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".into(), Reject::TransferEncoding),
    ] {
        assert_eq!(judge(&head), Err(reject), "{head:?}");
    }
}

#[test]
fn limits_are_told_apart() {
    let long = "a".repeat(300);
    assert_eq!(judge(&format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n")), Err(Reject::TargetTooLong));
    assert_eq!(judge(&format!("GET /{}", "a".repeat(400))), Err(Reject::TargetTooLong));
    let many = "A: b\r\n".repeat(30);
    assert_eq!(judge(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")), Err(Reject::TooManyHeaders));
    let large = format!("A: {}\r\n", "b".repeat(1000)).repeat(5);
    assert_eq!(judge(&format!("GET / HTTP/1.1\r\nHost: a\r\n{large}\r\n")), Err(Reject::HeadTooLarge));
    assert_eq!(judge(&format!("GET / HTTP/1.1\r\nHost: a\r\n{large}")), Err(Reject::HeadTooLarge));
    assert_eq!(judge("GET / HTTP/1.1\r\nHost: a\r\n"), Ok(None));
}

#[test]
fn the_backend_gets_the_lines_that_concern_it_and_who_asks() {
    assert_eq!(
        rewrite(concat!(
            "GET /a?b HTTP/1.1\r\nHost: A.example:80\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nX-Yours:  2 \r\n",
            "X-Forwarded-For: 10.0.0.1\r\nx-forwarded-proto: https\r\nForwarded: for=1\r\nKeep-Alive: 5\r\nTE: gzip\r\n\r\n"
        )),
        concat!(
            "GET /a?b HTTP/1.1\r\nHost: A.example:80\r\nX-Yours:  2 \r\nX-Forwarded-For: 192.0.2.7\r\n",
            "X-Forwarded-Proto: http\r\nX-Forwarded-Host: A.example:80\r\nX-Request-ID: id-1\r\n\r\n"
        )
    );
}

#[test]
fn a_connection_field_cannot_take_away_what_frames_the_message() {
    let out = rewrite("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: content-length, host\r\n\r\n");
    assert!(out.contains("Content-Length: 5\r\n") && out.contains("Host: a\r\n"), "{out}");
}

#[test]
fn what_another_server_could_take_for_framing_ends_here() {
    let out = rewrite(
        "POST / HTTP/1.1\r\nHost: a\r\nContent_Length: 5\r\nTransfer_Encoding: chunked\r\nExpect: x 100-continue\r\n\r\n",
    );
    assert!(out.starts_with("POST / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For"), "{out}");
}

#[test]
fn an_absolute_target_without_path_gets_one() {
    let out = rewrite("GET http://b?c HTTP/1.1\r\nHost: b\r\n\r\n");
    assert!(out.starts_with("GET /?c HTTP/1.1\r\nHost: b\r\n"), "{out}");
    let out = rewrite("GET http://b HTTP/1.1\r\nHost: b\r\n\r\n");
    assert!(out.starts_with("GET / HTTP/1.1\r\nHost: b\r\n"), "{out}");
}

#[test]
fn an_absolute_target_outranks_host() {
    let out = rewrite("GET http://b.example/x HTTP/1.1\r\nHost: a\r\nA: 1\r\n\r\n");
    assert!(out.starts_with("GET /x HTTP/1.1\r\nHost: b.example\r\nA: 1\r\n"), "{out}");
    assert!(out.contains("X-Forwarded-Host: b.example\r\n"), "{out}");
}

#[test]
fn a_request_of_http_1_0_without_host_gets_one() {
    let out = rewrite("GET / HTTP/1.0\r\n\r\n");
    assert!(out.starts_with("GET / HTTP/1.1\r\nHost: fallback\r\n"), "{out}");
}

#[test]
fn an_upgrade_is_passed_on_only_when_connection_names_it() {
    let upgraded = rewrite("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert!(upgraded.ends_with("Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"), "{upgraded}");
    let plain = rewrite("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n");
    assert!(!plain.contains("pgrade"), "{plain}");
    let h2c = rewrite("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n");
    assert!(!h2c.contains("pgrade"), "{h2c}");
}

#[test]
fn a_cookie_is_found_among_others() {
    let mut room = fields::room();
    let text = b"GET / HTTP/1.1\r\nHost: a\r\nCookie: xs=1; s=two; t=3\r\n\r\n";
    let request = Request::parse(text, &mut room, LIMITS).unwrap().unwrap();
    assert_eq!(request.cookie("s"), Some(&b"two"[..]));
    assert_eq!(request.cookie("u"), None);
}
