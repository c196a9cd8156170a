//! A request head: judged, understood as far as a balancer must, and written anew for the backend.
//!
//! Hot path: no allocation, no lock, no formatting.

mod asked;
mod forwarded;
mod seen;
mod sending;
mod target;

pub use asked::Asked;
pub use forwarded::Forwarded;
pub use sending::{Proof, Sender};

use seen::{Seen, framing, look};
use target::{Form, is_host, target_parts};

use super::fields::{self, Left, Room};
use super::{Framing, Reject, Version};
use crate::proxy::http::grpc::Grpc;

/// What a listener allows of a head.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest head, bytes.
    pub head_bytes: usize,
    /// Longest target, bytes.
    pub target_bytes: usize,
    /// Most fields.
    pub headers: usize,
}

/// A request head that has passed every rule.
#[derive(Debug)]
pub struct Request<'b> {
    /// The head with its last empty line.
    pub head: &'b [u8],
    /// Its length together with empty lines in front of it.
    pub length: usize,
    /// Any token: methods that are not known pass.
    pub method: &'b str,
    form: Form<'b>,
    /// `origin_target` as it came, for logs, whatever form the listener puts it into.
    pub came: &'b str,
    /// Path and query of the target, or the query alone where an absolute target has no path; `*` for `OPTIONS *`.
    pub origin_target: &'b str,
    /// Version.
    pub version: Version,
    /// `Host`, or the authority of an absolute target, which outranks it (RFC 9112, section 3.2.2).
    pub host: Option<&'b str>,
    /// How the body is delimited.
    pub framing: Framing,
    /// Whether the client wants to go on after this request.
    pub keep_alive: bool,
    /// `Expect: 100-continue`.
    pub expects_continue: bool,
    /// The protocol of `Upgrade`, where `Connection` names it.
    pub upgrade: Option<&'b [u8]>,
    /// `X-Request-ID`, where it is one that can be passed on.
    pub request_id: Option<&'b [u8]>,
    /// What it says of itself as a call of gRPC, where it is one.
    pub grpc: Option<Grpc>,
    /// Its fields.
    pub fields: &'b [httparse::Header<'b>],
    left: Left,
}

impl<'b> Request<'b> {
    /// Reads a head from the beginning of `bytes`; `None` while it is incomplete.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn parse(bytes: &'b [u8], room: &'b mut Room<'b>, limits: Limits) -> Result<Option<Self>, Reject> {
        let skipped = empty_lines(bytes)?;
        let text = &bytes[skipped..];
        let mut parsed = httparse::Request::new(&mut []);
        let length = match parsed.parse_with_uninit_headers(text, room) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return incomplete(text, limits).map(|()| None),
            Err(error) => return Err(refusal(error, text)),
        };
        let head = &text[..length];
        let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
            return Err(Reject::RequestLine);
        };
        let fields: &'b [httparse::Header<'b>] = parsed.headers;
        check_size(length, target, fields.len(), limits)?;
        if !fields::all_lines_end_in_crlf(head) {
            return Err(Reject::BareLineFeed);
        }
        let version = if version == 0 { Version::Http10 } else { Version::Http11 };
        let mut left = Left::default();
        let seen = look(fields, &mut left)?;
        let framing = framing(&seen, version)?;
        let (origin_target, form) = target_parts(method, target)?;
        let host = host(&seen, version, form)?;
        Ok(Some(Self {
            head,
            length: skipped + length,
            method,
            form,
            came: origin_target,
            origin_target,
            version,
            host,
            framing,
            keep_alive: match version {
                Version::Http11 => !seen.close,
                Version::Http10 => seen.keep_alive && !seen.close,
            },
            expects_continue: seen.expects_continue && version == Version::Http11,
            upgrade: seen.upgrade.filter(|_| seen.names_upgrade && version == Version::Http11),
            request_id: seen.request_id,
            grpc: seen.is_grpc.then_some(Grpc { timeout: seen.timeout }),
            fields,
            left,
        }))
    }

    /// Leaves out the fields whose names have underscores; says how many.
    pub fn leave_out_underscores(&mut self) -> u64 {
        let mut count = 0;
        for (index, field) in self.fields.iter().enumerate() {
            if memchr::memchr(b'_', field.name.as_bytes()).is_some() {
                self.left.out(index);
                count += 1;
            }
        }
        count
    }

    /// The values of all headers of that name, in any case.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = &'b [u8]> {
        self.fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }

    /// The value of a header, the first where there are several; `name` in any case.
    pub fn header(&self, name: &str) -> Option<&'b [u8]> {
        self.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }

    /// The value of a cookie.
    pub fn cookie(&self, name: &str) -> Option<&'b [u8]> {
        self.cookies(name).next()
    }

    /// All values of a cookie.
    fn cookies(&self, name: &str) -> impl Iterator<Item = &'b [u8]> {
        let lists = self.fields.iter().filter(|field| field.name.eq_ignore_ascii_case("cookie"));
        let pairs = lists.flat_map(|list| list.value.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
        pairs.filter_map(move |pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    }

    /// Path of the target, without query.
    pub fn path(&self) -> &'b [u8] {
        path_of(self.origin_target.as_bytes())
    }

    /// What stands behind the `?` of the target.
    pub fn query(&self) -> &'b [u8] {
        query_of(self.origin_target.as_bytes())
    }
}

