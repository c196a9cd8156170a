//! What `/metrics` says of each backend and of its checks.

use super::page::{Labels, Page};
use super::{flag, micros, seconds};
use crate::control::orders::Standing;
use crate::health::State;
use crate::metrics::family::{self, Family};
use crate::metrics::{BackendStats, Counter, PROBE_LAYERS, STATUS_CLASSES};
use crate::pool::{Backend, CheckStatus};
use crate::route::Table;

/// All backends of the table, each with its two labels ready to be copied.
pub(super) struct Backends<'t>(Vec<Entry<'t>>);

struct Entry<'t> {
    labels: Labels,
    backend: &'t Backend,
    weight: u16,
    has_tunnels_max: bool,
}

impl<'t> Backends<'t> {
    pub(super) fn of(table: &'t Table) -> Self {
        let entries = table.pools.iter().flat_map(|pool| {
            let labels = Labels::of("pool", &pool.config.name);
            pool.backends.iter().zip(&pool.config.members).map(move |(backend, member)| Entry {
                labels: labels.and("backend", &backend.name),
                backend,
                weight: member.weight,
                has_tunnels_max: pool.config.tunnels_max.is_some(),
            })
        });
        Self(entries.collect())
    }

    /// One sample for each backend.
    fn single(&self, page: &mut Page, family: &Family, value: impl Fn(&Entry<'_>) -> f64) {
        self.some(page, family, |entry| Some(value(entry)));
    }

    /// One for each of which there is something to say.
    fn some(&self, page: &mut Page, family: &Family, value: impl Fn(&Entry<'_>) -> Option<f64>) {
        let mut lines = page.family(family);
        for entry in &self.0 {
            if let Some(value) = value(entry) {
                lines.add(&entry.labels, value);
            }
        }
    }

    /// The sum of what the workers have counted.
    fn sum(&self, page: &mut Page, family: &Family, counter: fn(&BackendStats) -> &Counter) {
        self.single(page, family, |it| it.backend.stats.sum(counter) as f64);
    }

    /// Any number of samples for each backend, told apart by one more label.
    fn several(
        &self,
        page: &mut Page,
        family: &Family,
        name: &str,
        values: impl Fn(&Entry<'t>, &mut dyn FnMut(&str, f64)),
    ) {
        let mut lines = page.family(family);
        for entry in &self.0 {
            values(entry, &mut |word, number| lines.with(&entry.labels, name, word, number));
        }
    }

    /// What is said of each backend also where little is.
    pub(super) fn brief(&self, page: &mut Page) {
        self.single(page, &family::BACKEND_UP, |it| flag(it.backend.state() == State::Up));
        self.single(page, &family::BACKEND_IN_FLIGHT, |it| f64::from(it.backend.in_flight()));
        self.sum(page, &family::BACKEND_PICKS, |it| &it.picks);
        self.sum(page, &family::BACKEND_CONNECT_FAILURES, |it| &it.connect_failures);
        self.sum(page, &family::BACKEND_FAILURES, |it| &it.failures);
    }

    pub(super) fn standing(&self, page: &mut Page) {
        let now = seconds(jiff::Timestamp::now());
        self.several(page, &family::BACKEND_INFO, "address", |it, add| add(&it.backend.address.to_string(), 1.0));
        self.several(page, &family::BACKEND_STATE, "state", |it, add| add(it.backend.state().word(), 1.0));
        // Whole seconds: the two clocks differ by less, and a value that wavers would look like a change.
        self.single(page, &family::BACKEND_CHANGED, |it| (now - it.backend.in_state_for().as_secs_f64()).round());
        self.several(page, &family::BACKEND_TRANSITIONS, "to", |it, add| {
            add("up", it.backend.probes.flips_up.get() as f64);
            add("down", it.backend.probes.flips_down.get() as f64);
        });
        self.single(page, &family::BACKEND_WEIGHT, |it| f64::from(it.weight));
        self.single(page, &family::BACKEND_SHARE, |it| f64::from(it.backend.verdict().share) / 100.0);
    }

    /// What is remarked on beside the verdict.
    pub(super) fn remarked(&self, page: &mut Page) {
        self.several(page, &family::BACKEND_ROLE, "role", |it, add| {
            it.backend.verdict().role.into_iter().for_each(|role| add(role.word(), 1.0));
        });
        self.several(page, &family::BACKEND_EJECTED, "reason", |it, add| {
            let remarks = it.backend.remarks();
            let reasons = [("traffic", remarks.ejected), ("flapping", remarks.flapping)];
            reasons.into_iter().filter(|(_, now)| *now).for_each(|(reason, _)| add(reason, 1.0));
        });
        self.several(page, &family::BACKEND_EJECTIONS, "reason", |it, add| {
            add("traffic", it.backend.probes.ejections.get() as f64);
            add("flapping", it.backend.probes.holds.get() as f64);
        });
        self.several(page, &family::BACKEND_DISAGREEMENT, "kind", |it, add| {
            it.backend.remarks().disagreement.into_iter().for_each(|kind| add(kind.word(), 1.0));
        });
    }

    pub(super) fn ordered(&self, standing: &Standing, page: &mut Page) {
        if standing.overrides.is_empty() {
            return;
        }
        self.several(page, &family::BACKEND_ORDERED, "order", |it, add| {
            let about_it = standing.overrides.iter();
            let about_it = about_it.filter(|one| one.backend == it.backend.name && one.pool == it.backend.pool);
            about_it.for_each(|one| add(one.order.word(), 1.0));
        });
    }

    pub(super) fn drilled(&self, page: &mut Page) {
        self.several(page, &family::BACKEND_DRILL, "mode", |it, add| {
            it.backend.fault().into_iter().for_each(|fault| add(fault.kind().word(), 1.0));
        });
    }

    pub(super) fn traffic(&self, page: &mut Page) {
        self.some(page, &family::BACKEND_CONNECTIONS_MAX, |it| {
            it.backend.connections_max().map(|most| f64::from(most.get()))
        });
        self.some(page, &family::BACKEND_TUNNELS, |it| it.has_tunnels_max.then(|| f64::from(it.backend.tunnels())));
        self.single(page, &family::BACKEND_LATENCY, |it| micros(u64::from(it.backend.latency_micros())));
        self.several(page, &family::BACKEND_REQUESTS, "code", |it, add| {
            for (at, class) in STATUS_CLASSES.iter().enumerate() {
                let count = it.backend.stats.sum(|stats| &stats.responses[at]);
                if count > 0 || matches!(*class, "2xx" | "4xx" | "5xx") {
                    add(class, count as f64);
                }
            }
        });
        self.sum(page, &family::BACKEND_CONNECTS, |it| &it.connects);
        self.sum(page, &family::BACKEND_REUSED, |it| &it.reused);
        self.sum(page, &family::BACKEND_IDLE, |it| &it.idle);
        self.sum(page, &family::BACKEND_CUT, |it| &it.cut);
        self.sum(page, &family::BACKEND_RECEIVED, |it| &it.received_bytes);
        self.sum(page, &family::BACKEND_SENT, |it| &it.sent_bytes);
    }

    pub(super) fn checks(&self, page: &mut Page) {
        self.several(page, &family::BACKEND_PROBES, "result", |it, add| {
            let probes = &it.backend.probes;
            add("good", probes.good.get() as f64);
            for (layer, count) in PROBE_LAYERS.iter().zip(&probes.bad).filter(|(_, count)| count.get() > 0) {
                add(layer, count.get() as f64);
            }
        });
        // Copied once: each look at them takes their lock.
        let checks: Vec<(Labels, CheckStatus)> = self
            .0
            .iter()
            .flat_map(|entry| {
                let checks = entry.backend.checks().into_iter();
                checks.map(|check| (entry.labels.and("check", &check.name), check))
            })
            .collect();
        let mut lines = page.family(&family::CHECK_UP);
        for (labels, check) in &checks {
            lines.add(labels, flag(check.state == State::Up));
        }
        let mut lines = page.family(&family::CHECK_DURATION);
        for (labels, check) in &checks {
            lines.add(labels, check.duration.as_secs_f64());
        }
        let mut lines = page.family(&family::CHECK_CERTIFICATE);
        for (labels, check) in &checks {
            check.certificate_expires.into_iter().for_each(|expires| lines.add(labels, expires as f64));
        }
        let mut lines = page.family(&family::CHECK_REASON);
        for (labels, check) in checks.iter().filter(|(_, check)| check.state != State::Up) {
            lines.with(labels, "layer", layer(check), 1.0);
        }
    }
}

/// The layer that a check's reason names before its colon: a closed list, whatever the rest of the sentence says.
pub(super) fn layer(check: &CheckStatus) -> &'static str {
    let word = check.reason.split(':').next().unwrap_or_default();
    PROBE_LAYERS.into_iter().find(|layer| *layer == word).unwrap_or("none")
}
