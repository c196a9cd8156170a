//! One table under a known vocabulary: refuses what it does not know and reads typed values.
//!
//! Every reader reports what is wrong and answers `None`, as it does for a key that is absent; the caller supplies the
//! default and goes on, because a configuration with an error is never used.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::Cx;
use super::problem::{At, Problem};
use super::tree::{Entry, Node, Table, Text, Value};
use super::units::{self, Fault};
use super::unknown;
use super::vocabulary::Words;

/// A table that is being read.
pub(super) struct Section<'a> {
    pub(super) cx: &'a Cx<'a>,
    pub(super) table: &'a Table,
    /// Where the table is named.
    pub(super) at: At,
    /// `pool.web.check.home`.
    pub(super) path: String,
}

/// The words an option takes.
pub(super) struct Choice<T: 'static> {
    /// What they mean.
    pub(super) words: &'static [(&'static str, T)],
    /// Words of other programs, with ours.
    pub(super) foreign: &'static [(&'static str, &'static str)],
    /// Words whose feature is not there yet.
    pub(super) later: &'static [&'static str],
}

impl<'a> Section<'a> {
    /// Opens a table and refuses its unknown keys.
    pub(super) fn new(cx: &'a Cx<'a>, table: &'a Table, at: At, path: String, words: &Words) -> Self {
        let section = Self { cx, table, at, path };
        for entry in &table.entries {
            if !words.keys.contains(&entry.key.as_str()) {
                cx.report(unknown::refuse(entry, &section.path, words));
            }
        }
        section
    }

