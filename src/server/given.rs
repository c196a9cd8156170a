//! Sockets that another program has bound for this one: the process before it, or systemd. Each is taken up once, by the
//! listener that it is for.

use std::os::fd::OwnedFd;

use crate::config::model::Site;
use crate::control::handover::{Of, Offered, Transport};
use crate::net::inherited::Inherited;

/// Those that nobody has taken up yet, and which ones were.
#[derive(Debug, Default)]
pub(super) struct Given {
    spare: Vec<Spare>,
    /// Those that were taken up.
    pub(super) taken: Vec<Offered>,
}

/// Sockets for one address.
#[derive(Debug)]
struct Spare {
    offered: Offered,
    sockets: Vec<OwnedFd>,
    from: From,
}

/// Who has bound them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// The process before this one: it knows the listener, and the address as its configuration has it.
    Predecessor,
    /// systemd: a name, where the unit gives one, and the address where it really is.
    Supervisor,
}

impl Given {
    /// Further sockets.
    pub(super) fn add(&mut self, offered: Offered, sockets: Vec<OwnedFd>, from: From) {
        self.spare.push(Spare { offered, sockets, from });
    }

    /// Sockets of systemd.
    pub(super) fn inherit(&mut self, inherited: Vec<Inherited>) {
        for Inherited { name, site, is_datagram, socket } in inherited {
            let transport = if is_datagram { Transport::Datagram } else { Transport::Stream };
            let site = site.map_or_else(String::new, |site| site.to_string());
            let offered = Offered { of: Of::Listener(name), transport, site, count: 1 };
            self.add(offered, vec![socket], From::Supervisor);
        }
    }

    /// Those for a listener's address: by that, and of systemd's also by the listener's name.
    pub(super) fn take(&mut self, transport: Transport, site: &Site, listener: &str) -> Option<Vec<OwnedFd>> {
        let written = site.to_string();
        let same_name = |spare: &Spare| matches!(&spare.offered.of, Of::Listener(name) if name == listener);
        let same_place = |spare: &Spare| match (&spare.offered.of, spare.from) {
            (Of::Listener(_), _) => spare.offered.site == written && (same_name(spare) || !site.is_any_port()),
            _ => false,
        };
        let of_kind = |spare: &Spare| spare.offered.transport == transport;
        self.find(|spare| of_kind(spare) && same_place(spare))
            .or_else(|| self.find(|spare| of_kind(spare) && spare.from == From::Supervisor && same_name(spare)))
    }

    /// Those for something else than a listener.
    pub(super) fn take_other(&mut self, of: &Of, site: &Site) -> Option<Vec<OwnedFd>> {
        let written = site.to_string();
        self.find(|spare| {
            let is_named = matches!(&spare.offered.of, Of::Listener(name) if *name == of.word());
            (spare.offered.of == *of && spare.offered.site == written) || (is_named && spare.from == From::Supervisor)
        })
    }

    fn find(&mut self, fits: impl Fn(&Spare) -> bool) -> Option<Vec<OwnedFd>> {
        let at = self.spare.iter().position(fits)?;
        let spare = self.spare.swap_remove(at);
        self.taken.push(spare.offered);
        Some(spare.sockets)
    }

    /// Closes what nobody has taken up; says what of it systemd has opened, which is a mistake in a unit.
    pub(super) fn close_rest(&mut self) -> Vec<Offered> {
        let rest = self.spare.drain(..).filter(|spare| spare.from == From::Supervisor);
        rest.map(|spare| spare.offered).collect()
    }
}
