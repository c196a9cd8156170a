//! How two values differ, in words: `timeouts.connect 5s -> 2s`. PURE.
//!
//! What has a name is compared by it, so that an entry put in front of the others is one change and not many.

use super::said::Said;
use crate::config::model::MARK;

/// Longest value that is shown, characters.
const MAX_SHOWN: usize = 100;
/// Fields whose values nobody is shown.
const SECRET: [&str; 5] = ["password", "token", "secret", "secrets", "users"];
/// Lists that the model draws from what is compared already.
const DRAWN: [&str; 1] = ["names"];
/// Header fields of the same kind.
const SECRET_HEADERS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "x-api-key"];
/// Fields that group others and are no words of the configuration.
const GROUPS: [&str; 5] = ["timing", "kind", "policy", "request", "facts"];
/// Fields of the model by the words of the configuration, and what one entry of a list is called.
const WORDS: [(&str, &str); 6] = [
    ("binds", "bind"),
    ("members", "backend"),
    ("checks", "check"),
    ("routes", "route"),
    ("hosts", "host"),
    ("paths", "path"),
];
/// What stands for nothing configured.
const NOTHING: &str = "none";

/// What is said of a backend beyond that it came or went.
pub(super) type Note<'n> = &'n dyn Fn(&str) -> Option<String>;

/// What must not be shown, each with what is shown in its place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Masks(Vec<(String, String)>);

/// A value that is shorter is no secret, and stands in too many others by chance.
const MIN_MASKED: usize = 3;

impl Masks {
    /// Shows values that came from `${…}` as they are written.
    pub fn of(substituted: &[(String, String)]) -> Self {
        Self::default().with(substituted)
    }

    /// The same with further ones.
    #[must_use]
    pub fn with(mut self, substituted: &[(String, String)]) -> Self {
        for (written, value) in substituted {
            self.add(value, written);
        }
        self
    }

    fn add(&mut self, value: &str, shown: &str) {
        if value.len() >= MIN_MASKED && !self.0.iter().any(|(known, _)| known == value) {
            self.0.push((value.to_owned(), shown.to_owned()));
            // A value that holds another one goes first.
            self.0.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
        }
    }

    /// Hides what a configuration itself calls secret, too.
    pub(super) fn learn(&mut self, said: &Said) {
        match said {
            Said::Word(_) => {}
            Said::Kind(_, inner) => self.learn(inner),
            Said::Items(items) => items.iter().for_each(|item| self.learn(item)),
            Said::Fields(_, fields) => {
                for (key, value) in fields {
                    if SECRET.contains(&key.as_str()) { self.hide(value) } else { self.learn(value) }
                }
            }
        }
    }

    fn hide(&mut self, said: &Said) {
        match said {
            Said::Word(word) if word != "None" => self.add(word, "(hidden)"),
            Said::Items(items) => items.iter().for_each(|item| self.hide(item)),
            _ => {}
        }
    }

    fn apply(&self, text: String) -> String {
        self.0.iter().fold(
            text,
            |text, (value, shown)| {
                if text.contains(value.as_str()) { text.replace(value.as_str(), shown) } else { text }
            },
        )
    }
}

/// Collects differences.
pub(super) struct Differ<'m> {
    masks: &'m Masks,
    /// What is said of entries of `members` that went.
    gone: Note<'m>,
    found: Vec<String>,
}

impl<'m> Differ<'m> {
    pub(super) fn new(masks: &'m Masks, gone: Note<'m>) -> Self {
        Self { masks, gone, found: Vec::new() }
    }

    /// How `new` differs from `old`, a sentence for each.
    pub(super) fn of(mut self, old: &Said, new: &Said) -> Vec<String> {
        self.compare(&Path::default(), old, new);
        self.found
    }

    fn compare(&mut self, path: &Path, old: &Said, new: &Said) {
        if old == new {
            return;
        }
        match (old, new) {
            (Said::Fields(a, old), Said::Fields(b, new)) if a == b && old.len() == new.len() => {
                for ((key, old), (_, new)) in old.iter().zip(new) {
                    if SECRET.contains(&key.as_str()) {
                        self.secret(path, key, old, new);
                    } else if !DRAWN.contains(&key.as_str()) {
                        self.compare(&path.field(key), old, new);
                    }
                }
            }
            (Said::Kind(a, old), Said::Kind(b, new)) if a == b => self.compare(path, old, new),
            (Said::Items(a), Said::Items(b)) if a.iter().chain(b).all(|item| item.name().is_some()) => {
                self.named(path, old, new);
            }
            (Said::Items(old), Said::Items(new)) => self.list(path, old, new),
            _ => self.word(path, old, new),
        }
    }

    fn secret(&mut self, path: &Path, key: &str, old: &Said, new: &Said) {
        // `secrets` of a check repeats what stands elsewhere.
        if old != new && key != "secrets" {
            self.found.push(format!("{} has another value", path.field(key)));
        }
    }

    fn word(&mut self, path: &Path, old: &Said, new: &Said) {
        let (old, new) = (self.shown(old), self.shown(new));
        self.found.push(if old == new {
            format!("{path} {old} has another value")
        } else {
            format!("{path} {old} -> {new}")
        });
    }

