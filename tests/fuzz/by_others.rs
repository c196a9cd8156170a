//! What libraries that others wrote read in the same bytes: a parser that lets something in which they understand
//! otherwise lets two sides of the balancer disagree.

use std::cell::RefCell;
use std::io::Cursor;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::server::Acceptor;
use tokio::io::AsyncWriteExt;

/// A request as hyper's server understands it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Understood {
    /// The method.
    pub method: String,
    /// The target as it is written.
    pub target: String,
    /// Names in lower case and values, in their order.
    pub fields: Vec<(String, Vec<u8>)>,
    /// The body without its framing; `None` where it is broken or not whole.
    pub body: Option<Vec<u8>>,
}

/// The first request in these bytes; `None` where hyper refuses its head.
pub fn by_hyper(bytes: &[u8]) -> Option<Understood> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without a reactor");
    runtime.block_on(async {
        let (mut client, server) = tokio::io::duplex(bytes.len() + 65_536);
        client.write_all(bytes).await.expect("there is room for all");
        client.shutdown().await.expect("the other end is there");
        let first = Rc::new(RefCell::new(None));
        let seen = Rc::clone(&first);
        let service = service_fn(move |request| understood(request, Rc::clone(&seen)));
        let connection = hyper::server::conn::http1::Builder::new()
            .half_close(true)
            .keep_alive(false)
            .max_buf_size(1 << 20)
            .serve_connection(TokioIo::new(server), service);
        // How it ends says nothing more: what counts is what has been understood.
        drop(connection.await);
        first.take()
    })
}

async fn understood(
    request: Request<Incoming>,
    seen: Rc<RefCell<Option<Understood>>>,
) -> Result<Response<Empty<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await;
    let fields = head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
    *seen.borrow_mut() = Some(Understood {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        fields: fields.collect(),
        body: body.ok().map(|all| all.to_bytes().to_vec()),
    });
    Ok(Response::new(Empty::new()))
}

/// The name that rustls finds in a hello; `None` where there is none, or it is refused or incomplete.
pub fn name_by_rustls(bytes: &[u8]) -> Option<String> {
    let mut acceptor = Acceptor::default();
    let mut rest = Cursor::new(bytes);
    while (rest.position() as usize) < bytes.len() {
        acceptor.read_tls(&mut rest).ok()?;
        match acceptor.accept() {
            Ok(Some(accepted)) => return accepted.client_hello().server_name().map(str::to_ascii_lowercase),
            Ok(None) => {}
            Err(_) => return None,
        }
    }
    None
}
