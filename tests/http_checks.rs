//! Probes over HTTP against servers that are well, ill and hostile: what is asked, which answers are good, and what is
//! said of those that are not.
#![expect(clippy::unwrap_used, reason = "the servers of a test fail by panicking, as tests do")]

mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use evenkeel::config::model::{
    Address, ApacheCheck, ApacheWeights, BodyRule, CheckKind, Codes, Comparison, HttpCheck, HttpQuestion, Number,
    Pattern, SendProxy, StatusRule, StatusWord, Wanted,
};
use evenkeel::health::{Role, Says, Wish};
use evenkeel::probe::{Layer, Question, attempt};
use support::probing::{self, answering, bad, closed_port, good, probe, probe_within, read_head, server, tells};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn http(body: &[BodyRule]) -> CheckKind {
    CheckKind::Http(HttpCheck { body: body.to_vec(), ..HttpCheck::new(HttpQuestion::get("/health")) })
}

fn pattern(text: &str) -> Pattern {
    Pattern(regex::bytes::Regex::new(text).unwrap())
}

fn contains(text: &str) -> BodyRule {
    BodyRule::Contains(Arc::from(text))
}

fn json(pointer: &str, wanted: &[Comparison]) -> BodyRule {
    BodyRule::Json { pointer: Arc::from(pointer), wanted: wanted.to_vec() }
}

fn text(text: &str) -> Wanted {
    Wanted::Text(Arc::from(text))
}

fn number(text: &str) -> Number {
    Number::parse(text).unwrap()
}

// === http ===

#[tokio::test]
async fn an_answer_is_good_by_its_status() {
    let rows: &[(&[u8], Result<&str, &str>)] = &[
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Ok("HTTP 200")),
        (b"HTTP/1.0 200 OK\r\n\r\nok", Ok("HTTP 200")),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Ok("HTTP 204")),
        (b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n", Ok("HTTP 302")),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Ok("HTTP 200")),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", Ok("HTTP 200")),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", Err("HTTP 404, wanted 200-399")),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", Err("HTTP 503")),
        (b"HTTP/1.1 472 DR\r\nContent-Length: 0\r\n\r\n", Err("HTTP 472")),
    ];
    for (bytes, expected) in rows {
        let report = probe(http(&[]), answering(bytes).await).await;
        match expected {
            Ok(words) => good(&report, words),
            Err(words) => bad(&report, Layer::Answer, words),
        }
    }
}

