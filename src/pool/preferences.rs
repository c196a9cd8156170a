//! Which zone a client's work prefers: the balancer's own, or the one that `client_zones` names for its address.
//!
//! Built with the pool. Hot path: a binary search over disjoint ranges, and only where `client_zones` is configured.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::model::{self, StickyScope, ZoneIndex, Zones};

/// A zone that work prefers, by the number that a pool's [`Preferences`] give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Near(u16);

impl Near {
    /// The balancer's own, or none where it has none.
    pub const OWN: Self = Self(0);

    /// Its number.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The zones that work of a pool may prefer.
#[derive(Debug, Default)]
pub struct Preferences {
    /// By number; the first is the balancer's own.
    zones: Vec<Option<ZoneIndex>>,
    v4: Ranges,
    v6: Ranges,
}

/// Disjoint ranges of addresses, each from its start to the next one's.
#[derive(Debug, Default)]
struct Ranges(Vec<(u128, Near)>);

impl Preferences {
    /// What a configuration says.
    pub fn new(config: &Zones) -> Self {
        let mut all = Self { zones: vec![config.own], v4: Ranges::default(), v6: Ranges::default() };
        let networks: Vec<(IpNet, Near)> =
            config.clients.iter().map(|(network, zone)| (*network, all.number(*zone))).collect();
        all.v4 = Ranges::of(networks.iter().filter(|(network, _)| network.addr().is_ipv4()));
        all.v6 = Ranges::of(networks.iter().filter(|(network, _)| network.addr().is_ipv6()));
        all
    }

    /// What the work of a pool may prefer: where clients stay in a zone, each one.
    pub(super) fn of_pool(config: &model::Pool) -> Self {
        let mut all = Self::new(&config.zones);
        if let Some(model::Sticky::Cookie(cookie)) = &config.sticky
            && cookie.scope == StickyScope::Zone
        {
            let zones = (0..config.zones.names.len()).map(|zone| ZoneIndex(zone as u16));
            zones.for_each(|zone| _ = all.number(zone));
        }
        all
    }

    /// The zone with this number.
    pub(super) fn zone(&self, near: Near) -> Option<ZoneIndex> {
        self.zones.get(near.index()).copied().flatten()
    }

    /// The number of a zone, where somebody may prefer it.
    pub(super) fn number_of(&self, zone: ZoneIndex) -> Option<Near> {
        let at = self.zones.iter().position(|known| *known == Some(zone))?;
        Some(Near(at as u16))
    }

    /// By number; the first is the balancer's own, `None` where all backends are alike.
    pub(super) fn zones(&self) -> &[Option<ZoneIndex>] {
        &self.zones
    }

    /// What a client prefers; its address without the IPv6 dress of an IPv4 one.
    #[inline]
    pub fn of(&self, client: IpAddr) -> Near {
        match client {
            IpAddr::V4(address) => self.v4.find(u32::from(address).into()),
            IpAddr::V6(address) => self.v6.find(address.into()),
        }
    }

    fn number(&mut self, zone: ZoneIndex) -> Near {
        let known = self.zones.iter().position(|known| *known == Some(zone));
        let index = known.unwrap_or_else(|| {
            self.zones.push(Some(zone));
            self.zones.len() - 1
        });
        Near(index as u16)
    }
}

impl Ranges {
    /// Networks either contain each other or are apart. So the longest prefix wins where each range begins with the
    /// innermost network that holds it: a network's start opens it, its end gives back to the one around it.
    fn of<'a>(networks: impl Iterator<Item = &'a (IpNet, Near)>) -> Self {
        let mut sorted: Vec<(u128, u128, Near)> =
            networks.map(|(network, near)| (number(network.network()), number(network.broadcast()), *near)).collect();
        // The outer one first where two begin alike; of two that are the same, the first of the configuration.
        sorted.sort_by_key(|(first, last, _)| (*first, std::cmp::Reverse(*last)));
        sorted.dedup_by_key(|(first, last, _)| (*first, *last));
        let mut ranges = Vec::new();
        let mut open: Vec<(u128, Near)> = Vec::new();
        for (first, last, near) in sorted {
            close(&mut open, &mut ranges, Some(first));
            ranges.push((first, near));
            open.push((last, near));
        }
        close(&mut open, &mut ranges, None);
        // Where two begin alike, the inner one is the later.
        ranges.reverse();
        ranges.dedup_by_key(|(start, _)| *start);
        ranges.reverse();
        Self(ranges)
    }

