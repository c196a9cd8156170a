//! Probes over HTTP/2: plain HTTP and the health service of gRPC, in clear text and within TLS.
#![expect(clippy::unwrap_used, reason = "the servers of a test fail by panicking, as tests do")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::config::model::{
    Address, BodyRule, CheckKind, CheckTls, GrpcCheck, HttpCheck, HttpQuestion, HttpVersion, SendProxy, Verify,
};
use evenkeel::config::{self, Source};
use evenkeel::probe::transcript::Event;
use evenkeel::probe::{Layer, Question, Report, attempt};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use hyper::body::Bytes;
use hyper::{HeaderMap, Request, Response};
use rustls::pki_types::PrivateKeyDer;
use support::probing::{LONG, answering, bad, good, probe, probe_within, server, tells};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

// === origins ===

/// What an origin answers.
#[derive(Debug, Clone)]
enum Says {
    /// Status, headers, body, trailers.
    Answer(u16, &'static [(&'static str, &'static str)], Vec<u8>, Option<&'static [(&'static str, &'static str)]>),
    /// Only a head, which ends the answer.
    Head(u16, &'static [(&'static str, &'static str)]),
    Reset(Reason),
    GoAway(Reason),
    /// A head, half of the body, and the end of the connection.
    HangUp,
    /// A byte of the body at a time.
    Drip,
    /// As much body as is taken.
    Flood,
    Nothing,
}

/// What it was asked.
#[derive(Debug)]
struct Asked {
    request: Request<()>,
    body: Vec<u8>,
}

/// Speaks HTTP/2 on whatever it accepts.
async fn speaking(says: Says) -> (SocketAddr, UnboundedReceiver<Asked>) {
    let (sender, receiver) = unbounded_channel();
    let at = server(move |stream| speak(stream, says.clone(), sender.clone())).await;
    (at, receiver)
}

/// The same within TLS, for any name; it agrees on these protocols.
async fn speaking_tls(says: Says, protocols: &[&str]) -> (SocketAddr, UnboundedReceiver<Asked>) {
    let made = rcgen::generate_simple_self_signed(vec!["web.example.com".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let (sender, receiver) = unbounded_channel();
    let at = server(move |stream| {
        let (acceptor, says, sender) = (acceptor.clone(), says.clone(), sender.clone());
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                speak(stream, says, sender).await;
            }
        }
    })
    .await;
    (at, receiver)
}

async fn speak<S>(stream: S, says: Says, asked: UnboundedSender<Asked>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        match says {
            Says::GoAway(reason) => connection.abrupt_shutdown(reason),
            // The head and half of a body are on their way when the connection goes.
            Says::HangUp => {
                let mut respond = respond;
                let mut body = respond.send_response(Response::new(()), false).unwrap();
                body.send_data(Bytes::from_static(b"half"), false).unwrap();
                let _ = tokio::time::timeout(Duration::from_millis(50), connection.accept()).await;
                return;
            }
            _ => _ = tokio::spawn(answer(request, respond, says.clone(), asked.clone())),
        }
    }
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    says: Says,
    asked: UnboundedSender<Asked>,
) {
    let (parts, mut incoming) = request.into_parts();
    let mut received = Vec::new();
    while let Some(Ok(data)) = incoming.data().await {
        let _ = incoming.flow_control().release_capacity(data.len());
        received.extend_from_slice(&data);
    }
    let _ = asked.send(Asked { request: Request::from_parts(parts, ()), body: received });
    let head = |status: u16, headers: &[(&'static str, &'static str)]| {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        response.body(()).unwrap()
    };
    match says {
        Says::Answer(status, headers, body, trailers) => {
            let mut stream = respond.send_response(head(status, headers), false).unwrap();
            stream.send_data(body.into(), trailers.is_none()).unwrap();
            if let Some(trailers) = trailers {
                let named = trailers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
                stream.send_trailers(named.collect::<HeaderMap>()).unwrap();
            }
        }
        Says::Head(status, headers) => _ = respond.send_response(head(status, headers), true).unwrap(),
        Says::Reset(reason) => respond.send_reset(reason),
        Says::Drip | Says::Flood => {
            let pace = if matches!(says, Says::Drip) { 20 } else { 0 };
            let piece = if pace > 0 { Bytes::from_static(b"x") } else { Bytes::from(vec![b'x'; 16 * 1024]) };
            let mut stream = respond.send_response(head(200, &[]), false).unwrap();
            while stream.send_data(piece.clone(), false).is_ok() {
                tokio::time::sleep(Duration::from_millis(pace.max(1))).await;
            }
        }
        Says::GoAway(_) | Says::HangUp | Says::Nothing => std::future::pending().await,
    }
}