#[tokio::test]
async fn what_is_no_whole_answer_fails_as_protocol() {
    let rows: &[(&[u8], &str)] = &[
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no HTTP answer"),
        (b"\x00\x01\x02\x03garbage\xff\xfe\r\n\r\n", "no HTTP answer"),
        (b"HTTP/1.1 999999 OK\r\n\r\n", "no HTTP answer"),
        (b"<html>it works</html>", "no HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "closed before an answer"),
        (b"", "closed before an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "within the body"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "within the body"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab", "within the body"),
    ];
    for (bytes, words) in rows {
        let report = probe(http(&[]), answering(bytes).await).await;
        bad(&report, Layer::Protocol, words);
    }
    bad(&probe(http(&[]), closed_port().await).await, Layer::Connect, "refused");
}

#[tokio::test]
async fn the_body_decides_where_a_rule_says_so() {
    let grafana = b"HTTP/1.1 200 OK\r\n\r\n{\"database\": \"ok\", \"version\": \"9\"}";
    let joomla = b"HTTP/1.1 200 OK\r\n\r\n<h1>Error displaying the error page</h1>";
    let is = |wanted: Wanted| [json("/database", &[Comparison::Equals(wanted)])];
    let matches = |text: &str| [BodyRule::Matches(pattern(text))];
    good(&probe(http(&is(text("ok"))), answering(grafana).await).await, "as wanted");
    bad(&probe(http(&is(text("failing"))), answering(grafana).await).await, Layer::Answer, "wanted `failing`");
    bad(&probe(http(&is(Wanted::True)), answering(joomla).await).await, Layer::Answer, "no JSON");
    bad(&probe(http(&[contains("Welcome")]), answering(joomla).await).await, Layer::Answer, "it starts `<h1>Error");
    good(&probe(http(&matches(r#""version": "\d+""#)), answering(grafana).await).await, "as wanted");
    bad(&probe(http(&matches("^version")), answering(grafana).await).await, Layer::Answer, "does not match");

    let portal = [contains("<h1>"), BodyRule::Lacks(Arc::from("Error displaying the error page"))];
    let report = probe(http(&portal), answering(joomla).await).await;
    bad(&report, Layer::Answer, "HTTP 200, but the body contains `Error displaying the error page`");
    let welcome = b"HTTP/1.1 200 OK\r\n\r\n<h1>Welcome</h1>";
    good(&probe(http(&portal), answering(welcome).await).await, "as wanted");
    bad(&probe(http(&portal), answering(grafana).await).await, Layer::Answer, "does not contain `<h1>`");
}

#[tokio::test]
async fn the_request_is_the_one_of_the_check() {
    let (sender, mut heads) = tokio::sync::mpsc::unbounded_channel();
    let at = server(move |mut stream| {
        let sender = sender.clone();
        async move {
            sender.send(read_head(&mut stream).await).unwrap();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        }
    })
    .await;
    let mut request = HttpQuestion::get("/v1/sys/health?standbyok=true");
    let ask = |request: &HttpQuestion| CheckKind::Http(HttpCheck::new(request.clone()));
    good(&probe(ask(&request), at).await, "200");
    let head = heads.recv().await.unwrap().to_lowercase();
    assert!(head.starts_with("get /v1/sys/health?standbyok=true http/1.1\r\n"), "{head}");
    for line in [format!("host: {at}"), "user-agent: evenkeel".to_owned(), "connection: close".to_owned()] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} in {head}");
    }
    request.method = Arc::from("OPTIONS");
    request.host = Some(Arc::from("vault.example.com"));
    request.headers = [("X-Vault-Request", "true"), ("X-Many", "1"), ("X-Many", "2"), ("User-Agent", "me")]
        .map(|(name, value)| (Arc::from(name), Arc::from(value)))
        .to_vec();
    good(&probe(ask(&request), at).await, "200");
    let head = heads.recv().await.unwrap().to_lowercase();
    assert!(head.starts_with("options "), "{head}");
    for line in ["host: vault.example.com", "x-vault-request: true", "x-many: 1", "x-many: 2", "user-agent: me"] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} in {head}");
    }
}

#[tokio::test]
async fn an_answer_counts_even_if_the_server_never_read_the_question() {
    // As a status script behind inetd does: answers at once, never reads, closes; unread data makes it a reset.
    let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\nPercona XtraDB Cluster Node is synced.\r\n\r\n";
    for linger in [None, Some(Duration::ZERO)] {
        for patience in [false, true] {
            let at = server(move |mut stream| async move {
                let _ = stream.write_all(&whole[..]).await;
                if patience {
                    // The question has arrived, and stays unread.
                    let _ = stream.readable().await;
                }
                let _ = socket2::SockRef::from(&stream).set_linger(linger.filter(|_| patience));
            })
            .await;
            for _ in 0..50 {
                good(&probe(http(&[contains("is synced")]), at).await, "as wanted");
            }
        }
    }
}

#[tokio::test]
async fn a_reset_within_the_answer_is_a_failure() {
    let at = server(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").await;
        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    })
    .await;
    bad(&probe(http(&[]), at).await, Layer::Protocol, "");
    let at = server(|stream| async move {
        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    })
    .await;
    bad(&probe(http(&[]), at).await, Layer::Protocol, "before an answer");
}

