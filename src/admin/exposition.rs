//! `/metrics`: the workers' own counters as Prometheus reads them.
//!
//! A collector walks the current table when it is scraped, so that what a reload took away is gone from the next
//! scrape. Names and help stand in `metrics::family`. It runs on a thread of its own, never on a worker: 10,000
//! backends are some 300,000 lines. Label values come from the configuration or from closed lists, never from traffic.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::{self, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Registry, TextEncoder};

use super::AdminState;
use crate::control::Phase;
use crate::control::orders::Standing;
use crate::health::State;
use crate::metrics::family::{self, Family, Kind};
use crate::metrics::{
    BOUNDS_MICROS, BackendStats, Counter, FAILURES, Histogram, ListenerStats, PROBE_LAYERS, PoolStats, REJECTIONS,
    STATUS_CLASSES,
};
use crate::pool::{Backend, CheckStatus, Override, Pool};
use crate::route::{Listener, Table};

/// The registry that a scrape reads.
#[derive(Debug)]
pub struct Exposition(Registry);

impl Exposition {
    /// A registry over the program's table and over its process.
    pub fn new(state: Arc<AdminState>) -> Self {
        let registry = Registry::new();
        let descriptions = family::ALL.iter().map(|family| describe(family)).collect();
        registry
            .register(Box::new(Walk { state, descriptions }))
            .expect("family names are distinct and well formed, which a test of `family` holds");
        registry
            .register(Box::new(ProcessCollector::for_self()))
            .expect("`process_` is a prefix that no family of ours has");
        Self(registry)
    }

    /// All of it as text, format 0.0.4.
    pub fn render(&self) -> String {
        let mut text = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.0.gather(), &mut text) {
            // Whoever scrapes sees the families up to here, and a comment instead of silence about the rest.
            text.push_str("# incomplete: ");
            text.push_str(&error.to_string());
            text.push('\n');
        }
        text
    }
}

/// Walks the table.
struct Walk {
    state: Arc<AdminState>,
    descriptions: Vec<Desc>,
}

impl Collector for Walk {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let table = self.state.table.load();
        let mut families = Vec::with_capacity(family::ALL.len());
        program(&self.state, &table, &mut families);
        listeners(&table, &mut families);
        pools(&table, &mut families);
        let backends = Backends::of(&table);
        backends.standing(&mut families);
        backends.ordered(&self.state.orders.standing(), &mut families);
        backends.traffic(&mut families);
        backends.checks(&mut families);
        families
    }
}

fn program(state: &AdminState, table: &Table, families: &mut Vec<MetricFamily>) {
    let life = &state.life;
    let mut single = |family: &Family, value: f64| families.push(made(family, vec![sample(family, Vec::new(), value)]));
    single(&family::START_TIME, seconds(state.started));
    single(&family::READY, flag(life.phase() == Phase::Ready));
    single(&family::GENERATION, table.generation as f64);
    single(&family::LAST_RELOAD_SUCCESS, flag(life.last_reload_refused.load(Relaxed) == 0));
    single(&family::LAST_RELOAD_TIME, life.last_reload_at.load(Relaxed) as f64);
    single(&family::LOG_DROPPED, life.access_log_dropped.load(Relaxed) as f64);
    single(&family::LAST_RELOAD_DURATION, micros(life.last_reload_micros.load(Relaxed)));

    let version = vec![label("version", state.version)];
    families.push(made(&family::BUILD_INFO, vec![sample(&family::BUILD_INFO, version, 1.0)]));
    let reloads = [("ok", &life.reloads), ("refused", &life.reloads_refused)];
    let reloads = reloads
        .map(|(result, count)| sample(&family::RELOADS, vec![label("result", result)], count.load(Relaxed) as f64));
    families.push(made(&family::RELOADS, reloads.into()));
    let writes = [("ok", &life.state_writes), ("failed", &life.state_write_failures)];
    let writes = writes.map(|(result, count)| {
        sample(&family::STATE_WRITES, vec![label("result", result)], count.load(Relaxed) as f64)
    });
    families.push(made(&family::STATE_WRITES, writes.into()));
}

fn listeners(table: &Table, families: &mut Vec<MetricFamily>) {
    let listeners: Vec<_> =
        table.listeners.iter().map(|listener| (vec![label("listener", &listener.config.name)], listener)).collect();
    let mut single = |family: &Family, value: &dyn Fn(&Listener) -> f64| {
        let samples = listeners.iter().map(|(labels, it)| sample(family, labels.clone(), value(it)));
        families.push(made(family, samples.collect()));
    };
    single(&family::LISTENER_OPEN, &|listener| f64::from(listener.open.load(Relaxed)));
    single(&family::LISTENER_CONNECTIONS, &|listener| listener.stats.sum(|it| &it.connections) as f64);
    single(&family::LISTENER_RECEIVED, &|listener| listener.stats.sum(|it| &it.received_bytes) as f64);
    single(&family::LISTENER_SENT, &|listener| listener.stats.sum(|it| &it.sent_bytes) as f64);

    let mut requests = Vec::new();
    let mut rejected = Vec::new();
    for (labels, listener) in &listeners {
        let count = |pick: fn(&ListenerStats) -> &[Counter], at: usize| listener.stats.sum(|it| &pick(it)[at]) as f64;
        for (at, class) in STATUS_CLASSES.iter().enumerate() {
            let labels = and(labels, "code", class);
            requests.push(sample(&family::LISTENER_REQUESTS, labels, count(|it| &it.responses, at)));
        }
        for (at, reason) in REJECTIONS.iter().enumerate() {
            let labels = and(labels, "reason", reason);
            rejected.push(sample(&family::LISTENER_REJECTED, labels, count(|it| &it.rejected, at)));
        }
    }
    families.push(made(&family::LISTENER_REQUESTS, requests));
    families.push(made(&family::LISTENER_REJECTED, rejected));
}

