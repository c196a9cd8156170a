//! Live numbers, and terms over them as operators write them: `errors < 1%, p99 < 2x`. PURE.
//!
//! A guard says by them what must hold after a change, a drill what ends it. Too few requests say nothing: a ratio of three
//! is no ratio.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::config;
use crate::metrics::{MAX_BOUNDS, bounds_micros};

/// A ratio of fewer requests is none.
const MIN_REQUESTS: u64 = 20;
/// One that fails may have failed anyway.
const MIN_ERRORS: u64 = 3;
/// The 99th of a hundred needs a hundred.
const MIN_TIMED: u64 = 100;

/// On which side of the numbers terms speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// `<`: what must hold.
    Below,
    /// `>`: what must not come about.
    Above,
}

impl Sign {
    fn word(self) -> char {
        match self {
            Self::Below => '<',
            Self::Above => '>',
        }
    }

    fn example(self) -> &'static str {
        match self {
            Self::Below => "errors < 1%, p99 < 2x",
            Self::Above => "errors > 0.1%, p99 > 2x",
        }
    }

    /// Reads a share in percent. Nothing is below none of all, or above all of them.
    fn share(self, text: &str) -> Result<f64, &'static str> {
        let percent = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        match self {
            Self::Below => {
                percent.filter(|it| *it > 0.0 && *it <= 100.0).ok_or("errors are a share, above 0% and up to 100%")
            }
            Self::Above => {
                percent.filter(|it| *it >= 0.0 && *it < 100.0).ok_or("errors are a share, from 0% to below 100%")
            }
        }
    }

    fn slowness(self, text: &str) -> Result<Slowness, String> {
        let Some(times) = text.strip_suffix('x') else {
            return match config::duration(text)? {
                Duration::ZERO => Err("no answer takes no time".to_owned()),
                time => Ok(Slowness::Lasting(time)),
            };
        };
        match (self, times.trim().parse::<f64>()) {
            (Self::Below, Ok(times)) if times > 1.0 && times.is_finite() => Ok(Slowness::Times(times)),
            (Self::Above, Ok(times)) if times >= 1.0 && times.is_finite() => Ok(Slowness::Times(times)),
            (Self::Below, _) => Err("so many times what it was is more than 1x".to_owned()),
            (Self::Above, _) => Err("so many times what it was is 1x or more".to_owned()),
        }
    }
}

/// How slow the slowest hundredth may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Slowness {
    /// So many times what it was.
    Times(f64),
    /// So long.
    Lasting(Duration),
}

/// Bounds of numbers, as an operator writes them; shown as they were written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Terms {
    text: Arc<str>,
    /// Percent.
    pub errors: Option<f64>,
    /// Of response times.
    pub p99: Option<Slowness>,
}

impl Terms {
    /// Reads them.
    ///
    /// # Errors
    /// What is wrong with them, and what to write instead, in one line.
    pub fn read(text: &str, sign: Sign) -> Result<Self, String> {
        let mut terms = Self { text: text.trim().into(), ..Self::default() };
        for term in text.split(',').map(str::trim) {
            let fault = |what: &str| format!("`{term}`: {what}; write it such as \"{}\"", sign.example());
            let halves = term.split_once(sign.word());
            let (what, bound) = halves.ok_or_else(|| fault(&format!("no `{}` in it", sign.word())))?;
            let bound = bound.trim();
            let said_twice = match what.trim() {
                "errors" => terms.errors.replace(sign.share(bound).map_err(fault)?).is_some(),
                "p99" => terms.p99.replace(sign.slowness(bound).map_err(|why| fault(&why))?).is_some(),
                _ => return Err(fault("it knows `errors` and `p99`")),
            };
            if said_twice {
                return Err(fault("said twice"));
            }
        }
        Ok(terms)
    }
}

impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What has been counted since it came into being.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Requests, or connections where there are no requests.
    pub requests: u64,
    /// Those that failed, or were answered 500 or above.
    pub errors: u64,
    /// Response times, by the buckets of [`bounds_micros`].
    pub took: [u64; MAX_BOUNDS + 1],
    /// Who may serve now; of pools.
    pub serving: Serving,
}

/// Who may serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Serving {
    /// Nobody is asked.
    #[default]
    Unknown,
    /// Somebody is up.
    Somebody,
    /// Nobody is up, and some have no verdict yet.
    Undecided,
    /// Nobody is up.
    Nobody,
}

impl Count {
    /// The share of errors in percent, where there are enough of both for one.
    pub fn share(&self) -> Option<f64> {
        let is_one = self.requests >= MIN_REQUESTS && self.errors >= MIN_ERRORS;
        is_one.then(|| self.errors as f64 * 100.0 / self.requests as f64)
    }

    /// What has been added since.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut took = self.took;
        took.iter_mut().zip(before.took).for_each(|(now, before)| *now = now.saturating_sub(before));
        Self {
            requests: self.requests.saturating_sub(before.requests),
            errors: self.errors.saturating_sub(before.errors),
            took,
            serving: self.serving,
        }
    }

    /// The 99th percentile of response times; `None`: of too few.
    pub fn p99(&self) -> Option<Duration> {
        let all: u64 = self.took.iter().sum();
        if all < MIN_TIMED {
            return None;
        }
        let wanted = (all as f64 * 0.99).ceil();
        let (mut sum, mut from) = (0.0, 0.0);
        for (count, bound) in self.took.iter().zip(bounds_micros()) {
            let (count, bound) = (*count as f64, *bound as f64);
            if sum + count >= wanted {
                return Some(Duration::from_secs_f64((from + (bound - from) * (wanted - sum) / count) / 1e6));
            }
            (sum, from) = (sum + count, bound);
        }
        // Longer than the last bound: nobody knows how long.
        bounds_micros().last().copied().map(Duration::from_micros)
    }
}
