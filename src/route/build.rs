//! A table from a configuration and the table before it: what did not change is carried over.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use tokio::sync::mpsc::UnboundedSender;

use super::gates;
use super::routes::Routes;
use super::table::{Listener, Log, Table, Tracing};
use crate::config::model;
use crate::log::sink::Sinks;
use crate::metrics::PerWorker;
use crate::net::tls::Server;
use crate::pool::{Backend, Bell, Evidence, Pool};
use crate::trace::Traces;

/// What every table of a process is built with.
#[derive(Debug, Clone)]
pub struct Foundation {
    /// Data-path threads.
    pub workers: usize,
    /// Where backends report what traffic saw.
    pub evidence: UnboundedSender<Evidence>,
    /// How workers learn of flips.
    pub bell: Arc<Bell>,
    /// Where access logs go; those that a configuration names are open before its table is built.
    pub sinks: Arc<Sinks>,
    /// The way to whoever exports traces; none in programs that have nobody for that.
    pub traces: Option<Arc<Traces>>,
}

impl Table {
    /// Builds the table of `config`. Backends are kept by pool, name and address, with health, work in flight and
    /// counters; pools and listeners keep their counters by name. Changes nothing that the running table shows.
    pub fn build(config: Arc<model::Config>, previous: Option<&Self>, foundation: &Foundation) -> Self {
        let before: HashMap<&str, &Arc<Pool>, FixedState> = previous
            .map(|table| table.pools.iter().map(|pool| (pool.config.name.as_ref(), pool)).collect())
            .unwrap_or_default();
        let pools = config
            .pools
            .iter()
            .map(|pool| Arc::new(build_pool(pool, before.get(pool.name.as_ref()).copied(), foundation)))
            .collect();
        let listeners = config
            .listeners
            .iter()
            .map(|listener| {
                let kept = previous
                    .and_then(|table| table.listeners.iter().find(|before| before.config.name == listener.name));
                Arc::new(Listener {
                    stats: kept.map_or_else(|| Arc::new(PerWorker::new(foundation.workers)), |it| it.stats.clone()),
                    open: kept.map_or_else(Arc::default, |it| it.open.clone()),
                    crowd: kept.map_or_else(Arc::default, |it| it.crowd.clone()),
                    routes: Routes::new(&listener.routes),
                    gates: gates::build(listener, kept.map(AsRef::as_ref)),
                    tls: listener.tls.as_ref().and_then(|tls| server(&listener.name, protocols(listener), tls, kept_tls(listener, kept))),
                    log: listener.log.as_ref().and_then(|log| open_log(log, foundation)),
                    config: listener.clone(),
                })
            })
            .collect();
        let generation = previous.map_or(1, |table| table.generation + 1);
        let tracing = config.tracing.clone().zip(foundation.traces.clone());
        let tracing = tracing.map(|(config, traces)| Tracing { config, traces });
        let before = previous.and_then(|table| table.admin.clone());
        let admin = config.admin.tls.as_ref().and_then(|tls| server("admin", &["http/1.1"], tls, before));
        Self { generation, config, listeners, pools, tracing, admin }
    }

    /// Backends of `self` that `next` no longer has.
    pub fn leaving(&self, next: &Self) -> Vec<Arc<Backend>> {
        let stay: std::collections::HashSet<u64, FixedState> =
            next.pools.iter().flat_map(|pool| &pool.backends).map(|backend| backend.slot.serial).collect();
        let all = self.pools.iter().flat_map(|pool| &pool.backends);
        all.filter(|backend| !stay.contains(&backend.slot.serial)).cloned().collect()
    }

    /// Backends of `next` that it has from `self`, and reaches in another way.
    pub fn rerouted<'a>(&self, next: &'a Self) -> Vec<&'a Arc<Backend>> {
        let ways: HashMap<u64, &Option<Arc<model::Way>>, FixedState> = self
            .pools
            .iter()
            .flat_map(|pool| pool.backends.iter().map(|backend| (backend.slot.serial, &pool.config.way)))
            .collect();
        let all = next.pools.iter().flat_map(|pool| pool.backends.iter().map(|backend| (backend, &pool.config.way)));
        all.filter(|(backend, way)| ways.get(&backend.slot.serial).is_some_and(|before| before != way))
            .map(|(backend, _)| backend)
            .collect()
    }
}

fn open_log(config: &Arc<model::AccessLog>, foundation: &Foundation) -> Option<Log> {
    let sink = foundation.sinks.find(&config.target)?;
    Some(Log { config: Arc::clone(config), sink })
}

/// The server of before, where it speaks the same inside.
fn kept_tls(listener: &model::Listener, kept: Option<&Arc<Listener>>) -> Option<Arc<Server>> {
    kept.filter(|before| protocols(&before.config) == protocols(listener)).and_then(|before| before.tls.clone())
}

/// The server of a listener: the one that there was, or its successor, with whom sessions can be taken up again.
fn server(name: &str, protocols: &[&str], tls: &model::ListenerTls, kept: Option<Arc<Server>>) -> Option<Arc<Server>> {
    let made = match kept {
        Some(server) if server.is_by(tls) => Ok(server),
        Some(server) => server.successor(tls).map(Arc::new),
        None => Server::new(tls, protocols).map(Arc::new),
    };
    // Loading the configuration has tried the same files: this is for faults of our own, and closes connections.
    made.inspect_err(|why| tracing::error!(listener = %name, %why, "no TLS on this listener")).ok()
}

/// What is spoken inside TLS (ALPN).
fn protocols(listener: &model::Listener) -> &'static [&'static str] {
    match (listener.protocol, listener.http) {
        (model::Protocol::Tcp | model::Protocol::Udp, _) => &[],
        (model::Protocol::Http, model::Spoken::V1) => &["http/1.1"],
        (model::Protocol::Http, model::Spoken::V2) => &["h2"],
        (model::Protocol::Http, model::Spoken::Both) => &["h2", "http/1.1"],
    }
}

fn build_pool(config: &Arc<model::Pool>, previous: Option<&Arc<Pool>>, foundation: &Foundation) -> Pool {
    let before: HashMap<&str, &Arc<Backend>, FixedState> = previous
        .map(|pool| pool.backends.iter().map(|backend| (backend.name.as_ref(), backend)).collect())
        .unwrap_or_default();
    let same_tls = previous.is_none_or(|pool| pool.config.tls == config.tls && pool.config.http == config.http);
    let backends = config
        .members
        .iter()
        .map(|member| match before.get(member.name.as_ref()) {
            // With other TLS it is another backend: an idle connection of before must not be used by the new terms.
            Some(backend) if backend.address == member.address && same_tls => Arc::clone(backend),
            _ => Arc::new(Backend::new(
                Arc::clone(&config.name),
                Arc::clone(&member.name),
                member.address.clone(),
                foundation.workers,
                foundation.evidence.clone(),
            )),
        })
        .collect();
    match previous {
        Some(pool) => pool.successor(Arc::clone(config), backends),
        None => Pool::new(Arc::clone(config), backends, foundation.workers, Arc::clone(&foundation.bell)),
    }
}
