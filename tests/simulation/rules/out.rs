//! Who is kept out although its checks are good: for flapping, as long as the policy says and never without a cause;
//! because of traffic, never too many; and nobody while no other is left.

use std::time::Duration;

use evenkeel::health::{Mode, State};
use evenkeel::pool::Pool;

use super::{Rules, View, could_work};
use crate::counts::Counts;

/// A hold is at most so many times the configured one.
const HOLD_MAX: u32 = 10;

impl Rules {
    pub(super) fn who_is_out_may_be(&mut self, view: &View<'_>, at: usize, counts: &mut Counts) {
        let (pool, judge) = view.pool(at);
        let count = pool.backends.len();
        let mut pardoned = Vec::new();
        let (mut out_before, mut out_now) = (0, 0);
        for position in 0..count {
            let (ejected, held) = (judge.ejected(position).map(|(until, _)| until), judge.held(position));
            let book = &self.books[at][position];
            let is_early = |before: Option<Duration>| before.is_some_and(|until| until > view.now);
            let fell = book.steady.counts() == State::Down || book.steady.flipped(view.now, Duration::ZERO) > 0;
            let unheld = held.is_none() && is_early(book.held) && pool.config.policy.flaps.is_some() && !fell;
            if (ejected.is_none() && is_early(book.ejected)) || unheld {
                pardoned.push(position);
            }
            out_before += usize::from(book.ejected.is_some());
            out_now += usize::from(ejected.is_some());
            counts.ejections += u64::from(ejected.is_some() && book.ejected.is_none());
            let leads = matches!(pool.config.policy.mode, Mode::Leader(_))
                && judge.holder() == Some(&pool.backends[position].name);
            let is_new = ejected.is_some() && book.ejected.is_none();
            assert!(
                !(is_new && leads && pool.config.follows.is_none()),
                "the leader is ejected: {}",
                pool.backends[position].name
            );
        }
        if out_now > out_before {
            let share = f64::from(pool.config.policy.outliers.max_ejected) * count as f64 + 1e-3;
            assert!(out_now as f64 <= share, "{out_now} of {count} of {} are ejected", pool.config.name);
        }
        for position in 0..count {
            self.holds_last(view, (at, position), pool, pardoned.contains(&position), counts);
        }
        self.nobody_is_out_for_nothing(view, at, &pardoned, counts);
    }

    /// Whoever has flipped too often waits, and nobody else.
    fn holds_last(&mut self, view: &View<'_>, seat: (usize, usize), pool: &Pool, pardoned: bool, counts: &mut Counts) {
        let (judge, position) = (view.pool(seat.0).1, seat.1);
        let held = judge.held(position);
        let book = &mut self.books[seat.0][position];
        let name = &pool.backends[position].name;
        let Some(flaps) = pool.config.policy.flaps else {
            assert_eq!(held, None, "{name} is held, and nothing says so");
            if book.steady.flipped(view.now, Duration::ZERO) > 0 {
                book.steady.forget_flips();
            }
            book.held = None;
            return;
        };
        let lately = book.steady.flipped(view.now, flaps.within);
        let must = lately >= flaps.max.get() as usize && book.steady.counts() == State::Up;
        let story =
            || format!("{}/{name} at {:?}: {lately} flips lately, {:?}", pool.config.name, view.now, book.steady);
        if held != book.held {
            if let Some(until) = held {
                counts.holds += 1;
                assert!(must, "held for nothing: {}", story());
                let longest = view.now + flaps.hold * HOLD_MAX;
                assert!((view.now + flaps.hold..=longest).contains(&until), "held until {until:?}: {}", story());
            }
        } else if must && book.held.is_none() {
            // A pardon in the same moment is the only excuse.
            let alone = !(0..pool.backends.len()).any(|other| other != position && could_work(view, seat.0, other));
            assert!(alone || pardoned, "flaps on: {}", story());
        }
        book.held = held;
    }

    /// A bad one is better than none: while nobody else could work, nobody is kept out; and only then does one come back
    /// before its time.
    fn nobody_is_out_for_nothing(&mut self, view: &View<'_>, at: usize, pardoned: &[usize], counts: &mut Counts) {
        let (pool, judge) = view.pool(at);
        let workers: Vec<usize> = (0..pool.backends.len()).filter(|it| could_work(view, at, *it)).collect();
        let name = |it: &usize| &*pool.backends[*it].name;
        if !pardoned.is_empty() {
            counts.pardons += 1;
            let others: Vec<_> = workers.iter().filter(|it| !pardoned.contains(it)).map(name).collect();
            assert!(
                others.is_empty(),
                "{:?} came back early, and {others:?} could work",
                pardoned.iter().map(name).collect::<Vec<_>>()
            );
        }
        for position in 0..pool.backends.len() {
            let ejected = judge.ejected(position).map(|(until, _)| until);
            let is_out = ejected.is_some() || judge.held(position).is_some();
            assert!(!is_out || !workers.is_empty(), "{} is kept out, and nobody is left", name(&position));
            self.books[at][position].ejected = ejected;
        }
    }
}
