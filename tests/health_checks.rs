//! Probes against servers that are well, ill and hostile: every rule of success and every layer of failure.

#![expect(clippy::unwrap_used, reason = "the servers of a test fail by panicking, as tests do")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use evenkeel::config::model::{
    Address, ApacheCheck, BodyRule, CheckKind, CheckTls, HttpCheck, HttpQuestion, MysqlCheck, Pattern, SendProxy,
    Verify,
};
use evenkeel::net::connect::connect;
use evenkeel::probe::{Layer, Question, Report, attempt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(20);

// === servers ===

/// A server that treats every connection like this.
async fn server<F, T>(treat: F) -> SocketAddr
where
    F: Fn(TcpStream) -> T + Send + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(treat(stream));
        }
    });
    address
}

/// Reads a request and answers with these bytes, then closes.
async fn answering(bytes: &'static [u8]) -> SocketAddr {
    server(move |mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(bytes).await;
    })
    .await
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).await.is_ok_and(|n| n > 0) {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

async fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

// === questions ===

fn ask_for(path: &str) -> HttpQuestion {
    HttpQuestion { method: Arc::from("GET"), path: Arc::from(path), host: None, headers: vec![], tls: None }
}

fn http(body: Option<BodyRule>) -> CheckKind {
    CheckKind::Http(HttpCheck { request: ask_for("/health"), statuses: vec![(200, 399)], body })
}

fn mysql(user: &str, password: &str) -> CheckKind {
    CheckKind::Mysql(MysqlCheck::login(user, password))
}

fn question(kind: CheckKind, at: SocketAddr, timeout: Duration) -> Arc<Question> {
    Arc::new(Question::new(kind, Address::Socket(at), timeout))
}

async fn probe(kind: CheckKind, at: SocketAddr) -> Report {
    attempt(question(kind, at, LONG), at).await
}

async fn probe_within(kind: CheckKind, at: SocketAddr, timeout: Duration) -> Report {
    let started = Instant::now();
    let report = attempt(question(kind, at, timeout), at).await;
    assert!(started.elapsed() < timeout + SECOND, "it keeps its deadline: {report:?}");
    report
}

#[track_caller]
fn good(report: &Report, words: &str) {
    match &report.result {
        Ok(found) => assert!(found.what.contains(words), "{found:?} should contain {words:?}"),
        Err(failure) => panic!("{failure}; {:?}", report.transcript),
    }
}

#[track_caller]
fn bad(report: &Report, layer: Layer, words: &str) {
    match &report.result {
        Ok(found) => panic!("should fail with {words:?} but: {found:?}"),
        Err(failure) => {
            assert_eq!(failure.layer, layer, "{failure}");
            assert!(failure.what.contains(words), "{:?} should contain {words:?}", failure.what);
        }
    }
}

// === tcp ===

#[tokio::test]
async fn an_open_port_is_up_and_a_closed_one_is_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    good(&probe(CheckKind::Tcp, listener.local_addr().unwrap()).await, "open");
    bad(&probe(CheckKind::Tcp, closed_port().await).await, Layer::Connect, "refused");
}

#[tokio::test]
async fn a_knock_is_never_seen_by_the_server() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let at = server(move |_stream| {
        count.fetch_add(1, SeqCst);
        async {}
    })
    .await;
    for _ in 0..200 {
        good(&probe(CheckKind::Tcp, at).await, "open");
    }
    // Whatever had been accepted before this one would have been counted by now.
    let mut last = connect(at, SECOND).await.unwrap();
    let _ = last.read(&mut [0]).await;
    assert_eq!(seen.load(SeqCst), 1);
}

#[tokio::test]
async fn a_full_backlog_is_a_timeout() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let at = listener.local_addr().unwrap();
    let mut held = Vec::new();
    for _ in 0..4 {
        let filler = tokio::net::TcpSocket::new_v4().unwrap();
        held.push(tokio::spawn(filler.connect(at)));
    }
    while probe_within(CheckKind::Tcp, at, Duration::from_millis(200)).await.result.is_ok() {}
    bad(&probe_within(CheckKind::Tcp, at, Duration::from_millis(200)).await, Layer::Timeout, "no connection within");
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
        let report = probe(http(None), answering(bytes).await).await;
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
        let report = probe(http(None), answering(bytes).await).await;
        bad(&report, Layer::Protocol, words);
    }
    bad(&probe(http(None), closed_port().await).await, Layer::Connect, "refused");
}

