//! What the API says when it is asked why: an [`Explanation`] as plain values that JSON carries.
//!
//! The command line reads the same types back. Secrets were masked when the probes ended; the command by hand has
//! variables in their place.

use std::fmt::Write as _;
use std::num::NonZeroU32;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::AdminState;
use super::orders::{OverrideView, override_view};
use super::view::expression_text;
use crate::config::model;
use crate::control::orders::{Refused, find, find_pool};
use crate::health::{Expression, State, Wish};
use crate::pool::Pool;
use crate::probe::transcript::{Event, Step, printable};
use crate::probe::{CheckExplanation, Explanation, Kept, Probed, Report, by_hand};

/// `GET /api/v1/pools/NAME/why`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PoolWhy {
    /// The pool's name.
    pub pool: String,
    /// Its backends in the order of the configuration.
    pub backends: Vec<Why>,
}

/// `GET /api/v1/pools/NAME/backends/NAME/why`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Why {
    /// The pool's name.
    pub pool: String,
    /// The backend's name.
    pub backend: String,
    /// Its address, as the configuration says it.
    pub address: String,
    /// The verdict.
    pub state: String,
    /// How long the state has stood.
    pub since_seconds: f64,
    /// `active`, `standby` or `read`, where its checks tell one.
    pub role: Option<String>,
    /// Whether ordinary work goes there.
    pub gets_work: bool,
    /// Whether reads that ask for standbys go there.
    pub gets_reads: bool,
    /// Percent of its configured weight.
    pub share_percent: u16,
    /// Requests, tunnels and TCP connections under way.
    pub in_flight: u32,
    /// How many there may be at once, where there is a limit.
    #[serde(default)]
    pub connections_max: Option<u32>,
    /// Requests of its pool that wait now, for a backend that serves or for a place at one that is full.
    #[serde(default)]
    pub waiting: u32,
    /// Why it is what it is, in sentences, the weightiest first.
    pub because: Vec<String>,
    /// The active backend of a pool that has one.
    pub active: Option<String>,
    /// The pool whose verdicts are taken over.
    pub follows: Option<String>,
    /// When a backend counts as up; empty without checks.
    pub healthy_when: String,
    /// `healthy_when` laid out; absent without checks.
    pub tree: Option<Node>,
    /// Its checks, in the order of the configuration.
    pub checks: Vec<CheckWhy>,
    /// What traffic says.
    pub traffic: TrafficWhy,
    /// What operators have ordered.
    pub overrides: Vec<OverrideView>,
}

/// A part of `healthy_when`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Node {
    /// What it asks for: `all`, `2 of`, `1 of`, `not`, or `check`.
    pub asks: String,
    /// The check, where it is one.
    pub check: Option<String>,
    /// `up`, `down` or `unknown`.
    pub state: String,
    /// Its parts.
    pub parts: Vec<Node>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CheckWhy {
    /// Its name.
    pub name: String,
    /// `up`, `down` or `unknown`.
    pub state: String,
    /// What its last good answer says beyond that: a role, a wish, a share.
    pub says: Vec<String>,
    /// Whether the verdict of `healthy_when` hangs on it.
    pub decides: bool,
    /// Results in a row that speak against the state.
    pub against: u32,
    /// How many would flip it.
    pub needed: u32,
    /// When it is asked next.
    pub next_seconds: Option<f64>,
    /// Where it is asked, where that is known.
    pub asked_at: Option<String>,
    /// The command that asks the same by hand.
    pub by_hand: String,
    /// The last failure.
    pub last_bad: Option<ReportView>,
    /// The last good answer.
    pub last_good: Option<ReportView>,
}

/// What one probe found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReportView {
    /// When the probe ended, RFC 3339.
    pub at: String,
    /// How long ago that was.
    pub age_seconds: f64,
    /// How long it took.
    pub took_seconds: f64,
    /// Whether it was good.
    pub good: bool,
    /// How far it came before it failed: `resolve`, `connect`, `timeout`, `tls`, `protocol`, `answer` or `local`.
    pub layer: Option<String>,
    /// What it found, for people.
    pub what: String,
    /// When the certificate that it was shown ends, RFC 3339.
    pub certificate_expires: Option<String>,
    /// What it did and saw.
    pub steps: Vec<StepView>,
}

/// One step of a probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepView {
    /// Since the probe began.
    pub at_seconds: f64,
    /// `note`, `connected`, `sent` or `received`.
    pub kind: String,
    /// In words; bytes as text with escapes.
    pub text: String,
    /// The bytes of `sent` and `received` in hexadecimal.
    pub hex: Option<String>,
    /// Our end of a connection.
    pub local: Option<String>,
    /// The other end of it.
    pub remote: Option<String>,
}

