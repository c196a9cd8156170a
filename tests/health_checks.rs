//! Probes against servers that are well, ill and hostile: every rule of success and every layer of failure.

#![expect(clippy::unwrap_used, reason = "the servers of a test fail by panicking, as tests do")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use evenkeel::config::model::{Address, CheckKind, MysqlCheck};
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

async fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

// === questions ===

fn mysql(user: &str, password: &str) -> CheckKind {
    CheckKind::Mysql(MysqlCheck { user: Arc::from(user), password: Arc::from(password) })
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
