//! What one process knows of the checks, for the one that takes over from it.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use super::question::Question;
use super::schedule::Runner;
use crate::balance::hash;
use crate::health::judge::Past;
use crate::pool::Backend;

/// What is known of the checks of one backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastBackend {
    /// Its pool.
    pub pool: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its checks.
    pub checks: Vec<PastCheck>,
}

/// What is known of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastCheck {
    /// Its name.
    pub name: Arc<str>,
    /// Hash of what is asked, and where: what was answered to another question says nothing.
    pub question: u64,
    /// What was seen.
    pub past: Past,
}

/// What a process before this one knew, by pool and backend.
#[derive(Debug)]
pub(super) struct Memory(HashMap<(Arc<str>, Arc<str>), Vec<PastCheck>>);

impl Memory {
    pub(super) fn new(past: Vec<PastBackend>) -> Self {
        Self(past.into_iter().map(|it| ((it.pool, it.name), it.checks)).collect())
    }

    /// What was known of this question to this backend.
    pub(super) fn find(&self, backend: &Backend, check: &str, question: &Question) -> Option<Past> {
        let checks = self.0.get(&(Arc::clone(&backend.pool), Arc::clone(&backend.name)))?;
        let known = checks.iter().find(|known| *known.name == *check)?;
        (known.question == fingerprint(question)).then_some(known.past)
    }
}

impl Runner {
    /// What is known of all checks.
    pub(super) fn recall(&self) -> Vec<PastBackend> {
        let of = |watched: &super::watched::Watched| {
            let judge = self.judges.get(watched.pool)?;
            let checks = watched.checks.iter().enumerate().filter_map(|(at, watch)| {
                let (streak, says) = judge.check(watched.position, at)?;
                let question = fingerprint(&self.agenda.get(watch.question)?.question);
                let past = Past { state: streak.state(), against: streak.against(), says };
                Some(PastCheck { name: Arc::clone(&watch.name), question, past })
            });
            let (pool, name) = (Arc::clone(&watched.backend.pool), Arc::clone(&watched.backend.name));
            Some(PastBackend { pool, name, checks: checks.collect() })
        };
        self.watched.values().filter_map(of).collect()
    }
}

/// The same for the same question, in whichever process.
fn fingerprint(question: &Question) -> u64 {
    let mut text = String::new();
    // Writing into a string does not fail.
    let _ = write!(text, "{:?} {} {:?}", question.kind, question.at, question.send_proxy);
    hash(text.as_bytes())
}
