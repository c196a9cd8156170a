//! What the API says of pools and backends, as the rows of a table: pure.

use std::cmp::Ordering;

use evenkeel::admin::view::{BackendView, Overview, PoolView};
use serde::Serialize;

use super::window::Window;
use crate::cli::transcript::clean;

/// A pool.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct PoolRow {
    pub(super) name: String,
    pub(super) up: usize,
    pub(super) all: usize,
    /// Who works, or how the work is spread.
    pub(super) how: String,
    pub(super) waiting: u32,
    pub(super) requests_per_second: Option<f64>,
    pub(super) errors_per_second: Option<f64>,
    pub(super) p50_seconds: Option<f64>,
    pub(super) p99_seconds: Option<f64>,
    pub(super) alarms: Vec<String>,
}

/// A backend.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Row {
    pub(super) pool: String,
    pub(super) backend: String,
    pub(super) state: String,
    pub(super) role: Option<String>,
    pub(super) zone: Option<String>,
    /// Percent of its weight.
    pub(super) share: u16,
    pub(super) requests_per_second: Option<f64>,
    pub(super) errors_per_second: Option<f64>,
    pub(super) in_flight: u32,
    pub(super) latency_seconds: Option<f64>,
    pub(super) since_seconds: f64,
    /// Why it is what it is, in a line.
    pub(super) why: String,
}

/// By what backends are put in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Sort {
    /// Pool by pool, as the configuration has them.
    #[default]
    Pool,
    /// What is not well first.
    State,
    Requests,
    Errors,
    InFlight,
    Latency,
    /// What has changed last first.
    Changed,
}

impl Sort {
    const ALL: [Self; 7] =
        [Self::Pool, Self::State, Self::Requests, Self::Errors, Self::InFlight, Self::Latency, Self::Changed];

    /// The next one.
    pub(super) fn next(self) -> Self {
        let at = Self::ALL.iter().position(|it| *it == self).unwrap_or_default();
        Self::ALL[(at + 1) % Self::ALL.len()]
    }

    /// For people.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::State => "state",
            Self::Requests => "requests",
            Self::Errors => "errors",
            Self::InFlight => "in flight",
            Self::Latency => "latency",
            Self::Changed => "last change",
        }
    }

    /// What comes first.
    pub(super) fn order(self, a: &Row, b: &Row) -> Ordering {
        let most = |a: Option<f64>, b: Option<f64>| b.unwrap_or(-1.0).total_cmp(&a.unwrap_or(-1.0));
        match self {
            Self::Pool => Ordering::Equal,
            Self::State => rank(&a.state).cmp(&rank(&b.state)),
            Self::Requests => most(a.requests_per_second, b.requests_per_second),
            Self::Errors => most(a.errors_per_second, b.errors_per_second),
            Self::InFlight => b.in_flight.cmp(&a.in_flight),
            Self::Latency => most(a.latency_seconds, b.latency_seconds),
            Self::Changed => a.since_seconds.total_cmp(&b.since_seconds),
        }
    }
}

fn rank(state: &str) -> usize {
    ["down", "unknown", "maintenance", "draining", "up"].iter().position(|it| *it == state).unwrap_or_default()
}

/// All of it, in the order of the configuration.
pub(super) fn rows(view: &Overview, window: &Window) -> (Vec<PoolRow>, Vec<Row>) {
    let mut all = Vec::new();
    let pools = view.pools.iter().map(|pool| {
        let rows: Vec<Row> = pool.backends.iter().map(|backend| row(pool, backend, window)).collect();
        let pool = pool_row(pool, &rows, window);
        all.extend(rows);
        pool
    });
    (pools.collect(), all)
}

fn pool_row(pool: &PoolView, rows: &[Row], window: &Window) -> PoolRow {
    let sum = |of: fn(&Row) -> Option<f64>| rows.iter().filter_map(of).reduce(|all, one| all + one);
    let how = match &pool.active {
        Some(active) => format!("{}, {active} is active", pool.mode),
        None if pool.mode == "active-active" => pool.balance.clone(),
        None => format!("{}, nobody is active", pool.mode),
    };
    PoolRow {
        name: pool.name.clone(),
        up: pool.backends_up,
        all: pool.backends.len(),
        how,
        waiting: pool.waiting,
        requests_per_second: sum(|row| row.requests_per_second),
        errors_per_second: sum(|row| row.errors_per_second),
        p50_seconds: window.took(&pool.name, 0.5),
        p99_seconds: window.took(&pool.name, 0.99),
        alarms: pool.alarms.iter().map(|alarm| clean(alarm)).collect(),
    }
}

fn row(pool: &PoolView, backend: &BackendView, window: &Window) -> Row {
    let pace = window.pace(&pool.name, &backend.name);
    Row {
        pool: pool.name.clone(),
        backend: backend.name.clone(),
        state: backend.state.clone(),
        role: backend.role.clone(),
        zone: backend.zone.clone(),
        share: backend.share_percent,
        requests_per_second: pace.requests,
        errors_per_second: pace.errors,
        in_flight: backend.in_flight,
        latency_seconds: backend.latency_seconds,
        since_seconds: backend.since_seconds,
        why: clean(&why(backend)),
    }
}

/// What an operator has ordered, what traffic saw, or else what the checks say: those that are not well, if any.
fn why(backend: &BackendView) -> String {
    if let Some(order) = backend.overrides.first() {
        let reason = if order.reason.is_empty() { String::new() } else { format!(": {}", order.reason) };
        return format!("{} by {}{reason}", order.words, order.owner);
    }
    if backend.ejected {
        return "out because of what traffic saw".to_owned();
    }
    if backend.flapping {
        return "kept out: it went up and down too often".to_owned();
    }
    let bad = backend.checks.iter().find(|check| check.state != "up");
    let check = bad.or_else(|| backend.checks.first().filter(|_| backend.disagreement.is_none()));
    match check {
        Some(check) => format!("{}: {}", check.name, check.reason),
        None => backend.disagreement.clone().unwrap_or_else(|| "no checks".to_owned()),
    }
}
