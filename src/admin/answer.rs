//! One request of the admin port: which path, may it, and the answer.
//!
//! Called by the accept loop for each request. The list of paths in [`PATHS`] is what `GET /` prints; whatever may
//! take long (10,000 backends as text) is made on a thread of its own, so that control goes on.

use std::sync::Arc;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::access::{self, Refusal};
use super::{AdminState, Desk, MAX_BODY_BYTES, READ_TIMEOUT, view};
use crate::control::Phase;
use crate::health::State;

const PATHS: &str = "\
evenkeel admin port

GET  /metrics             for Prometheus
GET  /livez               200 while the program runs
GET  /readyz              200 when it is ready for work, else 503; ?pool=NAME also asks for a backend that is up
GET  /healthz             the same as /readyz
GET  /api/v1/pools        pools, backends and checks
GET  /api/v1/pools/NAME   one pool
GET  /api/v1/events       what happened lately
POST /api/v1/reload       read the configuration again (header X-Evenkeel-Request: 1)
";

type Answer = Response<Full<Bytes>>;

/// A path of the admin port.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Index,
    Live,
    Ready,
    Metrics,
    Pools,
    Pool(String),
    Events,
    Reload,
}

impl Place {
    fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/" => Self::Index,
            "/livez" => Self::Live,
            "/readyz" | "/healthz" => Self::Ready,
            "/metrics" => Self::Metrics,
            "/api/v1/pools" => Self::Pools,
            "/api/v1/events" => Self::Events,
            "/api/v1/reload" => Self::Reload,
            _ => Self::Pool(decoded(path.strip_prefix("/api/v1/pools/")?)),
        })
    }

    fn allows(&self, method: &Method) -> bool {
        match self {
            Self::Reload => method == Method::POST,
            _ => method == Method::GET || method == Method::HEAD,
        }
    }
}

/// Answers one request.
pub(super) async fn answer(request: Request<Incoming>, desk: &Desk) -> Answer {
    let Some(place) = Place::of(request.uri().path()) else {
        return problem(StatusCode::NOT_FOUND, "no such path; GET / lists them");
    };
    if !place.allows(request.method()) {
        let allowed = if place == Place::Reload { "POST" } else { "GET, HEAD" };
        let mut answer = problem(StatusCode::METHOD_NOT_ALLOWED, &format!("this path takes {allowed}"));
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
        return answer;
    }
    match place {
        Place::Live => return text(StatusCode::OK, "alive\n"),
        Place::Ready => return ready(&desk.state, request.uri().query()),
        _ => {}
    }
    let in_force = desk.state.table.load().config.admin.token.clone();
    let token = in_force.or_else(|| desk.state.first_token.clone());
    if let Err(refusal) = access::may_read(request.headers(), token.as_deref()) {
        return refused(refusal);
    }
    match place {
        Place::Index | Place::Live | Place::Ready => text(StatusCode::OK, PATHS),
        Place::Metrics => metrics(desk).await,
        Place::Pools => made_apart(&desk.state, |state| json(StatusCode::OK, &view::overview(state))).await,
        Place::Pool(name) => match view::pool(&desk.state, &name) {
            Some(pool) => json(StatusCode::OK, &pool),
            None => problem(StatusCode::NOT_FOUND, &format!("no pool has the name {name:?}")),
        },
        Place::Events => json(StatusCode::OK, &view::events(&desk.state)),
        Place::Reload => match access::may_act(request.headers()) {
            Ok(()) => reload(request, &desk.state).await,
            Err(refusal) => refused(refusal),
        },
    }
}

fn ready(state: &AdminState, query: Option<&str>) -> Answer {
    let phase = state.life.phase();
    if phase != Phase::Ready {
        return text(StatusCode::SERVICE_UNAVAILABLE, &format!("{}\n", view::phase_word(phase)));
    }
    let asked = query.into_iter().flat_map(|query| query.split('&')).filter_map(|pair| pair.strip_prefix("pool="));
    for name in asked.map(decoded) {
        let table = state.table.load();
        let Some(pool) = table.pools.iter().find(|pool| *pool.config.name == *name) else {
            return text(StatusCode::NOT_FOUND, &format!("no pool has the name {name:?}\n"));
        };
        if !pool.backends.iter().any(|backend| backend.state() == State::Up) {
            return text(StatusCode::SERVICE_UNAVAILABLE, &format!("no backend of pool {name:?} is up\n"));
        }
    }
    text(StatusCode::OK, "ready\n")
}

