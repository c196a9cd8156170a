//! One backend as it is: health, work in flight, counters. Survives every reload that keeps its pool, name and address.
//!
//! Called by the data path (pick, lease, evidence) and by control (state, reports). Each fact has one writer, named at
//! the field; the data path only ever reads `state`.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::queue::Queue;
use super::slot::Slot;
use crate::clock;
use crate::config::model::{Address, Reads, Site};
pub use crate::health::Symptom;
use crate::health::judge::{Disagreement, InARow, Tally};
use crate::health::{Serves, State, Verdict};
use crate::metrics::{BackendStats, Counter, PerWorker, ProbeStats};
use crate::net::fault::Fault;

/// More leases than there can be.
const UNLIMITED: u32 = u32::MAX;

/// One backend of one pool, live.
#[derive(Debug)]
pub struct Backend {
    /// Dense number for the workers' own lists; given back when the backend is gone.
    pub slot: Slot,
    /// Name of its pool.
    pub pool: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Where it answers, as configured.
    pub address: Address,
    /// What the workers count of it.
    pub stats: PerWorker<BackendStats>,
    /// What control counts of its probes.
    pub probes: ProbeStats,
    /// Where `address` is right now, and what a drill puts in the way. Writer: control (resolver, drills). One value, since
    /// each connect looks at both: a drill costs nothing where there is none.
    resolved: Mutex<Whereabouts>,
    /// Counts the moves of `resolved` and of the way there, so that connections of before are told apart. Writer: control.
    moves: AtomicU32,
    /// [`Verdict`] as a number. Writer: control, through `probe`. Relaxed: a stale read costs one attempt.
    verdict: AtomicU64,
    /// When the state last changed, [`clock::millis`]. Writer: control.
    since: AtomicU64,
    /// Requests, tunnels and TCP connections that hold a lease. Writers: leases. Where there is a limit it orders with
    /// the queue's counts: see there.
    in_flight: AtomicU32,
    /// How many of them there may be at once; [`UNLIMITED`]: no matter. Writer: control, through [`super::Pool::refresh`].
    most: AtomicU32,
    /// Who waits for a place. Set by the pool.
    queue: OnceLock<Arc<Queue>>,
    /// Tunnels that are open, where they are limited. Writers: workers, by [`TunnelPlace`].
    tunnels: AtomicU32,
    /// Response time of the recent past, microseconds, decaying. Writers: workers; a lost update is harmless.
    latency_micros: AtomicU32,
    /// Failures of traffic since the last success, with mere suspicions. Writers: workers.
    suspicions: AtomicU32,
    /// Those that cost a request or a connection. Writers: workers.
    failures: AtomicU32,
    /// When the first and the last of them were, microseconds by [`clock::now`]; 0: never. Writers: workers; a lost update
    /// makes them late by the time between two failures.
    first_failure: AtomicU64,
    last_failure: AtomicU64,
    /// Set by the worker that sends evidence, cleared by the prober that acted on it: at most one notice under way.
    suspected: AtomicBool,
    /// [`Remarks`] in bits. Writer: control.
    remarks: AtomicU8,
    /// Work that was given by an earlier [`super::Pool::version`] is to end. Writer: control. Relaxed: whoever must
    /// notice is told.
    cut_before: AtomicU64,
    /// Set when what it had was told to end, until its state changes: clients that stay with it come no more. Writer: control.
    drained: AtomicBool,
    /// Set when no table names it any more. Writer: control.
    retired: AtomicBool,
    /// What its checks last said. Writer: control.
    checks: Mutex<Vec<CheckStatus>>,
    evidence: UnboundedSender<Evidence>,
}

/// Where a backend is, and what stands in the way there.
#[derive(Debug, Clone, Default)]
struct Whereabouts {
    site: Option<Site>,
    fault: Option<Arc<Fault>>,
}

/// What a check last said of a backend.
#[derive(Debug, Clone)]
pub struct CheckStatus {
    /// The check's name.
    pub name: Arc<str>,
    /// What the streaks make of it.
    pub state: State,
    /// What the last probe found, for people: `HTTP 200 in 1 ms`, `connect: connection refused`.
    pub reason: Arc<str>,
    /// How long the last probe took.
    pub duration: Duration,
    /// When the last probe ended, [`clock::millis`].
    pub at: u64,
    /// When the certificate that it was shown ends, seconds since 1970.
    pub certificate_expires: Option<i64>,
}

/// Traffic's word to the prober: look at this backend now.
#[derive(Debug)]
pub struct Evidence {
    /// The backend that failed.
    pub backend: Arc<Backend>,
    /// How it failed.
    pub symptom: Symptom,
}

/// What control remarks on a backend beside its verdict, for metrics and API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Remarks {
    /// Out for a while because traffic speaks against it.
    pub ejected: bool,
    /// Out for a while because it went up and down too often.
    pub flapping: bool,
    /// Probes and traffic contradict each other.
    pub disagreement: Option<Disagreement>,
}

