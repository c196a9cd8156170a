//! What `/metrics` says of listeners on which datagrams come.

use std::sync::atomic::Ordering::Relaxed;

use super::Labelled;
use super::page::Page;
use crate::config::model::Protocol;
use crate::metrics::family;
use crate::metrics::{DROPS, FLOW_ENDS};

pub(super) fn write(listeners: &[Labelled<'_>], page: &mut Page) {
    let listeners: Vec<_> = listeners.iter().filter(|(_, it)| it.config.protocol == Protocol::Udp).cloned().collect();
    let mut lines = page.family(&family::LISTENER_FLOWS);
    for (labels, it) in &listeners {
        lines.add(labels, f64::from(it.open.load(Relaxed)));
    }
    let mut lines = page.family(&family::LISTENER_FLOWS_BEGUN);
    for (labels, it) in &listeners {
        lines.add(labels, it.stats.sum(|it| &it.connections) as f64);
    }
    super::by_word(&listeners, page, &family::LISTENER_FLOWS_ENDED, "how", &FLOW_ENDS, |it| &it.udp.ended);
    let mut lines = page.family(&family::LISTENER_DATAGRAMS);
    for (labels, listener) in &listeners {
        lines.with(labels, "direction", "received", listener.stats.sum(|it| &it.udp.received) as f64);
        lines.with(labels, "direction", "sent", listener.stats.sum(|it| &it.udp.sent) as f64);
    }
    super::by_word(&listeners, page, &family::LISTENER_DROPPED, "reason", &DROPS, |it| &it.udp.dropped);
}
