//! What operators have ordered, as the judges take it: found by name, with times of the judges' clock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::schedule::Runner;
use crate::health::judge::{Leave, Orders, Rank};
use crate::pool::{Order, Override};

impl Runner {
    /// Other orders hold from now on.
    pub(super) fn override_with(&mut self, overrides: Arc<Vec<Override>>) {
        let before = std::mem::replace(&mut self.overrides, overrides);
        self.pass_on_orders(&before);
    }

    /// Tells the judges what is ordered; `before` names what was.
    pub(super) fn pass_on_orders(&mut self, before: &[Override]) {
        let born = self.born_at;
        let overrides = Arc::clone(&self.overrides);
        let ordered = by_name(&overrides);
        let before = by_name(before);
        for (at, (judge, pool)) in self.judges.iter_mut().zip(&self.pools).enumerate() {
            for (position, backend) in pool.backends.iter().enumerate() {
                let key = (&*backend.pool, &*backend.name);
                let these = ordered.get(&key).map_or(&[][..], Vec::as_slice);
                let orders = orders_of(these, born);
                judge.ordered(position, orders, || say(these, before.get(&key).map_or(&[][..], Vec::as_slice)));
            }
            if judge.is_restless() {
                self.restless.push(at);
            }
        }
    }
}

type ByName<'o> = HashMap<(&'o str, &'o str), Vec<&'o Override>>;

fn by_name(overrides: &[Override]) -> ByName<'_> {
    let mut found: ByName<'_> = HashMap::new();
    for order in overrides {
        found.entry((&order.pool, &order.backend)).or_default().push(order);
    }
    found
}

/// What is ordered of one backend, as its judge takes it. `born` is the wall's time at the judges' fixed moment: the same
/// order is the same each time it is passed on.
pub fn orders_of(overrides: &[&Override], born: Timestamp) -> Orders {
    let mut orders = Orders::default();
    for order in overrides {
        match order.order {
            Order::Drain { deadline } => {
                let ends = deadline.map(|deadline| {
                    let said = order.since.duration_since(born);
                    let ends = said.saturating_add(SignedDuration::try_from(deadline).unwrap_or(SignedDuration::MAX));
                    Duration::try_from(ends).unwrap_or_default()
                });
                orders.leave = Some(Leave::Drain { until: ends });
            }
            Order::Maintenance => orders.leave = Some(Leave::Maintenance),
            Order::Weight(percent) => orders.weight = Some(percent),
            Order::Promote => orders.rank = Some(Rank::Promoted),
            Order::Demote => orders.rank = Some(Rank::Demoted),
        }
    }
    orders
}

/// The sentence for the event: what is new, or what is not there any more.
fn say(now: &[&Override], before: &[&Override]) -> String {
    let named = |order: &Override, word: &str| {
        let reason = if order.reason.is_empty() { String::new() } else { format!(": {}", order.reason) };
        format!("{word}{} by {}{reason}", order.order.word(), order.owner)
    };
    let is_new = |order: &&&Override| !before.contains(order);
    let is_gone = |order: &&&Override| !now.iter().any(|other| other.order.kind() == order.order.kind());
    if let Some(order) = now.iter().find(is_new) {
        return named(order, "");
    }
    before
        .iter()
        .find(is_gone)
        .map_or_else(|| "the orders of operators have changed".to_owned(), |order| named(order, "no more "))
}
