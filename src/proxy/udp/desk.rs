//! What the flows of one socket share: the socket, the list of flows, and the newest table that has the listener.
//!
//! Hot path: no lock, no formatting; no allocation but for a new flow.

use std::cell::{Ref, RefCell, RefMut};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::flow::{End, Flow, Key};
use super::flows::Flows;
use super::leg::Leg;
use crate::balance::Balance;
use crate::config::model::{Reads, ValueMatch};
use crate::net::datagram::{Arrived, Face, LONGEST};
use crate::pool::sticky::octets;
use crate::pool::{Ask, Stick};
use crate::proxy::accept::Seat;
use crate::proxy::attempt::{Search, Tried};
use crate::proxy::outcome::Cause;
use crate::proxy::tcp::settle;
use crate::proxy::worker::{Worker, source_key};
use crate::route::Listener;
use crate::route::routes::Question;

/// Datagrams taken in a row, before others have their turn.
const AT_ONCE: usize = 64;

/// Why a datagram goes nowhere; a position of [`crate::metrics::DROPS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dropped {
    NoRoute,
    NoBackend,
    Flows,
    Draining,
    Local,
    NotPassed,
    NotReturned,
    Overflow,
}

/// What the flows of one socket share.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) worker: Rc<Worker>,
    face: Face,
    seat: RefCell<Seat>,
    flows: RefCell<Flows>,
    room: RefCell<Box<[u8]>>,
}

impl Desk {
    /// A desk without flows.
    pub(super) fn new(worker: Rc<Worker>, face: Face, seat: Seat) -> Self {
        let room = vec![0; LONGEST].into_boxed_slice();
        Self { worker, face, seat: RefCell::new(seat), flows: RefCell::default(), room: RefCell::new(room) }
    }

