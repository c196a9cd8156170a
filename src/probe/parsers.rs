//! What servers say, for tests that have them say anything: one function for each parser of ours.
//!
//! Called by `tests/parsers.rs` and by the targets of `tests/fuzz`. A parser may refuse what it gets; it must neither panic
//! nor take more than it was given.

use super::{agent, apache, ldap, mysql, postgres, redis, smtp};

/// A parser by the type of its check.
pub type Parser = (&'static str, fn(&[u8]));

/// All of them.
pub const ALL: [Parser; 7] = [
    ("agent", agent::feed),
    ("apache", apache::feed),
    ("ldap", ldap::feed),
    ("mysql", mysql::feed),
    ("postgres", postgres::feed),
    ("redis", redis::feed),
    ("smtp", smtp::feed),
];
