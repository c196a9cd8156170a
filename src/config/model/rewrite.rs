//! `rewrite`: the path that a backend is asked for, where it is not the one that the client asked for.

use std::sync::Arc;

use super::Pattern;

/// `rewrite = { … }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rewrite {
    /// What stands in front of a path is taken off, or replaced.
    Prefix(PrefixRewrite),
    /// What a pattern finds is replaced.
    Pattern(PatternRewrite),
}

/// `rewrite = { strip_prefix = "/grafana" }` and `{ prefix = "/v1", with = "/api/v1" }`. Both are as [`super::PathMatch`]
/// has a prefix: they start with `/`, and do not end with one unless they are `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixRewrite {
    /// As the client says it.
    pub outside: Arc<str>,
    /// As the backend is told.
    pub inside: Arc<str>,
    /// Whether places in answers are told to the client as it says them.
    pub answers: Answers,
}

/// `map_back`: what becomes of places that an answer names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// They are told as the client says them.
    Mapped,
    /// They are passed on as they are.
    AsTheyAre,
}

/// `rewrite = { pattern = "^/u/([0-9]+)$", with = "/users/$1" }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternRewrite {
    /// What is found in a path, the first of it.
    pub pattern: Pattern,
    /// What stands there instead.
    pub with: Vec<Part>,
    /// Whose query the backend is asked with.
    pub query: QueryOf,
}

/// A part of what a pattern is replaced with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// As it stands.
    Text(Arc<str>),
    /// What this group has found; nothing where it has taken no part.
    Group(usize),
}

/// Whose query stands in a rewritten target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryOf {
    /// The client's.
    Client,
    /// That of `with`, which names one.
    Rule,
}
