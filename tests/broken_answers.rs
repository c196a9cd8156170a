//! Answers of broken and hostile backends: passed whole, cut so that the client sees it, or replaced by 502; and the
//! connection that they came on is never used again.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io;
use std::time::Duration;

use support::client::Response;
use support::eventually::DEADLINE;
use support::{Balancer, Client, Origin, eventually};

/// No retry: each answer is the client's. Five broken ones in a row would take a backend out; here it is alone.
const ALONE: &str = "[pool.p.retry]\nattempts = 0\n";

/// What a client made of an answer.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Whole(u16, String),
    /// It broke off, and the client can tell.
    Cut,
}

fn seen(result: io::Result<Response>) -> Seen {
    match result {
        Ok(response) => Seen::Whole(response.status, response.text()),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            panic!("the client waits for ever")
        }
        Err(_) => Seen::Cut,
    }
}

/// Sends `request` to a balancer in front of an origin that answers with these bytes, and then shows that the next
/// client is served by another connection.
#[track_caller]
fn through(answer: &[u8], request: &str, ends: Ends) -> Seen {
    let script = Origin::http().raw(answer).at("/next", Origin::http().reply("next"));
    let script = if ends == Ends::Yes { script.keep_alive_then_closes_silently() } else { script };
    let origin = script.start();
    let lb = Balancer::web(&[origin.addr()], ALONE);
    let mut client = lb.client();
    client.patience(Duration::from_secs(5));
    client.send(request);
    let method = request.split(' ').next().unwrap();
    let seen = seen(client.try_read_final(method));
    let first = origin.connections();
    assert_eq!(lb.get("/next").text(), "next");
    assert_eq!(origin.connections(), first + 1, "the connection of a broken answer is not used again");
    seen
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    Yes,
    No,
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn heads_that_break_the_protocol_become_502() {
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(300));
    for answer in [
        "HTTP/1.1 000 Zero\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 99 Low\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 1000 High\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 600 Beyond\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 20 Short\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 2xx Letters\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 -20 Sign\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1  200 Spaces\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 \r\nContent-Length: 2\r\n\r\nok",
        "HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "http/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "ICY 200 OK\r\nContent-Length: 2\r\n\r\nok",
        " HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\n\r\nok",
        "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\n A: b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nA : b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\n: nameless\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nA: b\rc\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nA: b\0c\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 O\x01K\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 103 Early\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 103 Early\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "hello, I am no HTTP server\r\n",
        "<html>HTTP/0.9</html>\r\n",
        "\0\0\0\0\0",
        many.as_str(),
    ] {
        let shown = &answer[..answer.len().min(80)];
        assert!(matches!(through(answer.as_bytes(), GET, Ends::No), Seen::Whole(502, _)), "{shown:?}");
    }
}

#[test]
fn answers_that_end_in_their_head_become_502() {
    for answer in [
        "",
        "H",
        "HTTP/1.1",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
        "HTTP/1.1 103 Early\r\n\r\n",
    ] {
        assert!(matches!(through(answer.as_bytes(), GET, Ends::Yes), Seen::Whole(502, _)), "{answer:?}");
    }
}

#[test]
fn bodies_that_end_too_early_are_cut_for_the_client_too() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n",
    ] {
        assert_eq!(through(answer.as_bytes(), GET, Ends::Yes), Seen::Cut, "{answer:?}");
    }
}

#[test]
fn a_body_cut_for_a_client_of_http_1_0_is_cut_visibly() {
    for answer in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n",
    ] {
        // Without a length only a reset can say it.
        assert_ne!(
            through(answer.as_bytes(), "GET / HTTP/1.0\r\n\r\n", Ends::Yes),
            Seen::Whole(200, "hello".into()),
            "{answer:?}"
        );
    }
}

#[test]
fn chunks_that_break_the_framing_are_never_passed_on_as_complete() {
    for body in [
        "x\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "-1\r\n\r\n",
        "\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "0\r\nContent-Length: 1\r\n\r\n",
        "0\r\nbad trailer\r\n\r\n",
        "ffffffffffffffffff\r\n",
        "5;\0\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        match through(answer.as_bytes(), GET, Ends::No) {
            Seen::Cut | Seen::Whole(502, _) => {}
            Seen::Whole(status, text) => panic!("{body:?}: {status} {text}"),
        }
    }
}

