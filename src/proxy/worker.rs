//! One data-path thread: what its connections share. Nothing here is shared with another thread.
//!
//! Hot path: no allocation once warm, no lock, no formatting.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;

use super::http::http2::links::Links;
use super::idle::Idle;
use super::log::AccessLog;
use crate::balance::hash;
use crate::balance::rng::Rng;
use crate::net::{splice, wheel};
use crate::pool::{Ask, Lease, Local, Notice, Pool, Seat, Wanted};
use crate::route::{Listener, Published, Table};

/// How often idle connections are looked through for those that are too old.
const SWEEP: Duration = Duration::from_secs(1);

/// How long relays may take to tell their sides that the process ends, and how often that is looked at.
const FAREWELL: Duration = Duration::from_millis(250);
const FAREWELL_LOOK: Duration = Duration::from_millis(5);

/// What the connections of one thread share.
#[derive(Debug)]
pub struct Worker {
    /// Idle connections to backends.
    pub idle: Idle,
    /// Connections of HTTP/2 to backends.
    pub links: Links,
    /// The access logs of its listeners.
    pub log: AccessLog,
    /// Client connections open in the whole process.
    pub open: Arc<AtomicU32>,
    /// Workers in all: limits that hold for the process are divided by it.
    pub workers: usize,
    published: Arc<Published>,
    view: RefCell<Rc<View>>,
    rng: RefCell<Rng>,
    /// Called when what may serve has changed.
    ready: Notify,
    draining: Cell<Option<Drain>>,
    ending: Cell<bool>,
    /// Relays under way.
    relays: Rc<Cell<u32>>,
}

/// Which connections end while the program drains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drain {
    /// Those that have been answered: the answer says so. One that waits for its next request may send it still, and no
    /// client finds its connection closed when it asks.
    Answered,
    /// Also those that are idle.
    Idle,
}

/// Whether work that comes now finds a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prospect {
    /// Some backend may serve it.
    Somebody,
    /// None may.
    Nobody,
    /// None may yet: some have no verdict.
    Undecided,
}

/// The table as this worker sees it, with what the worker remembers of each pool.
#[derive(Debug)]
pub struct View {
    /// The table.
    pub table: Arc<Table>,
    locals: Vec<RefCell<Local>>,
}

impl View {
    fn new(table: Arc<Table>, rng: &mut Rng) -> Rc<Self> {
        let locals = table.pools.iter().map(|_| RefCell::new(Local::new(rng.next_u64() >> 32))).collect();
        Rc::new(Self { table, locals })
    }

    /// A listener of the table.
    pub fn listener(&self, name: &str) -> Option<Arc<Listener>> {
        self.table.listeners.iter().find(|listener| *listener.config.name == *name).cloned()
    }

    /// What this table has in place of a listener of an older one: the one of that name, or else the one that has taken
    /// over a socket of it, which is the same by another name.
    pub fn successor(&self, old: &Listener) -> Option<Arc<Listener>> {
        self.listener(&old.config.name).or_else(|| self.heir(old))
    }

    fn heir(&self, gone: &Listener) -> Option<Arc<Listener>> {
        let inherits = |listener: &&Arc<Listener>| {
            let mut binds = listener.config.binds.iter();
            listener.config.protocol == gone.config.protocol
                && binds.any(|bind| !bind.is_any_port() && gone.config.binds.contains(bind))
        };
        self.table.listeners.iter().find(inherits).cloned()
    }

    /// A pool of the table.
    #[inline]
    pub fn pool(&self, index: u32) -> &Arc<Pool> {
        &self.table.pools[index as usize]
    }
}

impl Worker {
    /// A worker over the published table.
    pub fn new(published: Arc<Published>, open: Arc<AtomicU32>, workers: usize, seed: u64) -> Rc<Self> {
        let mut rng = Rng::seeded(seed);
        let view = View::new(published.load(), &mut rng);
        Rc::new(Self {
            idle: Idle::default(),
            links: Links::default(),
            log: AccessLog::new(rng.next_u64()),
            open,
            workers,
            published,
            view: RefCell::new(view),
            rng: RefCell::new(rng),
            ready: Notify::new(),
            draining: Cell::new(None),
            ending: Cell::new(false),
            relays: Rc::default(),
        })
    }

