//! Pools as they are: backends, what may serve, picking one, and the lease on it.

pub mod backend;
pub mod events;
pub mod slot;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc::UnboundedSender;

pub use backend::{Backend, CheckStatus, Evidence, Symptom};
pub use slot::Slot;

use crate::config::model;
use crate::metrics::{PerWorker, PoolStats};

/// One pool, live. Made anew by each reload; its backends and counters are carried over.
#[derive(Debug)]
pub struct Pool {
    /// What the configuration says.
    pub config: Arc<model::Pool>,
    /// One for each of `config.members`, in that order.
    pub backends: Vec<Arc<Backend>>,
    /// What the workers count of it.
    pub stats: Arc<PerWorker<PoolStats>>,
    ready: Mutex<Arc<Ready>>,
    version: AtomicU64,
    bell: Arc<Bell>,
}

/// The backends of a pool that may be picked.
#[derive(Debug)]
pub struct Ready {
    /// Positions in [`Pool::backends`].
    pub backends: Vec<u32>,
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
    pub fn new(
        config: Arc<model::Pool>,
        backends: Vec<Arc<Backend>>,
        stats: Arc<PerWorker<PoolStats>>,
        bell: Arc<Bell>,
    ) -> Self {
        let ready = Mutex::new(Arc::new(Ready { backends: Vec::new() }));
        let pool = Self { config, backends, stats, ready, version: AtomicU64::new(0), bell };
        pool.refresh();
        pool
    }

    /// Makes the data path see the backends' states: called by `probe` after each flip.
    pub fn refresh(&self) {
        self.version.fetch_add(1, Relaxed);
        *self.ready.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(Ready { backends: Vec::new() });
        self.bell.ring(&Notice::Ready);
    }

    /// Tells the workers that one of its backends has gone down. Called by `probe`, after `refresh`.
    pub fn backend_went_down(&self, backend: &Arc<Backend>) {
        self.bell.ring(&Notice::Down(Arc::clone(backend)));
    }
}
