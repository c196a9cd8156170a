//! Paths of requests: their normal form, and what else a server further on could read in them. Sans-IO.
//!
//! Two servers that read one path in two ways are how rules that guard `/admin` are passed by `/%2561dmin` or
//! `/x/..;/admin`. So a path is put into one form ([`normal`]) that routes look at and the backend gets; and whoever decides
//! by it can ask what the most forgiving servers would make of that form ([`readings`]), and refuse what they would
//! take elsewhere. What can be read in one way only, as nearly every path, costs one look at each byte
//! ([`is_plain`]). Called by `proxy` for requests and by `config` for the paths of routes.
//!
//! Hot path: no lock, no formatting; no allocation for paths that are plain.

mod octets;
mod readings;

use octets::{Class, class, escape, unescaped};
pub use readings::{Verdict, readings, says_more};

/// What is wrong with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `..` leads above the root.
    AboveRoot,
    /// A control byte, as it is or escaped.
    Control,
    /// `%` without two hexadecimal digits behind it.
    Escape,
    /// A byte sequence that stands for a shorter one: overlong UTF-8 (RFC 3629, section 3).
    Overlong,
    /// No UTF-8.
    NotText,
    /// Not in normal form.
    NotNormal,
    /// A server further on could read something else in it.
    Ambiguous,
}

/// What becomes of `//`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slashes {
    /// It stays.
    Keep,
    /// It becomes `/`.
    Merge,
}

/// Whether a path is in normal form, and all servers read the same in it. 0.4 ns a byte: the branches are always the same,
/// and cheaper than a table of flags that are joined.
#[inline]
pub fn is_plain(path: &[u8]) -> bool {
    let mut bytes = path.iter();
    if bytes.next() != Some(&b'/') {
        return false;
    }
    let mut previous = Class::Slash;
    for byte in bytes {
        let now = class(*byte);
        match (previous, now) {
            (_, Class::Plain) | (Class::Plain | Class::Dot, Class::Slash | Class::Dot) => {}
            // A dot in front: `.`, `..` and names such as `.well-known`, told apart below.
            (Class::Slash, Class::Dot) => return has_no_dot_segments(path) && is_plain_but_dots(path),
            _ => return false,
        }
        previous = now;
    }
    true
}

/// The rare case of [`is_plain`]: some segment begins with a dot.
#[cold]
fn is_plain_but_dots(path: &[u8]) -> bool {
    let is_plain = path.iter().all(|byte| class(*byte) != Class::Special);
    is_plain && !path.windows(2).any(|two| two == b"//")
}

fn has_no_dot_segments(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').all(|segment| segment != b"." && segment != b"..")
}

/// The normal form of a path (RFC 3986, section 6.2.2): escapes in capitals, escapes of unreserved bytes undone, bytes that
/// no path holds escaped, `.` and `..` resolved. It has neither `..` nor control bytes, and is its own normal form.
///
/// # Errors
/// The first fault.
pub fn normal(path: &[u8], slashes: Slashes) -> Result<Vec<u8>, Fault> {
    let mut whole = Vec::with_capacity(path.len() + 16);
    let mut at = 0;
    while let Some(byte) = path.get(at) {
        let (value, length) = match byte {
            b'%' => (unescaped(&path[at..]).ok_or(Fault::Escape)?, 3),
            byte => (*byte, 1),
        };
        if value.is_ascii_control() {
            return Err(Fault::Control);
        }
        match class(value) {
            Class::Dot => whole.push(value),
            // Of what has a meaning of its own, the escape means something else.
            Class::Slash | Class::Plain | Class::Special if length == 1 && octets::may_stand(value) => {
                whole.push(value);
            }
            Class::Plain if octets::is_unreserved(value) => whole.push(value),
            _ => escape(&mut whole, value),
        }
        at += length;
    }
    refuse_overlong(path)?;
    resolved(&whole, slashes)
}

/// Whether all of a path in normal form is text.
pub fn is_text(path: &[u8]) -> bool {
    std::str::from_utf8(&octets::decoded(path)).is_ok()
}

fn refuse_overlong(path: &[u8]) -> Result<(), Fault> {
    if octets::is_ascii(path) || !octets::is_overlong(&octets::decoded(path)) { Ok(()) } else { Err(Fault::Overlong) }
}

