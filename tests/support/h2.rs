//! Clients of HTTP/2: one that behaves, on a library, and one that writes frames as they come (`frames`).
//!
//! Both wait for whatever they do, and no longer than [`DEADLINE`].

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Runtime;

use super::eventually::DEADLINE;
pub use super::frames::*;

/// A connection that behaves.
pub struct H2 {
    runtime: Runtime,
    sender: SendRequest<Bytes>,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The first value of a trailer.
    pub fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.as_ref()?.get(name).map(|value| value.to_str().unwrap())
    }
}

/// A stream whose request is under way.
pub struct Open {
    pub sending: SendStream<Bytes>,
    answer: Option<ResponseFuture>,
    receiving: Option<RecvStream>,
}

impl H2 {
    /// Connects in clear text.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        let runtime = runtime();
        let stream = runtime.block_on(async { socket(address) });
        Self::over(runtime, stream)
    }

    /// Connects over TLS and agrees on HTTP/2.
    #[track_caller]
    pub fn connect_tls(address: SocketAddr, name: &str, config: &Arc<rustls::ClientConfig>) -> Self {
        let mut config = (**config).clone();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let runtime = runtime();
        let stream = runtime.block_on(async {
            let stream = socket(address);
            tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
        });
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        Self::over(runtime, stream)
    }

    fn over(runtime: Runtime, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let sender = runtime.block_on(async {
            let (sender, connection) = h2::client::handshake(stream).await.unwrap();
            tokio::spawn(async move {
                // Its end is what some tests are about; they see it at their requests.
                let _ = connection.await;
            });
            sender
        });
        Self { runtime, sender }
    }

    fn wait<T>(&self, doing: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { tokio::time::timeout(DEADLINE, doing).await }).expect("it comes in time")
    }

    /// Begins a request; `ends`: it has no body.
    pub fn begin(&mut self, request: Request<()>, ends: bool) -> Result<Open, h2::Error> {
        let sender = self.sender.clone();
        let mut sender = self.wait(sender.ready())?;
        let (answer, sending) = sender.send_request(request, ends)?;
        self.sender = sender;
        Ok(Open { sending, answer: Some(answer), receiving: None })
    }

    /// A GET of this path at `a.example`.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> Answer {
        self.try_ask(get(path), None).unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// A whole request.
    #[track_caller]
    pub fn ask(&mut self, request: Request<()>, body: Option<&[u8]>) -> Answer {
        self.try_ask(request, body).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A whole request, which may fail.
    pub fn try_ask(&mut self, request: Request<()>, body: Option<&[u8]>) -> Result<Answer, h2::Error> {
        let mut open = self.begin(request, body.is_none())?;
        if let Some(body) = body {
            self.send(&mut open, body, true)?;
        }
        self.answer(&mut open)
    }

    /// Sends content as the windows allow.
    pub fn send(&self, open: &mut Open, mut body: &[u8], ends: bool) -> Result<(), h2::Error> {
        self.wait(async {
            if body.is_empty() {
                open.sending.send_data(Bytes::new(), ends)?;
            }
            while !body.is_empty() {
                open.sending.reserve_capacity(body.len());
                let window = std::future::poll_fn(|context| open.sending.poll_capacity(context)).await;
                let Some(window) = window.transpose()? else { break };
                let part = window.min(body.len());
                open.sending.send_data(Bytes::copy_from_slice(&body[..part]), ends && part == body.len())?;
                body = &body[part..];
            }
            Ok(())
        })
    }

    /// The head of the answer.
    pub fn head(&self, open: &mut Open) -> Result<http::Response<()>, h2::Error> {
        let answer = open.answer.take().expect("it is asked once");
        let (parts, body) = self.wait(answer)?.into_parts();
        open.receiving = Some(body);
        Ok(http::Response::from_parts(parts, ()))
    }

    /// The next piece of the body; `None` at its end. The window is opened again.
    pub fn data(&self, open: &mut Open) -> Option<Result<Bytes, h2::Error>> {
        let receiving = open.receiving.as_mut().expect("the head was read");
        let data = self.wait(receiving.data())?;
        if let Ok(data) = &data {
            let _ = receiving.flow_control().release_capacity(data.len());
        }
        Some(data)
    }

    /// Trailers, behind the body.
    pub fn trailers(&self, open: &mut Open) -> Result<Option<HeaderMap>, h2::Error> {
        let receiving = open.receiving.as_mut().expect("the head was read");
        self.wait(receiving.trailers())
    }

    /// The whole answer.
    pub fn answer(&self, open: &mut Open) -> Result<Answer, h2::Error> {
        let head = self.head(open)?;
        let mut body = Vec::new();
        while let Some(data) = self.data(open) {
            body.extend_from_slice(&data?);
        }
        let trailers = self.trailers(open)?;
        Ok(Answer { status: head.status().as_u16(), headers: head.headers().clone(), body, trailers })
    }
}

/// Within a runtime.
fn socket(address: SocketAddr) -> tokio::net::TcpStream {
    let stream = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
    stream.set_nonblocking(true).unwrap();
    stream.set_nodelay(true).unwrap();
    tokio::net::TcpStream::from_std(stream).unwrap()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// A GET of this path at `a.example`.
pub fn get(path: &str) -> Request<()> {
    Request::builder().uri(format!("http://a.example{path}")).body(()).unwrap()
}

/// A POST to this path at `a.example`.
pub fn post(path: &str) -> Request<()> {
    Request::builder().method("POST").uri(format!("http://a.example{path}")).body(()).unwrap()
}
