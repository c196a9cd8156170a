//! The header of the PROXY protocol: who a connection is made for, said before its first byte
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).
//!
//! Written for probes and, with more in it ([`super::introduction`]), for traffic; read from proxies in front of us. What is written and what is understood knows no socket;
//! [`take`] alone reads from one.
//!
//! # What does a probe say of itself?
//! In version 2 it is [`Behalf::Own`]: the command LOCAL says that the balancer itself is asking, and the backend takes
//! the addresses of the connection, which are the true ones. Version 1 has no such command. `PROXY UNKNOWN` would come
//! near, but backends that enforce the protocol log nothing of use for it and some refuse it, so version 1 says the
//! connection's own two addresses, where it has any: a unix socket has none. Checks of `HAProxy` do the same.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::AsyncReadExt;

use super::transport::Transport;
use crate::config::model::SendProxy;

/// Longest header of version 1, by its specification (2.1).
const MAX_V1: usize = 107;

/// Every header of version 2 starts like this.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// On whose behalf a connection is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behalf {
    /// Our own: a probe. Our end and the backend's, where the connection has addresses.
    Own(Option<(SocketAddr, SocketAddr)>),
    /// That of a client without an address: it came by a unix socket.
    Nobody,
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
            (SendProxy::V1, Behalf::Own(Some((source, destination))) | Behalf::Client { source, destination }) => {
                header.version_1(source, destination);
            }
            (SendProxy::V1, Behalf::Own(None) | Behalf::Nobody) => header.push(b"PROXY UNKNOWN\r\n"),
            (SendProxy::V2, Behalf::Own(_)) => header.version_2(0x20, 0, &[]),
            (SendProxy::V2, Behalf::Nobody) => header.version_2(0x21, 0, &[]),
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

// === reading ===

/// The shortest header of either version: `PROXY UNKNOWN` and its line end. So much can be read without reading beyond.
const SHORTEST: usize = 15;
/// Bytes of version 2 before the block whose length they say.
const FIXED: usize = 16;
/// Longest block of version 2 that is read. Addresses take 36 bytes at most, the rest is for extensions (certificates
/// of clients among them); the specification has room for 65,535.
const MAX_BLOCK: usize = 4096;

/// What a header says of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named {
    /// The client.
    pub client: SocketAddr,
    /// The address that it reached.
    pub reached: SocketAddr,
}

/// Takes the header off a connection, and nothing beyond it. `None`: it is whoever has connected.
/// No deadline of its own.
///
/// # Errors
/// There is none, or a broken one, or the connection has ended.
pub async fn take(stream: &mut Transport) -> io::Result<Option<Named>> {
    let mut header = vec![0; SHORTEST];
    stream.read_exact(&mut header).await?;
    if header.starts_with(&SIGNATURE) {
        header.push(stream.read_u8().await?);
        let length = block_length(&header).ok_or_else(broken)?;
        header.resize(FIXED + length, 0);
        stream.read_exact(&mut header[FIXED..]).await?;
        return block(&header).ok_or_else(broken);
    }
    if !header.starts_with(b"PROXY ") {
        return Err(broken());
    }
    while !header.ends_with(b"\n") {
        if header.len() >= MAX_V1 {
            return Err(broken());
        }
        let take = match stream {
            Transport::Tcp(stream) => {
                let mut room = [0; MAX_V1];
                let seen = stream.known()?.peek(&mut room[..MAX_V1 - header.len()]).await?;
                if seen == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                // All of it belongs to the header where no line ends in it.
                memchr::memchr(b'\n', &room[..seen]).map_or(seen, |end| end + 1)
            }
            // tokio has no look at what has come there; a line is short.
            Transport::Unix(_) => 1,
        };
        let begun = header.len();
        header.resize(begun + take, 0);
        stream.read_exact(&mut header[begun..]).await?;
    }
    line(&header).ok_or_else(broken)
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no header of the PROXY protocol")
}

/// A line of version 1 (2.1). `Some(None)`: `UNKNOWN`.
#[expect(clippy::option_option, reason = "the outer one says whether it could be read")]
fn line(header: &[u8]) -> Option<Option<Named>> {
    let text = std::str::from_utf8(header).ok()?.strip_suffix("\r\n")?;
    let mut words = text.split(' ');
    let (start, family) = (words.next()?, words.next()?);
    match (start, family) {
        ("PROXY", "UNKNOWN") => return Some(None),
        ("PROXY", "TCP4" | "TCP6") => {}
        _ => return None,
    }
    let address = |word: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            _ => word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        }
    };
    // No sign and no zero in front, as Rust would take them.
    let port = |word: &str| word.parse::<u16>().ok().filter(|port| port.to_string() == word);
    let (source, destination) = (address(words.next()?)?, address(words.next()?)?);
    let (from, to) = (port(words.next()?)?, port(words.next()?)?);
    words.next().is_none().then(|| said((source, from), (destination, to)))
}

