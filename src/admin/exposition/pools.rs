//! What `/metrics` says of each pool.

use std::sync::Arc;

use prometheus::proto::{LabelPair, MetricFamily};

use super::sample::{and, flag, histogram, label, made, sample};
use crate::health::{Mode, State};
use crate::metrics::family::{self, Family};
use crate::metrics::{Counter, FAILURES, PoolStats, STATUS_CLASSES, STAYS};
use crate::pool::{AlarmKind, Pool};
use crate::route::Table;

pub(super) fn collect(table: &Table, families: &mut Vec<MetricFamily>) {
    let pools: Vec<_> = table.pools.iter().map(|pool| (vec![label("pool", &pool.config.name)], pool)).collect();
    let mut single = |family: &Family, value: &dyn Fn(&Pool) -> f64| {
        let samples = pools.iter().map(|(labels, pool)| sample(family, labels.clone(), value(pool)));
        families.push(made(family, samples.collect()));
    };
    single(&family::POOL_BACKENDS, &|pool| pool.backends.len() as f64);
    single(&family::POOL_BACKENDS_UP, &|pool| pool.backends.iter().filter(|it| it.state() == State::Up).count() as f64);
    single(&family::POOL_IN_FLIGHT, &|pool| pool.backends.iter().map(|it| f64::from(it.in_flight())).sum());
    single(&family::POOL_WAITING, &|pool| f64::from(pool.waiting()));
    single(&family::POOL_RETRIES, &|pool| pool.stats.sum(|it| &it.retries) as f64);
    single(&family::POOL_RETRIES_DENIED, &|pool| pool.stats.sum(|it| &it.retries_denied) as f64);
    single(&family::POOL_HELD, &|pool| pool.stats.sum(|it| &it.held) as f64);
    single(&family::POOL_QUEUED, &|pool| pool.stats.sum(|it| &it.queued) as f64);
    single(&family::POOL_RECEIVED, &|pool| pool.stats.sum(|it| &it.received_bytes) as f64);
    single(&family::POOL_SENT, &|pool| pool.stats.sum(|it| &it.sent_bytes) as f64);

    let mut requests = Vec::new();
    let mut failed = Vec::new();
    let mut queue = Vec::new();
    let mut connect = Vec::new();
    let mut response = Vec::new();
    let mut probe = Vec::new();
    for (labels, pool) in &pools {
        let count = |pick: fn(&PoolStats) -> &[Counter], at: usize| pool.stats.sum(|it| &pick(it)[at]) as f64;
        for (at, class) in STATUS_CLASSES.iter().enumerate() {
            requests.push(sample(&family::POOL_REQUESTS, and(labels, "code", class), count(|it| &it.responses, at)));
        }
        for (at, cause) in FAILURES.iter().enumerate() {
            failed.push(sample(&family::POOL_FAILED, and(labels, "cause", cause), count(|it| &it.failed, at)));
        }
        queue.push(histogram(labels.clone(), pool.stats.copies().map(|it| &it.queue)));
        connect.push(histogram(labels.clone(), pool.stats.copies().map(|it| &it.connect)));
        response.push(histogram(labels.clone(), pool.stats.copies().map(|it| &it.response)));
        probe.push(histogram(labels.clone(), pool.backends.iter().map(|it| &it.probes.duration)));
    }
    families.push(made(&family::POOL_REQUESTS, requests));
    families.push(made(&family::POOL_FAILED, failed));
    families.push(made(&family::POOL_QUEUE, queue));
    families.push(made(&family::POOL_CONNECT, connect));
    families.push(made(&family::POOL_RESPONSE, response));
    families.push(made(&family::POOL_PROBE, probe));
    alarms(&pools, families);
    sticky(&pools, families);
    leaders(table, &pools, families);
}

/// A pool with its label.
type Labelled<'t> = (Vec<LabelPair>, &'t Arc<Pool>);

fn alarms(pools: &[Labelled<'_>], families: &mut Vec<MetricFamily>) {
    let samples = pools.iter().flat_map(|(labels, pool)| {
        let raised = pool.alarms();
        AlarmKind::ALL.map(|kind| {
            let labels = and(labels, "alarm", kind.word());
            sample(&family::POOL_ALARM, labels, flag(raised.iter().any(|alarm| alarm.kind == kind)))
        })
    });
    families.push(made(&family::POOL_ALARM, samples.collect()));
}

/// Whether clients stay, of the pools in which they do.
fn sticky(pools: &[Labelled<'_>], families: &mut Vec<MetricFamily>) {
    let samples = pools.iter().filter(|(_, pool)| pool.sticky.is_some()).flat_map(|(labels, pool)| {
        let count = |at: usize| pool.stats.sum(|it| &it.sticky[at]) as f64;
        let results = STAYS.iter().enumerate();
        results.map(move |(at, result)| sample(&family::POOL_STICKY, and(labels, "result", result), count(at)))
    });
    families.push(made(&family::POOL_STICKY, samples.collect()));
}

/// Who has the work, of the pools in which one of several has it.
fn leaders(table: &Table, pools: &[Labelled<'_>], families: &mut Vec<MetricFamily>) {
    let (mut leaders, mut changes) = (Vec::new(), Vec::new());
    for (labels, pool) in pools.iter().filter(|(_, pool)| pool.config.policy.mode != Mode::ActiveActive) {
        let decider = table.decider(pool);
        let leader = decider.leader();
        leaders.extend(leader.map(|name| sample(&family::POOL_LEADER, and(labels, "backend", &name), 1.0)));
        changes.push(sample(&family::POOL_LEADER_CHANGES, labels.clone(), decider.leader_changes() as f64));
    }
    families.push(made(&family::POOL_LEADER, leaders));
    families.push(made(&family::POOL_LEADER_CHANGES, changes));
}
