//! From the tree as written to the model: every default, every limit and every reference is settled here.
//!
//! Each function reads one section and goes on after a problem; an invalid pool still exists for those that name it.
//! What concerns several sections at once (clashes, shadows, what nobody uses) is in `across`.

mod across;
mod admin;
mod certificates;
mod check;
mod clients;
mod conditions;
mod crowd;
mod dialect;
mod http;
mod identity;
mod listener;
mod log;
mod metrics;
mod paths;
mod pool;
mod process;
mod route;
mod route_test;
mod rules;
mod sockets;
mod staple;
mod tickets;
mod tls;
mod tracing;
mod udp;
mod upgrade;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Cx;
use super::model::{Config, PoolIndex, ProcessLimits, Shutdown, Site, Watch};
use super::problem::{At, Problem};
use super::section::Section;
use super::substitute;
use super::tree::{Table, Value};
use super::units::Fault;
use super::unix;
use super::unknown;
use super::vocabulary::{LIMITS, ROOT, SHUTDOWN};

/// More threads than any machine has cores is a slip of the pen.
const WORKERS_MAX: i64 = 1024;

/// More connections than ports and descriptors allow is one too.
const CONNECTIONS_MAX: i64 = 100_000_000;

/// What the process accepts at once where nothing is said.
const CONNECTIONS: u32 = 20_000;

/// Probes under way at once where nothing is said: each holds a descriptor.
const PROBES_AT_ONCE: u32 = 1_024;

/// More at once than any machine's descriptors are for.
const PROBES_MAX: i64 = 100_000;

/// The pools by name, valid or not.
struct Pools<'a> {
    by_name: HashMap<&'a str, PoolIndex>,
    names: Vec<(&'a str, At)>,
}

impl Pools<'_> {
    /// The pool that a key names.
    fn find(&self, section: &Section<'_>, key: &str) -> Option<PoolIndex> {
        self.named(section, section.text(key)?, section.entry(key)?.node.at)
    }

    /// The pool of this name, which stands there.
    fn named(&self, section: &Section<'_>, name: &str, at: At) -> Option<PoolIndex> {
        if let Some(index) = self.by_name.get(name) {
            return Some(*index);
        }
        let problem = Problem::error("unknown-pool", at, format!("there is no pool `{name}`"))
            .label(format!("no section [pool.{name}]"))
            .absence();
        section.cx.report(match unknown::nearest(name, self.names.iter().map(|(name, _)| *name)) {
            Some(near) => {
                let defined = self.names.iter().find(|(name, _)| *name == near).map_or(at, |(_, at)| *at);
                problem.help(format!("did you mean `{near}`?")).second(defined, format!("`{near}` is defined here"))
            }
            None if self.names.is_empty() => problem.help(format!("add [pool.{name}] with backends = [\"HOST:PORT\"]")),
            None => {
                let known: Vec<&str> = self.names.iter().take(8).map(|(name, _)| *name).collect();
                let more = if self.names.len() > 8 { ", ..." } else { "" };
                problem.help(format!("the pools are {}{more}", known.join(", ")))
            }
        });
        None
    }
}

/// The whole configuration; `None` only when an error has been reported.
pub(super) fn lower(cx: &Cx<'_>, root: &Table) -> Option<Config> {
    let top = Section::new(cx, root, At { file: 0, start: 0, end: 0 }, String::new(), &ROOT);
    let admin = admin::admin(&top);
    let log = log::log(&top);
    let limits = limits(&top);
    let shutdown = shutdown(&top);
    // Checks look it up.
    let _ = cx.exec_allowed.set(check::exec_allowed(&top));
    let sections = top.named("pool", "web");
    let names: Vec<(&str, At)> = sections.iter().map(|(entry, _)| (entry.key.as_str(), entry.key_at)).collect();
    let index = |position: usize| PoolIndex(u32::try_from(position).unwrap_or(u32::MAX));
    let by_name = names.iter().enumerate().map(|(position, (name, _))| (*name, index(position))).collect();
    let names = Pools { by_name, names };
    let mut pools: Vec<_> = sections.iter().map(|(entry, table)| pool::pool(cx, entry, table, &names)).collect();
    pool::follows::resolve(cx, &names, &mut pools);
    let listeners: Vec<_> = top
        .named("listener", "web")
        .into_iter()
        .map(|(entry, table)| listener::listener(cx, entry, table, &names, limits.process.connections, &log.access))
        .collect();
    across::listeners(&top, &listeners, &admin);
    across::pools(cx, &names, &pools, &listeners, listener_sections(root));
    across::balance(cx, &listeners, &pools);
    udp::pools(cx, &listeners, &pools);
    across::reads(cx, &names, &listeners, &pools);
    cx.tests.replace(route_test::tests(cx, &top, &names, &listeners));
    Some(Config {
        admin: Arc::new(admin.admin),
        log: log.events,
        metrics: metrics::metrics(&top),
        tracing: tracing::tracing(&top),
        limits: limits.process,
        shutdown,
        upgrade: upgrade::upgrade(&top),
        process: process::process(&top),
        exec_allowed: cx.exec_allowed.get().cloned().unwrap_or_default(),
        workers: workers(&top),
        state_file: state_file(&top),
        probes_at_once: limits.probes,
        watch: match top.boolean("watch") {
            Some(true) => Watch::Files,
            _ => Watch::Off,
        },
        listeners: listeners.into_iter().map(|read| read.listener).collect::<Option<_>>()?,
        pools: pools.into_iter().map(|read| read.pool.map(Arc::new)).collect::<Option<_>>()?,
    })
}