    #[inline]
    fn find(&self, address: u128) -> Near {
        let behind = self.0.partition_point(|(start, _)| *start <= address);
        behind.checked_sub(1).map_or(Near::OWN, |at| self.0[at].1)
    }
}

/// Ends the networks that end before `next`: what follows belongs to the one around.
fn close(open: &mut Vec<(u128, Near)>, ranges: &mut Vec<(u128, Near)>, next: Option<u128>) {
    while let Some((last, _)) = open.last().copied() {
        if next.is_some_and(|next| last >= next) {
            return;
        }
        open.pop();
        if let Some(after) = last.checked_add(1) {
            ranges.push((after, open.last().map_or(Near::OWN, |(_, around)| *around)));
        }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zones(own: Option<u16>, clients: &[(&str, u16)]) -> Zones {
        Zones {
            names: ["a", "b", "c"].map(Into::into).to_vec(),
            own: own.map(ZoneIndex),
            clients: clients.iter().map(|(network, zone)| (network.parse().unwrap(), ZoneIndex(*zone))).collect(),
            spill_below: 0.0,
            spill_at: None,
        }
    }

    fn zone(preferences: &Preferences, client: &str) -> Option<u16> {
        preferences.zones()[preferences.of(client.parse().unwrap()).index()].map(|zone| zone.0)
    }

    #[test]
    fn the_longest_prefix_wins_and_strangers_get_the_own_zone() {
        let preferences = Preferences::new(&zones(
            Some(0),
            &[
                ("10.0.0.0/8", 1),
                ("10.1.0.0/16", 2),
                ("10.1.128.0/17", 1),
                ("10.1.0.0/24", 0),
                ("10.255.0.0/16", 2),
                ("fd00::/8", 2),
                ("fd00:1::/32", 1),
            ],
        ));
        for (client, expected) in [
            ("9.255.255.255", 0),
            ("10.0.0.0", 1),
            ("10.1.0.255", 0),
            ("10.1.1.0", 2),
            ("10.1.127.255", 2),
            ("10.1.128.0", 1),
            ("10.2.0.0", 1),
            ("10.255.255.255", 2),
            ("11.0.0.0", 0),
            ("fd00:1::5", 1),
            ("fd00:2::5", 2),
            ("fe00::1", 0),
            ("::10.1.1.0", 0),
        ] {
            assert_eq!(zone(&preferences, client), Some(expected), "{client}");
        }
    }

    #[test]
    fn the_ends_of_the_address_space_are_addresses_too() {
        let all = Preferences::new(&zones(None, &[("0.0.0.0/0", 1), ("255.255.255.255/32", 2), ("::/0", 0)]));
        for (client, expected) in [("0.0.0.0", 1), ("255.255.255.254", 1), ("255.255.255.255", 2), ("::", 0)] {
            assert_eq!(zone(&all, client), Some(expected), "{client}");
        }
        assert_eq!(zone(&all, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), Some(0));
    }

    #[test]
    fn without_client_zones_everyone_prefers_the_own_zone() {
        for own in [None, Some(1)] {
            let preferences = Preferences::new(&zones(own, &[]));
            assert_eq!(zone(&preferences, "10.0.0.1"), own);
            assert_eq!(preferences.zones().len(), 1);
        }
    }

    #[test]
    fn each_zone_that_clients_prefer_is_numbered_once() {
        let networks = [("10.0.0.0/8", 0), ("11.0.0.0/8", 2), ("12.0.0.0/8", 2)];
        assert_eq!(Preferences::new(&zones(Some(0), &networks)).zones(), [Some(ZoneIndex(0)), Some(ZoneIndex(2))]);
        assert_eq!(Preferences::new(&zones(None, &networks)).zones(), [None, Some(ZoneIndex(0)), Some(ZoneIndex(2))]);
    }
}
