//! `[pool.NAME]`: backends, policy, deadlines; its checks are read by `check`.

mod balance;
mod expression;
mod members;

use std::sync::Arc;
use std::time::Duration;

use crate::balance::Balance;
use crate::config::Cx;
use crate::config::model::{Check, OnDown, Pool, PoolTimeouts, Retry, Zones};
use crate::config::section::{Choice, Section};
use crate::config::tree::{Entry, Table, Value};
use crate::config::units::{self, Fault};
use crate::config::vocabulary::{POOL, POOL_TIMEOUTS, RETRY};
use crate::health::Policy;

use super::check;

const ON_DOWN: Choice<OnDown> = Choice {
    words: &[("keep", OnDown::Keep), ("close", OnDown::Close)],
    foreign: &[
        ("drain", "keep"),
        ("none", "keep"),
        ("shutdown-sessions", "close"),
        ("reset", "close"),
        ("kill", "close"),
    ],
    later: &[],
};

const MODE: Choice<()> = Choice {
    words: &[("active-active", ())],
    foreign: &[
        ("http", "the protocol belongs into [listener.NAME]"),
        ("tcp", "the protocol belongs into [listener.NAME]"),
    ],
    later: &["active-standby", "leader", "active-passive", "primary"],
};

/// Memory for requests that wait.
const QUEUE_MAX: i64 = 1_000_000;

pub(super) fn pool<'a>(cx: &'a Cx<'a>, entry: &'a Entry, table: &'a Table) -> Option<Pool> {
    let section = Section::new(cx, table, entry.key_at, format!("pool.{}", entry.key), &POOL);
    section.choice("mode", &MODE);
    let members = members::members(&section);
    let checks = check::checks(&section);
    let names: Vec<Arc<str>> = checks.iter().map(|(name, _)| name.as_str().into()).collect();
    let healthy_when = expression::healthy_when(&section, &names);
    let checks: Option<Vec<Check>> = checks.into_iter().map(|(_, check)| check).collect();
    let (retry, timeouts) = (retry(&section), timeouts(&section));
    let small = |key: &str, range, usual: u32| {
        section.integer(key, range).map_or(usual, |number| u32::try_from(number).unwrap_or(u32::MAX))
    };
    let (queue, idle_connections) =
        (small("queue", 0..=QUEUE_MAX, 1000), small("idle_connections", 0..=1_000_000, 256));
    let balance =
        if section.has("balance") { section.parsed("balance", balance::balance) } else { Some(Balance::RoundRobin) };
    Some(Pool {
        name: entry.key.as_str().into(),
        on_down: section.choice("on_down", &ON_DOWN).unwrap_or(OnDown::Keep),
        hold: section.duration("hold").unwrap_or(Duration::ZERO),
        queue,
        idle_connections,
        retry,
        timeouts,
        balance: balance?,
        members: members.filter(|members| !members.is_empty())?,
        checks: checks?,
        policy: Policy::usual(healthy_when?),
        follows: None,
        on_role_loss: OnDown::Keep,
        zones: Zones { names: Vec::new(), own: None, clients: Vec::new(), spill_below: 0.0, spill_at: None },
    })
}

fn retry(pool: &Section<'_>) -> Retry {
    let section = pool.section("retry", &RETRY);
    let section = section.as_ref();
    let integer = |key: &str, max: i64, usual: u32| {
        let number = section.and_then(|retry| retry.integer(key, 0..=max));
        number.map_or(usual, |number| u32::try_from(number).unwrap_or(u32::MAX))
    };
    Retry {
        attempts: u8::try_from(integer("attempts", 10, 2)).unwrap_or(u8::MAX),
        budget_ratio: section.and_then(budget).unwrap_or(0.2),
        budget_min_per_second: integer("min_per_second", 1_000_000, 3),
        body_bytes: section.and_then(|retry| retry.size("body", 0..=16 << 20)).map_or(64 << 10, |bytes| bytes as u32),
        statuses: section.map(retried_statuses).unwrap_or_default(),
    }
}

fn budget(retry: &Section<'_>) -> Option<f32> {
    let node = &retry.entry("budget")?.node;
    let number = match &node.value {
        Value::Float(number) => *number,
        Value::Integer(number) => *number as f64,
        _ => return retry.parsed("budget", units::share),
    };
    if (0.0..=1.0).contains(&number) {
        return Some(number as f32);
    }
    let fault = Fault::new("share", format!("`budget` = {number} is out of range"), "a share goes from 0 to 1");
    let percent =
        if (1.0..=100.0).contains(&number) { format!("write \"{number}%\"") } else { "write \"20%\" or 0.2".into() };
    retry.fault(node, fault.help(percent));
    None
}

fn retried_statuses(retry: &Section<'_>) -> Vec<u16> {
    let Some(nodes) = retry.one_or_more("status") else { return Vec::new() };
    let codes = nodes.iter().filter_map(|node| retry.integer_of(node, "status", &(400..=599)));
    codes.filter_map(|code| u16::try_from(code).ok()).collect()
}

fn timeouts(pool: &Section<'_>) -> PoolTimeouts {
    let section = pool.section("timeouts", &POOL_TIMEOUTS);
    let deadline = |key: &str| section.as_ref().and_then(|timeouts| timeouts.positive_duration(key));
    PoolTimeouts {
        connect: deadline("connect").unwrap_or(Duration::from_secs(5)),
        response: deadline("response").unwrap_or(Duration::from_secs(60)),
        idle: deadline("idle").unwrap_or(Duration::from_secs(4)),
        tunnel_idle: deadline("tunnel"),
    }
}
