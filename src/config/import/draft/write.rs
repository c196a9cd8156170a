//! A draft as lines of TOML, each with the place in the peer's file that it comes from, so that `fit` can say which one
//! would be refused.

use std::fmt::Write;

use super::super::quote;
use super::{At, Conditions, Draft, Key, Keys, Listener, Lost, Path, Pool, Tables, Value};

/// One line of ours.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) at: At,
    pub(super) part: Part,
    /// Lines of one table have one number.
    pub(super) table: usize,
}

/// What can be taken out with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// A table's name: with it goes the table.
    Head,
    /// A key, alone.
    Key,
    /// Brackets and comments, which stay.
    Frame,
}

struct Lines {
    lines: Vec<Line>,
    table: usize,
}

impl Lines {
    fn push(&mut self, part: Part, text: String, at: At) {
        self.lines.push(Line { text, at, part, table: self.table });
    }

    fn head(&mut self, text: String, at: At) {
        self.push(Part::Frame, String::new(), at);
        self.table += 1;
        self.push(Part::Head, text, at);
    }

    fn keys(&mut self, keys: &Keys) {
        for key in &keys.0 {
            let note = if key.note.is_empty() { String::new() } else { format!("  # {}", key.note) };
            self.push(Part::Key, format!("{} = {}{note}", key.name, value(key)), key.at);
        }
    }

    fn tables(&mut self, above: &str, tables: &Tables) {
        for (name, keys) in tables.0.iter().filter(|(_, keys)| !keys.is_empty()) {
            let at = keys.0.first().map(|key| key.at).unwrap_or_default();
            self.head(format!("[{above}.{name}]"), at);
            self.keys(keys);
        }
    }
}

fn value(key: &Key) -> String {
    match &key.value {
        Value::Written(value) => value.clone(),
        Value::List(items) => quote::list(items),
    }
}

pub(super) fn lines(draft: &Draft) -> Vec<Line> {
    let mut lines = Lines { lines: Vec::new(), table: 0 };
    for note in &draft.head {
        lines.push(Part::Frame, format!("# {note}"), At::default());
    }
    if !draft.limits.is_empty() {
        lines.head("[limits]".into(), At::default());
        lines.keys(&draft.limits);
    }
    for listener in &draft.listeners {
        write_listener(&mut lines, listener);
    }
    for pool in &draft.pools {
        write_pool(&mut lines, pool);
    }
    lines.lines
}

fn write_listener(lines: &mut Lines, listener: &Listener) {
    let name = format!("listener.{}", listener.name);
    lines.head(format!("[{name}]"), listener.at);
    for note in &listener.notes {
        lines.push(Part::Frame, format!("# {note}"), listener.at);
    }
    lines.keys(&listener.keys);
    lines.tables(&name, &listener.tables);
    for route in &listener.routes {
        lines.head(format!("[[{name}.route]]"), route.at);
        lines.keys(&conditions(&route.when, route.at));
        lines.keys(&route.keys);
    }
}

fn conditions(when: &Conditions, at: At) -> Keys {
    let mut keys = Keys::default();
    for (name, texts) in [("host", &when.host), ("method", &when.method), ("client", &when.client)] {
        if let Some(texts) = texts {
            keys.written(name, quote::list(texts), at);
        }
    }
    if let Some(paths) = &when.path {
        let paths: Vec<String> = paths.iter().map(path).collect();
        let written = if paths.len() == 1 { paths.concat() } else { format!("[{}]", paths.join(", ")) };
        keys.written("path", written, at);
    }
    for (name, tables) in [("header", &when.header), ("cookie", &when.cookie), ("query", &when.query)] {
        match tables.as_slice() {
            [] => {}
            [one] => keys.written(name, one.clone(), at),
            many => keys.written(name, format!("[{}]", many.join(", ")), at),
        }
    }
    keys
}

fn path(path: &Path) -> String {
    match path {
        Path::Segment(path) => quote::quoted(path),
        Path::Exact(path) => format!("{{ exact = {} }}", quote::quoted(path)),
        Path::Prefix(path) => format!("{{ regex = {} }}", quote::quoted(&format!("^{}", regex::escape(path)))),
        Path::Pattern(pattern) => format!("{{ regex = {} }}", quote::quoted(pattern)),
    }
}

fn write_pool(lines: &mut Lines, pool: &Pool) {
    let name = format!("pool.{}", pool.name);
    lines.head(format!("[{name}]"), pool.at);
    for note in &pool.notes {
        lines.push(Part::Frame, format!("# {note}"), pool.at);
    }
    lines.push(Part::Frame, "backends = [".into(), pool.at);
    for backend in &pool.backends {
        let address = quote::quoted(&backend.address);
        let further: Vec<String> = backend.keys.0.iter().map(|key| format!("{} = {}", key.name, value(key))).collect();
        let text = if further.is_empty() {
            format!("  {address},")
        } else {
            format!("  {{ address = {address}, {} }},", further.join(", "))
        };
        lines.push(Part::Key, text, backend.at);
    }
    lines.push(Part::Frame, "]".into(), pool.at);
    lines.keys(&pool.keys);
    lines.tables(&name, &pool.tables);
}

/// The lines as one text.
pub(super) fn text(lines: &[Line]) -> String {
    let mut text = String::new();
    for line in lines {
        text.push_str(&line.text);
        text.push('\n');
    }
    text
}

/// The lines, and what is lost behind them.
pub(super) fn document(lines: &[Line], lost: &[Lost]) -> String {
    let mut document = text(lines);
    if !lost.is_empty() {
        document.push_str("\n# Not carried over, or not as it was:\n");
    }
    for lost in lost {
        let (file, why) = (quote::plain(&lost.file), quote::plain(&lost.why));
        let _infallible = writeln!(document, "# {file}:{}: {}: {why}", lost.line, lost.what);
    }
    document
}
