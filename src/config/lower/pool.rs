//! `[pool.NAME]`: backends, policy, deadlines; its checks are read by `check`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::balance::Balance;
use crate::health::{Expression, Policy};

use super::super::Cx;
use super::super::address;
use super::super::model::{Check, Member, OnDown, Pool, PoolTimeouts, Retry, Standing, Zones};
use super::super::problem::{At, Problem};
use super::super::section::{Choice, Section, is_name};
use super::super::tree::{Entry, Node, Table, Text, Value};
use super::super::units::{self, Fault};
use super::super::vocabulary::{BACKEND, POOL, POOL_TIMEOUTS, RETRY};
use super::check;
use super::route::header_name;

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

/// Weights beyond this say nothing more and overflow sums.
const WEIGHT_MAX: i64 = 256;

/// Memory for requests that wait.
const QUEUE_MAX: i64 = 1_000_000;

pub(super) fn pool<'a>(cx: &'a Cx<'a>, entry: &'a Entry, table: &'a Table) -> Option<Pool> {
    let section = Section::new(cx, table, entry.key_at, format!("pool.{}", entry.key), &POOL);
    section.choice("mode", &MODE);
    let members = members(&section);
    let checks = check::checks(&section);
    let names: Vec<Arc<str>> = checks.iter().map(|(name, _)| name.as_str().into()).collect();
    let healthy_when = healthy_when(&section, &names);
    let checks: Option<Vec<Check>> = checks.into_iter().map(|(_, check)| check).collect();
    let (retry, timeouts) = (retry(&section), timeouts(&section));
    let small = |key: &str, range, usual: u32| {
        section.integer(key, range).map_or(usual, |number| u32::try_from(number).unwrap_or(u32::MAX))
    };
    let (queue, idle_connections) =
        (small("queue", 0..=QUEUE_MAX, 1000), small("idle_connections", 0..=1_000_000, 256));
    let balance = if section.has("balance") { section.parsed("balance", balance) } else { Some(Balance::RoundRobin) };
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

