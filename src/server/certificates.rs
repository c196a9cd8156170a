//! Certificates and users that are replaced while the program runs: whoever changes them writes the files, and nothing
//! else.
//!
//! Looked at every second by their dates and sizes, which also sees links that were turned over, as containers do. What
//! has changed is read and judged like at a reload; what cannot be used changes nothing.

use std::collections::HashSet;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use foldhash::fast::FixedState;
use jiff::Timestamp;

use super::Loader;
use crate::config::certificate::{SOON, moment};
use crate::config::model::{self, ListenerTls};
use crate::net::tls::{Replaced, Server};
use crate::route::{Listener, Table};

/// A certificate that is about to end is warned of once in this many seconds.
const DAY: i64 = 24 * 60 * 60;

/// What control remembers of the files.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    /// Zero at first: what changed while the first configuration was read is seen at the first look.
    seen: u64,
    /// Warnings of this day.
    warned: HashSet<String>,
    day: i64,
}

impl Certificates {
    /// Looks at the files that the table's listeners name, and shows what has changed.
    pub(super) fn look(&mut self, table: &Arc<Table>, read: &Loader) {
        let seen = fingerprint(table);
        if self.seen != seen {
            self.seen = seen;
            let (table, read) = (Arc::clone(table), Arc::clone(read));
            // Reading takes time that probes and the admin port must not wait for.
            tokio::task::spawn_blocking(move || replace(&table, &read));
        }
        self.warn(table);
    }

    fn warn(&mut self, table: &Table) {
        let now = Timestamp::now().as_second();
        if now / DAY != self.day {
            self.day = now / DAY;
            self.warned.clear();
        }
        for (name, server) in servers(table) {
            for certificate in server.certificates().iter().filter(|one| one.not_after - now < SOON) {
                let file = certificate.file.display().to_string();
                if self.warned.insert(file.clone()) {
                    let ends = moment(certificate.not_after);
                    tracing::warn!(listener = %name, %file, %ends, "a certificate is about to end, or has ended");
                }
            }
        }
    }
}

/// Reads the configuration for its certificates alone: whatever else it says waits for a reload.
fn replace(table: &Table, read: &Loader) {
    let loaded = match read() {
        Ok(loaded) => loaded,
        Err(problems) => {
            tracing::error!("certificates or users have changed and cannot be used; the old ones stay\n{problems}");
            return;
        }
    };
    for listener in &table.listeners {
        replace_users(listener, &loaded.config);
        let same = loaded.config.listeners.iter().find(|it| it.name == listener.config.name);
        show(&listener.config.name, listener.tls.as_ref(), same.and_then(|it| it.tls.as_ref()));
    }
    show("admin", table.admin.as_ref(), loaded.config.admin.tls.as_ref());
}

/// All that agree on TLS with whoever connects, with the names of their listeners.
fn servers(table: &Table) -> impl Iterator<Item = (&str, &Arc<Server>)> {
    let listeners = table.listeners.iter().filter_map(|it| Some((&*it.config.name, it.tls.as_ref()?)));
    listeners.chain(table.admin.iter().map(|server| ("admin", server)))
}

/// Has a server show what the files hold now.
fn show(name: &str, server: Option<&Arc<Server>>, tls: Option<&Arc<ListenerTls>>) {
    let (Some(server), Some(tls)) = (server, tls) else { return };
    match server.replace(tls) {
        Ok(Replaced::Nothing) => {}
        Ok(Replaced::Files) => tracing::info!(listener = %name, "goes by new certificates"),
        Err(why) => tracing::error!(listener = %name, %why, "the old certificates stay"),
    }
}

/// Gives the doors of a listener the users that stand in their files now.
fn replace_users(listener: &Listener, config: &model::Config) {
    let read = config.listeners.iter().flat_map(|it| {
        std::iter::once(it.rules.as_ref()).chain(it.routes.iter().map(|route| route.rules.as_ref())).flatten()
    });
    let read: Vec<_> = read.filter_map(|rules| rules.basic_auth.as_ref()).collect();
    for (rule, door) in listener.doors() {
        let Some(now) = read.iter().find(|it| it.file == rule.file) else { continue };
        if door.replace(&now.users) {
            tracing::info!(listener = %listener.config.name, file = %rule.file.display(), "takes up new users");
        }
    }
}

/// A number that changes when a file does, and when what one holds is out of date.
fn fingerprint(table: &Table) -> u64 {
    let mut hash = FixedState::default().build_hasher();
    let now = Timestamp::now().as_second();
    for (_, server) in servers(table) {
        let staples = server.certificates();
        let due = staples.iter().filter_map(|it| it.staple.as_ref()?.next_update).filter(|due| *due < now);
        hash.write_usize(due.count());
    }
    let listeners = table.listeners.iter().filter_map(|it| it.config.tls.as_ref());
    let files = listeners.chain(&table.config.admin.tls).flat_map(|tls| &tls.files);
    let mut fed: HashSet<&Path> = HashSet::new();
    for (rule, _) in table.listeners.iter().flat_map(|listener| listener.doors()) {
        if fed.insert(&rule.file) {
            feed(&mut hash, &rule.file);
        }
    }
    for path in files {
        feed(&mut hash, path);
        let Ok(folder) = fs::read_dir(path) else { continue };
        let mut inside: Vec<_> = folder.filter_map(|entry| Some(entry.ok()?.path())).collect();
        inside.sort();
        for path in &inside {
            feed(&mut hash, path);
        }
    }
    hash.finish()
}

fn feed(hash: &mut impl Hasher, path: &Path) {
    if let Ok(data) = fs::metadata(path) {
        for number in [data.ino(), data.size(), data.mtime().unsigned_abs(), data.mtime_nsec().unsigned_abs()] {
            hash.write_u64(number);
        }
    }
}
