//! The guard of a change: whether live numbers say that it must be taken back. PURE.
//!
//! `server` counts, a few times a second while a change waits for its confirmation; what it counted in the last minute
//! before is the measure of `p99 < 2x`.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::numbers::{Count, Serving, Sign, Slowness, Terms};
use crate::config;

/// Numbers count over so long at most, and never from before the change.
pub const WINDOW: Duration = Duration::from_secs(10);
/// How far the measure of before goes back.
pub const BASELINE: Duration = Duration::from_secs(60);
/// Connections are opened anew after a change; so long nobody looks at response times.
const SETTLING: Duration = Duration::from_secs(3);
/// What is as quick as this is not slow, whatever it was before: buckets are no finer than half a millisecond.
const QUICK: Duration = Duration::from_millis(10);

/// What must hold, as an operator writes it: `errors < 1%, p99 < 2x`.
#[derive(Debug, Clone, PartialEq)]
pub struct Guard(Terms);

impl Guard {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it, and what to write instead, in one line.
    pub fn read(text: &str) -> Result<Self, String> {
        Terms::read(text, Sign::Below).map(Self)
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whose numbers these are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Of {
    /// A pool's.
    Pool(Arc<str>),
    /// A listener's.
    Listener(Arc<str>),
}

impl fmt::Display for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pool(name) => write!(f, "pool {name}"),
            Self::Listener(name) => write!(f, "listener {name}"),
        }
    }
}

/// All that was counted at one moment.
pub type Sample = BTreeMap<Of, Count>;

/// What was counted lately, for whoever changes something.
#[derive(Debug, Default)]
pub struct Baseline(VecDeque<(Duration, Sample)>);

impl Baseline {
    /// Keeps what was counted `at`, on a clock that never goes back.
    pub fn add(&mut self, at: Duration, sample: Sample) {
        self.0.push_back((at, sample));
        while self.0.front().is_some_and(|(then, _)| at.saturating_sub(*then) > BASELINE) {
            self.0.pop_front();
        }
    }

    /// What was counted between the oldest that is kept and `now`.
    fn until(&self, now: &Sample) -> Sample {
        let Some((_, first)) = self.0.front() else { return Sample::new() };
        let nothing = Count::default();
        now.iter().map(|(of, count)| (of.clone(), count.since(first.get(of).unwrap_or(&nothing)))).collect()
    }
}

/// A change under guard.
#[derive(Debug)]
pub struct Guarded {
    guard: Guard,
    began: Duration,
    /// The last minute before it.
    before: Sample,
    /// Everything counted by then.
    at_first: Sample,
    /// What has been counted since, for [`WINDOW`].
    looks: VecDeque<(Duration, Sample)>,
}

impl Guarded {
    /// A change that takes effect `now`; `counted`: by then.
    pub fn new(guard: Guard, baseline: &Baseline, counted: Sample, now: Duration) -> Self {
        let before = baseline.until(&counted);
        Self { guard, began: now, before, at_first: counted, looks: VecDeque::new() }
    }

    /// What must hold.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Looks at what has been counted by `now`.
    ///
    /// # Errors
    /// What does not hold, in words.
    pub fn look(&mut self, now: Duration, counted: Sample) -> Result<(), String> {
        while self.looks.front().is_some_and(|(then, _)| now.saturating_sub(*then) > WINDOW) {
            self.looks.pop_front();
        }
        let is_young = now.saturating_sub(self.began) <= WINDOW;
        let from = if is_young { None } else { self.looks.front() };
        let from = from.map_or(&self.at_first, |(_, sample)| sample);
        let nothing = Count::default();
        let broken = counted.iter().find_map(|(of, count)| {
            let lately = count.since(from.get(of).unwrap_or(&nothing));
            let why = self.judge(of, &lately, now.saturating_sub(self.began))?;
            Some(format!("{of}: {why}"))
        });
        self.looks.push_back((now, counted));
        broken.map_or(Ok(()), Err)
    }

