//! What a configuration says, as a tree of words, so that two of them can be compared and told apart in words.
//!
//! Made from the derived `Debug` of the model, which names every field of every type: an option that comes into being is
//! compared from its first day, without a list that somebody must keep. The alternate form stands on lines of its own
//! for each value, so that nothing in a value can be mistaken for structure. PURE.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::str::Lines;

use sha2::{Digest, Sha256};

use crate::config::model::Config;

/// What is left out: a second way to find what stands beside it, in the order of a hash.
const INDICES: [&str; 1] = ["by_name"];
/// A list of more plain numbers than this is a file's bytes.
const MAX_NUMBERS: usize = 16;

/// A value of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// A number, a text, a word.
    Word(String),
    /// A table: its type, or which of several it is, and its fields in the order of the model.
    Fields(String, Vec<(String, Said)>),
    /// A list, or a pair.
    Items(Vec<Said>),
    /// A kind with what belongs to it.
    Kind(String, Box<Said>),
}

impl Said {
    /// All that a configuration says.
    pub(super) fn of(config: &Config) -> Self {
        let text = format!("{config:#?}");
        let mut lines = text.lines();
        let said = lines.next().map_or_else(|| Self::Word(String::new()), |first| value(first.trim(), &mut lines));
        let pools: Vec<String> = config.pools.iter().map(|pool| pool.name.to_string()).collect();
        said.named("PoolIndex", &pools)
    }

    /// SHA-256 of it, in hexadecimal digits.
    pub(super) fn hash(&self) -> String {
        let mut hash = Sha256::new();
        self.feed(&mut hash);
        let mut digits = String::with_capacity(64);
        for byte in hash.finalize() {
            // Writing to a string cannot fail.
            let _ = write!(digits, "{byte:02x}");
        }
        digits
    }

    fn feed(&self, hash: &mut Sha256) {
        let mut text = |mark: u8, text: &str| {
            hash.update([mark]);
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        };
        match self {
            Self::Word(word) => text(b'w', word),
            Self::Fields(kind, fields) => {
                text(b'f', kind);
                for (key, said) in fields {
                    hash.update(b"k");
                    hash.update(key.as_bytes());
                    said.feed(hash);
                }
                hash.update(b".");
            }
            Self::Items(items) => {
                text(b'i', "");
                for item in items {
                    item.feed(hash);
                }
                hash.update(b".");
            }
            Self::Kind(kind, said) => {
                text(b'o', kind);
                said.feed(hash);
            }
        }
    }

    /// The field of a table.
    pub(super) fn field(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Fields(_, fields) => fields.iter().find(|(name, _)| name == key).map(|(_, said)| said),
            _ => None,
        }
    }

    /// The entries of a list.
    pub(super) fn items(&self) -> &[Self] {
        match self {
            Self::Items(items) => items,
            _ => &[],
        }
    }

    /// Its name, where it is a table that has one.
    pub(super) fn name(&self) -> Option<&str> {
        match self.field("name") {
            Some(Self::Word(name)) => Some(name),
            _ => None,
        }
    }

    /// The same with positions of this kind as the names that they stand for.
    pub(super) fn named(self, kind: &str, names: &[String]) -> Self {
        match self {
            Self::Word(word) => Self::Word(word),
            Self::Fields(own, fields) => {
                Self::Fields(own, fields.into_iter().map(|(key, said)| (key, said.named(kind, names))).collect())
            }
            Self::Items(items) => Self::Items(items.into_iter().map(|item| item.named(kind, names)).collect()),
            Self::Kind(own, said) => {
                if own == kind
                    && let Self::Word(number) = &*said
                    && let Some(name) = number.parse().ok().and_then(|at: usize| names.get(at))
                {
                    return Self::Word(name.clone());
                }
                Self::Kind(own, Box::new(said.named(kind, names)))
            }
        }
    }

    /// The entries of a list of tables, by name.
    pub(super) fn by_name(&self) -> BTreeMap<&str, &Self> {
        self.items().iter().filter_map(|item| Some((item.name()?, item))).collect()
    }
}

/// The value that begins here, and on the following lines.
fn value(begun: &str, lines: &mut Lines<'_>) -> Said {
    let text = begun.strip_suffix(',').unwrap_or(begun);
    if let Some(quoted) = text.strip_prefix('"') {
        return Said::Word(plain(quoted.strip_suffix('"').unwrap_or(quoted)));
    }
    let kind = |open: char| text.strip_suffix(open).map(|kind| kind.trim().to_owned());
    if let Some(kind) = kind('{') {
        return Said::Fields(kind, fields(lines));
    }
    if kind('[').is_some() {
        return bytes(items(lines));
    }
    if let Some(kind) = kind('(') {
        let mut items = items(lines);
        let inner = if items.len() == 1 { items.remove(0) } else { Said::Items(items) };
        return match kind.as_str() {
            "" | "Some" => inner,
            _ => Said::Kind(kind, Box::new(inner)),
        };
    }
    match text {
        "[]" | "{}" => Said::Items(Vec::new()),
        _ => Said::Word(text.to_owned()),
    }
}

fn ends(line: &str) -> bool {
    matches!(line, "}" | "]" | ")" | "}," | "]," | "),")
}

fn fields(lines: &mut Lines<'_>) -> Vec<(String, Said)> {
    let mut fields = Vec::new();
    while let Some(line) = lines.next().map(str::trim).filter(|line| !ends(line)) {
        // What prints itself in a form of its own may go over several lines.
        let (key, begun) = line.split_once(": ").unwrap_or(("", line));
        let said = value(begun, lines);
        if !INDICES.contains(&key) {
            fields.push((key.to_owned(), said));
        }
    }
    fields
}

fn items(lines: &mut Lines<'_>) -> Vec<Said> {
    let mut items = Vec::new();
    while let Some(line) = lines.next().map(str::trim).filter(|line| !ends(line)) {
        items.push(value(line, lines));
    }
    items
}

/// A file's bytes are one word.
fn bytes(items: Vec<Said>) -> Said {
    let is_number = |item: &Said| matches!(item, Said::Word(word) if word.parse::<u8>().is_ok());
    if items.len() <= MAX_NUMBERS || !items.iter().all(is_number) {
        return Said::Items(items);
    }
    let (count, hash) = (items.len(), Said::Items(items).hash());
    Said::Word(format!("{count} bytes ({})", &hash[..8]))
}

/// A text without the escapes of quotes.
fn plain(text: &str) -> String {
    text.replace("\\\"", "\"").replace("\\\\", "\\")
}
