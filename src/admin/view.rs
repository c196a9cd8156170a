//! What the API shows: pools, backends, checks and events as plain values that JSON carries.
//!
//! The command line reads the same types back, so that both sides agree by construction. A view is a moment's copy;
//! nothing here changes anything.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use serde::{Deserialize, Serialize};

use super::AdminState;
use crate::balance::Balance;
use crate::clock;
use crate::config::model::{self, Standing};
use crate::control::Phase;
use crate::health::{Expression, State};
use crate::metrics::{FAILURES, STATUS_CLASSES};
use crate::pool::{Backend, Pool};

/// `GET /api/v1/pools`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overview {
    /// The program's version.
    pub version: String,
    /// `starting`, `ready` or `stopping`.
    pub phase: String,
    /// Number of the configuration in force.
    pub generation: u64,
    /// Seconds since the program started.
    pub uptime_seconds: f64,
    /// Listeners in the order of the configuration.
    pub listeners: Vec<ListenerView>,
    /// Pools in the order of the configuration.
    pub pools: Vec<PoolView>,
}

/// A listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListenerView {
    /// Its name.
    pub name: String,
    /// Where it accepts.
    pub binds: Vec<String>,
    /// `http` or `tcp`.
    pub protocol: String,
    /// Client connections open now.
    pub connections: u32,
    /// Answers sent, by status class; classes never seen are left out.
    pub responses: BTreeMap<String, u64>,
}

/// `GET /api/v1/pools/NAME`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PoolView {
    /// Its name.
    pub name: String,
    /// How a backend is picked, as the configuration says it.
    pub balance: String,
    /// When a backend counts as up; empty without checks.
    pub healthy_when: String,
    /// How many of `backends` are up.
    pub backends_up: usize,
    /// Answers sent, by status class; classes never seen are left out.
    pub responses: BTreeMap<String, u64>,
    /// Requests and connections that failed, by cause; causes never seen are left out.
    pub failed: BTreeMap<String, u64>,
    /// Further attempts made.
    pub retries: u64,
    /// Requests that wait now because no backend can serve.
    pub waiting: u32,
    /// Backends in the order of the configuration.
    pub backends: Vec<BackendView>,
}

/// A backend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackendView {
    /// Its name.
    pub name: String,
    /// Its address, as the configuration says it.
    pub address: String,
    /// Where the address points now; absent while a name is unresolved.
    pub resolved: Option<String>,
    /// Its share of the work.
    pub weight: u16,
    /// Whether it works only when no other does.
    pub backup: bool,
    /// The verdict.
    pub state: String,
    /// How long the verdict has stood.
    pub since_seconds: f64,
    /// Requests, tunnels and TCP connections under way.
    pub in_flight: u32,
    /// Response time of the recent past; absent before the first answer.
    pub latency_seconds: Option<f64>,
    /// Requests and TCP connections given to it.
    pub picks: u64,
    /// Answers that it gave, by status class; classes never seen are left out.
    pub responses: BTreeMap<String, u64>,
    /// Connections that could not be opened, and attempts that failed afterwards.
    pub failures: u64,
    /// Bytes from it.
    pub received_bytes: u64,
    /// Bytes to it.
    pub sent_bytes: u64,
    /// What its checks last said.
    pub checks: Vec<CheckView>,
}

/// What a check last said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckView {
    /// Its name.
    pub name: String,
    /// `up`, `down` or `unknown`.
    pub state: String,
    /// What the last probe found, for people.
    pub reason: String,
    /// How long the last probe took.
    pub duration_seconds: f64,
    /// How long ago the last probe ended.
    pub age_seconds: f64,
}

/// `GET /api/v1/events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventsView {
    /// Oldest first.
    pub events: Vec<EventView>,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventView {
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

/// All of it.
pub fn overview(state: &AdminState) -> Overview {
    let table = state.table.load();
    Overview {
        version: state.version.to_owned(),
        phase: phase_word(state.life.phase()).to_owned(),
        generation: table.generation,
        uptime_seconds: (jiff::Timestamp::now() - state.started).total(jiff::Unit::Second).unwrap_or_default(),
        listeners: table.listeners.iter().map(|listener| listener_view(listener)).collect(),
        pools: table.pools.iter().map(|pool| pool_view(pool)).collect(),
    }
}

/// The pool of that name.
pub fn pool(state: &AdminState, name: &str) -> Option<PoolView> {
    let table = state.table.load();
    table.pools.iter().find(|pool| &*pool.config.name == name).map(|pool| pool_view(pool))
}

/// What happened lately.
pub fn events(state: &AdminState) -> EventsView {
    let events = state.events.list().into_iter().map(|event| EventView {
        at: event.at.to_string(),
        kind: event.kind.to_owned(),
        pool: event.pool.map(|name| name.to_string()),
        backend: event.backend.map(|name| name.to_string()),
        message: event.message,
    });
    EventsView { events: events.collect() }
}

/// The word for a phase.
pub fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Starting => "starting",
        Phase::Ready => "ready",
        Phase::Stopping => "stopping",
    }
}

