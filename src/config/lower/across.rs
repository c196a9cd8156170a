//! What concerns several sections at once: addresses that clash, pools that nobody uses, options that do not go together.

use std::collections::HashMap;

use super::super::Cx;
use super::super::model::{PoolIndex, Protocol, Site};
use super::super::problem::{At, Problem};
use super::super::section::Section;
use super::listener::ListenerRead;
use super::pool::PoolRead;
use super::Pools;
use super::admin::AdminRead;
use crate::health::Mode;

/// Addresses taken so far by one transport: exactly, by port for every address of a family, and by port for any single
/// address.
#[derive(Default)]
struct Taken {
    exact: HashMap<Site, (At, String)>,
    wildcard: HashMap<(u16, Family), (At, String)>,
    single: HashMap<(u16, Family), (At, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Family {
    V4,
    V6,
}

impl Taken {
    /// Takes an address, or says who has it.
    fn take(&mut self, site: &Site, at: At, who: &str) -> Option<(At, String)> {
        let Site::Ip(address) = site else {
            let first = self.exact.get(site).cloned();
            if first.is_none() {
                self.exact.insert(site.clone(), (at, who.to_owned()));
            }
            return first;
        };
        // Port 0 asks for any free port: two of them never meet.
        if address.port() == 0 {
            return None;
        }
        let key = (address.port(), if address.is_ipv4() { Family::V4 } else { Family::V6 });
        let everywhere = address.ip().is_unspecified();
        let clash = self.exact.get(site).or_else(|| self.wildcard.get(&key));
        let clash = clash.or_else(|| if everywhere { self.single.get(&key) } else { None }).cloned();
        let own = (at, who.to_owned());
        if clash.is_none() {
            let more = if everywhere { &mut self.wildcard } else { &mut self.single };
            more.entry(key).or_insert_with(|| own.clone());
            self.exact.insert(site.clone(), own);
        }
        clash
    }
}

/// Clashes between binds, and a file without any listener.
pub(super) fn listeners(top: &Section<'_>, listeners: &[ListenerRead], admin: &AdminRead) {
    if listeners.is_empty() && !top.has("listener") {
        let place = At { file: 0, start: 0, end: 0 };
        top.cx.report(
            Problem::error("no-listener", place, "there is no listener")
                .label("nothing would be served")
                .help("add [listener.web] with bind = \"0.0.0.0:8080\" and pool = \"web\"")
                .absence(),
        );
    }
    // A port of TCP and one of UDP have nothing to do with each other.
    let (mut taken, mut by_udp) = (Taken::default(), Taken::default());
    for read in listeners {
        let who = format!("[listener.{}]", read.name);
        let taken = if read.protocol == Protocol::Udp { &mut by_udp } else { &mut taken };
        for (site, at) in &read.binds {
            if let Some(clash) = taken.take(site, *at, &who) {
                top.cx.report(clashing(site, *at, clash));
            }
        }
    }
    if let Some(site) = &admin.admin.bind {
        let at = admin.at.unwrap_or(At { file: 0, start: 0, end: 0 });
        if let Some((first, who)) = taken.take(site, at, "[admin]") {
            top.cx.report(admin_clash(site, admin.at, first, &who));
        }
    }
}

fn clashing(site: &Site, at: At, (first, who): (At, String)) -> Problem {
    let problem = Problem::error("address-in-use", at, format!("{site} is taken already"))
        .second(first, format!("taken here by {who}"));
    if let Site::Unix(_) = site {
        return problem.label("the same socket").help("give one of the two another name");
    }
    problem
        .label("the same port on the same address")
        .help("0.0.0.0 and [::] stand for every address of the machine; give one of the two another port")
}

fn admin_clash(site: &Site, at: Option<At>, first: At, who: &str) -> Problem {
    match at {
        Some(at) => clashing(site, at, (first, who.to_owned())),
        None => Problem::error("address-in-use", first, format!("{site} is the admin port"))
            .label("the admin port listens there where nothing else is said")
            .help("choose another port, or move the admin port: [admin] bind = \"127.0.0.1:PORT\""),
    }
}

/// Pools that nobody uses, and those spread by what a listener cannot see.
pub(super) fn pools(cx: &Cx<'_>, pools: &Pools<'_>, reads: &[PoolRead], listeners: &[ListenerRead], meant: usize) {
    let mut used = vec![false; pools.names.len()];
    let followed = reads.iter().filter_map(|read| Some(read.follows.as_ref()?.pool));
    for pool in listeners.iter().flat_map(|read| &read.uses).map(|(pool, _)| *pool).chain(followed) {
        if let Some(used) = used.get_mut(pool.0 as usize) {
            *used = true;
        }
    }
    // Without listeners, or with one that is not valid, "unused" would only repeat that.
    let certain = meant > 0 && listeners.len() == meant && listeners.iter().all(|read| read.listener.is_some());
    for ((name, at), _) in pools.names.iter().zip(&used).filter(|(_, used)| certain && !**used) {
        cx.report(
            Problem::warning("unused-pool", *at, format!("no listener uses pool `{name}`"))
                .label("checked, but never given any work")
                .help(format!("name it in a listener or a route: pool = \"{name}\""))
                .absence(),
        );
    }
}

/// Pools spread by a part of the request, used by a listener that sees no requests.
pub(super) fn balance(cx: &Cx<'_>, listeners: &[ListenerRead], pools: &[PoolRead]) {
    for read in listeners.iter().filter(|read| read.protocol != Protocol::Http) {
        for (pool, at) in &read.uses {
            if let Some(sticky) = pools.get(pool.0 as usize).and_then(|read| read.sticky_by_request) {
                cx.report(
                    Problem::error("needs-http", sticky, "this way to stay with a backend needs HTTP")
                        .label("looks into the request")
                        .second(*at, format!("used here by [listener.{}], which speaks tcp", read.name))
                        .help("write sticky = { by = \"source\" }, or protocol = \"http\""),
                );
            }
            if let Some(balance) = pools.get(pool.0 as usize).and_then(|read| read.by_request) {
                cx.report(
                    Problem::error("needs-http", balance, "this way to spread work needs HTTP")
                        .label("looks into the request")
                        .second(
                            *at,
                            format!("used here by [listener.{}], which speaks {}", read.name, read.protocol.word()),
                        )
                        .help("write balance = \"source\" to keep a client with its backend, or protocol = \"http\""),
                );
            }
        }
    }
}

/// Listeners and routes that ask for standbys of a pool in which nobody is one.
pub(super) fn reads(cx: &Cx<'_>, pools: &Pools<'_>, listeners: &[ListenerRead], reads: &[PoolRead]) {
    for (index, at) in listeners.iter().flat_map(|listener| &listener.reads) {
        let pool = |index: PoolIndex| reads.get(index.0 as usize)?.pool.as_ref();
        let Some(own) = pool(*index) else { continue };
        let deciding = own.follows.and_then(pool).unwrap_or(own);
        let alike = deciding.policy.mode == Mode::ActiveActive;
        if alike && !deciding.checks.iter().any(|check| check.kind.tells_role()) {
            let (name, defined) = pools.names[index.0 as usize];
            cx.report(
                Problem::warning("no-effect", *at, format!("pool `{name}` has no standbys to read from"))
                    .label("all of its backends are active")
                    .second(defined, "active-active, and no check tells a role")
                    .help("take it out, or give the pool a mode, or a check that tells roles"),
            );
        }
    }
}
