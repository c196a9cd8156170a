//! A request head: judged, understood as far as a balancer must, and written anew for the backend.
//!
//! Hot path: no allocation, no lock, no formatting.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use super::chunked::is_token;
use super::edits::Edits;
use super::fields::{self, Left, Room};
use super::{Framing, Reject, Version};
use crate::config::model::ValueMatch;
use crate::net::buffer::Buffer;
use crate::net::tls::ClientCertificate;
use crate::proxy::http::grpc::{self, Grpc};
use crate::route::routes::Question;

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
    /// The target as it came.
    target: &'b str,
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

/// What the rules found, field by field.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a field that stood there or not; they combine freely")]
struct Seen<'b> {
    host: Option<&'b [u8]>,
    length: Option<&'b [u8]>,
    coding: Option<&'b [u8]>,
    upgrade: Option<&'b [u8]>,
    request_id: Option<&'b [u8]>,
    timeout: Option<Duration>,
    is_grpc: bool,
    expects_continue: bool,
    close: bool,
    keep_alive: bool,
    names_upgrade: bool,
    connection: bool,
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
        let (origin_target, authority) = target_parts(method, target)?;
        let host = host(&seen, version, authority)?;
        Ok(Some(Self {
            head,
            length: skipped + length,
            method,
            target,
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

    /// What a proxy that is trusted says of whom it speaks for. Each proxy in turn says who came to it, the last one at
    /// the end: the client is the last one who is no trusted proxy himself.
    pub fn forwarded(&self, is_trusted: impl Fn(IpAddr) -> bool) -> Forwarded<'b> {
        let named = |name: &'static str| self.fields.iter().rev().filter(move |it| it.name.eq_ignore_ascii_case(name));
        let mut client = None;
        let chain = named("x-forwarded-for").flat_map(|list| list.value.rsplit(|byte| *byte == b','));
        for said in chain {
            let Some(address) = address(said.trim_ascii()) else { break };
            client = Some(address);
            if !is_trusted(address) {
                break;
            }
        }
        let last = |name| named(name).map(|field| field.value.trim_ascii()).next();
        let scheme = last("x-forwarded-proto").and_then(|said| {
            let known: [&'static [u8]; 2] = [b"http", b"https"];
            known.into_iter().find(|scheme| scheme.eq_ignore_ascii_case(said))
        });
        Forwarded { client, scheme, host: last("x-forwarded-host").filter(|host| !host.is_empty()) }
    }

    /// Path of the target, without query.
    pub fn path(&self) -> &'b [u8] {
        let target = self.origin_target.as_bytes();
        match memchr::memchr(b'?', target) {
            Some(0) => b"/",
            end => &target[..end.unwrap_or(target.len())],
        }
    }

    /// What stands behind the `?` of the target.
    pub fn query(&self) -> &'b [u8] {
        let target = self.origin_target.as_bytes();
        memchr::memchr(b'?', target).map_or(&[], |at| &target[at + 1..])
    }

    /// Writes the head for the backend: the lines that concern it, what rules change of them, and what the balancer has to
    /// say. Says where the request's identity stands.
    pub fn write(&self, out: &mut Buffer, sender: &Sender<'_>, edits: Option<&Edits>) -> Range<usize> {
        out.append(self.method.as_bytes());
        out.append(b" ");
        if self.origin_target.starts_with('?') {
            out.append(b"/");
        }
        out.append(self.origin_target.as_bytes());
        out.append(b" HTTP/1.1\r\n");
        if self.target.len() != self.origin_target.len() || self.host.is_none() {
            // The lines' own Host, if any, has been left out by `authority_host`.
            line(out, b"Host: ", self.host.map_or(sender.fallback_host, str::as_bytes));
        }
        let mut left = self.left;
        if self.target.len() != self.origin_target.len() {
            leave_out_host(self.fields, &mut left);
        }
        if !matches!(sender.proof, Proof::Untold) {
            leave_out_proof(self.fields, &mut left);
        }
        match edits {
            None => fields::kept(self.head, self.fields, &left).for_each(|span| out.append(span)),
            Some(edits) => edits.write(out, self.head, self.fields, &left),
        }
        if !sender.client.is_empty() {
            line(out, b"X-Forwarded-For: ", sender.client);
        }
        line(out, b"X-Forwarded-Proto: ", sender.scheme);
        if let Some(host) = sender.host.or(self.host.map(str::as_bytes)) {
            line(out, b"X-Forwarded-Host: ", host);
        }
        proof(out, &sender.proof);
        out.append(b"X-Request-ID: ");
        let id = out.filled().len();
        out.append(sender.request_id);
        out.append(b"\r\n");
        if self.framing == Framing::Chunked {
            out.append(b"Transfer-Encoding: chunked\r\n");
        }
        if let Some(protocol) = self.upgrade {
            out.append(b"Connection: upgrade\r\n");
            line(out, b"Upgrade: ", protocol);
        }
        out.append(b"\r\n");
        id..id + sender.request_id.len()
    }
}

