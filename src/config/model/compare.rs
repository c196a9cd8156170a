//! A query of the operator's own, and what its answer must be: `query = "SELECT …"` with `equals`, `not`, `above`,
//! `below`.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A query and what one value of its answer must be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Query {
    /// The statement.
    pub sql: Arc<str>,
    /// Which column of the first row is compared; `None`: the first one.
    pub column: Option<Arc<str>>,
    /// What it must be; `None`: it is enough that the query succeeds and gives a row, where it gives rows at all.
    pub rule: Option<Compare>,
}

/// What a value must be. NULL is never as wanted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Compare {
    /// `equals = …`
    Equals(Literal),
    /// `not = …`
    Not(Literal),
    /// `above = …`, `below = …` or both; neither end is included.
    Between {
        /// More than this.
        above: Option<Number>,
        /// Less than this.
        below: Option<Number>,
    },
}

/// A value of the configuration; its type says how an answer is read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Literal {
    /// Text, compared byte by byte.
    Text(Arc<str>),
    /// A number: `1` is `1.0`.
    Number(Number),
    /// Yes or no: 1 and 0, t and f, true and false, yes and no, on and off in any case.
    Truth(bool),
}

/// A number of the configuration; never NaN.
#[derive(Debug, Clone, Copy)]
pub enum Number {
    /// Whole.
    Whole(i64),
    /// With a fraction.
    Real(f64),
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Whole(one), Self::Whole(other)) => one == other,
            (Self::Real(one), Self::Real(other)) => one.to_bits() == other.to_bits(),
            _ => false,
        }
    }
}

impl Eq for Number {}

impl Hash for Number {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Whole(number) => number.hash(state),
            Self::Real(number) => number.to_bits().hash(state),
        }
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole(number) => number.fmt(f),
            Self::Real(number) => number.fmt(f),
        }
    }
}

impl std::fmt::Display for Literal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "\"{text}\""),
            Self::Number(number) => number.fmt(f),
            Self::Truth(is) => is.fmt(f),
        }
    }
}

impl std::fmt::Display for Compare {
    /// The rule as the configuration says it: `above = 5`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Equals(value) => write!(f, "equals = {value}"),
            Self::Not(value) => write!(f, "not = {value}"),
            Self::Between { above: Some(above), below: Some(below) } => write!(f, "above = {above}, below = {below}"),
            Self::Between { above: Some(above), below: None } => write!(f, "above = {above}"),
            Self::Between { above: None, below: Some(below) } => write!(f, "below = {below}"),
            Self::Between { above: None, below: None } => f.write_str("anything"),
        }
    }
}