    /// Number of the newest table.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.published.generation()
    }

    /// The current table: a plain load and a count, unless there is a new one.
    #[inline]
    pub fn view(&self) -> Rc<View> {
        if self.published.generation() != self.view.borrow().table.generation {
            *self.view.borrow_mut() = View::new(self.published.load(), &mut self.rng.borrow_mut());
        }
        Rc::clone(&self.view.borrow())
    }

    /// Picks a backend of the pool.
    #[inline]
    pub fn pick(&self, view: &View, pool: u32, ask: &Ask, tried: &[u32]) -> Option<Lease> {
        view.pool(pool).pick(&mut view.locals[pool as usize].borrow_mut(), &mut self.rng.borrow_mut(), ask, tried)
    }

    /// The lease of a place that was waited for; `None` where its backend may serve the work no more.
    pub fn seated(&self, view: &View, pool: u32, ask: &Ask, seat: Seat, wanted: Wanted) -> Option<Lease> {
        view.pool(pool).seated(&mut view.locals[pool as usize].borrow_mut(), seat, wanted, ask)
    }

    /// Who may serve this work.
    pub fn prospect(&self, view: &View, pool: u32, ask: &Ask) -> Prospect {
        let mut local = view.locals[pool as usize].borrow_mut();
        let ready = local.ready(view.pool(pool));
        match ready.undecided {
            _ if !ready.layout(ask).is_empty() => Prospect::Somebody,
            true => Prospect::Undecided,
            false => Prospect::Nobody,
        }
    }

    /// Whether some backend may serve this work and is not among `tried`. Only retries come here.
    pub fn has_others(&self, view: &View, pool: u32, ask: &Ask, tried: &[u32]) -> bool {
        let mut local = view.locals[pool as usize].borrow_mut();
        let mut backends = local.ready(view.pool(pool)).layout(ask).backends();
        backends.any(|backend| !tried.contains(&backend.slot.index))
    }

    /// Whether all that may serve this work and are not among `tried` may be full: some of them take only so much at once.
    pub fn may_be_full(&self, view: &View, pool: u32, ask: &Ask, tried: &[u32]) -> bool {
        let mut local = view.locals[pool as usize].borrow_mut();
        let ready = local.ready(view.pool(pool));
        let mut all = ready.layout(ask).backends();
        ready.is_limited()
            && (view.pool(pool).own(ask, tried).is_some() || all.any(|backend| !tried.contains(&backend.slot.index)))
    }

    /// Gives places at the pool's backends that are free to those whose turn it is.
    pub fn offer_places(&self, view: &View, pool: u32, ask: &Ask) {
        view.pool(pool).offer_places(&mut view.locals[pool as usize].borrow_mut(), ask);
    }

    /// Waits until what may serve changes somewhere.
    pub fn ready_changes(&self) -> tokio::sync::futures::Notified<'_> {
        self.ready.notified()
    }

    /// A random number.
    #[inline]
    pub fn random(&self) -> u64 {
        self.rng.borrow_mut().next_u64()
    }

    /// Whether the program is about to stop: connections end after the request they are at.
    #[inline]
    pub fn is_draining(&self) -> bool {
        self.draining.get().is_some()
    }

    /// Whether connections that are at no request end as well.
    #[inline]
    pub fn ends_idle(&self) -> bool {
        self.draining.get() == Some(Drain::Idle)
    }

    /// Finish what is under way, begin nothing new.
    pub fn drain(&self, drain: Drain) {
        self.draining.set(Some(drain));
        wheel::wake_all();
    }

    /// Whether the time to finish is over: relays end, and say so where there is a word for it.
    #[inline]
    pub fn is_ending(&self) -> bool {
        self.ending.get()
    }

    /// What is still under way ends now; returns when relays have said so to both of their sides, or after a moment.
    pub async fn end(&self) {
        self.ending.set(true);
        if self.relays.get() == 0 {
            return;
        }
        wheel::wake_all();
        let told = async {
            while self.relays.get() > 0 {
                tokio::time::sleep(FAREWELL_LOOK).await;
            }
            // Whoever holds the connection of a stream of HTTP/2 passes its last frame on.
            tokio::time::sleep(FAREWELL_LOOK * 2).await;
        };
        // Who does not take it by then is not waited for.
        let _ = tokio::time::timeout(FAREWELL, told).await;
    }

    /// A relay is under way until this is dropped.
    pub fn relays(&self) -> Relays {
        self.relays.set(self.relays.get() + 1);
        Relays(Rc::clone(&self.relays))
    }

    /// Acts on what control tells. Runs as a task of the worker for its whole life.
    pub async fn listen_to_control(self: Rc<Self>, mut notices: UnboundedReceiver<Notice>) {
        while let Some(notice) = notices.recv().await {
            match notice {
                Notice::Ready => self.ready.notify_waiters(),
                Notice::Down(backend) | Notice::Cut(backend) => {
                    self.idle.forget(&backend);
                    self.links.forget(&backend);
                    wheel::wake_marked(backend.slot.index);
                }
            }
        }
    }

    /// Closes idle connections that are too old or whose backend is gone. Runs as a task for the worker's whole life.
    pub async fn sweep(self: Rc<Self>) {
        let mut interval = tokio::time::interval(SWEEP);
        loop {
            interval.tick().await;
            self.idle.sweep();
            self.links.sweep();
            self.log.flush();
            splice::sweep();
            // Neither a worker without traffic nor its idle connections may live by an old table.
            let generation = self.view.borrow().table.generation;
            if self.view().table.generation != generation {
                wheel::wake_all();
            }
        }
    }

    /// Takes a place among the process's connections, given back by drop.
    pub fn place(&self, listener: &Arc<AtomicU32>) -> Place {
        self.open.fetch_add(1, Relaxed);
        listener.fetch_add(1, Relaxed);
        Place(Arc::clone(&self.open), Arc::clone(listener))
    }
}

/// A relay that is under way.
#[derive(Debug)]
pub struct Relays(Rc<Cell<u32>>);

impl Drop for Relays {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A place among the process's and the listener's connections.
#[derive(Debug)]
pub struct Place(Arc<AtomicU32>, Arc<AtomicU32>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
        self.1.fetch_sub(1, Relaxed);
    }
}

/// The key that a client's address is spread by.
pub fn source_key(client: IpAddr) -> u64 {
    match client {
        IpAddr::V4(address) => hash(&address.octets()),
        IpAddr::V6(address) => hash(&address.octets()),
    }
}
