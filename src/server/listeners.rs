//! Listening sockets over generations: what stays keeps its sockets, what is new is bound before anything changes.

use std::collections::HashMap;
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::sync::watch;

use super::StartError;
use super::given::Given;
use super::workers::Workers;
use crate::config::model::{Config, Listener, ListenerTcp, Protocol, Site};
use crate::control::handover::{Of, Offered, Transport};
use crate::net::listen::Handles;
use crate::net::unix::SocketFile;
use crate::net::way::{self, Way};
use crate::net::{datagram, listen};
use crate::proxy::accept::Door;

/// What a socket is known by: its transport and its configured address; with port 0, which is a different port each time,
/// its listener too.
type Key = (Transport, Site, Option<Arc<str>>);

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
            (Self::Datagram, Site::Ip(address)) => datagram::bind(*address, workers).and_then(Opened::datagrams),
            // Refused by the configuration.
            (Self::Datagram, Site::Unix(_)) => Err(std::io::ErrorKind::Unsupported.into()),
        }
    }

    /// Takes up what another program has bound there.
    fn adopt(self, sockets: Vec<OwnedFd>, site: &Site, listener: &Listener, workers: usize) -> std::io::Result<Opened> {
        match self {
            Self::Stream => {
                listen::adopt(sockets, site, listener.socket_mode, &listener.tcp, workers).map(Opened::Stream)
            }
            Self::Datagram => datagram::adopt(sockets, workers).and_then(Opened::datagrams),
        }
    }
}

/// One socket for each worker.
#[derive(Debug)]
enum Opened {
    Stream(listen::Bound),
    Datagram(Vec<UdpSocket>, Handles),
}

impl Opened {
    fn datagrams(sockets: Vec<UdpSocket>) -> std::io::Result<Self> {
        let handles = Handles::of_datagrams(&sockets)?;
        Ok(Self::Datagram(sockets, handles))
    }
}

/// The sockets that are open.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    open: HashMap<Key, Open>,
    /// What another program has bound for us, and no listener has taken up yet.
    pub(super) given: Given,
}

#[derive(Debug)]
struct Open {
    /// For which listener it accepts.
    door: watch::Sender<Door>,
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

impl Bound {
    /// How many addresses that are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }
}

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
    /// None is open yet, and these are there to be taken up.
    pub(super) fn with(given: Given) -> Self {
        Self { open: HashMap::new(), given }
    }

    /// Binds what `config` has and is not open yet.
    ///
    /// # Errors
    /// What sockets cannot be told, or the first address that cannot be bound; nothing is changed then.
    pub(super) fn bind(&mut self, config: &Config, workers: usize) -> Result<Bound, StartError> {
        let mut bound = Bound::default();
        prove(config)?;
        for listener in &config.listeners {
            for site in &listener.binds {
                let key = key(listener, site);
                if self.open.contains_key(&key) {
                    continue;
                }
                let opened = match self.given.take(key.0, site, &listener.name) {
                    Some(sockets) => key.0.adopt(sockets, site, listener, workers),
                    None => key.0.bind(site, listener, workers),
                };
                let opened = opened.map_err(|error| StartError::Bind {
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
            let door = name.map_or(Door::Shut, Door::Open);
            open.door.send_if_modified(|current| {
                let differs = *current != door;
                *current = door;
                differs
            });
            stays
        });
        for (key, name, opened) in bound.0 {
            let tcp = wanted.get(&key).map(|listener| listener.tcp.clone()).unwrap_or_default();
            let (sender, receiver) = watch::channel(Door::Open(name));
            let (site, file, handles) = match opened {
                Opened::Stream(listen::Bound { sockets, site, file, handles }) => {
                    workers.accept(sockets, &receiver);
                    (site, file, handles)
                }
                Opened::Datagram(sockets, handles) => {
                    let local = sockets.first().and_then(|socket| socket.local_addr().ok());
                    workers.receive(sockets, &receiver);
                    (local.map_or_else(|| key.1.clone(), Site::from), None, handles)
                }
            };
            self.open.insert(key, Open { door: sender, site, file, tcp, handles });
        }
    }

    /// Closes all that accept connections. Answers of flows under way go out by the sockets of their listeners: these stay
    /// to the end, and workers that drain begin no flow.
    pub(super) fn close(&mut self) {
        self.open.retain(|(transport, ..), open| {
            let stays = *transport == Transport::Datagram;
            if !stays {
                // Nobody listens any more: it is closed already.
                let _ = open.door.send(Door::Shut);
            }
            stays
        });
    }

    /// How many addresses are accepted on.
    pub(super) fn count(&self) -> usize {
        self.open.len()
    }

    /// Where each listener really accepts.
    pub(super) fn sites(&self) -> Vec<(Arc<str>, Site)> {
        let named = |open: &Open| open.door.borrow().name().map(|name| (Arc::clone(name), open.site.clone()));
        self.open.values().filter_map(named).collect()
    }

    /// All of them, for another process, in one order as long as nothing is applied.
    pub(super) fn offer(&self) -> Vec<(Offered, &Handles)> {
        let offered = |((transport, site, _), open): (&Key, &'_ Open)| {
            let name = open.door.borrow().name().map(ToString::to_string)?;
            let count = open.handles.descriptors().len();
            Some(Offered { of: Of::Listener(name), transport: *transport, site: site.to_string(), count })
        };
        self.open.iter().filter_map(|entry| Some((offered(entry)?, &entry.1.handles))).collect()
    }

    /// The process before this one has let go: what it has left is ours, files among it.
    pub(super) fn claim(&mut self) {
        self.open.values_mut().filter_map(|open| open.file.as_mut()).for_each(SocketFile::claim);
    }

    /// Another process has taken some of them up, known by their names and configured addresses: it has those who wait
    /// there, too. The others are closed.
    pub(super) fn hand_over(&mut self, taken: &[Offered]) {
        for ((transport, site, _), open) in self.open.drain() {
            let site = site.to_string();
            let is_taken = taken.iter().any(|it| {
                let same_name = matches!(&it.of, Of::Listener(name) if open.door.borrow().name().is_some_and(|own| **own == **name));
                same_name && it.transport == transport && it.site == site
            });
            // Nobody listens any more: it is closed already.
            let _ = open.door.send(if is_taken { Door::Left } else { Door::Shut });
            if is_taken && let Some(file) = open.file {
                file.leave();
            }
        }
    }
}
