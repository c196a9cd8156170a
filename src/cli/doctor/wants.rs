//! What a configuration needs of the machine that it runs on.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use evenkeel::config::model::{Address, Config, Pool, Protocol, Site};

use super::sockets::Transport;

/// Descriptors for what is always open: standard streams, runtimes, the admin port with its clients.
const OTHERS: u64 = 128;

#[derive(Debug, Clone, Default)]
pub(super) struct Wants {
    /// Client connections at once.
    pub(super) connections: u64,
    /// Descriptors when everything is at its limit.
    pub(super) descriptors: u64,
    /// Addresses that listeners and the admin port bind, with who.
    pub(super) binds: Vec<Bind>,
    /// Threads of the data path, where the configuration says how many.
    pub(super) workers: Option<u64>,
    pub(super) pools: Vec<Reach>,
    /// Host names of backends with the pool that names them, each once.
    pub(super) names: Vec<(Arc<str>, Arc<str>)>,
    /// Folders that are written to, with the key that says so.
    pub(super) folders: Vec<(&'static str, PathBuf)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bind {
    /// As it is written: `listener.web` or `admin`.
    pub(super) who: String,
    pub(super) transport: Transport,
    pub(super) address: SocketAddr,
}

/// How a pool reaches its backends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reach {
    pub(super) pool: Arc<str>,
    /// Most connections to one backend over TCP; 0 where it has none.
    pub(super) to_one: u64,
    /// Own addresses that are used by turns, at least one.
    pub(super) sources: u64,
    /// Whether it says itself by which address or interface its backends are reached.
    pub(super) chooses_its_way: bool,
}

impl Wants {
    pub(super) fn of(config: &Config) -> Self {
        let connections = u64::from(config.limits.connections.get());
        let workers = config.workers.map(|count| u64::from(count.get()));
        let threads =
            workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |count| count.get() as u64));
        let idle: u64 =
            config.pools.iter().map(|pool| u64::from(pool.idle_connections) * pool.members.len() as u64).sum();
        let flows: u64 = (config.listeners.iter())
            .filter(|listener| listener.protocol == Protocol::Udp)
            .map(|listener| u64::from(listener.limits.flows.get()))
            .sum();
        let sockets: u64 = config.listeners.iter().map(|listener| listener.binds.len() as u64).sum();
        let probes = u64::from(config.probes_at_once.get()).min(checks(config));
        Self {
            connections,
            // Of each client connection there is one to a backend, and what idles was in use before.
            descriptors: 2 * connections + idle.min(connections) + flows + sockets * threads + probes + OTHERS,
            binds: binds(config),
            workers,
            pools: config.pools.iter().map(|pool| reach(pool, connections)).collect(),
            names: names(config),
            folders: folders(config),
        }
    }
}

fn checks(config: &Config) -> u64 {
    config.pools.iter().map(|pool| (pool.checks.len() * pool.members.len()) as u64).sum()
}

fn binds(config: &Config) -> Vec<Bind> {
    let mut binds = Vec::new();
    for listener in &config.listeners {
        let transport = if listener.protocol == Protocol::Udp { Transport::Udp } else { Transport::Tcp };
        let addresses = listener.binds.iter().filter_map(Site::ip);
        binds.extend(addresses.map(|address| Bind { who: format!("listener.{}", listener.name), transport, address }));
    }
    let admin = config.admin.bind.as_ref().and_then(Site::ip);
    binds.extend(admin.map(|address| Bind { who: "admin".to_owned(), transport: Transport::Tcp, address }));
    binds.retain(|bind| bind.address.port() != 0);
    binds
}

fn reach(pool: &Pool, connections: u64) -> Reach {
    let over_tcp = pool.members.iter().filter(|member| !matches!(member.address, Address::Unix(_)));
    let most = over_tcp.map(|member| {
        let own = member.connections_max.or(pool.connections_max);
        own.map_or(connections, |most| u64::from(most.get()).min(connections))
    });
    let way = pool.way.as_deref();
    Reach {
        pool: Arc::clone(&pool.name),
        to_one: most.max().unwrap_or(0),
        sources: way.map_or(1, |way| way.sources.len().max(1) as u64),
        chooses_its_way: way.is_some_and(|way| {
            !way.sources.is_empty() || way.options.interface.is_some() || way.options.mark.is_some()
        }),
    }
}

fn names(config: &Config) -> Vec<(Arc<str>, Arc<str>)> {
    let mut names: Vec<(Arc<str>, Arc<str>)> = Vec::new();
    for pool in &config.pools {
        for member in &pool.members {
            if let Address::Name(name, _) = &member.address
                && names.iter().all(|(known, _)| known != name)
            {
                names.push((Arc::clone(name), Arc::clone(&pool.name)));
            }
        }
    }
    names
}

fn folders(config: &Config) -> Vec<(&'static str, PathBuf)> {
    let folder = config.state_file.as_ref().and_then(|file| file.parent());
    folder.map(|folder| ("state_file", folder.to_owned())).into_iter().collect()
}
