//! The header of the PROXY protocol, written: who a connection is made for, said before its first byte.
//!
//! Called by probes. No allocation, no socket: what is to be said goes in, the bytes come out.
//!
//! # What does a probe say of itself?
//! In version 2 it is [`Behalf::Own`]: the command LOCAL says that the balancer itself is asking, and the backend takes
//! the addresses of the connection, which are the true ones. Version 1 has no such command. `PROXY UNKNOWN` would come
//! near, but backends that enforce the protocol log nothing of use for it and some refuse it, so version 1 says the
//! connection's own two addresses. Checks of `HAProxy` do both in the same way.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use crate::config::model::SendProxy;

/// Longest header of version 1, by its specification (2.1).
const MAX_V1: usize = 107;

/// Every header of version 2 starts like this.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// On whose behalf a connection is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behalf {
    /// Our own: a probe.
    Own {
        /// Our end.
        local: SocketAddr,
        /// The backend's.
        remote: SocketAddr,
    },
    /// A client's.
    Client {
        /// The client.
        source: SocketAddr,
        /// The address that it reached.
        destination: SocketAddr,
    },
}

/// A header, ready to be sent.
#[derive(Debug, Clone)]
pub struct Header {
    bytes: [u8; MAX_V1],
    length: usize,
}

impl Header {
    /// What `version` says of a connection made for `behalf`.
    pub fn new(version: SendProxy, behalf: Behalf) -> Self {
        let mut header = Self { bytes: [0; MAX_V1], length: 0 };
        match (version, behalf) {
            (
                SendProxy::V1,
                Behalf::Own { local: source, remote: destination } | Behalf::Client { source, destination },
            ) => header.version_1(source, destination),
            (SendProxy::V2, Behalf::Own { .. }) => header.version_2(0x20, 0, &[]),
            (SendProxy::V2, Behalf::Client { source, destination }) => header.client(source, destination),
        }
        header
    }

    /// The bytes to send before anything else.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    fn version_1(&mut self, source: SocketAddr, destination: SocketAddr) {
        let mut room = &mut self.bytes[..];
        let (from, to) = (source.port(), destination.port());
        let written = match same_family(source.ip(), destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                write!(room, "PROXY TCP4 {source} {destination} {from} {to}\r\n")
            }
            (source, destination) => write!(room, "PROXY TCP6 {source} {destination} {from} {to}\r\n"),
        };
        let left = room.len();
        debug_assert!(written.is_ok(), "the longest line is two addresses of 39 and two ports of 5 digits");
        self.length = MAX_V1 - left;
    }

    fn client(&mut self, source: SocketAddr, destination: SocketAddr) {
        let mut block = [0; 36];
        let ([a, b], [c, d]) = (source.port().to_be_bytes(), destination.port().to_be_bytes());
        let ports = [a, b, c, d];
        match same_family(source.ip(), destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                block[..4].copy_from_slice(&source.octets());
                block[4..8].copy_from_slice(&destination.octets());
                block[8..12].copy_from_slice(&ports);
                self.version_2(0x21, 0x11, &block[..12]);
            }
            (source, destination) => {
                block[..16].copy_from_slice(&wide(source));
                block[16..32].copy_from_slice(&wide(destination));
                block[32..].copy_from_slice(&ports);
                self.version_2(0x21, 0x21, &block);
            }
        }
    }

    fn version_2(&mut self, command: u8, family: u8, block: &[u8]) {
        self.push(&SIGNATURE);
        self.push(&[command, family, 0, block.len() as u8]);
        self.push(block);
    }
}

/// Both as version 4 where both are, also when one is written as version 6; else both as version 6.
fn same_family(one: IpAddr, other: IpAddr) -> (IpAddr, IpAddr) {
    match (one.to_canonical(), other.to_canonical()) {
        (one @ IpAddr::V4(_), other @ IpAddr::V4(_)) => (one, other),
        (one, other) => (IpAddr::V6(wide(one).into()), IpAddr::V6(wide(other).into())),
    }
}

fn wide(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(local: &str, remote: &str) -> Behalf {
        Behalf::Own { local: local.parse().unwrap(), remote: remote.parse().unwrap() }
    }

    fn client(source: &str, destination: &str) -> Behalf {
        Behalf::Client { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
    }

    #[test]
    fn version_1_is_a_line() {
        let longest = "[ffff:fff1:ffff:ffff:ffff:ffff:ffff:fff1]:65535";
        let rows = [
            (own("10.0.0.9:40000", "10.0.0.1:80"), "PROXY TCP4 10.0.0.9 10.0.0.1 40000 80\r\n"),
            (client("192.0.2.1:5", "198.51.100.2:443"), "PROXY TCP4 192.0.2.1 198.51.100.2 5 443\r\n"),
            (client("[2001:db8::1]:1", "[2001:db8::2]:2"), "PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n"),
            (client("[::ffff:192.0.2.1]:1", "10.0.0.1:2"), "PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\n"),
            (client("192.0.2.1:1", "[2001:db8::2]:2"), "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n"),
            (
                client(longest, longest),
                "PROXY TCP6 ffff:fff1:ffff:ffff:ffff:ffff:ffff:fff1 ffff:fff1:ffff:ffff:ffff:ffff:ffff:fff1 65535 65535\r\n",
            ),
        ];
        for (behalf, line) in rows {
            let header = Header::new(SendProxy::V1, behalf);
            assert_eq!(std::str::from_utf8(header.bytes()), Ok(line), "{behalf:?}");
        }
    }

    #[test]
    fn version_2_is_a_block_of_bytes() {
        let rows: [(Behalf, &[u8]); 5] = [
            (own("10.0.0.9:40000", "10.0.0.1:80"), &[0x20, 0, 0, 0]),
            (own("[::1]:40000", "[::1]:80"), &[0x20, 0, 0, 0]),
            (
                client("192.0.2.1:258", "198.51.100.2:443"),
                &[0x21, 0x11, 0, 12, 192, 0, 2, 1, 198, 51, 100, 2, 1, 2, 1, 187],
            ),
            (client("[::ffff:1.2.3.4]:1", "5.6.7.8:2"), &[0x21, 0x11, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 2]),
            (
                client("1.2.3.4:1", "[2001:db8::2]:2"),
                b"\x21\x21\0\x24\0\0\0\0\0\0\0\0\0\0\xff\xff\x01\x02\x03\x04\
                  \x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\0\x01\0\x02",
            ),
        ];
        for (behalf, rest) in rows {
            let header = Header::new(SendProxy::V2, behalf);
            assert_eq!(header.bytes()[..12], *b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a");
            assert_eq!(header.bytes()[12..], *rest, "{behalf:?}");
        }
    }
}