/// A place among the tunnels of a backend; given back by drop.
#[derive(Debug)]
pub struct TunnelPlace(Arc<Backend>);

impl Drop for TunnelPlace {
    fn drop(&mut self) {
        self.0.tunnels.fetch_sub(1, Relaxed);
    }
}

impl Backend {
    /// A backend of which nothing is known.
    pub fn new(
        pool: Arc<str>,
        name: Arc<str>,
        address: Address,
        workers: usize,
        evidence: UnboundedSender<Evidence>,
    ) -> Self {
        let resolved = Whereabouts { site: address.site(), fault: None };
        Self {
            slot: Slot::take(),
            pool,
            name,
            address,
            stats: PerWorker::new(workers),
            probes: ProbeStats::default(),
            resolved: Mutex::new(resolved),
            moves: AtomicU32::new(0),
            verdict: AtomicU64::new(Verdict::UNKNOWN.pack()),
            since: AtomicU64::new(clock::millis()),
            in_flight: AtomicU32::new(0),
            most: AtomicU32::new(UNLIMITED),
            queue: OnceLock::new(),
            tunnels: AtomicU32::new(0),
            latency_micros: AtomicU32::new(0),
            suspicions: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            first_failure: AtomicU64::new(0),
            last_failure: AtomicU64::new(0),
            remarks: AtomicU8::new(0),
            suspected: AtomicBool::new(false),
            cut_before: AtomicU64::new(0),
            drained: AtomicBool::new(false),
            retired: AtomicBool::new(false),
            checks: Mutex::new(Vec::new()),
            evidence,
        }
    }

    /// The address to connect to; `None` while a name is unresolved.
    pub fn site(&self) -> Option<Site> {
        self.whereabouts().site.clone()
    }

    /// The same, with what a drill puts in the way.
    pub fn way_there(&self) -> Option<(Site, Option<Arc<Fault>>)> {
        let resolved = self.whereabouts();
        Some((resolved.site.clone()?, resolved.fault.clone()))
    }

    /// What a drill puts in the way.
    pub fn fault(&self) -> Option<Arc<Fault>> {
        self.whereabouts().fault.clone()
    }

    /// Puts a fault in the way to it, or takes it away; connections of before are not used again. Called by control only.
    pub fn set_fault(&self, fault: Option<Arc<Fault>>) {
        let before = std::mem::replace(&mut self.whereabouts().fault, fault);
        if let Some(before) = before {
            before.end();
        }
        self.reroute();
    }

    fn whereabouts(&self) -> std::sync::MutexGuard<'_, Whereabouts> {
        self.resolved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells where its name points now. Called by control only.
    pub fn set_socket_address(&self, address: SocketAddr) {
        let mut resolved = self.whereabouts();
        let site = Some(Site::Ip(address));
        if resolved.site != site {
            self.moves.fetch_add(1, Relaxed);
        }
        resolved.site = site;
    }

    /// It is reached in another way from now on: connections of before are not used again. Called by control only.
    pub fn reroute(&self) {
        self.moves.fetch_add(1, Relaxed);
    }

    /// How often its address, or the way there, has changed.
    #[inline]
    pub fn moves(&self) -> u32 {
        self.moves.load(Relaxed)
    }

    /// The verdict.
    #[inline]
    pub fn verdict(&self) -> Verdict {
        Verdict::unpack(self.verdict.load(Relaxed))
    }

    /// The state that the verdict gives it.
    #[inline]
    pub fn state(&self) -> State {
        self.verdict().state
    }

    /// Whether work that waits for it waits in vain: it is down and serves nothing. One that drains lets its work finish,
    /// and one that serves although it is down (`all_down`) may answer.
    #[inline]
    pub fn has_fallen(&self) -> bool {
        let verdict = self.verdict();
        verdict.state == State::Down && verdict.serves == Serves::Nothing
    }

    /// Whether clients that have it may stay: it serves their kind of work, or lets what it has finish, till its time is
    /// over.
    pub fn is_stayed_with(&self, reads: Reads) -> bool {
        let verdict = self.verdict();
        let serves = match reads {
            Reads::Standby => verdict.serves.reads(),
            Reads::Active => verdict.serves.work(),
        };
        serves || (verdict.state == State::Draining && !self.drained.load(Relaxed))
    }

    /// Whether it gets no work at all.
    #[inline]
    pub fn is_out(&self) -> bool {
        self.verdict().serves == Serves::Nothing
    }

    /// Whether it is being taken out: what it has may finish, and nobody should stay for more.
    #[inline]
    pub fn is_leaving(&self) -> bool {
        matches!(self.state(), State::Draining | State::Maintenance)
    }

