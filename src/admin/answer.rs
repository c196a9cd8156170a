//! One request of the admin port: which path, may it, and the answer.
//!
//! Called by the accept loop for each request. Whatever may take long (10,000 backends as text) is made on a thread of
//! its own, so that control goes on.

use std::sync::Arc;

use http_body_util::{BodyExt, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_SECURITY_POLICY, ETAG, HeaderValue, REFERRER_POLICY};
use hyper::{HeaderMap, Request, StatusCode};
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::access::{self, Refusal};
use super::audit::Deed;
use super::callers::{Caller, Peer};
use super::changes;
use super::exposition::Asked;
use super::generations::{self, Form};
use super::live;
use super::page::{self, Asset};
use super::place::{Place, decoded};
use super::reply::{Answer, found, json, problem, refused, text, typed, with_type};
use super::routes::{self, How, Missed, Right, Route};
use super::whoami::whoami;
use super::{
    AdminState, Desk, MAX_BODY_BYTES, MAX_CONFIG_BYTES, READ_TIMEOUT, drills, events, incidents, openapi, orders,
    records, security, view, why,
};
use crate::config::model::Role;
use crate::control::{Done, Phase, ReloadRequest, Unchanged, Wanted, Who};
use crate::health::State;

/// Answers one request.
pub(super) async fn answer(request: Request<Incoming>, peer: &Peer, desk: &Desk) -> Answer {
    let (route, place) = match routes::find(request.method(), request.uri().path()) {
        Ok(found) => found,
        Err(missed) => return nowhere(&missed),
    };
    match place {
        Place::Live => return text(StatusCode::OK, "alive\n"),
        Place::Ready => return ready(&desk.state, request.uri().query()),
        // It holds nothing that is not in the program; what it shows it asks for like everybody else.
        Place::Page(asset) => return page(asset),
        Place::Index if page::is_wanted(request.headers()) => return page(Asset::Page),
        _ => {}
    }
    let known = desk.callers.recognize(request.headers(), peer, &desk.state);
    let name = known.as_ref().and_then(Caller::name);
    if let Err(wait) = desk.pace.ask(desk.state.admin().rate.as_ref(), peer, name) {
        return refused(Refusal::TooOften(wait));
    }
    let mut deed = Deed::new(&request, peer, &desk.audit, &desk.state);
    let answer = attend(route, place, request, known, desk, &mut deed).await;
    deed.end(answer.status());
    answer
}

/// Answers whoever has to say who it is.
async fn attend(
    route: &Route,
    place: Place,
    request: Request<Incoming>,
    known: Option<Caller>,
    desk: &Desk,
    deed: &mut Deed<'_>,
) -> Answer {
    let caller = match known {
        Some(caller) => caller,
        None => match desk.callers.identify(request.headers(), deed.peer, &desk.state).await {
            Ok(caller) => caller,
            Err(refusal) => return refused(refusal),
        },
    };
    deed.by(&caller);
    if route.right == Right::Operate && !caller.may_operate() {
        return refused(Refusal::Role);
    }
    if route.how == How::Post {
        return match access::may_act(request.headers()) {
            Ok(()) => {
                deed.begin();
                act(route, place, request, caller, &desk.state, deed).await
            }
            Err(refusal) => refused(refusal),
        };
    }
    show(place, &request, caller, desk).await
}

fn nowhere(missed: &Missed) -> Answer {
    match missed {
        Missed::Path => problem(StatusCode::NOT_FOUND, "no such path; GET / lists them"),
        Missed::Method(allowed) => {
            let mut answer = problem(StatusCode::METHOD_NOT_ALLOWED, &format!("this path takes {allowed}"));
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            answer
        }
    }
}

