//! `[pool.NAME]`: what it is made of; backends, zones, policy and the like have a file each, and checks are read by
//! `check`.

mod balance;
mod expression;
pub(super) mod follows;
pub(super) mod introduce;
mod members;
mod outliers;
mod policy;
mod sticky;
mod tls;
mod zones;

use std::num::NonZeroU32;
use std::time::Duration;

use crate::balance::Balance;
use crate::config::Cx;
use crate::config::model::{Check, Member, OnDown, Pool, PoolTimeouts, Retry, Zones};
use crate::config::problem::{At, Problem};
use crate::config::section::{Choice, Section};
use crate::config::tree::{Entry, Table};
use crate::config::units::Fault;
use crate::config::vocabulary::{NO_LEADER, POOL, POOL_TIMEOUTS, RETRY};
use crate::health::{Expression, Policy};

use super::{Pools, check, http, sockets, udp};
use follows::Following;

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

/// How long requests wait with `all_down = "hold"` where nothing else is said.
const HOLD: Duration = Duration::from_secs(10);

/// Memory for requests that wait.
const QUEUE_MAX: i64 = 1_000_000;

/// What was read of a pool.
pub(super) struct PoolRead {
    pub(super) pool: Option<Pool>,
    /// The place of `balance` where it looks into requests.
    pub(super) by_request: Option<At>,
    /// The same of `sticky`.
    pub(super) sticky_by_request: Option<At>,
    /// The place of `tls` where it speaks TLS with its backends.
    pub(super) tls_at: Option<At>,
    /// The place of `send_proxy` where that is on.
    pub(super) send_proxy_at: Option<At>,
    /// The places of checks that ask for the backend's own port by TCP.
    pub(super) knocks: Vec<At>,
    /// The pool that it takes its backends and verdicts from; `pool` is incomplete until [`follows::resolve`].
    pub(super) follows: Option<Following>,
}

pub(super) fn pool<'a>(cx: &'a Cx<'a>, entry: &'a Entry, table: &'a Table, pools: &Pools<'_>) -> PoolRead {
    let section = Section::new(cx, table, entry.key_at, format!("pool.{}", entry.key), &POOL);
    let follows = follows::follows(&section, pools);
    let (hold, tls) = (hold(&section), tls::tls(&section));
    let over = tls.as_ref().and_then(|tls| tls.as_deref());
    let way = sockets::way(&section);
    let over = check::Over { tls: over, way: way.as_ref() };
    let decided = if section.has("follows") { Some(Decided::elsewhere()) } else { decided(&section, hold, &over) };
    let balance =
        if section.has("balance") { section.parsed("balance", balance::balance) } else { Some(Balance::RoundRobin) };
    let by_request = matches!(balance, Some(Balance::Uri | Balance::Header(_) | Balance::Cookie(_)));
    let by_request = section.entry("balance").filter(|_| by_request).map(|entry| entry.node.at);
    let (retry, timeouts) = (retry(&section), timeouts(&section));
    let sticky = sticky::sticky(&section);
    let small = |key: &str, range, usual: u32| {
        section.integer(key, range).map_or(usual, |number| u32::try_from(number).unwrap_or(u32::MAX))
    };
    let (queue, idle_connections) =
        (small("queue", 0..=QUEUE_MAX, 1000), small("idle_connections", 0..=1_000_000, 256));
    let on_loss = |key| section.choice(key, &ON_DOWN).unwrap_or(OnDown::Keep);
    let (on_down, on_role_loss) = (on_loss("on_down"), on_loss("on_role_loss"));
    let introduce = introduce::introduce(&section);
    let pool = decided.zip(balance).zip(tls).map(|((decided, balance), tls)| Pool {
        http: http::backends(&section),
        way,
        tls,
        introduce,
        name: entry.key.as_str().into(),
        on_down,
        on_role_loss,
        hold,
        queue,
        idle_connections,
        tunnels_max: section
            .integer("tunnels_max", 1..=1_000_000)
            .and_then(|most| NonZeroU32::new(u32::try_from(most).ok()?)),
        connections_max: members::connections_max(&section),
        sticky: sticky.sticky,
        retry,
        timeouts,
        balance,
        members: decided.members,
        checks: decided.checks,
        policy: decided.policy,
        follows: None,
        zones: decided.zones,
    });
    let pool = pool.filter(|_| !section.has("follows") || follows.is_some());
    let speaks_tls = pool.as_ref().is_some_and(|pool| pool.tls.is_some());
    let tls_at = section.entry("tls").filter(|_| speaks_tls).map(|entry| entry.key_at);
    let knocks = pool.as_ref().map_or_else(Vec::new, |pool| udp::knocks(&section, &pool.checks));
    let told = pool.as_ref().is_some_and(|pool| pool.introduce.is_some());
    let send_proxy_at = section.entry("send_proxy").filter(|_| told).map(|entry| entry.key_at);
    let sticky_by_request = sticky.by_request;
    PoolRead { pool, by_request, sticky_by_request, tls_at, send_proxy_at, knocks, follows }
}

