//! What the parts of one HTTP/2 connection share: how much waits to be sent, how many streams are open, and what the
//! client has sent that is no work.
//!
//! Hot path: no allocation once warm, no lock, no formatting.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use bytes::{Buf, Bytes};
use h2::Reason;

use super::floods::Flood;
use super::incoming::Incoming;
use crate::clock;

/// Bytes of one connection that may wait for its socket: beyond, streams wait before they hand over more. Together with
/// what each stream may have in hand, that is what a client can make us keep by not reading.
const MAX_QUEUED: usize = 256 * 1024;

/// Shared by a connection, its streams and what they send.
#[derive(Debug)]
pub(super) struct Ledger {
    queued: Cell<usize>,
    /// Streams that wait for `queued` to fall.
    waiting: RefCell<Vec<Waker>>,
    streams: Cell<u32>,
    /// The connection's own task, which wants to know when the last stream has ended.
    owner: RefCell<Option<Waker>>,
    incoming: RefCell<Incoming>,
}

impl Ledger {
    /// Of a connection that begins now, milliseconds.
    pub(super) fn new(now: u64) -> Rc<Self> {
        Rc::new(Self {
            queued: Cell::new(0),
            waiting: RefCell::default(),
            streams: Cell::new(0),
            owner: RefCell::default(),
            incoming: RefCell::new(Incoming::new(now)),
        })
    }

    /// Whether more may be handed over to be sent; if not, the task is woken when it may.
    pub(super) fn has_room(&self, context: &mut Context<'_>) -> bool {
        if self.queued.get() < MAX_QUEUED {
            return true;
        }
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            waiting.push(context.waker().clone());
        }
        false
    }

    /// Streams open now.
    pub(super) fn streams(&self) -> u32 {
        self.streams.get()
    }

    /// One more stream, until the place is dropped.
    pub(super) fn open(self: &Rc<Self>) -> Place {
        self.streams.set(self.streams.get() + 1);
        self.incoming.borrow_mut().floods.request();
        Place(Rc::clone(self))
    }

    /// The task that is woken when the last stream ends.
    pub(super) fn belongs_to(&self, context: &Context<'_>) {
        let mut owner = self.owner.borrow_mut();
        if !owner.as_ref().is_some_and(|owner| owner.will_wake(context.waker())) {
            *owner = Some(context.waker().clone());
        }
    }

    /// Bytes have come from the client; how many of them are for the library.
    pub(super) fn received(&self, bytes: &[u8]) -> usize {
        self.incoming.borrow_mut().see(bytes, clock::millis())
    }

    /// For what fault of the client's the connection must end.
    pub(super) fn fault(&self) -> Option<Reason> {
        self.incoming.borrow().fault()
    }

    /// Whether nothing more is for the library.
    pub(super) fn is_done(&self) -> bool {
        let incoming = self.incoming.borrow();
        incoming.fault().is_some() || incoming.floods.found().is_some()
    }

    /// An answer was sent whole.
    pub(super) fn answered(&self) {
        self.incoming.borrow_mut().floods.answered();
    }

    /// What the client floods us with, if it does.
    pub(super) fn flood(&self) -> Option<Flood> {
        self.incoming.borrow().floods.found()
    }

    /// What it most likely was where the library has had enough.
    pub(super) fn likely_flood(&self) -> Flood {
        self.incoming.borrow().floods.likely()
    }

    /// Whether the client has begun a block of header fields and not ended it.
    pub(super) fn is_in_head(&self) -> bool {
        self.incoming.borrow().floods.is_in_head()
    }
}

/// A stream's place on its connection.
#[derive(Debug)]
pub(super) struct Place(Rc<Ledger>);

impl Drop for Place {
    fn drop(&mut self) {
        let left = self.0.streams.get().saturating_sub(1);
        self.0.streams.set(left);
        if left == 0
            && let Some(owner) = &*self.0.owner.borrow()
        {
            owner.wake_by_ref();
        }
    }
}

/// Bytes on their way into DATA frames; counted until they have left or their stream is reset.
#[derive(Debug)]
pub(super) struct Parcel {
    bytes: Bytes,
    length: usize,
    ledger: Rc<Ledger>,
}

impl Parcel {
    pub(super) fn new(bytes: Bytes, ledger: &Rc<Ledger>) -> Self {
        let length = bytes.len();
        ledger.queued.set(ledger.queued.get() + length);
        ledger.incoming.borrow_mut().floods.sent(length);
        Self { bytes, length, ledger: Rc::clone(ledger) }
    }
}

impl Buf for Parcel {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        let queued = self.ledger.queued.get().saturating_sub(self.length);
        self.ledger.queued.set(queued);
        if queued < MAX_QUEUED {
            self.ledger.waiting.borrow_mut().drain(..).for_each(Waker::wake);
        }
    }
}