/// Empty lines that may precede a request (RFC 9112, section 2.2).
fn empty_lines(bytes: &[u8]) -> Result<usize, Reject> {
    let mut at = 0;
    while bytes[at..].starts_with(b"\r\n") {
        at += 2;
    }
    match bytes[at..] {
        [b'\n', ..] => Err(Reject::BareLineFeed),
        [b'\r', other, ..] if other != b'\n' => Err(Reject::RequestLine),
        _ => Ok(at),
    }
}

/// A head that is not complete may already be too large.
fn incomplete(text: &[u8], limits: Limits) -> Result<(), Reject> {
    let line = memchr::memchr(b'\n', text);
    if line.is_none() && text.len() > limits.target_bytes + 64 {
        return Err(Reject::TargetTooLong);
    }
    if text.len() >= limits.head_bytes {
        return Err(Reject::HeadTooLarge);
    }
    Ok(())
}

fn check_size(head: usize, target: &str, count: usize, limits: Limits) -> Result<(), Reject> {
    if target.len() > limits.target_bytes {
        Err(Reject::TargetTooLong)
    } else if head > limits.head_bytes {
        Err(Reject::HeadTooLarge)
    } else if count > limits.headers {
        Err(Reject::TooManyHeaders)
    } else {
        Ok(())
    }
}

fn refusal(error: httparse::Error, text: &[u8]) -> Reject {
    match error {
        httparse::Error::TooManyHeaders => Reject::TooManyHeaders,
        httparse::Error::Version => {
            // Only a version of the right form is a version (RFC 9112, section 2.3).
            let line = &text[..memchr::memchr(b'\n', text).unwrap_or(text.len())];
            let mut parts = line.trim_ascii_end().split(|byte| *byte == b' ');
            let version = parts.nth(2).unwrap_or_default();
            let formed = matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
                if major.is_ascii_digit() && minor.is_ascii_digit());
            if formed && parts.next().is_none() { Reject::Version } else { Reject::RequestLine }
        }
        httparse::Error::HeaderName | httparse::Error::HeaderValue => Reject::Header,
        _ => Reject::RequestLine,
    }
}

#[inline]
fn host<'b>(seen: &Seen<'b>, version: Version, form: Form<'b>) -> Result<Option<&'b str>, Reject> {
    let host = match seen.host {
        None if version == Version::Http11 => return Err(Reject::MissingHost),
        None => None,
        Some(host) if is_host(host) => Some(std::str::from_utf8(host).map_err(|_not_text| Reject::Host)?),
        Some(_) => return Err(Reject::Host),
    };
    Ok(match form {
        Form::Absolute(authority) => Some(authority),
        Form::Origin => host,
    })
}

/// The path of a target, without query.
#[inline]
pub fn path_of(target: &[u8]) -> &[u8] {
    match memchr::memchr(b'?', target) {
        Some(0) => b"/",
        end => &target[..end.unwrap_or(target.len())],
    }
}

/// What stands behind the `?` of a target.
#[inline]
pub fn query_of(target: &[u8]) -> &[u8] {
    memchr::memchr(b'?', target).map_or(&[], |at| &target[at + 1..])
}

#[cfg(test)]
mod tests;
