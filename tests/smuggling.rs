//! Requests that two readers could understand differently: never forwarded, answered and closed, counted by reason; the
//! next client is served as if nothing had been.
mod support;

use support::client::Ending;
use support::eventually::DEADLINE;
use support::{Balancer, Origin};

struct Case {
    request: Vec<u8>,
    reason: &'static str,
}

fn case(reason: &'static str, request: impl AsRef<[u8]>) -> Case {
    Case { request: request.as_ref().to_vec(), reason }
}

fn with(reason: &'static str, fields: &str, body: &str) -> Case {
    case(reason, format!("POST /evil HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{body}"))
}

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
const CHUNKED: &str = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// Everything here is refused by its head.
#[expect(clippy::too_many_lines, reason = "a table")]
fn heads() -> Vec<Case> {
    let mut cases = vec![
        // Two framings, or one said twice.
        with("length_and_chunked", "Content-Length: 4\r\nTransfer-Encoding: chunked", CHUNKED),
        with("length_and_chunked", "Transfer-Encoding: chunked\r\nContent-Length: 4", CHUNKED),
        with("length_and_chunked", "Content-Length: 0\r\nTransfer-Encoding: identity", CHUNKED),
        with("bad_content_length", "Content-Length: 4\r\nContent-Length: 0", SMUGGLED),
        with("bad_content_length", "Content-Length: 0\r\ncontent-length: 0", SMUGGLED),
        with("bad_content_length", "Content-Length: 0, 4", SMUGGLED),
        with("bad_content_length", "Content-Length: 4 4", SMUGGLED),
        with("bad_content_length", "Content-Length: 0x4", SMUGGLED),
        with("bad_content_length", "Content-Length: +4", SMUGGLED),
        with("bad_content_length", "Content-Length: -4", SMUGGLED),
        with("bad_content_length", "Content-Length: 4.0", SMUGGLED),
        with("bad_content_length", "Content-Length: 1e1", SMUGGLED),
        with("bad_content_length", "Content-Length: ", SMUGGLED),
        with("bad_content_length", "Content-Length: \"4\"", SMUGGLED),
        with("bad_content_length", "Content-Length: 18446744073709551620", SMUGGLED),
        // Codings other than exactly chunked.
        with("bad_transfer_encoding", "Transfer-Encoding: xchunked", CHUNKED),
        with("bad_transfer_encoding", "Transfer-Encoding: chunkedx", CHUNKED),
        with("bad_transfer_encoding", "Transfer-Encoding: identity", CHUNKED),
        with("bad_transfer_encoding", "Transfer-Encoding: gzip", CHUNKED),
        with("bad_transfer_encoding", "Transfer-Encoding: chunked, gzip", CHUNKED),
        with("bad_transfer_encoding", "Transfer-Encoding: gzip, chunked", CHUNKED),
        with("bad_transfer_encoding", "Transfer-Encoding: chunked;q=1", CHUNKED),
        with("bad_transfer_encoding", "Transfer-Encoding: \"chunked\"", CHUNKED),
        with("bad_transfer_encoding", "Transfer-Encoding: chunked,", CHUNKED),
        with("bad_transfer_encoding", "Transfer-Encoding:", CHUNKED),
        with("bad_transfer_encoding", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", CHUNKED),
        with("bad_transfer_encoding", "Transfer-Encoding: x\r\ntransfer-encoding: chunked", CHUNKED),
        case(
            "bad_transfer_encoding",
            format!("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{CHUNKED}"),
        ),
        // Lines that some read as two, or as none.
        with("bad_header", "Transfer-Encoding : chunked", CHUNKED),
        with("bad_header", "Transfer-Encoding\t: chunked", CHUNKED),
        with("bad_header", " Transfer-Encoding: chunked", CHUNKED),
        with("bad_header", "X: y\r\n Transfer-Encoding: chunked", CHUNKED),
        with("bad_header", "X: y\r\n\tfolded", ""),
        with("bad_header", "Transfer-Encoding: \x0bchunked", CHUNKED),
        with("bad_header", "X: y\rTransfer-Encoding: chunked", CHUNKED),
        with("bad_header", "X: y\0", ""),
        with("bad_header", "X: \x7f", ""),
        with("bad_header", "X", ""),
        with("bad_header", ": y", ""),
        with("bad_header", "X\0: y", ""),
        with("bad_header", "X(y): z", ""),
        with("bare_line_feed", "X: y\nTransfer-Encoding: chunked", CHUNKED),
        case("bare_line_feed", format!("POST / HTTP/1.1\nHost: a\nContent-Length: 0\n\n{SMUGGLED}")),
        case("bare_line_feed", format!("GET / HTTP/1.1\r\nHost: a\n\r\n{SMUGGLED}")),
        case("bare_line_feed", format!("GET / HTTP/1.1\r\nHost: a\r\n\n{SMUGGLED}")),
        case("bare_line_feed", format!("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n{SMUGGLED}")),
        // For whom it is.
        case("missing_host", format!("GET / HTTP/1.1\r\n\r\n{SMUGGLED}")),
        with("duplicate_host", "Host: b", ""),
        with("duplicate_host", "hOST: a", ""),
    ];
    for host in [
        "a b", "a/b", "a@b", "a:b", "a:70000", "a:80:81", "[::1", "::1", "[g::1]", "a\\b", "a?b", "a#b", "%zz", "a\tb",
        "<a>",
    ] {
        cases.push(case("bad_host", format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n{SMUGGLED}")));
    }
    for (reason, line) in [
        ("bad_request_line", "GET / HTTP/1.1 "),
        ("bad_request_line", "GET /  HTTP/1.1"),
        ("bad_request_line", "GET  / HTTP/1.1"),
        ("bad_request_line", " GET / HTTP/1.1"),
        ("bad_request_line", "GET\t/\tHTTP/1.1"),
        ("bad_request_line", "GET /"),
        ("bad_request_line", "GET / a HTTP/1.1"),
        ("bad_request_line", "G(T / HTTP/1.1"),
        ("bad_request_line", "G\0T / HTTP/1.1"),
        ("bad_request_line", "GET /\0 HTTP/1.1"),
        ("bad_request_line", "GET / http/1.1"),
        ("bad_request_line", "GET / HTTP/1.10"),
        ("bad_request_line", "GET / HTTP/11"),
        ("bad_request_line", "GET / HTTQ/1.1"),
        ("bad_version", "GET / HTTP/2.0"),
        ("bad_version", "GET / HTTP/1.2"),
        ("bad_version", "GET / HTTP/0.9"),
        ("bad_target", "GET a HTTP/1.1"),
        ("bad_target", "GET * HTTP/1.1"),
        ("bad_target", "GET /#x HTTP/1.1"),
        ("bad_target", "GET http:///x HTTP/1.1"),
        ("bad_target", "GET http://u@a/x HTTP/1.1"),
        ("bad_target", "GET ftp://a/x HTTP/1.1"),
        ("connect_method", "CONNECT a:80 HTTP/1.1"),
    ] {
        cases.push(case(reason, format!("{line}\r\nHost: a\r\n\r\n{SMUGGLED}")));
    }
    cases
}

#[test]
fn ambiguous_heads_are_refused_counted_and_never_forwarded() {
    let origin = Origin::http().reply("fine").start();
    let lb = Balancer::web(&[origin.addr()], "");
    let mut expected = std::collections::BTreeMap::new();
    let cases = heads();
    for Case { request, reason } in &cases {
        let shown = String::from_utf8_lossy(request).into_owned();
        let mut client = lb.client();
        // First a good one, so that the bad one meets a connection in use.
        assert_eq!(client.get("/good").text(), "fine");
        client.send(request);
        let answer = client.try_read_response("POST").unwrap_or_else(|error| panic!("{shown:?}: {error}"));
        let status = match *reason {
            "bad_version" => 505,
            "bad_transfer_encoding" => 501,
            "connect_method" => 405,
            _ => 400,
        };
        assert_eq!(
            (answer.status, answer.header("connection")),
            (status, Some("close")),
            "{shown:?}: {}",
            answer.text()
        );
        assert!(matches!(client.ending(DEADLINE), Ending::Closed), "{shown:?}");
        assert_eq!(lb.get("/good").text(), "fine", "after {shown:?}");
        *expected.entry(*reason).or_insert(0) += 1;
    }
    for (reason, count) in expected {
        lb.rejected(reason, count);
    }
    assert_eq!(origin.requests_for("/good"), cases.len() * 2);
    assert_eq!(origin.request_count(), cases.len() * 2, "nothing else has arrived");
}

#[test]
fn broken_chunks_end_the_request_and_the_connection() {
    let origin = Origin::http().reply("fine").start();
    let lb = Balancer::web(&[origin.addr()], "");
    let bodies = [
        ("bad_chunk", "\r\n0\r\n\r\n"),
        ("bad_chunk", "x\r\n\r\n"),
        ("bad_chunk", "0x1\r\na\r\n0\r\n\r\n"),
        ("bad_chunk", "1 \r\na\r\n0\r\n\r\n"),
        ("bad_chunk", " 1\r\na\r\n0\r\n\r\n"),
        ("bad_chunk", "+1\r\na\r\n0\r\n\r\n"),
        ("bad_chunk", "-1\r\na\r\n0\r\n\r\n"),
        ("bad_chunk", "1\na\r\n0\r\n\r\n"),
        ("bad_chunk", "1\r\na\n0\r\n\r\n"),
        ("bad_chunk", "1\r\naa\r\n0\r\n\r\n"),
        ("bad_chunk", "1;\0\r\na\r\n0\r\n\r\n"),
        ("bad_chunk", "1;a=\"\nb\"\r\na\r\n0\r\n\r\n"),
        ("bad_chunk", "1\rX\r\na\r\n0\r\n\r\n"),
        ("bad_chunk", "10000000000000000\r\na\r\n0\r\n\r\n"),
        ("bad_chunk", "\u{ff11}\r\na\r\n0\r\n\r\n"),
        ("bad_trailer", "0\r\nContent-Length: 5\r\n\r\n"),
        ("bad_trailer", "0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("bad_trailer", "0\r\nHost: b\r\n\r\n"),
        ("bad_trailer", "0\r\nX : y\r\n\r\n"),
        ("bad_trailer", "0\r\n folded\r\n\r\n"),
        ("bad_trailer", "0\r\nX: y\nZ: 1\r\n\r\n"),
        ("bad_trailer", "0\r\n\n"),
    ];
    let mut expected = std::collections::BTreeMap::new();
    for (reason, body) in bodies {
        for whole in [true, false] {
            let mut client = lb.client();
            let head = "POST /evil HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
            if whole {
                client.send(format!("{head}{body}{SMUGGLED}"));
            } else {
                client.send(head);
                for byte in body.as_bytes() {
                    // It may be refused before its last byte.
                    let _ = client.try_send([*byte]);
                }
                let _ = client.try_send(SMUGGLED);
            }
            let answer = client.try_read_response("POST").unwrap_or_else(|error| panic!("{body:?}: {error}"));
            assert_eq!((answer.status, answer.header("connection")), (400, Some("close")), "{body:?}");
            assert!(matches!(client.ending(DEADLINE), Ending::Closed | Ending::Reset), "{body:?}");
            assert_eq!(lb.get("/good").text(), "fine", "after {body:?}");
            *expected.entry(reason).or_insert(0) += 1;
        }
    }
    for (reason, count) in expected {
        lb.rejected(reason, count);
    }
    assert_eq!((origin.requests_for("/evil"), origin.requests_for("/smuggled")), (0, 0));
}

#[test]
fn what_frames_nothing_here_frames_nothing_there() {
    let origin = Origin::http().reply("fine").start();
    let lb = Balancer::web(&[origin.addr()], "");
    let mut client = lb.client();
    for fields in [
        "Content_Length: 40",
        "Transfer_Encoding: chunked",
        "Connection: close, content-length\r\nX-Content-Length: 40",
        "HTTP2-Settings: AAAA\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c",
    ] {
        let mut client = lb.client();
        client.send(format!("GET /x HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n"));
        assert_eq!(client.read_response().text(), "fine", "{fields}");
        let got = origin.last_request();
        for gone in
            ["content_length", "transfer_encoding", "content-length", "transfer-encoding", "upgrade", "http2-settings"]
        {
            assert_eq!(got.header(gone), None, "{fields}");
        }
    }
    // A body that looks like a request is a body.
    client.send(format!("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{SMUGGLED}", SMUGGLED.len()));
    assert_eq!(client.read_response().text(), "fine");
    assert_eq!(origin.last_request().body, SMUGGLED.as_bytes());
    // A length cannot be taken away.
    client.send("POST /x HTTP/1.1\r\nHost: a\r\nConnection: Content-Length\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.read_response().text(), "fine");
    assert_eq!(origin.last_request().body, b"hello");
    assert_eq!(origin.requests_for("/smuggled"), 0);
}

#[test]
fn the_rest_of_a_request_whose_backend_broke_is_not_the_next_request() {
    let bad = Origin::http().resets_before_answer().start();
    let lb = Balancer::web(&[bad.addr()], "[pool.p.retry]\nattempts = 0\nbody = '0B'\n");
    for length in [1_000, 100_000, 300_000] {
        let mut body = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n".repeat(length / SMUGGLED.len() + 1).into_bytes();
        body.truncate(length);
        let mut client = lb.client();
        let _ = client.try_send(format!("POST /evil HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"));
        let _ = client.try_send(&body);
        let answer = client.try_read_response("POST").unwrap();
        assert_eq!(answer.status, 502);
        if answer.header("connection") == Some("close") {
            assert!(matches!(client.ending(DEADLINE), Ending::Closed | Ending::Reset));
        } else {
            // It has stayed: then the next answer is the next request's.
            client.send("GET /evil HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(client.read_response().status, 502);
        }
    }
    assert_eq!(bad.requests_for("/smuggled"), 0);
}
