//! What a new configuration would change, in words: `plan(old, new)`. PURE, no socket, clock or task.
//!
//! Listeners, pools, backends and checks are compared by name. Whoever asks knows how much is under way where something
//! goes away. `admin` shows it, `server` says by it what waits for the next start, and `history` numbers what took effect.

mod differ;
mod said;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use differ::Differ;
pub use differ::Masks;
use said::Said;

use crate::config::model::{Config, Protocol};

/// Fields of the whole configuration that are compared apart.
const APART: [&str; 2] = ["listeners", "pools"];

/// All that would change.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// One for each listener and pool, by name, and one for the process where it changes.
    pub changes: Vec<Change>,
    /// Addresses that are bound anew.
    pub bound_anew: Vec<String>,
    /// Addresses that are bound no more.
    pub given_up: Vec<String>,
    /// What takes effect at the next start only.
    pub at_next_start: Vec<String>,
}

/// What would change of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// What it is.
    pub of: Of,
    /// Its name; empty for the process.
    pub name: String,
    /// Whether it comes, goes or changes.
    pub what: What,
    /// How, one sentence each.
    pub details: Vec<String>,
}

/// What can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Of {
    /// What concerns neither a listener nor a pool.
    Process,
    /// A listener.
    Listener,
    /// A pool.
    Pool,
}

impl Of {
    fn word(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Listener => "listener",
            Self::Pool => "pool",
        }
    }
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// It stays as it is.
    Unchanged,
    /// It is there already and changes.
    Changed,
    /// It was not there.
    New,
    /// It is there no more.
    Gone,
}

/// How much is under way where something would go away: connections of a listener, work of a pool or of one backend.
#[derive(Debug, Clone, Default)]
pub struct UnderWay {
    /// By listener.
    pub listeners: BTreeMap<String, u32>,
    /// By pool and backend.
    pub backends: BTreeMap<(String, String), u32>,
}

impl Plan {
    /// Whether nothing at all would change.
    pub fn is_empty(&self) -> bool {
        self.at_next_start.is_empty() && self.changes.iter().all(|change| change.what == What::Unchanged)
    }
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_empty() {
            return writeln!(f, "nothing changes");
        }
        let unchanged = |of| self.changes.iter().filter(move |it| it.of == of && it.what == What::Unchanged);
        for change in self.changes.iter().filter(|it| it.what != What::Unchanged || it.of == Of::Listener) {
            writeln!(f, "{change}")?;
        }
        match unchanged(Of::Pool).count() {
            0 => {}
            1 => writeln!(f, "1 pool unchanged")?,
            count => writeln!(f, "{count} pools unchanged")?,
        }
        if self.bound_anew.is_empty() {
            writeln!(f, "nothing is bound anew")?;
        } else {
            writeln!(f, "bound anew: {}", self.bound_anew.join(", "))?;
        }
        if !self.given_up.is_empty() {
            writeln!(f, "bound no more: {}", self.given_up.join(", "))?;
        }
        self.at_next_start.iter().try_for_each(|what| writeln!(f, "only at the next start: {what}"))
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.of.word())?;
        if !self.name.is_empty() {
            write!(f, " {}", self.name)?;
        }
        let details = self.details.join("; ");
        match self.what {
            What::Unchanged => f.write_str(" unchanged"),
            What::Changed => write!(f, ": {details}"),
            What::New => write!(f, ": new, {details}"),
            What::Gone => write!(f, ": gone, {details}"),
        }
    }
}

/// SHA-256 of all that a configuration says, in hexadecimal digits: two that say the same have the same, however they
/// are written.
pub fn hash(config: &Config) -> String {
    Said::of(config).hash()
}

