//! Who has shown his password a while ago: what lives behind a rule of `basic_auth`.
//!
//! A password is kept by nobody. Of one that was right a keyed hash is remembered for some minutes, so that each further
//! request costs microseconds instead of the slow hash of the file; it is forgotten when the file changes.
//!
//! Locked for a look into a map, by requests with a password only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::FixedState;

use super::mark::{Mark, MarkKey};
use crate::clock;
use crate::config::model::BasicAuth;
use crate::config::users::{Secret, Users};

/// A password that was right is believed for so long.
const BELIEVED: Duration = Duration::from_secs(5 * 60);
/// So many are remembered.
const REMEMBERED_MAX: usize = 4096;

/// A door, and who has passed it.
#[derive(Debug)]
pub struct Door {
    key: MarkKey,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    users: Arc<Users>,
    /// Keyed hashes of name and password, and until when they are believed, in [`clock::millis`].
    right: HashMap<Mark, u64, FixedState>,
}

/// What is to be found out of a password.
#[derive(Debug)]
pub struct Unproven {
    /// The hash that it must fit.
    pub secret: Secret,
    /// Nobody has this name: the hash is somebody else's, and asked for the time that it takes.
    pub stranger: bool,
    users: Arc<Users>,
    mark: Mark,
}

impl Door {
    /// Nobody has passed yet.
    pub fn new(rule: &BasicAuth) -> Self {
        let state = State { users: Arc::clone(&rule.users), right: HashMap::default() };
        Self { key: MarkKey::new(), state: Mutex::new(state) }
    }

    /// Whether this was right a while ago; or else what is to be found out. `None`: there are no users at all.
    pub fn ask(&self, name: &str, password: &[u8]) -> Option<Result<(), Unproven>> {
        let mark = self.mark(name.as_bytes(), password);
        let state = self.state();
        if state.right.get(&mark).is_some_and(|until| clock::millis() < *until) {
            return Some(Ok(()));
        }
        let known = state.users.secret(name);
        let number = u64::from_ne_bytes(self.mark(name.as_bytes(), b"")[..8].try_into().unwrap_or_default());
        let secret = known.or_else(|| state.users.any(number))?.clone();
        Some(Err(Unproven { secret, stranger: known.is_none(), users: Arc::clone(&state.users), mark }))
    }

    /// It was right: it is believed for a while, unless the users have changed meanwhile.
    pub fn believe(&self, proven: &Unproven) {
        let now = clock::millis();
        let mut state = self.state();
        if proven.stranger || !Arc::ptr_eq(&state.users, &proven.users) {
            return;
        }
        if state.right.len() >= REMEMBERED_MAX {
            state.right.retain(|_, until| now < *until);
        }
        if state.right.len() >= REMEMBERED_MAX {
            state.right.clear();
        }
        state.right.insert(proven.mark, now + BELIEVED.as_millis() as u64);
    }

    /// The file has changed. Says whether that makes a difference.
    pub fn replace(&self, users: &Arc<Users>) -> bool {
        let mut state = self.state();
        if state.users == *users {
            return false;
        }
        *state = State { users: Arc::clone(users), right: HashMap::default() };
        true
    }

    fn mark(&self, name: &[u8], password: &[u8]) -> Mark {
        // A name has no colon, so that no other pair reads the same.
        self.key.mark(&[name, b":", password])
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked here, which nobody does, would have left a whole state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
