//! A request head written anew for the backend: the lines that concern it, what rules change of them, and what the
//! balancer has to say of whom it speaks for.
//!
//! Hot path: no allocation, no lock, no formatting.

use std::ops::Range;

use super::Request;
use super::target::Form;
use crate::net::buffer::Buffer;
use crate::net::tls::ClientCertificate;
use crate::proxy::http::http1::Framing;
use crate::proxy::http::http1::edits::Edits;
use crate::proxy::http::http1::fields::{self, Left};

impl Request<'_> {
    /// Writes the head for the backend: the lines that concern it, what rules change of them, and what the balancer has to
    /// say. Says where the request's identity stands.
    pub fn write(&self, out: &mut Buffer, sender: &Sender<'_>, edits: Option<&Edits>) -> Range<usize> {
        out.append(self.method.as_bytes());
        out.append(b" ");
        if let Some(target) = edits.and_then(Edits::target) {
            out.append(target);
        } else {
            if self.origin_target.starts_with('?') {
                out.append(b"/");
            }
            out.append(self.origin_target.as_bytes());
        }
        out.append(b" HTTP/1.1\r\n");
        let outranks_host = matches!(self.form, Form::Absolute(_));
        if outranks_host || self.host.is_none() {
            // The lines' own Host, if any, is left out below.
            line(out, b"Host: ", self.host.map_or(sender.fallback_host, str::as_bytes));
        }
        let mut left = self.left;
        if outranks_host {
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
