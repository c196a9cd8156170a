//! What happened lately: flips of health, roles, overrides and reloads, the last thousand, for the API.
//!
//! Each event has a number, counted from 1 since the start, so that whoever follows can say which one it saw last.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

use super::incidents::Incidents;
use crate::health::State;
use crate::health::judge::Disagreement;

/// Events kept; the oldest leaves first.
pub const MAX_EVENTS: usize = 1_000;

/// One event.
#[derive(Debug, Clone)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// The pool, where one is concerned.
    pub pool: Option<Arc<str>>,
    /// The backend, where one is concerned.
    pub backend: Option<Arc<str>>,
    /// What has happened.
    pub kind: EventKind,
    /// For people.
    pub message: String,
}

/// What may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// The state of a backend is another one.
    State(State),
    /// Its checks tell another role of a backend.
    Role,
    /// Another backend has the work of a pool in which one alone has it.
    Leader,
    /// Nobody has it.
    NoLeader,
    /// Probes and traffic contradict each other.
    Disagreement(Disagreement),
    /// They do so no more.
    Agreement,
    /// Somebody should look at something.
    Alarm,
    /// No more.
    AlarmOver,
    /// An operator has ordered something.
    Override,
    /// It was taken back.
    OverrideTakenBack,
    /// Its time was over.
    OverrideExpired,
    /// The time of a drain was over, and what was left was cut.
    Cut,
    /// A drill has put a fault in the way to a backend.
    Drill,
    /// It has ended.
    DrillOver,
    /// Another configuration is in force.
    Reload,
    /// It was refused.
    ReloadRefused,
    /// A configuration that was sent is in force.
    Applied,
    /// It was confirmed.
    Confirmed,
    /// It was not, or its guard did not hold, or somebody wanted it so: what was before is in force again.
    TakenBack,
    /// This process has taken over from another.
    Upgrade,
    /// Another process has not taken over from this one.
    UpgradeFailed,
}

impl EventKind {
    /// All of them, in the order in which they are documented.
    pub const ALL: [Self; 26] = [
        Self::State(State::Up),
        Self::State(State::Down),
        Self::State(State::Draining),
        Self::State(State::Maintenance),
        Self::State(State::Unknown),
        Self::Role,
        Self::Leader,
        Self::NoLeader,
        Self::Disagreement(Disagreement::ALL[0]),
        Self::Disagreement(Disagreement::ALL[1]),
        Self::Agreement,
        Self::Alarm,
        Self::AlarmOver,
        Self::Override,
        Self::OverrideTakenBack,
        Self::OverrideExpired,
        Self::Cut,
        Self::Drill,
        Self::DrillOver,
        Self::Reload,
        Self::ReloadRefused,
        Self::Applied,
        Self::Confirmed,
        Self::TakenBack,
        Self::Upgrade,
        Self::UpgradeFailed,
    ];

    /// The word that the API and the command line use.
    pub fn word(self) -> &'static str {
        match self {
            Self::State(state) => state.word(),
            Self::Role => "role",
            Self::Leader => "leader",
            Self::NoLeader => "no_leader",
            Self::Disagreement(disagreement) => disagreement.word(),
            Self::Agreement => "agreement",
            Self::Alarm => "alarm",
            Self::AlarmOver => "alarm_over",
            Self::Override => "override",
            Self::OverrideTakenBack => "override_taken_back",
            Self::OverrideExpired => "override_expired",
            Self::Cut => "cut",
            Self::Drill => "drill",
            Self::DrillOver => "drill_over",
            Self::Reload => "reload",
            Self::ReloadRefused => "reload_refused",
            Self::Applied => "applied",
            Self::Confirmed => "confirmed",
            Self::TakenBack => "taken_back",
            Self::Upgrade => "upgrade",
            Self::UpgradeFailed => "upgrade_failed",
        }
    }
}

/// The last [`MAX_EVENTS`] events.
#[derive(Debug, Default)]
pub struct Events {
    kept: Mutex<VecDeque<Event>>,
    /// The number of the last one.
    last: watch::Sender<u64>,
    /// Those among them that were failures of backends, in figures.
    pub incidents: Incidents,
}

/// The events after a given one.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Oldest first.
    pub events: Vec<Event>,
    /// The number of the last event that there was; those of `events` count up to it.
    pub last: u64,
    /// Events that were asked for and are not kept any more.
    pub missed: u64,
}

impl Events {
    /// Adds one.
    pub fn add(&self, event: Event) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == MAX_EVENTS {
            kept.pop_front();
        }
        kept.push_back(event);
        // Under the lock: who sees the number finds the event.
        self.last.send_modify(|last| *last += 1);
    }

    /// All of them, oldest first.
    pub fn list(&self) -> Vec<Event> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Those after the one with this number; a number that does not exist yet has none after it.
    pub fn after(&self, number: u64) -> Batch {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let last = *self.last.borrow();
        let wanted = last.saturating_sub(number);
        let there = usize::try_from(wanted).unwrap_or(usize::MAX).min(kept.len());
        let events = kept.iter().skip(kept.len() - there).cloned().collect();
        Batch { events, last, missed: wanted - there as u64 }
    }

    /// The number of the last one.
    pub fn last(&self) -> u64 {
        *self.last.borrow()
    }

    /// Waits until there is an event after the one with this number.
    pub async fn grown_beyond(&self, number: u64) {
        let mut last = self.last.subscribe();
        // An error would mean that the list is gone, and with it whoever waits.
        let _ = last.wait_for(|last| *last > number).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(message: usize) -> Event {
        Event {
            at: Timestamp::UNIX_EPOCH,
            pool: None,
            backend: None,
            kind: EventKind::Reload,
            message: message.to_string(),
        }
    }

    #[test]
    fn a_follower_gets_each_event_once_and_is_told_what_it_missed() {
        let events = Events::default();
        assert_eq!((events.after(0).last, events.after(0).events.len()), (0, 0));
        for number in 1..=3 {
            events.add(event(number));
        }
        let seen = |number: u64| {
            let batch = events.after(number);
            let messages: Vec<_> = batch.events.iter().map(|event| event.message.clone()).collect();
            (messages.join(" "), batch.last, batch.missed)
        };
        assert_eq!(seen(0), ("1 2 3".to_owned(), 3, 0));
        assert_eq!(seen(2), ("3".to_owned(), 3, 0));
        assert_eq!(seen(3), (String::new(), 3, 0));
        assert_eq!(seen(99), (String::new(), 3, 0), "a number of another life");
        for number in 4..=MAX_EVENTS + 5 {
            events.add(event(number));
        }
        let batch = events.after(2);
        assert_eq!((batch.events.len(), batch.missed), (MAX_EVENTS, 3));
        assert_eq!(batch.events[0].message, "6");
        assert_eq!(events.list().len(), MAX_EVENTS);
    }

    #[tokio::test]
    async fn who_waits_is_woken_by_the_next_event() {
        let events = Arc::new(Events::default());
        events.add(event(1));
        events.grown_beyond(0).await;
        let waiting = tokio::spawn({
            let events = Arc::clone(&events);
            async move { events.grown_beyond(1).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        events.add(event(2));
        waiting.await.unwrap();
    }
}