    /// Opens the table that a key holds.
    pub(super) fn section(&self, key: &str, words: &Words) -> Option<Section<'a>> {
        let entry = self.entry(key)?;
        let path = self.path_of(key);
        if let Value::Table(table) = &entry.node.value {
            return Some(Section::new(self.cx, table, entry.key_at, path, words));
        }
        self.wrong_type(&entry.node, key, "a table", &format!("write it as a section: [{path}]"));
        None
    }

    /// Every table below a key whose entries are named by the operator, such as `[pool.NAME]`.
    pub(super) fn named(&self, key: &str, example: &str) -> Vec<(&'a Entry, &'a Table)> {
        let Some(entry) = self.entry(key) else { return Vec::new() };
        let path = self.path_of(key);
        let Value::Table(table) = &entry.node.value else {
            self.wrong_type(&entry.node, key, "a named section", &format!("write [{path}.{example}]"));
            return Vec::new();
        };
        table.entries.iter().filter_map(|entry| self.named_entry(entry, &path, example)).collect()
    }

    fn named_entry(&self, entry: &'a Entry, path: &str, example: &str) -> Option<(&'a Entry, &'a Table)> {
        let name = &entry.key;
        match &entry.node.value {
            Value::Table(table) if is_name(name) => return Some((entry, table)),
            Value::Table(_) => self.cx.report(
                Problem::error("name", entry.key_at, format!("`{name}` cannot be a name"))
                    .label("a name starts with a letter or digit")
                    .help("names are up to 64 letters, digits, `-`, `_` and `.`"),
            ),
            Value::Broken => {}
            Value::List(list) if list.iter().all(|item| matches!(item.value, Value::Table(_))) => self.cx.report(
                Problem::error("wrong-type", entry.key_at, format!("`[[{path}.{name}]]` is a list"))
                    .label("double brackets make a list")
                    .help(format!("write [{path}.{name}]; each has a name of its own")),
            ),
            _ => self.cx.report(
                Problem::error("missing-name", entry.key_at, format!("`{name}` stands in [{path}] itself"))
                    .label("belongs into a section with a name")
                    .help(format!("write [{path}.{example}] above it; every {path} has a name of your choice")),
            ),
        }
        None
    }

    /// The entry of a key, unless its value has been reported as broken.
    pub(super) fn entry(&self, key: &str) -> Option<&'a Entry> {
        self.table.get(key).filter(|entry| !matches!(entry.node.value, Value::Broken))
    }

    /// Whether the key stands there, well or not.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.get(key).is_some()
    }

    /// The full name of a key.
    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Reports a key that must be there.
    pub(super) fn missing(&self, key: &str, help: impl Into<String>) {
        let section = &self.path;
        self.cx.report(
            Problem::error("missing", self.at, format!("[{section}] has no `{key}`"))
                .label(format!("`{key}` is missing"))
                .help(help)
                .absence(),
        );
    }

    pub(super) fn wrong_type(&self, node: &Node, key: &str, wanted: &str, help: &str) {
        if matches!(node.value, Value::Broken) {
            return;
        }
        let noun = node.value.noun();
        self.cx.report(
            Problem::error("wrong-type", node.at, format!("`{key}` takes {wanted}, not {noun}")).label(noun).help(help),
        );
    }

    /// Reports what a parser found wrong with a key.
    pub(super) fn fault_at(&self, at: At, fault: Fault) {
        let mut problem = Problem::error(fault.code, at, fault.message).label(fault.label);
        problem.help = fault.help;
        self.cx.report(problem);
    }

    /// Reports what a parser found wrong with a text, at the text.
    pub(super) fn fault(&self, node: &Node, fault: Fault) {
        let (mut message, mut label, mut help) = (fault.message, fault.label, fault.help);
        let mut origin = None;
        if let Value::String(Text { value, raw: Some(raw) }) = &node.value {
            if raw.contains("${file:") && !value.is_empty() {
                // A file may hold a secret: it is never quoted.
                message = message.replace(value.as_str(), raw);
                label = label.replace(value.as_str(), raw);
                help = help.filter(|help| !help.contains(value.as_str()));
            } else {
                origin = Some(format!("`{raw}` stands for `{value}`"));
            }
        }
        let mut problem = Problem::error(fault.code, node.at, message).label(label);
        problem.help = help;
        problem.note = origin;
        self.cx.report(problem);
    }

    /// The text of a node.
    pub(super) fn text_of(&self, node: &'a Node, key: &str) -> Option<&'a str> {
        match &node.value {
            Value::String(text) => Some(&text.value),
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => {
                let written = self.cx.files.slice(node.at);
                self.wrong_type(node, key, "text", &format!("put it in quotes: {key} = \"{written}\""));
                None
            }
            _ => {
                self.wrong_type(node, key, "text", &format!("write {key} = \"...\""));
                None
            }
        }
    }

    /// Text.
    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        self.text_of(&self.entry(key)?.node, key)
    }

    /// Text with a form of its own.
    pub(super) fn parsed<T>(&self, key: &str, parse: impl Fn(&str) -> Result<T, Fault>) -> Option<T> {
        self.parse_node(&self.entry(key)?.node, key, &parse)
    }

    fn parse_node<T>(&self, node: &'a Node, key: &str, parse: &impl Fn(&str) -> Result<T, Fault>) -> Option<T> {
        match parse(self.text_of(node, key)?) {
            Ok(value) => Some(value),
            Err(fault) => {
                self.fault(node, fault);
                None
            }
        }
    }

    /// One text or a list of them; those that are wrong are reported and left out.
    pub(super) fn parsed_list<T>(&self, key: &str, parse: impl Fn(&str) -> Result<T, Fault>) -> Option<Vec<(T, At)>> {
        let nodes = self.one_or_more(key)?;
        Some(nodes.iter().filter_map(|node| Some((self.parse_node(node, key, &parse)?, node.at))).collect())
    }

    /// The nodes of a list, or the one node that stands in its place.
    pub(super) fn one_or_more(&self, key: &str) -> Option<&'a [Node]> {
        let node = &self.entry(key)?.node;
        match &node.value {
            Value::List(list) if list.is_empty() => {
                let fault = format!("`{key}` is an empty list");
                let problem = Problem::error("empty-list", node.at, fault).label("nothing in it");
                self.cx.report(problem.help(format!("give at least one entry, or leave `{key}` out")));
                None
            }
            Value::List(list) => Some(list),
            _ => Some(std::slice::from_ref(node)),
        }
    }

    /// A duration; may be zero.
    pub(super) fn duration(&self, key: &str) -> Option<Duration> {
        let node = &self.entry(key)?.node;
        match node.value {
            Value::String(_) => {}
            Value::Integer(number) => {
                let help = format!("write {key} = \"{number}s\" for seconds or \"{number}ms\"");
                self.wrong_type(node, key, "a duration", &help);
                return None;
            }
            _ => {
                self.wrong_type(node, key, "a duration", &format!("write it in quotes, such as {key} = \"2s\""));
                return None;
            }
        }
        self.parsed(key, units::duration)
    }

    /// A duration of at least one millisecond.
    pub(super) fn positive_duration(&self, key: &str) -> Option<Duration> {
        let duration = self.duration(key)?;
        if duration.is_zero() {
            let node = &self.entry(key)?.node;
            let fault = Fault::new("duration", format!("`{key}` cannot be zero"), "nothing happens in no time");
            self.fault(node, fault.help("write \"1ms\" or more"));
            return None;
        }
        Some(duration)
    }

    /// A size between two bounds, in bytes.
    pub(super) fn size(&self, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let node = &self.entry(key)?.node;
        match node.value {
            Value::String(_) => {}
            Value::Integer(number) => {
                let written = units::written_size(number.unsigned_abs());
                self.wrong_type(node, key, "a size", &format!("write {key} = \"{written}\" if these are bytes"));
                return None;
            }
            _ => {
                self.wrong_type(node, key, "a size", &format!("write it in quotes, such as {key} = \"64KiB\""));
                return None;
            }
        }
        let bytes = self.parsed(key, units::size)?;
        if range.contains(&bytes) {
            return Some(bytes);
        }
        let fault = Fault::new("range", format!("`{key}` is out of range"), "too small or too large");
        self.fault(
            node,
            fault.help(format!(
                "it goes from {} to {}",
                units::written_size(*range.start()),
                units::written_size(*range.end())
            )),
        );
        None
    }

    /// A whole number between two bounds. A substituted text may hold it: `port = "${PORT}"`.
    pub(super) fn integer(&self, key: &str, range: RangeInclusive<i64>) -> Option<i64> {
        self.integer_of(&self.entry(key)?.node, key, &range)
    }

    /// The same for a node.
    pub(super) fn integer_of(&self, node: &Node, key: &str, range: &RangeInclusive<i64>) -> Option<i64> {
        let number = match &node.value {
            Value::Integer(number) => *number,
            Value::String(Text { value, raw: Some(_) }) if value.parse::<i64>().is_ok() => value.parse().ok()?,
            Value::String(text) if text.value.parse::<i64>().is_ok() => {
                self.wrong_type(node, key, "a number", &format!("write {key} = {}, without quotes", text.value));
                return None;
            }
            _ => {
                self.wrong_type(
                    node,
                    key,
                    "a whole number",
                    &format!("it goes from {} to {}", range.start(), range.end()),
                );
                return None;
            }
        };
        if range.contains(&number) {
            return Some(number);
        }
        let fault = Fault::new("range", format!("`{key}` = {number} is out of range"), "too small or too large");
        self.fault(node, fault.help(format!("it goes from {} to {}", range.start(), range.end())));
        None
    }

    /// A number between two bounds, whole or not.
    pub(super) fn number(&self, key: &str, range: RangeInclusive<f64>) -> Option<f64> {
        let node = &self.entry(key)?.node;
        let number = match &node.value {
            Value::Float(number) => *number,
            Value::Integer(number) => *number as f64,
            _ => {
                let help = format!("it goes from {} to {}", range.start(), range.end());
                self.wrong_type(node, key, "a number", &help);
                return None;
            }
        };
        if range.contains(&number) {
            return Some(number);
        }
        let fault = Fault::new("range", format!("`{key}` = {number} is out of range"), "too small or too large");
        self.fault(node, fault.help(format!("it goes from {} to {}", range.start(), range.end())));
        None
    }

    /// A share from 0 to 1: `"20%"` or 0.2.
    pub(super) fn share(&self, key: &str) -> Option<f32> {
        let node = &self.entry(key)?.node;
        let number = match &node.value {
            Value::Float(number) => *number,
            Value::Integer(number) => *number as f64,
            _ => return self.parsed(key, units::share),
        };
        if (0.0..=1.0).contains(&number) {
            return Some(number as f32);
        }
        let fault = Fault::new("share", format!("`{key}` = {number} is out of range"), "a share goes from 0 to 1");
        let percent = if (1.0..=100.0).contains(&number) {
            format!("write \"{number}%\"")
        } else {
            "write \"20%\" or 0.2".into()
        };
        self.fault(node, fault.help(percent));
        None
    }

    /// Whether an option is this word.
    pub(super) fn says(&self, key: &str, word: &str) -> bool {
        self.entry(key).is_some_and(|entry| matches!(&entry.node.value, Value::String(text) if text.value == word))
    }

    /// Whether an option is switched off: `key = false`.
    pub(super) fn is_off(&self, key: &str) -> bool {
        self.entry(key).is_some_and(|entry| matches!(entry.node.value, Value::Boolean(false)))
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self, key: &str) -> Option<bool> {
        let node = &self.entry(key)?.node;
        match &node.value {
            Value::Boolean(is) => Some(*is),
            Value::String(Text { value, raw: Some(_) }) if value == "true" => Some(true),
            Value::String(Text { value, raw: Some(_) }) if value == "false" => Some(false),
            _ => {
                self.wrong_type(node, key, "true or false", &format!("write {key} = true, without quotes"));
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, key: &str, choice: &Choice<T>) -> Option<T> {
        self.parsed(key, |text| choice.find(key, text))
    }
}

impl<T: Copy> Choice<T> {
    /// What a word means.
    pub(super) fn find(&self, key: &str, text: &str) -> Result<T, Fault> {
        if let Some((_, value)) = self.words.iter().find(|(word, _)| *word == text) {
            return Ok(*value);
        }
        if self.later.contains(&text) {
            return Err(Fault::new(
                "not-supported-yet",
                format!("{key} = \"{text}\" is not supported yet"),
                "a later feature",
            )
            .help(format!("use {}", self.list())));
        }
        let fault = Fault::new("unknown-word", format!("`{key}` knows no `{text}`"), "not one of its words");
        let known = |word: &str| self.words.iter().any(|(known, _)| *known == word);
        if let Some((_, ours)) = self.foreign.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)) {
            return Err(fault.help(if known(ours) { format!("write \"{ours}\"") } else { (*ours).to_owned() }));
        }
        let lower = text.to_ascii_lowercase().replace('_', "-");
        let words = self.words.iter().map(|(word, _)| *word);
        Err(match unknown::nearest(&lower, words.chain(self.later.iter().copied())) {
            Some(word) if known(word) => fault.help(format!("did you mean \"{word}\"? it takes {}", self.list())),
            _ => fault.help(format!("it takes {}", self.list())),
        })
    }

    /// Its words, as an operator writes them.
    pub(super) fn list(&self) -> String {
        one_of(self.words.iter().map(|(word, _)| format!("\"{word}\"")).collect())
    }
}

/// `a, b or c`.
pub(super) fn one_of(mut words: Vec<String>) -> String {
    match words.pop() {
        Some(last) if words.is_empty() => last,
        Some(last) => format!("{} or {last}", words.join(", ")),
        None => String::new(),
    }
}

/// A name that stands in the text of an option.
pub(super) fn name(text: &str) -> Result<Arc<str>, Fault> {
    if is_name(text) {
        return Ok(text.into());
    }
    let fault = Fault::new("name", format!("`{text}` cannot be a name"), "not a name");
    Err(fault.help("names are up to 64 letters, digits, `-`, `_` and `.`"))
}

/// Names of listeners, pools and checks stand in metrics, logs and expressions.
pub(super) fn is_name(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(good) && name.as_bytes()[0].is_ascii_alphanumeric()
}
