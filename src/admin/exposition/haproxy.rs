//! The page with HAProxy's names, for boards that were made for it: a listener is its frontend, a pool its backend, a
//! backend its server.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::backends::layer;
use super::page::{Labels, Page};
use super::{AdminState, flag, seconds};
use crate::config::model::{Breadth, Member, Protocol, Standing};
use crate::control::Phase;
use crate::health::{Serves, State};
use crate::metrics::family::Family;
use crate::metrics::{BackendStats, Counter, FAILURES, Rejection, STATUS_CLASSES, haproxy as family};
use crate::pool::{Backend, Pool};
use crate::route::{Listener, Table};

/// HAProxy's words for the state of a server, of which one is 1.
const STATES: [&str; 5] = ["DOWN", "UP", "MAINT", "DRAIN", "NOLB"];
/// Failures that were the backend's, of those that broke off what it had begun.
const SERVER_ABORTS: [&str; 4] = ["reset_before_answer", "reset_in_body", "truncated_body", "connection_lost"];
const CLIENT_ABORT: [&str; 1] = ["client_abort"];

pub(super) fn write(state: &AdminState, table: &Table, breadth: Breadth, page: &mut Page) {
    process(state, table, page);
    frontends(table, page);
    backends(table, page);
    if breadth != Breadth::None {
        servers(table, page);
    }
}

fn process(state: &AdminState, table: &Table, page: &mut Page) {
    let over = |value: &dyn Fn(&Listener) -> f64| table.listeners.iter().map(|listener| value(listener)).sum::<f64>();
    page.family(&family::PROCESS_BUILD_INFO).add(&Labels::of("version", state.version), 1.0);
    page.single(&family::PROCESS_START_TIME, seconds(state.started));
    page.single(&family::PROCESS_UPTIME, (seconds(jiff::Timestamp::now()) - seconds(state.started)).floor());
    let threads = table.config.workers.map_or_else(usable, |workers| f64::from(workers.get()));
    page.single(&family::PROCESS_THREADS, threads);
    page.single(&family::PROCESS_MAX_CONNECTIONS, f64::from(table.config.limits.connections.get()));
    page.single(&family::PROCESS_CONNECTIONS, over(&|it| f64::from(it.open.load(Relaxed))));
    page.single(&family::PROCESS_CONNECTIONS_TOTAL, over(&|it| it.stats.sum(|it| &it.connections) as f64));
    page.single(&family::PROCESS_REQUESTS, over(&answered));
    page.single(&family::PROCESS_STOPPING, flag(state.life.phase() == Phase::Stopping));
}

/// CPUs that this process may use, each of which has a worker.
fn usable() -> f64 {
    std::thread::available_parallelism().map_or(1.0, |count| count.get() as f64)
}

fn answered(listener: &Listener) -> f64 {
    (0..STATUS_CLASSES.len()).map(|at| listener.stats.sum(|it| &it.responses[at]) as f64).sum()
}

type Value<'v, T> = &'v dyn Fn(&T) -> f64;

fn frontends(table: &Table, page: &mut Page) {
    let all: Vec<(Labels, &Arc<Listener>)> =
        table.listeners.iter().map(|listener| (Labels::of("proxy", &listener.config.name), listener)).collect();
    let mut single = |family: &Family, value: Value<'_, Listener>| {
        let mut lines = page.family(family);
        for (labels, it) in &all {
            lines.add(labels, value(it));
        }
    };
    single(&family::FRONTEND_SESSIONS, &|it| f64::from(it.open.load(Relaxed)));
    single(&family::FRONTEND_LIMIT, &|it| f64::from(it.config.limits.connections.get()));
    single(&family::FRONTEND_SESSIONS_TOTAL, &|it| it.stats.sum(|it| &it.connections) as f64);
    single(&family::FRONTEND_CONNECTIONS, &|it| it.stats.sum(|it| &it.connections) as f64);
    single(&family::FRONTEND_BYTES_IN, &|it| it.stats.sum(|it| &it.received_bytes) as f64);
    single(&family::FRONTEND_BYTES_OUT, &|it| it.stats.sum(|it| &it.sent_bytes) as f64);
    single(&family::FRONTEND_ERRORS, &|it| {
        Rejection::ALL.iter().map(|reason| it.stats.sum(|it| it.rejected.of(*reason)) as f64).sum()
    });
    let mut lines = page.family(&family::FRONTEND_STATUS);
    for (labels, _) in &all {
        lines.with(labels, "state", "DOWN", 0.0);
        lines.with(labels, "state", "UP", 1.0);
    }
    let http = || all.iter().filter(|(_, it)| it.config.protocol == Protocol::Http);
    let mut lines = page.family(&family::FRONTEND_REQUESTS);
    for (labels, it) in http() {
        lines.add(labels, answered(it));
    }
    let mut lines = page.family(&family::FRONTEND_RESPONSES);
    for (labels, it) in http() {
        for (at, class) in STATUS_CLASSES.iter().enumerate() {
            lines.with(labels, "code", class, it.stats.sum(|it| &it.responses[at]) as f64);
        }
    }
}

