//! `follows = "POOL"`: the backends and verdicts of another pool, which may come later in the file and follow one itself.

use std::collections::HashSet;
use std::sync::Arc;

use crate::config::Cx;
use crate::config::lower::Pools;
use crate::config::model::{Address, Member, Pool, PoolIndex};
use crate::config::problem::{At, Problem};
use crate::config::section::Section;
use crate::health::{Expression, Policy};

use super::PoolRead;

/// What a pool that follows another one says of it.
pub(in super::super) struct Following {
    pub(in super::super) pool: PoolIndex,
    at: At,
    port: Option<u16>,
    /// Options that are not as the other pool says.
    own: Vec<&'static str>,
}

/// What the other pool decides.
const DECIDED: &[&str] = &[
    "backends",
    "check",
    "preset",
    "mode",
    "healthy_when",
    "failover",
    "failback",
    "two_leaders",
    "no_leader",
    "all_down",
    "min_healthy",
    "up_after",
    "down_after",
    "flaps",
    "slow_start",
    "outliers",
    "disagree",
    "zone",
    "client_zones",
    "spill_below",
    "spill_at",
];

/// What it decides where nothing else is said.
const TAKEN: &[&str] = &["hold", "on_down", "on_role_loss"];

pub(super) fn follows(section: &Section<'_>, pools: &Pools<'_>) -> Option<Following> {
    let port = section.integer("port", 1..=65535).and_then(|port| u16::try_from(port).ok());
    let Some(entry) = section.table.get("follows") else {
        if let Some(port) = section.table.get("port") {
            section.cx.report(
                Problem::error("no-effect", port.key_at, format!("`port` in [{}] without `follows`", section.path))
                    .label("the port of a backend stands in its address")
                    .help("write backends = [\"HOST:PORT\"]; with follows = \"POOL\" a pool has that pool's backends at this port"),
            );
        }
        return None;
    };
    for own in DECIDED.iter().filter_map(|key| section.table.get(key)) {
        section.cx.report(
            Problem::error("conflict", own.key_at, format!("`{}` in a pool that follows another one", own.key))
                .label("decided there")
                .second(entry.node.at, "followed here")
                .help(format!(
                    "take `{}` out, or `follows`: a pool that follows has the backends and verdicts of the other",
                    own.key
                )),
        );
    }
    let own = TAKEN.iter().filter(|key| section.has(key)).copied().collect();
    Some(Following { pool: pools.find(section, "follows")?, at: entry.node.at, port, own })
}

/// Completes every pool that follows one.
pub(in super::super) fn resolve(cx: &Cx<'_>, pools: &Pools<'_>, reads: &mut [PoolRead]) {
    let mut known_circles = HashSet::new();
    for start in 0..reads.len() {
        let mut chain = vec![start];
        while let Some(next) = leader(reads, chain[chain.len() - 1]) {
            if let Some(begin) = chain.iter().position(|earlier| *earlier == next) {
                let circle = &chain[begin..];
                if circle.iter().all(|pool| known_circles.insert(*pool)) {
                    report_circle(cx, pools, reads, circle);
                }
                reads[start].pool = None;
                chain.clear();
                break;
            }
            chain.push(next);
        }
        if let [_, .., base] = chain[..] {
            complete(reads, &chain, base);
        }
    }
    refuse_ports_of_sockets(cx, reads);
}

/// A port instead of that of backends which have none.
fn refuse_ports_of_sockets(cx: &Cx<'_>, reads: &[PoolRead]) {
    for read in reads {
        let (Some(follows), Some(pool)) = (&read.follows, &read.pool) else { continue };
        let is_socket = |member: &&Member| matches!(member.address, Address::Unix(_));
        if let (Some(_), Some(socket)) = (follows.port, pool.members.iter().find(is_socket)) {
            cx.report(
                Problem::error("no-port", follows.at, format!("the backend {} has no port", socket.address))
                    .label("followed at another port")
                    .help("give this pool `backends` of its own, with the address of the other port"),
            );
        }
    }
}

fn leader(reads: &[PoolRead], pool: usize) -> Option<usize> {
    reads.get(pool)?.follows.as_ref().map(|follows| follows.pool.0 as usize)
}

fn report_circle(cx: &Cx<'_>, pools: &Pools<'_>, reads: &[PoolRead], circle: &[usize]) {
    let name = |pool: usize| pools.names.get(pool).map_or("", |(name, _)| *name);
    let path: Vec<String> = circle.iter().map(|pool| format!("`{}`", name(*pool))).collect();
    let Some(follows) = reads[circle[0]].follows.as_ref() else { return };
    let message = match circle {
        [own] => format!("pool `{}` follows itself", name(*own)),
        _ => format!("pools follow each other: {} and `{}` again", path.join(", "), name(circle[0])),
    };
    cx.report(
        Problem::error("circle", follows.at, message)
            .label("nobody has backends of its own")
            .help("name a pool that has `backends`"),
    );
}

/// Gives a pool what the last one of its chain decides.
fn complete(reads: &mut [PoolRead], chain: &[usize], base: usize) {
    let Some(followed) = reads[base].pool.clone() else {
        reads[chain[0]].pool = None;
        return;
    };
    let follows = |pool: usize| reads[pool].follows.as_ref();
    let port = chain.iter().find_map(|pool| follows(*pool)?.port);
    // The nearest pool that says something of its own decides.
    let nearest =
        |key: &str| chain.iter().copied().find(|pool| follows(*pool).is_none_or(|follows| follows.own.contains(&key)));
    let of = |key: &str| nearest(key).and_then(|pool| reads[pool].pool.as_ref()).unwrap_or(&followed);
    let (hold, on_down, on_role_loss) = (of("hold").hold, of("on_down").on_down, of("on_role_loss").on_role_loss);
    let Some(pool) = reads[chain[0]].pool.as_mut() else { return };
    *pool = Pool {
        members: members(&followed.members, port),
        policy: Policy { mode: followed.policy.mode, ..Policy::usual(Expression::all_of(0)) },
        follows: u32::try_from(base).ok().map(PoolIndex),
        zones: followed.zones,
        hold,
        on_down,
        on_role_loss,
        ..pool.clone()
    };
}

/// A limit is one of a pool's own work: what the other pool may send there says nothing of it.
fn unlimited(member: &Member) -> Member {
    Member { connections_max: None, ..member.clone() }
}

/// The same backends at another port. One that is named after its address gets the name of the new one.
fn members(members: &[Member], port: Option<u16>) -> Vec<Member> {
    let Some(port) = port else { return members.iter().map(unlimited).collect() };
    let moved = members.iter().map(unlimited).map(|member| {
        let address = match &member.address {
            Address::Socket(address) => Address::Socket((address.ip(), port).into()),
            Address::Name(name, _) => Address::Name(name.clone(), port),
            Address::Unix(_) => member.address.clone(),
        };
        let named_by_address = *member.name == *member.address.to_string();
        let name: Arc<str> = if named_by_address { address.to_string().into() } else { member.name.clone() };
        Member { name, address, ..member }
    });
    let mut moved: Vec<Member> = moved.collect();
    let mut taken = HashSet::with_capacity(moved.len());
    for (member, original) in moved.iter_mut().zip(members) {
        // Two on one machine that differ by their port alone keep the names that tell them apart.
        if !taken.insert(member.name.clone()) {
            member.name = original.name.clone();
        }
    }
    moved
}