fn pools(table: &Table, families: &mut Vec<MetricFamily>) {
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
    single(&family::POOL_RECEIVED, &|pool| pool.stats.sum(|it| &it.received_bytes) as f64);
    single(&family::POOL_SENT, &|pool| pool.stats.sum(|it| &it.sent_bytes) as f64);

    let mut requests = Vec::new();
    let mut failed = Vec::new();
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
        connect.push(histogram(labels.clone(), pool.stats.copies().map(|it| &it.connect)));
        response.push(histogram(labels.clone(), pool.stats.copies().map(|it| &it.response)));
        probe.push(histogram(labels.clone(), pool.backends.iter().map(|it| &it.probes.duration)));
    }
    families.push(made(&family::POOL_REQUESTS, requests));
    families.push(made(&family::POOL_FAILED, failed));
    families.push(made(&family::POOL_CONNECT, connect));
    families.push(made(&family::POOL_RESPONSE, response));
    families.push(made(&family::POOL_PROBE, probe));
}

/// All backends of the table, each with its two labels ready to be copied.
struct Backends<'t>(Vec<Entry<'t>>);

struct Entry<'t> {
    labels: Vec<LabelPair>,
    backend: &'t Backend,
    weight: u16,
}

impl<'t> Backends<'t> {
    fn of(table: &'t Table) -> Self {
        let entries = table.pools.iter().flat_map(|pool| {
            pool.backends.iter().zip(&pool.config.members).map(|(backend, member)| Entry {
                labels: vec![label("pool", &pool.config.name), label("backend", &backend.name)],
                backend,
                weight: member.weight,
            })
        });
        Self(entries.collect())
    }

    /// One sample for each backend.
    fn single(&self, family: &Family, value: impl Fn(&Entry<'_>) -> f64) -> MetricFamily {
        let samples = self.0.iter().map(|entry| sample(family, entry.labels.clone(), value(entry)));
        made(family, samples.collect())
    }

    /// Any number of samples for each backend, told apart by one more label.
    fn several<'v>(
        &self,
        family: &Family,
        name: &'static str,
        values: impl Fn(&Entry<'t>, &mut dyn FnMut(&'v str, f64)),
    ) -> MetricFamily {
        let mut samples = Vec::with_capacity(self.0.len());
        for entry in &self.0 {
            values(entry, &mut |value, number| samples.push(sample(family, and(&entry.labels, name, value), number)));
        }
        made(family, samples)
    }

    fn standing(&self, families: &mut Vec<MetricFamily>) {
        let now = seconds(jiff::Timestamp::now());
        let info = self.0.iter().map(|entry| {
            let labels = and(&entry.labels, "address", &entry.backend.address.to_string());
            sample(&family::BACKEND_INFO, labels, 1.0)
        });
        families.push(made(&family::BACKEND_INFO, info.collect()));
        families.push(self.single(&family::BACKEND_UP, |it| flag(it.backend.state() == State::Up)));
        families.push(self.several(&family::BACKEND_STATE, "state", |it, add| add(it.backend.state().word(), 1.0)));
        // Whole seconds: the two clocks differ by less, and a value that wavers would look like a change.
        families
            .push(self.single(&family::BACKEND_CHANGED, |it| (now - it.backend.in_state_for().as_secs_f64()).round()));
        families.push(self.several(&family::BACKEND_TRANSITIONS, "to", |it, add| {
            add("up", it.backend.probes.flips_up.get() as f64);
            add("down", it.backend.probes.flips_down.get() as f64);
        }));
        families.push(self.single(&family::BACKEND_WEIGHT, |it| f64::from(it.weight)));
        families.push(self.single(&family::BACKEND_SHARE, |it| f64::from(it.backend.verdict().share) / 100.0));
    }

    fn ordered(&self, standing: &Standing, families: &mut Vec<MetricFamily>) {
        families.push(self.several(&family::BACKEND_ORDERED, "order", |it, add| {
            let ordered = |one: &&Override| one.backend == it.backend.name && one.pool == it.backend.pool;
            standing.overrides.iter().filter(ordered).for_each(|one| add(one.order.word(), 1.0));
        }));
    }

    fn traffic(&self, families: &mut Vec<MetricFamily>) {
        families.push(self.single(&family::BACKEND_IN_FLIGHT, |it| f64::from(it.backend.in_flight())));
        families.push(self.single(&family::BACKEND_LATENCY, |it| micros(u64::from(it.backend.latency_micros()))));
        families.push(self.several(&family::BACKEND_REQUESTS, "code", |it, add| {
            for (at, class) in STATUS_CLASSES.iter().enumerate() {
                let count = it.backend.stats.sum(|stats| &stats.responses[at]);
                if count > 0 || matches!(*class, "2xx" | "4xx" | "5xx") {
                    add(class, count as f64);
                }
            }
        }));
        let sum = |family, counter: fn(&BackendStats) -> &Counter| {
            self.single(family, |it| it.backend.stats.sum(counter) as f64)
        };
        families.extend([
            sum(&family::BACKEND_PICKS, |it| &it.picks),
            sum(&family::BACKEND_CONNECTS, |it| &it.connects),
            sum(&family::BACKEND_CONNECT_FAILURES, |it| &it.connect_failures),
            sum(&family::BACKEND_REUSED, |it| &it.reused),
            sum(&family::BACKEND_FAILURES, |it| &it.failures),
            sum(&family::BACKEND_IDLE, |it| &it.idle),
            sum(&family::BACKEND_CUT, |it| &it.cut),
            sum(&family::BACKEND_RECEIVED, |it| &it.received_bytes),
            sum(&family::BACKEND_SENT, |it| &it.sent_bytes),
        ]);
    }

    fn checks(&self, families: &mut Vec<MetricFamily>) {
        families.push(self.several(&family::BACKEND_PROBES, "result", |it, add| {
            let probes = &it.backend.probes;
            add("good", probes.good.get() as f64);
            for (layer, count) in PROBE_LAYERS.iter().zip(&probes.bad).filter(|(_, count)| count.get() > 0) {
                add(layer, count.get() as f64);
            }
        }));
        let (mut up, mut duration, mut reason) = (Vec::new(), Vec::new(), Vec::new());
        for entry in &self.0 {
            for check in entry.backend.checks() {
                let labels = and(&entry.labels, "check", &check.name);
                up.push(sample(&family::CHECK_UP, labels.clone(), flag(check.state == State::Up)));
                duration.push(sample(&family::CHECK_DURATION, labels.clone(), check.duration.as_secs_f64()));
                if check.state != State::Up {
                    reason.push(sample(&family::CHECK_REASON, and(&labels, "layer", layer(&check)), 1.0));
                }
            }
        }
        families.push(made(&family::CHECK_UP, up));
        families.push(made(&family::CHECK_DURATION, duration));
        families.push(made(&family::CHECK_REASON, reason));
    }
}

