//! The handle of the schedule: what the rest of the program asks of it and tells it.
//!
//! Each call is an order to the one task that runs the schedule; orders are carried out in the order in which they were
//! given. Called by `server` and `admin`, on control's thread.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot, watch};

use super::explanation::Explanation;
use super::follow;
use super::past::PastBackend;
use super::report::Report;
use crate::pool::{Override, Pool};

/// A pool and its active backend, by name.
pub type Incumbent = (Arc<str>, Arc<str>);

/// The handle: says what is to be followed and obeyed, and answers what is known.
#[derive(Debug, Clone)]
pub struct Schedule {
    orders: mpsc::UnboundedSender<Order>,
    given: Arc<AtomicU64>,
    progress: watch::Receiver<Progress>,
    incumbents: watch::Receiver<Arc<Vec<Incumbent>>>,
    /// The last that were given: nobody whom they concern is up before they are obeyed.
    overrides: Arc<Mutex<Arc<Vec<Override>>>>,
}

/// What the handle wants done.
#[derive(Debug)]
pub(super) enum Order {
    Follow(Follow),
    Override { overrides: Arc<Vec<Override>>, obeyed: oneshot::Sender<()> },
    Remember(Vec<Incumbent>),
    Recall { answer: oneshot::Sender<Vec<PastBackend>> },
    TakeUp(Vec<PastBackend>),
    Limit(usize),
    Explain { pool: Arc<str>, backend: Arc<str>, answer: oneshot::Sender<Option<Explanation>> },
    Probe { pool: Arc<str>, backend: Option<Arc<str>>, answer: oneshot::Sender<Option<Vec<Probed>>> },
    End { ended: oneshot::Sender<()> },
}

/// Follow these pools and no others.
#[derive(Debug)]
pub(super) struct Follow {
    pub(super) number: u64,
    pub(super) pools: Vec<Arc<Pool>>,
}

/// A fresh answer to one check of a backend.
#[derive(Debug, Clone)]
pub struct Probed {
    /// The backend.
    pub backend: Arc<str>,
    /// The check.
    pub check: Arc<str>,
    /// What was found just now.
    pub report: Arc<Report>,
}

/// How far the runner is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Progress {
    /// The last [`Follow`] carried out.
    pub(super) order: u64,
    /// Backends without a verdict.
    pub(super) unsettled: usize,
}

/// The runner's ends of what the handle holds.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) orders: mpsc::UnboundedReceiver<Order>,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) incumbents: watch::Sender<Arc<Vec<Incumbent>>>,
}

impl Schedule {
    pub(super) fn handle() -> (Self, Ends) {
        let (orders, inbox) = mpsc::unbounded_channel();
        let (progress_sender, progress) = watch::channel(Progress::default());
        let (incumbents_sender, incumbents) = watch::channel(Arc::default());
        let ends = Ends { orders: inbox, progress: progress_sender, incumbents: incumbents_sender };
        (Self { orders, given: Arc::default(), progress, incumbents, overrides: Arc::default() }, ends)
    }

    /// Follows the backends of these pools and of no others, from now on. What needs no probe (a pool without checks,
    /// `initial = "up"`) has its verdict when this returns; call it before the table is published.
    pub fn follow(&self, pools: &[Arc<Pool>]) {
        let overrides = Arc::clone(&self.overrides.lock().unwrap_or_else(PoisonError::into_inner));
        follow::settle_at_once(pools, &overrides);
        let number = self.given.fetch_add(1, Relaxed) + 1;
        self.order(Order::Follow(Follow { number, pools: pools.to_vec() }));
    }

    /// Waits until every backend that was followed so far has a verdict.
    pub fn settled(&self) -> impl Future<Output = ()> + Send + 'static {
        let given = self.given.load(Relaxed);
        let mut progress = self.progress.clone();
        async move {
            // An error means that the runner has ended: nothing more will settle.
            let _ = progress.wait_for(|done| done.order >= given && done.unsettled == 0).await;
        }
    }

    /// Everything that led to the verdict on a backend; `None` where no such pool or backend is followed.
    pub fn explain(&self, pool: &str, backend: &str) -> impl Future<Output = Option<Explanation>> + Send + 'static {
        let (answer, answered) = oneshot::channel();
        self.order(Order::Explain { pool: pool.into(), backend: backend.into(), answer });
        async move { answered.await.ok().flatten() }
    }

    /// Asks all checks of a backend, or of all backends of a pool, now; the answers count like any other. `None` where
    /// no such pool or backend is followed. It ends within the checks' timeouts and a lookup of names, unless other
    /// probes take all the room.
    pub fn probe_now(
        &self,
        pool: &str,
        backend: Option<&str>,
    ) -> impl Future<Output = Option<Vec<Probed>>> + Send + 'static {
        let (answer, answered) = oneshot::channel();
        self.order(Order::Probe { pool: pool.into(), backend: backend.map(Into::into), answer });
        async move { answered.await.ok().flatten() }
    }

    /// Obeys these orders of operators and no others, from now on. They are found by name, now and after each
    /// [`Schedule::follow`]; one that has expired must not be among them.
    ///
    /// What is given back need not be waited for. It ends when the verdicts that follow from the orders are published,
    /// that is, when no pick goes against them any more; or when nobody will obey, for the program ends.
    pub fn override_with(&self, overrides: Arc<Vec<Override>>) -> impl Future<Output = ()> + Send + 'static {
        *self.overrides.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&overrides);
        let (obeyed, was_obeyed) = oneshot::channel();
        self.order(Order::Override { overrides, obeyed });
        async move {
            // An error means that the runner has ended: nobody is picked by it any more.
            let _ = was_obeyed.await;
        }
    }

    /// Has at most so many probes under way at once, from now on.
    pub fn limit(&self, probes_at_once: NonZeroU32) {
        self.order(Order::Limit(probes_at_once.get() as usize));
    }

    /// Who were the active backends when the program last ran. To be called before the first [`Schedule::follow`].
    pub fn remember(&self, incumbents: Vec<Incumbent>) {
        self.order(Order::Remember(incumbents));
    }

    /// What is known of all checks, for a process that takes over.
    pub fn recall(&self) -> impl Future<Output = Vec<PastBackend>> + Send + 'static {
        let (answer, answered) = oneshot::channel();
        self.order(Order::Recall { answer });
        async move { answered.await.unwrap_or_default() }
    }

    /// What a process before this one knew of all checks. To be called before the first [`Schedule::follow`].
    pub fn take_up(&self, past: Vec<PastBackend>) {
        self.order(Order::TakeUp(past));
    }

    /// Who the active backends are, of pools that have one, by name of the pool; for the state file.
    pub fn incumbents(&self) -> watch::Receiver<Arc<Vec<Incumbent>>> {
        self.incumbents.clone()
    }

    /// Asks nothing any more, from now on. Ends when what must not be broken off has come to its end: the login of a
    /// `mysql` check, and the goodbye on a connection that was kept. A server that stands still can make that long.
    pub fn end(&self) -> impl Future<Output = ()> + Send + 'static {
        let (ended, has_ended) = oneshot::channel();
        self.order(Order::End { ended });
        async move {
            // An error means that it has ended before.
            let _ = has_ended.await;
        }
    }

    fn order(&self, order: Order) {
        // Nobody listens: the program ends.
        let _ = self.orders.send(order);
    }
}