/// What a proxy in front says of whom it speaks for.
#[derive(Debug)]
pub struct Forwarded<'a> {
    /// The client's address.
    pub client: Option<IpAddr>,
    /// `http` or `https`.
    pub scheme: Option<&'static [u8]>,
    /// The host that it was asked for.
    pub host: Option<&'a [u8]>,
}

/// An address, with a port or without, an IPv6 one in brackets or without.
fn address(said: &[u8]) -> Option<IpAddr> {
    let said = std::str::from_utf8(said).ok()?;
    let bare = said.parse().ok();
    let address: IpAddr = bare.or_else(|| said.parse().ok().map(|socket: SocketAddr| socket.ip())).or_else(|| {
        let inside = said.strip_prefix('[')?.strip_suffix(']')?;
        inside.parse().ok()
    })?;
    Some(address.to_canonical())
}

/// What the balancer says of whom it speaks for.
#[derive(Debug)]
pub struct Sender<'a> {
    /// The client's address, without port; empty where it has none.
    pub client: &'a [u8],
    /// `http` or `https`.
    pub scheme: &'a [u8],
    /// The host that a trusted proxy was asked for.
    pub host: Option<&'a [u8]>,
    /// The identity of the request.
    pub request_id: &'a [u8],
    /// `Host` for a request of HTTP/1.0 that has none.
    pub fallback_host: &'a [u8],
    /// What it has proved to be.
    pub proof: Proof<'a>,
}

/// What a backend is told of the client's certificate.
#[derive(Debug)]
pub enum Proof<'a> {
    /// Nothing; headers that look like it are passed on as any others.
    Untold,
    /// That it has shown none.
    None,
    /// Whose it is.
    Certificate(&'a ClientCertificate),
}

/// What a route may look at.
#[derive(Debug)]
pub struct Asked<'a, 'b> {
    /// The request.
    pub request: &'a Request<'b>,
    /// Who sent it.
    pub client: IpAddr,
}

impl Question for Asked<'_, '_> {
    fn method(&self) -> &[u8] {
        self.request.method.as_bytes()
    }
    fn host(&self) -> &[u8] {
        self.request.host.unwrap_or_default().as_bytes()
    }
    fn path(&self) -> &[u8] {
        self.request.path()
    }
    fn client(&self) -> IpAddr {
        self.client
    }
    fn header_holds(&self, condition: &ValueMatch) -> bool {
        let named = self.request.fields.iter().filter(|field| field.name.eq_ignore_ascii_case(&condition.name));
        condition.holds(named.map(|field| field.value))
    }
    fn cookie_holds(&self, condition: &ValueMatch) -> bool {
        condition.holds(self.request.cookies(&condition.name))
    }
    fn query_holds(&self, condition: &ValueMatch) -> bool {
        condition.holds_in_query(self.request.query())
    }
}

#[inline]
fn line(out: &mut Buffer, name: &[u8], value: &[u8]) {
    out.append(name);
    out.append(value);
    out.append(b"\r\n");
}

fn proof(out: &mut Buffer, proof: &Proof<'_>) {
    let certificate = match proof {
        Proof::Untold => return,
        Proof::None => return line(out, b"X-Client-Verified: ", b"no"),
        Proof::Certificate(certificate) => certificate,
    };
    line(out, b"X-Client-Verified: ", b"yes");
    if let Some(subject) = &certificate.holder.subject {
        line(out, b"X-Client-Cert-Subject: ", subject.as_bytes());
    }
    if let Some(names) = &certificate.holder.names {
        line(out, b"X-Client-Cert-SAN: ", names.as_bytes());
    }
    line(out, b"X-Client-Cert-Fingerprint: ", certificate.fingerprint.as_bytes());
}