fn members(section: &Section<'_>) -> Option<Vec<Member>> {
    if !section.has("backends") {
        if !section.has("follows") {
            section.missing("backends", "write backends = [\"HOST:PORT\", \"HOST:PORT\"]");
        }
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
    let read: Vec<(&Node, Option<Member>)> = nodes.iter().map(|node| (node, member(section, node))).collect();
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

fn member<'a>(section: &Section<'a>, node: &'a Node) -> Option<Member> {
    let (standing, weight) = (Standing::Regular, 1);
    match &node.value {
        Value::Table(table) => member_table(section, node, table),
        Value::String(text) => {
            let address = match address::backend(&text.value) {
                Ok(address) => address,
                Err(fault) => {
                    section.fault(node, fault);
                    return None;
                }
            };
            Some(Member { name: address.to_string().into(), address, weight, standing, zone: None })
        }
        _ => {
            let help = "write \"HOST:PORT\" or { name = \"a\", address = \"HOST:PORT\", weight = 2 }";
            section.wrong_type(node, "backends", "texts and tables", help);
            None
        }
    }
}

fn member_table<'a>(section: &Section<'a>, node: &'a Node, table: &'a Table) -> Option<Member> {
    let section = Section::new(section.cx, table, node.at, section.path_of("backends"), &BACKEND);
    if !section.has("address") {
        section.missing("address", "write address = \"HOST:PORT\"");
    }
    let weight = weight(&section);
    let name = section.parsed("name", |name| {
        let fault = Fault::new("name", format!("`{name}` cannot be a name"), "not a name");
        let help = "names are up to 64 letters, digits, `-`, `_` and `.`";
        if is_name(name) { Ok(Arc::<str>::from(name)) } else { Err(fault.help(help)) }
    });
    let standing = match section.boolean("backup") {
        Some(true) => Standing::Backup,
        _ => Standing::Regular,
    };
    let address = section.parsed("address", address::backend)?;
    Some(Member { name: name.unwrap_or_else(|| address.to_string().into()), address, weight, standing, zone: None })
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

const PLAIN: Choice<u8> = Choice {
    words: &[
        ("round-robin", 0),
        ("least-requests", 1),
        ("random", 2),
        ("p2c", 3),
        ("peak-ewma", 4),
        ("source", 5),
        ("uri", 6),
        ("first", 7),
        ("header:NAME", 8),
        ("cookie:NAME", 9),
    ],
    foreign: &[
        ("roundrobin", "round-robin"),
        ("round_robin", "round-robin"),
        ("rr", "round-robin"),
        ("wrr", "round-robin"),
        ("static-rr", "round-robin"),
        ("weighted", "round-robin"),
        ("weighted_round_robin", "round-robin"),
        ("leastconn", "least-requests"),
        ("least_conn", "least-requests"),
        ("least-conn", "least-requests"),
        ("least_connections", "least-requests"),
        ("least-connections", "least-requests"),
        ("least_request", "least-requests"),
        ("least_requests", "least-requests"),
        ("leasttime", "peak-ewma"),
        ("least_time", "peak-ewma"),
        ("ewma", "peak-ewma"),
        ("ip_hash", "source"),
        ("ip-hash", "source"),
        ("source_ip", "source"),
        ("client_ip", "source"),
        ("iphash", "source"),
        ("uri_hash", "uri"),
        ("url", "uri"),
        ("path", "uri"),
        ("random_choose", "p2c"),
        ("power_of_two", "p2c"),
        ("two_choices", "p2c"),
        ("header", "write \"header:NAME\" with the name of the header"),
        ("cookie", "write \"cookie:NAME\" with the name of the cookie"),
        ("hdr", "write \"header:NAME\" with the name of the header"),
        ("failover", "first"),
        ("priority", "first"),
        ("hash", "write \"source\", \"uri\", \"header:NAME\" or \"cookie:NAME\": what is hashed"),
        ("maglev", "write \"source\", \"uri\", \"header:NAME\" or \"cookie:NAME\": what is hashed"),
        ("ring_hash", "write \"source\", \"uri\", \"header:NAME\" or \"cookie:NAME\": what is hashed"),
    ],
    later: &[],
};

/// The word for how a pool spreads its work.
fn balance(text: &str) -> Result<Balance, Fault> {
    if let Some(name) = text.strip_prefix("header:").filter(|name| *name != "NAME") {
        return header_name(name).map(Balance::Header);
    }
    if let Some(name) = text.strip_prefix("cookie:").filter(|name| *name != "NAME") {
        let name = header_name(name).map(|_| Arc::<str>::from(name));
        return name.map(Balance::Cookie).map_err(|_not_a_token| {
            Fault::new("cookie", format!("`{text}` names no cookie"), "after the colon stands the cookie's name")
        });
    }
    Ok(match PLAIN.find("balance", text)? {
        0 => Balance::RoundRobin,
        1 => Balance::LeastRequests,
        2 => Balance::Random,
        3 => Balance::P2c,
        4 => Balance::PeakEwma,
        5 => Balance::Source,
        6 => Balance::Uri,
        7 => Balance::First,
        _ => {
            let fault = Fault::new("unknown-word", format!("`{text}` stands for a name of yours"), "a placeholder");
            return Err(fault.help("write for example \"header:X-Tenant\" or \"cookie:session\""));
        }
    })
}

fn healthy_when(section: &Section<'_>, names: &[Arc<str>]) -> Option<Expression> {
    if !section.has("healthy_when") {
        return Some(Expression::all_of(names.len()));
    }
    let text = section.text("healthy_when")?;
    let node = &section.entry("healthy_when")?.node;
    let expression = match Expression::parse(text, names) {
        Ok(expression) => expression,
        Err(error) => {
            let at = within(section, node, error.span.clone());
            let mut problem = Problem::error("expression", at, error.message);
            problem.help = error.help;
            section.cx.report(problem);
            return None;
        }
    };
    // `all_down` would name checks too; that it is not supported has been said.
    let certain = !section.has("all_down");
    let unused = names.iter().enumerate().filter(|(index, _)| certain && !expression.mentions(*index));
    for (_, name) in unused {
        let place = check::place(section, name).unwrap_or(node.at);
        section.cx.report(
            Problem::warning("unused-check", place, format!("check `{name}` decides nothing"))
                .label("asked, but its answer is not used")
                .second(node.at, "does not name it")
                .help(format!("add it, as in \"{text} and {name}\", or take the check out")),
        );
    }
    Some(expression)
}

/// The place of a part of a text, when the source spells the text the same way.
fn within(section: &Section<'_>, node: &Node, span: std::ops::Range<usize>) -> At {
    let Value::String(Text { value, raw: None }) = &node.value else { return node.at };
    section.cx.files.slice(node.at).find(value.as_str()).map_or(node.at, |offset| {
        let start = node.at.start as usize + offset;
        At::new(node.at.file, start + span.start..start + span.end)
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
