//! What the API shows: pools, backends, and checks as plain values that JSON carries.
//!
//! The command line reads the same types back, so that both sides agree by construction. A view is a moment's copy;
//! nothing here changes anything.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::atomic::Ordering::Relaxed;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::AdminState;
use super::changes::{self, AwaitingView};
use super::orders::{self, OverrideView, drill_view, override_view};
use crate::balance::Balance;
use crate::clock;
use crate::config::model::{self, PoolIndex, ZoneIndex};
use crate::control::Phase;
use crate::control::orders::{Refused, Standing, find, find_pool};
use crate::health::{Expression, Mode, State};
use crate::metrics::{FAILURES, STATUS_CLASSES, bounds_micros};
use crate::pool::{Backend, Override, Pool};
use crate::route::Table;

/// `GET /api/v1/pools`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Overview {
    /// The program's version.
    pub version: String,
    /// `starting`, `ready` or `stopping`.
    pub phase: String,
    /// Number of the configuration in force.
    pub generation: u64,
    /// Seconds since the program started.
    pub uptime_seconds: f64,
    /// Whether that configuration is taken back unless somebody confirms it.
    #[serde(default)]
    pub awaiting: Option<AwaitingView>,
    /// Upper bounds of `took` of pools, seconds, ascending.
    #[serde(default, rename = "bounds_seconds")]
    pub bounds: Vec<f64>,
    /// Listeners in the order of the configuration.
    pub listeners: Vec<ListenerView>,
    /// Pools in the order of the configuration.
    pub pools: Vec<PoolView>,
    /// Orders of operators that have no effect now, because what they name is not there.
    pub dormant: Vec<OverrideView>,
    /// Why orders of operators would not survive a restart, where there are some and that is so.
    pub orders_warning: Option<String>,
}

/// A listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListenerView {
    /// Its name.
    pub name: String,
    /// Where it accepts.
    pub binds: Vec<String>,
    /// `http` or `tcp`.
    pub protocol: String,
    /// Whether that goes over TLS.
    #[serde(default)]
    pub tls: bool,
    /// Client connections open now.
    pub connections: u32,
    /// Answers sent, by status class; classes never seen are left out.
    pub responses: BTreeMap<String, u64>,
}

/// `GET /api/v1/pools/NAME`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PoolView {
    /// Its name.
    pub name: String,
    /// Who gets work: `active-active`, `leader` or `active-standby`.
    pub mode: String,
    /// The pool whose verdicts it takes over.
    pub follows: Option<String>,
    /// The active backend, where one alone does the work.
    pub active: Option<String>,
    /// What somebody should look at, in sentences.
    pub alarms: Vec<String>,
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
    /// How many answers took up to each bound and longer than the one before it; then, those longer than all bounds. What
    /// comes after the last one that is not zero is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub took: Vec<u64>,
    /// Further attempts made.
    pub retries: u64,
    /// Requests that wait now, for a backend that serves or for a place at one that is full.
    pub waiting: u32,
    /// Backends in the order of the configuration.
    pub backends: Vec<BackendView>,
}

/// A backend.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own in the JSON")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// Where it stands, where the configuration says so.
    pub zone: Option<String>,
    /// The verdict.
    pub state: String,
    /// `active`, `standby` or `read`, where its checks tell one.
    pub role: Option<String>,
    /// Whether ordinary work goes there.
    pub gets_work: bool,
    /// Whether reads that ask for standbys go there.
    pub gets_reads: bool,
    /// Percent of its weight that it has now.
    pub share_percent: u16,
    /// Out because of what traffic saw.
    pub ejected: bool,
    /// Kept out because it went up and down too often.
    pub flapping: bool,
    /// How probes and traffic contradict each other, in a sentence.
    pub disagreement: Option<String>,
    /// How long the verdict has stood.
    pub since_seconds: f64,
    /// Requests, tunnels and TCP connections under way.
    pub in_flight: u32,
    /// How many there may be at once, where there is a limit.
    #[serde(default)]
    pub connections_max: Option<u32>,
    /// Connections to it on which nothing is under way.
    pub idle_connections: u64,
    /// Sessions ended because its role was lost or the time of its drain was over.
    pub cut: u64,
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
    /// What operators have ordered of it.
    pub overrides: Vec<OverrideView>,
}

/// What a check last said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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

/// All of it.
pub fn overview(state: &AdminState) -> Overview {
    let table = state.table.load();
    let standing = state.orders.standing();
    let around = Around::of(&standing);
    let all = orders::overview(&standing, &table);
    Overview {
        version: state.version.to_owned(),
        phase: phase_word(state.life.phase()).to_owned(),
        generation: table.generation,
        awaiting: changes::awaiting(state),
        uptime_seconds: (jiff::Timestamp::now() - state.started).total(jiff::Unit::Second).unwrap_or_default(),
        bounds: bounds_micros().iter().map(|micros| *micros as f64 / 1e6).collect(),
        listeners: table.listeners.iter().map(|listener| listener_view(listener)).collect(),
        pools: table.pools.iter().map(|pool| pool_view(pool, &table, &around)).collect(),
        orders_warning: all.warning.filter(|_| !all.overrides.is_empty()),
        dormant: all.overrides.into_iter().filter(|one| one.dormant.is_some()).collect(),
    }
}