/// Who is in a pool and who of them works: all that a pool which follows another one takes from there.
struct Decided {
    members: Vec<Member>,
    zones: Zones,
    checks: Vec<Check>,
    policy: Policy,
}

impl Decided {
    /// What stands there until the other pool is known.
    fn elsewhere() -> Self {
        let policy = Policy::usual(Expression::all_of(0));
        Self { members: Vec::new(), zones: zones::none(), checks: Vec::new(), policy }
    }
}

fn decided(section: &Section<'_>, hold: Duration, over: &check::Over<'_>) -> Option<Decided> {
    let mut names = zones::Names::default();
    let members = members::members(section, &mut names);
    let zones = zones::zones(section, names);
    let checks = check::checks(section, over);
    sockets::refuse_other_families(section, over.way.map(AsRef::as_ref), members.as_deref().unwrap_or_default());
    check::refuse_ports_of_sockets(section, members.as_deref().unwrap_or_default(), &checks);
    let policy = policy::policy(section, members.as_deref(), &checks, hold);
    let checks: Option<Vec<Check>> = checks.into_iter().map(|(_, check)| check).collect();
    Some(Decided { members: members.filter(|members| !members.is_empty())?, zones, checks: checks?, policy: policy? })
}

/// How long requests wait when nobody may serve: `hold`, or `no_leader`, which says the same of leaders.
fn hold(section: &Section<'_>) -> Duration {
    let no_leader = section.section("no_leader", &NO_LEADER);
    if let Some(no_leader) = no_leader.as_ref().filter(|no_leader| !no_leader.has("hold")) {
        no_leader.missing("hold", "write no_leader = { hold = \"5s\" }: how long requests wait for the next leader");
    }
    let own = section.duration("hold");
    let for_leader = no_leader.as_ref().and_then(|no_leader| no_leader.duration("hold"));
    if let (Some(hold), Some(no_leader)) = (section.table.get("hold"), section.table.get("no_leader")) {
        section.cx.report(
            Problem::error("conflict", no_leader.key_at, "`hold` and `no_leader` at once")
                .label("says the same for pools with a leader")
                .second(hold.key_at, "given here")
                .help("take one of the two out: both are how long requests wait when nobody may serve"),
        );
    }
    let usual = if section.says("all_down", "hold") { HOLD } else { Duration::ZERO };
    let hold = own.or(for_leader).unwrap_or(usual);
    if let Some(entry) = section.entry("hold").filter(|_| hold.is_zero() && section.says("all_down", "hold")) {
        let fault = Fault::new("conflict", "all_down = \"hold\" for no time at all", "nobody waits for 0s");
        section.fault(&entry.node, fault.help("write hold = \"10s\", or take all_down = \"hold\" out"));
    }
    hold
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
        budget_ratio: section.and_then(|retry| retry.share("budget")).unwrap_or(0.2),
        budget_min_per_second: integer("min_per_second", 1_000_000, 3),
        body_bytes: section.and_then(|retry| retry.size("body", 0..=16 << 20)).map_or(64 << 10, |bytes| bytes as u32),
        statuses: section.map(retried_statuses).unwrap_or_default(),
    }
}

fn retried_statuses(retry: &Section<'_>) -> Vec<u16> {
    let Some(nodes) = retry.one_or_more("status") else { return Vec::new() };
    let codes = nodes.iter().filter_map(|node| retry.integer_of(node, "status", &(400..=599)));
    codes.filter_map(|code| u16::try_from(code).ok()).collect()
}

fn timeouts(pool: &Section<'_>) -> PoolTimeouts {
    let section = pool.section("timeouts", &POOL_TIMEOUTS);
    let deadline = |key: &str| section.as_ref().and_then(|timeouts| timeouts.positive_duration(key));
    let connect = deadline("connect").unwrap_or(Duration::from_secs(5));
    PoolTimeouts {
        connect,
        queue: deadline("queue").unwrap_or(connect),
        response: deadline("response").unwrap_or(Duration::from_secs(60)),
        idle: deadline("idle").unwrap_or(Duration::from_secs(4)),
        tunnel_idle: deadline("tunnel"),
    }
}
