//! Sockets that systemd has opened before the program started (`sd_listen_fds(3)`).
#![expect(unsafe_code, reason = "a descriptor that was there before us has no owner yet")]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::io::{FdFlags, fcntl_setfd};
use socket2::{SockRef, Type};

use crate::config::model::Site;

/// The first descriptor that is handed over.
const FIRST: RawFd = 3;

/// A socket that was there at the start.
#[derive(Debug)]
pub struct Inherited {
    /// `FileDescriptorName=` of its unit, else the name of that.
    pub name: String,
    /// Where it is bound.
    pub site: Option<Site>,
    /// Whether it carries datagrams.
    pub is_datagram: bool,
    /// Itself.
    pub socket: OwnedFd,
}

/// Those that the environment says are meant for this process. The second call finds none.
pub fn take() -> Vec<Inherited> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    if number("LISTEN_PID") != Some(std::process::id()) || TAKEN.swap(true, Relaxed) {
        return Vec::new();
    }
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let count = number("LISTEN_FDS").and_then(|count| RawFd::try_from(count).ok()).unwrap_or(0);
    let names = names.split(':').map(ToOwned::to_owned).chain(std::iter::repeat(String::new()));
    (FIRST..FIRST.saturating_add(count)).zip(names).filter_map(|(fd, name)| inherited(fd, name)).collect()
}

fn inherited(fd: RawFd, name: String) -> Option<Inherited> {
    // One that is not open would be somebody else's soon.
    std::fs::symlink_metadata(format!("/proc/self/fd/{fd}")).ok()?;
    // SAFETY: it is open; whoever has started the program says that it is for this process, and each is taken once.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // No command of a check may have it.
    fcntl_setfd(&socket, FdFlags::CLOEXEC).ok()?;
    let about = SockRef::from(&socket);
    let address = about.local_addr().ok()?;
    let site = match (address.as_socket(), address.as_pathname()) {
        (Some(address), _) => Some(Site::Ip(address)),
        (None, Some(path)) => format!("unix:{}", path.display()).parse().ok().map(Site::Unix),
        (None, None) => None,
    };
    let is_datagram = about.r#type().ok()? == Type::DGRAM;
    Some(Inherited { name, site, is_datagram, socket })
}
