//! What traffic says to a backend before anything else: the header of the PROXY protocol, with the client that the
//! connection is made for and, in version 2, more that is known of it (the specification, section 2.2).
//!
//! Written once for each connection to a backend, from what is at hand; [`super::proxy_protocol`] knows the addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::proxy_protocol::{Behalf, Header};
use super::stream::Stream;
use super::tls::Facts;
use crate::config::model::{Introduce, NO_ADDRESS, SendProxy, Tlv};

const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
const UNIQUE_ID: u8 = 0x05;
const SSL: u8 = 0x20;
const SSL_VERSION: u8 = 0x21;
const SSL_CN: u8 = 0x22;
const SSL_CIPHER: u8 = 0x23;
/// Bits of what the client did: it spoke TLS; it showed a certificate on this connection; in this session.
const CLIENT_SSL: u8 = 0x01;
const CLIENT_CERT: u8 = 0x02 | 0x04;
/// Longest unique id, by the specification; and longest of any other text, of which a part would mean something else.
const MAX_ID: usize = 128;
const MAX_TEXT: usize = 255;
/// Where version 2 says how much follows its first 16 bytes.
const LENGTH: std::ops::Range<usize> = 14..16;

/// A header, ready to be sent.
#[derive(Debug)]
pub struct Introduction(Vec<u8>);

/// What is said beside the addresses; nothing of what is not known or not wanted.
#[derive(Debug, Default)]
struct Extras<'a> {
    protocol: Option<&'a [u8]>,
    authority: Option<&'a str>,
    tls: Option<Facts<'a>>,
    id: Option<&'a [u8]>,
}

impl Introduction {
    /// What `terms` want to be said of a client at `source`, whose connection or request has this identity.
    pub fn of(terms: &Introduce, client: &Stream, source: SocketAddr, id: &[u8]) -> Self {
        let behalf = if source.ip() == NO_ADDRESS {
            Behalf::Nobody
        } else {
            Behalf::Client { source, destination: client.local_address().unwrap_or_else(|| unknown(source)) }
        };
        let mut extras = Extras::default();
        let tls = if terms.tlvs.is_empty() { None } else { client.tls() };
        for tlv in &terms.tlvs {
            match tlv {
                Tlv::Alpn => extras.protocol = tls.and_then(|tls| tls.protocol),
                Tlv::Authority => extras.authority = tls.and_then(|tls| tls.server_name),
                Tlv::Tls => extras.tls = tls,
                Tlv::UniqueId => extras.id = Some(id),
            }
        }
        Self::written(terms.version, behalf, &extras)
    }

    /// The bytes to send before anything else.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn written(version: SendProxy, behalf: Behalf, extras: &Extras<'_>) -> Self {
        let mut bytes = Header::new(version, behalf).bytes().to_vec();
        if version == SendProxy::V1 {
            return Self(bytes);
        }
        let begun = bytes.len();
        extras.write(&mut bytes);
        let added = (bytes.len() - begun) as u16;
        let length = u16::from_be_bytes([bytes[LENGTH.start], bytes[LENGTH.start + 1]]) + added;
        bytes[LENGTH].copy_from_slice(&length.to_be_bytes());
        Self(bytes)
    }
}

impl Extras<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        if let Some(protocol) = self.protocol {
            put(out, ALPN, protocol, MAX_TEXT);
        }
        if let Some(authority) = self.authority {
            put(out, AUTHORITY, authority.as_bytes(), MAX_TEXT);
        }
        if let Some(id) = self.id {
            put(out, UNIQUE_ID, id, MAX_ID);
        }
        if let Some(tls) = &self.tls {
            let certified = tls.client.is_some();
            let mut inside = vec![if certified { CLIENT_SSL | CLIENT_CERT } else { CLIENT_SSL }];
            // 0 where a certificate was shown and is trusted.
            inside.extend(u32::from(!certified).to_be_bytes());
            put(&mut inside, SSL_VERSION, tls.version.as_bytes(), MAX_TEXT);
            if let Some(name) = tls.client.and_then(|client| client.holder.common_name.as_deref()) {
                put(&mut inside, SSL_CN, name.as_bytes(), MAX_TEXT);
            }
            put(&mut inside, SSL_CIPHER, tls.cipher.as_bytes(), MAX_TEXT);
            put(out, SSL, &inside, usize::from(u16::MAX));
        }
    }
}

/// One of them, unless it is too long: a part of it could be taken for another whole.
fn put(out: &mut Vec<u8>, kind: u8, value: &[u8], most: usize) {
    if value.len() <= most {
        out.push(kind);
        out.extend((value.len() as u16).to_be_bytes());
        out.extend(value);
    }
}

/// The address that was reached, where nobody knows it: over a unix socket.
fn unknown(source: SocketAddr) -> SocketAddr {
    let nowhere: IpAddr = if source.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    SocketAddr::new(nowhere, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Behalf {
        Behalf::Client { source: "192.0.2.1:258".parse().unwrap(), destination: "198.51.100.2:443".parse().unwrap() }
    }

    #[test]
    fn extras_follow_the_addresses_and_count_in_the_length() {
        let extras = Extras { protocol: Some(b"h2"), authority: Some("a.b"), id: Some(b"id-1"), tls: None };
        let said = Introduction::written(SendProxy::V2, client(), &extras);
        let expected =
            b"\x21\x11\0\x1e\xc0\0\x02\x01\xc6\x33\x64\x02\x01\x02\x01\xbb\x01\0\x02h2\x02\0\x03a.b\x05\0\x04id-1";
        assert_eq!(&said.bytes()[12..], expected);
        let bare = Introduction::written(SendProxy::V2, client(), &Extras::default());
        assert_eq!(bare.bytes(), Header::new(SendProxy::V2, client()).bytes());
        let nobody = Introduction::written(SendProxy::V2, Behalf::Nobody, &extras);
        assert_eq!(&nobody.bytes()[12..19], b"\x21\0\0\x12\x01\0\x02");
        let line = Introduction::written(SendProxy::V1, client(), &extras);
        assert_eq!(line.bytes(), b"PROXY TCP4 192.0.2.1 198.51.100.2 258 443\r\n", "a line has no room for more");
        assert_eq!(Introduction::written(SendProxy::V1, Behalf::Nobody, &extras).bytes(), b"PROXY UNKNOWN\r\n");
    }

    #[test]
    fn what_was_agreed_on_stands_within_one_of_them() {
        let tls = Facts { version: "TLSv1.3", cipher: "C", protocol: None, server_name: None, client: None };
        let extras = Extras { tls: Some(tls), ..Extras::default() };
        let said = Introduction::written(SendProxy::V2, client(), &extras);
        assert_eq!(&said.bytes()[28..], b"\x20\0\x13\x01\0\0\0\x01\x21\0\x07TLSv1.3\x23\0\x01C");
    }

    #[test]
    fn what_is_too_long_is_left_out() {
        let long = "x".repeat(256);
        let extras = Extras { authority: Some(&long), id: Some(&[b'x'; 129]), ..Extras::default() };
        let said = Introduction::written(SendProxy::V2, client(), &extras);
        assert_eq!(said.bytes(), Header::new(SendProxy::V2, client()).bytes());
    }
}
