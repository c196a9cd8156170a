//! `use_backend %[FETCH,map_HOW(FILE,DEFAULT)]`: a file says which backend.

use super::acl::meant;
use super::words::Line;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Map<'a> {
    /// What is looked at, with `,lower` where it says so.
    pub(super) fetch: &'a str,
    /// How it is compared with the keys of the file, as `-m` of an ACL says it.
    pub(super) how: &'a str,
    pub(super) file: &'a str,
    /// The backend for all that is not in the file.
    pub(super) otherwise: Option<&'a str>,
}

/// The map of a `use_backend` line, or why it cannot be read; `None`: it names its backend.
pub(super) fn of(line: &Line) -> Option<Result<Map<'_>, String>> {
    let inner = line.word(1).strip_prefix("%[").filter(|_| line.word(0) == "use_backend")?;
    let unread = || "a backend is known when a file is read, or by a map: write a route for each".to_owned();
    Some(read(inner.trim_end_matches(']')).ok_or_else(unread))
}

fn read(inner: &str) -> Option<Map<'_>> {
    let (fetch, rest) = inner.split_once(",map")?;
    let (how, arguments) = rest.strip_suffix(')')?.split_once('(')?;
    // `map` and `map_str` are alike; what is behind a second `_` is the type of the values.
    let how = how.strip_prefix('_').unwrap_or("str");
    if !["str", "beg", "dom", "end", "sub", "dir", "reg"].contains(&how) {
        return None;
    }
    let (file, otherwise) = arguments.split_once(',').map_or((arguments, None), |(file, name)| (file, Some(name)));
    (!fetch.contains(',') || fetch.ends_with(",lower")).then_some(Map { fetch, how, file, otherwise })
}

impl Map<'_> {
    /// Keys and values; of beginnings and ends the longest first, as HAProxy finds them.
    pub(super) fn entries<'t>(&self, text: &'t str) -> Vec<(&'t str, &'t str)> {
        let pairs = meant(text).filter_map(|line| line.split_once(char::is_whitespace));
        let mut entries: Vec<(&str, &str)> = pairs.map(|(key, value)| (key, value.trim())).collect();
        if self.how != "reg" {
            entries.sort_by_key(|(key, _)| std::cmp::Reverse(key.len()));
        }
        entries
    }
}
