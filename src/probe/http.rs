//! `type = "http"`: the request of a check, and whether the answer is the one that is wanted.
//!
//! hyper reads the answer, strictly. Some status scripts answer without reading the request and close at once; the
//! answer counts all the same when it is complete ([`super::eager::Eager`]). At most [`MAX_BODY`] of a body are read.

use std::net::SocketAddr;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::eager::Eager;
use super::question::{Question, Ready};
use super::report::{Failure, Finding, Layer, plain};
use super::tls::{self, Opener};
use super::transcript::{Log, Recorder};
use crate::config::model::{Address, BodyRule, HttpCheck, HttpQuestion};

/// Most of a body that is read: whatever a health page says, it says early.
pub(super) const MAX_BODY: usize = 64 * 1024;
/// Longest head of an answer.
const MAX_HEAD: usize = 64 * 1024;

/// A request ready to be sent.
#[derive(Debug)]
pub(super) struct Prepared {
    request: Request<Empty<Bytes>>,
    tls: Option<Opener>,
}

/// An answer, as far as it was read.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    pub(super) length: Length,
}

/// How much of a body was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// All.
    Whole,
    /// The first [`MAX_BODY`] of it.
    Cut,
}

impl Prepared {
    pub(super) fn new(question: &HttpQuestion, at: &Address) -> Result<Self, String> {
        let tls = question.tls.as_ref().map(|tls| Opener::new(tls, at, &[])).transpose()?;
        let default_port = if tls.is_some() { 443 } else { 80 };
        let mut headers = HeaderMap::new();
        for (name, value) in &question.headers {
            let header =
                HeaderName::from_bytes(name.as_bytes()).map_err(|_invalid| format!("`{name}` is no header"))?;
            let value = HeaderValue::from_bytes(value.as_bytes())
                .map_err(|_invalid| format!("the value of header `{name}` cannot be sent"))?;
            headers.append(header, value);
        }
        let host = question.host.as_ref().map_or_else(|| authority(at, default_port), ToString::to_string);
        let defaults = [(header::HOST, host.as_str()), (header::USER_AGENT, "evenkeel"), (header::ACCEPT, "*/*")];
        for (name, value) in defaults {
            if !headers.contains_key(&name) {
                let value = HeaderValue::from_str(value).map_err(|_invalid| format!("`{value}` is no host"))?;
                headers.insert(name, value);
            }
        }
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        let mut request = Request::new(Empty::new());
        *request.method_mut() =
            Method::from_bytes(question.method.as_bytes()).map_err(|_invalid| "the method is none".to_owned())?;
        *request.uri_mut() =
            question.path.parse::<Uri>().map_err(|error| format!("`{}` is no path: {error}", question.path))?;
        *request.headers_mut() = headers;
        Ok(Self { request, tls })
    }
}

fn authority(at: &Address, default_port: u16) -> String {
    let whole = at.to_string();
    match whole.strip_suffix(&format!(":{default_port}")) {
        Some(bare) => bare.to_owned(),
        None => whole,
    }
}

pub(super) async fn ask(
    question: &Question,
    check: &HttpCheck,
    address: SocketAddr,
    log: &Log,
) -> Result<Finding, Failure> {
    let answer = fetch(question, address, log).await?;
    let status = answer.status;
    if !check.statuses.iter().any(|(from, to)| (*from..=*to).contains(&status)) {
        return Err(Failure::new(Layer::Answer, format!("HTTP {status}, wanted {}", ranges(&check.statuses))));
    }
    let Some(rule) = &check.body else { return Ok(Finding::new(format!("HTTP {status}"))) };
    match judge(rule, &answer) {
        Ok(()) => Ok(Finding::new(format!("HTTP {status}, body as wanted"))),
        Err(what) => Err(Failure::new(Layer::Answer, format!("HTTP {status}, but {what}"))),
    }
}

/// Asks and reads the answer. Every failure below the answer's meaning ends here.
pub(super) async fn fetch(question: &Question, address: SocketAddr, log: &Log) -> Result<Answer, Failure> {
    let prepared = match question.prepared() {
        Ready::Http(Ok(prepared)) => prepared,
        Ready::Http(Err(why)) => return Err(Failure::new(Layer::Tls, why.clone())),
        _ => return Err(Failure::new(Layer::Local, "this is no question over HTTP")),
    };
    let stream = question.connect(address, log).await?;
    match &prepared.tls {
        None => exchange(Recorder::new(stream, log), prepared.request.clone(), log).await,
        Some(tls) => {
            let stream = tls.open(stream, log).await?;
            exchange(Recorder::new(stream, log), prepared.request.clone(), log).await
        }
    }
}

async fn exchange<S>(stream: S, request: Request<Empty<Bytes>>, log: &Log) -> Result<Answer, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    log.note(format!("asked {} {}", request.method(), request.uri()));
    let io = TokioIo::new(Eager::new(stream));
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .max_headers(256)
        .handshake(io)
        .await
        .map_err(|error| no_answer(&error))?;
    let asking = async {
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
    let mut answer = Answer { status, body: Vec::new(), length: Length::Whole };
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| match cause(&error) {
            Some(why) => Failure::new(Layer::Protocol, format!("{why} within the body of HTTP {status}")),
            None => Failure::new(Layer::Protocol, format!("closed within the body of HTTP {status}")),
        })?;
        let Ok(data) = frame.into_data() else { continue };
        let room = MAX_BODY - answer.body.len();
        answer.body.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            answer.length = Length::Cut;
            break;
        }
    }
    log.note(format!("body: {} bytes", answer.body.len()));
    Ok(answer)
}