    /// Sets the verdict. Called by `probe` only; `Pool::refresh` makes the data path see it.
    pub fn set_verdict(&self, verdict: Verdict) {
        let was = Verdict::unpack(self.verdict.swap(verdict.pack(), Relaxed));
        if was.state != verdict.state {
            self.drained.store(false, Relaxed);
            self.since.store(clock::millis(), Relaxed);
        }
    }

    /// Sets a verdict that is only a state.
    pub fn set_state(&self, state: State) {
        self.set_verdict(Verdict::plain(state));
    }

    /// How long the state has stood.
    pub fn in_state_for(&self) -> Duration {
        // Wrapping: it may have stood for longer than this process runs.
        Duration::from_millis(clock::millis().wrapping_sub(self.since.load(Relaxed)))
    }

    /// Goes on by what another process knew: its verdict and for how long the state has stood, response times, and what
    /// its checks said. Called before anybody sees it.
    pub fn take_up(&self, verdict: Verdict, stood: Duration, latency_micros: u32, checks: Vec<CheckStatus>) {
        self.set_verdict(verdict);
        let stood = u64::try_from(stood.as_millis()).unwrap_or(u64::MAX);
        self.since.store(clock::millis().wrapping_sub(stood), Relaxed);
        self.latency_micros.store(latency_micros, Relaxed);
        self.set_checks(checks);
    }

    /// Leases held.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    pub(super) fn take_slot(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// The same where there is a limit; false where there is no place left.
    pub(super) fn try_slot(&self) -> bool {
        let most = self.most.load(Relaxed);
        self.in_flight.fetch_update(SeqCst, SeqCst, |now| (now < most).then_some(now + 1)).is_ok()
    }

    #[inline]
    pub(super) fn give_slot_back(self: &Arc<Self>) {
        // Whoever waits for a place waits for one at a backend that is full.
        if self.in_flight.fetch_sub(1, SeqCst) >= self.most.load(Relaxed) {
            self.offer_places();
        }
    }

    /// Gives places that are free to those who wait for one.
    #[cold]
    pub(super) fn offer_places(self: &Arc<Self>) {
        if let Some(queue) = self.queue.get() {
            queue.offer(self);
        }
    }

    /// Says where work waits for a place. Called once, by its pool.
    pub(super) fn set_queue(&self, queue: &Arc<Queue>) {
        self.queue.get_or_init(|| Arc::clone(queue));
    }

