//! Pools as they are: backends, what may serve, picking one, and the lease on it.

pub mod backend;
pub mod budget;
mod dress;
pub mod events;
pub mod group;
pub mod incidents;
pub mod overrides;
pub mod pick;
pub mod preferences;
pub mod queue;
pub mod ready;
pub mod slot;
pub mod spread;
pub mod sticky;
#[cfg(test)]
mod town;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc::UnboundedSender;

pub use backend::{Backend, CheckStatus, Evidence, Remarks, Symptom, TunnelPlace};
pub use budget::Budget;
pub use dress::Dress;
pub use overrides::{Order, OrderKind, Override};
pub use pick::{Ask, Lease, Local};
pub use preferences::{Near, Preferences};
pub use queue::{Displaced, Queue, Seat, Turn, Wanted};
pub use ready::Ready;
pub use slot::Slot;
pub use sticky::{Stick, Sticky};

use crate::config::model;
pub use crate::health::judge::{Alarm, AlarmKind};
use crate::metrics::{PerWorker, PoolStats};
use crate::net::way::Way;

/// One pool, live. Made anew by each reload; its backends and counters are carried over.
#[derive(Debug)]
pub struct Pool {
    /// What the configuration says.
    pub config: Arc<model::Pool>,
    /// One for each of `config.members`, in that order.
    pub backends: Vec<Arc<Backend>>,
    /// What the workers count of it.
    pub stats: Arc<PerWorker<PoolStats>>,
    /// How many retries its traffic may cost.
    pub budget: Arc<Budget>,
    /// How its traffic agrees on TLS with its backends; `None`: not at all.
    pub tls: Option<Arc<Dress>>,
    /// How its backends are reached; `None`: nothing is special.
    pub way: Option<Way>,
    /// How its clients stay with a backend; `None`: they do not.
    pub sticky: Option<Arc<Sticky>>,
    preferences: Preferences,
    live: Arc<Live>,
    bell: Arc<Bell>,
}

/// What of a pool changes while it lives. Shared by the pool of each generation, so that whoever still holds an older
/// one sees what may serve now.
#[derive(Debug)]
struct Live {
    /// Requests that wait, for a backend that serves or for a place at one.
    waiting: AtomicU32,
    /// Whose turn it is for a place.
    queue: Arc<Queue>,
    /// What may serve. Writer: control, through [`Pool::refresh`]; read by a worker once after each flip.
    ready: Mutex<Arc<Ready>>,
    /// Counts the changes of `ready`. Release pairs with Acquire: who sees the number finds the value.
    version: AtomicU64,
    /// What somebody should look at. Writer: control, through [`Pool::set_alarms`].
    alarms: Mutex<Vec<Alarm>>,
    /// Who has the work, where one of several has it. Writer: control, through [`Pool::set_leader`].
    leader: Mutex<Option<Arc<str>>>,
    /// How often that has changed. Writer: the same.
    leader_changes: AtomicU64,
}

/// Tells all workers that something changed which they may be waiting for.
#[derive(Debug, Default)]
pub struct Bell(Mutex<Vec<UnboundedSender<Notice>>>);

/// What a worker is told.
#[derive(Debug, Clone)]
pub enum Notice {
    /// What may serve in some pool has changed: whoever waits for a backend looks again.
    Ready,
    /// This backend has gone down: waiting requests go elsewhere, and with `on_down = "close"` sessions end.
    Down(Arc<Backend>),
    /// The open sessions of this backend end now, whatever the pool says of sessions (its role is lost, or the time of
    /// its drain is over).
    Cut(Arc<Backend>),
}

impl Bell {
    /// A worker listens from now on.
    pub fn add(&self, worker: UnboundedSender<Notice>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
    }

    /// Tells every worker.
    pub fn ring(&self, notice: &Notice) {
        let workers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for worker in workers.iter() {
            // A worker that has ended needs no notice.
            let _ = worker.send(notice.clone());
        }
    }
}

impl Pool {
    /// A pool of these backends, one for each member of `config`.
    pub fn new(config: Arc<model::Pool>, backends: Vec<Arc<Backend>>, workers: usize, bell: Arc<Bell>) -> Self {
        let preferences = Preferences::of_pool(&config);
        set_limits(&config, &backends);
        let live = Live {
            waiting: AtomicU32::new(0),
            queue: Arc::default(),
            ready: Mutex::new(Arc::new(Ready::of(&config, &backends, &preferences))),
            version: AtomicU64::new(1),
            alarms: Mutex::new(Vec::new()),
            leader: Mutex::new(None),
            leader_changes: AtomicU64::new(0),
        };
        let budget = Arc::new(budget_of(&config.retry));
        let stats = Arc::new(PerWorker::new(workers));
        let tls = config.tls.as_ref().map(|tls| Arc::new(Dress::new(tls, config.http)));
        for backend in &backends {
            backend.set_queue(&live.queue);
        }
        let sticky = Sticky::new(&config, &backends, &preferences, None).map(Arc::new);
        let way = config.way.clone().map(Way::new);
        Self { config, backends, stats, budget, tls, way, sticky, preferences, live: Arc::new(live), bell }
    }

