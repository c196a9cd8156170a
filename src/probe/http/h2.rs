//! One exchange over HTTP/2, on the `h2` library: nothing runs beside the attempt, so that dropping the attempt drops
//! all of it, and trailers can be read, which gRPC needs.
//!
//! Of what is sent, the transcript gets the frames with the headers covered: they are compressed, and a secret in them
//! could not be found any more to be masked. What they say is noted in words instead.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use hyper::body::Bytes;
use hyper::header::HeaderMap;
use hyper::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Answer, Length, MAX_HEAD};
use crate::probe::report::{Failure, Layer, plain};
use crate::probe::tls;
use crate::probe::transcript::Log;

/// How long our own goodbye may take to be written.
const GOODBYE: Duration = Duration::from_millis(50);
/// Most characters of a head that are noted.
const HEAD_NOTED: usize = 1_000;

/// An answer with everything that HTTP/2 brings.
#[derive(Debug)]
pub(in crate::probe) struct Reply {
    pub(in crate::probe) answer: Answer,
    pub(in crate::probe) headers: HeaderMap,
    /// What came after the body.
    pub(in crate::probe) trailers: Option<HeaderMap>,
}

pub(in crate::probe) async fn exchange<S>(
    stream: S,
    request: Request<()>,
    body: Bytes,
    log: &Log,
) -> Result<Reply, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    log.note(asked(&request));
    let broken: Broken = Arc::default();
    let covered = Covered { stream, log: log.clone(), cover: Cover::default(), broken: Arc::clone(&broken) };
    let (sender, mut connection) = h2::client::Builder::new()
        .enable_push(false)
        .max_header_list_size(MAX_HEAD as u32)
        .handshake::<_, Bytes>(covered)
        .await
        .map_err(|error| failed(&error, &broken, "before an answer"))?;
    let (answer, ended) = {
        let mut asking = std::pin::pin!(ask(sender, request, body, log, &broken));
        tokio::select! {
            biased;
            answer = &mut asking => (answer, false),
            ended = &mut connection => (asking.await.map_err(|failure| better_told(failure, ended, &broken)), true),
        }
    };
    if !ended {
        // Nothing is asked any more, so it says GOAWAY and closes. One that cannot be told was told enough.
        let _ = tokio::time::timeout(GOODBYE, connection).await;
    }
    answer
}

async fn ask(
    sender: SendRequest<Bytes>,
    request: Request<()>,
    body: Bytes,
    log: &Log,
    broken: &Broken,
) -> Result<Reply, Failure> {
    let no_answer = |error: h2::Error| failed(&error, broken, "before an answer");
    let mut sender = sender.ready().await.map_err(no_answer)?;
    let (response, mut sending) = sender.send_request(request, body.is_empty()).map_err(no_answer)?;
    if !body.is_empty() {
        sending.send_data(body, true).map_err(no_answer)?;
    }
    let (head, mut incoming) = response.await.map_err(no_answer)?.into_parts();
    let status = head.status.as_u16();
    log.note(received(&Response::from_parts(head.clone(), ())));
    let mut answer = Answer::new(status);
    while answer.length == Length::Whole
        && let Some(data) = incoming.data().await
    {
        let data = data.map_err(|error| failed(&error, broken, &format!("within the body of HTTP {status}")))?;
        // The window is ours to open again; it cannot be closed more than it was.
        let _ = incoming.flow_control().release_capacity(data.len());
        answer.add(&data);
    }
    log.note(format!("body: {} bytes", answer.body.len()));
    let trailers = if answer.length == Length::Whole { trailers(&mut incoming, log, broken).await? } else { None };
    Ok(Reply { answer, headers: head.headers, trailers })
}

async fn trailers(incoming: &mut RecvStream, log: &Log, broken: &Broken) -> Result<Option<HeaderMap>, Failure> {
    let trailers = incoming.trailers().await.map_err(|error| failed(&error, broken, "within the trailers"))?;
    if let Some(trailers) = &trailers {
        log.note(format!("trailers: {}", listed(trailers)));
    }
    Ok(trailers)
}

fn asked(request: &Request<()>) -> String {
    let headers = listed(request.headers());
    format!("asked {} {} over HTTP/2, {headers}", request.method(), request.uri())
}

fn received(response: &Response<()>) -> String {
    format!("head: HTTP {}, {}", response.status().as_u16(), listed(response.headers()))
}