    fn named(&mut self, path: &Path, old: &Said, new: &Said) {
        let (was, is) = (old.by_name(), new.by_name());
        let word = path.last();
        let came: Vec<&str> = new.items().iter().filter_map(Said::name).filter(|it| !was.contains_key(it)).collect();
        let went: Vec<&str> = old.items().iter().filter_map(Said::name).filter(|it| !is.contains_key(it)).collect();
        if !came.is_empty() {
            self.found.push(format!("{}+{} {}", path.before(), counted(came.len(), word), came.join(", ")));
        }
        if !went.is_empty() {
            let noted = |name: &&str| (self.gone)(name).map_or((*name).to_owned(), |note| format!("{name} ({note})"));
            let went: Vec<String> = went.iter().map(noted).collect();
            self.found.push(format!("{}-{} {}", path.before(), counted(went.len(), word), went.join(", ")));
        }
        for (name, new) in &is {
            let Some(old) = was.get(name) else { continue };
            self.compare(&path.entry(word, name), old, new);
        }
        let order = |said: &Said, other: &std::collections::BTreeMap<&str, &Said>| -> Vec<String> {
            let names = said.items().iter().filter_map(Said::name).filter(|name| other.contains_key(name));
            names.map(str::to_owned).collect()
        };
        if order(old, &is) != order(new, &was) {
            self.found.push(format!("{}another order of {word}s: {}", path.before(), order(new, &was).join(", ")));
        }
    }

    /// Entries without names: what both begin and end with stays, what is between has changed, come or gone.
    fn list(&mut self, path: &Path, old: &[Said], new: &[Said]) {
        let start = old.iter().zip(new).take_while(|(old, new)| old == new).count();
        let (old, new) = (&old[start..], &new[start..]);
        let end = old.iter().rev().zip(new.iter().rev()).take_while(|(old, new)| old == new).count();
        let (old, new) = (&old[..old.len() - end], &new[..new.len() - end]);
        let is_table = |said: &Said| matches!(said, Said::Fields(..));
        if old.len() == new.len() && old.iter().chain(new).all(is_table) {
            for (at, (old, new)) in (start + 1..).zip(old.iter().zip(new)) {
                self.compare(&path.entry(path.last(), &at.to_string()), old, new);
            }
            return;
        }
        for (sign, entries) in [('-', old), ('+', new)] {
            for entry in entries {
                let shown = self.shown(entry);
                self.found.push(format!("{}{sign} {} {shown}", path.before(), path.last()));
            }
        }
    }

    /// A value for people, in one line.
    fn shown(&self, said: &Said) -> String {
        let text = self.masks.apply(brief(said));
        match text.char_indices().nth(MAX_SHOWN) {
            Some((at, _)) => format!("{}…", &text[..at]),
            None => text,
        }
    }
}

fn counted(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

fn brief(said: &Said) -> String {
    match said {
        // By which a secret can be told from another one, and which nobody is shown.
        Said::Word(word) => as_written(word.split(MARK).next().unwrap_or(word)),
        Said::Kind(_, inner) if matches!(**inner, Said::Word(_)) => brief(inner),
        Said::Kind(kind, inner) => format!("{} {}", as_written(kind), brief(inner)),
        Said::Items(items) => match items.as_slice() {
            [Said::Word(name), _] if SECRET_HEADERS.contains(&name.to_ascii_lowercase().as_str()) => {
                format!("{name}: (hidden)")
            }
            [one] => brief(one),
            items => format!("[{}]", items.iter().map(brief).collect::<Vec<_>>().join(", ")),
        },
        Said::Fields(_, fields) => {
            // What is not configured would drown the rest.
            let says =
                |said: &Said| !matches!(said, Said::Word(word) if word == "None") && *said != Said::Items(vec![]);
            let told = fields.iter().filter(|(key, said)| says(said) && !SECRET.contains(&key.as_str()));
            told.map(|(key, said)| format!("{} {}", word_of(key), brief(said))).collect::<Vec<_>>().join(" ")
        }
    }
}

/// `RoundRobin` as `round-robin`, everything else as it stands.
fn as_written(word: &str) -> String {
    if word == "None" {
        return NOTHING.to_owned();
    }
    let is_variant = word.starts_with(|first: char| first.is_ascii_uppercase())
        && word.chars().all(|letter| letter.is_ascii_alphanumeric())
        && word.contains(|letter: char| letter.is_ascii_lowercase());
    if !is_variant {
        return if word.is_empty() { "\"\"".to_owned() } else { word.to_owned() };
    }
    let mut written = String::with_capacity(word.len() + 4);
    for letter in word.chars() {
        if letter.is_ascii_uppercase() && !written.is_empty() {
            written.push('-');
        }
        written.push(letter.to_ascii_lowercase());
    }
    written
}

fn word_of(field: &str) -> &str {
    WORDS.iter().find(|(key, _)| *key == field).map_or(field, |(_, word)| word)
}

/// Where a value stands: entries with names in front, the fields below the last of them behind.
#[derive(Debug, Clone, Default)]
struct Path {
    entries: Vec<(String, String)>,
    fields: Vec<String>,
}

impl Path {
    fn field(&self, key: &str) -> Self {
        let mut path = self.clone();
        if !GROUPS.contains(&key) {
            path.fields.push(key.to_owned());
        }
        path
    }

    fn entry(&self, word: &str, name: &str) -> Self {
        let mut path = self.clone();
        path.fields.clear();
        path.entries.push((word.to_owned(), name.to_owned()));
        path
    }

    /// The word for what stands here.
    fn last(&self) -> &str {
        self.fields.last().map_or("entry", |field| word_of(field))
    }

    /// The entries that it stands in, with what separates them from what follows.
    fn before(&self) -> String {
        let mut text = String::new();
        for (word, name) in &self.entries {
            for piece in [word, " ", name, ": "] {
                text.push_str(piece);
            }
        }
        text
    }
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fields: Vec<&str> = self.fields.iter().map(|field| word_of(field)).collect();
        match self.entries.as_slice() {
            // As people say it: `weight of b1`.
            [(word, name)] if word == "backend" => write!(f, "{} of {name}", fields.join(".")),
            _ => write!(f, "{}{}", self.before(), fields.join(".")),
        }
    }
}
