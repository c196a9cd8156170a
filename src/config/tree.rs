//! The configuration as written: TOML values that know their place, in the order of the file.
//!
//! Files of a folder become one tree, merged by key; `${…}` in strings is replaced while the tree is made.
//! A value whose trouble has been reported stands as [`Value::Broken`], so that nobody complains of it twice.

use std::collections::HashMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Cx;
use super::problem::{At, Problem};
use super::substitute;

/// A value and its place.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) at: At,
}

/// What TOML can say, as far as we care.
#[derive(Debug)]
pub(super) enum Value {
    /// Text.
    String(Text),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// A list.
    List(Vec<Node>),
    /// A table, whatever its form.
    Table(Table),
    /// A date or a number beyond 64 bits, neither of which any option takes.
    Foreign(&'static str),
    /// Reported already.
    Broken,
}

impl Value {
    /// What it is, for messages.
    pub(super) fn noun(&self) -> &'static str {
        match self {
            Self::String(_) => "text",
            Self::Integer(_) | Self::Float(_) => "a number",
            Self::Boolean(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Foreign(noun) => noun,
            Self::Broken => "nothing",
        }
    }
}

/// A string after substitution.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) value: String,
    /// As written, where something was substituted.
    pub(super) raw: Option<String>,
}

/// Entries in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) entries: Vec<Entry>,
}

/// A key with its value.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_at: At,
    pub(super) node: Node,
}

impl Table {
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.key == key)
    }
}

/// The tree of one file, strings substituted.
pub(super) fn table(cx: &Cx<'_>, file: u32, table: &DeTable<'_>) -> Table {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            key_at: At::new(file, key.span()),
            node: node(cx, file, value),
        })
        .collect();
    // The parser sorts by name; operators think in the order of their file.
    entries.sort_by_key(|entry| entry.key_at.start);
    Table { entries }
}

fn node(cx: &Cx<'_>, file: u32, spanned: &Spanned<DeValue<'_>>) -> Node {
    let at = At::new(file, spanned.span());
    let value = match spanned.get_ref() {
        DeValue::String(text) => match substitute::text(cx, at, text) {
            Some(text) => Value::String(text),
            None => Value::Broken,
        },
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Value::Foreign("a huge number"), Value::Integer)
        }
        DeValue::Float(number) => number.as_str().parse().map_or(Value::Broken, Value::Float),
        DeValue::Boolean(is) => Value::Boolean(*is),
        DeValue::Datetime(_) => Value::Foreign("a date"),
        DeValue::Array(list) => Value::List(list.iter().map(|item| node(cx, file, item)).collect()),
        DeValue::Table(inner) => Value::Table(table(cx, file, inner)),
    };
    Node { value, at }
}

/// Adds the tree of a further file: tables grow together, lists of routes and of tests are joined, anything else said twice is a problem.
pub(super) fn merge(cx: &Cx<'_>, into: &mut Table, from: Table) {
    let places: HashMap<String, usize> =
        into.entries.iter().enumerate().map(|(index, entry)| (entry.key.clone(), index)).collect();
    for entry in from.entries {
        let Some(index) = places.get(&entry.key) else {
            into.entries.push(entry);
            continue;
        };
        let old = &mut into.entries[*index];
        match (&mut old.node.value, entry.node.value) {
            (Value::Table(old), Value::Table(new)) => merge(cx, old, new),
            (Value::List(old), Value::List(new)) if matches!(entry.key.as_str(), "route" | "test") => old.extend(new),
            _ => cx.report(
                Problem::error("duplicate", entry.key_at, format!("`{}` is given in two files", entry.key))
                    .label("given again here")
                    .second(old.key_at, "first given here")
                    .help("keep one of the two"),
            ),
        }
    }
}
