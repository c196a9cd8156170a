//! Pools and events as they change, for a page that stays open (server-sent events, HTML Living Standard, section 9.2).
//!
//! Each follower has a task that makes a view, waits until it has been taken, and pauses: the longer, the larger the
//! views are, so that a page never costs the control thread more than a small share of its time. A follower that does not
//! read is waited for, with one view in hand.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http_body_util::{Either, Full};
use hyper::body::{Bytes, Frame};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::callers::Caller;
use super::events::{EventsView, Wanted, events};
use super::{AdminState, view};

/// Followers at once.
pub(super) const MAX_STREAMS: usize = 32;
/// Shortest time between two views.
const PAUSE: Duration = Duration::from_secs(1);
/// A view may cost one part in so many of the time.
const SHARE: u32 = 20;
/// The stream ends before its connection does (`MAX_AGE`), so that the follower sees an end and no break.
const LASTS: Duration = Duration::from_secs(590);

/// The body of an answer: whole, or what a follower gets.
pub(super) type Body = Either<Full<Bytes>, Followed>;

/// What comes for a follower, for as long as it may come in; its end ends the task behind it.
pub(super) struct Followed {
    lines: mpsc::Receiver<Bytes>,
    revoked: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
}

impl Followed {
    fn new(lines: mpsc::Receiver<Bytes>, caller: Caller, state: &Arc<AdminState>) -> Self {
        Self { lines, revoked: Box::pin(caller.revoked(Arc::clone(state))) }
    }
}

impl hyper::body::Body for Followed {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.revoked.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        self.lines.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// A body of lines that come one after the other.
pub(super) fn lines(lines: mpsc::Receiver<Bytes>, caller: Caller, state: &Arc<AdminState>) -> Body {
    Either::Right(Followed::new(lines, caller, state))
}

#[derive(Serialize, JsonSchema)]
pub(super) struct News {
    /// Whether these are all that are kept, and not those since the last ones.
    fresh: bool,
    #[serde(flatten)]
    view: EventsView,
}

/// Begins to follow; none where too many do.
pub(super) fn follow(state: &Arc<AdminState>, streams: &Arc<Semaphore>, caller: Caller) -> Option<Body> {
    let place = Arc::clone(streams).try_acquire_owned().ok()?;
    let (sender, receiver) = mpsc::channel(1);
    let body = lines(receiver, caller, state);
    let state = Arc::clone(state);
    tokio::spawn(async move {
        tell(&state, &sender).await;
        drop(place);
    });
    Some(body)
}

/// Tells everything, until nobody listens or it has lasted long enough.
async fn tell(state: &Arc<AdminState>, to: &mpsc::Sender<Bytes>) {
    let begun = Instant::now();
    let mut wanted = Wanted::default();
    let mut fresh = true;
    while begun.elapsed() < LASTS {
        let view = events(state, &wanted).await;
        wanted = wanted.behind(&view);
        if fresh || !view.events.is_empty() {
            let news = message("events", &News { fresh, view });
            fresh = false;
            if to.send(news).await.is_err() {
                return;
            }
        }
        let making = Instant::now();
        let made_for = Arc::clone(state);
        let Ok(overview) = spawn_blocking(move || message("overview", &view::overview(&made_for))).await else {
            return;
        };
        let pause = PAUSE.max(making.elapsed() * SHARE);
        if to.send(overview).await.is_err() {
            return;
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = to.closed() => return,
        }
    }
}

/// A message; JSON on one line, as the framing wants it.
fn message(kind: &str, value: &impl Serialize) -> Bytes {
    let json = serde_json::to_string(value).expect("views are plain values with string keys");
    format!("event: {kind}\ndata: {json}\n\n").into()
}
