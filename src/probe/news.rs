//! Something has changed: said once to the operator, in the log and in the list of events.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::watched::Cause;
use crate::health::judge::{Alarm, Disagreement};
use crate::health::{Role, State};
use crate::pool::events::{Event, EventKind, Events};
use crate::pool::{Backend, Pool};

/// Characters that the log shows of what was sent and received.
const LOGGED: usize = 80;

/// A change of one backend's state.
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

/// Any other change.
#[derive(Debug)]
pub(super) enum News<'a> {
    /// Its checks tell another role of a backend.
    Role { backend: &'a Backend, was: Option<Role>, now: Option<Role>, because: &'a str },
    /// Another backend has the work.
    Leader { was: Option<&'a Arc<str>>, now: Option<&'a Arc<str>>, because: &'a str },
    /// Probes and traffic contradict each other, or do so no more.
    Disagreement { backend: &'a Backend, disagreement: Option<Disagreement> },
    /// The time of its drain is over: what is under way at it is cut.
    Cut { backend: &'a Backend, in_flight: u32 },
    /// An alarm begins.
    Raised(&'a Alarm),
    /// It ends.
    Eased(&'a Alarm),
}

impl Flip<'_> {
    /// Logs it and remembers it.
    pub(super) fn tell(&self, events: &Events) {
        let Self { backend, cause, left_up, .. } = self;
        let check = cause.check.as_deref().unwrap_or("-");
        let layer = cause.layer.map_or("-", super::Layer::word);
        let after_ms = u64::try_from(self.lasted.as_millis()).unwrap_or(u64::MAX);
        let was = self.was.word();
        if self.now == State::Down {
            let transcript = (!cause.transcript.steps.is_empty()).then(|| cause.transcript.lines(LOGGED).join("; "));
            tracing::warn!(
                pool = %backend.pool, backend = %backend.name, check, layer, reason = %cause.reason,
                was, after_ms, left_up, transcript, "backend is down"
            );
        } else {
            tracing::info!(
                pool = %backend.pool, backend = %backend.name, check, reason = %cause.reason,
                was, after_ms, left_up, "backend is {}", self.now.word()
            );
        }
        events.add(Event {
            at: Timestamp::now(),
            pool: Some(backend.pool.clone()),
            backend: Some(backend.name.clone()),
            kind: EventKind::State(self.now),
            message: self.message(),
        });
    }

    fn message(&self) -> String {
        let Self { cause, left_up, backends, .. } = self;
        let lasted = match self.was {
            State::Unknown => String::new(),
            was => format!(" after {:.1?} {}", self.lasted, was.word()),
        };
        format!("{}{lasted}: {}; {left_up} of {backends} up", self.now.word(), cause.sentence())
    }
}

impl News<'_> {
    /// Logs it and remembers it.
    pub(super) fn tell(&self, pool: &Pool, events: &Events) {
        let name = &pool.config.name;
        let (kind, backend, message) = self.put();
        match self {
            Self::Raised(alarm) => tracing::warn!(pool = %name, alarm = alarm.kind.word(), "{message}"),
            Self::Eased(alarm) => tracing::info!(pool = %name, alarm = alarm.kind.word(), "{message}"),
            Self::Disagreement { backend, disagreement: Some(_) } => {
                tracing::warn!(pool = %name, backend = %backend.name, "{message}");
            }
            Self::Role { backend, .. } | Self::Disagreement { backend, .. } => {
                tracing::info!(pool = %name, backend = %backend.name, "{message}");
            }
            Self::Cut { backend, in_flight } => {
                tracing::warn!(pool = %name, backend = %backend.name, in_flight, "{message}");
            }
            Self::Leader { .. } => tracing::info!(pool = %name, "{message}"),
        }
        events.add(Event { at: Timestamp::now(), pool: Some(Arc::clone(name)), backend, kind, message });
    }

    /// The kind, whom it concerns, and the sentence.
    fn put(&self) -> (EventKind, Option<Arc<str>>, String) {
        let role = |role: &Option<Role>| role.map_or("without a role", Role::word);
        match self {
            Self::Role { backend, was, now, because } => (
                EventKind::Role,
                Some(Arc::clone(&backend.name)),
                format!("{}, was {}: {because}", role(now), role(was)),
            ),
            Self::Leader { was: None, now: Some(now), because } => {
                (EventKind::Leader, Some(Arc::clone(now)), format!("{now} has the work: {because}"))
            }
            Self::Leader { was: Some(was), now: Some(now), because } => {
                (EventKind::Leader, Some(Arc::clone(now)), format!("{now} has the work, after {was}: {because}"))
            }
            Self::Leader { was, now: None, because } => {
                let after = was.map_or_else(String::new, |was| format!(", after {was}"));
                (EventKind::NoLeader, None, format!("nobody has the work{after}: {because}"))
            }
            Self::Disagreement { backend, disagreement } => {
                let name = Some(Arc::clone(&backend.name));
                match disagreement {
                    Some(disagreement) => {
                        (EventKind::Disagreement(*disagreement), name, disagreement.sentence().to_owned())
                    }
                    None => (EventKind::Agreement, name, "probes and traffic agree again".to_owned()),
                }
            }
            Self::Cut { backend, in_flight } => {
                let what = if *in_flight == 1 { "request or connection" } else { "requests or connections" };
                let message = format!(
                    "the time of its drain is over: {in_flight} {what} left, tried elsewhere where that is safe, else cut"
                );
                (EventKind::Cut, Some(Arc::clone(&backend.name)), message)
            }
            Self::Raised(alarm) => (EventKind::Alarm, None, alarm.message.clone()),
            Self::Eased(alarm) => (EventKind::AlarmOver, None, format!("no more: {}", alarm.message)),
        }
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
            (list[0].kind.word(), list[0].pool.as_deref(), list[0].backend.as_deref()),
            ("down", Some("portal"), Some("a"))
        );
        assert_eq!(
            list[0].message,
            "down after 12.3s up: check mysql: connect: connection refused (traffic failed too); 1 of 2 up"
        );
    }
}
