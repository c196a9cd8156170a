//! What a route looks at in a request, besides host, method and client.

use std::borrow::Cow;
use std::sync::Arc;

use super::Pattern;

/// `path` of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatch {
    /// A prefix that ends at a segment boundary: `/v1` is `/v1` and `/v1/x`, never `/v1x`. Always starts with `/`, never
    /// ends with one unless it is `/`.
    Prefix(Arc<str>),
    /// The whole path.
    Exact(Arc<str>),
    /// Any path in which this is found.
    Regex(Pattern),
}

impl PathMatch {
    /// Whether it is for this path.
    pub fn fits(&self, path: &[u8]) -> bool {
        match self {
            Self::Prefix(prefix) => is_below(path, prefix.as_bytes()),
            Self::Exact(exact) => exact.as_bytes() == path,
            Self::Regex(pattern) => pattern.0.is_match(path),
        }
    }
}

/// Whether a path is a prefix, or goes on below it.
pub fn is_below(path: &[u8], prefix: &[u8]) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| matches!(rest, [] | [b'/', ..]) || prefix == b"/")
}

/// `header`, `cookie` or `query` of a route: `"NAME"` or `{ name = "NAME", value = "1" }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueMatch {
    /// That of a header in lower case.
    pub name: Arc<str>,
    /// What its value must be like.
    pub test: Test,
    /// Whether there must be such a value, or none.
    pub sense: Sense,
}

/// What a value must be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// Anything.
    Present,
    /// Just this.
    Is(Arc<str>),
    /// It begins with this.
    Prefix(Arc<str>),
    /// It has this in it.
    Contains(Arc<str>),
    /// This is found in it.
    Regex(Pattern),
}

/// Whether a condition wants a value or no such value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sense {
    /// One of the values fits.
    Wanted,
    /// None does.
    Unwanted,
}

impl Test {
    fn fits(&self, value: &[u8]) -> bool {
        match self {
            Self::Present => true,
            Self::Is(text) => text.as_bytes() == value,
            Self::Prefix(text) => value.starts_with(text.as_bytes()),
            Self::Contains(text) => memchr::memmem::find(value, text.as_bytes()).is_some(),
            Self::Regex(pattern) => pattern.0.is_match(value),
        }
    }
}

impl ValueMatch {
    /// Whether these values of its name are as it wants.
    pub fn holds<V: AsRef<[u8]>>(&self, mut values: impl Iterator<Item = V>) -> bool {
        values.any(|value| self.test.fits(value.as_ref())) == (self.sense == Sense::Wanted)
    }

    /// The same for what stands behind the `?` of a target: pairs, of which escapes are undone and `+` is a space.
    pub fn holds_in_query(&self, query: &[u8]) -> bool {
        let values = query.split(|byte| *byte == b'&').filter_map(|pair| {
            let end = memchr::memchr(b'=', pair).unwrap_or(pair.len());
            let is_named = !pair.is_empty() && *undone(&pair[..end]) == *self.name.as_bytes();
            is_named.then(|| undone(pair.get(end + 1..).unwrap_or_default()))
        });
        self.holds(values)
    }

    /// Whether it holds wherever the other one does.
    pub fn covers(&self, other: &Self) -> bool {
        let present = self.test == Test::Present && self.sense == Sense::Wanted;
        self == other || (present && self.name == other.name && other.sense == Sense::Wanted)
    }
}

/// A part of a query without escapes. Half an escape stands for itself.
fn undone(part: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'%', b'+', part).is_none() {
        return Cow::Borrowed(part);
    }
    let digit = |at: usize| part.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut text = Vec::with_capacity(part.len());
    let mut at = 0;
    while at < part.len() {
        let escaped = if part[at] == b'%' { digit(at + 1).zip(digit(at + 2)) } else { None };
        match (part[at], escaped) {
            (_, Some((high, low))) => text.push((high * 16 + low) as u8),
            (b'+', None) => text.push(b' '),
            (byte, None) => text.push(byte),
        }
        at += if escaped.is_some() { 3 } else { 1 };
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_compared_without_escapes() {
        let is = |name: &str, value: &str| ValueMatch {
            name: name.into(),
            test: Test::Is(value.into()),
            sense: Sense::Wanted,
        };
        for (query, value, holds) in [
            ("v=2", "2", true),
            ("a=1&v=2", "2", true),
            ("v=1&v=2", "2", true),
            ("v=%32", "2", true),
            ("%76=2", "2", true),
            ("v=a+b%20c", "a b c", true),
            ("v=100%", "100%", true),
            ("v=%4", "%4", true),
            ("v", "", true),
            ("v=", "", true),
            ("xv=2", "2", false),
            ("v=22", "2", false),
            ("", "", false),
            ("&&", "", false),
        ] {
            assert_eq!(is("v", value).holds_in_query(query.as_bytes()), holds, "{query}");
        }
    }

    #[test]
    fn what_is_unwanted_must_not_be_there_at_all() {
        let none = ValueMatch { name: "a".into(), test: Test::Is("1".into()), sense: Sense::Unwanted };
        assert!(none.holds([b"2"].iter()) && none.holds(std::iter::empty::<&[u8]>()));
        assert!(!none.holds([b"2", b"1"].iter()));
    }

    #[test]
    fn a_prefix_ends_where_a_segment_does() {
        for (path, prefix, below) in
            [("/v1", "/v1", true), ("/v1/x", "/v1", true), ("/v1x", "/v1", false), ("/x", "/", true), ("*", "/", false)]
        {
            assert_eq!(is_below(path.as_bytes(), prefix.as_bytes()), below, "{path}");
        }
    }
}