    /// The newest table that has the listener, and the listener.
    pub(super) fn seat(&self) -> Ref<'_, Seat> {
        self.seat.borrow()
    }

    /// Goes on by this table.
    pub(super) fn take_seat(&self, seat: &Seat) {
        if !Rc::ptr_eq(&self.seat.borrow().0, &seat.0) {
            *self.seat.borrow_mut() = (Rc::clone(&seat.0), Arc::clone(&seat.1));
        }
    }

    /// Room for a datagram, for the moment.
    pub(super) fn room(&self) -> RefMut<'_, Box<[u8]>> {
        self.room.borrow_mut()
    }

    /// Waits until a datagram has come.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.face.readable().await
    }

    /// Takes what has come.
    ///
    /// # Errors
    /// What the system said of the socket.
    pub(super) fn take_in(self: &Rc<Self>) -> io::Result<()> {
        let (seat, mut room) = (self.seat(), self.room());
        for _ in 0..AT_ONCE {
            match self.face.take(&mut room) {
                Ok(arrived) => self.hear(&seat, arrived, &room[..arrived.length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn hear(self: &Rc<Self>, seat: &Seat, arrived: Arrived, bytes: &[u8]) {
        let stats = seat.1.stats.mine();
        stats.udp.received.inc();
        stats.received_bytes.add(bytes.len() as u64);
        if arrived.lost > 0 {
            stats.udp.dropped[Dropped::Overflow as usize].add(arrived.lost.into());
        }
        let key = Key { client: arrived.client, to: arrived.to };
        let known = self.flows.borrow().get(&key);
        match known {
            Some(flow) => flow.ask(self, seat, bytes),
            None => {
                if let Err(why) = self.begin(seat, key, bytes) {
                    stats.udp.dropped[why as usize].inc();
                }
            }
        }
    }

    /// The first datagram of a client.
    fn begin(self: &Rc<Self>, seat: &Seat, key: Key, bytes: &[u8]) -> Result<(), Dropped> {
        let (_, listener) = seat;
        if self.worker.is_draining() {
            return Err(Dropped::Draining);
        }
        let search = self.search(seat, key.client).ok_or(Dropped::NoRoute)?;
        let most = listener.config.limits.flows.get();
        if listener.open.load(Relaxed) >= most && !self.make_room() {
            return Err(Dropped::Flows);
        }
        search.pool().budget.request();
        let leg = Leg::reach(&search, &mut Tried::default(), bytes).map_err(|cause| fails(&search, cause))?;
        if leg.asked == 0 {
            return Err(Dropped::NotPassed);
        }
        settle(search.pool(), search.ask.stick, key.client.ip().to_canonical(), leg.backend());
        listener.stats.mine().connections.inc();
        let flow = Rc::new(Flow::new(key, leg, seat, FlowPlace::take(listener), bytes.len()));
        self.flows.borrow_mut().add(&flow);
        tokio::task::spawn_local(flow.run(Rc::clone(self)));
        Ok(())
    }

    /// Ends a flow that has to make room for another.
    fn make_room(&self) -> bool {
        let displaced = self.flows.borrow_mut().displace();
        displaced.inspect(|flow| flow.end(End::Displaced)).is_some()
    }

    /// A datagram of a flow could not be passed on.
    pub(super) fn unserved(&self, seat: &Seat, client: SocketAddr, cause: Cause) {
        let why = self.search(seat, client).map_or(Dropped::NoRoute, |search| fails(&search, cause));
        seat.1.stats.mine().udp.dropped[why as usize].inc();
    }

    /// The same where the system did not take this very one.
    pub(super) fn not_passed(seat: &Seat) {
        seat.1.stats.mine().udp.dropped[Dropped::NotPassed as usize].inc();
    }

    /// Sends an answer to a client; whether the system has taken it.
    pub(super) fn give(&self, listener: &Listener, key: &Key, bytes: &[u8]) -> bool {
        let stats = listener.stats.mine();
        let sent = self.face.send(bytes, key.client, key.to).is_ok();
        if sent {
            stats.udp.sent.inc();
            stats.sent_bytes.add(bytes.len() as u64);
        } else {
            stats.udp.dropped[Dropped::NotReturned as usize].inc();
        }
        sent
    }

    /// What a flow of this client asks of a pick; `None` where no route is for it.
    pub(super) fn search<'a>(&'a self, (view, listener): &'a Seat, client: SocketAddr) -> Option<Search<'a>> {
        let (pool, reads) = destination(listener, client)?;
        let ip = client.ip().to_canonical();
        let key = (view.pool(pool).config.balance == Balance::Source).then(|| source_key(ip));
        let sticky = view.pool(pool).sticky.as_ref();
        let stick = sticky.map_or(Stick::Free, |sticky| sticky.find(&octets(ip)));
        let ask = Ask { key, reads, near: view.pool(pool).near(ip), stick };
        Some(Search { worker: &self.worker, view, pool, ask, introduction: None, until: None })
    }

    /// A flow has ended.
    pub(super) fn forget(&self, flow: &Rc<Flow>) {
        self.flows.borrow_mut().remove(flow);
    }

    /// Ends all flows: the listener is gone.
    pub(super) fn close(&self) {
        for flow in self.flows.borrow_mut().clear() {
            flow.end(End::Closed);
        }
    }
}

/// A cause among the reasons for which datagrams are dropped; counted for the pool, too.
fn fails(search: &Search<'_>, cause: Cause) -> Dropped {
    search.pool().stats.mine().failed[cause.index()].inc();
    if cause == Cause::Local { Dropped::Local } else { Dropped::NoBackend }
}

/// The pool for a client's datagrams, and which backends of it.
pub(super) fn destination(listener: &Listener, client: SocketAddr) -> Option<(u32, Reads)> {
    let (destination, reads) = match listener.routes.find(&Asks(client.ip().to_canonical())) {
        Some(route) => (&route.destination, route.reads),
        None => (listener.config.destination.as_ref()?, listener.config.reads),
    };
    Some((destination.pools().next()?.0, reads))
}

/// What a route can see of a datagram: who sent it.
struct Asks(IpAddr);

impl Question for Asks {
    fn method(&self) -> &[u8] {
        &[]
    }

    fn host(&self) -> &[u8] {
        &[]
    }

    fn path(&self) -> &[u8] {
        &[]
    }

    fn client(&self) -> IpAddr {
        self.0
    }

    fn header_holds(&self, _condition: &ValueMatch) -> bool {
        false
    }
    fn cookie_holds(&self, _condition: &ValueMatch) -> bool {
        false
    }
    fn query_holds(&self, _condition: &ValueMatch) -> bool {
        false
    }
}

/// A place among the flows of a listener, over all workers; given back by drop.
#[derive(Debug)]
pub(super) struct FlowPlace(Arc<AtomicU32>);

impl FlowPlace {
    fn take(listener: &Listener) -> Self {
        listener.open.fetch_add(1, Relaxed);
        Self(Arc::clone(&listener.open))
    }
}

impl Drop for FlowPlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