#[test]
fn bytes_behind_an_answer_are_nobodys() {
    for (request, answer, expected) in [
        (GET, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", "ok"),
        (GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "ok"),
        (GET, "HTTP/1.1 204 No Content\r\n\r\nbody", ""),
        (GET, "HTTP/1.1 304 Not Modified\r\n\r\nbody", ""),
        ("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody", ""),
    ] {
        match through(answer.as_bytes(), request, Ends::No) {
            Seen::Whole(200 | 204 | 304, body) => assert_eq!(body, expected, "{answer:?}"),
            other => panic!("{answer:?}: {other:?}"),
        }
    }
}

#[test]
fn bytes_that_come_later_behind_an_answer_are_nobodys_either() {
    let late = Origin::http().upgrade_echo().reply("a").start();
    let lb = Balancer::web(&[late.addr()], ALONE);
    // An unasked second answer on an idle connection: the connection is dropped, not read.
    let speaks = Origin::http().raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").start();
    let second = Balancer::web(&[speaks.addr()], ALONE);
    assert_eq!((lb.get("/").text(), second.get("/").text()), ("a".into(), "ok".into()));
    assert_eq!((lb.get("/").text(), second.get("/").text()), ("a".into(), "ok".into()));
}

#[test]
fn valid_answers_that_look_odd_pass_whole() {
    for (answer, status, body) in [
        ("HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
        ("HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
        ("HTTP/1.1 200 \u{e4}\u{f6} t\t!\r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
        ("HTTP/1.1 299 Odd\r\nContent-Length: 2\r\n\r\nok", 299, "ok"),
        ("HTTP/1.1 599 Odd\r\nContent-Length: 002\r\n\r\nok", 599, "ok"),
        ("HTTP/1.1 200 OK\r\nContent-Length:2   \r\nEmpty:\r\n\r\nok", 200, "ok"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: CHUNKED\r\n\r\n2;a=b\r\nok\r\n000\r\n\r\n", 200, "ok"),
        (
            "HTTP/1.1 103 A\r\n\r\nHTTP/1.1 103 B\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            200,
            "ok",
        ),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
    ] {
        let origin = Origin::http().raw(answer).start();
        let lb = Balancer::web(&[origin.addr()], ALONE);
        let mut client = lb.client();
        for _ in 0..2 {
            client.send(GET);
            let answered = client.try_read_final("GET").unwrap();
            assert_eq!((answered.status, answered.text().as_str()), (status, body), "{answer:?}");
        }
        assert_eq!(origin.connections(), 1, "{answer:?}");
    }
}

#[test]
fn interim_answers_without_end_become_502() {
    let answer = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".repeat(1_000);
    assert!(matches!(through(answer.as_bytes(), GET, Ends::No), Seen::Whole(502, _)));
}

#[test]
fn a_101_before_the_request_is_complete_is_no_tunnel() {
    let origin = Origin::http()
        .raw("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        .answers_early()
        .start();
    let lb = Balancer::web(&[origin.addr()], ALONE);
    let mut client = lb.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 10\r\n\r\nhalf");
    assert_eq!(client.read_response().status, 502);
}

#[test]
fn named_faults_are_cut_or_replaced_and_counted() {
    let long = "x".repeat(100_000);
    for (script, cause, expected) in [
        (Origin::http().resets_mid_head(), "bad_answer", Some(502)),
        (Origin::http().resets_before_answer(), "reset_before_answer", Some(502)),
        (Origin::http().closes_before_answer(), "reset_before_answer", Some(502)),
        (Origin::http().closes_on_accept(), "reset_before_answer", Some(502)),
        (Origin::http().garbage(), "bad_answer", Some(502)),
        (Origin::http().huge_head(), "bad_answer", Some(502)),
        (Origin::http().refuses(), "connect_refused", Some(502)),
        (Origin::http().reply(&long).resets_mid_body(), "reset_in_body", None),
        (Origin::http().reply(&long).truncates_body(), "truncated_body", None),
        (Origin::http().chunked([&long]).truncates_body(), "truncated_body", None),
    ] {
        let origin = script.start();
        let lb = Balancer::web(&[origin.addr()], ALONE);
        let mut client = lb.client();
        client.send(GET);
        match (seen(client.try_read_final("GET")), expected) {
            (Seen::Whole(status, _), Some(expected)) => assert_eq!(status, expected, "{cause}"),
            (Seen::Cut, None) => {}
            (other, _) => panic!("{cause}: {other:?}"),
        }
        lb.failed(cause, 1);
    }
}

#[test]
fn stalls_end_at_their_deadline() {
    let deadlines = "[pool.p.retry]\nattempts = 0\n[pool.p.timeouts]\nresponse = '200ms'\n[listener.web.timeouts]\nbody_idle = '200ms'\n";
    for (script, expected) in [
        (Origin::http().stalls_before_answer(), Some(504)),
        (Origin::http().stalls_mid_head(), Some(504)),
        (Origin::http().accepts_and_stalls(), Some(504)),
        (Origin::http().reply("half of it").stalls_mid_body(), None),
    ] {
        let origin = script.start();
        let lb = Balancer::web(&[origin.addr()], deadlines);
        let mut client = lb.client();
        client.send(GET);
        match (seen(client.try_read_final("GET")), expected) {
            (Seen::Whole(status, _), Some(expected)) => assert_eq!(status, expected),
            (Seen::Cut, None) => lb.failed("body_timeout", 1),
            (other, _) => panic!("{other:?}"),
        }
        eventually("the backend's connection is closed", DEADLINE, || origin.open_connections() == 0);
    }
}

#[test]
fn a_head_that_drips_for_ever_ends_at_the_deadline_too() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let drips = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = listener.accept().unwrap();
        let mut room = [0; 4096];
        let _ = stream.read(&mut room).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nX: ").unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut drops = 0;
        while stream.write_all(b"x").is_ok() && drops < 1_000 {
            // The read is a clock: nothing comes before the end.
            drops += 1;
            if matches!(stream.read(&mut room), Ok(0)) {
                break;
            }
        }
        drops
    });
    let lb = Balancer::web(&[address], "[pool.p.retry]\nattempts = 0\n[pool.p.timeouts]\nresponse = '300ms'\n");
    assert_eq!(lb.get("/").status, 504);
    assert!(drips.join().unwrap() < 1_000);
}

#[test]
fn an_endless_body_ends_with_its_client() {
    let origin = Origin::http().endless_body().start();
    let lb = Balancer::web(&[origin.addr()], ALONE);
    let mut client = lb.client();
    client.send(GET);
    client.read_exact(3_000_000);
    drop(client);
    eventually("the backend's connection is closed", DEADLINE, || origin.open_connections() == 0);
    lb.failed("client_abort", 1);
}

#[test]
fn a_backend_that_closes_after_its_answer_though_it_said_it_would_stay_is_no_fault() {
    let origin = Origin::http().reply("a").keep_alive_then_closes_silently().start();
    let lb = Balancer::web(&[origin.addr()], ALONE);
    let mut client: Client = lb.client();
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "a");
    }
    lb.failed("reset_before_answer", 0);
}

#[test]
fn a_half_closed_backend_is_not_used_again() {
    let origin = Origin::http().reply("a").half_closes().start();
    let lb = Balancer::web(&[origin.addr()], ALONE);
    for _ in 0..5 {
        assert_eq!(lb.get("/").text(), "a");
    }
    assert_eq!(origin.connections(), 5);
}

#[test]
fn broken_answers_are_tried_elsewhere_when_they_may_be() {
    let (bad, good) = (Origin::http().garbage().start(), Origin::http().reply("good").start());
    let lb = Balancer::web(&[bad.addr(), good.addr()], "balance = \"first\"\n");
    // As many as the budget allows in a second.
    for _ in 0..3 {
        assert_eq!(lb.get("/").text(), "good");
    }
    assert_eq!(bad.request_count(), 3);
}
