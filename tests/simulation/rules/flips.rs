//! No flip inside its hysteresis: a state counts when the checks have said so for long enough, not earlier and not later.

use std::collections::VecDeque;
use std::time::Duration;

use evenkeel::health::judge::Source;
use evenkeel::health::{ProbeFails, State};

use super::{Rules, View};
use crate::counts::Counts;
use crate::program::{Seat, source};

/// What counts of a backend.
#[derive(Debug)]
pub(super) struct Steady {
    /// What its checks say, and since when.
    said: (State, Duration),
    counts: State,
    /// Traffic kept it up until then, whatever its checks said.
    kept_until: Duration,
    /// At the last look.
    keeper: Keeper,
    flips: VecDeque<Duration>,
}

/// What is to be seen of it at one moment.
#[derive(Debug)]
struct Seen {
    said: State,
    /// How long that must hold before it counts.
    wait: Duration,
    /// What the verdict makes of it; `None` where orders or traffic hide it.
    shown: Option<State>,
    keeper: Keeper,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeper {
    Nobody,
    /// Traffic may keep it up.
    Traffic,
}

/// What came of a look.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Same,
    Flip,
    Early,
    Overdue,
    Wrong,
}

impl Default for Steady {
    fn default() -> Self {
        Self {
            said: (State::Unknown, Duration::ZERO),
            counts: State::Unknown,
            kept_until: Duration::ZERO,
            keeper: Keeper::Nobody,
            flips: VecDeque::new(),
        }
    }
}

impl Rules {
    pub(super) fn flips_are_due(&mut self, view: &View<'_>, at: usize, counts: &mut Counts) {
        let pool = view.pool(at).0;
        if source(pool) == Source::Followed {
            return;
        }
        for position in 0..pool.backends.len() {
            let seen = self.seen(view, (at, position));
            let book = &mut self.books[at][position];
            let look = book.steady.look(&seen, view.now);
            counts.flips_settled += u64::from(look == Look::Flip && !seen.wait.is_zero());
            assert!(
                matches!(look, Look::Same | Look::Flip),
                "{look:?}: {}/{} at {:?}: {seen:?}, {:?}, {:?}",
                pool.config.name,
                pool.backends[position].name,
                view.now,
                book.rows,
                book.steady
            );
        }
    }

    fn seen(&self, view: &View<'_>, (at, position): Seat) -> Seen {
        let (pool, judge) = view.pool(at);
        let policy = &pool.config.policy;
        let said = self.said(view, (at, position));
        let is_out = judge.ejected(position).is_some() || judge.held(position).is_some();
        let shown = match judge.verdict(position).state {
            _ if view.orders(pool, position).maintenance => None,
            State::Down if is_out => None,
            State::Up | State::Draining | State::Maintenance => Some(State::Up),
            state => Some(state),
        };
        // Of either kind: traffic that fails again says so before the next look.
        let is_kept = policy.disagree.probe_fails == ProbeFails::Keep && judge.disagreement(position).is_some();
        let wait = if said == State::Up { policy.settle.up } else { policy.settle.down };
        Seen { said, wait, shown, keeper: if is_kept { Keeper::Traffic } else { Keeper::Nobody } }
    }
}

impl Steady {
    fn look(&mut self, seen: &Seen, now: Duration) -> Look {
        if self.said.0 != seen.said {
            self.said = (seen.said, now);
        }
        // One that was kept is kept until somebody looks.
        if Keeper::Traffic == std::mem::replace(&mut self.keeper, seen.keeper) || seen.keeper == Keeper::Traffic {
            self.kept_until = now;
        }
        let is_new = seen.said != State::Unknown && seen.said != self.counts;
        if is_new && self.counts == State::Unknown {
            // The first verdict waits for nothing.
            self.counts = seen.said;
        } else if is_new {
            let is_early = now < self.said.1 + seen.wait;
            let is_due = now >= self.said.1.max(self.kept_until) + seen.wait && seen.keeper == Keeper::Nobody;
            match seen.shown.map_or(is_due, |shown| shown == seen.said) {
                true if is_early => return Look::Early,
                true => {
                    self.counts = seen.said;
                    self.flips.push_back(now);
                    return Look::Flip;
                }
                false if is_due => return Look::Overdue,
                false => {}
            }
        }
        if seen.shown.is_none_or(|shown| shown == self.counts) { Look::Same } else { Look::Wrong }
    }

    /// How often it has flipped lately, where it has done so just now.
    pub(super) fn flipped(&self, now: Duration, within: Duration) -> usize {
        if self.flips.back() != Some(&now) {
            return 0;
        }
        self.flips.iter().rev().take_while(|flip| **flip + within >= now).count()
    }

    pub(super) fn counts(&self) -> State {
        self.counts
    }

    pub(super) fn forget_flips(&mut self) {
        self.flips.clear();
    }
}
