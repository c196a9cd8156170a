//! Counters by name, so that the process that takes over counts on from where this one ends.
//!
//! `control` collects them when another process takes over, and adds them there. What goes up and down (idle connections)
//! is of each process and stays out. A test holds that no counter is forgotten.

use std::collections::BTreeMap;

use super::{
    BackendStats, Counter, Histogram, ListenerStats, PerWorker, PoolStats, ProbeStats, Rejected, Rejection,
    bounds_micros,
};

/// What was counted, by the name of the counter: `responses.1`. Zeros are left out.
pub type Sums = BTreeMap<String, u64>;

/// Sees a counter: its name, its position where there are several, and itself.
pub type See<'a> = dyn FnMut(&'static str, usize, &Counter) + 'a;

/// What has counters that are carried over.
pub trait Carried {
    /// Shows each of them, always in the same order.
    fn each(&self, see: &mut See<'_>);
}

/// What all copies have counted.
pub fn sums<T: Carried + Default>(stats: &PerWorker<T>) -> Sums {
    let mut sums = Sums::new();
    stats.copies().for_each(|copy| collect(copy, &mut sums));
    sums
}

/// Adds what one copy has counted.
pub fn collect<T: Carried>(stats: &T, into: &mut Sums) {
    stats.each(&mut |name, at, counter| {
        let count = counter.get();
        if count > 0 {
            let sum = into.entry(key(name, at)).or_default();
            *sum = sum.saturating_add(count);
        }
    });
}

/// Adds what another process has counted. Names that mean nothing here are passed over. Only the writer of `stats` may
/// call it.
pub fn add<T: Carried>(stats: &T, sums: &Sums) {
    if sums.is_empty() {
        return;
    }
    stats.each(&mut |name, at, counter| {
        if let Some(count) = sums.get(&key(name, at)) {
            counter.add(*count);
        }
    });
}

fn key(name: &'static str, at: usize) -> String {
    format!("{name}.{at}")
}

fn many(name: &'static str, counters: &[Counter], see: &mut See<'_>) {
    counters.iter().enumerate().for_each(|(at, counter)| see(name, at, counter));
}

fn one(name: &'static str, counter: &Counter, see: &mut See<'_>) {
    see(name, 0, counter);
}

fn rejected(name: &'static str, counters: &Rejected, see: &mut See<'_>) {
    Rejection::ALL.iter().enumerate().for_each(|(at, reason)| see(name, at, counters.of(*reason)));
}

/// Buckets, and behind them the sum. Their positions begin elsewhere for other bounds: the process that takes over may
/// have been told others, and what was counted by these would be in the wrong buckets there.
fn histogram(name: &'static str, histogram: &Histogram, see: &mut See<'_>) {
    let begin = mark(bounds_micros());
    histogram.buckets.iter().enumerate().for_each(|(at, counter)| see(name, begin + at, counter));
    see(name, begin + histogram.buckets.len(), &histogram.sum_micros);
}

/// A number that these bounds have and hardly any others do, with room for positions behind it: FNV-1a.
fn mark(bounds_micros: &[u64]) -> usize {
    let bytes = bounds_micros.iter().flat_map(|bound| bound.to_le_bytes());
    let mark = bytes.fold(0x811c_9dc5_u32, |mark, byte| (mark ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (mark & !0xff) as usize
}

impl Carried for ListenerStats {
    fn each(&self, see: &mut See<'_>) {
        one("connections", &self.connections, see);
        one("connections_ended", &self.connections_ended, see);
        many("responses", &self.responses, see);
        rejected("rejected", &self.rejected, see);
        one("dropped_fields", &self.dropped_fields, see);
        many("floods", &self.floods, see);
        many("handshakes", &self.handshakes, see);
        many("mirrored", &self.mirrored, see);
        one("received_bytes", &self.received_bytes, see);
        one("sent_bytes", &self.sent_bytes, see);
        one("udp_received", &self.udp.received, see);
        one("udp_sent", &self.udp.sent, see);
        many("udp_dropped", &self.udp.dropped, see);
        many("udp_ended", &self.udp.ended, see);
    }
}

impl Carried for PoolStats {
    fn each(&self, see: &mut See<'_>) {
        many("responses", &self.responses, see);
        many("failed", &self.failed, see);
        one("retries", &self.retries, see);
        one("retries_denied", &self.retries_denied, see);
        one("held", &self.held, see);
        one("queued", &self.queued, see);
        histogram("queue", &self.queue, see);
        many("sticky", &self.sticky, see);
        histogram("connect", &self.connect, see);
        histogram("response", &self.response, see);
        histogram("request", &self.request, see);
        one("received_bytes", &self.received_bytes, see);
        one("sent_bytes", &self.sent_bytes, see);
    }
}

impl Carried for BackendStats {
    fn each(&self, see: &mut See<'_>) {
        many("responses", &self.responses, see);
        one("picks", &self.picks, see);
        one("spoken", &self.spoken, see);
        one("connects", &self.connects, see);
        one("connect_failures", &self.connect_failures, see);
        one("reused", &self.reused, see);
        one("failures", &self.failures, see);
        one("cut", &self.cut, see);
        one("lost", &self.lost, see);
        one("retried", &self.retried, see);
        one("broken", &self.broken, see);
        one("sent_bytes", &self.sent_bytes, see);
        one("received_bytes", &self.received_bytes, see);
    }
}

impl Carried for ProbeStats {
    fn each(&self, see: &mut See<'_>) {
        one("good", &self.good, see);
        many("bad", &self.bad, see);
        histogram("duration", &self.duration, see);
        one("flips_up", &self.flips_up, see);
        one("flips_down", &self.flips_down, see);
        one("ejections", &self.ejections, see);
        one("holds", &self.holds, see);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::metrics::Exemplars;

    /// Counters of `T` that are shown; each must have a name of its own.
    fn shown<T: Carried + Default>() -> usize {
        let mut names = HashSet::new();
        T::default().each(&mut |name, at, _| assert!(names.insert(key(name, at)), "{name}.{at} stands twice"));
        names.len()
    }

    #[test]
    fn no_counter_is_forgotten() {
        let all = |bytes: usize| bytes / size_of::<Counter>();
        assert_eq!(shown::<ListenerStats>(), all(size_of::<ListenerStats>()));
        let exemplars = size_of::<Exemplars>();
        assert_eq!(shown::<PoolStats>(), all(size_of::<PoolStats>() - exemplars), "exemplars are no counts");
        assert_eq!(shown::<BackendStats>(), all(size_of::<BackendStats>()) - 1, "`idle` goes up and down");
        assert_eq!(shown::<ProbeStats>(), all(size_of::<ProbeStats>()));
    }

    #[test]
    fn buckets_of_other_bounds_never_meet() {
        let all = [&[500, 1_000][..], &[500, 1_001], &[1_000], &[]].map(mark);
        assert_eq!(HashSet::from(all).len(), all.len(), "{all:?}");
        assert!(all.iter().all(|begin| begin % 256 == 0), "there is room for positions: {all:?}");
    }

    #[test]
    fn what_was_counted_elsewhere_counts_on_here() {
        let (there, here) = (PerWorker::<PoolStats>::new(2), PerWorker::<PoolStats>::new(1));
        there.mine().responses[1].add(7);
        there.inherited().responses[1].add(3);
        there.mine().connect.sum_micros.add(5);
        here.mine().responses[1].add(1);
        let mut sums = sums(&there);
        sums.insert("of_a_later_version.0".to_owned(), 9);
        add(here.inherited(), &sums);
        assert_eq!((here.sum(|it| &it.responses[1]), here.sum(|it| &it.connect.sum_micros)), (11, 5));
        assert_eq!(here.sum_here(|it| &it.responses[1]), 1, "what was counted before is no news");
    }
}
