//! Access logs below whoever fills them: the language of their lines (`format`), what makes a line safe (`escape`), and
//! where lines go (`sink`, with `file` and `syslog`), each target by a thread of its own.
//!
//! A worker hands over whole buffers and never waits: what a target is too slow for is dropped and counted. The lines
//! themselves are made in `proxy::log`, which knows what happened.

pub mod escape;
mod file;
pub mod format;
pub mod sink;
mod syslog;

use std::path::PathBuf;
use std::sync::Arc;

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// A file, which is appended to.
    File(Arc<PathBuf>),
    /// A syslog daemon.
    Syslog(Arc<Syslog>),
}

/// A syslog daemon, spoken to as RFC 5424 says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Syslog {
    /// Where it is.
    pub address: SyslogAddress,
    /// Number of the facility, 0 to 23.
    pub facility: u8,
    /// APP-NAME: printable ASCII, at most 48 bytes.
    pub tag: Arc<str>,
}

/// Where a syslog daemon is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SyslogAddress {
    /// A datagram socket of this machine.
    Unix(PathBuf),
    /// Host and port: a datagram for each line (RFC 5426).
    Udp(Arc<str>),
    /// Host and port: a stream of lines, each with its length in front (RFC 6587).
    Tcp(Arc<str>),
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::File(path) => path.display().fmt(f),
            Self::Syslog(syslog) => match &syslog.address {
                SyslogAddress::Unix(path) => path.display().fmt(f),
                SyslogAddress::Udp(address) => write!(f, "udp:{address}"),
                SyslogAddress::Tcp(address) => write!(f, "tcp:{address}"),
            },
        }
    }
}
