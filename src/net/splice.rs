//! Bytes from one socket to another without a way through this program's memory: splice(2) through a pipe.
//!
//! Pipes are lent by the worker and given back as soon as nothing is in them, so that a stream that waits owns none. Only
//! an empty pipe is filled: what splice(2) then calls "would block" is the socket's silence and never a full pipe, which
//! would leave a connection waiting for news that has come already. Who gets no pipe copies.
//!
//! Hot path: no allocation once warm, no lock, no formatting.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// Room asked for in a pipe: as much as one turn moves. The system counts it in pages that it does not copy, so that more
/// may fit.
const ROOM: usize = 256 * 1024;
/// Pipes of a worker: the system lets a user who is not root have 64 MiB in all (`fs.pipe-user-pages-soft`).
const MAX_PIPES: usize = 64;
/// Empty pipes kept by a worker.
const MAX_FREE: usize = 16;

thread_local! {
    static FREE: RefCell<Vec<Ends>> = const { RefCell::new(Vec::new()) };
    static LENT: Cell<usize> = const { Cell::new(0) };
    static REFUSED: Cell<bool> = const { Cell::new(false) };
}

#[derive(Debug)]
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

/// A pipe on loan. Dropped with something in it, it is closed.
#[derive(Debug)]
pub struct Pipe {
    /// There until it is dropped.
    ends: Option<Ends>,
    held: usize,
}

impl Pipe {
    /// An empty pipe of the worker; none where all are lent, or the system gives none or does not splice.
    pub fn take() -> Option<Self> {
        if LENT.get() >= MAX_PIPES || REFUSED.get() {
            return None;
        }
        let ends = FREE.with_borrow_mut(Vec::pop).or_else(Ends::open)?;
        LENT.set(LENT.get() + 1);
        Some(Self { ends: Some(ends), held: 0 })
    }

    /// Whether nothing is in it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Moves up to `most` bytes from a socket into it; 0 is the socket's end. To be asked of an empty pipe only.
    ///
    /// # Errors
    /// The socket's own, such as a reset; `WouldBlock` when nothing has come.
    pub(super) fn fill(&mut self, socket: impl AsFd, most: usize) -> io::Result<usize> {
        debug_assert!(self.is_empty(), "a full pipe cannot be told from a silent socket");
        let Some(ends) = &self.ends else { return Ok(0) };
        let moved = splice(socket, None, &ends.write, None, most.min(ROOM), SpliceFlags::NONBLOCK)?;
        self.held += moved;
        Ok(moved)
    }

    /// Moves what is in it to a socket, as far as that goes.
    ///
    /// # Errors
    /// The socket's own; `WouldBlock` when it takes nothing now.
    pub(super) fn empty(&mut self, socket: impl AsFd) -> io::Result<usize> {
        let Some(ends) = &self.ends else { return Ok(0) };
        // Not SPLICE_F_MORE: it would hold the last bytes back for 200 ms.
        let moved = splice(&ends.read, None, socket, None, self.held, SpliceFlags::NONBLOCK)?;
        self.held -= moved.min(self.held);
        Ok(moved)
    }
}

impl Ends {
    fn open() -> Option<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // A smaller one works as well, in more turns.
        let _ = fcntl_setpipe_size(&write, ROOM);
        Some(Self { read, write })
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // At the end of a thread its lists may be gone already.
        let _ = LENT.try_with(|lent| lent.set(lent.get().saturating_sub(1)));
        let Some(ends) = self.ends.take().filter(|_| self.held == 0) else { return };
        let _ = FREE.try_with(|free| {
            if let Ok(mut free) = free.try_borrow_mut()
                && free.len() < MAX_FREE
            {
                free.push(ends);
            }
        });
    }
}

/// Closes one of the pipes that are kept: those of a busy hour do not stay open for ever. To be called now and then.
pub fn sweep() {
    FREE.with_borrow_mut(Vec::pop);
}

/// Whether the system does not splice such sockets, so that nothing has been moved; this worker copies from now on.
pub fn is_refusal(error: &io::Error) -> bool {
    let is_refusal = matches!(
        Errno::from_io_error(error),
        Some(Errno::INVAL | Errno::NOSYS | Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP)
    );
    if is_refusal {
        REFUSED.set(true);
    }
    is_refusal
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn free() -> usize {
        FREE.with_borrow(Vec::len)
    }

    #[test]
    fn bytes_pass_and_an_empty_pipe_is_lent_again() {
        let (mut client, from) = UnixStream::pair().expect("sockets");
        let (to, mut backend) = UnixStream::pair().expect("sockets");
        let mut pipe = Pipe::take().expect("a pipe");
        client.write_all(b"hello").expect("room");
        assert_eq!(pipe.fill(&from, 3).expect("bytes"), 3);
        assert_eq!(pipe.empty(&to).expect("room"), 3);
        assert!(pipe.is_empty());
        assert_eq!(pipe.fill(&from, 100).expect("bytes"), 2);
        assert_eq!(pipe.empty(&to).expect("room"), 2);
        let mut read = [0; 5];
        backend.read_exact(&mut read).expect("bytes");
        assert_eq!(&read, b"hello");
        drop(pipe);
        assert_eq!(free(), 1);
        let again = Pipe::take().expect("a pipe");
        assert_eq!(free(), 0);
        drop(again);
        sweep();
        assert_eq!(free(), 0, "none is kept for ever");
        sweep();
    }

    #[test]
    fn what_is_left_in_a_pipe_never_reaches_the_next_one() {
        let (mut client, from) = UnixStream::pair().expect("sockets");
        client.write_all(b"secret").expect("room");
        let mut pipe = Pipe::take().expect("a pipe");
        pipe.fill(&from, 100).expect("bytes");
        drop(pipe);
        assert_eq!(free(), 0);
    }

    #[test]
    fn a_worker_has_so_many_pipes_and_no_more() {
        let lent: Vec<Pipe> = std::iter::from_fn(Pipe::take).take(MAX_PIPES + 1).collect();
        assert_eq!(lent.len(), MAX_PIPES);
        drop(lent);
        assert_eq!(free(), MAX_FREE);
        assert!(Pipe::take().is_some());
    }

    #[test]
    fn where_the_system_does_not_splice_nobody_tries_again() {
        assert!(!is_refusal(&io::ErrorKind::WouldBlock.into()));
        assert!(Pipe::take().is_some());
        assert!(is_refusal(&Errno::INVAL.into()));
        assert!(Pipe::take().is_none());
    }

    #[test]
    fn an_end_is_no_bytes_and_silence_would_block() {
        let (client, from) = UnixStream::pair().expect("sockets");
        from.set_nonblocking(true).expect("a socket");
        let mut pipe = Pipe::take().expect("a pipe");
        let silence = pipe.fill(&from, 100).expect_err("nothing has come");
        assert_eq!(silence.kind(), io::ErrorKind::WouldBlock);
        drop(client);
        assert_eq!(pipe.fill(&from, 100).expect("an end"), 0);
    }
}
