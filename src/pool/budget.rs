//! How many retries a pool may make: a share of its recent requests, and a few per second in any case.
//!
//! Called by the data path: every request counts, every further attempt asks. The last ten seconds decide, in buckets
//! of one second. The memory is fixed, whatever the traffic.
//!
//! # Why a budget and not only a limit of attempts?
//!
//! When every backend is overloaded, two further attempts for each request triple the load and keep them down. A share
//! of all requests adds at most that share, and is still plenty when one backend of several fails.
//!
//! Hot path: [`Budget::request`] is one addition to a cache line that the worker has for itself; the lock is taken by
//! retries only.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use crate::metrics::worker_index;

/// Seconds that count.
const WINDOW_SECONDS: usize = 10;

/// Copies of the request count; workers beyond this number share.
const LANES: usize = 8;

/// The retry budget of one pool, shared by all workers.
#[derive(Debug)]
pub struct Budget {
    ratio: f32,
    min_per_second: u32,
    requests: [Lane; LANES],
    window: Mutex<Window>,
}

impl Budget {
    /// Allows `ratio` retries for each request, and `min_per_second` in any case.
    pub fn new(ratio: f32, min_per_second: u32) -> Self {
        Self { ratio, min_per_second, requests: Default::default(), window: Mutex::default() }
    }

    /// Counts a request (its first attempt).
    #[inline]
    pub fn request(&self) {
        self.requests[worker_index() % LANES].0.fetch_add(1, Relaxed);
    }

    /// Whether one more retry may be made now (see [`crate::clock::millis`]); counts it if so.
    pub fn allow(&self, now_millis: u64) -> bool {
        let requests = self.requests.iter().fold(0_u64, |sum, lane| sum.wrapping_add(lane.0.load(Relaxed)));
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.advance(now_millis / 1_000, requests);
        let (requests, retries) = window.sums();
        let now = window.now();
        let allowed = now.retries < self.min_per_second || f64::from(retries) + 1.0 <= f64::from(self.ratio) * requests;
        now.retries += u32::from(allowed);
        allowed
    }
}

/// One worker's count of requests, on a cache line of its own. Writer: that worker. Relaxed: only sums are looked at.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Lane(AtomicU64);

/// What happened in the last seconds.
#[derive(Debug, Default)]
struct Window {
    seconds: [Second; WINDOW_SECONDS],
    /// The current second; its bucket is this number modulo the length.
    second: u64,
    /// All requests ever counted, when last looked at.
    requests_seen: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Second {
    /// Requests; a fraction when they were spread over several seconds.
    requests: f64,
    retries: u32,
}

impl Window {
    /// Enters `second` and takes in the requests since the last look, spread evenly over the time since then.
    fn advance(&mut self, second: u64, requests: u64) {
        let new = requests.wrapping_sub(self.requests_seen) as f64;
        self.requests_seen = requests;
        let entered = second.saturating_sub(self.second);
        if entered == 0 {
            self.now().requests += new;
            return;
        }
        let each = new / entered as f64;
        for step in 0..entered.min(WINDOW_SECONDS as u64) {
            self.seconds[((second - step) % WINDOW_SECONDS as u64) as usize] = Second { requests: each, retries: 0 };
        }
        self.second = second;
    }

    fn now(&mut self) -> &mut Second {
        &mut self.seconds[(self.second % WINDOW_SECONDS as u64) as usize]
    }

    fn sums(&self) -> (f64, u32) {
        self.seconds.iter().fold((0.0, 0), |(requests, retries), second| {
            (requests + second.requests, retries.saturating_add(second.retries))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(budget: &Budget, asked: usize, now_millis: u64) -> usize {
        (0..asked).filter(|_| budget.allow(now_millis)).count()
    }

    fn requests(budget: &Budget, count: usize) {
        (0..count).for_each(|_| budget.request());
    }

    #[test]
    fn a_few_retries_per_second_are_always_allowed() {
        let budget = Budget::new(0.2, 3);
        for second in 0..100 {
            assert_eq!(allowed(&budget, 50, second * 1_000), 3, "second {second}");
        }
    }

    #[test]
    fn retries_are_a_share_of_the_requests() {
        let budget = Budget::new(0.2, 0);
        requests(&budget, 1_000);
        assert_eq!(allowed(&budget, 1_000, 500), 200);
        requests(&budget, 100);
        assert_eq!(allowed(&budget, 1_000, 900), 20);
    }

    #[test]
    fn what_is_older_than_the_window_counts_no_more() {
        let budget = Budget::new(0.2, 0);
        requests(&budget, 1_000);
        assert_eq!(allowed(&budget, 1, 500), 1);
        assert_eq!(allowed(&budget, 1_000, 9_999), 199);
        assert_eq!(allowed(&budget, 1_000, 10_000), 0);
        assert_eq!(allowed(&budget, 1_000, 3_600_000), 0);
    }

    #[test]
    fn a_quiet_hour_saves_nothing_up() {
        let budget = Budget::new(0.5, 0);
        requests(&budget, 3_600);
        assert_eq!(allowed(&budget, 10_000, 3_600_000), 5, "ten seconds of one request each, halved");
    }

    #[test]
    fn a_ratio_of_zero_and_no_minimum_forbid_retries() {
        let budget = Budget::new(0.0, 0);
        requests(&budget, 1_000);
        assert_eq!(allowed(&budget, 100, 0), 0);
    }

    #[test]
    fn a_time_that_runs_backwards_is_the_same_second() {
        let budget = Budget::new(0.0, 2);
        assert_eq!(allowed(&budget, 5, 10_000), 2);
        assert_eq!(allowed(&budget, 5, 9_000), 0);
    }

    #[test]
    fn workers_count_together() {
        let budget = Budget::new(0.1, 0);
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let budget = &budget;
                scope.spawn(move || {
                    crate::metrics::i_am_worker(worker);
                    requests(budget, 1_000);
                });
            }
        });
        assert_eq!(allowed(&budget, 10_000, 0), 400);
    }
}