/// What `new` would change where `old` is in force.
pub fn plan(old: &Config, new: &Config, masks: &Masks, under_way: &UnderWay) -> Plan {
    let (was, is) = (Said::of(old), Said::of(new));
    let mut masks = masks.clone();
    masks.learn(&was);
    masks.learn(&is);
    let mut plan = Plan::default();
    processes(&was, &is, &masks, &mut plan);
    let listeners = |config: &Config| -> BTreeMap<String, String> {
        let binds = |listener: &crate::config::model::Listener| {
            listener.binds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        config.listeners.iter().map(|listener| (listener.name.to_string(), binds(listener))).collect()
    };
    let (binds_before, binds) = (listeners(old), listeners(new));
    each(&was, &is, Of::Listener, &mut plan, |name, old, new| match (old, new) {
        (Some(old), Some(new)) => Differ::new(&masks, &|_| None).of(old, new),
        (None, _) => vec![format!("binds {}", binds.get(name).map_or("", String::as_str))],
        (Some(_), None) => vec![format!(
            "{} is given up, {}",
            binds_before.get(name).map_or("", String::as_str),
            finish(under_way.listeners.get(name).copied().unwrap_or(0)),
        )],
    });
    each(&was, &is, Of::Pool, &mut plan, |name, old, new| {
        let at = |backend: &str| under_way.backends.get(&(name.to_owned(), backend.to_owned())).copied().unwrap_or(0);
        match (old, new) {
            (Some(old), Some(new)) => {
                let (old, new) = (zoned(old), zoned(new));
                Differ::new(&masks, &|backend| (at(backend) > 0).then(|| finish(at(backend)))).of(&old, &new)
            }
            (None, new) => vec![backends(new)],
            (Some(old), None) => {
                let names = old.field("members").map(Said::items).unwrap_or_default();
                vec![drain(names.iter().filter_map(Said::name).map(at).sum())]
            }
        }
    });
    let (before, after) = (sockets(old), sockets(new));
    plan.bound_anew = after.difference(&before).map(|(_, site, _)| site.clone()).collect();
    plan.given_up = before.difference(&after).map(|(_, site, _)| site.clone()).collect();
    plan
}

fn processes(was: &Said, is: &Said, masks: &Masks, plan: &mut Plan) {
    let without = |said: &Said| match said {
        Said::Fields(kind, fields) => {
            let fields = fields.iter().filter(|(key, _)| !APART.contains(&key.as_str())).cloned().collect();
            Said::Fields(kind.clone(), fields)
        }
        other => other.clone(),
    };
    let differences = Differ::new(masks, &|_| None).of(&without(was), &without(is));
    let (later, now): (Vec<_>, Vec<_>) = differences.into_iter().partition(|it| waits(it));
    plan.at_next_start = later;
    if !now.is_empty() {
        plan.changes.push(Change { of: Of::Process, name: String::new(), what: What::Changed, details: now });
    }
}

/// Whether a running process cannot change it.
fn waits(difference: &str) -> bool {
    ["admin.bind", "admin.socket_mode", "workers", "log", "upgrade.socket", "state_file", "process"]
        .iter()
        .any(|key| difference.strip_prefix(key).is_some_and(|rest| rest.starts_with([' ', '.'])))
}

/// What a running process cannot change of its configuration; as [`Plan::at_next_start`] says it, in a few words.
pub fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let mut named = Vec::new();
    if old.admin.bind != new.admin.bind {
        named.push("`admin.bind`");
    }
    if old.admin.socket_mode != new.admin.socket_mode {
        named.push("`admin.socket_mode`");
    }
    if old.metrics.bounds_micros != new.metrics.bounds_micros {
        named.push("`metrics.buckets_seconds`");
    }
    if old.workers != new.workers {
        named.push("`workers`");
    }
    if old.log != new.log {
        named.push("the event log");
    }
    if old.upgrade.socket != new.upgrade.socket {
        named.push("`upgrade.socket`");
    }
    if old.state_file != new.state_file {
        named.push("`state_file`");
    }
    if old.process != new.process {
        named.push("`process`");
    }
    named
}

/// Compares what has this kind, by name, in the order of the new configuration; what is gone comes last.
fn each(
    was: &Said,
    is: &Said,
    of: Of,
    plan: &mut Plan,
    details: impl Fn(&str, Option<&Said>, Option<&Said>) -> Vec<String>,
) {
    let key = if of == Of::Listener { "listeners" } else { "pools" };
    let nothing = Said::Items(Vec::new());
    let (was, is) = (was.field(key).unwrap_or(&nothing), is.field(key).unwrap_or(&nothing));
    let (before, after) = (was.by_name(), is.by_name());
    for new in is.items() {
        let Some(name) = new.name() else { continue };
        let old = before.get(name).copied();
        let details = if old == Some(new) { Vec::new() } else { details(name, old, Some(new)) };
        let what = match old {
            None => What::New,
            Some(_) if details.is_empty() => What::Unchanged,
            Some(_) => What::Changed,
        };
        plan.changes.push(Change { of, name: name.to_owned(), what, details });
    }
    for old in was.items() {
        let Some(name) = old.name().filter(|name| !after.contains_key(name)) else { continue };
        let details = details(name, Some(old), None);
        plan.changes.push(Change { of, name: name.to_owned(), what: What::Gone, details });
    }
}

/// A pool with its zones, and the checks of `healthy_when`, by name.
fn zoned(pool: &Said) -> Said {
    let names = pool.field("zones").and_then(|zones| zones.field("names")).map(Said::items).unwrap_or_default();
    let word = |said: &Said| if let Said::Word(word) = said { word.clone() } else { String::new() };
    let names: Vec<String> = names.iter().map(word).collect();
    let checks = pool.field("checks").map(Said::items).unwrap_or_default();
    let checks: Vec<String> = checks.iter().map(|check| check.name().unwrap_or_default().to_owned()).collect();
    pool.clone().named("ZoneIndex", &names).named("Check", &checks)
}

fn backends(pool: Option<&Said>) -> String {
    let members = pool.and_then(|pool| pool.field("members")).map(Said::items).unwrap_or_default();
    let names: Vec<&str> = members.iter().filter_map(Said::name).take(5).collect();
    let more = if members.len() > names.len() { ", …" } else { "" };
    let s = if members.len() == 1 { "" } else { "s" };
    format!("{} backend{s}: {}{more}", members.len(), names.join(", "))
}

fn finish(count: u32) -> String {
    match count {
        0 => "nothing is open there".to_owned(),
        1 => "1 connection finishes".to_owned(),
        count => format!("{count} connections finish"),
    }
}

fn drain(count: u32) -> String {
    match count {
        0 => "nothing is under way there".to_owned(),
        1 => "1 connection will drain".to_owned(),
        count => format!("{count} connections will drain"),
    }
}

/// The sockets of a configuration by what they are known by over reloads: transport, address, and with port 0, which is
/// a different port each time, the listener.
fn sockets(config: &Config) -> BTreeSet<(bool, String, Option<String>)> {
    let of = |listener: &crate::config::model::Listener| -> Vec<_> {
        let socket = |site: &crate::config::model::Site| {
            let name = site.is_any_port().then(|| listener.name.to_string());
            (listener.protocol == Protocol::Udp, site.to_string(), name)
        };
        listener.binds.iter().map(socket).collect()
    };
    config.listeners.iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests;
