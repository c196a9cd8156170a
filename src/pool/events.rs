//! What happened lately: flips of health and reloads, the last thousand, for the API.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

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
    /// One word: `up`, `down`, `reload`, `reload_refused`, ….
    pub kind: &'static str,
    /// For people.
    pub message: String,
}

/// The last [`MAX_EVENTS`] events.
#[derive(Debug, Default)]
pub struct Events(Mutex<VecDeque<Event>>);

impl Events {
    /// Adds one.
    pub fn add(&self, event: Event) {
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() == MAX_EVENTS {
            events.pop_front();
        }
        events.push_back(event);
    }

    /// All of them, oldest first.
    pub fn list(&self) -> Vec<Event> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}
