//! `rewrite` at work: the target that the backend is asked for instead of the client's.
//!
//! What comes out is a path that begins with one slash, has no `..` in it and fits the listener's limit, or the request is
//! refused: nothing else is ever sent. The client's own target stays what is logged, counted and hashed.

use super::super::http1::Reject;
use super::super::http1::edits::Edits;
use super::back::Back;
use super::fill::{Facts, Peer};
use crate::config::model::{Answers, Part, PatternRewrite, PrefixRewrite, QueryOf, Rewrite, is_below};

/// What a backend is told of what was taken off; what others say of it comes from proxies that are trusted, or goes.
const FORWARDED_PREFIX: &str = "X-Forwarded-Prefix";

/// What the backend is asked for; `None`: what the client has asked for.
///
/// # Errors
/// It is no target.
pub(super) fn target(rule: &Rewrite, facts: &Facts<'_, '_>) -> Result<Option<Vec<u8>>, Reject> {
    let path = facts.request.path();
    let (path, query) = match rule {
        Rewrite::Prefix(rule) if !is_below(path, rule.outside.as_bytes()) => return Ok(None),
        Rewrite::Prefix(rule) => (within(rule, path), query_of(facts)),
        Rewrite::Pattern(rule) => {
            let Some(path) = replaced(rule, path) else { return Ok(None) };
            (path, if rule.query == QueryOf::Rule { &[][..] } else { query_of(facts) })
        }
    };
    checked(path, query, facts).map(Some)
}

/// Has the backend asked for [`target`]; says how answers are mapped back, where they are.
pub(super) fn apply(
    rule: &Rewrite,
    target: Option<&[u8]>,
    facts: &Facts<'_, '_>,
    edits: &mut Edits,
) -> Option<Box<Back>> {
    if let Rewrite::Prefix(rule) = rule {
        tell(rule, target.is_some(), facts, edits);
    }
    edits.retarget(target?.to_vec());
    match rule {
        Rewrite::Prefix(rule) => (rule.answers == Answers::Mapped).then(|| Box::new(Back::new(rule, facts, edits))),
        Rewrite::Pattern(_) => None,
    }
}

/// A path below a prefix as the backend knows it.
fn within(rule: &PrefixRewrite, path: &[u8]) -> Vec<u8> {
    let rest = if &*rule.outside == "/" { path } else { &path[rule.outside.len()..] };
    let inside = if &*rule.inside == "/" { &[][..] } else { rule.inside.as_bytes() };
    let mut target = Vec::with_capacity(inside.len() + rest.len() + 32);
    target.extend_from_slice(inside);
    target.extend_from_slice(rest);
    if target.is_empty() {
        target.push(b'/');
    }
    target
}

/// A path in which the pattern is found, with what stands in its place.
fn replaced(rule: &PatternRewrite, path: &[u8]) -> Option<Vec<u8>> {
    // `*` asks for no path.
    let found = rule.pattern.0.captures(path).filter(|_| path.starts_with(b"/"))?;
    let whole = found.get(0)?;
    let mut target = Vec::with_capacity(path.len() + 32);
    target.extend_from_slice(&path[..whole.start()]);
    for part in &rule.with {
        match part {
            Part::Text(text) => target.extend_from_slice(text.as_bytes()),
            Part::Group(group) => {
                target.extend_from_slice(found.get(*group).map(|group| group.as_bytes()).unwrap_or_default());
            }
        }
    }
    target.extend_from_slice(&path[whole.end()..]);
    Some(target)
}

/// The client's query with its `?`.
fn query_of<'b>(facts: &Facts<'_, 'b>) -> &'b [u8] {
    let target = facts.request.origin_target.as_bytes();
    memchr::memchr(b'?', target).map_or(&[], |at| &target[at..])
}

/// A target that can be sent. Two slashes in front, as in `//other.example`, could be read as a host.
fn checked(mut target: Vec<u8>, query: &[u8], facts: &Facts<'_, '_>) -> Result<Vec<u8>, Reject> {
    let slashes = target.iter().take_while(|byte| **byte == b'/').count();
    let is_text = |byte: &u8| *byte > b' ' && *byte != 0x7f && *byte != b'#';
    if slashes == 0 || !target.iter().all(is_text) {
        return Err(Reject::Rewrite);
    }
    target.drain(..slashes - 1);
    let path = &target[..memchr::memchr(b'?', &target).unwrap_or(target.len())];
    if path.split(|byte| *byte == b'/').any(|segment| segment == b"..") {
        return Err(Reject::Rewrite);
    }
    target.extend_from_slice(query);
    if target.len() > facts.target_bytes { Err(Reject::TargetTooLong) } else { Ok(target) }
}

/// Tells the backend which prefix was taken off: all of them, where proxies that are trusted have taken off others.
fn tell(rule: &PrefixRewrite, is_ours: bool, facts: &Facts<'_, '_>, edits: &mut Edits) {
    let fields = facts.request.fields;
    let mut said = Vec::new();
    if facts.peer == Peer::TrustedProxy {
        let lists = facts.request.headers(FORWARDED_PREFIX).flat_map(|list| list.split(|byte| *byte == b','));
        for prefix in lists.map(<[u8]>::trim_ascii).filter(|prefix| prefix.starts_with(b"/")) {
            said.extend_from_slice(prefix.strip_suffix(b"/").unwrap_or(prefix));
        }
    }
    edits.remove_alike(fields, &[FORWARDED_PREFIX]);
    if is_ours && &*rule.outside != "/" {
        said.extend_from_slice(rule.outside.as_bytes());
    }
    if !said.is_empty() {
        edits.add(FORWARDED_PREFIX.as_bytes(), &said);
    }
}
