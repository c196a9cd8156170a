//! Backends of HTTP/2: they answer as a function of the request says, and remember what they were asked.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::eventually::{DEADLINE, eventually};

/// What becomes of a request.
#[derive(Debug, Clone)]
pub enum Says {
    /// Status, fields, body, trailers.
    Answer(u16, Vec<(&'static str, &'static str)>, Vec<u8>, Vec<(&'static str, &'static str)>),
    /// Only a head, which ends the answer.
    Head(u16, Vec<(&'static str, &'static str)>),
    /// A head, and then whatever comes goes back, with a status of gRPC at the end.
    Echo,
    /// Head and half of a large body, and a reset.
    Half,
    /// A reset at once.
    Reset(Reason),
    /// Nothing.
    Nothing,
}

impl Says {
    /// 200 with this body.
    pub fn body(body: impl AsRef<[u8]>) -> Self {
        Self::Answer(200, Vec::new(), body.as_ref().to_vec(), Vec::new())
    }
}

/// What it was asked.
#[derive(Debug)]
pub struct Asked {
    pub parts: Parts,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
    /// Which of its connections it came on, from 0.
    pub connection: usize,
}

impl Asked {
    /// The first value of a field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// How it speaks.
#[derive(Clone, Default)]
pub struct Terms {
    /// Most streams at once on a connection.
    pub streams: Option<u32>,
    /// A WebSocket over HTTP/2 is taken (RFC 8441).
    pub tunnels: bool,
    /// HTTP/1.1 is spoken, too (by ALPN, where there is TLS): each request there is an upgrade, whose bytes come back.
    pub upgrades: bool,
    /// Within TLS.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

type Judge = dyn Fn(&Parts) -> Says + Send + Sync;

/// A backend that speaks HTTP/2.
pub struct H2Origin {
    address: SocketAddr,
    runtime: Option<Runtime>,
    shared: Arc<Shared>,
    /// Counts the times that it said that it goes.
    goes: watch::Sender<usize>,
}

struct Shared {
    judge: Box<Judge>,
    asked: Mutex<Vec<Asked>>,
    upgraded: Mutex<Vec<String>>,
    begun: AtomicUsize,
    connections: AtomicUsize,
    open: AtomicUsize,
    reset: AtomicUsize,
}

impl H2Origin {
    /// Answers everything alike.
    pub fn saying(says: Says) -> Self {
        Self::start(Terms::default(), move |_| says.clone())
    }