fn listener_view(listener: &crate::route::Listener) -> ListenerView {
    ListenerView {
        name: listener.config.name.to_string(),
        binds: listener.config.binds.iter().map(ToString::to_string).collect(),
        protocol: match listener.config.protocol {
            model::Protocol::Http => "http".to_owned(),
            model::Protocol::Tcp => "tcp".to_owned(),
        },
        connections: listener.open.load(Relaxed),
        responses: seen(&STATUS_CLASSES, |at| listener.stats.sum(|it| &it.responses[at])),
    }
}

fn pool_view(pool: &Pool) -> PoolView {
    PoolView {
        name: pool.config.name.to_string(),
        balance: balance_text(&pool.config.balance),
        healthy_when: expression_text(&pool.config.policy.healthy_when, &pool.config.checks),
        backends_up: pool.backends.iter().filter(|backend| backend.state() == State::Up).count(),
        responses: seen(&STATUS_CLASSES, |at| pool.stats.sum(|it| &it.responses[at])),
        failed: seen(&FAILURES, |at| pool.stats.sum(|it| &it.failed[at])),
        retries: pool.stats.sum(|it| &it.retries),
        waiting: pool.waiting(),
        backends: pool
            .backends
            .iter()
            .zip(&pool.config.members)
            .map(|(backend, member)| backend_view(backend, member))
            .collect(),
    }
}

fn backend_view(backend: &Backend, member: &model::Member) -> BackendView {
    let latency = backend.latency_micros();
    let checks = backend.checks().into_iter().map(|check| CheckView {
        name: check.name.to_string(),
        state: check.state.word().to_owned(),
        reason: check.reason.to_string(),
        duration_seconds: check.duration.as_secs_f64(),
        age_seconds: clock::since(check.at).as_secs_f64(),
    });
    BackendView {
        name: backend.name.to_string(),
        address: backend.address.to_string(),
        resolved: backend.socket_address().map(|address| address.to_string()),
        weight: member.weight,
        backup: member.standing == Standing::Backup,
        state: backend.state().word().to_owned(),
        since_seconds: backend.in_state_for().as_secs_f64(),
        in_flight: backend.in_flight(),
        latency_seconds: (latency > 0).then(|| f64::from(latency) / 1e6),
        picks: backend.stats.sum(|it| &it.picks),
        responses: seen(&STATUS_CLASSES, |at| backend.stats.sum(|it| &it.responses[at])),
        failures: backend.stats.sum(|it| &it.connect_failures) + backend.stats.sum(|it| &it.failures),
        received_bytes: backend.stats.sum(|it| &it.received_bytes),
        sent_bytes: backend.stats.sum(|it| &it.sent_bytes),
        checks: checks.collect(),
    }
}

/// The counts that are not zero, by name.
fn seen(names: &[&str], count: impl Fn(usize) -> u64) -> BTreeMap<String, u64> {
    let counts = names.iter().enumerate().map(|(at, name)| ((*name).to_owned(), count(at)));
    counts.filter(|(_, count)| *count > 0).collect()
}

fn balance_text(balance: &Balance) -> String {
    match balance {
        Balance::RoundRobin => "round-robin".to_owned(),
        Balance::LeastRequests => "least-requests".to_owned(),
        Balance::Random => "random".to_owned(),
        Balance::P2c => "p2c".to_owned(),
        Balance::PeakEwma => "peak-ewma".to_owned(),
        Balance::First => "first".to_owned(),
        Balance::Source => "source".to_owned(),
        Balance::Uri => "uri".to_owned(),
        Balance::Header(name) => format!("header:{name}"),
        Balance::Cookie(name) => format!("cookie:{name}"),
    }
}

/// The expression as `healthy_when` would say it.
fn expression_text(expression: &Expression, checks: &[model::Check]) -> String {
    let joined = |parts: &[Expression], word: &str| {
        let parts: Vec<_> = parts.iter().map(|part| operand_text(part, checks)).collect();
        parts.join(word)
    };
    match expression {
        Expression::Check(at) => checks.get(*at).map_or_else(|| "?".to_owned(), |check| check.name.to_string()),
        Expression::All(parts) => joined(parts, " and "),
        Expression::AtLeast(1, parts) => joined(parts, " or "),
        Expression::AtLeast(least, parts) => format!("{least} of ({})", joined(parts, ", ")),
        Expression::Not(part) => format!("not {}", operand_text(part, checks)),
    }
}

fn operand_text(expression: &Expression, checks: &[model::Check]) -> String {
    let text = expression_text(expression, checks);
    let several = |parts: &[Expression]| parts.len() > 1;
    match expression {
        Expression::All(parts) | Expression::AtLeast(1, parts) if several(parts) => format!("({text})"),
        _ => text,
    }
}
