//! Listening sockets over generations: what stays keeps its sockets, what is new is bound before anything changes.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use tokio::sync::watch;

use super::StartError;
use super::workers::Workers;
use crate::config::model::Config;
use crate::net::listen;

/// What a socket is known by: its configured address; with port 0, which is a different port each time, its listener too.
type Key = (SocketAddr, Option<Arc<str>>);

/// The sockets that are open.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    open: HashMap<Key, Open>,
}

#[derive(Debug)]
struct Open {
    /// For which listener it accepts; `None` closes it.
    name: watch::Sender<Option<Arc<str>>>,
    local: SocketAddr,
}

/// Sockets that are bound and not yet used.
#[derive(Debug, Default)]
pub(super) struct Bound(Vec<(Key, Arc<str>, Vec<TcpListener>)>);

fn key(name: &Arc<str>, address: SocketAddr) -> Key {
    (address, (address.port() == 0).then(|| Arc::clone(name)))
}

impl Listeners {
    /// Binds what `config` has and is not open yet.
    ///
    /// # Errors
    /// The first address that cannot be bound; nothing is changed then.
    pub(super) fn bind(&self, config: &Config, workers: usize) -> Result<Bound, StartError> {
        let mut bound = Bound::default();
        for listener in &config.listeners {
            for address in &listener.binds {
                let key = key(&listener.name, *address);
                if self.open.contains_key(&key) {
                    continue;
                }
                let sockets = listen::bind(*address, workers).map_err(|error| StartError::Bind {
                    what: format!("listener `{}`", listener.name),
                    address: *address,
                    error,
                })?;
                bound.0.push((key, Arc::clone(&listener.name), sockets));
            }
        }
        Ok(bound)
    }

    /// Makes the open sockets those of `config`: hands `bound` to the workers, closes what is no longer in it.
    pub(super) fn apply(&mut self, config: &Config, bound: Bound, workers: &Workers) {
        let wanted: HashMap<Key, &Arc<str>> = config
            .listeners
            .iter()
            .flat_map(|listener| listener.binds.iter().map(|address| (key(&listener.name, *address), &listener.name)))
            .collect();
        self.open.retain(|key, open| {
            let name = wanted.get(key).map(|name| Arc::clone(name));
            let stays = name.is_some();
            open.name.send_if_modified(|current| {
                let differs = *current != name;
                *current = name;
                differs
            });
            stays
        });
        for (key, name, sockets) in bound.0 {
            let local = sockets.first().and_then(|socket| socket.local_addr().ok()).unwrap_or(key.0);
            let (sender, receiver) = watch::channel(Some(name));
            workers.accept(sockets, &receiver);
            self.open.insert(key, Open { name: sender, local });
        }
    }

    /// Closes all of them.
    pub(super) fn close(&mut self) {
        for open in self.open.values() {
            // Nobody listens any more: it is closed already.
            let _ = open.name.send(None);
        }
        self.open.clear();
    }

    /// Where each listener really accepts.
    pub(super) fn addresses(&self) -> Vec<(Arc<str>, SocketAddr)> {
        let named = |open: &Open| open.name.borrow().clone().map(|name| (name, open.local));
        self.open.values().filter_map(named).collect()
    }
}