#[tokio::test]
async fn silence_and_slow_drips_end_at_the_deadline() {
    let at = server(|mut stream| async move {
        read_head(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let short = Duration::from_millis(150);
    bad(&probe_within(http(&[]), at, short).await, Layer::Timeout, "last: asked GET /health");
    let at = server(|mut stream| async move {
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".iter().chain(&[b'x'; 1000]) {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let _ = stream.write_all(&[*byte]).await;
        }
    })
    .await;
    bad(&probe_within(http(&[]), at, short).await, Layer::Timeout, "not done within 150ms");
}

#[tokio::test]
async fn an_endless_body_is_read_up_to_its_limit_only() {
    async fn endless(mut stream: TcpStream) {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nready ").await;
        while stream.write_all(&[b'x'; 16 * 1024]).await.is_ok() {}
    }
    let at = server(endless).await;
    good(&probe(http(&[]), at).await, "HTTP 200");
    good(&probe(http(&[contains("ready")]), at).await, "as wanted");
    bad(&probe(http(&[contains("never")]), at).await, Layer::Answer, "does not contain");
    let whole = json("", &[Comparison::Equals(text("x"))]);
    bad(&probe(http(&[whole]), at).await, Layer::Answer, "longer than 64 KiB");
}

#[tokio::test]
async fn an_endless_head_is_refused() {
    let at = server(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream.write_all(b"X-Filler: 0123456789012345678901234567890123456789\r\n").await.is_ok() {}
    })
    .await;
    bad(&probe(http(&[]), at).await, Layer::Protocol, "");
}

// === what a status says ===

fn answers(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} Odd\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Vault's codes, as its users map them.
fn vault() -> CheckKind {
    let words = [
        (Codes::Range(200, 200), StatusWord::Active),
        (Codes::Range(429, 429), StatusWord::Standby),
        (Codes::Matches(pattern("^47[24]$")), StatusWord::Standby),
        (Codes::Range(473, 473), StatusWord::Read),
        (Codes::Range(218, 218), StatusWord::Up),
        (Codes::Range(503, 503), StatusWord::Draining),
        (Codes::Range(504, 504), StatusWord::Maintenance),
        (Codes::Range(500, 599), StatusWord::Down),
    ];
    let status = StatusRule::Words(words.to_vec());
    CheckKind::Http(HttpCheck { status, ..HttpCheck::new(HttpQuestion::get("/v1/sys/health")) })
}

#[tokio::test]
async fn a_status_tells_what_the_backend_is() {
    assert!(vault().tells_role() && !http(&[]).tells_role() && !CheckKind::Tcp.tells_role());
    let rows = [
        (200, Says::role(Role::Active), "HTTP 200, active"),
        (429, Says::role(Role::Standby), "HTTP 429, standby"),
        (472, Says::role(Role::Standby), "HTTP 472, standby"),
        (474, Says::role(Role::Standby), "HTTP 474, standby"),
        (473, Says::role(Role::Read), "HTTP 473, read"),
        (218, Says::default(), "HTTP 218, up"),
        (503, Says::wish(Wish::Drain), "HTTP 503, draining"),
        (504, Says::wish(Wish::Maintenance), "HTTP 504, maintenance"),
    ];
    for (status, says, words) in rows {
        let found = probe(vault(), answering(answers(status, "{}")).await).await.result.unwrap();
        assert_eq!((found.says, &*found.what), (says, words));
    }
    for (status, words) in [
        (501, "HTTP 501, which `status` calls down"),
        (530, "which `status` calls down"),
        (418, "HTTP 418 is not in `status`"),
        (204, "HTTP 204 is not in `status`"),
    ] {
        bad(&probe(vault(), answering(answers(status, "")).await).await, Layer::Answer, words);
    }
}

#[tokio::test]
async fn codes_may_be_listed_or_matched() {
    let status = StatusRule::Good(vec![Codes::Matches(pattern("^(200|473)$")), Codes::Range(600, 999)]);
    let kind = || CheckKind::Http(HttpCheck { status: status.clone(), ..HttpCheck::new(HttpQuestion::get("/")) });
    for code in [200, 473, 600, 999] {
        good(&probe(kind(), answering(answers(code, "")).await).await, &format!("HTTP {code}"));
    }
    for code in [201, 472, 599] {
        let report = probe(kind(), answering(answers(code, "")).await).await;
        bad(&report, Layer::Answer, &format!("HTTP {code}, wanted /^(200|473)$/, 600-999"));
    }
}

#[tokio::test]
async fn a_number_in_the_body_tells_the_newer_leader() {
    let rows = [
        (r#"{"raft": {"term": 7}}"#, Some(7), "active, epoch 7"),
        (r#"{"raft": {"term": "18446744073709551615"}}"#, Some(u64::MAX), "epoch 18446744073709551615"),
        (r#"{"raft": {"term": -1}}"#, None, "no epoch at `/raft/term`"),
        (r#"{"raft": {"term": 1.5}}"#, None, "no epoch at"),
        (r#"{"raft": null}"#, None, "no epoch at"),
        ("leader", None, "no epoch at"),
    ];
    for (body, epoch, words) in rows {
        let CheckKind::Http(mut check) = vault() else { unreachable!() };
        check.epoch = Some(Arc::from("/raft/term"));
        let report = probe(CheckKind::Http(check), answering(answers(200, body)).await).await;
        good(&report, words);
        assert_eq!(report.result.unwrap().says, Says { epoch, ..Says::role(Role::Active) }, "{body}");
    }
}

#[tokio::test]
async fn a_body_can_be_sent() {
    let (sender, mut received) = tokio::sync::mpsc::unbounded_channel();
    let at = server(move |mut stream| {
        let sender = sender.clone();
        async move {
            let head = read_head(&mut stream).await.to_lowercase();
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
            let mut body = vec![0; length.unwrap_or("0").parse().unwrap()];
            let _ = stream.read_exact(&mut body).await;
            sender.send((head, String::from_utf8(body).unwrap())).unwrap();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        }
    })
    .await;
    let kind = |method: &str, body: &str| {
        let mut request = HttpQuestion::get("/ask");
        request.method = Arc::from(method);
        request.body = Arc::from(body);
        CheckKind::Http(HttpCheck::new(request))
    };
    let report = probe(kind("POST", "deep=true"), at).await;
    good(&report, "HTTP 200");
    tells(&report, &["asked POST /ask", "sent", "POST /ask HTTP/1.1", "deep=true", "received"]);
    let (head, body) = received.recv().await.unwrap();
    assert!(head.starts_with("post /ask http/1.1\r\n") && body == "deep=true", "{head}{body}");
    good(&probe(kind("PUT", ""), at).await, "HTTP 200");
    assert!(received.recv().await.unwrap().0.contains("content-length: 0\r\n"), "some servers insist");
    good(&probe(kind("GET", ""), at).await, "HTTP 200");
    assert!(!received.recv().await.unwrap().0.contains("content-length"));
}

// === apache ===

#[tokio::test]
async fn apache_is_up_while_it_has_idle_workers() {
    let at = answering(b"HTTP/1.1 200 OK\r\n\r\nlocalhost\nBusyWorkers: 70\nIdleWorkers: 5\nScoreboard: __W\n").await;
    let kind = |idle_workers_min, weights| {
        let request = HttpQuestion::get("/server-status?auto");
        CheckKind::Apache(ApacheCheck { request, idle_workers_min, weights })
    };
    let usual = ApacheWeights::Configured;
    good(&probe(kind(5, usual), at).await, "5 idle workers");
    bad(&probe(kind(6, usual), at).await, Layer::Answer, "5 idle workers, wanted at least 6");
    let report = probe(kind(1, ApacheWeights::ByIdleWorkers), at).await;
    assert_eq!(report.result.unwrap().says, Says { share: Some(6), ..Says::default() });
    let forbidden = answering(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;
    bad(&probe(kind(1, usual), forbidden).await, Layer::Answer, "Require ip");
}

// === the source address ===

#[tokio::test]
async fn a_question_can_come_from_one_of_our_own_addresses() {
    let (sender, mut peers) = tokio::sync::mpsc::unbounded_channel();
    let at = server(move |mut stream| {
        let sender = sender.clone();
        async move {
            let _ = sender.send(stream.peer_addr().unwrap().ip());
            read_head(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        }
    })
    .await;
    let source = IpAddr::V4(Ipv4Addr::new(127, 0, 1, 77));
    let question = Question::new(http(&[]), Address::Socket(at), probing::LONG).ask_from(source);
    good(&attempt(Arc::new(question), at).await, "HTTP 200");
    assert_eq!(peers.recv().await, Some(source));
}

// === the PROXY protocol ===

/// Reads one header of the PROXY protocol before anything else, hangs up on whoever sends none, and answers HTTP; tells
/// the header.
async fn enforcing_origin() -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<Vec<u8>>) {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let at = server(move |mut stream| {
        let sender = sender.clone();
        async move {
            let mut header = vec![0; 5];
            let _ = stream.read_exact(&mut header).await;
            match &header[..] {
                b"PROXY" => {
                    while !header.ends_with(b"\r\n") {
                        header.push(stream.read_u8().await.unwrap());
                    }
                }
                b"\r\n\r\n\0" => {
                    header.resize(16, 0);
                    stream.read_exact(&mut header[5..]).await.unwrap();
                    let rest = u16::from_be_bytes([header[14], header[15]]);
                    header.resize(16 + usize::from(rest), 0);
                    stream.read_exact(&mut header[16..]).await.unwrap();
                }
                _ => return,
            }
            let local = format!(" from {}", stream.peer_addr().unwrap().port());
            sender.send([&header[..], local.as_bytes()].concat()).unwrap();
            read_head(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        }
    })
    .await;
    (at, receiver)
}

#[tokio::test]
async fn a_backend_that_insists_on_the_proxy_protocol_gets_its_header_first() {
    let (at, mut headers) = enforcing_origin().await;
    bad(&probe(http(&[]), at).await, Layer::Protocol, "before an answer");

    let ask = |version| Arc::new(Question::new(http(&[]), Address::Socket(at), probing::LONG).announced(version));
    let report = attempt(ask(SendProxy::V1), at).await;
    good(&report, "HTTP 200");
    let header = String::from_utf8(headers.recv().await.unwrap()).unwrap();
    let port = header.rsplit(' ').next().unwrap();
    assert_eq!(header, format!("PROXY TCP4 127.0.0.1 127.0.0.1 {port} {}\r\n from {port}", at.port()));
    let lines = report.transcript.lines(200).join("\n");
    assert!(lines.contains("PROXY TCP4 127.0.0.1"), "the header is in the transcript: {lines}");

    good(&attempt(ask(SendProxy::V2), at).await, "HTTP 200");
    let header = headers.recv().await.unwrap();
    assert_eq!(header[..16], *b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", "LOCAL, without addresses");
}
