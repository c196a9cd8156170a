//! One exchange over HTTP/1.1. hyper reads the answer, strictly.
//!
//! Some status scripts answer without reading the request and close at once; the answer counts all the same when it is
//! complete ([`super::eager::Eager`]).

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::eager::Eager;
use super::{Answer, Length, MAX_HEAD};
use crate::probe::report::{Failure, Layer, plain};
use crate::probe::tls;
use crate::probe::transcript::{Log, Recorder};

pub(super) async fn exchange<S>(stream: S, request: Request<()>, body: Bytes, log: &Log) -> Result<Answer, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    log.note(format!("asked {} {}", request.method(), request.uri()));
    let io = TokioIo::new(Eager::new(Recorder::new(stream, log)));
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .max_headers(256)
        .handshake(io)
        .await
        .map_err(|error| no_answer(&error))?;
    let asking = async {
        let request = request.map(|()| Full::new(body));
        let response = sender.send_request(request).await.map_err(|error| no_answer(&error))?;
        read(response, log).await
    };
    // The connection is driven here and not in a task of its own: dropping the attempt drops all of it.
    let mut asking = std::pin::pin!(asking);
    tokio::select! {
        biased;
        answer = &mut asking => answer,
        // When it ends first, what it read waits in `asking`; what went wrong is told there too.
        _ = connection => asking.await,
    }
}

async fn read(response: Response<Incoming>, log: &Log) -> Result<Answer, Failure> {
    let status = response.status().as_u16();
    log.note(format!("head: HTTP {status}"));
    let mut answer = Answer::new(status);
    let mut body = response.into_body();
    while answer.length == Length::Whole
        && let Some(frame) = body.frame().await
    {
        let frame = frame.map_err(|error| match cause(&error) {
            Some(why) => Failure::new(Layer::Protocol, format!("{why} within the body of HTTP {status}")),
            None => Failure::new(Layer::Protocol, format!("closed within the body of HTTP {status}")),
        })?;
        if let Ok(data) = frame.into_data() {
            answer.add(&data);
        }
    }
    log.note(format!("body: {} bytes", answer.body.len()));
    Ok(answer)
}

fn no_answer(error: &hyper::Error) -> Failure {
    if let Some(failure) = io_below(error).and_then(tls::late) {
        return failure;
    }
    let what = if error.is_parse() {
        format!("what came is no HTTP answer: {error}")
    } else if let Some(why) = cause(error) {
        format!("{why} before an answer")
    } else if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        "closed before an answer".to_owned()
    } else {
        error.to_string()
    };
    Failure::new(Layer::Protocol, what)
}

/// The system's word below an error of hyper's.
fn cause(error: &hyper::Error) -> Option<String> {
    io_below(error).map(plain)
}

fn io_below(error: &hyper::Error) -> Option<&std::io::Error> {
    std::error::Error::source(error)?.downcast_ref()
}
