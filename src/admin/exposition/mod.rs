//! `/metrics`: the workers' own counters as Prometheus reads them.
//!
//! A collector walks the current table when it is scraped, so that what a reload took away is gone from the next
//! scrape. Names and help stand in `metrics::family`. It runs on a thread of its own, never on a worker: 10,000
//! backends are some 300,000 lines. Label values come from the configuration or from closed lists, never from traffic.

mod backends;
mod pools;
mod sample;
mod udp;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::{LabelPair, MetricFamily};
use prometheus::{Registry, TextEncoder};

use super::AdminState;
use crate::config::model::{Protocol, Spoken};
use crate::control::Phase;
use crate::metrics::family::{self, Family};
use crate::metrics::{Counter, FLOODS, HANDSHAKES, ListenerStats, MIRRORED, Rejection, STATUS_CLASSES};
use crate::route::{Listener, Table};
use backends::Backends;
use sample::{and, flag, label, made, micros, sample, seconds};

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
        pools::collect(&table, &mut families);
        let backends = Backends::of(&table);
        backends.standing(&mut families);
        backends.remarked(&mut families);
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

    let spans = [("exported", &life.spans_exported), ("dropped", &life.spans_dropped)];
    let spans =
        spans.map(|(result, count)| sample(&family::SPANS, vec![label("result", result)], count.load(Relaxed) as f64));
    families.push(made(&family::SPANS, spans.into()));
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
        // Where datagrams come, there are no connections.
        let about_connections = [&family::LISTENER_OPEN, &family::LISTENER_CONNECTIONS].map(|it| it.name);
        let has = |it: &Listener| it.config.protocol != Protocol::Udp || !about_connections.contains(&family.name);
        let having = listeners.iter().filter(|(_, it)| has(it));
        families.push(made(family, having.map(|(labels, it)| sample(family, labels.clone(), value(it))).collect()));
    };
    single(&family::LISTENER_OPEN, &|listener| f64::from(listener.open.load(Relaxed)));
    single(&family::LISTENER_CONNECTIONS, &|listener| listener.stats.sum(|it| &it.connections) as f64);
    single(&family::LISTENER_RECEIVED, &|listener| listener.stats.sum(|it| &it.received_bytes) as f64);
    single(&family::LISTENER_DROPPED_FIELDS, &|listener| listener.stats.sum(|it| &it.dropped_fields) as f64);
    single(&family::LISTENER_SENT, &|listener| listener.stats.sum(|it| &it.sent_bytes) as f64);

    let mut requests = Vec::new();
    let mut rejected = Vec::new();
    for (labels, listener) in &listeners {
        let count = |pick: fn(&ListenerStats) -> &[Counter], at: usize| listener.stats.sum(|it| &pick(it)[at]) as f64;
        for (at, class) in STATUS_CLASSES.iter().enumerate() {
            let labels = and(labels, "code", class);
            requests.push(sample(&family::LISTENER_REQUESTS, labels, count(|it| &it.responses, at)));
        }
        for reason in Rejection::ALL {
            let labels = and(labels, "reason", reason.word());
            let count = listener.stats.sum(|it| it.rejected.of(*reason)) as f64;
            rejected.push(sample(&family::LISTENER_REJECTED, labels, count));
        }
    }
    families.push(made(&family::LISTENER_REQUESTS, requests));
    tls(&listeners, families);
    http2(&listeners, families);
    mirrored(&listeners, families);
    udp::collect(&listeners, families);
    families.push(made(&family::LISTENER_REJECTED, rejected));
}

/// What there is to say of the listeners that speak TLS.
fn tls(listeners: &[(Vec<LabelPair>, &Arc<Listener>)], families: &mut Vec<MetricFamily>) {
    let (mut handshakes, mut certificates) = (Vec::new(), Vec::new());
    for (labels, listener) in listeners {
        let Some(tls) = &listener.tls else { continue };
        for (at, result) in HANDSHAKES.iter().enumerate() {
            let count = listener.stats.sum(|it| &it.handshakes[at]) as f64;
            handshakes.push(sample(&family::LISTENER_HANDSHAKES, and(labels, "result", result), count));
        }
        for certificate in tls.certificates() {
            let labels = and(labels, "file", &certificate.file.to_string_lossy());
            certificates.push(sample(&family::LISTENER_CERTIFICATE, labels, certificate.not_after as f64));
        }
    }
    families.push(made(&family::LISTENER_HANDSHAKES, handshakes));
    families.push(made(&family::LISTENER_CERTIFICATE, certificates));
}

/// What became of copies of requests, where some are made.
fn mirrored(listeners: &[(Vec<LabelPair>, &Arc<Listener>)], families: &mut Vec<MetricFamily>) {
    let mut mirrored = Vec::new();
    for (labels, listener) in listeners.iter().filter(|(_, it)| it.gates.iter().any(|gates| gates.copies.is_some())) {
        for (at, result) in MIRRORED.iter().enumerate() {
            let count = listener.stats.sum(|it| &it.mirrored[at]) as f64;
            mirrored.push(sample(&family::LISTENER_MIRRORED, and(labels, "result", result), count));
        }
    }
    families.push(made(&family::LISTENER_MIRRORED, mirrored));
}

/// What there is to say of the listeners that speak HTTP/2.
fn http2(listeners: &[(Vec<LabelPair>, &Arc<Listener>)], families: &mut Vec<MetricFamily>) {
    let mut floods = Vec::new();
    for (labels, listener) in listeners.iter().filter(|(_, listener)| listener.config.http != Spoken::V1) {
        for (at, kind) in FLOODS.iter().enumerate() {
            let count = listener.stats.sum(|it| &it.floods[at]) as f64;
            floods.push(sample(&family::HTTP2_FLOODS, and(labels, "kind", kind), count));
        }
    }
    families.push(made(&family::HTTP2_FLOODS, floods));
}

fn describe(family: &Family) -> Desc {
    Desc::new(family.name.to_owned(), family.help.to_owned(), Vec::new(), HashMap::new())
        .expect("every family has a legal name and a help text, which a test of `family` holds")
}
