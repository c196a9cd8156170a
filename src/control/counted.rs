//! What traffic has come to in this process, pool by pool and listener by listener, for the guard of a change and for
//! drills. What a process before this one has counted comes all at once, and was not served by this configuration.

use super::guard::{Of, Sample};
use super::numbers::{Count, Serving};
use crate::config::model::Protocol;
use crate::health::State;
use crate::metrics::{Counter, FAILURES, Histogram, ListenerStats, MAX_BOUNDS, PoolStats, Rejection};
use crate::pool::Pool;
use crate::route::{Listener, Table};

/// Position of `5xx` in counts by status class.
const SERVER_ERRORS: usize = 4;
/// What the client itself has done, or what is tried elsewhere and ends otherwise.
const NO_ERRORS: [&str; 3] = ["client_abort", "tunnel_idle", "retried_status"];
/// Failures of answers whose status has been counted as a good one.
const IN_BODY: [&str; 3] = ["reset_in_body", "truncated_body", "body_timeout"];

/// All of it.
pub fn counted(table: &Table) -> Sample {
    let pools = table.pools.iter().map(|pool| (Of::Pool(pool.config.name.clone()), of_pool(pool)));
    let listeners = table.listeners.iter().filter(|it| it.config.protocol != Protocol::Udp);
    let listeners = listeners.map(|it| (Of::Listener(it.config.name.clone()), of_listener(it)));
    pools.chain(listeners).collect()
}

/// What a pool has counted.
pub(super) fn of_pool(pool: &Pool) -> Count {
    let sum = |counters: &dyn Fn(&PoolStats) -> &[Counter]| -> u64 {
        pool.stats.copies_here().flat_map(|copy| counters(copy).iter().map(Counter::get)).sum()
    };
    let failed = |counts: &dyn Fn(&str) -> bool| -> u64 {
        let positions = (0..FAILURES.len()).filter(|at| counts(FAILURES[*at]));
        positions.map(|at| pool.stats.sum_here(|it| &it.failed[at])).sum()
    };
    let answered = sum(&|it| &it.responses);
    let (requests, errors) = if answered > 0 {
        let in_body = failed(&|cause| IN_BODY.contains(&cause));
        (answered, pool.stats.sum_here(|it| &it.responses[SERVER_ERRORS]) + in_body)
    } else {
        // Connections: there is one to a backend for each that a client has opened.
        let failed = failed(&|cause| !NO_ERRORS.contains(&cause));
        (sum(&|it| &it.connect.buckets) + failed, failed)
    };
    Count { requests, errors, took: took(pool.stats.copies_here().map(|it| &it.response)), serving: serving(pool) }
}

fn of_listener(listener: &Listener) -> Count {
    let stats = &listener.stats;
    let count = |counter: &dyn Fn(&ListenerStats) -> &Counter| stats.sum_here(counter);
    let (requests, errors) = match listener.config.protocol {
        Protocol::Http => {
            let all = stats.copies_here().flat_map(|it| it.responses.iter().map(Counter::get)).sum();
            (all, count(&|it| &it.responses[SERVER_ERRORS]))
        }
        Protocol::Tcp | Protocol::Udp => {
            (count(&|it| &it.connections), count(&|it| it.rejected.of(Rejection::NoRoute)))
        }
    };
    Count { requests, errors, ..Count::default() }
}

fn took<'h>(histograms: impl Iterator<Item = &'h Histogram>) -> [u64; MAX_BOUNDS + 1] {
    let mut took = [0; MAX_BOUNDS + 1];
    for histogram in histograms {
        took.iter_mut().zip(&histogram.buckets).for_each(|(sum, count)| *sum += count.get());
    }
    took
}

fn serving(pool: &Pool) -> Serving {
    let has = |state| pool.backends.iter().any(|backend| backend.state() == state);
    match () {
        () if has(State::Up) => Serving::Somebody,
        () if has(State::Unknown) => Serving::Undecided,
        () => Serving::Nobody,
    }
}
