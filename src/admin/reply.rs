//! Answers of the admin port in their form: JSON, text, or a sentence that says what is wrong.

use std::time::Duration;

use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use hyper::body::Bytes;
use serde::Serialize;

use super::access::Refusal;
use super::live::Body;
use crate::control::orders::Refused;

/// An answer.
pub(super) type Answer = Response<Body>;

/// What was found or done, or why not.
pub(super) fn found(found: Result<impl Serialize, Refused>) -> Answer {
    match found {
        Ok(value) => json(StatusCode::OK, &value),
        Err(Refused::Unknown(what)) => problem(StatusCode::NOT_FOUND, &what),
        Err(Refused::Conflict(what)) => problem(StatusCode::CONFLICT, &what),
        Err(Refused::Stopping) => problem(StatusCode::SERVICE_UNAVAILABLE, "the program is stopping"),
    }
}

/// Why somebody is not let in, or may not do what was asked for.
pub(super) fn refused(refusal: Refusal) -> Answer {
    match refusal {
        Refusal::Token => stranger("a bearer token is needed (admin.token_file, admin.tokens), or a certificate (admin.clients)"),
        Refusal::Certificate => {
            let mut answer = stranger("no name of this certificate has a role (admin.clients), or it counts no more");
            // Whoever comes anew is judged anew.
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            answer
        }
        Refusal::Slower(wait) => {
            let why = "too many tokens that nobody knows came from there; ask again later, with one that is right";
            later(StatusCode::TOO_MANY_REQUESTS, why, wait)
        }
        Refusal::TooOften(wait) => {
            later(StatusCode::TOO_MANY_REQUESTS, "too many requests came from there (admin.rate)", wait)
        }
        Refusal::Busy(wait) => later(StatusCode::SERVICE_UNAVAILABLE, "too many tokens wait to be proved", wait),
        Refusal::Role => problem(
            StatusCode::FORBIDDEN,
            "the role `read` may look at everything and change nothing: ask as somebody with the role `operate`",
        ),
        Refusal::Host => problem(
            StatusCode::FORBIDDEN,
            "without a token this port answers only to localhost or an address as its Host; set admin.token_file",
        ),
        Refusal::Page => problem(
            StatusCode::FORBIDDEN,
            "send the header X-Evenkeel-Request: 1, so that no web page can do this in your name",
        ),
    }
}

/// A refusal of whoever has not said who it is.
fn stranger(error: &str) -> Answer {
    let mut answer = problem(StatusCode::UNAUTHORIZED, error);
    answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"evenkeel\""));
    answer
}

/// A refusal that is over after a while.
fn later(status: StatusCode, error: &str, wait: Duration) -> Answer {
    let mut answer = problem(status, error);
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    answer
}

/// What is wrong, in a sentence.
pub(super) fn problem(status: StatusCode, error: &str) -> Answer {
    #[derive(Serialize)]
    struct Problem<'e> {
        error: &'e str,
    }
    json(status, &Problem { error })
}

pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    let mut body = serde_json::to_vec(value).expect("views are plain values with string keys");
    body.push(b'\n');
    with_type("application/json", status, body.into())
}

pub(super) fn text(status: StatusCode, body: &str) -> Answer {
    with_type("text/plain; charset=utf-8", status, Bytes::copy_from_slice(body.as_bytes()))
}

pub(super) fn with_type(content_type: &'static str, status: StatusCode, body: Bytes) -> Answer {
    typed(content_type, status, Body::Left(Full::new(body)))
}

pub(super) fn typed(content_type: &'static str, status: StatusCode, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    answer
}
