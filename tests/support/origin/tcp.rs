//! An origin's TCP side: echo, banner, answer at the end, source, reset.

use std::io;
use std::net::Shutdown;
use std::sync::atomic::Ordering::SeqCst;

use super::script::Protocol;
use super::wire::Wire;
use super::{Run, Shared, reset};

/// Serves one connection until either side ends it.
pub(super) fn serve(wire: &mut Wire, protocol: &Protocol, run: &Run, shared: &Shared) -> io::Result<()> {
    let script = shared.script();
    run.wait(script.delay);
    match protocol {
        Protocol::Http | Protocol::Echo => counted_echo(wire, shared),
        Protocol::Banner(banner) => {
            wire.write(banner)?;
            counted_echo(wire, shared)
        }
        Protocol::AnswerAtEnd(answer) => {
            while count(shared, &wire.read_some()?) > 0 {}
            wire.write(answer)?;
            wire.stream.shutdown(Shutdown::Write)
        }
        Protocol::Source(bytes) => {
            let block = vec![b's'; 64 * 1024];
            let mut left = *bytes;
            while left > 0 {
                let part = left.min(block.len());
                wire.write(&block[..part])?;
                left -= part;
            }
            wire.stream.shutdown(Shutdown::Write)?;
            wire.discard()
        }
        Protocol::ResetAfter(bytes) => {
            count(shared, &wire.read_exact(*bytes)?);
            reset(&wire.stream);
            Ok(())
        }
    }
}

/// Sends back what comes, until the other side ends; then ends this one.
pub(super) fn echo(wire: &mut Wire) -> io::Result<()> {
    loop {
        let bytes = wire.read_some()?;
        if bytes.is_empty() {
            return wire.stream.shutdown(Shutdown::Write);
        }
        wire.write(&bytes)?;
    }
}

fn counted_echo(wire: &mut Wire, shared: &Shared) -> io::Result<()> {
    loop {
        let bytes = wire.read_some()?;
        if count(shared, &bytes) == 0 {
            return wire.stream.shutdown(Shutdown::Write);
        }
        wire.write(&bytes)?;
    }
}

fn count(shared: &Shared, bytes: &[u8]) -> usize {
    shared.bytes.fetch_add(bytes.len(), SeqCst);
    bytes.len()
}
