//! Servers for the faults that need one of their own.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use hyper::Response;
use hyper::body::Bytes;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use socket2::{Domain, Socket, Type};
use tokio_rustls::TlsAcceptor;

use crate::support::certificates::Made;
use crate::support::fake::{Act, Fake, say};
use crate::support::probing::server;

/// A socket whose queue is full: nobody accepts, and no further connection comes about.
pub(crate) struct Full {
    pub(crate) address: SocketAddr,
    _listener: Socket,
    _queue: Vec<TcpStream>,
}

impl Full {
    pub(crate) fn new() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let mut queue = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
            queue.push(stream);
            assert!(queue.len() < 64, "the queue of a socket that never accepts fills up");
        }
        Self { address, _listener: listener, _queue: queue }
    }
}

/// Says these bytes to whoever comes, and waits for his end.
pub(crate) async fn saying(bytes: impl AsRef<[u8]>) -> SocketAddr {
    Fake::play(vec![say(bytes)]).await.address
}

/// HTTP over TLS by this certificate.
pub(crate) async fn secured(made: Made) -> SocketAddr {
    let acts = vec![Act::Tls, Act::HearAny(16), say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")];
    Fake::play_secured(acts, acceptor(made)).await.address
}

fn acceptor(made: Made) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(made.chain, PrivateKeyDer::try_from(made.key).unwrap());
    TlsAcceptor::from(Arc::new(config.unwrap()))
}

/// The health service of gRPC with this status.
pub(crate) async fn grpc(status: u8) -> SocketAddr {
    server(move |stream| async move {
        let Ok(mut connection) = h2::server::handshake(stream).await else { return };
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            // One that answers before it has heard all resets the stream.
            let mut asked = request.into_body();
            tokio::spawn(async move {
                while let Some(Ok(_)) = asked.data().await {}
                let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
                let Ok(mut body) = respond.send_response(head, false) else { return };
                let _ = body.send_data(Bytes::from(vec![0, 0, 0, 0, 2, 8, status]), false);
                let mut trailers = hyper::HeaderMap::new();
                trailers.insert("grpc-status", hyper::header::HeaderValue::from_static("0"));
                let _ = body.send_trailers(trailers);
            });
        }
    })
    .await
}

/// An error of `PostgreSQL`, as it is sent.
pub(crate) fn postgres_error(code: &str, text: &str) -> Vec<u8> {
    let fields = format!("SFATAL\0VFATAL\0C{code}\0M{text}\0\0");
    let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
    [b"E", &length[..], fields.as_bytes()].concat()
}
