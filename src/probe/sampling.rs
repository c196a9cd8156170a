//! Traffic as the judges see it: a copy of the workers' counters once a second, for the pools whose rules look at it.

use std::time::Duration;

use super::schedule::{Runner, SAMPLE_EVERY};

impl Runner {
    /// Samples traffic, when it is time.
    pub(super) fn sample(&mut self, now: Duration) {
        if self.next_sample.is_none_or(|due| now < due) {
            return;
        }
        for (at, (judge, pool)) in self.judges.iter_mut().zip(&self.pools).enumerate() {
            if !judge.wants_samples() {
                continue;
            }
            for (position, backend) in pool.backends.iter().enumerate() {
                judge.sampled(position, backend.tally(), backend.in_a_row(), now);
            }
            judge.weigh_samples(now);
            if judge.is_restless() {
                self.restless.push(at);
            }
        }
        self.next_sample = None;
        self.plan_samples(now + SAMPLE_EVERY);
    }

    /// Whether anybody wants samples may have changed; the next is due at `at` where none is planned.
    pub(super) fn plan_samples(&mut self, at: Duration) {
        let wanted = self.judges.iter().any(crate::health::Judge::wants_samples);
        self.next_sample = wanted.then(|| self.next_sample.unwrap_or(at));
    }

    /// What the judge of one pool has just decided may make it want samples.
    pub(super) fn plan_samples_of(&mut self, pool: usize, at: Duration) {
        if self.next_sample.is_none() && self.judges.get(pool).is_some_and(crate::health::Judge::wants_samples) {
            self.next_sample = Some(at);
        }
    }
}
