//! Threads that prove passwords and tokens: what takes milliseconds by intention must not stop a worker, nor control.
//!
//! Few, and of low priority: a flood of wrong passwords uses what the processors have left, and no more. What waits is
//! bounded; beyond that whoever asks is told so at once, which costs nothing. Clients of traffic and of the admin port
//! have threads of their own, so that a flood of one kind does not keep the other waiting.

use std::fmt;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::oneshot;

/// Threads that prove, started when the first proof is wanted; they end when this is dropped.
pub struct Prover {
    name: &'static str,
    threads: usize,
    waiting: usize,
    nice: i32,
    jobs: OnceLock<SyncSender<Job>>,
}

type Job = Box<dyn FnOnce() + Send>;

impl Prover {
    /// So many threads of this name, for which so many proofs may wait, at this priority (nice(2)).
    pub const fn new(name: &'static str, threads: usize, waiting: usize, nice: i32) -> Self {
        Self { name, threads, waiting, nice, jobs: OnceLock::new() }
    }

    /// Has something found out; `None`: too much waits already. Who drops what this gives does not want it any more.
    pub fn submit<T: Send + 'static>(
        &self,
        prove: impl FnOnce() -> T + Send + 'static,
    ) -> Option<oneshot::Receiver<T>> {
        let (answer, proof) = oneshot::channel();
        let job: Job = Box::new(move || {
            // Nobody waits any more for who has left.
            if !answer.is_closed() {
                let _ = answer.send(prove());
            }
        });
        self.jobs.get_or_init(|| self.start()).try_send(job).ok().map(|()| proof)
    }

    /// Where no thread can be started, nobody takes jobs, and all are refused.
    fn start(&self) -> SyncSender<Job> {
        let (queue, jobs) = sync_channel(self.waiting);
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..self.threads {
            let (jobs, nice) = (Arc::clone(&jobs), self.nice);
            let started = std::thread::Builder::new().name(self.name.into()).spawn(move || work(&jobs, nice));
            if let Err(error) = started {
                tracing::error!(%error, "no thread to prove {}", self.name);
            }
        }
        queue
    }
}

impl fmt::Debug for Prover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prover").field("name", &self.name).finish_non_exhaustive()
    }
}

fn work(jobs: &Mutex<Receiver<Job>>, nice: i32) {
    // A kernel that refuses leaves it at the usual priority.
    let _ = rustix::process::nice(nice);
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        job();
    }
}