/// What traffic says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrafficWhy {
    /// Failures since the last success.
    pub failures_in_a_row: u32,
    /// Failed share of the requests of the last window, where there were any.
    pub error_share: Option<f32>,
    /// Response time of the recent past; absent before the first answer.
    pub latency_seconds: Option<f64>,
    /// Out because of what traffic saw.
    pub ejected: Option<EjectedWhy>,
    /// Probes and traffic contradict each other: which way.
    pub disagreement: Option<String>,
}

/// Out because of what traffic saw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EjectedWhy {
    /// For so long still.
    pub left_seconds: f64,
    /// Why.
    pub reason: String,
}

/// `POST /api/v1/pools/NAME/probe` and `…/backends/NAME/probe`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProbesView {
    /// One for each check of each backend.
    pub probes: Vec<ProbeView>,
}

/// A fresh answer to one check of a backend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeView {
    /// The backend.
    pub backend: String,
    /// The check.
    pub check: String,
    /// What was found just now.
    pub report: ReportView,
}

/// Why the backends of a pool are what they are.
pub(super) async fn of_pool(state: &AdminState, pool: &str) -> Result<PoolWhy, Refused> {
    let table = state.table.load();
    let found = find_pool(&table, pool)?;
    let mut backends = Vec::with_capacity(found.backends.len());
    for backend in &found.backends {
        // One that a reload has just taken away is not there any more.
        if let Some(explanation) = state.schedule.explain(pool, &backend.name).await {
            backends.push(why(&explanation, found, backend.in_flight()));
        }
    }
    Ok(PoolWhy { pool: pool.to_owned(), backends })
}

/// Why a backend is what it is.
pub(super) async fn of_backend(state: &AdminState, pool: &str, backend: &str) -> Result<Why, Refused> {
    let table = state.table.load();
    let (found, live) = find(&table, pool, backend)?;
    match state.schedule.explain(pool, backend).await {
        Some(explanation) => Ok(why(&explanation, found, live.in_flight())),
        None => Err(Refused::Stopping),
    }
}

/// Asks the checks of a backend, or of all of a pool, now.
pub(super) async fn probe(state: &AdminState, pool: &str, backend: Option<&str>) -> Result<ProbesView, Refused> {
    let table = state.table.load();
    let pool_of = match backend {
        Some(backend) => find(&table, pool, backend)?.0,
        None => find_pool(&table, pool)?,
    };
    match state.schedule.probe_now(pool, backend).await {
        Some(mut probed) => {
            // They ended in any order; people read in that of the configuration.
            let backends: Vec<_> = pool_of.backends.iter().map(|known| &*known.name).collect();
            let checks: Vec<_> = pool_of.config.checks.iter().map(|known| &*known.name).collect();
            let at = |names: &[&str], name: &str| names.iter().position(|known| *known == name);
            probed.sort_by_key(|probed| (at(&backends, &probed.backend), at(&checks, &probed.check)));
            Ok(probes(&probed))
        }
        None => Err(Refused::Stopping),
    }
}

/// What is known of one backend of `pool`.
pub fn why(explanation: &Explanation, pool: &Pool, in_flight: u32) -> Why {
    let verdict = explanation.verdict;
    let live = pool.backends.iter().find(|live| live.name == explanation.backend);
    let states: Vec<State> = pool
        .config
        .checks
        .iter()
        .map(|check| {
            let explained = explanation.checks.iter().find(|explained| explained.check.name == check.name);
            explained.map_or(State::Unknown, |explained| explained.state)
        })
        .collect();
    let checks = &pool.config.checks;
    let healthy_when = &pool.config.policy.healthy_when;
    let blamed = healthy_when.blame(&|at| states.get(at).copied().unwrap_or(State::Unknown));
    let decides = |name: &str| blamed.iter().any(|at| checks.get(*at).is_some_and(|check| *check.name == *name));
    Why {
        pool: explanation.pool.to_string(),
        backend: explanation.backend.to_string(),
        address: explanation.address.to_string(),
        state: verdict.state.word().to_owned(),
        since_seconds: explanation.lasted.as_secs_f64(),
        role: verdict.role.map(|role| role.word().to_owned()),
        gets_work: verdict.serves.work(),
        gets_reads: verdict.serves.reads(),
        share_percent: verdict.share,
        in_flight,
        connections_max: live.and_then(|live| live.connections_max()).map(NonZeroU32::get),
        waiting: pool.waiting(),
        because: explanation.because.clone(),
        active: explanation.active.as_ref().map(ToString::to_string),
        follows: explanation.follows.as_ref().map(ToString::to_string),
        healthy_when: if checks.is_empty() { String::new() } else { expression_text(healthy_when, checks) },
        tree: (!checks.is_empty()).then(|| node(healthy_when, checks, &states)),
        checks: explanation
            .checks
            .iter()
            .map(|check| check_why(check, &explanation.address, decides(&check.check.name)))
            .collect(),
        traffic: TrafficWhy {
            failures_in_a_row: explanation.traffic.failures_in_a_row,
            error_share: explanation.traffic.error_share,
            latency_seconds: Some(explanation.traffic.latency.as_secs_f64()).filter(|seconds| *seconds > 0.0),
            ejected: explanation
                .traffic
                .ejected
                .as_ref()
                .map(|(left, reason)| EjectedWhy { left_seconds: left.as_secs_f64(), reason: reason.clone() }),
            disagreement: explanation.traffic.disagreement.map(ToOwned::to_owned),
        },
        overrides: explanation.overrides.iter().map(|one| override_view(one, None)).collect(),
    }
}

