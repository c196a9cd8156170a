//! `backends` of a pool: addresses with names, weights and standing.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::config::address;
use crate::config::model::{Member, Standing};
use crate::config::problem::{At, Problem};
use crate::config::section::{Section, name};
use crate::config::tree::{Node, Table, Value};
use crate::config::units::Fault;
use crate::config::vocabulary::BACKEND;

use super::zones::Names;

/// Weights beyond this say nothing more and overflow sums.
const WEIGHT_MAX: i64 = 256;

pub(super) fn members(section: &Section<'_>, zones: &mut Names) -> Option<Vec<Member>> {
    if !section.has("backends") {
        section.missing("backends", "write backends = [\"HOST:PORT\", \"HOST:PORT\"]");
        return None;
    }
    let node = &section.entry("backends")?.node;
    if matches!(&node.value, Value::List(list) if list.is_empty()) {
        section.cx.report(
            Problem::error("empty-list", node.at, format!("[{}] has no backends", section.path))
                .label("an empty list")
                .help("a pool needs at least one: backends = [\"HOST:PORT\"]"),
        );
        return None;
    }
    let nodes = section.one_or_more("backends")?;
    let read: Vec<(&Node, Option<Member>)> = nodes.iter().map(|node| (node, member(section, node, zones))).collect();
    let mut first: HashMap<Arc<str>, At> = HashMap::with_capacity(read.len());
    for (node, member) in &read {
        let Some(member) = member else { continue };
        if let Some(earlier) = first.insert(member.name.clone(), node.at) {
            section.cx.report(
                Problem::error(
                    "duplicate",
                    node.at,
                    format!("[{}] has two backends named `{}`", section.path, member.name),
                )
                .label("given again here")
                .second(earlier, "first given here")
                .help("take one out, or give them different names: { name = \"a\", address = \"HOST:PORT\" }"),
            );
        }
    }
    read.into_iter().map(|(_, member)| member).collect()
}

fn member<'a>(section: &Section<'a>, node: &'a Node, zones: &mut Names) -> Option<Member> {
    let (standing, weight) = (Standing::Regular, 1);
    match &node.value {
        Value::Table(table) => member_table(section, node, table, zones),
        Value::String(text) => {
            let address = match address::backend(&text.value) {
                Ok(address) => address,
                Err(fault) => {
                    section.fault(node, fault);
                    return None;
                }
            };
            Some(Member {
                name: address.to_string().into(),
                address,
                weight,
                standing,
                zone: None,
                connections_max: None,
            })
        }
        _ => {
            let help = "write \"HOST:PORT\" or { name = \"a\", address = \"HOST:PORT\", weight = 2 }";
            section.wrong_type(node, "backends", "texts and tables", help);
            None
        }
    }
}

fn member_table<'a>(section: &Section<'a>, node: &'a Node, table: &'a Table, zones: &mut Names) -> Option<Member> {
    let section = Section::new(section.cx, table, node.at, section.path_of("backends"), &BACKEND);
    if !section.has("address") {
        section.missing("address", "write address = \"HOST:PORT\"");
    }
    let weight = weight(&section);
    let own_name = section.parsed("name", name);
    let zone = section.parsed("zone", name).and_then(|zone| zones.number(&section, zone));
    let standing = match section.boolean("backup") {
        Some(true) => Standing::Backup,
        _ => Standing::Regular,
    };
    let connections_max = connections_max(&section);
    let address = section.parsed("address", address::backend)?;
    let name = own_name.unwrap_or_else(|| address.to_string().into());
    Some(Member { name, address, weight, standing, zone, connections_max })
}

/// Of a pool, or of one of its backends.
pub(super) fn connections_max(section: &Section<'_>) -> Option<NonZeroU32> {
    section.integer("connections_max", 1..=1_000_000).and_then(|most| NonZeroU32::new(u32::try_from(most).ok()?))
}

fn weight(section: &Section<'_>) -> u16 {
    let entry = section.entry("weight");
    if let Some(node) = entry.map(|entry| &entry.node).filter(|node| matches!(node.value, Value::Integer(0))) {
        let fault = Fault::new("range", "`weight` = 0 is out of range", "a weight is a share of the work");
        section.fault(node, fault.help("it goes from 1 to 256; take a backend that shall get nothing out of the list"));
        return 1;
    }
    section.integer("weight", 1..=WEIGHT_MAX).and_then(|weight| u16::try_from(weight).ok()).unwrap_or(1)
}