    /// How many leases there may be at once.
    pub fn connections_max(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.most.load(Relaxed)).filter(|most| most.get() != UNLIMITED)
    }

    /// Sets how many there may be. What is under way beyond that goes on.
    pub(super) fn set_connections_max(&self, most: Option<NonZeroU32>) {
        self.most.store(most.map_or(UNLIMITED, NonZeroU32::get), Relaxed);
    }

    /// Whether it has a place for more.
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        self.in_flight.load(SeqCst) < self.most.load(Relaxed)
    }

    /// Tunnels that are open, or about to be.
    pub fn tunnels(&self) -> u32 {
        self.tunnels.load(Relaxed)
    }

    /// A place for a tunnel; `None` where there are `most` already.
    pub fn tunnel(self: &Arc<Self>, most: NonZeroU32) -> Option<TunnelPlace> {
        // Relaxed: the number itself is all that matters.
        let one_more = |open| (open < most.get()).then_some(open + 1);
        self.tunnels.fetch_update(Relaxed, Relaxed, one_more).ok().map(|_before| TunnelPlace(Arc::clone(self)))
    }

    /// Response time of the recent past, microseconds; 0 before the first answer.
    pub fn latency_micros(&self) -> u32 {
        self.latency_micros.load(Relaxed)
    }

    /// An answer came after `took`. Clears the failures.
    #[inline]
    pub fn answered(&self, took: Duration) {
        self.took(took);
        self.is_alive();
    }

    /// It has said something in a session: only then is it known to be more than an open port, which the kernel keeps open
    /// for a process that is stopped. Clears the failures.
    #[inline]
    pub fn spoke(&self) {
        self.stats.mine().spoken.inc();
        self.is_alive();
    }

    /// Remembers a response time: peaks count at once, calm counts slowly (a tenth each).
    #[inline]
    pub fn took(&self, took: Duration) {
        let new = u32::try_from(took.as_micros()).unwrap_or(u32::MAX).max(1);
        let old = self.latency_micros.load(Relaxed);
        let next = if new > old { new } else { old - (old - new) / 10 };
        if next != old {
            self.latency_micros.store(next, Relaxed);
        }
    }

    #[inline]
    fn is_alive(&self) {
        if self.suspicions.load(Relaxed) != 0 {
            self.suspicions.store(0, Relaxed);
            self.failures.store(0, Relaxed);
        }
    }

    /// Another was quicker: what is remembered of this one's response time fades, by a 64th.
    #[inline]
    pub fn passed_over(&self) {
        let old = self.latency_micros.load(Relaxed);
        if old > 64 {
            self.latency_micros.store(old - old / 64, Relaxed);
        }
    }

    /// Traffic failed here: counts it, and asks for a probe unless one is asked for already.
    pub fn suspect(self: &Arc<Self>, symptom: Symptom) {
        self.suspicions.fetch_add(1, Relaxed);
        if symptom.is_failure() {
            let now = u64::try_from(clock::now().as_micros()).unwrap_or(u64::MAX);
            if self.failures.fetch_add(1, Relaxed) == 0 {
                self.first_failure.store(now, Relaxed);
            }
            self.last_failure.store(now, Relaxed);
        }
        if !self.suspected.swap(true, Relaxed) {
            // A closed channel means that the program ends: nobody is left to act on it.
            let _ = self.evidence.send(Evidence { backend: Arc::clone(self), symptom });
        }
    }

    /// Failures of traffic since the last success.
    pub fn in_a_row(&self) -> InARow {
        InARow { suspicions: self.suspicions.load(Relaxed), failures: self.failures.load(Relaxed) }
    }

    /// When traffic failed for the first time since its last success, if it did, by [`clock::now`].
    pub fn failing_since(&self) -> Option<Duration> {
        let is_failing = self.failures.load(Relaxed) > 0;
        is_failing.then(|| Duration::from_micros(self.first_failure.load(Relaxed)))
    }

    /// When traffic last failed, if it ever did, by [`clock::now`].
    pub fn last_failure(&self) -> Option<Duration> {
        Some(self.last_failure.load(Relaxed)).filter(|micros| *micros > 0).map(Duration::from_micros)
    }

    /// What traffic has seen so far, in this process: what was counted before comes all at once, and is no news.
    pub fn tally(&self) -> Tally {
        let sum = |counter: fn(&BackendStats) -> &Counter| self.stats.sum_here(counter);
        let answers: u64 = (0..6).map(|class| self.stats.sum_here(|stats| &stats.responses[class])).sum();
        // An HTTP request that could not connect counts in both.
        let failures = sum(|stats| &stats.failures).max(sum(|stats| &stats.connect_failures));
        Tally {
            // A TCP session has no answer; one in which the backend has spoken is counted instead.
            requests: answers.max(sum(|stats| &stats.spoken)) + failures,
            errors: sum(|stats| &stats.responses[4]) + failures,
            latency: Duration::from_micros(u64::from(self.latency_micros())),
        }
    }

    /// What control remarks on it.
    pub fn remarks(&self) -> Remarks {
        let bits = self.remarks.load(Relaxed);
        Remarks {
            ejected: bits & 1 != 0,
            flapping: bits & 2 != 0,
            disagreement: Disagreement::ALL.into_iter().find(|it| *it as u8 == bits >> 2),
        }
    }

    /// Sets what is remarked on it; what was before. Called by `probe` only.
    pub fn set_remarks(&self, remarks: Remarks) -> Remarks {
        let was = self.remarks();
        let disagreement = remarks.disagreement.map_or(0, |it| it as u8);
        self.remarks.store(u8::from(remarks.ejected) | u8::from(remarks.flapping) << 1 | disagreement << 2, Relaxed);
        was
    }

    /// The prober has acted on the evidence; the next failure may ask again.
    pub fn evidence_taken(&self) {
        self.suspected.store(false, Relaxed);
    }

    /// Work that was given by an earlier version of what may serve is to end.
    #[inline]
    pub(super) fn cut_before(&self) -> u64 {
        self.cut_before.load(Relaxed)
    }

    /// Tells the work of earlier versions to end; [`super::Pool::cut`] wakes whoever must notice.
    pub(super) fn cut(&self, before: u64) {
        self.cut_before.store(before, Relaxed);
        self.drained.store(true, Relaxed);
    }

    /// Whether no table names it any more: its idle connections are closed and none is kept.
    pub fn is_retired(&self) -> bool {
        self.retired.load(Relaxed)
    }

    /// No table names it any more. Called by control only.
    pub fn retire(&self) {
        self.retired.store(true, Relaxed);
    }

    /// What its checks last said.
    pub fn checks(&self) -> Vec<CheckStatus> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces what its checks last said. Called by `probe` only.
    pub fn set_checks(&self, checks: Vec<CheckStatus>) {
        *self.checks.lock().unwrap_or_else(PoisonError::into_inner) = checks;
    }

    /// Changes what one check last said. Called by `probe` only.
    pub fn update_check(&self, check: usize, update: impl FnOnce(&mut CheckStatus)) {
        if let Some(status) = self.checks.lock().unwrap_or_else(PoisonError::into_inner).get_mut(check) {
            update(status);
        }
    }
}
