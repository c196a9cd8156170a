//! A verdict has changed: said once to the operator, in the log and in the list of events.

use std::time::Duration;

use jiff::Timestamp;

use super::watched::Cause;
use crate::health::State;
use crate::pool::Backend;
use crate::pool::events::{Event, Events};

/// Characters that the log shows of what was sent and received.
const LOGGED: usize = 80;

/// A change of one backend's verdict.
#[derive(Debug)]
pub(super) struct Flip<'a> {
    pub(super) backend: &'a Backend,
    pub(super) was: State,
    pub(super) now: State,
    /// How long it was what it was.
    pub(super) lasted: Duration,
    pub(super) cause: &'a Cause,
    /// Backends of the pool that are up now, and all of them.
    pub(super) left_up: usize,
    pub(super) backends: usize,
}

impl Flip<'_> {
    /// Logs it and remembers it.
    pub(super) fn tell(&self, events: &Events) {
        let Self { backend, cause, left_up, .. } = self;
        let check = cause.check.as_deref().unwrap_or("-");
        let layer = cause.layer.map_or("-", super::Layer::word);
        let after_ms = u64::try_from(self.lasted.as_millis()).unwrap_or(u64::MAX);
        if self.now == State::Up {
            tracing::info!(
                pool = %backend.pool, backend = %backend.name, check, reason = %cause.reason,
                was = self.was.word(), after_ms, left_up, "backend is up"
            );
        } else {
            let transcript = (!cause.transcript.steps.is_empty()).then(|| cause.transcript.lines(LOGGED).join("; "));
            tracing::warn!(
                pool = %backend.pool, backend = %backend.name, check, layer, reason = %cause.reason,
                was = self.was.word(), after_ms, left_up, transcript, "backend is down"
            );
        }
        events.add(Event {
            at: Timestamp::now(),
            pool: Some(backend.pool.clone()),
            backend: Some(backend.name.clone()),
            kind: self.now.word(),
            message: self.message(),
        });
    }

    fn message(&self) -> String {
        let Self { cause, left_up, backends, .. } = self;
        let check = cause.check.as_ref().map_or_else(String::new, |check| format!("check {check}: "));
        let layer = cause.layer.map_or_else(String::new, |layer| format!("{}: ", layer.word()));
        let lasted = match self.was {
            State::Unknown => String::new(),
            was => format!(" after {:.1?} {}", self.lasted, was.word()),
        };
        let (now, reason) = (self.now.word(), &cause.reason);
        format!("{now}{lasted}: {check}{layer}{reason}; {left_up} of {backends} up")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::model::Address;
    use crate::probe::{Layer, Transcript};

    #[test]
    fn a_flip_is_one_event_with_everything_that_an_operator_asks() {
        let (evidence, _) = tokio::sync::mpsc::unbounded_channel();
        let address = Address::Socket("127.0.0.1:1".parse().unwrap());
        let backend = Backend::new(Arc::from("portal"), Arc::from("a"), address, 1, evidence);
        let cause = Cause {
            check: Some(Arc::from("mysql")),
            layer: Some(Layer::Connect),
            reason: "connection refused (traffic failed too)".to_owned(),
            transcript: Transcript::default(),
        };
        let flip = Flip {
            backend: &backend,
            was: State::Up,
            now: State::Down,
            lasted: Duration::from_millis(12_345),
            cause: &cause,
            left_up: 1,
            backends: 2,
        };
        let events = Events::default();
        flip.tell(&events);
        let list = events.list();
        assert_eq!(list.len(), 1);
        assert_eq!(
            (list[0].kind, list[0].pool.as_deref(), list[0].backend.as_deref()),
            ("down", Some("portal"), Some("a"))
        );
        assert_eq!(
            list[0].message,
            "down after 12.3s up: check mysql: connect: connection refused (traffic failed too); 1 of 2 up"
        );
    }
}