/// How many listeners someone meant to write.
fn listener_sections(root: &Table) -> usize {
    match root.get("listener").map(|entry| &entry.node.value) {
        Some(Value::Table(table)) => table.entries.len(),
        _ => 0,
    }
}

fn workers(top: &Section<'_>) -> Option<NonZeroU32> {
    let entry = top.entry("workers")?;
    if matches!(&entry.node.value, Value::String(text) if text.value == "auto") {
        return None;
    }
    let number = top.integer("workers", 1..=WORKERS_MAX)?;
    NonZeroU32::new(u32::try_from(number).ok()?)
}

/// `socket_mode` of a section that binds these.
fn socket_mode(section: &Section<'_>, binds: &[Site], usual: u32) -> u32 {
    let mode = section.parsed("socket_mode", unix::mode);
    let has_file = |site: &Site| matches!(site, Site::Unix(name) if name.path().is_some());
    if let Some(entry) = section.table.get("socket_mode").filter(|_| !binds.iter().any(has_file)) {
        section.cx.report(
            Problem::warning("no-effect", entry.key_at, "`socket_mode` has no effect without a socket that is a file")
                .label("there is no file here")
                .help("take it out, or write bind = \"unix:/run/evenkeel/web.sock\""),
        );
    }
    mode.unwrap_or(usual)
}

/// The file is written by the program itself, beside the configuration where its path is relative.
fn state_file(top: &Section<'_>) -> Option<Arc<Path>> {
    let path = top.text("state_file")?;
    let node = &top.entry("state_file")?.node;
    if path.is_empty() || path.ends_with('/') {
        let fault = Fault::new("text", format!("`{path}` is not the path of a file"), "a folder, or nothing");
        top.fault(node, fault.help("write state_file = \"/var/lib/evenkeel/state.json\""));
        return None;
    }
    Some(substitute::resolve(top.cx, node.at, path).into())
}

/// `[limits]`.
struct LimitsRead {
    process: ProcessLimits,
    probes: NonZeroU32,
}

fn limits(top: &Section<'_>) -> LimitsRead {
    let section = top.section("limits", &LIMITS);
    let probes = section.as_ref().and_then(|limits| limits.integer("probes", 1..=PROBES_MAX));
    LimitsRead {
        process: ProcessLimits { connections: connections(section.as_ref(), nonzero(CONNECTIONS)) },
        probes: nonzero(probes.map_or(PROBES_AT_ONCE, |number| u32::try_from(number).unwrap_or(u32::MAX))),
    }
}

/// `connections` of a section of limits.
fn connections(section: Option<&Section<'_>>, usual: NonZeroU32) -> NonZeroU32 {
    let number = section.and_then(|limits| limits.integer("connections", 1..=CONNECTIONS_MAX));
    number.map_or(usual, |number| nonzero(u32::try_from(number).unwrap_or(u32::MAX)))
}

/// A number that its range keeps from being zero.
fn nonzero(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}

fn shutdown(top: &Section<'_>) -> Shutdown {
    let section = top.section("shutdown", &SHUTDOWN);
    let section = section.as_ref();
    Shutdown {
        lead: section.and_then(|shutdown| shutdown.duration("lead")).unwrap_or(Duration::ZERO),
        drain: section.and_then(|shutdown| shutdown.duration("drain")).unwrap_or(Duration::from_secs(30)),
    }
}
