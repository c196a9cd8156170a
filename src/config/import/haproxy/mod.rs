//! HAProxy's configuration into ours: `evenkeel import haproxy FILE`.
//!
//! `words` reads lines, this file divides them into sections, each with the lines of its `defaults` in front. A
//! `frontend` becomes a listener (`front`), or two where it has ports with and without TLS; its rules become routes
//! (`acl`, `order`, `actions`). A `backend` becomes a pool (`back`, `server`) with its checks (`checks`). What ours
//! cannot say is lost, with line and reason; nothing is left out silently that would change what clients see.

mod acl;
mod actions;
mod back;
mod bind;
mod checks;
mod front;
mod map;
mod order;
mod rest;
mod server;
mod words;

use std::rc::Rc;

use super::draft::{At, Draft, Imported};
use words::Line;

/// One `frontend`, `backend` or `listen`, with what its defaults say in front of its own lines.
#[derive(Debug, Clone)]
struct Section {
    kind: Kind,
    name: String,
    at: At,
    defaults: Rc<Vec<Line>>,
    own: Vec<Line>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Global,
    Frontend,
    Backend,
    Listen,
}

impl Section {
    fn lines(&self) -> impl Iterator<Item = &Line> {
        self.defaults.iter().chain(&self.own)
    }

    /// The last line that begins so; a later one counts before an earlier one, and `no` undoes it.
    fn last(&self, words: &[&str]) -> Option<&Line> {
        let begins =
            |line: &Line, from: usize| words.iter().enumerate().all(|(at, word)| line.word(at + from) == *word);
        let line = self.lines().filter(|line| begins(line, 0) || (line.word(0) == "no" && begins(line, 1))).last()?;
        (line.word(0) != "no").then_some(line)
    }

    fn is_http(&self) -> bool {
        self.last(&["mode"]).is_some_and(|line| line.word(1) == "http")
    }
}

/// The text of a file that a configuration names, such as one of patterns or a map; `None`: it cannot be read.
pub type Files<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Turns the text of a file, under the name that reports shall use, into ours, with the files that it names.
pub fn import(file: &str, text: &str, files: Files<'_>) -> Imported {
    let mut draft = Draft { files: vec![file.to_owned()], ..Draft::default() };
    draft.head = vec![
        "Made from HAProxy's configuration by `evenkeel import haproxy`. What could not be carried over stands at the end.".into(),
        "`path_beg` looks at letters: /api and /apix. Ours is `path = \"/api\"`, for /api and /api/x: write that where it is meant.".into(),
    ];
    let sections = sections(&mut draft, &words::lines(text));
    for section in sections.iter().filter(|section| section.kind == Kind::Global) {
        global(&mut draft, section);
    }
    for section in sections.iter().filter(|section| matches!(section.kind, Kind::Frontend | Kind::Listen)) {
        front::read(&mut draft, section, &sections, files);
    }
    for section in sections.iter().filter(|section| matches!(section.kind, Kind::Backend | Kind::Listen)) {
        back::read(&mut draft, section, &sections);
    }
    for section in sections.iter().filter(|section| section.kind != Kind::Global) {
        rest::read(&mut draft, section);
    }
    draft.finish()
}

fn sections(draft: &mut Draft, lines: &[Line]) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut named: Vec<(String, Rc<Vec<Line>>)> = Vec::new();
    let mut defaults = Rc::new(Vec::new());
    let mut rest = lines.iter().peekable();
    while let Some(line) = rest.next() {
        let kind = match line.word(0) {
            "global" => Some(Kind::Global),
            "frontend" => Some(Kind::Frontend),
            "backend" => Some(Kind::Backend),
            "listen" => Some(Kind::Listen),
            _ => None,
        };
        let mut own = Vec::new();
        while let Some(next) = rest.next_if(|next| !is_section(next.word(0))) {
            own.push(next.clone());
        }
        let from = line.words.iter().position(|word| word == "from").and_then(|at| line.words.get(at + 1));
        let above = from.and_then(|from| named.iter().find(|(name, _)| name == from));
        let above = above.map_or_else(|| Rc::clone(&defaults), |(_, lines)| Rc::clone(lines));
        if let Some(kind) = kind {
            let defaults = if kind == Kind::Global { Rc::default() } else { above };
            sections.push(Section { kind, name: line.word(1).to_owned(), at: line.at, defaults, own });
        } else if line.word(0) == "defaults" {
            let inherited = if from.is_some() { above.to_vec() } else { Vec::new() };
            defaults = Rc::new(inherited.into_iter().chain(own).collect());
            named.push((line.word(1).to_owned(), Rc::clone(&defaults)));
        } else {
            draft.lose(line.at, &line.shown(), "ours have no such section");
        }
    }
    sections
}

fn is_section(word: &str) -> bool {
    matches!(
        word,
        "global"
            | "defaults"
            | "frontend"
            | "backend"
            | "listen"
            | "peers"
            | "resolvers"
            | "userlist"
            | "mailers"
            | "cache"
            | "program"
            | "http-errors"
            | "ring"
            | "log-forward"
            | "fcgi-app"
            | "crt-store"
            | "traces"
    )
}

fn global(draft: &mut Draft, section: &Section) {
    for line in &section.own {
        match line.word(0) {
            "maxconn" => draft.limits.written("connections", line.word(1), line.at),
            "daemon" | "user" | "group" | "chroot" | "pidfile" | "nbproc" | "nbthread" | "cpu-map"
            | "master-worker" | "maxpipes" | "spread-checks" | "quiet" | "ulimit-n" | "node" | "description"
            | "uid" | "gid" => {}
            "log" | "log-tag" | "log-send-hostname" => {
                draft.lose(line.at, &line.shown(), "access logs are off by default: see `access` in [log]");
            }
            "hard-stop-after" => draft.lose(line.at, &line.shown(), "see `drain` of [shutdown]"),
            "stats" => draft.lose(line.at, &line.shown(), "orders and figures are at [admin] and `evenkeel status`"),
            word if word.starts_with("ssl-default")
                || word.starts_with("tune.")
                || word == "ca-base"
                || word == "crt-base" =>
            {
                draft.lose(line.at, &line.shown(), "set by us, or in the section that it is about");
            }
            _ => draft.lose(line.at, &line.shown(), "ours have nothing like it"),
        }
    }
}