fn plain(status: u16, body: &str) -> Says {
    Says::Answer(status, &[("server", "origin")], body.as_bytes().to_vec(), None)
}

// === questions ===

fn question() -> HttpQuestion {
    HttpQuestion { version: HttpVersion::V2, ..HttpQuestion::get("/health?full=1") }
}

fn http(request: HttpQuestion) -> CheckKind {
    CheckKind::Http(HttpCheck::new(request))
}

fn trusting() -> CheckTls {
    CheckTls { server_name: Some(Arc::from("web.example.com")), verify: Verify::Nothing, ..CheckTls::default() }
}

fn headers(all: &[(&str, &str)]) -> Vec<(Arc<str>, Arc<str>)> {
    all.iter().map(|(name, value)| (Arc::from(*name), Arc::from(*value))).collect()
}

// === http = "2" ===

#[tokio::test]
async fn the_request_is_the_one_of_the_check() {
    let (at, mut asked) = speaking(plain(200, "all ok")).await;
    let report = probe(http(question()), at).await;
    good(&report, "HTTP 200");
    tells(&report, &["asked GET http://", "/health?full=1 over HTTP/2, user-agent: evenkeel, accept: */*"]);
    tells(&report, &["sent", "PRI * HTTP/2.0", "received", "head: HTTP 200, server: origin", "body: 6 bytes"]);
    let first = asked.recv().await.unwrap().request;
    assert_eq!((first.method().as_str(), first.version()), ("GET", hyper::Version::HTTP_2));
    assert_eq!(first.uri().to_string(), format!("http://{at}/health?full=1"));

    let mut request = question();
    request.method = Arc::from("POST");
    request.host = Some(Arc::from("app.example.com"));
    request.headers = headers(&[("X-Probe", "1"), ("User-Agent", "me")]);
    request.body = Arc::from("deep=true");
    let rules = vec![BodyRule::Contains(Arc::from("ok")), BodyRule::Lacks(Arc::from("bad"))];
    let check = HttpCheck { body: rules, ..HttpCheck::new(request) };
    good(&probe(CheckKind::Http(check), at).await, "HTTP 200, body as wanted");
    let Asked { request, body } = asked.recv().await.unwrap();
    assert_eq!(request.uri().to_string(), "http://app.example.com/health?full=1");
    assert_eq!(
        (&request.headers()["x-probe"], &request.headers()["user-agent"]),
        (&"1".parse().unwrap(), &"me".parse().unwrap())
    );
    assert_eq!(body, b"deep=true");
    bad(&probe(http(question()), speaking(plain(503, "")).await.0).await, Layer::Answer, "HTTP 503, wanted 200-399");
}

#[tokio::test]
async fn within_tls_it_is_agreed_upon() {
    let ask = || http(HttpQuestion { tls: Some(trusting()), ..question() });
    let (at, mut asked) = speaking_tls(plain(204, ""), &["h2", "http/1.1"]).await;
    let report = probe(ask(), at).await;
    good(&report, "HTTP 204");
    tells(&report, &["TLS 1.3", "ALPN h2", "asked GET https://", "PRI * HTTP/2.0"]);
    assert!(report.transcript.certificate_expires.is_some());
    assert_eq!(asked.recv().await.unwrap().request.uri().scheme_str(), Some("https"));
    for other in [&["http/1.1"][..], &[]] {
        let (at, _) = speaking_tls(plain(200, ""), other).await;
        bad(&probe(ask(), at).await, Layer::Tls, "offered by ALPN: h2");
    }
}