    fn judge(&self, of: &Of, lately: &Count, age: Duration) -> Option<String> {
        let before = self.before.get(of);
        let had_somebody = self.at_first.get(of).is_some_and(|count| count.serving == Serving::Somebody);
        if had_somebody && lately.serving == Serving::Nobody {
            return Some("no backend is up any more".to_owned());
        }
        if let (Some(most), Some(share)) = (self.guard.0.errors, lately.share())
            && share >= most
        {
            let before = before.filter(|before| before.requests > 0);
            let before = before.map(|before| 100.0 * before.errors as f64 / before.requests as f64);
            let before = before.map(|share| format!(", {share:.1}% before")).unwrap_or_default();
            let (errors, requests) = (lately.errors, lately.requests);
            return Some(format!("{errors} of {requests} failed, {share:.1}%{before}; wanted less than {most}%"));
        }
        let took = lately.p99().filter(|_| age >= SETTLING)?;
        let (most, why) = match self.guard.0.p99? {
            Slowness::Lasting(most) => (most, format!("wanted less than {}", config::written_duration(most))),
            Slowness::Times(times) => {
                // Without a measure of before nothing can be said.
                let usual = before.and_then(Count::p99)?;
                (usual.mul_f64(times).max(QUICK), format!("{times} times the {} of before", millis(usual)))
            }
        };
        (took >= most).then(|| format!("the slowest hundredth takes {} or more; {why}", millis(took)))
    }
}

fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::bounds_micros;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn of() -> Of {
        Of::Pool("p".into())
    }

    fn count(requests: u64, errors: u64, serving: Serving) -> Count {
        Count { requests, errors, serving, ..Count::default() }
    }

    fn sample(count: Count) -> Sample {
        Sample::from([(of(), count)])
    }

    /// So many response times in the bucket of so many milliseconds.
    fn timed(times: &[(u64, u64)]) -> Count {
        let mut count = Count::default();
        for (millis, number) in times {
            let bucket = bounds_micros().partition_point(|bound| *bound < millis * 1000);
            count.took[bucket] += number;
            count.requests += number;
        }
        count
    }

    fn guarded(guard: &str, before: Count) -> Guarded {
        let mut baseline = Baseline::default();
        baseline.add(seconds(100), sample(Count::default()));
        Guarded::new(Guard::read(guard).unwrap(), &baseline, sample(before), seconds(160))
    }

    #[test]
    fn a_guard_is_read_or_told_what_is_wrong() {
        for good in ["errors < 1%", "errors<0.5%,p99<2x", " p99 < 500ms ", "p99 < 1.5x, errors < 100%"] {
            assert_eq!(Guard::read(good).map(|guard| guard.to_string()), Ok(good.trim().to_owned()));
        }
        for (bad, why) in [
            ("", "no `<` in it"),
            ("errors > 1%", "no `<` in it"),
            ("errors < 1", "a share"),
            ("errors < 0%", "a share"),
            ("errors < NaN%", "a share"),
            ("p99 < 1x", "more than 1x"),
            ("p99 < 0s", "no answer takes no time"),
            ("p99 < fast", "duration"),
            ("p50 < 1s", "it knows `errors` and `p99`"),
            ("errors < 1%, errors < 2%", "said twice"),
        ] {
            let told = Guard::read(bad).unwrap_err();
            assert!(told.contains(why), "{bad}: {told}");
        }
    }

    #[test]
    fn errors_count_from_the_change_on_and_not_of_too_few() {
        use Serving::Somebody;
        for (after, breaks) in [
            (count(1000, 900, Somebody), false),
            (count(1019, 919, Somebody), false),
            (count(1020, 902, Somebody), false),
            (count(1020, 903, Somebody), true),
            (count(1300, 903, Somebody), true),
            (count(1301, 903, Somebody), false),
        ] {
            let mut guarded = guarded("errors < 1%", count(1000, 900, Somebody));
            assert_eq!(guarded.look(seconds(161), sample(after)).is_err(), breaks, "{after:?}");
        }
        let mut guarded = guarded("errors < 1%", count(1000, 0, Somebody));
        let told = guarded.look(seconds(161), sample(count(1100, 50, Somebody))).unwrap_err();
        assert_eq!(told, "pool p: 50 of 100 failed, 50.0%, 0.0% before; wanted less than 1%");
    }

    #[test]
    fn old_errors_are_forgotten_and_few_good_ones_hide_none() {
        let mut guarded = guarded("errors < 10%", count(0, 0, Serving::Somebody));
        // Nine in a hundred, for ten seconds; then all of them.
        for second in 1..=11 {
            let look = guarded.look(seconds(160 + second), sample(count(100 * second, 9 * second, Serving::Somebody)));
            assert_eq!(look, Ok(()), "{second}");
        }
        let mut broken_at = None;
        for second in 12..=20 {
            let errors = 99 + 100 * (second - 11);
            let look = guarded.look(seconds(160 + second), sample(count(100 * second, errors, Serving::Somebody)));
            broken_at = broken_at.or(look.is_err().then_some(second));
        }
        assert_eq!(broken_at, Some(12), "a whole second of failures is far beyond a tenth of ten seconds");
    }

    #[test]
    fn a_pool_that_loses_everybody_breaks_it_at_once() {
        use Serving::{Nobody, Somebody, Undecided, Unknown};
        for (before, after, breaks) in [
            (Somebody, Nobody, true),
            (Somebody, Undecided, false),
            (Somebody, Somebody, false),
            (Nobody, Nobody, false),
            (Undecided, Nobody, false),
            (Unknown, Nobody, false),
        ] {
            let mut guarded = guarded("errors < 1%", count(0, 0, before));
            let look = guarded.look(Duration::from_millis(160_001), sample(count(0, 0, after)));
            assert_eq!(look.is_err(), breaks, "{before:?} {after:?}");
        }
        let mut guarded = guarded("errors < 1%", count(0, 0, Somebody));
        assert_eq!(guarded.look(seconds(161), Sample::new()), Ok(()), "a pool that is gone has nothing to serve");
    }

    #[test]
    fn slowness_is_measured_against_what_was() {
        let usual = timed(&[(20, 1000)]);
        let after = |more: &[(u64, u64)]| {
            let more = timed(more);
            let mut after = usual;
            after.took.iter_mut().zip(more.took).for_each(|(sum, more)| *sum += more);
            after
        };
        for (guard, more, at, breaks) in [
            ("p99 < 2x", &[(20, 200)][..], 170, false),
            ("p99 < 2x", &[(200, 200)], 170, true),
            ("p99 < 2x", &[(200, 200)], 162, false),
            ("p99 < 2x", &[(200, 99)], 170, false),
            ("p99 < 2x", &[(20, 990), (200, 5)], 170, false),
            ("p99 < 2x", &[(20, 900), (200, 50)], 170, true),
            ("p99 < 100ms", &[(200, 200)], 170, true),
            ("p99 < 100ms", &[(20, 200)], 170, false),
        ] {
            let mut guarded = guarded(guard, usual);
            assert_eq!(guarded.look(seconds(at), sample(after(more))).is_err(), breaks, "{guard} {more:?} {at}");
        }
        let mut unmeasured = guarded("p99 < 2x", Count::default());
        assert_eq!(unmeasured.look(seconds(170), sample(timed(&[(5000, 500)]))), Ok(()), "nothing to compare with");
        let mut quick = guarded("p99 < 2x", timed(&[(1, 1000)]));
        let mut slower = timed(&[(1, 1000)]);
        slower.took[4] += 500;
        assert_eq!(quick.look(seconds(170), sample(slower)), Ok(()), "ten milliseconds are quick");
    }

    #[test]
    fn a_baseline_is_of_the_last_minute() {
        let mut baseline = Baseline::default();
        for at in 0..=20 {
            baseline.add(seconds(at * 5), sample(count(at * 10, 0, Serving::Somebody)));
        }
        let before = baseline.until(&sample(count(210, 0, Serving::Somebody)));
        assert_eq!(before[&of()].requests, 210 - 80, "from forty seconds on");
    }
}