    /// Answers as `judge` says.
    pub fn start(terms: Terms, judge: impl Fn(&Parts) -> Says + Send + Sync + 'static) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            judge: Box::new(judge),
            asked: Mutex::default(),
            upgraded: Mutex::default(),
            begun: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            reset: AtomicUsize::new(0),
        });
        let (goes, going) = watch::channel(0);
        let served = Arc::clone(&shared);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, terms, going) = (Arc::clone(&served), terms.clone(), going.clone());
                tokio::spawn(async move {
                    let _ = stream.set_nodelay(true);
                    match terms.tls.clone() {
                        None if terms.upgrades && !begins_http2(&stream).await => upgrade(stream, shared).await,
                        None => serve(stream, shared, terms, going).await,
                        Some(config) => {
                            let Ok(stream) = tokio_rustls::TlsAcceptor::from(config).accept(stream).await else {
                                return;
                            };
                            if stream.get_ref().1.alpn_protocol() == Some(b"http/1.1") {
                                upgrade(stream, shared).await;
                            } else {
                                serve(stream, shared, terms, going).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, runtime: Some(runtime), shared, goes }
    }

    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Requests that have come whole.
    pub fn requests(&self) -> Vec<Asked> {
        std::mem::take(&mut self.shared.asked.lock().unwrap())
    }

    /// Heads of the upgrades by HTTP/1.1.
    pub fn upgraded(&self) -> Vec<String> {
        self.shared.upgraded.lock().unwrap().clone()
    }

    /// Requests whose head has come.
    pub fn begun(&self) -> usize {
        self.shared.begun.load(SeqCst)
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(SeqCst)
    }

    /// Connections open now.
    pub fn open_connections(&self) -> usize {
        self.shared.open.load(SeqCst)
    }

    /// Waits until so many requests have been given up by the balancer.
    #[track_caller]
    pub fn wait_for_resets(&self, count: usize) {
        eventually(&format!("{count} resets"), DEADLINE, || self.shared.reset.load(SeqCst) >= count);
    }

    /// Waits until so many requests have begun.
    #[track_caller]
    pub fn wait_for_requests(&self, count: usize) {
        eventually(&format!("{count} requests"), DEADLINE, || self.begun() >= count);
    }

    /// Says on every connection that it takes no more.
    pub fn goes(&self) {
        self.goes.send_modify(|count| *count += 1);
    }

    /// As if killed.
    pub fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for H2Origin {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Whether a connection begins as one of HTTP/2 does.
async fn begins_http2(stream: &tokio::net::TcpStream) -> bool {
    let mut first = [0; 3];
    while stream.peek(&mut first).await.is_ok_and(|count| (1..3).contains(&count)) {
        tokio::task::yield_now().await;
    }
    &first == b"PRI"
}

/// Takes the one upgrade of a connection of HTTP/1.1, and gives back what comes.
async fn upgrade(mut stream: impl AsyncRead + AsyncWrite + Unpin, shared: Arc<Shared>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let protocol = head.lines().find_map(|line| line.strip_prefix("Upgrade: ")).unwrap().to_owned();
    shared.upgraded.lock().unwrap().push(head);
    let answer = format!("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n\r\n");
    let mut bytes = [0; 1024];
    let mut sent = stream.write_all(answer.as_bytes()).await;
    while let (Ok(()), Ok(count @ 1..)) = (&sent, stream.read(&mut bytes).await) {
        sent = stream.write_all(&bytes[..count]).await;
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    shared: Arc<Shared>,
    terms: Terms,
    mut going: watch::Receiver<usize>,
) {
    let number = shared.connections.fetch_add(1, SeqCst);
    shared.open.fetch_add(1, SeqCst);
    let mut builder = h2::server::Builder::new();
    if let Some(most) = terms.streams {
        builder.max_concurrent_streams(most);
    }
    if terms.tunnels {
        builder.enable_connect_protocol();
    }
    if let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await {
        going.mark_unchanged();
        loop {
            tokio::select! {
                accepted = connection.accept() => match accepted {
                    Some(Ok((request, respond))) => {
                        shared.begun.fetch_add(1, SeqCst);
                        tokio::spawn(answer(request, respond, Arc::clone(&shared), number));
                    }
                    _ => break,
                },
                Ok(()) = going.changed() => connection.graceful_shutdown(),
            }
        }
    }
    shared.open.fetch_sub(1, SeqCst);
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, shared: Arc<Shared>, number: usize) {
    let (parts, mut body) = request.into_parts();
    let says = (shared.judge)(&parts);
    if matches!(says, Says::Echo) {
        echo(&mut body, &mut respond, &shared).await;
        shared.asked.lock().unwrap().push(Asked { parts, body: Vec::new(), trailers: None, connection: number });
        return;
    }
    if let Says::Reset(reason) = says {
        return respond.send_reset(reason);
    }
    let mut content = Vec::new();
    while let Some(data) = body.data().await {
        let Ok(data) = data else {
            shared.reset.fetch_add(1, SeqCst);
            return;
        };
        let _ = body.flow_control().release_capacity(data.len());
        content.extend_from_slice(&data);
    }
    let trailers = body.trailers().await.ok().flatten();
    shared.asked.lock().unwrap().push(Asked { parts, body: content, trailers, connection: number });
    match says {
        Says::Answer(status, headers, body, trailers) => {
            let is_all = body.is_empty() && trailers.is_empty();
            let Ok(mut stream) = respond.send_response(head(status, &headers), is_all) else { return };
            if !is_all && send(&mut stream, &body, trailers.is_empty()).await.is_ok() && !trailers.is_empty() {
                let _ = stream.send_trailers(fields(&trailers));
            }
        }
        Says::Head(status, headers) => drop(respond.send_response(head(status, &headers), true)),
        Says::Half => {
            let Ok(mut stream) = respond.send_response(head(200, &[("content-length", "1000000")]), false) else {
                return;
            };
            // More than a window: when all of it could be sent, the beginning has been read.
            let _ = send(&mut stream, &vec![b'x'; 500_000], false).await;
            stream.send_reset(Reason::INTERNAL_ERROR);
        }
        Says::Nothing => {
            let _ = std::future::poll_fn(|context| respond.poll_reset(context)).await;
            shared.reset.fetch_add(1, SeqCst);
        }
        Says::Echo | Says::Reset(_) => unreachable!("answered above"),
    }
}

async fn echo(body: &mut RecvStream, respond: &mut SendResponse<Bytes>, shared: &Shared) {
    let Ok(mut stream) = respond.send_response(head(200, &[("content-type", "application/grpc")]), false) else {
        return;
    };
    while let Some(data) = body.data().await {
        let Ok(data) = data else {
            shared.reset.fetch_add(1, SeqCst);
            return;
        };
        let _ = body.flow_control().release_capacity(data.len());
        if send(&mut stream, &data, false).await.is_err() {
            return;
        }
    }
    let _ = stream.send_trailers(fields(&[("grpc-status", "0")]));
}

async fn send(stream: &mut SendStream<Bytes>, mut body: &[u8], ends: bool) -> Result<(), h2::Error> {
    if body.is_empty() {
        stream.send_data(Bytes::new(), ends)?;
    }
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let window = std::future::poll_fn(|context| stream.poll_capacity(context)).await;
        let Some(window) = window.transpose()? else { return Err(Reason::CANCEL.into()) };
        let part = window.min(body.len());
        stream.send_data(Bytes::copy_from_slice(&body[..part]), ends && part == body.len())?;
        body = &body[part..];
    }
    Ok(())
}

fn head(status: u16, headers: &[(&'static str, &'static str)]) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status.try_into().unwrap();
    *response.headers_mut() = fields(headers);
    response
}

fn fields(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}