#[tokio::test]
async fn the_body_decides_where_a_rule_says_so() {
    let grafana = b"HTTP/1.1 200 OK\r\n\r\n{\"database\": \"ok\", \"version\": \"9\"}";
    let joomla = b"HTTP/1.1 200 OK\r\n\r\n<h1>Error displaying the error page</h1>";
    let json = |value: &str| BodyRule::JsonEquals { pointer: Arc::from("/database"), value: Arc::from(value) };
    let regex = |text: &str| BodyRule::Matches(Pattern(regex::bytes::Regex::new(text).unwrap()));
    good(&probe(http(Some(json("\"ok\""))), answering(grafana).await).await, "as wanted");
    bad(&probe(http(Some(json("\"failing\""))), answering(grafana).await).await, Layer::Answer, "wanted");
    bad(&probe(http(Some(json("1"))), answering(joomla).await).await, Layer::Answer, "no JSON");
    let portal = BodyRule::Contains(Arc::from("Welcome"));
    bad(&probe(http(Some(portal)), answering(joomla).await).await, Layer::Answer, "it starts `<h1>Error");
    good(&probe(http(Some(regex(r#""version": "\d+""#))), answering(grafana).await).await, "as wanted");
    bad(&probe(http(Some(regex("^version"))), answering(grafana).await).await, Layer::Answer, "does not match");
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
    let mut request = ask_for("/v1/sys/health?standbyok=true");
    good(
        &probe(CheckKind::Http(HttpCheck { request: request.clone(), statuses: vec![(200, 200)], body: None }), at)
            .await,
        "200",
    );
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
    good(&probe(CheckKind::Http(HttpCheck { request, statuses: vec![(200, 200)], body: None }), at).await, "200");
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
                let synced = BodyRule::Contains(Arc::from("is synced"));
                good(&probe(http(Some(synced)), at).await, "as wanted");
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
    bad(&probe(http(None), at).await, Layer::Protocol, "");
    let at = server(|stream| async move {
        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    })
    .await;
    bad(&probe(http(None), at).await, Layer::Protocol, "before an answer");
}

#[tokio::test]
async fn silence_and_slow_drips_end_at_the_deadline() {
    let at = server(|mut stream| async move {
        read_head(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let short = Duration::from_millis(150);
    bad(&probe_within(http(None), at, short).await, Layer::Timeout, "last: asked GET /health");
    let at = server(|mut stream| async move {
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".iter().chain(&[b'x'; 1000]) {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let _ = stream.write_all(&[*byte]).await;
        }
    })
    .await;
    bad(&probe_within(http(None), at, short).await, Layer::Timeout, "not done within 150ms");
}

#[tokio::test]
async fn an_endless_body_is_read_up_to_its_limit_only() {
    async fn endless(mut stream: TcpStream) {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nready ").await;
        while stream.write_all(&[b'x'; 16 * 1024]).await.is_ok() {}
    }
    let at = server(endless).await;
    good(&probe(http(None), at).await, "HTTP 200");
    good(&probe(http(Some(BodyRule::Contains(Arc::from("ready")))), at).await, "as wanted");
    bad(&probe(http(Some(BodyRule::Contains(Arc::from("never")))), at).await, Layer::Answer, "does not contain");
    let json = BodyRule::JsonEquals { pointer: Arc::from(""), value: Arc::from("1") };
    bad(&probe(http(Some(json)), at).await, Layer::Answer, "longer than 64 KiB");
}

#[tokio::test]
async fn an_endless_head_is_refused() {
    let at = server(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream.write_all(b"X-Filler: 0123456789012345678901234567890123456789\r\n").await.is_ok() {}
    })
    .await;
    bad(&probe(http(None), at).await, Layer::Protocol, "");
}

// === http over TLS ===

struct Tls {
    at: SocketAddr,
    certificate: Arc<[u8]>,
}

async fn tls_server(names: &[&str]) -> Tls {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let certificate: Arc<[u8]> = Arc::from(made.cert.der().as_ref());
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let at = server(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok").await;
            // Closed without saying so in TLS, as many servers do.
        }
    })
    .await;
    Tls { at, certificate }
}

fn https(server_name: Option<&str>, verify: Verify) -> CheckKind {
    let tls = Some(CheckTls { server_name: server_name.map(Arc::from), verify, ..CheckTls::default() });
    let request = HttpQuestion { tls, ..ask_for("/") };
    CheckKind::Http(HttpCheck { request, statuses: vec![(200, 200)], body: None })
}

#[tokio::test]
async fn tls_trusts_as_far_as_the_check_says() {
    let server = tls_server(&["portal.example.com", "127.0.0.1"]).await;
    let own = || Verify::Roots(vec![Arc::clone(&server.certificate)]);
    good(&probe(https(None, Verify::Nothing), server.at).await, "HTTP 200");
    good(&probe(https(Some("whatever.example.org"), Verify::Nothing), server.at).await, "HTTP 200");
    good(&probe(https(Some("portal.example.com"), own()), server.at).await, "HTTP 200");
    good(&probe(https(None, own()), server.at).await, "HTTP 200");
    bad(&probe(https(Some("other.example.com"), own()), server.at).await, Layer::Tls, "server_name");
    bad(&probe(https(None, Verify::System), server.at).await, Layer::Tls, "");
    let stranger = tls_server(&["127.0.0.1"]).await;
    bad(&probe(https(None, own()), stranger.at).await, Layer::Tls, "verify = false");
}

#[tokio::test]
async fn whoever_does_not_speak_tls_fails_there() {
    let plain = answering(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    // It waits for the end of a head that never comes, so it closes only when we do.
    let short = Duration::from_millis(200);
    bad(&probe_within(https(None, Verify::Nothing), plain, short).await, Layer::Timeout, "last: connected");
    let eager = server(|mut stream| async move {
        let _ = stream.write_all(b"220 mail.example.com ESMTP\r\n").await;
        let _ = stream.read(&mut [0; 1024]).await;
    })
    .await;
    bad(&probe(https(None, Verify::Nothing), eager).await, Layer::Tls, "");
    let closing = server(|_stream| async {}).await;
    bad(&probe(https(None, Verify::Nothing), closing).await, Layer::Tls, "");
    let bad_name = probe(https(Some("two words"), Verify::Nothing), eager).await;
    bad(&bad_name, Layer::Tls, "no server name");
}

// === apache ===

#[tokio::test]
async fn apache_is_up_while_it_has_idle_workers() {
    let at = answering(b"HTTP/1.1 200 OK\r\n\r\nlocalhost\nBusyWorkers: 70\nIdleWorkers: 5\nScoreboard: __W\n").await;
    let kind =
        |least| CheckKind::Apache(ApacheCheck { request: ask_for("/server-status?auto"), idle_workers_min: least });
    good(&probe(kind(5), at).await, "5 idle workers");
    bad(&probe(kind(6), at).await, Layer::Answer, "5 idle workers, wanted at least 6");
    let forbidden = answering(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;
    bad(&probe(kind(1), forbidden).await, Layer::Answer, "Require ip");
}

// === mysql ===

const SALT: &[u8; 20] = b"abcdefghijklmnopqrst";

fn packet(number: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
    [&[length[0], length[1], length[2], number], payload].concat()
}

fn greeting() -> Vec<u8> {
    let mut payload = b"\x0a8.0.36\0\x07\0\0\0abcdefgh\0".to_vec();
    payload.extend_from_slice(&[0xff, 0xf7, 33, 2, 0, 0xff, 0x81, 21]);
    payload.extend_from_slice(&[0; 10]);
    payload.extend_from_slice(b"ijklmnopqrst\0caching_sha2_password\0");
    packet(0, &payload)
}

fn error(number: u8, code: u16, text: &str) -> Vec<u8> {
    packet(number, &[&[0xff], &code.to_le_bytes()[..], text.as_bytes()].concat())
}

const FINE: [u8; 11] = [7, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0];

async fn receive(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await.ok()?;
    let mut payload = vec![0; usize::from(head[0]) + usize::from(head[1]) * 256];
    stream.read_exact(&mut payload).await.ok()?;
    Some(payload)
}

/// Greets, then gives these answers, one to each packet; tells what it received, and how the connection ended.
async fn mysql_server(
    greets: Vec<u8>,
    answers: Vec<Vec<u8>>,
) -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<Vec<u8>>) {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let at = server(move |mut stream| {
        let (sender, greets, answers) = (sender.clone(), greets.clone(), answers.clone());
        async move {
            let _ = stream.write_all(&greets).await;
            for answer in answers {
                let Some(payload) = receive(&mut stream).await else { break };
                let _ = sender.send(payload);
                let _ = stream.write_all(&answer).await;
            }
            let mut rest = Vec::new();
            let end = stream.read_to_end(&mut rest).await;
            let _ = sender.send(rest);
            let _ = sender.send(format!("{:?}", end.map_err(|error| error.kind()).map(|_| ())).into_bytes());
        }
    })
    .await;
    (at, receiver)
}

#[tokio::test]
async fn a_login_ends_with_a_goodbye_and_a_proper_close() {
    let (at, mut seen) = mysql_server(greeting(), vec![FINE.to_vec()]).await;
    good(&probe(mysql("evenkeel", ""), at).await, "logged in to 8.0.36");
    let login = seen.recv().await.unwrap();
    assert!(login.ends_with(b"evenkeel\0\0mysql_native_password\0"), "{login:02x?}");
    assert_eq!(seen.recv().await.unwrap(), [1, 0, 0, 0, 1], "COM_QUIT");
    assert_eq!(seen.recv().await.unwrap(), b"Ok(())", "FIN, not a reset");
}

#[tokio::test]
async fn a_switch_of_method_is_answered_properly() {
    let switch = |method: &str| packet(2, &[b"\xfe", method.as_bytes(), b"\0", SALT, b"\0"].concat());
    let fine = packet(4, &FINE[4..]);
    let rows = [
        ("mysql_native_password", "", vec![]),
        ("caching_sha2_password", "", vec![0]),
        ("client_ed25519", "", vec![0]),
        ("caching_sha2_password", "secret", vec![0]),
    ];
    for (method, password, expected) in rows {
        let (at, mut seen) = mysql_server(greeting(), vec![switch(method), fine.clone()]).await;
        good(&probe(mysql("u", password), at).await, "logged in");
        seen.recv().await.unwrap();
        assert_eq!(seen.recv().await.unwrap(), expected, "{method} {password:?}");
        assert_eq!(seen.recv().await.unwrap(), [1, 0, 0, 0, 1], "COM_QUIT");
        assert_eq!(seen.recv().await.unwrap(), b"Ok(())");
    }
    let (at, mut seen) = mysql_server(greeting(), vec![switch("mysql_native_password"), fine.clone()]).await;
    good(&probe(mysql("u", "secret"), at).await, "logged in");
    let first = seen.recv().await.unwrap();
    let scramble = seen.recv().await.unwrap();
    assert_eq!(scramble.len(), 20);
    assert!(first.windows(20).any(|part| part == scramble), "the same salt gives the same scramble");
    // Fast authentication: "the password is right", then the verdict.
    let fast = [packet(2, &[1, 3]), packet(3, &FINE[4..])].concat();
    let (at, _) = mysql_server(greeting(), vec![fast]).await;
    good(&probe(mysql("u", ""), at).await, "logged in");
}

#[tokio::test]
async fn a_no_of_the_server_is_named() {
    let (at, mut seen) = mysql_server(greeting(), vec![error(2, 1045, "#28000Access denied for user")]).await;
    good(&probe(mysql("nobody", ""), at).await, "alive (error 1045");
    seen.recv().await.unwrap();
    assert_eq!(seen.recv().await.unwrap(), b"", "nothing is sent to who has said no");
    assert_eq!(seen.recv().await.unwrap(), b"Ok(())");
    for (code, words) in
        [(1129, "FLUSH HOSTS"), (1130, "create one"), (1040, "max_connections"), (1053, "shutting down")]
    {
        let (at, _) = mysql_server(error(0, code, "its own words"), vec![]).await;
        bad(&probe(mysql("u", ""), at).await, Layer::Answer, words);
    }
    for (code, words) in [(1040, "max_connections"), (1047, "WSREP"), (1053, "shutting down"), (2222, "2222: odd")] {
        let (at, _) = mysql_server(greeting(), vec![error(2, code, "#08S01odd")]).await;
        bad(&probe(mysql("u", ""), at).await, Layer::Answer, words);
    }
}

#[tokio::test]
async fn what_is_not_mysql_fails_as_protocol() {
    let rows: Vec<(Vec<u8>, &str)> = vec![
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "not the MySQL protocol"),
        (b"SSH-2.0-OpenSSH\r\n".to_vec(), "not the MySQL protocol"),
        (packet(0, b"\x09old"), "not the MySQL protocol"),
        (packet(0, b"\x0ashort"), "not the MySQL protocol"),
        (packet(0, b"")[..].to_vec(), "not the MySQL protocol"),
        (vec![], "closed before a greeting"),
        (greeting()[..20].to_vec(), "closed before a greeting"),
        (greeting(), "closed before an answer to the login"),
    ];
    for (bytes, words) in rows {
        let at = server(move |mut stream| {
            let bytes = bytes.clone();
            async move {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        })
        .await;
        bad(&probe(mysql("u", ""), at).await, Layer::Protocol, words);
    }
    let forever = packet(2, b"\xfeclient_ed25519\0abc\0");
    let (at, _) = mysql_server(greeting(), vec![forever; 20]).await;
    bad(&probe(mysql("u", ""), at).await, Layer::Protocol, "leads nowhere");
    bad(&probe(mysql("u", ""), closed_port().await).await, Layer::Connect, "refused");
}

#[tokio::test]
async fn a_slow_server_is_a_timeout_but_its_handshake_is_never_broken_off() {
    let (wake, woken) = tokio::sync::watch::channel("asleep");
    let connections = Arc::new(AtomicUsize::new(0));
    let (ends, mut ended) = tokio::sync::mpsc::unbounded_channel();
    let count = Arc::clone(&connections);
    let at = server(move |mut stream| {
        count.fetch_add(1, SeqCst);
        let (mut woken, ends) = (woken.clone(), ends.clone());
        async move {
            let _ = woken.wait_for(|state| *state == "awake").await;
            let _ = stream.write_all(&greeting()).await;
            let login = receive(&mut stream).await;
            let _ = stream.write_all(&FINE).await;
            let mut rest = Vec::new();
            let end = stream.read_to_end(&mut rest).await;
            let _ = ends.send((login.is_some(), rest, end.is_ok()));
        }
    })
    .await;
    let question = question(mysql("u", ""), at, Duration::from_millis(100));
    for _ in 0..5 {
        bad(&attempt(Arc::clone(&question), at).await, Layer::Timeout, "no login within 100ms");
    }
    assert_eq!(connections.load(SeqCst), 1, "no second login while the first one waits");
    wake.send_replace("awake");
    let (logged_in, rest, closed_well) = ended.recv().await.unwrap();
    assert!(logged_in && rest == [1, 0, 0, 0, 1] && closed_well, "finished in the background");
    let mut report = attempt(Arc::clone(&question), at).await;
    while report.result.is_err() {
        report = attempt(Arc::clone(&question), at).await;
    }
    good(&report, "logged in");
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
    let question = Question::new(http(None), Address::Socket(at), LONG).ask_from(source);
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
    bad(&probe(http(None), at).await, Layer::Protocol, "before an answer");

    let ask = |version| Arc::new(Question::new(http(None), Address::Socket(at), LONG).announced(version));
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