/// `name: value, name: value`.
fn listed(headers: &HeaderMap) -> String {
    let mut text = String::new();
    for (name, value) in headers {
        let comma = if text.is_empty() { "" } else { ", " };
        text.extend([comma, name.as_str(), ": "]);
        text.extend(value.as_bytes().escape_ascii().map(char::from));
        if text.len() > HEAD_NOTED {
            text.truncate(HEAD_NOTED);
            text.push('…');
            break;
        }
    }
    text
}

/// What went wrong is told to the request too, but of a GOAWAY it may hear only that the connection has gone.
fn better_told(failure: Failure, ended: Result<(), h2::Error>, broken: &Broken) -> Failure {
    match ended {
        Err(error) if error.is_go_away() => failed(&error, broken, "before an answer"),
        _ => failure,
    }
}

fn failed(error: &h2::Error, broken: &Broken, when: &str) -> Failure {
    if let Some(failure) = broken.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return failure;
    }
    let reason = error.reason();
    let what = match (error.get_io(), reason.as_ref().map(Reason::description)) {
        (Some(error), _) => format!("{} {when}", plain(error)),
        (None, _) if reason == Some(Reason::HTTP_1_1_REQUIRED) => {
            "it wants HTTP/1.1 for this; write http = \"1.1\"".to_owned()
        }
        (None, Some(reason)) if error.is_remote() && error.is_go_away() => {
            format!("it ended the connection {when}, saying: {reason}")
        }
        (None, Some(reason)) if error.is_remote() => format!("it reset the request {when}, saying: {reason}"),
        (None, Some(reason)) if error.is_library() => {
            format!("what came is no HTTP/2 ({reason}); if it speaks HTTP/1.1 only, write http = \"1.1\"")
        }
        _ => format!("{error} {when}"),
    };
    Failure::new(Layer::Protocol, what)
}

// === impl Covered ===

/// What TLS had against a stream; h2 does not pass it on.
type Broken = Arc<Mutex<Option<Failure>>>;

/// A stream that writes down what passes, with the headers that are sent covered.
struct Covered<S> {
    stream: S,
    log: Log,
    cover: Cover,
    broken: Broken,
}

impl<S> Covered<S> {
    fn note_end<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result
            && let Some(failure) = tls::late(error)
        {
            *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
        }
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Covered<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        self.log.received(&buffer.filled()[before..]);
        Poll::Ready(self.note_end(result))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Covered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        if let Ok(written) = result {
            let mut shown = bytes[..written].to_vec();
            self.cover.over(&mut shown);
            self.log.sent(&shown);
        }
        Poll::Ready(self.note_end(result))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        Poll::Ready(self.note_end(result))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

// === impl Cover ===

/// Length of `PRI * HTTP/2.0…`, which a client sends first.
const PREFACE: usize = 24;
/// Length of a frame's head: length (3), type, flags, stream (4).
const FRAME_HEAD: usize = 9;
/// Types of frames that carry compressed headers.
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;

/// Follows the frames that a client sends, and covers the payload of those that carry headers.
#[derive(Debug)]
struct Cover {
    /// Bytes left of the preface or of a payload.
    left: usize,
    hides: bool,
    head: [u8; FRAME_HEAD],
    /// Bytes of `head` that have come.
    come: usize,
}

impl Default for Cover {
    fn default() -> Self {
        Self { left: PREFACE, hides: false, head: [0; FRAME_HEAD], come: 0 }
    }
}

impl Cover {
    fn over(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            if self.left > 0 {
                self.left -= 1;
                if self.hides {
                    *byte = b'*';
                }
                continue;
            }
            self.head[self.come] = *byte;
            self.come += 1;
            if self.come == FRAME_HEAD {
                let [high, middle, low, kind, ..] = self.head;
                self.left = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                self.hides = matches!(kind, HEADERS | CONTINUATION);
                self.come = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_are_sent_are_covered_and_nothing_else_is() {
        let frame = |kind: u8, payload: &[u8]| [&[0, 0, payload.len() as u8, kind, 4, 0, 0, 0, 1], payload].concat();
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let frames = |headers: &[u8]| {
            [frame(4, b"settings"), frame(1, headers), frame(9, headers), frame(0, b"data"), frame(8, b"more")].concat()
        };
        let sent = [preface.clone(), frames(b"secret"), frames(b"")].concat();
        let shown = [preface, frames(b"******"), frames(b"")].concat();
        for size in [1, 2, 7, 9, 10, 64, sent.len()] {
            let mut cover = Cover::default();
            let mut bytes = sent.clone();
            bytes.chunks_mut(size).for_each(|chunk| cover.over(chunk));
            assert_eq!(bytes, shown, "in pieces of {size}");
        }
    }
}
