//! What a peer's configuration says, in our words and not yet written: listeners, routes and pools, each key with the
//! line that it comes from. `haproxy` and `nginx` fill it, `write` makes TOML of it, and `fit` takes out what our own
//! reading would refuse, so that what comes out can be loaded.

mod conditions;
mod fit;
mod write;

use super::quote;
pub(super) use conditions::{Conditions, Join, Path};

/// What a peer's file became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Our configuration.
    pub toml: String,
    /// What could not be carried over, by file and line.
    pub lost: Vec<Lost>,
}

/// One thing that could not be carried over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lost {
    /// The file as it was named or included.
    pub file: String,
    /// Its line, from 1.
    pub line: usize,
    /// What stands there.
    pub what: String,
    /// Why it is not in ours, or what is different there.
    pub why: String,
}

/// Where something stands: a file, by its position among those that were read, and a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct At {
    pub(super) file: usize,
    pub(super) line: usize,
}

/// A value that is written behind a key.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    /// As it is written.
    Written(String),
    /// A list of texts.
    List(Vec<String>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    name: String,
    value: Value,
    at: At,
    note: String,
}

/// Keys of a table, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Keys(Vec<Key>);

impl Keys {
    /// Sets a key to a value as TOML writes it; it takes the place of an earlier one.
    pub(super) fn written(&mut self, name: &str, value: impl Into<String>, at: At) {
        let value = Value::Written(value.into());
        match self.0.iter_mut().find(|key| key.name == name) {
            Some(key) => (key.value, key.at) = (value, at),
            None => self.0.push(Key { name: name.to_owned(), value, at, note: String::new() }),
        }
    }

    /// Sets a key to a text.
    pub(super) fn text(&mut self, name: &str, text: &str, at: At) {
        self.written(name, quote::quoted(text), at);
    }

    /// Adds a text to the list of a key.
    pub(super) fn item(&mut self, name: &str, item: &str, at: At) {
        if let Some(Key { value: Value::List(items), .. }) = self.0.iter_mut().find(|key| key.name == name) {
            if items.iter().all(|other| other != item) {
                items.push(item.to_owned());
            }
        } else {
            let value = Value::List(vec![item.to_owned()]);
            self.0.push(Key { name: name.to_owned(), value, at, note: String::new() });
        }
    }

    /// What stands behind a key as a comment.
    pub(super) fn note(&mut self, name: &str, note: &str) {
        if let Some(key) = self.0.iter_mut().find(|key| key.name == name) {
            note.clone_into(&mut key.note);
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|key| key.name == name)
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|key| key.name == name).and_then(|key| match &key.value {
            Value::Written(value) => Some(value.as_str()),
            Value::List(_) => None,
        })
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.0.retain(|key| key.name != name);
    }

    /// Takes the keys of others, of which those of the same name count.
    pub(super) fn take(&mut self, others: &Keys) {
        for key in &others.0 {
            self.remove(&key.name);
            self.0.push(key.clone());
        }
    }

    /// Whether a key says the same in both, wherever it stands.
    pub(super) fn agrees(&self, other: &Keys, name: &str) -> bool {
        let value = |keys: &Keys| keys.0.iter().find(|key| key.name == name).map(|key| key.value.clone());
        value(self) == value(other)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether they say where requests go, and nothing else.
    pub(super) fn only_goes(&self) -> bool {
        self.0.iter().all(|key| matches!(key.name.as_str(), "pool" | "respond" | "redirect"))
    }
}

/// Tables below one, by their names.
#[derive(Debug, Clone, Default)]
pub(super) struct Tables(Vec<(String, Keys)>);

impl Tables {
    /// The table of this name, new where there is none.
    pub(super) fn of(&mut self, name: &str) -> &mut Keys {
        let at = self.0.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            self.0.push((name.to_owned(), Keys::default()));
            self.0.len() - 1
        });
        &mut self.0[at].1
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Route {
    pub(super) when: Conditions,
    pub(super) keys: Keys,
    pub(super) at: At,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Listener {
    pub(super) name: String,
    pub(super) at: At,
    pub(super) notes: Vec<String>,
    pub(super) keys: Keys,
    pub(super) tables: Tables,
    pub(super) routes: Vec<Route>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Backend {
    pub(super) address: String,
    /// Further keys: name, weight, backup, ...
    pub(super) keys: Keys,
    pub(super) at: At,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Pool {
    pub(super) name: String,
    pub(super) at: At,
    pub(super) notes: Vec<String>,
    pub(super) keys: Keys,
    pub(super) backends: Vec<Backend>,
    pub(super) tables: Tables,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// Names of the files that were read; the first one is the main one.
    pub(super) files: Vec<String>,
    pub(super) head: Vec<String>,
    pub(super) limits: Keys,
    pub(super) listeners: Vec<Listener>,
    pub(super) pools: Vec<Pool>,
    pub(super) lost: Vec<(At, String, String)>,
}

impl Draft {
    /// Notes what is not carried over, once for each line.
    pub(super) fn lose(&mut self, at: At, what: &str, why: impl Into<String>) {
        // One line of the report each, however long the word in the file is.
        let what: String =
            what.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(120).collect();
        let lost = (at, what, why.into());
        if !self.lost.contains(&lost) {
            self.lost.push(lost);
        }
    }

    /// A name that no listener has yet.
    pub(super) fn free_listener(&self, wanted: &str) -> String {
        free(wanted, |name| self.listeners.iter().any(|listener| listener.name == name))
    }

    /// Writes it, without what would be refused.
    pub(super) fn finish(mut self) -> Imported {
        let mut lines = write::lines(&self);
        fit::fit(&mut self, &mut lines);
        let mut lost: Vec<Lost> = (self.lost.iter())
            .map(|(at, what, why)| Lost {
                file: self.files.get(at.file).cloned().unwrap_or_default(),
                line: at.line,
                what: what.clone(),
                why: why.clone(),
            })
            .collect();
        let place = |lost: &Lost| (self.files.iter().position(|file| *file == lost.file), lost.line);
        lost.sort_by_key(place);
        Imported { toml: write::document(&lines, &lost), lost }
    }
}

fn free(wanted: &str, taken: impl Fn(&str) -> bool) -> String {
    let wanted = quote::name(wanted);
    let numbered = (2..).map(|number| format!("{wanted}-{number}"));
    std::iter::once(wanted.clone()).chain(numbered).find(|name| !taken(name)).unwrap_or(wanted)
}
