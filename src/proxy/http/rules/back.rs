//! The way back of a prefix that was rewritten: places that an answer names, told as the client says them.
//!
//! Mapped are the path of `Location`, `Content-Location` and `Refresh`, where it is a path alone or an address of this
//! host or of the backend, and the `Path` of cookies. Who has been told of the prefix may say it itself: what begins with
//! it already stays. Bodies are nobody's business here.

use std::borrow::Cow;
use std::sync::Arc;

use super::super::http1::answer::Answer;
use super::super::http1::edits::Edits;
use super::fill::Facts;
use crate::config::model::{PrefixRewrite, is_below};
use crate::pool::Backend;

/// How the answer to one request is mapped back.
#[derive(Debug)]
pub(super) struct Back {
    outside: Arc<str>,
    inside: Arc<str>,
    /// What this host was called: by the client, by a proxy in front of us, and towards the backend.
    hosts: Vec<Box<[u8]>>,
}

impl Back {
    pub(super) fn new(rule: &PrefixRewrite, facts: &Facts<'_, '_>, edits: &Edits) -> Self {
        let named = [facts.request.host.map(str::as_bytes), facts.asked_host, edits.added("host")];
        let hosts = named.into_iter().flatten().filter(|host| !host.is_empty());
        Self {
            outside: Arc::clone(&rule.outside),
            inside: Arc::clone(&rule.inside),
            hosts: hosts.map(|host| bare(host).into()).collect(),
        }
    }

    /// Changes the fields of an answer that name places.
    pub(super) fn amend(&self, answer: &Answer<'_>, backend: &Backend, edits: &mut Edits) {
        for (index, field) in answer.fields.iter().enumerate() {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            let mapped = match field.name.len() {
                _ if edits.is_out(index) => None,
                8 if is("location") => self.address(field.value, backend),
                16 if is("content-location") => self.address(field.value, backend),
                7 if is("refresh") => self.refresh(field.value, backend),
                10 if is("set-cookie") => self.cookie(field.value),
                _ => None,
            };
            if let Some(value) = mapped {
                edits.remove_at(index);
                edits.add(field.name.as_bytes(), &value);
            }
        }
    }

    /// An address, or a path with what follows it. `None`: as it is.
    fn address(&self, value: &[u8], backend: &Backend) -> Option<Vec<u8>> {
        let begin = authority_begin(value);
        let rest = &value[begin.unwrap_or(0)..];
        let end = rest.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(rest.len());
        let Some(begin) = begin else { return self.target(value).filter(|_| value.starts_with(b"/")) };
        let (authority, target) = rest.split_at(end);
        let mapped = self.target(target)?;
        if self.hosts.iter().any(|host| host.eq_ignore_ascii_case(bare(authority))) {
            return Some([&value[..begin], authority, &mapped].concat());
        }
        // Of the backend's own address, which is nothing to the client, only the path is left.
        let own = backend.address.to_string();
        bare(authority).eq_ignore_ascii_case(bare(own.as_bytes())).then_some(mapped)
    }

    /// A path with query and fragment, of which the path is mapped.
    fn target(&self, target: &[u8]) -> Option<Vec<u8>> {
        let end = target.iter().position(|byte| b"?#".contains(byte)).unwrap_or(target.len());
        let path = if end == 0 { b"/" } else { &target[..end] };
        let mut mapped = self.path(path)?;
        mapped.extend_from_slice(&target[end..]);
        Some(mapped)
    }

    /// A path of the backend's as the client says it; `None` where it is not below what was put in front, or is the
    /// client's way to say it already.
    fn path(&self, path: &[u8]) -> Option<Vec<u8>> {
        let (outside, inside) = (self.outside.as_bytes(), self.inside.as_bytes());
        let is_said = is_below(path, outside) && is_below(outside, inside);
        if is_said || !is_below(path, inside) {
            return None;
        }
        let rest = if inside == b"/" { path } else { &path[inside.len()..] };
        if outside == b"/" {
            // Two slashes in front would name a host.
            let from = rest.iter().position(|byte| *byte != b'/').unwrap_or(rest.len());
            return Some([b"/", &rest[from..]].concat());
        }
        Some([outside, rest].concat())
    }

    /// `5; url=/login`.
    fn refresh(&self, value: &[u8], backend: &Backend) -> Option<Vec<u8>> {
        let at = value.to_ascii_lowercase().windows(4).position(|part| part == b"url=")? + 4;
        let quoted = value.get(at).filter(|byte| matches!(byte, b'"' | b'\''));
        let begin = at + usize::from(quoted.is_some());
        let place = &value[begin..];
        let end = quoted.map_or(place.len(), |quote| memchr::memchr(*quote, place).unwrap_or(place.len()));
        let mapped = self.address(&place[..end], backend)?;
        Some([&value[..begin], &mapped, &place[end..]].concat())
    }

