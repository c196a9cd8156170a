//! What `/metrics` says of each backend and of its checks.

use prometheus::proto::{LabelPair, MetricFamily};

use super::sample::{and, flag, label, made, micros, sample, seconds};
use crate::control::orders::Standing;
use crate::health::State;
use crate::metrics::family::{self, Family};
use crate::metrics::{BackendStats, Counter, PROBE_LAYERS, STATUS_CLASSES};
use crate::pool::{Backend, CheckStatus, Override};
use crate::route::Table;

/// All backends of the table, each with its two labels ready to be copied.
pub(super) struct Backends<'t>(Vec<Entry<'t>>);

struct Entry<'t> {
    labels: Vec<LabelPair>,
    backend: &'t Backend,
    weight: u16,
    has_tunnels_max: bool,
}

impl<'t> Backends<'t> {
    pub(super) fn of(table: &'t Table) -> Self {
        let entries = table.pools.iter().flat_map(|pool| {
            pool.backends.iter().zip(&pool.config.members).map(|(backend, member)| Entry {
                labels: vec![label("pool", &pool.config.name), label("backend", &backend.name)],
                backend,
                weight: member.weight,
                has_tunnels_max: pool.config.tunnels_max.is_some(),
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

    pub(super) fn standing(&self, families: &mut Vec<MetricFamily>) {
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

    /// What is remarked on beside the verdict.
    pub(super) fn remarked(&self, families: &mut Vec<MetricFamily>) {
        families.push(self.several(&family::BACKEND_ROLE, "role", |it, add| {
            it.backend.verdict().role.into_iter().for_each(|role| add(role.word(), 1.0));
        }));
        families.push(self.several(&family::BACKEND_EJECTED, "reason", |it, add| {
            let remarks = it.backend.remarks();
            let reasons = [("traffic", remarks.ejected), ("flapping", remarks.flapping)];
            reasons.into_iter().filter(|(_, now)| *now).for_each(|(reason, _)| add(reason, 1.0));
        }));
        families.push(self.several(&family::BACKEND_EJECTIONS, "reason", |it, add| {
            add("traffic", it.backend.probes.ejections.get() as f64);
            add("flapping", it.backend.probes.holds.get() as f64);
        }));
        families.push(self.several(&family::BACKEND_DISAGREEMENT, "kind", |it, add| {
            it.backend.remarks().disagreement.into_iter().for_each(|kind| add(kind.word(), 1.0));
        }));
    }

    pub(super) fn ordered(&self, standing: &Standing, families: &mut Vec<MetricFamily>) {
        families.push(self.several(&family::BACKEND_ORDERED, "order", |it, add| {
            let ordered = |one: &&Override| one.backend == it.backend.name && one.pool == it.backend.pool;
            standing.overrides.iter().filter(ordered).for_each(|one| add(one.order.word(), 1.0));
        }));
    }

    pub(super) fn traffic(&self, families: &mut Vec<MetricFamily>) {
        families.push(self.single(&family::BACKEND_IN_FLIGHT, |it| f64::from(it.backend.in_flight())));
        let limits = self.0.iter().filter_map(|it| Some((it, it.backend.connections_max()?.get())));
        let limits = limits
            .map(|(it, most)| sample(&family::BACKEND_CONNECTIONS_MAX, it.labels.clone(), f64::from(most)))
            .collect();
        families.push(made(&family::BACKEND_CONNECTIONS_MAX, limits));
        let limited = self.0.iter().filter(|it| it.has_tunnels_max);
        let tunnels =
            limited.map(|it| sample(&family::BACKEND_TUNNELS, it.labels.clone(), f64::from(it.backend.tunnels())));
        families.push(made(&family::BACKEND_TUNNELS, tunnels.collect()));
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

    pub(super) fn checks(&self, families: &mut Vec<MetricFamily>) {
        families.push(self.several(&family::BACKEND_PROBES, "result", |it, add| {
            let probes = &it.backend.probes;
            add("good", probes.good.get() as f64);
            for (layer, count) in PROBE_LAYERS.iter().zip(&probes.bad).filter(|(_, count)| count.get() > 0) {
                add(layer, count.get() as f64);
            }
        }));
        let (mut up, mut duration, mut certificate, mut reason) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for entry in &self.0 {
            for check in entry.backend.checks() {
                let labels = and(&entry.labels, "check", &check.name);
                up.push(sample(&family::CHECK_UP, labels.clone(), flag(check.state == State::Up)));
                duration.push(sample(&family::CHECK_DURATION, labels.clone(), check.duration.as_secs_f64()));
                if let Some(expires) = check.certificate_expires {
                    certificate.push(sample(&family::CHECK_CERTIFICATE, labels.clone(), expires as f64));
                }
                if check.state != State::Up {
                    reason.push(sample(&family::CHECK_REASON, and(&labels, "layer", layer(&check)), 1.0));
                }
            }
        }
        families.push(made(&family::CHECK_UP, up));
        families.push(made(&family::CHECK_DURATION, duration));
        families.push(made(&family::CHECK_CERTIFICATE, certificate));
        families.push(made(&family::CHECK_REASON, reason));
    }
}

/// The layer that a check's reason names before its colon: a closed list, whatever the rest of the sentence says.
fn layer(check: &CheckStatus) -> &'static str {
    let word = check.reason.split(':').next().unwrap_or_default();
    PROBE_LAYERS.into_iter().find(|layer| *layer == word).unwrap_or("none")
}