    /// The next generation of this pool: counters and what changes while it lives go on.
    #[must_use]
    pub fn successor(&self, config: Arc<model::Pool>, backends: Vec<Arc<Backend>>) -> Self {
        let budget = if config.retry == self.config.retry {
            Arc::clone(&self.budget)
        } else {
            Arc::new(budget_of(&config.retry))
        };
        let (stats, live, bell) = (Arc::clone(&self.stats), Arc::clone(&self.live), Arc::clone(&self.bell));
        let preferences = Preferences::of_pool(&config);
        for backend in &backends {
            backend.set_queue(&live.queue);
        }
        // Kept where nothing has changed: sessions can be taken up again.
        let tls = if config.tls == self.config.tls && config.http == self.config.http {
            self.tls.clone()
        } else {
            config.tls.as_ref().map(|tls| Arc::new(Dress::new(tls, config.http)))
        };
        let sticky = Sticky::new(&config, &backends, &preferences, self.sticky.as_deref()).map(Arc::new);
        let way = config.way.clone().map(Way::new);
        Self { config, backends, stats, budget, tls, way, sticky, preferences, live, bell }
    }

    /// Makes the data path see the backends' states: called by `probe` after each flip, and when a table is published.
    pub fn refresh(&self) {
        set_limits(&self.config, &self.backends);
        let ready = Arc::new(Ready::of(&self.config, &self.backends, &self.preferences));
        *self.live.ready.lock().unwrap_or_else(PoisonError::into_inner) = ready;
        self.live.version.fetch_add(1, Ordering::Release);
        self.bell.ring(&Notice::Ready);
    }

    /// Tells the workers that one of its backends has gone down. Called by `probe`, after `refresh`.
    pub fn backend_went_down(&self, backend: &Arc<Backend>) {
        self.bell.ring(&Notice::Down(Arc::clone(backend)));
    }

    /// Ends the open sessions of one of its backends: all that were picked before, also by a worker that has not seen
    /// the last `refresh` yet. Called by `probe`.
    pub fn cut(&self, backend: &Arc<Backend>) {
        // A version of its own: nothing that was picked before has it, and everything that is picked from now on.
        backend.cut(self.live.version.fetch_add(1, Ordering::Release) + 1);
        self.bell.ring(&Notice::Cut(Arc::clone(backend)));
    }

    /// Which zone the work of a client prefers; its address without the IPv6 dress of an IPv4 one.
    #[inline]
    pub fn near(&self, client: IpAddr) -> Near {
        self.preferences.of(client)
    }

    /// Counts the changes of what may serve.
    #[inline]
    pub fn version(&self) -> u64 {
        self.live.version.load(Ordering::Acquire)
    }

    fn current(&self) -> (u64, Arc<Ready>) {
        let version = self.version();
        (version, Arc::clone(&self.live.ready.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// The alarms that are raised.
    pub fn alarms(&self) -> Vec<Alarm> {
        self.live.alarms.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the alarms. Called by `probe` only.
    pub fn set_alarms(&self, alarms: &[Alarm]) {
        alarms.clone_into(&mut self.live.alarms.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Who has the work, by name, where one of several has it.
    pub fn leader(&self) -> Option<Arc<str>> {
        self.live.leader.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often another backend got the work, or nobody had it any more.
    pub fn leader_changes(&self) -> u64 {
        self.live.leader_changes.load(Ordering::Relaxed)
    }

    /// Says who has the work now. Called by `probe` only.
    pub fn set_leader(&self, leader: Option<Arc<str>>) {
        let mut known = self.live.leader.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != leader {
            *known = leader;
            self.live.leader_changes.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Who had the work in the process before this one: no change of leader.
    pub fn take_up_leader(&self, leader: Option<Arc<str>>) {
        *self.live.leader.lock().unwrap_or_else(PoisonError::into_inner) = leader;
    }

    /// Changes of the leader that another process has counted.
    pub fn count_leader_changes(&self, changes: u64) {
        self.live.leader_changes.fetch_add(changes, Ordering::Relaxed);
    }

    /// Room in the queue of those who wait; `None` when it is full.
    pub fn wait(&self) -> Option<Waiting<'_>> {
        let before = self.live.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Waiting(self);
        (before < self.config.queue).then_some(place)
    }

    /// The same for a place at a backend: where the queue is full, a client that has more in it gives way.
    pub fn wait_for_place(&self, wanted: Wanted, client: IpAddr) -> Option<Waiting<'_>> {
        self.wait().or_else(|| {
            self.live.queue.displace(wanted, client).ok()?;
            // Who was displaced gives its room back as soon as it runs.
            self.live.waiting.fetch_add(1, Ordering::Relaxed);
            Some(Waiting(self))
        })
    }

    /// A turn for a place at a backend which is not among `tried`. Places that are free now must be offered then.
    pub fn turn(&self, wanted: Wanted, client: IpAddr, tried: &[u32]) -> Turn {
        self.live.queue.turn(wanted, client, tried)
    }

    /// Requests that wait.
    pub fn waiting(&self) -> u32 {
        self.live.waiting.load(Ordering::Relaxed)
    }
}

/// What a check or an agent says counts, else what the backend's entry says, else what the pool says.
fn set_limits(config: &model::Pool, backends: &[Arc<Backend>]) {
    for (member, backend) in config.members.iter().zip(backends) {
        let said = backend.verdict().connections.map(NonZeroU32::from);
        backend.set_connections_max(said.or(member.connections_max).or(config.connections_max));
    }
}

fn budget_of(retry: &model::Retry) -> Budget {
    Budget::new(retry.budget_ratio, retry.budget_min_per_second)
}

/// Room in a pool's queue; given back by drop.
#[derive(Debug)]
pub struct Waiting<'a>(&'a Pool);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.live.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
