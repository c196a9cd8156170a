//! Sockets as the kernel lists them (`/proc/net/tcp` and its neighbours, proc(5)), and who holds them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::facts::Root;

/// What goes over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Tcp,
    Udp,
}

/// What a socket is for; all that is neither is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It accepts, or takes datagrams from anybody.
    Open,
    /// It is connected.
    Connected,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) transport: Transport,
    pub(super) state: State,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    /// Process and its name, where it may be seen.
    pub(super) holder: Option<(u32, String)>,
}

/// Lists of the kernel that are longer are read no further: 100 bytes for each socket.
const SOCKETS_MAX: usize = 500_000;

pub(super) fn read(root: &Root) -> Vec<Socket> {
    let mut sockets = Vec::new();
    let mut inodes = Vec::new();
    for (file, transport) in
        [("tcp", Transport::Tcp), ("tcp6", Transport::Tcp), ("udp", Transport::Udp), ("udp6", Transport::Udp)]
    {
        let Some(text) = root.text(&format!("proc/net/{file}")) else { continue };
        for (socket, inode) in text.lines().skip(1).take(SOCKETS_MAX).filter_map(|line| one(line, transport)) {
            inodes.push(inode);
            sockets.push(socket);
        }
    }
    let wanted = sockets.iter().zip(&inodes).filter(|(socket, _)| socket.state == State::Open);
    let mut holders: HashMap<u64, Option<(u32, String)>> = wanted.map(|(_, inode)| (*inode, None)).collect();
    find_holders(root, &mut holders);
    for (socket, inode) in sockets.iter_mut().zip(inodes) {
        socket.holder = holders.get(&inode).cloned().flatten();
    }
    sockets
}

/// `sl local remote state … uid timeout inode`; states 0A listens, 01 is established, 07 is an open one of UDP.
fn one(line: &str, transport: Transport) -> Option<(Socket, u64)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let state = match (transport, *words.get(3)?) {
        (Transport::Tcp, "0A") | (Transport::Udp, "07") => State::Open,
        (_, "01") => State::Connected,
        _ => return None,
    };
    let (local, remote) = (address(words.get(1)?)?, address(words.get(2)?)?);
    Some((Socket { transport, state, local, remote, holder: None }, words.get(9)?.parse().ok()?))
}

/// Hexadecimal: the address in words of 32 bits, each in the machine's order of bytes, then the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(address.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let bytes: Vec<u8> = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
            let address = Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?);
            address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4)
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

fn find_holders(root: &Root, holders: &mut HashMap<u64, Option<(u32, String)>>) {
    for pid in root.processes() {
        for target in root.links(&format!("proc/{pid}/fd")) {
            let inode = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
            let Some(holder) =
                inode.and_then(|inode| inode.parse().ok()).and_then(|inode: u64| holders.get_mut(&inode))
            else {
                continue;
            };
            *holder = Some((pid, root.text(&format!("proc/{pid}/comm")).unwrap_or_default().trim().to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernel_is_an_address_a_state_and_an_inode() {
        let tcp =
            "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100";
        let (socket, inode) = one(tcp, Transport::Tcp).unwrap();
        assert_eq!((socket.local, socket.state, inode), ("127.0.0.1:8080".parse().unwrap(), State::Open, 4711));
        for (text, means) in [
            ("00000000:0050", "0.0.0.0:80"),
            ("00000000000000000000000000000000:0050", "[::]:80"),
            ("00000000000000000000000001000000:0050", "[::1]:80"),
            ("0000000000000000FFFF0000010011AC:0050", "172.17.0.1:80"),
        ] {
            assert_eq!(address(text), Some(means.parse().unwrap()), "{text}");
        }
        for line in ["", "0: zz:1 0:0 0A", "0: 0100007F:1F90 00000000:0000 06 0 0 0 0 0 1"] {
            assert!(one(line, Transport::Tcp).is_none(), "{line}");
        }
    }
}
