//! Listening sockets over generations: what stays keeps its sockets, what is new is bound before anything changes.

use std::collections::HashMap;
use std::net::UdpSocket;
use std::sync::Arc;

use tokio::sync::watch;

use super::StartError;
use super::workers::Workers;
use crate::config::model::{Config, Listener, ListenerTcp, Protocol, Site};
use crate::net::listen::Handles;
use crate::net::unix::SocketFile;
use crate::net::way::{self, Way};
use crate::net::{datagram, listen};

/// What a socket is known by: its transport and its configured address; with port 0, which is a different port each time,
/// its listener too.
type Key = (Transport, Site, Option<Arc<str>>);

/// Ports of the two have nothing to do with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Transport {
    Stream,
    Datagram,
}

impl Transport {
    fn of(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Http | Protocol::Tcp => Self::Stream,
            Protocol::Udp => Self::Datagram,
        }
    }

    fn bind(self, site: &Site, listener: &Listener, workers: usize) -> std::io::Result<Opened> {
        match (self, site) {
            (Self::Stream, _) => listen::bind(site, listener.socket_mode, &listener.tcp, workers).map(Opened::Stream),
            (Self::Datagram, Site::Ip(address)) => datagram::bind(*address, workers).map(Opened::Datagram),
            // Refused by the configuration.
            (Self::Datagram, Site::Unix(_)) => Err(std::io::ErrorKind::Unsupported.into()),
        }
    }
}

/// One socket for each worker.
#[derive(Debug)]
enum Opened {
    Stream(listen::Bound),
    Datagram(Vec<UdpSocket>),
}

/// The sockets that are open.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    open: HashMap<Key, Open>,
}

#[derive(Debug)]
struct Open {
    /// For which listener it accepts; `None` closes it.
    name: watch::Sender<Option<Arc<str>>>,
    site: Site,
    /// Dropping it takes the file away.
    file: Option<SocketFile>,
    /// What its sockets have been told …
    tcp: ListenerTcp,
    /// … and how they are told something else.
    handles: Handles,
}

/// Sockets that are bound and not yet used.
#[derive(Debug, Default)]
pub(super) struct Bound(Vec<(Key, Arc<str>, Opened)>);

fn key(listener: &Listener, site: &Site) -> Key {
    let name = site.is_any_port().then(|| Arc::clone(&listener.name));
    (Transport::of(listener.protocol), site.clone(), name)
}

fn sites(listener: &Listener) -> impl Iterator<Item = (Key, &Listener)> {
    listener.binds.iter().map(move |site| (key(listener, site), listener))
}

/// Finds out whether this machine and this process can do what the sockets of `config` are to be told.
fn prove(config: &Config) -> Result<(), StartError> {
    let usual = ListenerTcp::default();
    let listeners = config.listeners.iter().filter(|listener| listener.tcp != usual);
    let listeners = listeners.filter_map(|listener| {
        let refused = way::prove_listener(&listener.tcp).err()?;
        Some(format!("listener.{}.tcp: {refused}", listener.name))
    });
    let pools = config.pools.iter().filter_map(|pool| {
        let refused = Way::prove(pool.way.as_ref()?).err()?;
        Some(format!("pool.{}: {refused}", pool.name))
    });
    let refused: Vec<String> = listeners.chain(pools).collect();
    if refused.is_empty() { Ok(()) } else { Err(StartError::Sockets(refused.join("\n"))) }
}

impl Listeners {
    /// Binds what `config` has and is not open yet.
    ///
    /// # Errors
    /// What sockets cannot be told, or the first address that cannot be bound; nothing is changed then.
    pub(super) fn bind(&self, config: &Config, workers: usize) -> Result<Bound, StartError> {
        let mut bound = Bound::default();
        prove(config)?;
        for listener in &config.listeners {
            for site in &listener.binds {
                let key = key(listener, site);
                if self.open.contains_key(&key) {
                    continue;
                }
                let opened = key.0.bind(site, listener, workers).map_err(|error| StartError::Bind {
                    what: format!("listener `{}`", listener.name),
                    site: site.clone(),
                    error,
                })?;
                bound.0.push((key, Arc::clone(&listener.name), opened));
            }
        }
        Ok(bound)
    }

    /// Makes the open sockets those of `config`: hands `bound` to the workers, closes what is no longer in it.
    pub(super) fn apply(&mut self, config: &Config, bound: Bound, workers: &Workers) {
        let wanted: HashMap<Key, &Listener> = config.listeners.iter().flat_map(sites).collect();
        self.open.retain(|key, open| {
            let listener = wanted.get(key);
            let name = listener.map(|listener| Arc::clone(&listener.name));
            let stays = name.is_some();
            if let (Some(file), Some(listener)) = (&open.file, listener)
                && let Err(error) = file.allow(listener.socket_mode)
            {
                tracing::warn!(listener = %listener.name, %error, "the rights of the socket stay as they were");
            }
            if let Some(listener) = listener.filter(|listener| listener.tcp != open.tcp) {
                if let Err(refused) = open.handles.tell(&open.tcp, &listener.tcp) {
                    tracing::warn!(listener = %listener.name, %refused, "an option of the sockets stays as it was");
                }
                open.tcp.clone_from(&listener.tcp);
            }
            open.name.send_if_modified(|current| {
                let differs = *current != name;
                *current = name;
                differs
            });
            stays
        });
        for (key, name, opened) in bound.0 {
            let tcp = wanted.get(&key).map(|listener| listener.tcp.clone()).unwrap_or_default();
            let (sender, receiver) = watch::channel(Some(name));
            let (site, file, handles) = match opened {
                Opened::Stream(listen::Bound { sockets, site, file, handles }) => {
                    workers.accept(sockets, &receiver);
                    (site, file, handles)
                }
                Opened::Datagram(sockets) => {
                    let local = sockets.first().and_then(|socket| socket.local_addr().ok());
                    workers.receive(sockets, &receiver);
                    (local.map_or_else(|| key.1.clone(), Site::from), None, Handles::default())
                }
            };
            self.open.insert(key, Open { name: sender, site, file, tcp, handles });
        }
    }

    /// Closes all that accept connections. Answers of flows under way go out by the sockets of their listeners: these stay
    /// to the end, and workers that drain begin no flow.
    pub(super) fn close(&mut self) {
        self.open.retain(|(transport, ..), open| {
            let stays = *transport == Transport::Datagram;
            if !stays {
                // Nobody listens any more: it is closed already.
                let _ = open.name.send(None);
            }
            stays
        });
    }

    /// Where each listener really accepts.
    pub(super) fn sites(&self) -> Vec<(Arc<str>, Site)> {
        let named = |open: &Open| open.name.borrow().clone().map(|name| (name, open.site.clone()));
        self.open.values().filter_map(named).collect()
    }
}