/// Shows what there is at a place.
async fn show(place: Place, request: &Request<Incoming>, caller: Caller, desk: &Desk) -> Answer {
    let (state, query, role) = (&desk.state, request.uri().query(), caller.role);
    match place {
        Place::Stream => live(desk, caller),
        Place::OpenApi => with_type("application/json", StatusCode::OK, openapi::DOCUMENT.clone()),
        Place::WhoAmI => json(StatusCode::OK, &whoami(&caller, state)),
        Place::Live
        | Place::Ready
        | Place::Index
        | Place::Page(_)
        | Place::Reload
        | Place::Plan
        | Place::Apply
        | Place::Confirm
        | Place::TakeBack
        | Place::Save
        | Place::Rollback(_)
        | Place::Probe(..)
        | Place::Drill(..)
        | Place::Order(..) => text(StatusCode::OK, &routes::LIST),
        Place::Metrics => metrics(desk, query.unwrap_or_default(), request.headers()).await,
        Place::Pools => apart(state, |state| json(StatusCode::OK, &view::overview(state))).await,
        Place::Pool(name) => found(view::pool(state, &name)),
        Place::Backend(pool, backend) => found(view::backend(state, &pool, &backend)),
        Place::Changes => json(StatusCode::OK, &records::changes(state)),
        Place::Security => apart(state, |state| json(StatusCode::OK, &security::report(state))).await,
        Place::Configuration => apart(state, move |state| configuration(state, role)).await,
        Place::Generations => json(StatusCode::OK, &generations::history(state)),
        Place::Generation(number) => {
            apart(state, move |state| found(generations::generation(state, number, role))).await
        },
        Place::Difference(from, to) => apart(state, move |state| found(generations::difference(state, from, to))).await,
        Place::Overrides => json(StatusCode::OK, &orders::overview(&state.orders.standing(), &state.table.load())),
        Place::Events => match events::Wanted::of(query.unwrap_or_default(), decoded) {
            Ok(wanted) => tokio::select! {
                // An event may be what ends it.
                biased;
                () = caller.revoked(Arc::clone(state)) => refused(Refusal::Token),
                events = events::events(state, &wanted) => json(StatusCode::OK, &events),
            },
            Err(fault) => problem(StatusCode::BAD_REQUEST, &fault),
        },
        Place::Incidents => match query.unwrap_or_default() {
            "" => found(incidents::incidents(state, None)),
            query => match query.strip_prefix("pool=") {
                Some(pool) => found(incidents::incidents(state, Some(&decoded(pool)))),
                None => problem(StatusCode::BAD_REQUEST, "only `pool` is asked here: ?pool=NAME"),
            },
        },
        Place::PoolWhy(pool) => found(why::of_pool(state, &pool).await),
        Place::Why(pool, backend) => found(why::of_backend(state, &pool, &backend).await),
    }
}

/// Does what is asked for at a place.
async fn act(
    route: &Route,
    place: Place,
    request: Request<Incoming>,
    caller: Caller,
    state: &Arc<AdminState>,
    deed: &mut Deed<'_>,
) -> Answer {
    let form = Form::of(request.headers());
    let only_over = match changes::only_over(request.headers()) {
        Ok(only_over) => only_over,
        Err(fault) => return problem(StatusCode::BAD_REQUEST, &fault),
    };
    let query = request.uri().query().map(str::to_owned);
    let most = if route.body == routes::Body::Configuration { MAX_CONFIG_BYTES } else { MAX_BODY_BYTES };
    let body = match whole_body(request, most).await {
        Ok(body) => body,
        Err(answer) => return answer,
    };
    if route.body != routes::Body::Configuration {
        deed.say(&body);
    }
    match place {
        Place::Reload => wished(state, Wanted::Files, &body, only_over).await,
        Place::Confirm => wished(state, Wanted::Confirmed, &body, only_over).await,
        Place::Save => wished(state, Wanted::Saved, &body, only_over).await,
        Place::TakeBack => wished(state, Wanted::TakenBack, &body, only_over).await,
        Place::Apply => apply(state, query.as_deref(), &body, form, only_over).await,
        Place::Plan => plan(state, &body, form).await,
        Place::Rollback(number) => match generations::find(&state.history, number) {
            Ok(_) => wished(state, Wanted::Generation(number), &body, only_over).await,
            Err(refused) => found(Err::<(), _>(refused)),
        },
        Place::Probe(pool, backend) => found(why::probe(state, &pool, backend.as_deref()).await),
        Place::Drill(pool, backend) => match drills::wish(pool, backend, &body) {
            Ok(wish) => match drills::begin(state, wish) {
                Ok(lines) => typed("application/x-ndjson", StatusCode::OK, live::lines(lines, caller, state)),
                Err(refused) => found(Err::<(), _>(refused)),
            },
            Err(fault) => problem(StatusCode::BAD_REQUEST, &fault),
        },
        Place::Order(verb, pool, backend) => match orders::wish(verb, &pool, backend.as_deref(), &body) {
            Ok(wish) => found(state.orders.wish(wish).await.map(|done| orders::done(&done))),
            Err(fault) => problem(StatusCode::BAD_REQUEST, &fault),
        },
        // Nothing else acts.
        _ => problem(StatusCode::NOT_FOUND, "nothing is done here"),
    }
}