/// Whatever the client itself says of its certificate, in any spelling that a backend could take for it.
fn leave_out_proof(fields: &[httparse::Header<'_>], left: &mut Left) {
    for (index, field) in fields.iter().enumerate() {
        let name = field.name.as_bytes();
        let begins = |known: &[u8]| name.get(..known.len()).is_some_and(|begin| fields::is_alike(begin, known));
        if begins(b"x-client-cert") || begins(b"x-client-verified") {
            left.out(index);
        }
    }
}

fn leave_out_host(fields: &[httparse::Header<'_>], left: &mut Left) {
    for (index, field) in fields.iter().enumerate() {
        if field.name.eq_ignore_ascii_case("host") {
            left.out(index);
        }
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

/// Looks at each field once: notes what the balancer must know, leaves out what ends here.
#[inline]
fn look<'b>(fields: &[httparse::Header<'b>], left: &mut Left) -> Result<Seen<'b>, Reject> {
    let mut seen = Seen::default();
    for (index, field) in fields.iter().enumerate() {
        let name = field.name.as_bytes();
        if note(&mut seen, name, field.value)? {
            left.out(index);
        }
    }
    if seen.connection {
        connection(fields, left, &mut seen);
    }
    Ok(seen)
}

/// Notes one field; true when it ends here. Names are told apart by length first: most fields cost one comparison.
#[inline]
fn note<'b>(seen: &mut Seen<'b>, name: &[u8], value: &'b [u8]) -> Result<bool, Reject> {
    let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
    Ok(match name.len() {
        2 => is(b"te"),
        4 if is(b"host") => {
            if seen.host.replace(value).is_some() {
                return Err(Reject::DuplicateHost);
            }
            false
        }
        6 if is(b"expect") => {
            // Any other expectation is nobody's here, and what a backend makes of it nobody knows: it ends here.
            seen.expects_continue = value.eq_ignore_ascii_case(b"100-continue");
            !seen.expects_continue
        }
        7 if is(b"upgrade") => {
            // h2c would make the backend speak what nobody here has judged.
            if !fields::elements(value).any(|protocol| protocol.eq_ignore_ascii_case(b"h2c")) {
                seen.upgrade = Some(value);
            }
            true
        }
        9 => is(b"forwarded"),
        10 if is(b"connection") => {
            seen.connection = true;
            true
        }
        10 => is(b"keep-alive"),
        12 if is(b"x-request-id") => {
            if !value.is_empty() && value.len() <= 128 && value.iter().all(u8::is_ascii_graphic) {
                seen.request_id = Some(value);
            }
            true
        }
        12 if is(b"content-type") => {
            seen.is_grpc = grpc::is_type(value);
            false
        }
        12 if is(b"grpc-timeout") => {
            seen.timeout = grpc::timeout(value);
            false
        }
        14 => return note_length(seen, name, value),
        15 => fields::is_alike(name, b"x-forwarded-for"),
        16 => is(b"proxy-connection") || fields::is_alike(name, b"x-forwarded-host"),
        17 => return note_17(seen, name, value),
        19 => is(b"proxy-authorization"),
        _ => false,
    })
}

#[inline]
fn note_length<'b>(seen: &mut Seen<'b>, name: &[u8], value: &'b [u8]) -> Result<bool, Reject> {
    if name.eq_ignore_ascii_case(b"content-length") {
        if seen.length.replace(value).is_some() {
            return Err(Reject::ContentLength);
        }
        return Ok(false);
    }
    // Some servers take the underscore for a hyphen: what frames nothing here must frame nothing there.
    Ok(name.eq_ignore_ascii_case(b"content_length") || name.eq_ignore_ascii_case(b"http2-settings"))
}

#[inline]
fn note_17<'b>(seen: &mut Seen<'b>, name: &[u8], value: &'b [u8]) -> Result<bool, Reject> {
    if name.eq_ignore_ascii_case(b"transfer-encoding") {
        if seen.coding.replace(value).is_some() {
            return Err(Reject::TransferEncoding);
        }
        return Ok(true);
    }
    Ok(name.eq_ignore_ascii_case(b"transfer_encoding") || fields::is_alike(name, b"x-forwarded-proto"))
}

