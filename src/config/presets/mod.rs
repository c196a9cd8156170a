//! Pools that come with the program: `preset = "vault"` in a pool brings the checks, the mode and the deadlines that
//! this system needs; what the pool says itself wins.
//!
//! Each preset is a text that an operator may read and paste (`evenkeel preset NAME`). Its keys are merged into the
//! pool's table before anything is read; their place is the word after `preset =`, and a problem with one of them says
//! where it comes from.

use toml::de::DeTable;

use super::Cx;
use super::problem::{At, Problem};
use super::tree::{self, Node, Table, Value};
use super::unknown;

/// A preset.
#[derive(Debug, Clone, Copy)]
pub struct Preset {
    /// What `preset = …` calls it.
    pub name: &'static str,
    /// One section `[pool.NAME]` without backends, with comments that say why.
    pub text: &'static str,
}

impl Preset {
    /// What it is for: the first line of its comment.
    pub fn summary(&self) -> &'static str {
        self.text.lines().next().unwrap_or("").trim_start_matches("# ")
    }
}

/// All of them.
pub const PRESETS: &[Preset] = &[
    Preset { name: "grafana", text: include_str!("grafana.toml") },
    Preset { name: "vault", text: include_str!("vault.toml") },
    Preset { name: "yugabyte-platform", text: include_str!("yugabyte-platform.toml") },
    Preset { name: "api-portal", text: include_str!("api-portal.toml") },
    Preset { name: "uchiwa", text: include_str!("uchiwa.toml") },
    Preset { name: "sensu", text: include_str!("sensu.toml") },
    Preset { name: "galera", text: include_str!("galera.toml") },
    Preset { name: "patroni", text: include_str!("patroni.toml") },
];

/// Tables whose keys mean something only together: a pool's own replaces the preset's.
const WHOLE: &[&str] = &["tls", "body", "all_down", "no_leader", "flaps", "client_zones", "sticky"];

/// Gives every pool that names a preset its keys.
pub(super) fn apply(cx: &Cx<'_>, root: &mut Table) {
    let Some(Value::Table(pools)) = root.get_mut("pool").map(|entry| &mut entry.node.value) else { return };
    for pool in &mut pools.entries {
        if let Value::Table(table) = &mut pool.node.value
            && let Some(mut preset) = chosen(cx, table)
        {
            leave_behind(table, &mut preset);
            merge(table, preset);
        }
    }
}

/// What the preset that a pool names brings.
fn chosen(cx: &Cx<'_>, pool: &Table) -> Option<Table> {
    let Node { value, at } = &pool.get("preset")?.node;
    let Value::String(name) = value else {
        if !matches!(value, Value::Broken) {
            let message = format!("`preset` takes text, not {}", value.noun());
            cx.report(
                Problem::error("wrong-type", *at, message).label(value.noun()).help("write preset = \"grafana\""),
            );
        }
        return None;
    };
    let Some(preset) = PRESETS.iter().find(|preset| preset.name == name.value) else {
        let problem =
            Problem::error("unknown-preset", *at, format!("there is no preset `{}`", name.value)).label("unknown");
        let names = || PRESETS.iter().map(|preset| preset.name);
        cx.report(match unknown::nearest(&name.value, names()) {
            Some(near) => problem.help(format!("did you mean \"{near}\"?")),
            None => problem.help(format!("the presets are {}", names().collect::<Vec<_>>().join(", "))),
        });
        return None;
    };
    cx.note_preset(*at, preset.name);
    let text = DeTable::parse(preset.text).expect("a test loads every preset");
    let mut root = tree::table(cx, at.file, text.get_ref());
    let Value::Table(mut pools) = root.entries.pop()?.node.value else { return None };
    let Value::Table(mut keys) = pools.entries.pop()?.node.value else { return None };
    move_to(&mut keys, *at);
    Some(keys)
}

/// Gives everything in a table one place.
fn move_to(table: &mut Table, at: At) {
    for entry in &mut table.entries {
        entry.key_at = at;
        move_node(&mut entry.node, at);
    }
}

fn move_node(node: &mut Node, at: At) {
    node.at = at;
    match &mut node.value {
        Value::Table(table) => move_to(table, at),
        Value::List(list) => list.iter_mut().for_each(|node| move_node(node, at)),
        _ => {}
    }
}

/// Takes out what contradicts the pool's own choices: options of a mode that it does not have, ways to wait when it says
/// how long itself, or that nobody waits.
fn leave_behind(own: &Table, preset: &mut Table) {
    let another_mode = own.get("mode").is_some() && word(own, "mode") != word(preset, "mode");
    let mut leave = |keys: &[&str]| preset.entries.retain(|entry| !keys.contains(&entry.key.as_str()));
    if another_mode {
        leave(&["failover", "failback", "two_leaders", "no_leader", "slow_start"]);
    }
    if own.get("hold").is_some() || own.get("no_leader").is_some() || word(own, "all_down") == Some("fail") {
        leave(&["hold", "no_leader"]);
    }
}

/// Adds what is not said yet.
fn merge(own: &mut Table, preset: Table) {
    for entry in preset.entries {
        let Some(same) = own.get_mut(&entry.key) else {
            own.entries.push(entry);
            continue;
        };
        if let (Value::Table(own), Value::Table(preset)) = (&mut same.node.value, entry.node.value)
            && !WHOLE.contains(&entry.key.as_str())
            && !is_another(own, &preset)
        {
            merge(own, preset);
        }
    }
}

/// Whether two tables are checks of different types, which have no keys in common.
fn is_another(own: &Table, preset: &Table) -> bool {
    word(own, "type").is_some_and(|own| word(preset, "type").is_some_and(|preset| preset != own))
}

/// The text that a key holds.
fn word<'a>(table: &'a Table, key: &str) -> Option<&'a str> {
    match &table.get(key)?.node.value {
        Value::String(text) => Some(&text.value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_is_one_pool_of_its_name_and_substitutes_nothing() {
        for preset in PRESETS {
            let table: toml::Table = preset.text.parse().unwrap();
            let pools = table["pool"].as_table().unwrap();
            assert_eq!((table.len(), pools.len()), (1, 1), "{}", preset.name);
            assert!(pools.contains_key(preset.name), "{}", preset.name);
            assert!(!format!("{table:?}").contains("${"), "{} would be read with someone's variables", preset.name);
        }
    }

    #[test]
    fn a_preset_says_what_it_is_for_in_its_first_line() {
        for preset in PRESETS {
            assert!(preset.text.starts_with("# ") && preset.summary().ends_with('.'), "{}", preset.name);
            assert!(preset.summary().len() <= 110, "{}", preset.name);
        }
    }
}
