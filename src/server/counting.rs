//! What processes before this one still count while they finish: each tells it over a line of its own until its end.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, Interest};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::record::save;
use crate::control::Life;
use crate::control::handover::{MAX_OFFER_BYTES, Message};
use crate::control::records::Records;
use crate::route::Published;

/// From the first byte of an account to its last.
const WHOLE: Duration = Duration::from_secs(5);

/// All lines.
#[derive(Debug, Default)]
pub(super) struct Lines(Vec<Reading>);

#[derive(Debug)]
struct Reading {
    stop: oneshot::Sender<()>,
    /// Gives the line back, where it is still good.
    task: JoinHandle<Option<UnixStream>>,
    /// The same, for the process after this one.
    copy: OwnedFd,
    /// The last generation of whoever speaks there, where that is known from the start.
    of: Option<u64>,
}

/// Who counts here.
#[derive(Debug, Clone)]
pub(super) struct Here {
    pub(super) published: Arc<Published>,
    pub(super) life: Arc<Life>,
    pub(super) records: Arc<Records>,
}

impl Lines {
    /// Listens to one more, of a process with this last generation, where that is known.
    pub(super) fn add(&mut self, line: OwnedFd, of: Option<u64>, here: &Here) {
        let stream = std::os::unix::net::UnixStream::from(line);
        // One that cannot be listened to costs the last counts of a process that ends.
        let Ok(copy) = stream.as_fd().try_clone_to_owned() else { return };
        if let Ok(stream) = stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream)) {
            self.listen(stream, copy, of, here);
        }
    }

    fn listen(&mut self, stream: UnixStream, copy: OwnedFd, of: Option<u64>, here: &Here) {
        let (stop, stopped) = oneshot::channel();
        self.0.retain(|reading| !reading.task.is_finished());
        self.0.push(Reading { stop, task: tokio::spawn(listen(stream, stopped, of, here.clone())), copy, of });
    }

    /// Those that are still told something, for the process after this one.
    pub(super) fn copies(&self) -> Vec<OwnedFd> {
        let living = self.0.iter().filter(|reading| !reading.task.is_finished());
        living.filter_map(|reading| reading.copy.try_clone().ok()).collect()
    }

    /// Listens no more: somebody else does from now on. [`Lines::resume`] undoes it.
    pub(super) async fn stop(&mut self) -> Stopped {
        let mut stopped = Vec::new();
        for reading in self.0.drain(..) {
            // It may have ended.
            let _ = reading.stop.send(());
            if let Ok(Some(stream)) = reading.task.await {
                stopped.push((stream, reading.copy, reading.of));
            }
        }
        Stopped(stopped)
    }

    /// Nobody else has: goes on.
    pub(super) fn resume(&mut self, stopped: Stopped, here: &Here) {
        for (stream, copy, of) in stopped.0 {
            self.listen(stream, copy, of, here);
        }
    }
}

/// Lines that nobody listens to for the moment.
#[derive(Debug)]
pub(super) struct Stopped(Vec<(UnixStream, OwnedFd, Option<u64>)>);

/// Adds what is told until its end, or until told to stop in between two accounts.
async fn listen(
    mut line: UnixStream,
    mut stop: oneshot::Receiver<()>,
    mut of: Option<u64>,
    here: Here,
) -> Option<UnixStream> {
    loop {
        let mut length = [0; 4];
        let begun = tokio::select! {
            biased;
            _ = &mut stop => return Some(line),
            ready = line.ready(Interest::READABLE) => match ready {
                Ok(_) => line.try_read(&mut length),
                Err(error) => Err(error),
            },
        };
        let read = match begun {
            Ok(0) => {
                if let Some(generation) = of {
                    here.records.lost(generation);
                }
                return None;
            }
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_broken) => return None,
        };
        let frame = timeout(WHOLE, rest(&mut line, length, read)).await.ok().flatten()?;
        match Message::read(&frame) {
            Ok(Message::Counted(ledger)) => {
                ledger.add(&here.published.load(), &here.life);
                of = ledger.ending.map_or(of, |ending| Some(ending.generation));
                if ledger.ending.is_some_and(|ending| here.records.ends(&ending)) {
                    save(&here.records);
                }
            }
            _ => return None,
        }
    }
}

/// The frame of which `read` bytes of the length have been read.
async fn rest(line: &mut UnixStream, mut length: [u8; 4], read: usize) -> Option<Vec<u8>> {
    line.read_exact(&mut length[read..]).await.ok()?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_OFFER_BYTES {
        return None;
    }
    let mut frame = vec![0; length];
    line.read_exact(&mut frame).await.ok()?;
    Some(frame)
}