/// What `Connection` says, and leaving out the fields that it names (RFC 9110, section 7.6.1).
fn connection(fields: &[httparse::Header<'_>], left: &mut Left, seen: &mut Seen<'_>) {
    for field in fields.iter().filter(|field| field.name.eq_ignore_ascii_case("connection")) {
        for option in fields::elements(field.value) {
            if option.eq_ignore_ascii_case(b"close") {
                seen.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                seen.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                seen.names_upgrade = true;
            } else if !fields::is_essential(option) {
                for (index, field) in fields.iter().enumerate() {
                    if field.name.as_bytes().eq_ignore_ascii_case(option) {
                        left.out(index);
                    }
                }
            }
        }
    }
}

#[inline]
fn framing(seen: &Seen<'_>, version: Version) -> Result<Framing, Reject> {
    match (seen.length, seen.coding) {
        (None, None) => Ok(Framing::Empty),
        (Some(length), None) => match fields::content_length(length) {
            Some(0) => Ok(Framing::Empty),
            Some(length) => Ok(Framing::Length(length)),
            None => Err(Reject::ContentLength),
        },
        (Some(_), Some(_)) => Err(Reject::LengthAndChunked),
        (None, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") && version == Version::Http11 => {
            Ok(Framing::Chunked)
        }
        (None, Some(_)) => Err(Reject::TransferEncoding),
    }
}

/// Path with query, and the authority where the target is absolute (RFC 9112, section 3.2).
#[inline]
fn target_parts<'b>(method: &str, target: &'b str) -> Result<(&'b str, Option<&'b str>), Reject> {
    let bytes = target.as_bytes();
    if method == "CONNECT" {
        return Err(Reject::Connect);
    }
    if memchr::memchr(b'#', bytes).is_some() {
        return Err(Reject::Target);
    }
    if bytes.first() == Some(&b'/') {
        return Ok((target, None));
    }
    if target == "*" {
        return if method == "OPTIONS" { Ok((target, None)) } else { Err(Reject::Target) };
    }
    let scheme = ["http://", "https://"]
        .into_iter()
        .find(|scheme| bytes.len() >= scheme.len() && bytes[..scheme.len()].eq_ignore_ascii_case(scheme.as_bytes()));
    let rest = target.get(scheme.ok_or(Reject::Target)?.len()..).ok_or(Reject::Target)?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.is_empty() || !is_host(authority.as_bytes()) {
        return Err(Reject::Target);
    }
    Ok((if path.is_empty() { "/" } else { path }, Some(authority)))
}

#[inline]
fn host<'b>(seen: &Seen<'b>, version: Version, authority: Option<&'b str>) -> Result<Option<&'b str>, Reject> {
    let host = match seen.host {
        None if version == Version::Http11 => return Err(Reject::MissingHost),
        None => None,
        Some(host) if is_host(host) => Some(std::str::from_utf8(host).map_err(|_not_text| Reject::Host)?),
        Some(_) => return Err(Reject::Host),
    };
    Ok(authority.or(host))
}

/// `uri-host [":" port]` (RFC 9110, section 7.2; RFC 3986, section 3.2.2).
#[inline]
fn is_host(host: &[u8]) -> bool {
    let (name, port) = if host.first() == Some(&b'[') {
        let Some(end) = memchr::memchr(b']', host) else { return false };
        if !is_ip_literal(&host[1..end]) {
            return false;
        }
        (&[][..], &host[end + 1..])
    } else {
        let end = memchr::memchr(b':', host).unwrap_or(host.len());
        (&host[..end], &host[end..])
    };
    let port_fits = match port {
        [] => true,
        [b':', digits @ ..] => {
            digits.iter().all(u8::is_ascii_digit)
                && digits.iter().fold(0_u32, |port, digit| (port * 10 + u32::from(digit - b'0')).min(100_000)) < 65_536
        }
        _ => false,
    };
    port_fits && is_reg_name(name)
}

#[inline]
fn is_reg_name(name: &[u8]) -> bool {
    let mut bytes = name.iter();
    while let Some(byte) = bytes.next() {
        let fits = match byte {
            b'%' => bytes.next().is_some_and(u8::is_ascii_hexdigit) && bytes.next().is_some_and(u8::is_ascii_hexdigit),
            _ => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(byte),
        };
        if !fits {
            return false;
        }
    }
    true
}