/// The pool of that name.
///
/// # Errors
/// The name that may have been meant.
pub fn pool(state: &AdminState, name: &str) -> Result<PoolView, Refused> {
    let table = state.table.load();
    let standing = state.orders.standing();
    Ok(pool_view(find_pool(&table, name)?, &table, &Around::of(&standing)))
}

/// The backend of that name.
///
/// # Errors
/// The name that may have been meant.
pub fn backend(state: &AdminState, pool: &str, backend: &str) -> Result<BackendView, Refused> {
    find(&state.table.load(), pool, backend)?;
    let view = self::pool(state, pool)?;
    let found = view.backends.into_iter().find(|view| view.name == backend);
    found.ok_or_else(|| Refused::Unknown(format!("pool `{pool}` has no backend `{backend}`")))
}

/// What is known beside the table.
struct Around<'s> {
    overrides: HashMap<(&'s str, &'s str), Vec<&'s Override>>,
}

impl<'s> Around<'s> {
    fn of(standing: &'s Standing) -> Self {
        let mut overrides: HashMap<_, Vec<_>> = HashMap::new();
        for one in standing.overrides.iter() {
            overrides.entry((&*one.pool, &*one.backend)).or_default().push(one);
        }
        Self { overrides }
    }
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
        protocol: listener.config.protocol.word().to_owned(),
        tls: listener.config.tls.is_some(),
        connections: listener.open.load(Relaxed),
        responses: seen(&STATUS_CLASSES, |at| listener.stats.sum(|it| &it.responses[at])),
    }
}

fn pool_view(pool: &Pool, table: &Table, around: &Around<'_>) -> PoolView {
    let followed = pool.config.follows.and_then(|PoolIndex(index)| table.config.pools.get(index as usize));
    PoolView {
        name: pool.config.name.to_string(),
        mode: mode_word(&pool.config.policy.mode).to_owned(),
        follows: followed.map(|followed| followed.name.to_string()),
        active: table.decider(pool).leader().map(|backend| backend.to_string()),
        alarms: pool.alarms().into_iter().map(|alarm| alarm.message).collect(),
        balance: balance_text(&pool.config.balance),
        healthy_when: expression_text(&pool.config.policy.healthy_when, &pool.config.checks),
        backends_up: pool.backends.iter().filter(|backend| backend.state() == State::Up).count(),
        responses: seen(&STATUS_CLASSES, |at| pool.stats.sum(|it| &it.responses[at])),
        failed: seen(&FAILURES, |at| pool.stats.sum(|it| &it.failed[at])),
        took: took(pool),
        retries: pool.stats.sum(|it| &it.retries),
        waiting: pool.waiting(),
        backends: pool
            .backends
            .iter()
            .zip(&pool.config.members)
            .map(|(backend, member)| {
                let zone = member.zone.and_then(|ZoneIndex(zone)| pool.config.zones.names.get(usize::from(zone)));
                backend_view(backend, member, zone.map(ToString::to_string), around)
            })
            .collect(),
    }
}

/// The answers of a pool by how long they took, without empty ones at the end.
fn took(pool: &Pool) -> Vec<u64> {
    let mut took = vec![0; bounds_micros().len() + 1];
    for copy in pool.stats.copies() {
        took.iter_mut().zip(&copy.response.buckets).for_each(|(sum, count)| *sum += count.get());
    }
    let used = took.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
    took.truncate(used);
    took
}

fn backend_view(backend: &Backend, member: &model::Member, zone: Option<String>, around: &Around<'_>) -> BackendView {
    let (verdict, remarks) = (backend.verdict(), backend.remarks());
    let overrides = around.overrides.get(&(&*backend.pool, &*backend.name)).map(Vec::as_slice).unwrap_or_default();
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
        resolved: backend.site().map(|site| site.to_string()),
        weight: member.weight,
        backup: member.standing == model::Standing::Backup,
        zone,
        state: verdict.state.word().to_owned(),
        role: verdict.role.map(|role| role.word().to_owned()),
        gets_work: verdict.serves.work(),
        gets_reads: verdict.serves.reads(),
        share_percent: verdict.share,
        ejected: remarks.ejected,
        flapping: remarks.flapping,
        disagreement: remarks.disagreement.map(|it| it.sentence().to_owned()),
        since_seconds: backend.in_state_for().as_secs_f64(),
        in_flight: backend.in_flight(),
        connections_max: backend.connections_max().map(NonZeroU32::get),
        idle_connections: backend.stats.sum(|it| &it.idle),
        cut: backend.stats.sum(|it| &it.cut),
        latency_seconds: (latency > 0).then(|| f64::from(latency) / 1e6),
        picks: backend.stats.sum(|it| &it.picks),
        responses: seen(&STATUS_CLASSES, |at| backend.stats.sum(|it| &it.responses[at])),
        failures: backend.stats.sum(|it| &it.connect_failures) + backend.stats.sum(|it| &it.failures),
        received_bytes: backend.stats.sum(|it| &it.received_bytes),
        sent_bytes: backend.stats.sum(|it| &it.sent_bytes),
        checks: checks.collect(),
        overrides: overrides.iter().map(|one| override_view(one, None)).chain(drill_view(backend)).collect(),
    }
}

fn mode_word(mode: &Mode) -> &'static str {
    match mode {
        Mode::ActiveActive => "active-active",
        Mode::Leader(_) => "leader",
        Mode::ActiveStandby(_) => "active-standby",
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
pub(super) fn expression_text(expression: &Expression, checks: &[model::Check]) -> String {
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
