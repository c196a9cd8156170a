//! Frames and sockets over a unix socket between two processes of this program: one takes over the work of the other.
//!
//! Blocking, with one deadline for all that is said; called by threads that may wait. What the frames say is judged
//! elsewhere: here a frame is bytes of a bounded length, and a socket is a descriptor that knows what it is.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};

/// Descriptors that go with one message; the kernel takes 253 (`SCM_MAX_FD`).
const SOCKETS_AT_ONCE: usize = 64;
/// Sockets in all: more listeners times workers than any machine has.
const MAX_SOCKETS: usize = 65_536;
/// The byte that descriptors travel with.
const CARRIER: u8 = b'S';

/// One end of a conversation between two processes.
#[derive(Debug)]
pub struct Line {
    stream: UnixStream,
    deadline: Instant,
}

impl Line {
    /// Everything that is said must be over after `time`.
    ///
    /// # Errors
    /// The system does not take the socket.
    pub fn new(stream: UnixStream, time: Duration) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        Ok(Self { stream, deadline: Instant::now() + time })
    }

    /// From now on, all must be over after `time`.
    pub fn allow(&mut self, time: Duration) {
        self.deadline = Instant::now() + time;
    }

    /// The same end once more, for whoever must break the conversation off.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn again(&self) -> io::Result<UnixStream> {
        self.stream.try_clone()
    }

    /// Whether the other side has said something that has not been heard. Does not wait.
    pub fn has_spoken(&self) -> bool {
        let mut room = [0; 1];
        let heard = rustix::net::recv(&self.stream, &mut room, RecvFlags::PEEK | RecvFlags::DONTWAIT);
        heard.is_ok_and(|(_, length)| length > 0)
    }

    /// Says one frame: its length in four bytes, then its bytes.
    ///
    /// # Errors
    /// The other side has gone or does not listen; it is longer than a frame can be.
    pub fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(|_long| io::Error::from(io::ErrorKind::InvalidInput))?;
        self.write(&length.to_be_bytes())?;
        self.write(bytes)
    }

    /// Hears one frame of at most `most` bytes; `None`: the other side has ended in between two.
    ///
    /// # Errors
    /// It is longer, breaks off, or does not come in time.
    pub fn hear(&mut self, most: usize) -> io::Result<Option<Vec<u8>>> {
        let mut length = [0; 4];
        if !self.read(&mut length)? {
            return Ok(None);
        }
        let length = u32::from_be_bytes(length) as usize;
        if length > most {
            return Err(io::Error::other(format!("a frame of {length} bytes, where at most {most} may come")));
        }
        let mut frame = vec![0; length];
        if !self.read(&mut frame)? && length > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Some(frame))
    }

    /// Gives these sockets away. They stay open here as well.
    ///
    /// # Errors
    /// The other side has gone or does not listen.
    pub fn give(&mut self, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
        for some in sockets.chunks(SOCKETS_AT_ONCE) {
            let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_AT_ONCE))];
            let mut beside = SendAncillaryBuffer::new(&mut room);
            beside.push(SendAncillaryMessage::ScmRights(some));
            self.stream.set_write_timeout(Some(self.left()?))?;
            rustix::net::sendmsg(&self.stream, &[IoSlice::new(&[CARRIER])], &mut beside, SendFlags::NOSIGNAL)?;
        }
        Ok(())
    }

    /// Takes so many sockets.
    ///
    /// # Errors
    /// They do not come.
    pub fn take(&mut self, count: usize) -> io::Result<Vec<OwnedFd>> {
        if count > MAX_SOCKETS {
            return Err(io::Error::other(format!("{count} sockets, where at most {MAX_SOCKETS} may come")));
        }
        let mut sockets = Vec::with_capacity(count);
        while sockets.len() < count {
            let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_AT_ONCE))];
            let mut beside = RecvAncillaryBuffer::new(&mut room);
            let mut carrier = [0];
            self.stream.set_read_timeout(Some(self.left()?))?;
            let mut bytes = [IoSliceMut::new(&mut carrier)];
            let heard = rustix::net::recvmsg(&self.stream, &mut bytes, &mut beside, RecvFlags::CMSG_CLOEXEC)?;
            let before = sockets.len();
            for message in beside.drain() {
                if let RecvAncillaryMessage::ScmRights(more) = message {
                    sockets.extend(more);
                }
            }
            if heard.bytes == 0 || sockets.len() == before {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        if sockets.len() > count { Err(io::Error::other("more sockets than were announced")) } else { Ok(sockets) }
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }

    /// Fills `room`; false where the other side has ended before its first byte.
    fn read(&mut self, room: &mut [u8]) -> io::Result<bool> {
        let mut have = 0;
        while have < room.len() {
            self.stream.set_read_timeout(Some(self.left()?))?;
            match self.stream.read(&mut room[have..]) {
                Ok(0) if have == 0 => return Ok(false),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(more) => have += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.stream.set_write_timeout(Some(self.left()?))?;
            match self.stream.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(some) => bytes = &bytes[some..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsFd;

    use super::*;

    fn pair() -> (Line, Line) {
        let (a, b) = UnixStream::pair().unwrap();
        let time = Duration::from_secs(5);
        (Line::new(a, time).unwrap(), Line::new(b, time).unwrap())
    }

    #[test]
    fn frames_and_sockets_arrive_in_the_order_in_which_they_were_said() {
        let (mut old, mut new) = pair();
        let sockets: Vec<_> = (0..SOCKETS_AT_ONCE + 3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let fds: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        old.say(b"three and some").unwrap();
        old.give(&fds).unwrap();
        old.say(b"").unwrap();
        old.say(b"done").unwrap();
        assert_eq!(new.hear(64).unwrap().unwrap(), b"three and some");
        let taken = new.take(fds.len()).unwrap();
        for (socket, taken) in sockets.iter().zip(taken) {
            let address = TcpListener::from(taken).local_addr().unwrap();
            assert_eq!(address, socket.local_addr().unwrap());
        }
        assert_eq!(new.hear(64).unwrap().unwrap(), b"");
        assert_eq!(new.hear(64).unwrap().unwrap(), b"done");
        drop(old);
        assert_eq!(new.hear(64).unwrap(), None);
    }

    #[test]
    fn what_is_too_long_breaks_off_or_never_comes_is_an_error() {
        let (mut old, mut new) = pair();
        old.say(&[0; 65]).unwrap();
        assert!(new.hear(64).is_err());
        let (mut old, mut new) = pair();
        old.write(&[0, 0, 0, 9, 1, 2]).unwrap();
        drop(old);
        assert_eq!(new.hear(64).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let (_old, mut new) = pair();
        new.allow(Duration::from_millis(1));
        assert_eq!(new.hear(64).unwrap_err().kind(), io::ErrorKind::TimedOut);
        let (mut old, mut new) = pair();
        old.say(b"no socket").unwrap();
        assert!(new.take(1).is_err());
        assert!(new.take(MAX_SOCKETS + 1).is_err());
    }
}
