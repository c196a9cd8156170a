//! `/metrics`: the workers' own counters as Prometheus reads them.
//!
//! A scrape walks the current table, so that what a reload took away is gone from the next one. Names and help stand
//! in `metrics::family` (`metrics::haproxy` for boards that were made for HAProxy). It runs on a thread of its own and
//! of low priority, never on a worker: 10,000 backends are some 300,000 lines. Label values come from the configuration
//! or from closed lists, never from traffic.

mod asked;
mod backends;
mod haproxy;
mod incidents;
mod page;
mod pools;
mod process;
mod udp;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

pub use asked::{Asked, Names};
pub use page::Form;
use tokio::sync::oneshot;

use super::AdminState;
use crate::config::model::{Breadth, Protocol, Spoken};
use crate::control::Phase;
use crate::metrics::family::{self, Family};
use crate::metrics::{Counter, FLOODS, HANDSHAKES, ListenerStats, MIRRORED, Rejection, STATUS_CLASSES};
use crate::route::{Listener, Table};
use backends::Backends;
use page::{Labels, Page};

/// Below the workers (nice(2)): on a busy machine a scrape takes longer, and requests do not.
const NICE: i32 = 10;

/// What a scrape reads.
#[derive(Debug)]
pub struct Exposition {
    state: Arc<AdminState>,
}

impl Exposition {
    /// Over the program's table and over its process.
    pub fn new(state: Arc<AdminState>) -> Self {
        Self { state }
    }

    /// All of it as text, as it is asked for.
    pub fn render(&self, asked: Asked) -> String {
        let table = self.state.table.load();
        let mut page = Page::new(asked.form);
        match asked.names {
            Names::Haproxy => haproxy::write(&self.state, &table, asked.breadth, &mut page),
            Names::Own => self.own(&table, asked.breadth, &mut page),
        }
        page.finish()
    }

    /// The same on a thread of its own, to which everything else comes first: traffic has the processors when both want
    /// them. `None`: it was broken off.
    pub(crate) async fn scrape(self: &Arc<Self>, asked: Asked) -> Option<String> {
        let exposition = Arc::clone(self);
        let (page, made) = oneshot::channel();
        let thread = std::thread::Builder::new().name("scrape".into()).spawn(move || {
            // A kernel that refuses leaves it at the usual priority.
            let _ = rustix::process::nice(NICE);
            // Whoever asked may have gone.
            let _ = page.send(exposition.render(asked));
        });
        thread.inspect_err(|error| tracing::warn!(%error, "no thread for a scrape")).ok()?;
        made.await.ok()
    }

    fn own(&self, table: &Table, breadth: Breadth, page: &mut Page) {
        program(&self.state, table, page);
        listeners(table, page);
        pools::write(table, page);
        incidents::write(&self.state.events.incidents, table, page);
        if breadth != Breadth::None {
            let backends = Backends::of(table);
            backends.brief(page);
            backends.drilled(page);
            if breadth == Breadth::All {
                backends.standing(page);
                backends.remarked(page);
                backends.ordered(&self.state.orders.standing(), page);
                backends.traffic(page);
                backends.checks(page);
            }
        }
        process::write(page);
    }
}

fn program(state: &AdminState, table: &Table, page: &mut Page) {
    let life = &state.life;
    page.single(&family::START_TIME, seconds(state.started));
    page.single(&family::READY, flag(life.phase() == Phase::Ready));
    page.single(&family::GENERATION, table.generation as f64);
    page.single(&family::LAST_RELOAD_SUCCESS, flag(life.last_reload_refused.load(Relaxed) == 0));
    page.single(&family::LAST_RELOAD_TIME, life.last_reload_at.load(Relaxed) as f64);
    page.single(&family::LOG_DROPPED, life.access_log_dropped.load(Relaxed) as f64);
    page.single(&family::LAST_RELOAD_DURATION, micros(life.last_reload_micros.load(Relaxed)));
    page.family(&family::BUILD_INFO).add(&Labels::of("version", state.version), 1.0);
    let counts = [
        (&family::SPANS, [("exported", &*life.spans_exported), ("dropped", &*life.spans_dropped)]),
        (&family::RELOADS, [("ok", &life.reloads), ("refused", &life.reloads_refused)]),
        (&family::STATE_WRITES, [("ok", &life.state_writes), ("failed", &life.state_write_failures)]),
    ];
    for (family, results) in counts {
        let mut lines = page.family(family);
        for (result, count) in results {
            lines.add(&Labels::of("result", result), count.load(Relaxed) as f64);
        }
    }
}

