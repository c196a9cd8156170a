//! `type = "http"`: the request of a check over HTTP/1.1 or HTTP/2, and its answer, read up to [`MAX_BODY`].
//!
//! [`h1`] and [`h2`] speak; [`rules`] says whether the answer is the one that is wanted. Other checks over HTTP ask
//! through [`fetch`], and those of gRPC through [`h2`].

mod eager;
mod h1;
pub(super) mod h2;
mod rules;

use std::sync::Arc;

use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};
use tokio::io::{AsyncRead, AsyncWrite};

use super::question::{Question, Ready};
use super::report::{Failure, Finding, Layer};
use super::tls::Opener;
use super::transcript::Log;
use crate::config::model::{Address, HttpCheck, HttpQuestion, HttpVersion, Site};

/// Most of a body that is read: whatever a health page says, it says early.
pub(super) const MAX_BODY: usize = 64 * 1024;
/// Longest head of an answer.
const MAX_HEAD: usize = 64 * 1024;

/// A request ready to be sent.
#[derive(Debug)]
pub(super) struct Prepared {
    version: HttpVersion,
    request: Request<()>,
    body: Bytes,
    opener: Option<Opener>,
}

/// An answer, as far as it was read.
#[derive(Debug)]
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

/// Asks and judges.
pub(super) async fn ask(question: &Question, check: &HttpCheck, address: &Site, log: &Log) -> Result<Finding, Failure> {
    rules::judge(check, &fetch(question, address, log).await?)
}

/// Asks and reads the answer. Every failure below the answer's meaning ends here.
pub(super) async fn fetch(question: &Question, address: &Site, log: &Log) -> Result<Answer, Failure> {
    let prepared = match question.prepared() {
        Ready::Http(Ok(prepared)) => prepared,
        Ready::Http(Err(why)) => return Err(Failure::new(Layer::Tls, why.clone())),
        _ => return Err(Failure::new(Layer::Local, "this is no question over HTTP")),
    };
    let stream = question.connect(address, log).await?;
    match prepared.opener.as_ref().filter(|_| !question.is_played()) {
        None => prepared.exchange(stream, log).await,
        Some(opener) => prepared.exchange(opener.open(stream, log).await?, log).await,
    }
}

// === impl Prepared ===

impl Prepared {
    pub(super) fn new(question: &HttpQuestion, at: &Address) -> Result<Self, String> {
        let h2 = [Arc::from("h2")];
        let protocols: &[Arc<str>] = match question.version {
            // Servers take HTTP/1.1 for granted, and some stumble over being asked.
            HttpVersion::V1_1 => &[],
            HttpVersion::V2 => &h2,
        };
        let opener = question.tls.as_ref().map(|tls| Opener::new(tls, at, protocols)).transpose()?;
        let scheme = if opener.is_some() { "https" } else { "http" };
        let host = host(question.host.as_deref(), at, opener.is_some());
        let mut headers = HeaderMap::new();
        let uri = match question.version {
            HttpVersion::V1_1 => {
                let host = HeaderValue::from_str(&host).map_err(|_invalid| format!("`{host}` is no host"))?;
                headers.insert(header::HOST, host);
                question.path.to_string()
            }
            HttpVersion::V2 => format!("{scheme}://{host}{}", question.path),
        };
        add(&mut headers, &question.headers)?;
        if question.version == HttpVersion::V1_1 {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        for (name, value) in [(header::USER_AGENT, "evenkeel"), (header::ACCEPT, "*/*")] {
            headers.entry(name).or_insert(HeaderValue::from_static(value));
        }
        // Many servers want to be told that there is no body where there usually is one.
        if question.body.is_empty() && ["POST", "PUT", "PATCH"].contains(&&*question.method) {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let mut request = Request::new(());
        *request.method_mut() =
            Method::from_bytes(question.method.as_bytes()).map_err(|_invalid| "the method is none".to_owned())?;
        *request.uri_mut() = uri.parse::<Uri>().map_err(|error| format!("`{uri}` cannot be asked for: {error}"))?;
        *request.headers_mut() = headers;
        let body = Bytes::copy_from_slice(question.body.as_bytes());
        Ok(Self { version: question.version, request, body, opener })
    }

    async fn exchange<S>(&self, stream: S, log: &Log) -> Result<Answer, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (request, body) = (self.request.clone(), self.body.clone());
        match self.version {
            HttpVersion::V1_1 => h1::exchange(stream, request, body, log).await,
            HttpVersion::V2 => Ok(h2::exchange(stream, request, body, log).await?.answer),
        }
    }
}

/// What is asked for as host: what the check says, else the address without the usual port.
pub(super) fn host(given: Option<&str>, at: &Address, over_tls: bool) -> String {
    if let Some(host) = given {
        return host.to_owned();
    }
    if let Address::Unix(_) = at {
        return at.host().to_string();
    }
    let whole = at.to_string();
    match whole.strip_suffix(if over_tls { ":443" } else { ":80" }) {
        Some(bare) => bare.to_owned(),
        None => whole,
    }
}

/// Adds the headers of a check.
pub(super) fn add(headers: &mut HeaderMap, given: &[(Arc<str>, Arc<str>)]) -> Result<(), String> {
    for (name, value) in given {
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_invalid| format!("`{name}` is no header"))?;
        let value = HeaderValue::from_bytes(value.as_bytes())
            .map_err(|_invalid| format!("the value of header `{name}` cannot be sent"))?;
        headers.append(header, value);
    }
    Ok(())
}

impl Answer {
    fn new(status: u16) -> Self {
        Self { status, body: Vec::new(), length: Length::Whole }
    }

    /// Adds a piece of the body, as far as there is room.
    fn add(&mut self, data: &[u8]) {
        let room = MAX_BODY - self.body.len();
        self.body.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            self.length = Length::Cut;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_the_address_without_the_usual_port() {
        let name = |port| Address::Name(Arc::from("web"), port);
        let rows = [
            (None, name(80), false, "web"),
            (None, name(8080), false, "web:8080"),
            (None, name(443), true, "web"),
            (None, name(443), false, "web:443"),
            (None, Address::Socket("[::1]:80".parse().unwrap()), false, "[::1]"),
            (Some("app.example.com"), name(80), false, "app.example.com"),
        ];
        for (given, at, over_tls, expected) in rows {
            assert_eq!(host(given, &at, over_tls), expected);
        }
    }

    #[test]
    fn what_cannot_be_asked_is_refused_in_a_sentence() {
        let at = Address::Name(Arc::from("web"), 80);
        for version in [HttpVersion::V1_1, HttpVersion::V2] {
            let good = HttpQuestion { version, ..HttpQuestion::get("/health?a=b") };
            assert!(Prepared::new(&good, &at).is_ok());
            let bad_host = HttpQuestion { host: Some(Arc::from("a b\u{7f}")), ..good.clone() };
            assert!(Prepared::new(&bad_host, &at).is_err());
            let headers = vec![(Arc::from("X-\u{e4}"), Arc::from("1"))];
            assert!(Prepared::new(&HttpQuestion { headers, ..good }, &at).is_err());
        }
    }
}