/// What may stand between the brackets: an IPv6 address (a zone is no business of a request), or a future form.
fn is_ip_literal(literal: &[u8]) -> bool {
    if let [b'v' | b'V', rest @ ..] = literal {
        let dot = memchr::memchr(b'.', rest).unwrap_or(0);
        return dot > 0
            && rest[..dot].iter().all(u8::is_ascii_hexdigit)
            && rest.len() > dot + 1
            && rest[dot + 1..].iter().all(|byte| is_token(*byte) || b"(),;=:".contains(byte));
    }
    std::str::from_utf8(literal).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::buffer::Size;

    const LIMITS: Limits = Limits { head_bytes: 4096, target_bytes: 256, headers: 20 };

    fn judge(text: &str) -> Result<Option<Framing>, Reject> {
        let mut room = fields::room();
        Request::parse(text.as_bytes(), &mut room, LIMITS).map(|request| request.map(|request| request.framing))
    }

    fn rewrite(text: &str) -> String {
        let mut room = fields::room();
        let request = Request::parse(text.as_bytes(), &mut room, LIMITS).unwrap().unwrap();
        let mut out = Buffer::take(Size::Small);
        let sender = Sender {
            client: b"192.0.2.7",
            scheme: b"http",
            host: None,
            request_id: b"id-1",
            fallback_host: b"fallback",
            proof: Proof::Untold,
        };
        request.write(&mut out, &sender, None);
        String::from_utf8(out.filled().to_vec()).unwrap()
    }

    #[test]
    fn framing_is_what_the_head_says() {
        for (head, framing) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Framing::Empty),
            ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Framing::Empty),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", Framing::Length(5)),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", Framing::Chunked),
            ("BREW /pot HTTP/1.1\r\nHost:\r\n\r\n", Framing::Empty),
            ("GET / HTTP/1.0\r\n\r\n", Framing::Empty),
            ("OPTIONS * HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", Framing::Empty),
        ] {
            assert_eq!(judge(head), Ok(Some(framing)), "{head:?}");
        }
    }

    #[test]
    fn what_could_be_read_two_ways_is_refused() {
        let with = |field: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
        for (head, reject) in [
            (with("Content-Length: 5\r\nTransfer-Encoding: chunked"), Reject::LengthAndChunked),
            (with("Content-Length: 5\r\nContent-Length: 5"), Reject::ContentLength),
            (with("Content-Length: 5, 5"), Reject::ContentLength),
            (with("Content-Length: +5"), Reject::ContentLength),
            (with("Transfer-Encoding: gzip, chunked"), Reject::TransferEncoding),
            (with("Transfer-Encoding: chunked, identity"), Reject::TransferEncoding),
            (with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), Reject::TransferEncoding),
            (with("Transfer-Encoding: \x0bchunked"), Reject::Header),
            (with("Content-Length : 5"), Reject::Header),
            (with("A: b\r\n folded"), Reject::Header),
            (with("A: b\rc"), Reject::Header),
            (with("A: b\nContent-Length: 5"), Reject::BareLineFeed),
            (with("A: \x01"), Reject::Header),
            (with("Host: b"), Reject::DuplicateHost),
            ("GET / HTTP/1.1\r\n\r\n".into(), Reject::MissingHost),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n".into(), Reject::Host),
            ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".into(), Reject::Host),
            ("GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n".into(), Reject::Host),
            ("GET / HTTP/1.2\r\nHost: a\r\n\r\n".into(), Reject::Version),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n".into(), Reject::Version),
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n".into(), Reject::RequestLine),
            ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n".into(), Reject::Target),
            ("GET a HTTP/1.1\r\nHost: a\r\n\r\n".into(), Reject::Target),
            ("GET * HTTP/1.1\r\nHost: a\r\n\r\n".into(), Reject::Target),
            ("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n".into(), Reject::Target),
            ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n".into(), Reject::Connect),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".into(), Reject::TransferEncoding),
        ] {
            assert_eq!(judge(&head), Err(reject), "{head:?}");
        }
    }

    #[test]
    fn limits_are_told_apart() {
        let long = "a".repeat(300);
        assert_eq!(judge(&format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n")), Err(Reject::TargetTooLong));
        assert_eq!(judge(&format!("GET /{}", "a".repeat(400))), Err(Reject::TargetTooLong));
        let many = "A: b\r\n".repeat(30);
        assert_eq!(judge(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")), Err(Reject::TooManyHeaders));
        let large = format!("A: {}\r\n", "b".repeat(1000)).repeat(5);
        assert_eq!(judge(&format!("GET / HTTP/1.1\r\nHost: a\r\n{large}\r\n")), Err(Reject::HeadTooLarge));
        assert_eq!(judge(&format!("GET / HTTP/1.1\r\nHost: a\r\n{large}")), Err(Reject::HeadTooLarge));
        assert_eq!(judge("GET / HTTP/1.1\r\nHost: a\r\n"), Ok(None));
    }

    #[test]
    fn the_backend_gets_the_lines_that_concern_it_and_who_asks() {
        assert_eq!(
            rewrite(concat!(
                "GET /a?b HTTP/1.1\r\nHost: A.example:80\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nX-Yours:  2 \r\n",
                "X-Forwarded-For: 10.0.0.1\r\nx-forwarded-proto: https\r\nForwarded: for=1\r\nKeep-Alive: 5\r\nTE: gzip\r\n\r\n"
            )),
            concat!(
                "GET /a?b HTTP/1.1\r\nHost: A.example:80\r\nX-Yours:  2 \r\nX-Forwarded-For: 192.0.2.7\r\n",
                "X-Forwarded-Proto: http\r\nX-Forwarded-Host: A.example:80\r\nX-Request-ID: id-1\r\n\r\n"
            )
        );
    }

    #[test]
    fn a_connection_field_cannot_take_away_what_frames_the_message() {
        let out =
            rewrite("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: content-length, host\r\n\r\n");
        assert!(out.contains("Content-Length: 5\r\n") && out.contains("Host: a\r\n"), "{out}");
    }

    #[test]
    fn what_another_server_could_take_for_framing_ends_here() {
        let out = rewrite(
            "POST / HTTP/1.1\r\nHost: a\r\nContent_Length: 5\r\nTransfer_Encoding: chunked\r\nExpect: x 100-continue\r\n\r\n",
        );
        assert!(out.starts_with("POST / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For"), "{out}");
    }

    #[test]
    fn an_absolute_target_without_path_gets_one() {
        let out = rewrite("GET http://b?c HTTP/1.1\r\nHost: b\r\n\r\n");
        assert!(out.starts_with("GET /?c HTTP/1.1\r\nHost: b\r\n"), "{out}");
        let out = rewrite("GET http://b HTTP/1.1\r\nHost: b\r\n\r\n");
        assert!(out.starts_with("GET / HTTP/1.1\r\nHost: b\r\n"), "{out}");
    }

    #[test]
    fn an_absolute_target_outranks_host() {
        let out = rewrite("GET http://b.example/x HTTP/1.1\r\nHost: a\r\nA: 1\r\n\r\n");
        assert!(out.starts_with("GET /x HTTP/1.1\r\nHost: b.example\r\nA: 1\r\n"), "{out}");
        assert!(out.contains("X-Forwarded-Host: b.example\r\n"), "{out}");
    }

    #[test]
    fn a_request_of_http_1_0_without_host_gets_one() {
        let out = rewrite("GET / HTTP/1.0\r\n\r\n");
        assert!(out.starts_with("GET / HTTP/1.1\r\nHost: fallback\r\n"), "{out}");
    }

    #[test]
    fn an_upgrade_is_passed_on_only_when_connection_names_it() {
        let upgraded = rewrite("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        assert!(upgraded.ends_with("Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"), "{upgraded}");
        let plain = rewrite("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n");
        assert!(!plain.contains("pgrade"), "{plain}");
        let h2c = rewrite("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n");
        assert!(!h2c.contains("pgrade"), "{h2c}");
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let mut room = fields::room();
        let text = b"GET / HTTP/1.1\r\nHost: a\r\nCookie: xs=1; s=two; t=3\r\n\r\n";
        let request = Request::parse(text, &mut room, LIMITS).unwrap().unwrap();
        assert_eq!(request.cookie("s"), Some(&b"two"[..]));
        assert_eq!(request.cookie("u"), None);
    }
}