async fn whole_body(request: Request<Incoming>, most: usize) -> Result<Bytes, Answer> {
    match timeout(READ_TIMEOUT, Limited::new(request.into_body(), most).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(_)) => {
            let limit = format!("the body is broken or longer than {} MiB", most >> 20);
            Err(problem(StatusCode::PAYLOAD_TOO_LARGE, &limit))
        }
        Err(_elapsed) => Err(problem(StatusCode::REQUEST_TIMEOUT, "the body did not come")),
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

fn live(desk: &Desk, caller: Caller) -> Answer {
    match live::follow(&desk.state, &desk.streams, caller) {
        Some(body) => typed("text/event-stream", StatusCode::OK, body),
        None => problem(StatusCode::SERVICE_UNAVAILABLE, "too many follow already"),
    }
}

fn page(asset: Asset) -> Answer {
    let mut answer = with_type(asset.content_type(), StatusCode::OK, Bytes::from_static(asset.bytes()));
    answer.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(page::POLICY));
    answer.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    answer
}

async fn metrics(desk: &Desk, query: &str, headers: &HeaderMap) -> Answer {
    let asked = match Asked::of(query, headers, desk.state.table.load().config.metrics.backends) {
        Ok(asked) => asked,
        Err(fault) => return problem(StatusCode::BAD_REQUEST, &fault),
    };
    let _one_at_a_time = desk.scrape.acquire().await;
    match desk.exposition.scrape(asked).await {
        Some(body) => with_type(asked.content_type(), StatusCode::OK, body.into()),
        None => problem(StatusCode::INTERNAL_SERVER_ERROR, "the scrape was broken off"),
    }
}

/// Makes an answer on a thread of its own.
async fn apart(state: &Arc<AdminState>, make: impl FnOnce(&AdminState) -> Answer + Send + 'static) -> Answer {
    let state = Arc::clone(state);
    let answer = spawn_blocking(move || make(&state)).await;
    answer.unwrap_or_else(|_ended| problem(StatusCode::INTERNAL_SERVER_ERROR, "the answer was broken off"))
}

async fn plan(state: &Arc<AdminState>, body: &Bytes, form: Form) -> Answer {
    match generations::sent(body, form) {
        Err(fault) => problem(StatusCode::BAD_REQUEST, &fault),
        Ok(written) => {
            apart(state, move |state| match generations::planned(state, written) {
                Ok(plan) => json(StatusCode::OK, &plan),
                Err(problems) => json(StatusCode::CONFLICT, &problems),
            })
            .await
        }
    }
}

/// What is in force, with its hash as the tag by which changes can be made over it alone.
fn configuration(state: &AdminState, role: Role) -> Answer {
    let view = changes::in_force(state, role);
    let mut answer = json(StatusCode::OK, &view);
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", view.hash)) {
        answer.headers_mut().insert(ETAG, tag);
    }
    answer
}

/// Has what is sent take effect.
async fn apply(state: &AdminState, query: Option<&str>, body: &Bytes, form: Form, over: Option<Vec<String>>) -> Answer {
    if let Err(why) = changes::may_send(state) {
        return problem(StatusCode::FORBIDDEN, why);
    }
    match generations::sent(body, form).and_then(|written| Ok((written, changes::terms(query)?))) {
        Ok((written, (who, terms))) => grant(state, Wanted::Sent(written, terms), who, over).await,
        Err(fault) => problem(StatusCode::BAD_REQUEST, &fault),
    }
}

/// The same for what needs no more than who wants it.
async fn wished(state: &AdminState, wanted: Wanted, body: &Bytes, over: Option<Vec<String>>) -> Answer {
    match changes::who(body) {
        Ok(who) => grant(state, wanted, who, over).await,
        Err(fault) => problem(StatusCode::BAD_REQUEST, &fault),
    }
}

async fn grant(state: &AdminState, wanted: Wanted, who: Who, only_over: Option<Vec<String>>) -> Answer {
    #[derive(Serialize)]
    struct Problems {
        problems: String,
    }

    let (answer, answered) = oneshot::channel();
    if state.reload.send(ReloadRequest { wanted, who, only_over, answer }).await.is_err() {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "the program is stopping");
    }
    match answered.await {
        Ok(Ok(Done { message, generation, hash })) => {
            json(StatusCode::OK, &changes::DoneView { message, generation, hash })
        }
        Ok(Err(Unchanged::Problems(problems))) => json(StatusCode::CONFLICT, &Problems { problems }),
        Ok(Err(Unchanged::Conflict(why))) => problem(StatusCode::CONFLICT, &why),
        Ok(Err(Unchanged::Stale(why))) => problem(StatusCode::PRECONDITION_FAILED, &why),
        Err(_dropped) => problem(StatusCode::SERVICE_UNAVAILABLE, "the program is stopping"),
    }
}