    /// A cookie whose `Path` is mapped (RFC 6265, section 5.2.4).
    fn cookie(&self, value: &[u8]) -> Option<Vec<u8>> {
        // Browsers take such a cookie for the path `/` alone.
        let is_of_host = value.get(..7).is_some_and(|begin| begin.eq_ignore_ascii_case(b"__host-"));
        let mut changed = false;
        let mut parts: Vec<Cow<'_, [u8]>> = value.split(|byte| *byte == b';').map(Cow::Borrowed).collect();
        for part in parts.iter_mut().skip(1).filter(|_| !is_of_host) {
            let Some(equals) = memchr::memchr(b'=', part) else { continue };
            if part[..equals].trim_ascii().eq_ignore_ascii_case(b"path")
                && let Some(path) = self.cookie_path(part[equals + 1..].trim_ascii())
            {
                *part = Cow::Owned([&part[..=equals], &path].concat());
                changed = true;
            }
        }
        changed.then(|| parts.join(&b';'))
    }

    fn cookie_path(&self, path: &[u8]) -> Option<Vec<u8>> {
        let (outside, inside) = (self.outside.as_bytes(), self.inside.as_bytes());
        if path == inside {
            // Without a slash behind it: it is for the prefix itself, too.
            return (path != outside).then(|| outside.to_vec());
        }
        let bare = path.strip_suffix(b"/").unwrap_or(path);
        if bare.len() > 1 && bare != inside && is_below(inside, bare) && !is_below(outside, bare) {
            // Wider than all that is reached from outside.
            return Some(outside.to_vec());
        }
        self.path(path)
    }
}

/// Where the authority of an address begins; `None` where it has none.
fn authority_begin(value: &[u8]) -> Option<usize> {
    let begins = |known: &[u8]| value.get(..known.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(known));
    [&b"//"[..], b"http://", b"https://"].into_iter().find(|known| begins(known)).map(<[u8]>::len)
}

/// A host without a port that goes without saying.
fn bare(host: &[u8]) -> &[u8] {
    host.strip_suffix(b":80").or_else(|| host.strip_suffix(b":443")).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back(outside: &str, inside: &str) -> Back {
        Back { outside: outside.into(), inside: inside.into(), hosts: vec![b"a.example"[..].into()] }
    }

    fn mapped(back: &Back, path: &str) -> Option<String> {
        back.path(path.as_bytes()).map(|path| String::from_utf8(path).unwrap())
    }

    #[test]
    fn a_path_is_told_as_the_client_says_it() {
        for (outside, inside, path, told) in [
            ("/grafana", "/", "/", Some("/grafana/")),
            ("/grafana", "/", "/login", Some("/grafana/login")),
            ("/grafana", "/", "/grafana", None),
            ("/grafana", "/", "/grafana/login", None),
            ("/grafana", "/", "/grafanas", Some("/grafana/grafanas")),
            ("/v1", "/api/v1", "/api/v1", Some("/v1")),
            ("/v1", "/api/v1", "/api/v1/x", Some("/v1/x")),
            ("/v1", "/api/v1", "/api/v1x", None),
            ("/v1", "/api/v1", "/other", None),
            ("/", "/base", "/base", Some("/")),
            ("/", "/base", "/base/x", Some("/x")),
            ("/", "/base", "/base//evil.example", Some("/evil.example")),
            ("/", "/base", "/x", None),
            ("/app/v1", "/app", "/app/x", Some("/app/v1/x")),
        ] {
            assert_eq!(mapped(&back(outside, inside), path).as_deref(), told, "{outside} {inside} {path}");
        }
    }

    #[test]
    fn the_path_of_a_cookie_is_mapped_and_nothing_else_of_it() {
        for (outside, inside, cookie, told) in [
            ("/g", "/", "s=1; Path=/; HttpOnly", Some("s=1; Path=/g; HttpOnly")),
            ("/g", "/", "s=1;path = /x ;Secure", Some("s=1;path =/g/x;Secure")),
            ("/g", "/", "s=1; Path=/g", None),
            ("/g", "/", "s=1; HttpOnly", None),
            ("/g", "/", "Path=/; Secure", None),
            ("/g", "/", "__Host-s=1; Path=/; Secure", None),
            ("/v1", "/api/v1", "s=1; Path=/api/v1/", Some("s=1; Path=/v1/")),
            ("/v1", "/api/v1", "s=1; Path=/api", Some("s=1; Path=/v1")),
            ("/v1", "/api/v1", "s=1; Path=/", None),
            ("/", "/base", "s=1; Path=/base", Some("s=1; Path=/")),
        ] {
            let answer = back(outside, inside).cookie(cookie.as_bytes());
            assert_eq!(answer.map(|cookie| String::from_utf8(cookie).unwrap()).as_deref(), told, "{cookie}");
        }
    }
}
