//! Counters of the data path, and their text for Prometheus.
//!
//! Every counter has one writer: a worker counts in its own copy with a plain load and store, and the admin port sums
//! the copies when it is scraped. No label is looked up and no cache line is shared while traffic flows (2 to 3 ns a
//! count against 40 to 100 ns for a label lookup). Every metric name of the program stands in this room.
//!
//! Hot path: no allocation after first use, no lock, no formatting.

pub mod carry;
mod exemplar;
pub mod family;
pub mod haproxy;
mod histogram;
mod rejection;

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub use self::exemplar::{Exemplar, Exemplars, keep_exemplars};
pub use self::histogram::{Histogram, MAX_BOUNDS, USUAL_BOUNDS_MICROS, bounds_micros, set_bounds_micros};
pub use self::rejection::{Rejected, Rejection};

thread_local! {
    static WORKER: Cell<usize> = const { Cell::new(0) };
}

/// Says which worker this thread is; counts of the thread go to that worker's copies. Called once, at its start.
pub fn i_am_worker(index: usize) {
    WORKER.set(index);
}

/// The worker that this thread is; 0 on threads that are none.
pub fn worker_index() -> usize {
    WORKER.get()
}

/// A number that one thread writes and any thread reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the owning worker may call it: load and store are apart. Relaxed: a scrape may be a count behind.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Adds one.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Makes it `n`: for what goes up and down. As for `add`, only the owning worker may call it.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// The count.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One copy of `T` for each worker, made when the worker first counts.
#[derive(Debug)]
pub struct PerWorker<T> {
    own: Box<[OnceLock<Box<T>>]>,
    /// What processes before this one have counted. Writer: control.
    inherited: OnceLock<Box<T>>,
}

impl<T: Default> PerWorker<T> {
    /// Room for `workers` copies.
    pub fn new(workers: usize) -> Self {
        Self { own: (0..workers.max(1)).map(|_| OnceLock::new()).collect(), inherited: OnceLock::new() }
    }

    /// The calling worker's copy.
    #[inline]
    pub fn mine(&self) -> &T {
        self.own[worker_index()].get_or_init(Box::default)
    }

    /// The copy for what processes before this one have counted. Only control may count in it.
    pub fn inherited(&self) -> &T {
        self.inherited.get_or_init(Box::default)
    }

    /// All copies made so far, with what was counted before this process.
    pub fn copies(&self) -> impl Iterator<Item = &T> {
        self.copies_here().chain(self.inherited.get().map(AsRef::as_ref))
    }

    /// The copies of this process made so far.
    pub fn copies_here(&self) -> impl Iterator<Item = &T> {
        self.own.iter().filter_map(|copy| copy.get().map(AsRef::as_ref))
    }

    /// The sum of one counter over the copies of this process.
    pub fn sum_here(&self, counter: impl Fn(&T) -> &Counter) -> u64 {
        self.copies_here().map(|copy| counter(copy).get()).sum()
    }

    /// The sum of one counter over all copies.
    pub fn sum(&self, counter: impl Fn(&T) -> &Counter) -> u64 {
        self.copies().map(|copy| counter(copy).get()).sum()
    }
}

/// Position of a status code in a `[Counter; 6]`: `1xx` to `5xx`, then the rest.
#[inline]
pub fn status_class(code: u16) -> usize {
    match code / 100 {
        class @ 1..=5 => usize::from(class) - 1,
        _ => 5,
    }
}

/// Names of the positions of [`status_class`].
pub const STATUS_CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "other"];

/// What a worker counts of a listener.
#[derive(Debug, Default)]
pub struct ListenerStats {
    /// Connections accepted.
    pub connections: Counter,
    /// Connections ended; `connections` less this are open.
    pub connections_ended: Counter,
    /// Answers sent, by [`status_class`].
    pub responses: [Counter; 6],
    /// Requests answered by the balancer itself or connections closed by it, by reason.
    pub rejected: Rejected,
    /// Fields that were left out because of their names.
    pub dropped_fields: Counter,
    /// Connections of HTTP/2 closed because of what their client sent, by [`FLOODS`].
    pub floods: [Counter; FLOODS.len()],
    /// Handshakes with clients, by [`HANDSHAKES`].
    pub handshakes: [Counter; HANDSHAKES.len()],
    /// Copies of requests for other pools, by [`Mirrored`].
    pub mirrored: [Counter; MIRRORED.len()],
    /// Bytes from clients.
    pub received_bytes: Counter,
    /// Bytes to clients.
    pub sent_bytes: Counter,
    /// What is counted where datagrams come; `connections` counts flows there.
    pub udp: UdpStats,
}

impl ListenerStats {
    /// Counts one request or connection that was refused.
    #[inline]
    pub fn reject(&self, why: Rejection) {
        self.rejected.of(why).inc();
    }
}

/// What a worker counts of a UDP listener.
#[derive(Debug, Default)]
pub struct UdpStats {
    /// Datagrams from clients.
    pub received: Counter,
    /// Datagrams to clients.
    pub sent: Counter,
    /// Datagrams that went nowhere, by [`DROPS`].
    pub dropped: [Counter; DROPS.len()],
    /// Flows that have ended, by [`FLOW_ENDS`].
    pub ended: [Counter; FLOW_ENDS.len()],
}

/// Why a datagram went nowhere; positions of [`UdpStats::dropped`]. `not_passed` and `not_returned`: the system did not
/// take it for the backend or for the client; `overflow`: the system dropped it before we had seen it.
pub const DROPS: [&str; 8] =
    ["no_route", "no_backend", "flows", "draining", "local", "not_passed", "not_returned", "overflow"];

