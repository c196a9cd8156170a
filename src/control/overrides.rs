//! PURE store of what operators have ordered: adding, replacing, taking back, ending by time. The list that the state
//! file holds and the schedule of probes obeys.
//!
//! At most one order of each kind stands for a backend, and at most one promotion for a pool. Whoever would replace or
//! take back what somebody else ordered has to say so ([`Force`]).

use std::sync::Arc;

use jiff::Timestamp;

use crate::config::written_duration;
use crate::pool::{Order, Override};

/// More than anybody orders by hand; a script that goes wild is stopped here.
pub const MAX_OVERRIDES: usize = 10_000;

/// Whether other people's orders may be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Force {
    /// Only one's own.
    #[default]
    No,
    /// Anybody's.
    Yes,
}

/// Why an order was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conflict {
    /// Somebody else's order stands.
    Owned(Override),
    /// There are [`MAX_OVERRIDES`].
    Full,
}

/// What is taken back of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakeBack {
    /// Whatever keeps work away: drain, maintenance, demotion.
    Absence,
    /// The weight.
    Weight,
    /// The promotion.
    Promotion,
}

/// What operators have ordered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overrides(Vec<Override>);

impl TakeBack {
    fn covers(self, order: Order) -> bool {
        match self {
            Self::Absence => matches!(order, Order::Drain { .. } | Order::Maintenance | Order::Demote),
            Self::Weight => matches!(order, Order::Weight(_)),
            Self::Promotion => order == Order::Promote,
        }
    }
}

impl Overrides {
    /// Those of a state file: of several that exclude each other, the last one stands.
    pub fn new(list: impl IntoIterator<Item = Override>) -> Self {
        let mut all = Self::default();
        for one in list {
            // With force, only a full list refuses: the rest of such a file is not ours.
            let _ = all.set(one, Force::Yes);
        }
        all
    }

    /// All of them, in the order in which they were said.
    pub fn list(&self) -> &[Override] {
        &self.0
    }

    /// Adds an order; what it took the place of.
    pub fn set(&mut self, new: Override, force: Force) -> Result<Vec<Override>, Conflict> {
        let in_its_way = |old: &Override| excludes(old, &new);
        if force == Force::No
            && let Some(others) = self.0.iter().find(|old| in_its_way(old) && old.owner != new.owner)
        {
            return Err(Conflict::Owned(others.clone()));
        }
        let replaced = self.take(in_its_way);
        if self.0.len() >= MAX_OVERRIDES {
            return Err(Conflict::Full);
        }
        self.0.push(new);
        Ok(replaced)
    }

    /// Takes back what of a backend `what` covers; the orders that are gone.
    pub fn clear(
        &mut self,
        (pool, backend): (&str, &str),
        what: TakeBack,
        owner: &str,
        force: Force,
    ) -> Result<Vec<Override>, Conflict> {
        let meant = |one: &Override| *one.pool == *pool && *one.backend == *backend && what.covers(one.order);
        if force == Force::No
            && let Some(others) = self.0.iter().find(|one| meant(one) && *one.owner != *owner)
        {
            return Err(Conflict::Owned(others.clone()));
        }
        Ok(self.take(meant))
    }

    /// Ends those whose time is over; the orders that are gone.
    pub fn expire(&mut self, now: Timestamp) -> Vec<Override> {
        self.take(|one| one.until.is_some_and(|until| until <= now))
    }

    /// Removes those that are meant.
    fn take(&mut self, meant: impl Fn(&Override) -> bool) -> Vec<Override> {
        if !self.0.iter().any(&meant) {
            return Vec::new();
        }
        let (gone, rest) = std::mem::take(&mut self.0).into_iter().partition(meant);
        self.0 = rest;
        gone
    }

    /// When the next one ends by itself.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.0.iter().filter_map(|one| one.until).min()
    }

    /// The backend of a pool that is promoted.
    pub fn promoted(&self, pool: &str) -> Option<&Arc<str>> {
        self.0.iter().find(|one| one.order == Order::Promote && *one.pool == *pool).map(|one| &one.backend)
    }
}

/// Whether two orders cannot stand together.
fn excludes(old: &Override, new: &Override) -> bool {
    let same_backend = old.backend == new.backend && old.order.kind() == new.order.kind();
    let two_promotions = old.order == Order::Promote && new.order == Order::Promote;
    old.pool == new.pool && (same_backend || two_promotions)
}

