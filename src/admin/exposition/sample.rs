//! Samples and labels in the shape in which the `prometheus` crate takes them.
//!
//! Called by the rest of `exposition`; says nothing about what is counted.

use prometheus::proto::{self, LabelPair, Metric, MetricFamily, MetricType};

use crate::metrics::family::{Family, Kind};
use crate::metrics::{BOUNDS_MICROS, Histogram};

pub(super) fn made(family: &Family, samples: Vec<Metric>) -> MetricFamily {
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

pub(super) fn sample(family: &Family, labels: Vec<LabelPair>, value: f64) -> Metric {
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

pub(super) fn histogram<'h>(labels: Vec<LabelPair>, parts: impl Iterator<Item = &'h Histogram>) -> Metric {
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

pub(super) fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

pub(super) fn and(labels: &[LabelPair], name: &str, value: &str) -> Vec<LabelPair> {
    let mut all = Vec::with_capacity(labels.len() + 1);
    all.extend_from_slice(labels);
    all.push(label(name, value));
    all
}

pub(super) fn flag(condition: bool) -> f64 {
    f64::from(u8::from(condition))
}

pub(super) fn micros(micros: u64) -> f64 {
    micros as f64 / 1e6
}

pub(super) fn seconds(at: jiff::Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1e3
}