fn backends(table: &Table, page: &mut Page) {
    let all: Vec<(Labels, &Arc<Pool>)> =
        table.pools.iter().map(|pool| (Labels::of("proxy", &pool.config.name), pool)).collect();
    let mut single = |family: &Family, value: Value<'_, Pool>| {
        let mut lines = page.family(family);
        for (labels, it) in &all {
            lines.add(labels, value(it));
        }
    };
    single(&family::BACKEND_ACTIVE, &|it| up(it, Standing::Regular).map(|_| 1.0).sum());
    single(&family::BACKEND_BACKUP, &|it| up(it, Standing::Backup).map(|_| 1.0).sum());
    single(&family::BACKEND_WEIGHT, &|it| up(it, Standing::Regular).map(f64::from).sum());
    single(&family::BACKEND_SESSIONS, &|it| it.backends.iter().map(|it| f64::from(it.in_flight())).sum());
    single(&family::BACKEND_QUEUE, &|it| f64::from(it.waiting()));
    single(&family::BACKEND_SESSIONS_TOTAL, &|it| sum(it, |it| &it.picks));
    single(&family::BACKEND_BALANCED, &|it| sum(it, |it| &it.picks));
    single(&family::BACKEND_BYTES_IN, &|it| it.stats.sum(|it| &it.received_bytes) as f64);
    single(&family::BACKEND_BYTES_OUT, &|it| it.stats.sum(|it| &it.sent_bytes) as f64);
    single(&family::BACKEND_CONNECT_ERRORS, &|it| sum(it, |it| &it.connect_failures));
    single(&family::BACKEND_RESPONSE_ERRORS, &|it| sum(it, |it| &it.failures));
    single(&family::BACKEND_RETRIES, &|it| it.stats.sum(|it| &it.retries) as f64);
    single(&family::BACKEND_ATTEMPTS, &|it| sum(it, |it| &it.connects) + sum(it, |it| &it.connect_failures));
    single(&family::BACKEND_REUSED, &|it| sum(it, |it| &it.reused));
    single(&family::BACKEND_CLIENT_ABORTS, &|it| failed(it, &CLIENT_ABORT));
    single(&family::BACKEND_SERVER_ABORTS, &|it| failed(it, &SERVER_ABORTS));
    single(&family::BACKEND_UP_DOWN, &|it| it.backends.iter().map(|it| it.probes.flips_down.get() as f64).sum());
    single(&family::BACKEND_REQUESTS, &|it| {
        (0..STATUS_CLASSES.len()).map(|at| it.stats.sum(|it| &it.responses[at]) as f64).sum()
    });
    let mut lines = page.family(&family::BACKEND_RESPONSES);
    for (labels, it) in &all {
        for (at, class) in STATUS_CLASSES.iter().enumerate() {
            lines.with(labels, "code", class, it.stats.sum(|it| &it.responses[at]) as f64);
        }
    }
    let mut lines = page.family(&family::BACKEND_STATUS);
    for (labels, it) in &all {
        let serves = it.backends.iter().any(|it| !it.is_out());
        lines.with(labels, "state", "DOWN", flag(!serves));
        lines.with(labels, "state", "UP", flag(serves));
    }
    let mut lines = page.family(&family::BACKEND_AGGREGATED);
    for (labels, it) in &all {
        for state in STATES {
            let count = it.backends.iter().filter(|it| word(it) == state).count();
            lines.with(labels, "state", state, count as f64);
        }
    }
}

/// The weights of those that are up and stand like this.
fn up(pool: &Pool, standing: Standing) -> impl Iterator<Item = u16> + '_ {
    let members = pool.config.members.iter().zip(&pool.backends);
    members.filter(move |(member, it)| member.standing == standing && it.state() == State::Up).map(|(it, _)| it.weight)
}

fn sum(pool: &Pool, counter: fn(&BackendStats) -> &Counter) -> f64 {
    pool.backends.iter().map(|it| it.stats.sum(counter) as f64).sum()
}

fn failed(pool: &Pool, causes: &[&str]) -> f64 {
    let named = FAILURES.iter().enumerate().filter(|(_, cause)| causes.contains(cause));
    named.map(|(at, _)| pool.stats.sum(|it| &it.failed[at]) as f64).sum()
}

/// HAProxy's word for the verdict. Who is up and gets nothing stands by.
fn word(backend: &Backend) -> &'static str {
    let verdict = backend.verdict();
    match verdict.state {
        State::Up if verdict.serves == Serves::Nothing => "NOLB",
        State::Up => "UP",
        State::Draining => "DRAIN",
        State::Maintenance => "MAINT",
        State::Down | State::Unknown => "DOWN",
    }
}

