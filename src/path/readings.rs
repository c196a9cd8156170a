//! What servers further on could read in a path that is in normal form.
//!
//! They undo escapes once, twice or three times, take `\` for `/`, cut what stands behind `;` in a segment (and behind `?`
//! and `#`, once these are undone), take `//` for `/`, and resolve dots after all of that. A `..` that comes to light so is
//! nobody's honest wish, nor is a control byte; the rest is for the caller to compare.

use super::Fault;
use super::octets::{decoded, escape, is_overlong, may_stand};

/// So often are escapes undone at most: a proxy, a framework and an application may each do it once.
const ROUNDS: usize = 3;

/// Whether parameters are a part of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parameters {
    Kept,
    Cut,
}

/// Tells each way in which a path in normal form could be read, in normal form again, as long as `judge` finds none
/// that is too different; nothing for a path that can be read in one way only.
///
/// # Errors
/// [`Fault::Ambiguous`]: a hidden `..` or control byte, or what `judge` has not let pass. [`Fault::Overlong`]: hidden
/// overlong UTF-8.
pub fn readings(path: &[u8], mut judge: impl FnMut(&[u8]) -> Verdict) -> Result<(), Fault> {
    let mut told = path.to_vec();
    let mut bytes = path.to_vec();
    for round in 0..ROUNDS {
        let further = decoded(&bytes).into_owned();
        if round > 0 && further == bytes {
            break;
        }
        if further.iter().any(u8::is_ascii_control) {
            return Err(Fault::Ambiguous);
        }
        if is_overlong(&further) {
            return Err(Fault::Overlong);
        }
        for parameters in [Parameters::Kept, Parameters::Cut] {
            let reading = read(&further, parameters)?;
            if reading != told {
                if judge(&reading) == Verdict::Different {
                    return Err(Fault::Ambiguous);
                }
                told = reading;
            }
        }
        bytes = further;
    }
    Ok(())
}

/// What the caller of [`readings`] thinks of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It leads where the path itself does.
    Same,
    /// It leads elsewhere.
    Different,
}

/// Whether a path in normal form has something in it that only some servers read.
pub fn says_more(path: &[u8]) -> bool {
    let escapes = |what: &[u8]| memchr::memmem::find(path, what).is_some();
    // In normal form digits stand for themselves.
    let is_digit = |at: usize| path.get(at).is_some_and(u8::is_ascii_hexdigit);
    let twice = memchr::memmem::find_iter(path, b"%25").any(|at| is_digit(at + 3) && is_digit(at + 4));
    path.contains(&b';') || twice || [&b"//"[..], b"%2F", b"%5C", b"%3B"].into_iter().any(escapes)
}

/// One reading: `\` is `/`, nothing stands between two slashes, and dots are resolved.
fn read(bytes: &[u8], parameters: Parameters) -> Result<Vec<u8>, Fault> {
    let end = if parameters == Parameters::Cut { bytes.iter().position(|byte| b"?#".contains(byte)) } else { None };
    let mut out = Vec::with_capacity(bytes.len() + 16);
    let mut segments = bytes[..end.unwrap_or(bytes.len())].split(|byte| b"/\\".contains(byte)).peekable();
    while let Some(segment) = segments.next() {
        let cut = if parameters == Parameters::Cut { memchr::memchr(b';', segment) } else { None };
        let segment = &segment[..cut.unwrap_or(segment.len())];
        match segment {
            b".." => return Err(Fault::Ambiguous),
            b"" | b"." => {}
            _ => {
                out.push(b'/');
                for byte in segment {
                    if may_stand(*byte) { out.push(*byte) } else { escape(&mut out, *byte) }
                }
            }
        }
        if segments.peek().is_none() && matches!(segment, b"" | b".") {
            out.push(b'/');
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(path: &str) -> Result<Vec<String>, Fault> {
        let mut told = Vec::new();
        readings(path.as_bytes(), |reading| {
            told.push(String::from_utf8(reading.to_vec()).unwrap());
            Verdict::Same
        })?;
        Ok(told)
    }

    #[test]
    fn what_others_read_comes_to_light() {
        for (path, others) in [
            ("/a/b.c", &[][..]),
            ("/a%20b", &[]),
            ("/100%25", &[]),
            ("/%C3%A9", &[]),
            ("//admin", &["/admin"]),
            ("/%2561dmin", &["/admin"]),
            ("/%252561dmin", &["/%2561dmin", "/admin"]),
            ("/a%2Fb", &["/a/b"]),
            ("/a%5Cb", &["/a/b"]),
            ("/admin;x=1/b", &["/admin/b"]),
            ("/;/admin", &["/;/admin", "/admin"]),
            ("/a%3Bb", &["/a;b", "/a"]),
            ("/a/", &[]),
            ("/a//", &["/a/"]),
            ("/a%2F", &["/a/"]),
            ("/a%40b", &["/a@b"]),
            ("/a%3Fb", &["/a"]),
            ("/a/;x", &["/a/"]),
            ("/a%252Fb", &["/a/b"]),
        ] {
            let told = all(path).unwrap();
            let others: Vec<&str> = others.iter().copied().filter(|other| *other != path).collect();
            assert_eq!(
                told.iter().map(String::as_str).filter(|one| *one != path).collect::<Vec<_>>(),
                others,
                "{path}"
            );
        }
    }

    #[test]
    fn a_hidden_way_up_is_nobodys_honest_wish() {
        for path in [
            "/a%2F..%2Fb",
            "/a/..;/b",
            "/..;x/b",
            "/a%5C..%5Cb",
            "/%252e%252e/b",
            "/%25252e%25252e/b",
            "/a%252F..%252Fb",
            "/a/%2e%2e%3Bx/b",
            "/a%2500",
            "/a%250d%250aX",
        ] {
            assert_eq!(all(path), Err(Fault::Ambiguous), "{path}");
        }
        assert_eq!(all("/%25c0%25ae"), Err(Fault::Overlong));
    }

    #[test]
    fn strict_servers_are_told_what_says_more() {
        for path in ["/a;b", "/a%2Fb", "/a%5Cb", "/a%3Bb", "//a", "/%2561", "/%252e"] {
            assert!(says_more(path.as_bytes()), "{path}");
        }
        for path in ["/", "/a%20b", "/100%25", "/100%25zz", "/a%40b", "/%C3%A9", "/a/b.c"] {
            assert!(!says_more(path.as_bytes()), "{path}");
        }
    }
}
