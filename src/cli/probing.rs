//! `evenkeel check --probe`: asks every check of a configuration once, without a running balancer.
//!
//! The same question to the same address is asked once, as a running one would; names are looked up first.

#![expect(clippy::mutable_key_type, reason = "what a question prepares is no part of what it is known by")]

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use evenkeel::admin::why::{ProbeView, report_view};
use evenkeel::config::model::{Address, Config, Pool, Site};
use evenkeel::health::State;
use evenkeel::probe::{Failure, Layer, Question, Report, Transcript, attempt};
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::probe::{Transcripts, page};
use super::terminal::{Ink, Paint};
use super::transcript::Bytes;

/// Probes at once: a laptop asks, too.
const MAX_AT_ONCE: usize = 64;
/// Longest time that a name may take.
const LOOKUP: Duration = Duration::from_secs(5);

/// What would become of a pool.
#[derive(Debug, Serialize)]
pub(super) struct Probed {
    pool: String,
    /// Backends that would be up; those of a pool without checks are not asked, and would.
    up: usize,
    /// Those that would not.
    pub(super) down: Vec<String>,
    probes: Vec<ProbeView>,
    #[serde(skip)]
    has_checks: bool,
}

impl Probed {
    /// For people.
    pub(super) fn words(&self, paint: Paint) -> String {
        let name = Ink::Bold.on(&self.pool, paint);
        if !self.has_checks {
            return format!("{name}: no checks, nothing was asked\n");
        }
        let ink = if self.down.is_empty() { Ink::Green } else { Ink::Red };
        let share = ink.on(&format!("{} of {} would be up", self.up, self.up + self.down.len()), paint);
        let down = if self.down.is_empty() { String::new() } else { format!(", not {}", self.down.join(", ")) };
        format!("{name}: {share}{down}\n{}", page(&self.probes, Transcripts::Failures, Bytes::Text, paint))
    }
}

type Answers = HashMap<Arc<Question>, Arc<Report>>;

/// Asks for all pools.
pub(super) fn probe(config: &Config) -> anyhow::Result<Vec<Probed>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let answers = runtime.block_on(ask_all(config));
    Ok(config.pools.iter().map(|pool| probed(pool, &answers)).collect())
}

async fn ask_all(config: &Config) -> Answers {
    let room = Arc::new(Semaphore::new(MAX_AT_ONCE));
    let mut asking = JoinSet::new();
    let mut asked = HashSet::new();
    for pool in &config.pools {
        for question in questions(pool).flat_map(|(_, questions)| questions) {
            if asked.insert(Arc::clone(&question)) {
                let room = Arc::clone(&room);
                asking.spawn(async move {
                    let _place = room.acquire().await;
                    let report = ask(&question).await;
                    (question, Arc::new(report))
                });
            }
        }
    }
    asking.join_all().await.into_iter().collect()
}

/// The questions of each backend of a pool, in the order of its checks.
fn questions(pool: &Pool) -> impl Iterator<Item = (&str, Vec<Arc<Question>>)> {
    pool.members.iter().map(|member| {
        let asked = pool.checks.iter().map(|check| Arc::new(Question::of(check, &member.address)));
        (&*member.name, asked.collect())
    })
}

async fn ask(question: &Arc<Question>) -> Report {
    match whereabouts(&question.at).await {
        Ok(address) => attempt(Arc::clone(question), address).await,
        Err(why) => {
            let result = Err(Failure::new(Layer::Resolve, why));
            Report { result, took: Duration::ZERO, transcript: Transcript::default() }
        }
    }
}

async fn whereabouts(at: &Address) -> Result<Site, String> {
    let (name, port) = match at {
        Address::Socket(address) => return Ok(Site::Ip(*address)),
        Address::Unix(name) => return Ok(Site::Unix(name.clone())),
        Address::Name(name, port) => (name, *port),
    };
    match timeout(LOOKUP, tokio::net::lookup_host((&**name, port))).await {
        Ok(Ok(mut found)) => found.next().map(Site::Ip).ok_or_else(|| format!("{name} has no address")),
        Ok(Err(error)) => Err(format!("{name}: {error}")),
        Err(_elapsed) => Err(format!("{name}: no answer within {LOOKUP:?}")),
    }
}

/// A pool: whether each backend would be up, and what the probes found.
fn probed(pool: &Pool, answers: &Answers) -> Probed {
    let now = Timestamp::now();
    let (mut probes, mut down) = (Vec::new(), Vec::new());
    for (backend, questions) in questions(pool) {
        let reports: Vec<_> = questions.iter().filter_map(|question| answers.get(question)).collect();
        let state = |check: usize| match reports.get(check).map(|report| report.result.is_ok()) {
            Some(true) => State::Up,
            Some(false) => State::Down,
            None => State::Unknown,
        };
        if !pool.checks.is_empty() && pool.policy.healthy_when.eval(&state) != State::Up {
            down.push(backend.to_owned());
        }
        probes.extend(pool.checks.iter().zip(&reports).map(|(check, report)| ProbeView {
            backend: backend.to_owned(),
            check: check.name.to_string(),
            report: report_view(report, now),
        }));
    }
    let up = pool.members.len() - down.len();
    Probed { pool: pool.name.to_string(), up, down, probes, has_checks: !pool.checks.is_empty() }
}