/// HAProxy's word for what the checks last said.
fn check_word(backend: &Backend) -> Option<&'static str> {
    let checks = backend.checks();
    let bad = checks.iter().find(|check| check.state != State::Up);
    Some(match bad {
        None if checks.is_empty() => return None,
        None => "L7OK",
        Some(check) if check.state == State::Unknown => "HANA",
        Some(check) => match layer(check) {
            "connect" => "L4CON",
            "timeout" => "L7TOUT",
            "tls" => "L6RSP",
            "answer" => "L7STS",
            "protocol" => "L7RSP",
            _ => "SOCKERR",
        },
    })
}

/// A server with its labels.
type Server<'t> = (Labels, &'t Backend, &'t Member);

fn servers(table: &Table, page: &mut Page) {
    let all: Vec<Server<'_>> = table
        .pools
        .iter()
        .flat_map(|pool| {
            let labels = Labels::of("proxy", &pool.config.name);
            let members = pool.backends.iter().zip(&pool.config.members);
            members.map(move |(backend, member)| (labels.and("server", &backend.name), &**backend, member))
        })
        .collect();
    standing(&all, page);
    #[expect(clippy::type_complexity, reason = "a table that is read on the spot")]
    let sums: [(&Family, fn(&BackendStats) -> &Counter); 9] = [
        (&family::SERVER_SESSIONS_TOTAL, |it| &it.picks),
        (&family::SERVER_BALANCED, |it| &it.picks),
        (&family::SERVER_BYTES_IN, |it| &it.sent_bytes),
        (&family::SERVER_BYTES_OUT, |it| &it.received_bytes),
        (&family::SERVER_CONNECT_ERRORS, |it| &it.connect_failures),
        (&family::SERVER_RESPONSE_ERRORS, |it| &it.failures),
        (&family::SERVER_REUSED, |it| &it.reused),
        (&family::SERVER_IDLE, |it| &it.idle),
        (&family::SERVER_ATTEMPTS, |it| &it.connects),
    ];
    for (family, counter) in sums {
        // HAProxy's attempts are all that were begun.
        let is_attempts = family.name == family::SERVER_ATTEMPTS.name;
        let also = |it: &Backend| if is_attempts { it.stats.sum(|it| &it.connect_failures) } else { 0 };
        let mut lines = page.family(family);
        for (labels, it, _) in &all {
            lines.add(labels, (it.stats.sum(counter) + also(it)) as f64);
        }
    }
    let mut lines = page.family(&family::SERVER_RESPONSES);
    for (labels, it, _) in &all {
        for (at, class) in STATUS_CLASSES.iter().enumerate() {
            lines.with(labels, "code", class, it.stats.sum(|it| &it.responses[at]) as f64);
        }
    }
}

fn standing(all: &[Server<'_>], page: &mut Page) {
    let mut some = |family: &Family, value: &dyn Fn(&Backend, &Member) -> Option<f64>| {
        let mut lines = page.family(family);
        for (labels, backend, member) in all {
            if let Some(value) = value(backend, member) {
                lines.add(labels, value);
            }
        }
    };
    some(&family::SERVER_SESSIONS, &|it, _| Some(f64::from(it.in_flight())));
    some(&family::SERVER_USED, &|it, _| Some(f64::from(it.in_flight())));
    some(&family::SERVER_LIMIT, &|it, _| it.connections_max().map(|most| f64::from(most.get())));
    some(&family::SERVER_WEIGHT, &|it, member| {
        Some((f64::from(member.weight) * f64::from(it.verdict().share) / 100.0).round())
    });
    some(&family::SERVER_CONFIGURED_WEIGHT, &|_, member| Some(f64::from(member.weight)));
    some(&family::SERVER_CHECK_FAILURES, &|it, _| Some(it.probes.bad.iter().map(Counter::get).sum::<u64>() as f64));
    some(&family::SERVER_UP_DOWN, &|it, _| Some(it.probes.flips_down.get() as f64));
    some(&family::SERVER_LAST_CHANGE, &|it, _| Some(it.in_state_for().as_secs_f64().floor()));
    some(&family::SERVER_CHECK_DURATION, &|it, _| {
        it.checks().iter().map(|check| check.duration.as_secs_f64()).reduce(f64::max)
    });
    let mut lines = page.family(&family::SERVER_STATUS);
    for (labels, backend, _) in all {
        let now = word(backend);
        for state in STATES {
            lines.with(labels, "state", state, flag(state == now));
        }
    }
    let mut lines = page.family(&family::SERVER_CHECK_STATUS);
    for (labels, backend, _) in all {
        if let Some(state) = check_word(backend) {
            lines.with(labels, "state", state, 1.0);
        }
    }
}