/// A listener with its label.
type Labelled<'t> = (Labels, &'t Arc<Listener>);

fn listeners(table: &Table, page: &mut Page) {
    let listeners: Vec<Labelled<'_>> =
        table.listeners.iter().map(|listener| (Labels::of("listener", &listener.config.name), listener)).collect();
    let mut single = |family: &Family, value: &dyn Fn(&Listener) -> f64| {
        // Where datagrams come, there are no connections.
        let about_connections = [&family::LISTENER_OPEN, &family::LISTENER_CONNECTIONS].map(|it| it.name);
        let has = |it: &Listener| it.config.protocol != Protocol::Udp || !about_connections.contains(&family.name);
        let mut lines = page.family(family);
        for (labels, listener) in listeners.iter().filter(|(_, it)| has(it)) {
            lines.add(labels, value(listener));
        }
    };
    single(&family::LISTENER_OPEN, &|listener| f64::from(listener.open.load(Relaxed)));
    single(&family::LISTENER_CONNECTIONS, &|listener| listener.stats.sum(|it| &it.connections) as f64);
    single(&family::LISTENER_RECEIVED, &|listener| listener.stats.sum(|it| &it.received_bytes) as f64);
    single(&family::LISTENER_DROPPED_FIELDS, &|listener| listener.stats.sum(|it| &it.dropped_fields) as f64);
    single(&family::LISTENER_SENT, &|listener| listener.stats.sum(|it| &it.sent_bytes) as f64);
    by_word(&listeners, page, &family::LISTENER_REQUESTS, "code", &STATUS_CLASSES, |it| &it.responses);
    let mut lines = page.family(&family::LISTENER_REJECTED);
    for (labels, listener) in &listeners {
        for reason in Rejection::ALL {
            let count = listener.stats.sum(|it| it.rejected.of(*reason));
            lines.with(labels, "reason", reason.word(), count as f64);
        }
    }
    tls(&listeners, page);
    let h2: Vec<_> = listeners.iter().filter(|(_, it)| it.config.http != Spoken::V1).cloned().collect();
    by_word(&h2, page, &family::HTTP2_FLOODS, "kind", &FLOODS, |it| &it.floods);
    let copying = |listener: &Listener| listener.gates.iter().any(|gates| gates.copies.is_some());
    let mirrored: Vec<_> = listeners.iter().filter(|(_, it)| copying(it)).cloned().collect();
    by_word(&mirrored, page, &family::LISTENER_MIRRORED, "result", &MIRRORED, |it| &it.mirrored);
    udp::write(&listeners, page);
}

/// A count for each word of a list.
fn by_word(
    listeners: &[Labelled<'_>],
    page: &mut Page,
    family: &Family,
    name: &str,
    words: &[&str],
    counters: fn(&ListenerStats) -> &[Counter],
) {
    let mut lines = page.family(family);
    for (labels, listener) in listeners {
        for (at, word) in words.iter().enumerate() {
            lines.with(labels, name, word, listener.stats.sum(|it| &counters(it)[at]) as f64);
        }
    }
}

/// What there is to say of the listeners that speak TLS.
fn tls(listeners: &[Labelled<'_>], page: &mut Page) {
    let speaking: Vec<_> = listeners.iter().filter(|(_, it)| it.tls.is_some()).cloned().collect();
    by_word(&speaking, page, &family::LISTENER_HANDSHAKES, "result", &HANDSHAKES, |it| &it.handshakes);
    let mut lines = page.family(&family::LISTENER_CERTIFICATE);
    for (labels, listener) in &speaking {
        for certificate in listener.tls.iter().flat_map(|tls| tls.certificates()) {
            lines.with(labels, "file", &certificate.file.to_string_lossy(), certificate.not_after as f64);
        }
    }
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
