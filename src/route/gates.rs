//! What lives behind rules from request to request: who has asked how often, and who has shown his
//! password.
//!
//! Made with the table; where a rule is the same as before a reload, what lives behind it stays. Rules that routes have
//! from their listener are one rule, and count together.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::door::Door;
use super::mirror::Copies;
use super::rate::Limiter;
use super::table::Listener;
use crate::config::model::{self, BasicAuth, Rules};

/// What lives behind the rules of one route, or of a listener for what no route matches.
#[derive(Debug, Default)]
pub struct Gates {
    /// Behind `rate`.
    pub rate: Option<Arc<Limiter>>,
    /// Behind `basic_auth`.
    pub door: Option<Arc<Door>>,
    /// Behind `mirror`.
    pub copies: Option<Arc<Copies>>,
}

impl Listener {
    /// Each door of the listener, with the rule that it belongs to.
    pub fn doors(&self) -> impl Iterator<Item = (&Arc<BasicAuth>, &Arc<Door>)> {
        let pairs = all_rules(&self.config).zip(&self.gates);
        pairs.filter_map(|(rules, gates)| Some((rules?.basic_auth.as_ref()?, gates.door.as_ref()?)))
    }

    /// What lives behind the rules of a route, by its position, or of the listener itself.
    #[inline]
    pub fn gates(&self, route: Option<usize>) -> Option<&Gates> {
        self.gates.get(route.map_or(0, |route| route + 1))
    }
}

/// For the listener itself and each of its routes, in that order.
pub(super) fn build(listener: &model::Listener, kept: Option<&Listener>) -> Vec<Gates> {
    let mut rates = Lived::new(kept, |rules| rules.rate.as_ref(), |gates| gates.rate.as_ref());
    let mut doors = Lived::new(kept, |rules| rules.basic_auth.as_ref(), |gates| gates.door.as_ref());
    let mut copies = Lived::new(kept, |rules| rules.mirror.as_ref(), |gates| gates.copies.as_ref());
    all_rules(listener)
        .map(|rules| match rules {
            Some(rules) => Gates {
                rate: rules.rate.as_ref().map(|rate| rates.of(rate, Limiter::new)),
                door: rules.basic_auth.as_ref().map(|auth| doors.of(auth, Door::new)),
                copies: rules.mirror.as_ref().map(|mirror| copies.of(mirror, |_| Copies::default())),
            },
            None => Gates::default(),
        })
        .collect()
}

fn all_rules(listener: &model::Listener) -> impl Iterator<Item = Option<&Arc<Rules>>> {
    let routes = listener.routes.iter().map(|route| route.rules.as_ref());
    std::iter::once(listener.rules.as_ref()).chain(routes)
}

/// What lives behind one kind of rule.
struct Lived<R, L> {
    /// From the table before, each once, in its order.
    before: Vec<(Arc<R>, Arc<L>)>,
    /// Of this table, by the place of the rule in memory: what is one rule there is one here.
    made: HashMap<*const R, Arc<L>, FixedState>,
}

impl<R: PartialEq, L> Lived<R, L> {
    fn new(
        kept: Option<&Listener>,
        rule: impl Fn(&Rules) -> Option<&Arc<R>>,
        live: impl Fn(&Gates) -> Option<&Arc<L>>,
    ) -> Self {
        let mut before: Vec<(Arc<R>, Arc<L>)> = Vec::new();
        let mut seen: HashSet<*const L, FixedState> = HashSet::default();
        let pairs = kept.into_iter().flat_map(|kept| all_rules(&kept.config).zip(&kept.gates));
        for (rules, gates) in pairs {
            let (Some(rule), Some(live)) = (rules.and_then(|rules| rule(rules)), live(gates)) else { continue };
            if seen.insert(Arc::as_ptr(live)) {
                before.push((Arc::clone(rule), Arc::clone(live)));
            }
        }
        Self { before, made: HashMap::default() }
    }

    /// What lives behind a rule: what did before, or something new.
    fn of(&mut self, rule: &Arc<R>, new: impl FnOnce(&R) -> L) -> Arc<L> {
        let before = &mut self.before;
        let made = self.made.entry(Arc::as_ptr(rule)).or_insert_with(|| {
            match before.iter().position(|(known, _)| known == rule) {
                Some(at) => before.remove(at).1,
                None => Arc::new(new(rule)),
            }
        });
        Arc::clone(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Source};

    fn listener(text: &str) -> model::Listener {
        let head = "[pool.p]\nbackends = ['127.0.0.1:1']\n[listener.web]\nbind = '127.0.0.1:80'\npool = 'p'\n";
        let source = Source::text(format!("{head}{text}"));
        config::load(&source).unwrap().config.listeners[0].clone()
    }

    fn live(config: &model::Listener, gates: Vec<Gates>) -> Listener {
        Listener {
            config: config.clone(),
            stats: Arc::new(crate::metrics::PerWorker::new(1)),
            open: Arc::default(),
            crowd: Arc::default(),
            routes: super::super::routes::Routes::new(&config.routes),
            gates,
            tls: None,
            log: None,
        }
    }

    #[test]
    fn a_rule_that_stays_keeps_what_lives_behind_it() {
        let of_route = "[[listener.web.route]]\npath = '/a'\npool = 'p'\nrate = { requests = 7 }\n";
        let plain = "[[listener.web.route]]\npath = '/b'\npool = 'p'\n";
        let before = listener(&format!("rate = {{ requests = 5 }}\n{of_route}{plain}"));
        let gates = build(&before, None);
        let rate = |gates: &Gates| gates.rate.clone().unwrap();
        assert!(Arc::ptr_eq(&rate(&gates[0]), &rate(&gates[2])), "one rule for all that have it from the listener");
        assert!(!Arc::ptr_eq(&rate(&gates[0]), &rate(&gates[1])));
        let (own, of_a) = (rate(&gates[0]), rate(&gates[1]));
        let before = live(&before, gates);
        // In another order, and the listener's own has changed.
        let after = build(&listener(&format!("rate = {{ requests = 6 }}\n{plain}{of_route}")), Some(&before));
        assert!(Arc::ptr_eq(&rate(&after[2]), &of_a));
        assert!(!Arc::ptr_eq(&rate(&after[0]), &own));
    }
}
