//! What systemd is told (`sd_notify(3)`): that the program is ready, reloads or stops, which process is the main one after an
//! upgrade, and that control and all workers turn.
//!
//! # Why not a crate?
//! A datagram with lines of text is shorter than what would have to be said to a crate; libsystemd itself is not wanted in
//! a static binary.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::{interval, timeout};

use super::workers::Pulse;

/// Where systemd listens; nobody is told anything without one.
#[derive(Debug)]
pub(super) struct Supervisor {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// A sign of life is due so often.
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// As the environment says.
    pub(super) fn of_environment() -> Self {
        let address = std::env::var_os("NOTIFY_SOCKET").and_then(|path| address(&path));
        let socket = address.and_then(|address| Some((UnixDatagram::unbound().ok()?, address)));
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        // It may mean another process: whoever has started this one.
        let is_meant = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|micros| is_meant && *micros > 0).map(Duration::from_micros);
        Self { socket, watchdog }
    }

    /// The program serves.
    pub(super) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={}", line(status)));
    }

    /// It reads its configuration anew; [`Supervisor::ready`] says when that is over.
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// It stops.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=finishing what is open");
    }

    /// The process with this number is the program from now on.
    pub(super) fn main_is(&self, pid: u32) {
        self.tell(&format!("MAINPID={pid}"));
    }

    fn tell(&self, state: &str) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(state.as_bytes(), address) {
            tracing::warn!(%error, "systemd cannot be told how this program is");
        }
    }

    /// Gives signs of life where they are wanted, as long as all workers do, too. Runs on control, which turns then.
    pub(super) fn watch_over(self: &std::sync::Arc<Self>, pulse: Pulse) {
        let Some(every) = self.watchdog else { return };
        let this = std::sync::Arc::clone(self);
        tokio::spawn(async move {
            // Twice as often as is wanted, as sd_watchdog_enabled(3) advises.
            let mut beat = interval(every / 2);
            loop {
                beat.tick().await;
                if timeout(every / 4, pulse.felt()).await.is_ok() {
                    this.tell("WATCHDOG=1");
                } else {
                    tracing::error!("a worker does not turn: systemd is given no sign of life");
                }
            }
        });
    }
}

/// One line: a second one would be another word to systemd.
fn line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn address(path: &OsStr) -> Option<SocketAddr> {
    match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name).ok(),
        [b'/', ..] => SocketAddr::from_pathname(path).ok(),
        _ => None,
    }
}
