//! Lines to a syslog daemon: a datagram for each, or a stream with the length in front of each (RFC 6587, section 3.4.1).
//!
//! Used by the thread of a `sink`. A daemon that is not there is tried again and again; meanwhile the queue in front
//! fills, and what does not fit is dropped and counted there.

use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::Duration;

use super::sink::{Complaint, Gate, count};
use super::{Syslog, SyslogAddress, Target};

/// Between two tries of a daemon that is not there.
const AGAIN: Duration = Duration::from_millis(500);
/// For a connection to come about, and for a daemon to take something.
const PATIENCE: Duration = Duration::from_secs(3);
/// Longest message: what daemons take as they come (rsyslog: 8 KiB). What is longer is cut.
const MAX_MESSAGE: usize = 8 * 1024;

/// The way to a daemon.
#[derive(Debug)]
pub(super) struct Daemon {
    to: Arc<Syslog>,
    link: Option<Link>,
    complaint: Complaint,
}

#[derive(Debug)]
enum Link {
    Unix(UnixDatagram),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Daemon {
    pub(super) fn new(to: Arc<Syslog>) -> Self {
        let complaint = Complaint::new(Target::Syslog(Arc::clone(&to)).to_string());
        Self { to, link: None, complaint }
    }

    /// Its name in messages.
    pub(super) fn name(&self) -> &str {
        &self.complaint.log
    }

    /// Sends whole lines; says how many could not be.
    pub(super) fn write(&mut self, lines: &[u8], gate: &Gate) -> u64 {
        let mut rest = lines;
        while !rest.is_empty() {
            match self.send(rest) {
                (sent, Ok(())) => {
                    rest = &rest[sent..];
                    self.complaint.is_over();
                }
                (sent, Err(error)) => {
                    rest = &rest[sent..];
                    self.link = None;
                    self.complaint.say(&error);
                    if gate.is_ending() {
                        return count(rest);
                    }
                    gate.pause(AGAIN);
                }
            }
        }
        0
    }

    /// Sends as much as it can; says how many bytes of `lines` that were, whole lines.
    fn send(&mut self, lines: &[u8]) -> (usize, io::Result<()>) {
        let link = match &mut self.link {
            Some(link) => link,
            None => match connect(&self.to.address) {
                Ok(link) => self.link.insert(link),
                Err(error) => return (0, Err(error)),
            },
        };
        let mut done = 0;
        let send: &mut dyn FnMut(&[u8]) -> io::Result<()> = match link {
            Link::Tcp(stream) => return stream_all(stream, lines),
            Link::Unix(socket) => &mut |line| socket.send(line).map(drop),
            // A daemon that does not listen is told of by the error of the next datagram: there is nothing to wait for.
            Link::Udp(socket) => &mut |line| match socket.send(line) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
                sent => sent.map(drop),
            },
        };
        for line in each(lines) {
            if let Err(error) = send(cut(line)) {
                return (done, Err(error));
            }
            done += line.len() + 1;
        }
        (lines.len(), Ok(()))
    }
}

/// All lines in one piece, each with its length in front; whole ones count as sent.
fn stream_all(stream: &mut TcpStream, lines: &[u8]) -> (usize, io::Result<()>) {
    let mut framed = Vec::with_capacity(lines.len() + lines.len() / 16);
    let mut ends = Vec::new();
    let mut done = 0;
    for line in each(lines) {
        let message = cut(line);
        framed.extend_from_slice(message.len().to_string().as_bytes());
        framed.push(b' ');
        framed.extend_from_slice(message);
        done += line.len() + 1;
        ends.push((framed.len(), done));
    }
    let mut sent = 0;
    while sent < framed.len() {
        match stream.write(&framed[sent..]) {
            Ok(0) => return (whole(&ends, sent), Err(io::ErrorKind::WriteZero.into())),
            Ok(written) => sent += written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (whole(&ends, sent), Err(error)),
        }
    }
    (lines.len(), Ok(()))
}

fn whole(ends: &[(usize, usize)], sent: usize) -> usize {
    ends.iter().take_while(|(end, _)| *end <= sent).last().map_or(0, |(_, done)| *done)
}

fn each(lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    lines.strip_suffix(b"\n").unwrap_or(lines).split(|byte| *byte == b'\n')
}

/// Not in the middle of a letter.
fn cut(line: &[u8]) -> &[u8] {
    if line.len() <= MAX_MESSAGE {
        return line;
    }
    let begins = |at: &usize| line[*at] & 0xc0 != 0x80;
    &line[..(0..=MAX_MESSAGE).rev().find(begins).unwrap_or(MAX_MESSAGE)]
}

fn connect(address: &SyslogAddress) -> io::Result<Link> {
    match address {
        SyslogAddress::Unix(path) => {
            let socket = UnixDatagram::unbound()?;
            socket.set_write_timeout(Some(PATIENCE))?;
            socket.connect(path)?;
            Ok(Link::Unix(socket))
        }
        SyslogAddress::Udp(address) => {
            let to = first(address)?;
            let any = match to {
                SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
                SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
            };
            let socket = UdpSocket::bind(any)?;
            socket.connect(to)?;
            Ok(Link::Udp(socket))
        }
        SyslogAddress::Tcp(address) => {
            let stream = TcpStream::connect_timeout(&first(address)?, PATIENCE)?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(Link::Tcp(stream))
        }
    }
}

fn first(address: &str) -> io::Result<SocketAddr> {
    address.to_socket_addrs()?.next().ok_or_else(|| io::Error::other("the name has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_cut_between_two_letters() {
        let line = "\u{fc}".repeat(MAX_MESSAGE);
        assert_eq!(cut(line.as_bytes()).len(), MAX_MESSAGE);
        let line = format!("a{line}");
        assert_eq!(cut(line.as_bytes()).len(), MAX_MESSAGE - 1);
        assert_eq!(cut(b"short"), b"short");
    }

    #[test]
    fn of_a_broken_stream_whole_lines_count() {
        let ends = [(7, 6), (14, 12)];
        for (sent, done) in [(0, 0), (6, 0), (7, 6), (13, 6), (14, 12)] {
            assert_eq!(whole(&ends, sent), done, "{sent}");
        }
    }
}