async fn metrics(desk: &Desk) -> Answer {
    let _one_at_a_time = desk.scrape.acquire().await;
    let exposition = Arc::clone(&desk.exposition);
    match spawn_blocking(move || exposition.render()).await {
        Ok(body) => with_type("text/plain; version=0.0.4; charset=utf-8", StatusCode::OK, body.into()),
        Err(_ended) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the scrape was broken off"),
    }
}

/// Makes an answer on a thread of its own.
async fn made_apart(state: &Arc<AdminState>, make: fn(&AdminState) -> Answer) -> Answer {
    let state = Arc::clone(state);
    let answer = spawn_blocking(move || make(&state)).await;
    answer.unwrap_or_else(|_ended| problem(StatusCode::INTERNAL_SERVER_ERROR, "the answer was broken off"))
}

async fn reload(request: Request<Incoming>, state: &AdminState) -> Answer {
    #[derive(Serialize)]
    struct Accepted {
        message: String,
    }
    #[derive(Serialize)]
    struct Refused {
        problems: String,
    }

    // The body says nothing yet; it is read so that the connection can be used again.
    match timeout(READ_TIMEOUT, Limited::new(request.into_body(), MAX_BODY_BYTES).collect()).await {
        Ok(Ok(_)) => {}
        Ok(Err(_)) => return problem(StatusCode::PAYLOAD_TOO_LARGE, "the body is broken or longer than 1 MiB"),
        Err(_elapsed) => return problem(StatusCode::REQUEST_TIMEOUT, "the body did not come"),
    }
    let (answer, answered) = oneshot::channel();
    if state.reload.send(answer).await.is_err() {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "the program is stopping");
    }
    match answered.await {
        Ok(Ok(message)) => json(StatusCode::OK, &Accepted { message }),
        Ok(Err(problems)) => json(StatusCode::CONFLICT, &Refused { problems }),
        Err(_dropped) => problem(StatusCode::SERVICE_UNAVAILABLE, "the program is stopping"),
    }
}

fn refused(refusal: Refusal) -> Answer {
    match refusal {
        Refusal::Token => {
            let mut answer = problem(StatusCode::UNAUTHORIZED, "a bearer token is needed (admin.token_file)");
            answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"evenkeel\""));
            answer
        }
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

fn problem(status: StatusCode, error: &str) -> Answer {
    #[derive(Serialize)]
    struct Problem<'e> {
        error: &'e str,
    }
    json(status, &Problem { error })
}

fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    let mut body = serde_json::to_vec(value).expect("views are plain values with string keys");
    body.push(b'\n');
    with_type("application/json", status, body.into())
}

fn text(status: StatusCode, body: &str) -> Answer {
    with_type("text/plain; charset=utf-8", status, Bytes::copy_from_slice(body.as_bytes()))
}

fn with_type(content_type: &'static str, status: StatusCode, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    answer
}

/// `%41` as `A`; what is no escape stays as it is, and what is no UTF-8 matches no name.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = text.get(at + 1..at + 3).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let escape = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| bytes[at] == b'%');
        out.push(escape.unwrap_or(bytes[at]));
        at += if escape.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_path_is_a_place() {
        let listed = PATHS.lines().skip(2).map(|line| {
            let mut words = line.split_whitespace();
            (words.next().unwrap_or_default(), words.next().unwrap_or_default())
        });
        for (method, path) in listed {
            let place = Place::of(path).unwrap_or_else(|| panic!("{path}"));
            assert!(place.allows(&Method::from_bytes(method.as_bytes()).unwrap()), "{method} {path}");
        }
        assert_eq!(Place::of("/api/v2/pools"), None);
        assert_eq!(Place::of("/metrics/"), None);
    }

    #[test]
    fn escapes_in_names_are_read() {
        for (written, read) in
            [("web", "web"), ("us%2Deast", "us-east"), ("100%", "100%"), ("%zz", "%zz"), ("%C3%A9", "é"), ("é%", "é%")]
        {
            assert_eq!(decoded(written), read);
        }
    }
}