fn node(expression: &Expression, checks: &[model::Check], states: &[State]) -> Node {
    let state = |at: usize| states.get(at).copied().unwrap_or(State::Unknown);
    let parts = |parts: &[Expression]| parts.iter().map(|part| node(part, checks, states)).collect::<Vec<_>>();
    let (asks, check, parts) = match expression {
        Expression::Check(at) => ("check".to_owned(), checks.get(*at).map(|check| check.name.to_string()), Vec::new()),
        Expression::All(all) => match all.as_slice() {
            [only] => return node(only, checks, states),
            all => ("all".to_owned(), None, parts(all)),
        },
        Expression::AtLeast(least, of) => (format!("{least} of"), None, parts(of)),
        Expression::Not(part) => ("not".to_owned(), None, vec![node(part, checks, states)]),
    };
    Node { asks, check, state: expression.eval(&state).word().to_owned(), parts }
}

fn check_why(explained: &CheckExplanation, backend: &model::Address, decides: bool) -> CheckWhy {
    let says = &explained.says;
    let mut words = Vec::new();
    words.extend(says.role.map(|role| format!("role {}", role.word())));
    match says.wish {
        Wish::Work => {}
        Wish::Drain => words.push("wants to drain".to_owned()),
        Wish::Maintenance => words.push("is in maintenance".to_owned()),
    }
    words.extend(says.share.map(|share| format!("wants {share}% of its weight")));
    words.extend(says.epoch.map(|epoch| format!("epoch {epoch}")));
    CheckWhy {
        name: explained.check.name.to_string(),
        state: explained.state.word().to_owned(),
        says: words,
        decides,
        against: explained.against,
        needed: explained.needed,
        next_seconds: explained.next_in.map(|next| next.as_secs_f64()),
        asked_at: explained.asked_at.as_ref().map(ToString::to_string),
        by_hand: by_hand::command(&explained.check, backend, explained.asked_at.as_ref()),
        last_bad: explained.last_bad.as_ref().map(kept_view),
        last_good: explained.last_good.as_ref().map(kept_view),
    }
}

fn kept_view(kept: &Kept) -> ReportView {
    report_view(&kept.report, kept.at)
}

/// Fresh answers.
pub fn probes(probed: &[Probed]) -> ProbesView {
    let now = Timestamp::now();
    let views = probed.iter().map(|probed| ProbeView {
        backend: probed.backend.to_string(),
        check: probed.check.to_string(),
        report: report_view(&probed.report, now),
    });
    ProbesView { probes: views.collect() }
}

/// A report of a probe that ended at `at`.
pub fn report_view(report: &Report, at: Timestamp) -> ReportView {
    let (good, layer, what) = match &report.result {
        Ok(finding) => (true, None, finding.what.to_string()),
        Err(failure) => (false, Some(failure.layer.word().to_owned()), failure.what.clone()),
    };
    let expires = report.transcript.certificate_expires.and_then(|seconds| Timestamp::from_second(seconds).ok());
    ReportView {
        at: at.to_string(),
        age_seconds: Timestamp::now().duration_since(at).as_secs_f64().max(0.0),
        took_seconds: report.took.as_secs_f64(),
        good,
        layer,
        what,
        certificate_expires: expires.map(|at| at.to_string()),
        steps: report.transcript.steps.iter().map(step_view).collect(),
    }
}

fn step_view(step: &Step) -> StepView {
    let whole = |bytes: &[u8]| (printable(bytes, usize::MAX), Some(hex(bytes)));
    let (kind, (text, hex)) = match &step.event {
        Event::Note(text) => ("note", (text.to_string(), None)),
        Event::Connected { .. } => ("connected", (step.event.line(0), None)),
        Event::Sent(bytes) => ("sent", whole(bytes)),
        Event::Received(bytes) => ("received", whole(bytes)),
    };
    let (local, remote) = match &step.event {
        Event::Connected { local, remote } => (local.map(|local| local.to_string()), Some(remote.to_string())),
        _ => (None, None),
    };
    StepView { at_seconds: step.at.as_secs_f64(), kind: kind.to_owned(), text, hex, local, remote }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