/// How a flow ended; positions of [`UdpStats::ended`]. `unanswered`: answers were due and none came; `displaced`: it made
/// room for another; `closed`: its listener is gone.
pub const FLOW_ENDS: [&str; 5] = ["answered", "idle", "unanswered", "displaced", "closed"];

/// What became of a handshake; positions of [`ListenerStats::handshakes`]. From the fourth on it is the client's
/// certificate that was missing or not trusted.
pub const HANDSHAKES: [&str; 8] =
    ["ok", "failed", "late", "no_certificate", "unknown_issuer", "revoked", "expired", "bad_certificate"];

/// What became of a copy of a request; positions of [`ListenerStats::mirrored`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mirrored {
    /// It was answered.
    Answered,
    /// Nobody could serve it at once.
    NoBackend,
    /// It got no answer, or not all of it in time.
    Failed,
    /// There were as many copies as there may be.
    Busy,
    /// Its body was too long.
    TooLarge,
    /// The request itself never came whole.
    Incomplete,
}

/// Words for [`Mirrored`], by its numbers.
pub const MIRRORED: [&str; 6] = ["answered", "no_backend", "failed", "busy", "too_large", "incomplete"];

/// What a client of HTTP/2 sent too much of; positions of [`ListenerStats::floods`].
pub const FLOODS: [&str; 11] = [
    "settings",
    "ping",
    "priority",
    "window_update",
    "rapid_reset",
    "empty_data",
    "continuation",
    "unknown",
    "errors",
    "headers",
    "tiny_data",
];

/// What a worker counts of a pool.
#[derive(Debug, Default)]
pub struct PoolStats {
    /// Answers sent for this pool, by [`status_class`].
    pub responses: [Counter; 6],
    /// Requests or connections that failed, by [`FAILURES`].
    pub failed: [Counter; FAILURES.len()],
    /// Further attempts made.
    pub retries: Counter,
    /// Retries that the budget did not allow.
    pub retries_denied: Counter,
    /// Requests that waited because no backend could serve.
    pub held: Counter,
    /// Requests that waited because every backend was full.
    pub queued: Counter,
    /// How long either of them waited.
    pub queue: Histogram,
    /// Requests and connections by what became of their wish to stay, by [`STAYS`].
    pub sticky: [Counter; STAYS.len()],
    /// From the start of a connect to its success.
    pub connect: Histogram,
    /// From the request sent to the answer's head.
    pub response: Histogram,
    /// Requests that stand for the buckets of `response`, where that is wanted.
    pub response_exemplars: Exemplars,
    /// From a request's head to the end of its answer.
    pub request: Histogram,
    /// Bytes from clients.
    pub received_bytes: Counter,
    /// Bytes to clients.
    pub sent_bytes: Counter,
}

/// What became of a client that stays with its backend: it was served there, it was nowhere yet, or it had to go
/// elsewhere; positions of [`PoolStats::sticky`].
pub const STAYS: [&str; 3] = ["kept", "new", "moved"];

/// Why a request or connection of a pool failed; positions of [`PoolStats::failed`].
pub const FAILURES: [&str; 22] = [
    "no_backend",
    "queue_full",
    "connect_refused",
    "connect_timeout",
    "connect_failed",
    "reset_before_answer",
    "response_timeout",
    "bad_answer",
    "reset_in_body",
    "truncated_body",
    "body_timeout",
    "client_abort",
    "tunnel_idle",
    "backend_down",
    "retried_status",
    "local",
    "cut",
    "connection_lost",
    "tls_failed",
    "queue_timeout",
    "deadline",
    "no_upgrade",
];

/// What a worker counts of a backend.
#[derive(Debug, Default)]
pub struct BackendStats {
    /// Answers that it gave, by [`status_class`].
    pub responses: [Counter; 6],
    /// Work given to it: requests, or TCP connections.
    pub picks: Counter,
    /// TCP sessions and tunnels in which it has said something.
    pub spoken: Counter,
    /// Connections opened to it.
    pub connects: Counter,
    /// Connections that could not be opened.
    pub connect_failures: Counter,
    /// Requests that went over an idle connection.
    pub reused: Counter,
    /// Attempts that failed after the connection stood.
    pub failures: Counter,
    /// Idle connections to it now; goes up and down.
    pub idle: Counter,
    /// Sessions ended by the balancer because the backend's role was lost or the time of its drain was over.
    pub cut: Counter,
    /// Requests and connections that failed for good, with it as the last one that was tried.
    pub lost: Counter,
    /// Attempts that failed at it and were made again elsewhere.
    pub retried: Counter,
    /// TCP connections, tunnels and answers that broke off by its fault.
    pub broken: Counter,
    /// Bytes to it.
    pub sent_bytes: Counter,
    /// Bytes from it.
    pub received_bytes: Counter,
}

/// What control counts of the probes of one backend; control is the one writer.
#[derive(Debug, Default)]
pub struct ProbeStats {
    /// Probes that were good.
    pub good: Counter,
    /// Probes that were bad, by [`PROBE_LAYERS`].
    pub bad: [Counter; PROBE_LAYERS.len()],
    /// How long they took.
    pub duration: Histogram,
    /// Times the verdict became up.
    pub flips_up: Counter,
    /// Times the verdict became down.
    pub flips_down: Counter,
    /// Times it was taken out because traffic spoke against it.
    pub ejections: Counter,
    /// Times it was kept out because it went up and down too often.
    pub holds: Counter,
}

/// Where a probe failed; positions of [`ProbeStats::bad`]. `local`: the balancer itself lacked a descriptor or memory,
/// which says nothing of the backend.
pub const PROBE_LAYERS: [&str; 7] = ["resolve", "connect", "timeout", "tls", "protocol", "answer", "local"];
