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
use crate::probe::transcript::{Log, Recorder, readable};

/// Longest piece of a strange answer that is quoted.
const QUOTED: usize = 60;

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
        .map_err(|error| no_answer(&error, log))?;
    let asking = async {
        let request = request.map(|()| Full::new(body));
        let response = sender.send_request(request).await.map_err(|error| no_answer(&error, log))?;
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
        let frame = frame.map_err(|error| {
            Failure::new(Layer::Protocol, format!("{} within the body of HTTP {status}", ended(&error, log)))
        })?;
        if let Ok(data) = frame.into_data() {
            answer.add(&data);
        }
    }
    log.note(format!("body: {} bytes", answer.body.len()));
    Ok(answer)
}

fn no_answer(error: &hyper::Error, log: &Log) -> Failure {
    if let Some(failure) = io_below(error).and_then(tls::late) {
        return failure;
    }
    let what = if error.is_parse() {
        strange(error, &log.first_received(QUOTED))
    } else if io_below(error).is_some() || error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        format!("{} before an answer", ended(error, log))
    } else {
        error.to_string()
    };
    Failure::new(Layer::Protocol, what)
}

/// What came, and is no HTTP.
fn strange(error: &hyper::Error, came: &[u8]) -> String {
    match came {
        // A record of TLS: an alert, or a handshake.
        [0x15 | 0x16, 3, ..] => "what came is no HTTP answer but TLS: with tls = true it is asked over TLS".to_owned(),
        came => format!("what came is no HTTP answer ({error}): `{}`", readable(came, QUOTED)),
    }
}

/// How the connection ended. A reset is an end for [`Eager`], and so for hyper.
fn ended(error: &hyper::Error, log: &Log) -> String {
    let seen = log.broken().map(|error| plain(&error));
    seen.or_else(|| io_below(error).map(plain)).unwrap_or_else(|| "connection closed".to_owned())
}

fn io_below(error: &hyper::Error) -> Option<&std::io::Error> {
    std::error::Error::source(error)?.downcast_ref()
}
