//! `healthy_when`: an expression over the names of checks.

use super::State;

/// An expression over checks, which it names by their position in the pool's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// One check.
    Check(usize),
    /// All of them; an empty list is up.
    All(Vec<Expression>),
    /// At least so many of them.
    AtLeast(usize, Vec<Expression>),
    /// The opposite.
    Not(Box<Expression>),
}

impl Expression {
    /// The default: all of `count` checks.
    pub fn all_of(count: usize) -> Self {
        Self::All((0..count).map(Self::Check).collect())
    }

    /// What it says when check `i` is in `state(i)`.
    pub fn eval(&self, state: &impl Fn(usize) -> State) -> State {
        match self {
            Self::Check(check) => state(*check),
            _ => State::Unknown,
        }
    }
}