/// Who was said to be the client. The unspecified address is nobody's (RFC 4291, section 2.5.2), and stands for clients
/// without one elsewhere.
fn said(client: (IpAddr, u16), reached: (IpAddr, u16)) -> Option<Named> {
    let address = |(ip, port): (IpAddr, u16)| SocketAddr::new(ip.to_canonical(), port);
    (!client.0.is_unspecified()).then(|| Named { client: address(client), reached: address(reached) })
}

/// Length of the block behind the first 16 bytes of version 2 (2.2).
fn block_length(fixed: &[u8]) -> Option<usize> {
    let length = usize::from(u16::from_be_bytes([*fixed.get(14)?, *fixed.get(15)?]));
    (length <= MAX_BLOCK).then_some(length)
}

/// A whole header of version 2 (2.2). `Some(None)`: LOCAL, or a family that says no address.
#[expect(clippy::option_option, reason = "the outer one says whether it could be read")]
fn block(header: &[u8]) -> Option<Option<Named>> {
    let block = &header[FIXED..];
    match header[12] {
        0x20 => return Some(None),
        0x21 => {}
        _ => return None,
    }
    let port = |at: usize| Some(u16::from_be_bytes([*block.get(at)?, *block.get(at + 1)?]));
    match header[13] {
        // TCP or UDP over IPv4.
        0x11 | 0x12 => {
            let source: [u8; 4] = block.get(..4)?.try_into().ok()?;
            let destination: [u8; 4] = block.get(4..8)?.try_into().ok()?;
            Some(said((source.into(), port(8)?), (destination.into(), port(10)?)))
        }
        // The same over IPv6. The last bytes of the destination's port prove that the block is whole.
        0x21 | 0x22 => {
            let source: [u8; 16] = block.get(..16)?.try_into().ok()?;
            let destination: [u8; 16] = block.get(16..32)?.try_into().ok()?;
            Some(said((source.into(), port(32)?), (destination.into(), port(34)?)))
        }
        // Unix sockets, and "unspecified".
        0x00 | 0x31 | 0x32 => Some(None),
        _ => None,
    }
}

/// What a whole header says, for tests that have a client say anything; `None`: it is none.
pub fn understand(header: &[u8]) -> Option<Option<Named>> {
    if header.starts_with(&SIGNATURE) {
        let length = block_length(header)?;
        return block(header.get(..FIXED + length)?);
    }
    line(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(local: &str, remote: &str) -> Behalf {
        Behalf::Own(Some((local.parse().unwrap(), remote.parse().unwrap())))
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

    #[test]
    fn what_is_written_is_understood() {
        for (source, destination) in [
            ("192.0.2.1:5", "198.51.100.2:443"),
            ("[2001:db8::1]:65535", "[2001:db8::2]:2"),
            ("[::ffff:1.2.3.4]:1", "5.6.7.8:2"),
        ] {
            let canonical = |text: &str| {
                let address: SocketAddr = text.parse().unwrap();
                SocketAddr::new(address.ip().to_canonical(), address.port())
            };
            let told = Named { client: canonical(source), reached: canonical(destination) };
            let behalf = client(source, destination);
            assert_eq!(line(Header::new(SendProxy::V1, behalf).bytes()), Some(Some(told)));
            assert_eq!(block(Header::new(SendProxy::V2, behalf).bytes()), Some(Some(told)));
        }
        assert_eq!(block(Header::new(SendProxy::V2, own("10.0.0.9:4", "10.0.0.1:80")).bytes()), Some(None));
    }

    #[test]
    fn what_breaks_a_rule_is_no_header() {
        for text in [
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
            "PROXY TCP4 ::1 5.6.7.8 1 2\r\n",
            "PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n",
            "PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
            "proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY TCP4 1.2.3.400 5.6.7.8 1 2\r\n",
        ] {
            assert_eq!(line(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(line(b"PROXY TCP6 :: ::1 1 2\r\n"), Some(None), "nobody's address says nothing");
        assert_eq!(line(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n"), Some(None), "the rest of it says nothing (2.1)");
        let good = Header::new(SendProxy::V2, client("1.2.3.4:1", "5.6.7.8:2")).bytes().to_vec();
        for (at, byte) in [(12, 0x11), (12, 0x22), (13, 0x13), (13, 0x41), (13, 0x21)] {
            let mut bent = good.clone();
            bent[at] = byte;
            assert_eq!(block(&bent), None, "byte {at} is {byte:#x}");
        }
        for end in FIXED..good.len() {
            assert_eq!(block(&good[..end]), None, "cut at {end}");
        }
        assert_eq!(block_length(&[0xff; FIXED]), None);
    }
}