fn judge(rule: &BodyRule, answer: &Answer) -> Result<(), String> {
    match rule {
        BodyRule::Contains(text) => match memchr::memmem::find(&answer.body, text.as_bytes()) {
            Some(_) => Ok(()),
            None => Err(format!("the body does not contain `{text}`: {}", excerpt(&answer.body))),
        },
        BodyRule::Matches(pattern) if pattern.0.is_match(&answer.body) => Ok(()),
        BodyRule::Matches(pattern) => {
            Err(format!("the body does not match `{}`: {}", pattern.0.as_str(), excerpt(&answer.body)))
        }
        BodyRule::JsonEquals { .. } if answer.length == Length::Cut => {
            Err(format!("the body is longer than {} KiB", MAX_BODY / 1024))
        }
        BodyRule::JsonEquals { pointer, value } => {
            let json: serde_json::Value = serde_json::from_slice(&answer.body)
                .map_err(|_invalid| format!("the body is no JSON: {}", excerpt(&answer.body)))?;
            let wanted: serde_json::Value =
                serde_json::from_str(value).map_err(|_invalid| format!("the wanted value `{value}` is no JSON"))?;
            match json.pointer(pointer) {
                Some(found) if *found == wanted => Ok(()),
                Some(found) => Err(format!("`{pointer}` is {}, wanted {value}", short(&found.to_string()))),
                None => Err(format!("the body has no `{pointer}`")),
            }
        }
    }
}

/// The beginning of a body, fit for one line of a log.
fn excerpt(body: &[u8]) -> String {
    if body.is_empty() {
        return "it is empty".to_owned();
    }
    let start = String::from_utf8_lossy(&body[..body.len().min(240)]);
    format!("it starts `{}`", short(&start))
}

fn short(text: &str) -> String {
    const MAX: usize = 60;
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX).collect();
    if text.chars().count() > MAX {
        line.push('…');
    }
    line
}

fn ranges(statuses: &[(u16, u16)]) -> String {
    let texts: Vec<String> =
        statuses.iter().map(|(from, to)| if from == to { from.to_string() } else { format!("{from}-{to}") }).collect();
    texts.join(", ")
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::model::Pattern;

    #[test]
    fn the_body_is_judged_by_its_rule() {
        let contains = |text: &str| BodyRule::Contains(Arc::from(text));
        let matches = |text: &str| BodyRule::Matches(Pattern(regex::bytes::Regex::new(text).unwrap()));
        let json =
            |pointer: &str, value: &str| BodyRule::JsonEquals { pointer: Arc::from(pointer), value: Arc::from(value) };
        let rows: &[(BodyRule, &[u8], bool)] = &[
            (contains("ok"), b"all ok here", true),
            (contains("ok"), b"all K here", false),
            (contains(""), b"", true),
            (matches("^O[kK]$"), b"OK", true),
            (matches("^O[kK]$"), b"OK\n", false),
            (matches("(?i)READY"), b"\xff ready \xfe", true),
            (json("/database", "\"ok\""), br#"{"database": "ok"}"#, true),
            (json("/database", "\"ok\""), br#"{"database": "bad"}"#, false),
            (json("/a/0/b", "1"), br#"{"a": [{"b": 1}]}"#, true),
            (json("/a/0/b", "true"), br#"{"a": [{"b": 1}]}"#, false),
            (json("/gone", "null"), br#"{"a": 1}"#, false),
            (json("", "{\"b\":2,\"a\":1}"), br#"{"a": 1, "b": 2}"#, true),
            (json("/a", "1"), b"<html>", false),
            (json("/a", "1"), b"", false),
        ];
        for (rule, body, good) in rows {
            let answer = Answer { status: 200, body: body.to_vec(), length: Length::Whole };
            let judged = judge(rule, &answer);
            assert_eq!(judged.is_ok(), *good, "{rule:?} over {:?}: {judged:?}", String::from_utf8_lossy(body));
        }
        let cut = Answer { status: 200, body: b"{\"a\":1}".to_vec(), length: Length::Cut };
        assert!(judge(&json("/a", "1"), &cut).is_err());
    }

    #[test]
    fn an_excerpt_is_one_short_line() {
        let text = excerpt("grüße\r\n\0und so weiter, ".repeat(50).as_bytes());
        assert!(text.chars().count() < 90 && !text.contains('\n') && text.ends_with("…`"), "{text}");
        assert_eq!(excerpt(b""), "it is empty");
    }

    #[test]
    fn the_host_is_the_address_without_the_usual_port() {
        let name = |port| Address::Name(Arc::from("web"), port);
        assert_eq!(authority(&name(80), 80), "web");
        assert_eq!(authority(&name(8080), 80), "web:8080");
        assert_eq!(authority(&name(443), 443), "web");
        assert_eq!(authority(&Address::Socket("[::1]:80".parse().unwrap()), 80), "[::1]");
    }
}