/// An order in words, for people: `drain (at most 5m)`, `weight 50%`.
pub fn words(order: Order) -> String {
    match order {
        Order::Drain { deadline: Some(deadline) } => format!("drain (at most {})", written_duration(deadline)),
        Order::Weight(percent) => format!("weight {percent}%"),
        other => other.word().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn said(backend: &str, order: Order, owner: &str) -> Override {
        Override {
            pool: "p".into(),
            backend: backend.into(),
            order,
            owner: owner.into(),
            reason: "".into(),
            since: Timestamp::UNIX_EPOCH,
            until: None,
        }
    }

    fn shown(all: &Overrides) -> String {
        let texts: Vec<_> =
            all.list().iter().map(|one| format!("{} {} by {}", one.backend, words(one.order), one.owner)).collect();
        texts.join(", ")
    }

    const DRAIN: Order = Order::Drain { deadline: None };

    #[test]
    fn one_order_of_a_kind_stands_for_a_backend() {
        let mut all = Overrides::default();
        for (backend, order, expected) in [
            ("a", DRAIN, "a drain by me"),
            ("a", Order::Maintenance, "a maintenance by me"),
            ("a", Order::Weight(50), "a maintenance by me, a weight 50% by me"),
            ("b", Order::Maintenance, "a maintenance by me, a weight 50% by me, b maintenance by me"),
            ("a", Order::Weight(20), "a maintenance by me, b maintenance by me, a weight 20% by me"),
        ] {
            all.set(said(backend, order, "me"), Force::No).unwrap();
            assert_eq!(shown(&all), expected);
        }
    }

    #[test]
    fn one_backend_of_a_pool_is_promoted() {
        let mut all = Overrides::default();
        all.set(said("a", Order::Demote, "me"), Force::No).unwrap();
        all.set(said("b", Order::Promote, "me"), Force::No).unwrap();
        all.set(Override { pool: "q".into(), ..said("z", Order::Promote, "me") }, Force::No).unwrap();
        let replaced = all.set(said("a", Order::Promote, "me"), Force::No).unwrap();
        assert_eq!(replaced.len(), 2, "its own demotion and the other's promotion");
        assert_eq!(shown(&all), "z promote by me, a promote by me");
        assert_eq!(
            (all.promoted("p").map(|name| &**name), all.promoted("q").map(|name| &**name)),
            (Some("a"), Some("z"))
        );
        all.set(said("b", Order::Demote, "me"), Force::No).unwrap();
        assert_eq!(shown(&all), "z promote by me, a promote by me, b demote by me");
    }

    #[test]
    fn other_peoples_orders_stand_unless_forced() {
        let mut all = Overrides::default();
        all.set(said("a", Order::Maintenance, "alice"), Force::No).unwrap();
        let refused = all.set(said("a", DRAIN, "bob"), Force::No);
        assert_eq!(refused, Err(Conflict::Owned(said("a", Order::Maintenance, "alice"))));
        assert!(all.clear(("p", "a"), TakeBack::Absence, "bob", Force::No).is_err());
        assert_eq!(shown(&all), "a maintenance by alice");
        // What is of another kind is nobody's yet.
        all.set(said("a", Order::Weight(10), "bob"), Force::No).unwrap();
        all.set(said("a", DRAIN, "bob"), Force::Yes).unwrap();
        assert_eq!(shown(&all), "a weight 10% by bob, a drain by bob");
    }

    #[test]
    fn what_keeps_work_away_is_taken_back_and_nothing_else() {
        let mut all = Overrides::new([
            said("a", DRAIN, "me"),
            said("a", Order::Demote, "me"),
            said("a", Order::Weight(10), "you"),
            said("b", DRAIN, "you"),
        ]);
        assert_eq!(all.clear(("p", "a"), TakeBack::Absence, "me", Force::No).unwrap().len(), 2);
        assert_eq!(shown(&all), "a weight 10% by you, b drain by you");
        assert_eq!(all.clear(("p", "gone"), TakeBack::Absence, "me", Force::No).unwrap(), []);
        assert_eq!(all.clear(("p", "a"), TakeBack::Weight, "you", Force::No).unwrap().len(), 1);
        assert_eq!(shown(&all), "b drain by you");
        all.set(said("b", Order::Promote, "me"), Force::No).unwrap();
        assert_eq!(all.clear(("p", "b"), TakeBack::Promotion, "me", Force::No).unwrap().len(), 1);
        assert_eq!(shown(&all), "b drain by you");
    }

    #[test]
    fn an_order_ends_when_its_time_is_over() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut all = Overrides::new([
            Override {
                until: Some(at(10)),
                ..said("a", Order::Drain { deadline: Some(Duration::from_secs(5)) }, "me")
            },
            Override { until: Some(at(20)), ..said("b", DRAIN, "me") },
            said("c", DRAIN, "me"),
        ]);
        assert_eq!(all.next_expiry(), Some(at(10)));
        assert_eq!(all.expire(at(9)), []);
        assert_eq!(all.expire(at(10)).len(), 1);
        assert_eq!(all.next_expiry(), Some(at(20)));
        assert_eq!(all.expire(at(99)).len(), 1);
        assert_eq!((shown(&all).as_str(), all.next_expiry()), ("c drain by me", None));
    }

    #[test]
    fn there_is_a_limit() {
        let mut all = Overrides::new((0..=MAX_OVERRIDES).map(|number| said(&number.to_string(), DRAIN, "me")));
        assert_eq!(all.list().len(), MAX_OVERRIDES);
        assert_eq!(all.set(said("one more", DRAIN, "me"), Force::Yes), Err(Conflict::Full));
        assert!(all.set(said("0", Order::Maintenance, "me"), Force::Yes).is_ok(), "what replaces needs no room");
    }
}
