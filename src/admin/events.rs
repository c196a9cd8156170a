//! The events over the admin port: all that are kept, or those after one that was seen, waiting for the next one.
//!
//! A follower asks again and again with the number of the last event that it saw. Numbers start anew with the program,
//! so it also says of which run that was: of another run, it gets everything.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::AdminState;

/// Longest time that an answer waits for an event: what stands between may cut silent connections.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// `GET /api/v1/events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventsView {
    /// Oldest first.
    pub events: Vec<EventView>,
    /// The run of the program that the numbers belong to.
    pub run: String,
    /// The number of the last event that there is.
    pub last: u64,
    /// Events that were asked for and are not kept any more.
    pub missed: u64,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventView {
    /// Its number, from 1 since the start.
    pub number: u64,
    /// When, RFC 3339.
    pub at: String,
    /// One word.
    pub kind: String,
    /// The pool, where one is concerned.
    pub pool: Option<String>,
    /// The backend, where one is concerned.
    pub backend: Option<String>,
    /// For people.
    pub message: String,
}

/// What a request asks for.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Wanted {
    /// The number of the last event seen.
    after: u64,
    /// The run that it was of.
    run: Option<String>,
    /// How long to wait for an event where there is none.
    wait: Duration,
    /// Events of this pool, and those of no pool.
    pool: Option<String>,
}

impl Wanted {
    /// What comes after what has been seen.
    pub(super) fn behind(self, seen: &EventsView) -> Self {
        Self { after: seen.last, run: Some(seen.run.clone()), ..self }
    }

    /// Reads a query; `decoded` resolves escapes.
    pub(super) fn of(query: &str, decoded: impl Fn(&str) -> String) -> Result<Self, String> {
        let mut wanted = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value);
            let number = || value.parse::<u64>().map_err(|_unparsed| format!("`{key}` is no whole number: {value:?}"));
            match key {
                "after" => wanted.after = number()?,
                "wait" => wanted.wait = Duration::from_secs(number()?).min(MAX_WAIT),
                "run" => wanted.run = Some(value),
                "pool" => wanted.pool = Some(value),
                _ => return Err(format!("`{key}` is not asked here; there are after, run, wait and pool")),
            }
        }
        Ok(wanted)
    }
}

/// Waits where that is wanted, and gives what there is.
pub(super) async fn events(state: &AdminState, wanted: &Wanted) -> EventsView {
    let run = state.started.to_string();
    let of_another_run = wanted.run.as_ref().is_some_and(|theirs| *theirs != run);
    let after = if of_another_run { 0 } else { wanted.after };
    let concerns = |pool: Option<&str>| match (&wanted.pool, pool) {
        (Some(wanted), Some(pool)) => wanted == pool,
        _ => true,
    };
    let look = || {
        let batch = state.events.after(after);
        let first = batch.last - batch.events.len() as u64 + 1;
        let events = (first..).zip(batch.events).filter(|(_, event)| concerns(event.pool.as_deref()));
        let events = events.map(|(number, event)| EventView {
            number,
            at: event.at.to_string(),
            kind: event.kind.word().to_owned(),
            pool: event.pool.map(|name| name.to_string()),
            backend: event.backend.map(|name| name.to_string()),
            message: event.message,
        });
        EventsView { events: events.collect(), run: run.clone(), last: batch.last, missed: batch.missed }
    };
    let waiting = async {
        loop {
            let view = look();
            if !view.events.is_empty() || view.missed > 0 {
                return view;
            }
            state.events.grown_beyond(view.last).await;
        }
    };
    // When nothing has come, the answer says how far the numbers are.
    timeout(wanted.wait, waiting).await.unwrap_or_else(|_elapsed| look())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_what_is_wanted_or_what_is_wrong_with_it() {
        let read = |query: &str| Wanted::of(query, ToOwned::to_owned);
        assert_eq!(read(""), Ok(Wanted::default()));
        let all = read("after=7&run=x&wait=5&pool=web").unwrap();
        let wanted = Wanted { after: 7, run: Some("x".into()), wait: Duration::from_secs(5), pool: Some("web".into()) };
        assert_eq!(all, wanted);
        assert_eq!(read("wait=99999").unwrap().wait, MAX_WAIT);
        for query in ["after=-1", "after=x", "wait", "since=5"] {
            assert!(read(query).is_err(), "{query}");
        }
    }
}
