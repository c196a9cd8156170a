//! Zones of a pool: where its backends stand, where its work goes by preference.

use std::num::NonZeroU32;
use std::sync::Arc;

use ipnet::IpNet;

use crate::config::address;
use crate::config::model::{ZoneIndex, Zones};
use crate::config::problem::{At, Problem};
use crate::config::section::{Section, name};
use crate::config::tree::{Entry, Table, Value};

/// Zones are datacenters or racks; what a worker keeps for each is laid out when a backend flips.
const ZONES_MAX: usize = 64;

/// Looked through for each request.
const NETWORKS_MAX: usize = 1024;

/// Where a zone starts to send work away where nothing is said.
const SPILL_BELOW: f32 = 0.5;

/// The zones that the backends name, numbered in that order.
#[derive(Default)]
pub(super) struct Names(Vec<Arc<str>>);

impl Names {
    /// The number of a zone that a backend names.
    pub(super) fn number(&mut self, backend: &Section<'_>, name: Arc<str>) -> Option<ZoneIndex> {
        if let Some(known) = self.find(&name) {
            return Some(known);
        }
        if self.0.len() == ZONES_MAX {
            let at = backend.entry("zone").map_or(backend.at, |entry| entry.node.at);
            backend.cx.report(
                Problem::error("range", at, format!("more than {ZONES_MAX} zones in one pool"))
                    .label("one zone too many")
                    .help("a zone is a place such as a datacenter, which several backends share"),
            );
            return None;
        }
        self.0.push(name);
        u16::try_from(self.0.len() - 1).ok().map(ZoneIndex)
    }

    fn find(&self, name: &str) -> Option<ZoneIndex> {
        self.0.iter().position(|known| **known == *name).and_then(|at| u16::try_from(at).ok()).map(ZoneIndex)
    }
}

/// A pool without zones.
pub(super) fn none() -> Zones {
    Zones { names: Vec::new(), own: None, clients: Vec::new(), spill_below: SPILL_BELOW, spill_at: None }
}

pub(super) fn zones(section: &Section<'_>, names: Names) -> Zones {
    let own =
        section.parsed("zone", name).and_then(|zone| known(section, &names, &zone, section.entry("zone")?.node.at));
    let clients = match section.entry("client_zones").map(|entry| (entry, &entry.node.value)) {
        Some((entry, Value::Table(table))) => clients(section, &names, entry, table),
        Some((entry, _)) => {
            let help = "write client_zones = { \"10.1.0.0/16\" = \"dc-a\", \"10.2.0.0/16\" = \"dc-b\" }";
            section.wrong_type(&entry.node, "client_zones", "a table", help);
            Vec::new()
        }
        None => Vec::new(),
    };
    let preferred = section.has("zone") || section.has("client_zones");
    for entry in ["spill_below", "spill_at"].iter().filter_map(|key| section.table.get(key)).filter(|_| !preferred) {
        section.cx.report(
            Problem::warning("no-effect", entry.key_at, format!("`{}` has no effect without a zone", entry.key))
                .label("no zone is preferred")
                .help("say where the balancer stands, zone = \"NAME\", or its clients: client_zones = { ... }"),
        );
    }
    let spill_at = section.integer("spill_at", 1..=1_000_000).and_then(|number| u32::try_from(number).ok());
    Zones {
        own,
        clients,
        spill_below: section.share("spill_below").unwrap_or(SPILL_BELOW),
        spill_at: spill_at.and_then(NonZeroU32::new),
        names: names.0,
    }
}

/// The number of a zone that someone prefers, or the warning that no backend is in it.
fn known(section: &Section<'_>, names: &Names, zone: &str, at: At) -> Option<ZoneIndex> {
    let found = names.find(zone);
    if found.is_none() {
        let problem =
            Problem::warning("unknown-zone", at, format!("no backend of [{}] is in zone `{zone}`", section.path))
                .label("counts as no zone at all");
        section.cx.report(if names.0.is_empty() {
            problem.help(format!("say where the backends are: {{ address = \"HOST:PORT\", zone = \"{zone}\" }}"))
        } else {
            problem.help(format!("its backends are in {}", names.0.join(", ")))
        });
    }
    found
}

/// `client_zones`, the longest prefix first.
fn clients<'a>(section: &Section<'a>, names: &Names, entry: &Entry, table: &'a Table) -> Vec<(IpNet, ZoneIndex)> {
    if table.entries.len() > NETWORKS_MAX {
        section.cx.report(
            Problem::error("range", entry.key_at, format!("`client_zones` has more than {NETWORKS_MAX} networks"))
                .label("looked through for each request")
                .help("join neighbouring networks into larger ones"),
        );
        return Vec::new();
    }
    let mut clients: Vec<(IpNet, ZoneIndex, At)> = Vec::with_capacity(table.entries.len());
    for entry in &table.entries {
        let network = address::network(&entry.key).map_err(|fault| section.fault_at(entry.key_at, fault));
        let zone = section.text_of(&entry.node, &entry.key);
        let zone = zone.and_then(|zone| known(section, names, zone, entry.node.at));
        let (Ok(network), Some(zone)) = (network, zone) else { continue };
        if let Some((_, _, first)) = clients.iter().find(|(earlier, _, _)| *earlier == network) {
            section.cx.report(
                Problem::error("duplicate", entry.key_at, format!("{network} is given twice"))
                    .label("given again here")
                    .second(*first, "first given here")
                    .help("keep one of the two"),
            );
        }
        clients.push((network, zone, entry.key_at));
    }
    clients.sort_by_key(|(network, _, _)| std::cmp::Reverse(network.prefix_len()));
    clients.into_iter().map(|(network, zone, _)| (network, zone)).collect()
}