#[tokio::test]
async fn what_is_no_whole_answer_fails_as_protocol() {
    let rows = [
        (Says::Reset(Reason::REFUSED_STREAM), "it reset the request before an answer, saying: refused stream"),
        (Says::Reset(Reason::HTTP_1_1_REQUIRED), "it wants HTTP/1.1 for this"),
        (Says::GoAway(Reason::ENHANCE_YOUR_CALM), "it ended the connection before an answer, saying:"),
        (Says::HangUp, "within the body of HTTP 200"),
    ];
    for (says, words) in rows {
        let (at, _) = speaking(says).await;
        bad(&probe(http(question()), at).await, Layer::Protocol, words);
    }
    let speaks_1_1 = server(|mut stream: TcpStream| async move {
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    bad(&probe(http(question()), speaks_1_1).await, Layer::Protocol, "write http = \"1.1\"");
    let closing = server(|mut stream: TcpStream| async move {
        let _ = stream.read(&mut [0; 1024]).await;
    })
    .await;
    bad(&probe(http(question()), closing).await, Layer::Protocol, "before an answer");
    let silent = server(|stream| async move {
        let _held = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let short = Duration::from_millis(150);
    bad(&probe_within(http(question()), silent, short).await, Layer::Timeout, "not done within 150ms; last: asked GET");
    // The other way round: HTTP/1.1 asked of who speaks only HTTP/2.
    let (at, _) = speaking(plain(200, "")).await;
    bad(&probe(http(HttpQuestion::get("/")), at).await, Layer::Protocol, "");
}

#[tokio::test]
async fn bodies_are_read_up_to_their_limit_and_not_longer_than_the_deadline() {
    let (at, _) = speaking(Says::Flood).await;
    let check = |rule| CheckKind::Http(HttpCheck { body: vec![rule], ..HttpCheck::new(question()) });
    good(&probe(http(question()), at).await, "HTTP 200");
    good(&probe(check(BodyRule::Contains(Arc::from("xxx"))), at).await, "as wanted");
    bad(&probe(check(BodyRule::Contains(Arc::from("y"))), at).await, Layer::Answer, "does not contain");
    let (at, _) = speaking(Says::Drip).await;
    let short = Duration::from_millis(200);
    bad(&probe_within(http(question()), at, short).await, Layer::Timeout, "not done within 200ms");
    let (at, _) = speaking(Says::Nothing).await;
    bad(&probe_within(http(question()), at, short).await, Layer::Timeout, "");
}

#[tokio::test]
async fn the_proxy_protocol_comes_before_the_preface() {
    let (sender, mut first) = unbounded_channel();
    let at = server(move |mut stream: TcpStream| {
        let sender = sender.clone();
        async move {
            let mut bytes = [0; 16];
            stream.read_exact(&mut bytes).await.unwrap();
            sender.send(bytes).unwrap();
            speak(stream, plain(200, ""), unbounded_channel().0).await;
        }
    })
    .await;
    let asked = Question::new(http(question()), Address::Socket(at), LONG).announced(SendProxy::V2);
    good(&attempt(Arc::new(asked), at).await, "HTTP 200");
    assert_eq!(first.recv().await.unwrap(), *b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
}

#[tokio::test]
async fn a_secret_in_a_header_is_in_no_form_in_the_transcript() {
    let (at, mut asked) =
        speaking(Says::Answer(401, &[("www-authenticate", "s3cr3t-t0ken")], b"not s3cr3t-t0ken".to_vec(), None)).await;
    let text = format!(
        "listener.l = {{ bind = '127.0.0.1:0', pool = 'p' }}\npool.p.backends = ['{at}']\n\
         pool.p.check.c = {{ type = 'http', http = '2', headers = {{ Authorization = 's3cr3t-t0ken' }}, \
         body = {{ contains = 'x' }}, status = 401 }}"
    );
    let loaded = config::load(&Source::text(text)).unwrap().config;
    let pool = &loaded.pools[0];
    let report = attempt(Arc::new(Question::of(&pool.checks[0], &pool.members[0].address)), at).await;
    assert_eq!(asked.recv().await.unwrap().request.headers()["authorization"], "s3cr3t-t0ken");
    bad(&report, Layer::Answer, "it starts `not ************`");
    tells(&report, &["authorization: ************", "www-authenticate: ************"]);
    assert!(!format!("{report:?}").contains("s3cr3t"), "{report:?}");
    // Nor compressed: where the frame with the headers was, there are stars.
    let sent: Vec<u8> = report
        .transcript
        .steps
        .iter()
        .flat_map(|step| if let Event::Sent(bytes) = &step.event { bytes.clone() } else { vec![] })
        .collect();
    let stars = sent.iter().filter(|byte| **byte == b'*').count();
    assert!(stars > 20, "{stars} stars in {}", sent.escape_ascii());
}

// === grpc ===

fn grpc(service: &str) -> CheckKind {
    CheckKind::Grpc(GrpcCheck { service: Arc::from(service), host: None, headers: vec![], tls: None })
}

const GRPC: &[(&str, &str)] = &[("content-type", "application/grpc")];
const OK: &[(&str, &str)] = &[("grpc-status", "0")];

fn health(status: u8) -> Says {
    Says::Answer(200, &[("content-type", "application/grpc+proto")], vec![0, 0, 0, 0, 2, 8, status], Some(OK))
}

#[tokio::test]
async fn serving_is_good_and_the_question_is_the_one_of_the_protocol() {
    let (at, mut asked) = speaking(health(1)).await;
    let report = attempt(support::probing::question(grpc("shop.Cart"), at, Duration::from_millis(2_500)), at).await;
    good(&report, "SERVING");
    tells(
        &report,
        &[
            "asked POST http://",
            "/grpc.health.v1.Health/Check",
            "head: HTTP 200",
            "body: 7 bytes",
            "trailers: grpc-status: 0",
        ],
    );
    let Asked { request, body } = asked.recv().await.unwrap();
    assert_eq!(request.uri().to_string(), format!("http://{at}/grpc.health.v1.Health/Check"));
    for (name, value) in [
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-timeout", "2500m"),
        ("user-agent", "evenkeel"),
    ] {
        assert_eq!(request.headers()[name], value, "{name}");
    }
    assert_eq!(body, b"\0\0\0\0\x0b\x0a\x09shop.Cart");
    good(&probe(grpc(""), at).await, "SERVING");
    assert_eq!(asked.recv().await.unwrap().body, [0; 5]);

    let (at, mut asked) = speaking_tls(health(1), &["h2"]).await;
    let check = GrpcCheck {
        service: Arc::from(""),
        host: Some(Arc::from("cart.example.com")),
        headers: headers(&[("authorization", "Bearer x")]),
        tls: Some(trusting()),
    };
    let report = probe(CheckKind::Grpc(check), at).await;
    good(&report, "SERVING");
    assert!(report.transcript.certificate_expires.is_some());
    let request = asked.recv().await.unwrap().request;
    assert_eq!(request.uri().to_string(), "https://cart.example.com/grpc.health.v1.Health/Check");
    assert_eq!(request.headers()["authorization"], "Bearer x");
}

#[tokio::test]
async fn every_other_answer_is_named() {
    async fn ask(says: Says) -> Report {
        probe(grpc("shop.Cart"), speaking(says).await.0).await
    }
    for (status, words) in [(0, "UNKNOWN"), (2, "NOT_SERVING"), (3, "SERVICE_UNKNOWN"), (9, "status 9")] {
        bad(&ask(health(status)).await, Layer::Answer, words);
    }
    let refusals: [(&'static [(&str, &str)], &str); 6] = [
        (
            &[("content-type", "application/grpc"), ("grpc-status", "5"), ("grpc-message", "unknown%20service")],
            "knows no `shop.Cart`; look at how it was registered there (it says: unknown service)",
        ),
        (&[("content-type", "application/grpc"), ("grpc-status", "12")], "no health service (grpc.health.v1.Health)"),
        (&[("content-type", "application/grpc"), ("grpc-status", "16")], "headers = { authorization"),
        (&[("content-type", "application/grpc"), ("grpc-status", "14")], "UNAVAILABLE"),
        (&[("content-type", "application/grpc"), ("grpc-status", "4")], "its deadline has passed"),
        (&[("content-type", "application/grpc"), ("grpc-status", "99")], "gRPC status 99"),
    ];
    for (headers, words) in refusals {
        bad(&ask(Says::Head(200, headers)).await, Layer::Answer, words);
        // The same in trailers.
        let trailers = &headers[1..];
        bad(&ask(Says::Answer(200, GRPC, vec![], Some(trailers))).await, Layer::Answer, words);
    }
    let message = vec![0, 0, 0, 0, 2, 8, 1];
    let rows = [
        (Says::Answer(200, GRPC, message.clone(), None), "ends without `grpc-status`"),
        (Says::Answer(200, GRPC, vec![], Some(OK)), "holds no message"),
        (Says::Answer(200, GRPC, vec![1, 0, 0, 0, 2, 8, 1], Some(OK)), "compressed"),
        (Says::Answer(200, GRPC, message, Some(&[("grpc-status", "fine")])), "no number"),
        (Says::Answer(200, &[("content-type", "text/html")], b"<html>".to_vec(), None), "of type `text/html`"),
        (plain(404, "nothing here"), "HTTP 404 instead of an answer of gRPC"),
        (Says::Reset(Reason::CANCEL), "it reset the request"),
    ];
    for (says, words) in rows {
        bad(&ask(says).await, Layer::Protocol, words);
    }
    let web = answering("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    bad(&probe_within(grpc(""), web, Duration::from_millis(500)).await, Layer::Protocol, "");
}
