//! Listening sockets over generations: what stays keeps its sockets, what is new is bound before anything changes.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::StartError;
use super::workers::Workers;
use crate::config::model::{Config, Listener, Site};
use crate::net::listen;
use crate::net::unix::SocketFile;

/// What a socket is known by: its configured address; with port 0, which is a different port each time, its listener too.
type Key = (Site, Option<Arc<str>>);

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
}

/// Sockets that are bound and not yet used.
#[derive(Debug, Default)]
pub(super) struct Bound(Vec<(Key, Arc<str>, listen::Bound)>);

fn key(name: &Arc<str>, site: &Site) -> Key {
    (site.clone(), site.is_any_port().then(|| Arc::clone(name)))
}

fn sites(listener: &Listener) -> impl Iterator<Item = (Key, &Listener)> {
    listener.binds.iter().map(move |site| (key(&listener.name, site), listener))
}

impl Listeners {
    /// Binds what `config` has and is not open yet.
    ///
    /// # Errors
    /// The first address that cannot be bound; nothing is changed then.
    pub(super) fn bind(&self, config: &Config, workers: usize) -> Result<Bound, StartError> {
        let mut bound = Bound::default();
        for listener in &config.listeners {
            for site in &listener.binds {
                let key = key(&listener.name, site);
                if self.open.contains_key(&key) {
                    continue;
                }
                let opened = listen::bind(site, listener.socket_mode, workers).map_err(|error| StartError::Bind {
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
            open.name.send_if_modified(|current| {
                let differs = *current != name;
                *current = name;
                differs
            });
            stays
        });
        for (key, name, listen::Bound { sockets, site, file }) in bound.0 {
            let (sender, receiver) = watch::channel(Some(name));
            workers.accept(sockets, &receiver);
            self.open.insert(key, Open { name: sender, site, file });
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
    pub(super) fn sites(&self) -> Vec<(Arc<str>, Site)> {
        let named = |open: &Open| open.name.borrow().clone().map(|name| (name, open.site.clone()));
        self.open.values().filter_map(named).collect()
    }
}