/// The layer that a check's reason names before its colon: a closed list, whatever the rest of the sentence says.
fn layer(check: &CheckStatus) -> &'static str {
    let word = check.reason.split(':').next().unwrap_or_default();
    PROBE_LAYERS.into_iter().find(|layer| *layer == word).unwrap_or("none")
}

fn describe(family: &Family) -> Desc {
    Desc::new(family.name.to_owned(), family.help.to_owned(), Vec::new(), HashMap::new())
        .expect("every family has a legal name and a help text, which a test of `family` holds")
}

fn made(family: &Family, samples: Vec<Metric>) -> MetricFamily {
    let mut made = MetricFamily::default();
    made.set_name(family.name.to_owned());
    made.set_help(family.help.to_owned());
    made.set_field_type(match family.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
        Kind::Histogram => MetricType::HISTOGRAM,
    });
    made.set_metric(samples);
    made
}

fn sample(family: &Family, labels: Vec<LabelPair>, value: f64) -> Metric {
    let mut metric = Metric::from_label(labels);
    if family.kind == Kind::Counter {
        let mut counter = proto::Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    metric
}

fn histogram<'h>(labels: Vec<LabelPair>, parts: impl Iterator<Item = &'h Histogram>) -> Metric {
    let mut counts = [0_u64; BOUNDS_MICROS.len() + 1];
    let mut sum_micros = 0_u64;
    for part in parts {
        for (count, bucket) in counts.iter_mut().zip(&part.buckets) {
            *count += bucket.get();
        }
        sum_micros += part.sum_micros.get();
    }
    let mut so_far = 0;
    let buckets = BOUNDS_MICROS.iter().zip(counts).map(|(bound, count)| {
        so_far += count;
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(micros(*bound));
        bucket.set_cumulative_count(so_far);
        bucket
    });
    let mut made = proto::Histogram::default();
    made.set_bucket(buckets.collect());
    made.set_sample_count(counts.iter().sum());
    made.set_sample_sum(micros(sum_micros));
    let mut metric = Metric::from_label(labels);
    metric.set_histogram(made);
    metric
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

fn and(labels: &[LabelPair], name: &str, value: &str) -> Vec<LabelPair> {
    let mut all = Vec::with_capacity(labels.len() + 1);
    all.extend_from_slice(labels);
    all.push(label(name, value));
    all
}

fn flag(condition: bool) -> f64 {
    f64::from(u8::from(condition))
}

fn micros(micros: u64) -> f64 {
    micros as f64 / 1e6
}

fn seconds(at: jiff::Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1e3
}
