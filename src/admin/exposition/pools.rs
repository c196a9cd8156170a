//! What `/metrics` says of each pool.

use std::sync::Arc;

use super::flag;
use super::page::{Labels, Page};
use crate::health::{Mode, State};
use crate::metrics::family::{self, Family};
use crate::metrics::{Counter, FAILURES, Histogram, PoolStats, STATUS_CLASSES, STAYS};
use crate::pool::{AlarmKind, Pool};
use crate::route::Table;

/// A pool with its label.
type Labelled<'t> = (Labels, &'t Arc<Pool>);

pub(super) fn write(table: &Table, page: &mut Page) {
    let pools: Vec<Labelled<'_>> =
        table.pools.iter().map(|pool| (Labels::of("pool", &pool.config.name), pool)).collect();
    let mut single = |family: &Family, value: &dyn Fn(&Pool) -> f64| {
        let mut lines = page.family(family);
        for (labels, pool) in &pools {
            lines.add(labels, value(pool));
        }
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
    by_word(&pools, page, &family::POOL_REQUESTS, "code", &STATUS_CLASSES, |it| &it.responses);
    by_word(&pools, page, &family::POOL_FAILED, "cause", &FAILURES, |it| &it.failed);
    times(&pools, page);
    alarms(&pools, page);
    let sticky: Vec<_> = pools.iter().filter(|(_, pool)| pool.sticky.is_some()).cloned().collect();
    by_word(&sticky, page, &family::POOL_STICKY, "result", &STAYS, |it| &it.sticky);
    leaders(table, &pools, page);
}

/// A count for each word of a list.
fn by_word(
    pools: &[Labelled<'_>],
    page: &mut Page,
    family: &Family,
    name: &str,
    words: &[&str],
    counters: fn(&PoolStats) -> &[Counter],
) {
    let mut lines = page.family(family);
    for (labels, pool) in pools {
        for (at, word) in words.iter().enumerate() {
            lines.with(labels, name, word, pool.stats.sum(|it| &counters(it)[at]) as f64);
        }
    }
}

fn times(pools: &[Labelled<'_>], page: &mut Page) {
    #[expect(clippy::type_complexity, reason = "a table that is read on the spot")]
    let timed: [(&Family, fn(&PoolStats) -> &Histogram); 3] = [
        (&family::POOL_QUEUE, |it| &it.queue),
        (&family::POOL_CONNECT, |it| &it.connect),
        (&family::POOL_REQUEST, |it| &it.request),
    ];
    for (family, histogram) in timed {
        let mut lines = page.family(family);
        for (labels, pool) in pools {
            lines.histogram(labels, pool.stats.copies().map(histogram));
        }
    }
    let mut lines = page.family(&family::POOL_RESPONSE);
    for (labels, pool) in pools {
        // Collected: the buckets ask for them again and again.
        let exemplars: Vec<_> = pool.stats.copies().map(|it| &it.response_exemplars).collect();
        lines.histogram_of(labels, pool.stats.copies().map(|it| &it.response), &exemplars);
    }
    let mut lines = page.family(&family::POOL_PROBE);
    for (labels, pool) in pools {
        lines.histogram(labels, pool.backends.iter().map(|it| &it.probes.duration));
    }
}

fn alarms(pools: &[Labelled<'_>], page: &mut Page) {
    let mut lines = page.family(&family::POOL_ALARM);
    for (labels, pool) in pools {
        let raised = pool.alarms();
        for kind in AlarmKind::ALL {
            lines.with(labels, "alarm", kind.word(), flag(raised.iter().any(|alarm| alarm.kind == kind)));
        }
    }
}

/// Who has the work, of the pools in which one of several has it.
fn leaders(table: &Table, pools: &[Labelled<'_>], page: &mut Page) {
    let led = || pools.iter().filter(|(_, pool)| pool.config.policy.mode != Mode::ActiveActive);
    let mut lines = page.family(&family::POOL_LEADER);
    for (labels, pool) in led() {
        if let Some(leader) = table.decider(pool).leader() {
            lines.with(labels, "backend", &leader, 1.0);
        }
    }
    let mut lines = page.family(&family::POOL_LEADER_CHANGES);
    for (labels, pool) in led() {
        lines.add(labels, table.decider(pool).leader_changes() as f64);
    }
}