/// A path without `.` and `..` (RFC 3986, section 5.2.4).
fn resolved(path: &[u8], slashes: Slashes) -> Result<Vec<u8>, Fault> {
    let rest = path.strip_prefix(b"/").unwrap_or(path);
    let mut out: Vec<u8> = Vec::with_capacity(path.len());
    let mut segments = rest.split(|byte| *byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            b"" if !is_last && slashes == Slashes::Merge => {}
            b"." | b".." => {
                if segment == b".." {
                    let parent = memchr::memrchr(b'/', &out).ok_or(Fault::AboveRoot)?;
                    out.truncate(parent);
                }
                if is_last {
                    out.push(b'/');
                }
            }
            _ => {
                out.push(b'/');
                out.extend_from_slice(segment);
            }
        }
    }
    if out.is_empty() {
        out.push(b'/');
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn safe(path: &str) -> Result<String, Fault> {
        normal(path.as_bytes(), Slashes::Keep).map(|path| String::from_utf8(path).unwrap())
    }

    #[test]
    fn a_path_has_one_form() {
        for (path, form) in [
            ("/", "/"),
            ("/a/b.c/~d_e-f", "/a/b.c/~d_e-f"),
            ("/%61%2D%2e%5f%7E", "/a-._~"),
            ("/a%2fb%5cc%3b%25", "/a%2Fb%5Cc%3B%25"),
            ("/%c3%a9", "/%C3%A9"),
            ("/\u{e9}", "/%C3%A9"),
            ("/a b", "/a%20b"),
            ("/a|b\"<>^`{}\\", "/a%7Cb%22%3C%3E%5E%60%7B%7D%5C"),
            ("/a;b=c,d@e:f!$&'()*+", "/a;b=c,d@e:f!$&'()*+"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/./", "/"),
            ("/.", "/"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e", "/"),
            ("/...", "/..."),
            ("/.well-known/x", "/.well-known/x"),
            ("//a", "//a"),
            ("/a//", "/a//"),
            ("/a//../b", "/a/b"),
            ("//..", "/"),
            ("/%2561", "/%2561"),
            ("/..;/a", "/..;/a"),
        ] {
            assert_eq!(safe(path).as_deref(), Ok(form), "{path}");
            assert_eq!(safe(form).as_deref(), Ok(form), "{form}");
        }
    }

    #[test]
    fn what_cannot_be_put_into_it_is_said() {
        for (path, fault) in [
            ("/..", Fault::AboveRoot),
            ("/a/../..", Fault::AboveRoot),
            ("/%2e%2e/a", Fault::AboveRoot),
            ("/a%00", Fault::Control),
            ("/a%0d%0aX: 1", Fault::Control),
            ("/a%7F", Fault::Control),
            ("/a%", Fault::Escape),
            ("/a%2", Fault::Escape),
            ("/a%2g", Fault::Escape),
            ("/%u002e", Fault::Escape),
            ("/%c0%ae%c0%ae/", Fault::Overlong),
            ("/%C0%AF", Fault::Overlong),
            ("/%e0%80%ae", Fault::Overlong),
            ("/%f0%80%80%ae", Fault::Overlong),
        ] {
            assert_eq!(safe(path), Err(fault), "{path}");
        }
        assert_eq!(safe("/%e9t%e9").as_deref(), Ok("/%E9t%E9"), "of an older alphabet, but not overlong");
        assert!(!is_text(b"/%E9t%E9") && is_text(b"/%C3%A9"));
    }

    #[test]
    fn slashes_are_merged_where_that_is_wanted() {
        for (path, form) in [("//", "/"), ("//a//b//", "/a/b/"), ("/a//../b", "/b"), ("/a/.//b", "/a/b")] {
            let merged = normal(path.as_bytes(), Slashes::Merge).unwrap();
            assert_eq!(std::str::from_utf8(&merged), Ok(form), "{path}");
        }
    }

    #[test]
    fn plain_is_what_stays_and_can_be_read_in_one_way() {
        for path in ["/", "/a", "/a/", "/a.b/c..d/e.", "/.well-known/x", "/a/...", "/a,b@c:d=e&f+g!"] {
            assert!(is_plain(path.as_bytes()), "{path}");
        }
        for path in [
            "", "*", "a", "//", "/a//b", "/.", "/..", "/a/./b", "/a/..", "/%61", "/a;b", "/a\\b", "/a|", "/\u{e9}",
            "/.a//b", "/.a;b",
        ] {
            assert!(!is_plain(path.as_bytes()), "{path}");
        }
    }
}
