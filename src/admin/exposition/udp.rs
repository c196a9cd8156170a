//! What `/metrics` says of listeners on which datagrams come.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use prometheus::proto::{LabelPair, MetricFamily};

use super::sample::{and, made, sample};
use crate::config::model::Protocol;
use crate::metrics::family;
use crate::metrics::{Counter, DROPS, FLOW_ENDS, UdpStats};
use crate::route::Listener;

pub(super) fn collect(listeners: &[(Vec<LabelPair>, &Arc<Listener>)], families: &mut Vec<MetricFamily>) {
    let (mut open, mut begun, mut ended) = (Vec::new(), Vec::new(), Vec::new());
    let (mut datagrams, mut dropped) = (Vec::new(), Vec::new());
    for (labels, listener) in listeners.iter().filter(|(_, it)| it.config.protocol == Protocol::Udp) {
        let count = |pick: &dyn Fn(&UdpStats) -> &Counter| listener.stats.sum(|it| pick(&it.udp)) as f64;
        open.push(sample(&family::LISTENER_FLOWS, labels.clone(), f64::from(listener.open.load(Relaxed))));
        let flows = listener.stats.sum(|it| &it.connections) as f64;
        begun.push(sample(&family::LISTENER_FLOWS_BEGUN, labels.clone(), flows));
        for (at, how) in FLOW_ENDS.iter().enumerate() {
            let labels = and(labels, "how", how);
            ended.push(sample(&family::LISTENER_FLOWS_ENDED, labels, count(&|it| &it.ended[at])));
        }
        for (direction, count) in [("received", count(&|it| &it.received)), ("sent", count(&|it| &it.sent))] {
            datagrams.push(sample(&family::LISTENER_DATAGRAMS, and(labels, "direction", direction), count));
        }
        for (at, reason) in DROPS.iter().enumerate() {
            let labels = and(labels, "reason", reason);
            dropped.push(sample(&family::LISTENER_DROPPED, labels, count(&|it| &it.dropped[at])));
        }
    }
    families.push(made(&family::LISTENER_FLOWS, open));
    families.push(made(&family::LISTENER_FLOWS_BEGUN, begun));
    families.push(made(&family::LISTENER_FLOWS_ENDED, ended));
    families.push(made(&family::LISTENER_DATAGRAMS, datagrams));
    families.push(made(&family::LISTENER_DROPPED, dropped));
}
