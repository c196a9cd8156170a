//! When a drill ends before its time: `errors > 0.1%, p99 > 500ms`, over what is counted while it runs. PURE.

use std::fmt;

use crate::control::numbers::{Count, Sign, Slowness, Terms};

/// What ends a drill.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Abort(Terms);

impl Abort {
    /// Reads one; nothing in it: nothing ends the drill but its time.
    ///
    /// # Errors
    /// What is wrong with it, and what to write instead, in one line.
    pub fn read(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() { Ok(Self::default()) } else { Terms::read(text, Sign::Above).map(Self) }
    }

    /// Why it must end, by what was counted `before` it and `since` it began.
    pub fn judge(&self, before: &Count, since: &Count) -> Option<String> {
        if let (Some(most), Some(share)) = (self.0.errors, since.share())
            && share > most
        {
            let Count { requests, errors, .. } = since;
            return Some(format!("{errors} of {requests} requests failed, {share:.2}%, which is more than {most}%"));
        }
        let (took, most) = (since.p99()?, self.0.p99?);
        let bound = match most {
            Slowness::Lasting(bound) => bound,
            Slowness::Times(times) => before.p99()?.mul_f64(times),
        };
        (took > bound).then(|| format!("the slowest hundredth takes up to {took:?}, which is more than {bound:?}"))
    }
}

impl fmt::Display for Abort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{MAX_BOUNDS, bounds_micros};

    /// So many requests, of which so many failed, and all took so many milliseconds.
    fn count(requests: u64, errors: u64, millis: u64) -> Count {
        let mut took = [0; MAX_BOUNDS + 1];
        took[bounds_micros().partition_point(|bound| *bound < millis * 1000)] = requests;
        Count { requests, errors, took, ..Count::default() }
    }

    #[test]
    fn a_condition_is_read_or_told_what_is_wrong() {
        for good in ["", "errors > 1%", "errors>0.5%,p99>2x", " p99 > 500ms ", "errors > 0%"] {
            assert_eq!(Abort::read(good).map(|abort| abort.to_string()), Ok(good.trim().to_owned()));
        }
        for (bad, why) in [
            ("errors < 1%", "no `>` in it"),
            ("errors > 1", "a share"),
            ("errors > 100%", "a share"),
            ("errors > NaN%", "a share"),
            ("p99 > 0.5x", "1x or more"),
            ("p99 > soon", "duration"),
            ("p50 > 1s", "it knows `errors` and `p99`"),
            ("errors > 1%, errors > 2%", "said twice"),
            ("errors > 1%,", "no `>` in it"),
        ] {
            let said = Abort::read(bad).unwrap_err();
            assert!(said.contains(why), "{bad}: {said}");
        }
    }

    #[test]
    fn it_ends_by_the_numbers_and_not_by_three_requests() {
        let before = count(1_000, 0, 10);
        for (condition, since, ends) in [
            ("errors > 0.1%", count(1_000, 2, 10), false),
            ("errors > 0.1%", count(10_000, 10, 10), false),
            ("errors > 0.1%", count(10_000, 11, 10), true),
            ("errors > 0%", count(19, 19, 10), false),
            ("errors > 0%", count(20, 3, 10), true),
            ("p99 > 50ms", count(99, 0, 100), false),
            ("p99 > 50ms", count(100, 0, 100), true),
            ("p99 > 100ms", count(100, 0, 100), false),
            ("p99 > 2x", count(100, 0, 25), true),
            ("p99 > 3x", count(100, 0, 25), false),
            ("", count(1_000, 1_000, 10_000), false),
        ] {
            let said = Abort::read(condition).unwrap().judge(&before, &since);
            assert_eq!(said.is_some(), ends, "{condition} {said:?}");
        }
        assert_eq!(Abort::read("p99 > 2x").unwrap().judge(&count(5, 0, 10), &count(500, 0, 500)), None, "no measure");
    }
}
