//! Threads that prove passwords: what takes milliseconds by intention must not stop a worker.
//!
//! Few, and of low priority: a flood of wrong passwords uses what the processors have left, and no more. What waits is
//! bounded; beyond that the answer is 503, which costs nothing.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::oneshot;

use crate::config::users::Secret;

/// Passwords that wait, each with its client.
const QUEUE: usize = 64;
/// Processors for each thread.
const PROCESSORS_EACH: usize = 4;
/// Threads at most: each of them may need hundreds of megabytes.
const THREADS_MAX: usize = 4;
/// Below everything else (nice(2)).
const NICE: i32 = 15;

static JOBS: OnceLock<SyncSender<Job>> = OnceLock::new();

struct Job {
    secret: Secret,
    password: Vec<u8>,
    answer: oneshot::Sender<bool>,
}

/// Has it found out whether a password fits; `None`: too many wait already.
pub(super) fn submit(secret: Secret, password: Vec<u8>) -> Option<oneshot::Receiver<bool>> {
    let (answer, proof) = oneshot::channel();
    let job = Job { secret, password, answer };
    JOBS.get_or_init(start).try_send(job).ok().map(|()| proof)
}

/// Starts the threads, when the first password comes. Where none can be started, nobody takes jobs, and all are refused.
fn start() -> SyncSender<Job> {
    let (queue, jobs) = sync_channel(QUEUE);
    let jobs = Arc::new(Mutex::new(jobs));
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    for _ in 0..(processors / PROCESSORS_EACH).clamp(1, THREADS_MAX) {
        let jobs = Arc::clone(&jobs);
        let started = std::thread::Builder::new().name("passwords".into()).spawn(move || work(&jobs));
        if let Err(error) = started {
            tracing::error!(%error, "no thread to prove passwords");
        }
    }
    queue
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    // A kernel that refuses leaves it at the usual priority.
    let _ = rustix::process::nice(NICE);
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { secret, password, answer }) = job else { return };
        // Nobody waits any more for who has left.
        if !answer.is_closed() {
            let _ = answer.send(secret.fits(&password));
        }
    }
}
