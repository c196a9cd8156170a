//! What the process itself uses: `process_…`, by the collector of the `prometheus` crate.

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricType;

use super::page::Page;
use crate::metrics::family::Kind;

pub(super) fn write(page: &mut Page) {
    for family in ProcessCollector::for_self().collect() {
        let Some(metric) = family.get_metric().first() else { continue };
        let (kind, value) = match family.get_field_type() {
            MetricType::COUNTER => (Kind::Counter, metric.get_counter().get_value()),
            _ => (Kind::Gauge, metric.get_gauge().get_value()),
        };
        page.foreign(family.name(), family.help(), kind, value);
    }
}
