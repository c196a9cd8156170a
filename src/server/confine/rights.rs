//! Rights of root that outlive it (capabilities(7)): the few that a reload needs, and how they are kept.
//!
//! Capabilities belong to threads. This runs on the first one, before there is any other.

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities,
};

use crate::config::model::{Config, SocketOptions};

/// What this thread may have.
pub(super) fn held() -> CapabilitySet {
    capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.permitted)
}

/// What a configuration needs, at the start and at every reload.
pub(super) fn needed(config: &Config) -> CapabilitySet {
    let mut needed = CapabilitySet::NET_BIND_SERVICE;
    let listeners = config.listeners.iter().map(|listener| &listener.tcp.options);
    let pools = config.pools.iter().filter_map(|pool| Some(&pool.way.as_deref()?.options));
    for SocketOptions { mark, interface, .. } in listeners.chain(pools) {
        if mark.is_some() {
            needed |= CapabilitySet::NET_ADMIN;
        }
        if interface.is_some() {
            needed |= CapabilitySet::NET_RAW;
        }
    }
    needed
}

/// Before the change of the user: what is kept then survives it, and what is not can never come back.
pub(super) fn keep_over_change(kept: CapabilitySet) -> Result<(), String> {
    for other in CapabilitySet::all().difference(kept).iter() {
        // Where this is not allowed (no CAP_SETPCAP), no_new_privs does the same.
        let _ = remove_capability_from_bounding_set(other);
    }
    set_keep_capabilities(true).map_err(|error| format!("the rights to keep cannot be kept: {error}"))
}

/// Has these and no others from now on.
pub(super) fn keep(kept: CapabilitySet) -> Result<(), String> {
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: kept };
    let done = set_capabilities(None, sets)
        .and_then(|()| clear_ambient_capability_set())
        .and_then(|()| set_keep_capabilities(false));
    done.map_err(|error| format!("rights cannot be given up: {error}"))
}

/// As capabilities(7) calls them.
pub(super) fn names(set: CapabilitySet) -> Vec<String> {
    set.iter_names().map(|(name, _)| format!("CAP_{name}")).collect()
}

/// While this lives, what this thread starts has the rights that this process has kept; nothing else that it starts has.
#[derive(Debug)]
pub(in crate::server) struct Lent;

impl Lent {
    /// Lends them. Where there are none, nothing happens.
    pub(in crate::server) fn to_what_is_started() -> Self {
        if crate::confinement::here().is_some_and(|here| here.user.is_some()) {
            for one in held().iter() {
                // Where it cannot be lent, the new process says which port it cannot bind.
                let _ = configure_capability_in_ambient_set(one, true);
            }
        }
        Self
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if crate::confinement::here().is_some_and(|here| here.user.is_some()) {
            // It has just been set: the kernel knows it.
            let _ = clear_ambient_capability_set();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Source, load};

    #[test]
    fn what_is_kept_is_what_reloads_need() {
        let text = "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n[pool.p]\nbackends = ['127.0.0.1:1']\n";
        let kept = |more: &str| names(needed(&load(&Source::text(format!("{text}{more}"))).unwrap().config));
        assert_eq!(kept(""), ["CAP_NET_BIND_SERVICE"]);
        assert_eq!(kept("tcp = { mark = 7 }\n"), ["CAP_NET_BIND_SERVICE", "CAP_NET_ADMIN"]);
        assert_eq!(kept("tcp = { interface = 'lo' }\n"), ["CAP_NET_BIND_SERVICE", "CAP_NET_RAW"]);
    }
}
