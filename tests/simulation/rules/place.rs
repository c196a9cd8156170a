//! Who has the work of a pool with one active backend: failover, failback and two leaders go by the policy, and by
//! nothing else.

use std::time::Duration;

use evenkeel::health::{AllDown, Failback, Failover, Mode, Role, State, Succession, TwoLeaders, Verdict};
use evenkeel::pool::Pool;

use super::{Orders, PATIENCE, Rules, View, is_fit};
use crate::counts::Counts;

/// What is known of one backend.
#[derive(Debug)]
struct Candidate {
    verdict: Verdict,
    orders: Orders,
    fit_since: Option<Duration>,
    epoch: Option<u64>,
}

impl Candidate {
    /// Since when it may have the work of an active-standby pool.
    fn well_since(&self) -> Option<Duration> {
        self.fit_since.filter(|_| !self.orders.demoted())
    }

    fn claims(&self) -> bool {
        self.verdict.state == State::Up && self.verdict.role == Some(Role::Active) && !self.orders.demoted()
    }
}

/// Who is to have the work.
#[derive(Debug, PartialEq, Eq)]
struct Heir {
    who: Option<usize>,
    why: Why,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Promoted,
    Stays,
    Failover,
    Failback,
    FailbackWaited,
    Leads,
    TwoKept,
    TwoRefused,
    TwoNewest,
    Nobody,
}

impl Rules {
    pub(super) fn the_place_is_given_by_the_policy(&mut self, view: &View<'_>, at: usize, counts: &mut Counts) {
        let (pool, judge) = view.pool(at);
        let place = |name: &str| pool.backends.iter().position(|backend| *backend.name == *name);
        let holder = judge.holder().and_then(|name| place(name));
        if pool.config.follows.is_some() || pool.config.policy.mode == Mode::ActiveActive {
            return assert_eq!(holder, None, "{} has no place to give", pool.config.name);
        }
        let name = pool.config.name.to_string();
        let incumbent = self.incumbents.get(&name).and_then(|name| place(name));
        let all = self.candidates(view, at);
        let heir = match &pool.config.policy.mode {
            Mode::Leader(rule) => leader(&all, incumbent, *rule),
            Mode::ActiveStandby(rules) => succession(pool, &all, incumbent, *rules, view.now),
            Mode::ActiveActive => return,
        };
        let story = || format!("{name} at {:?}: had {incumbent:?}, has {holder:?}, {heir:?}; {all:?}", view.now);
        let is_early = view.now < self.followed + PATIENCE && all.iter().any(|it| it.verdict.state == State::Unknown);
        if all.iter().all(|it| !matches!(it.verdict.state, State::Up | State::Unknown)) {
            assert!(holder.is_none_or(|it| in_need(pool, &all[it])), "work for one that is down: {}", story());
        } else if holder.is_some() || !is_early {
            assert_eq!(holder, heir.who, "against the policy: {}", story());
        }
        let Some(now) = holder else {
            counts.two_leaders_refused += u64::from(heir.why == Why::TwoRefused);
            return;
        };
        if self.newborn.remove(&name) {
            counts.incumbents_found_again += u64::from(incumbent == holder && now > 0);
        }
        if incumbent != holder {
            count(heir.why, counts);
        }
        counts.two_leaders_kept += u64::from(heir.why == Why::TwoKept);
        counts.two_leaders_newest += u64::from(heir.why == Why::TwoNewest);
        self.incumbents.insert(name, pool.backends[now].name.to_string());
    }

    fn candidates(&self, view: &View<'_>, at: usize) -> Vec<Candidate> {
        let (pool, judge) = view.pool(at);
        let books = self.books[at].iter().enumerate();
        let candidate = |(position, book): (usize, &super::Book)| {
            let mut up = book.rows.iter().filter(|row| row.state == State::Up);
            Candidate {
                verdict: judge.verdict(position),
                orders: view.orders(pool, position),
                fit_since: book.fit_since.filter(|_| is_fit(judge.verdict(position))),
                epoch: up.find_map(|row| row.says.epoch),
            }
        };
        books.map(candidate).collect()
    }
}

fn count(why: Why, counts: &mut Counts) {
    match why {
        Why::Failover => counts.failovers += 1,
        Why::Failback => counts.failbacks += 1,
        Why::FailbackWaited => counts.failbacks_waited += 1,
        _ => {}
    }
}

/// Whether one that is down may have the work all the same.
fn in_need(pool: &Pool, it: &Candidate) -> bool {
    let serves = matches!(pool.config.policy.all_down, AllDown::ServeAnyway | AllDown::ServeWhen(_));
    serves && it.verdict.state == State::Down && !it.orders.leaves_alone() && !it.orders.demoted()
}

fn leader(all: &[Candidate], incumbent: Option<usize>, rule: TwoLeaders) -> Heir {
    let claimants: Vec<usize> = (0..all.len()).filter(|it| all[*it].claims()).collect();
    let heir = |who, why| Heir { who, why };
    if let Some(promoted) = claimants.iter().find(|it| all[**it].orders.promoted()) {
        return heir(Some(*promoted), Why::Promoted);
    }
    let kept = incumbent.filter(|it| claimants.contains(it)).or(claimants.first().copied());
    match (&claimants[..], rule) {
        ([], _) => heir(None, Why::Nobody),
        ([only], _) => heir(Some(*only), Why::Leads),
        (_, TwoLeaders::Keep) => heir(kept, Why::TwoKept),
        (_, TwoLeaders::Refuse) => heir(None, Why::TwoRefused),
        (_, TwoLeaders::Newest) => {
            let newest = claimants.iter().map(|it| all[*it].epoch).max().flatten();
            let mut theirs = claimants.iter().filter(|it| all[**it].epoch == newest);
            match (theirs.next(), theirs.next()) {
                (Some(one), None) if claimants.iter().all(|it| all[*it].epoch.is_some()) => {
                    heir(Some(*one), Why::TwoNewest)
                }
                _ => heir(kept, Why::TwoKept),
            }
        }
    }
}

fn succession(pool: &Pool, all: &[Candidate], incumbent: Option<usize>, rules: Succession, now: Duration) -> Heir {
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by_key(|it| (pool.config.members[*it].standing as u8, *it));
    let well = |it: &usize| all[*it].well_since().is_some();
    let heir = |who: usize, why| Heir { who: Some(who), why };
    let promoted = (0..all.len()).find(|it| all[*it].orders.promoted());
    if let Some(promoted) = promoted.filter(well) {
        return heir(promoted, Why::Promoted);
    }
    if let Some(incumbent) = incumbent.filter(well) {
        let earlier = order.iter().copied().take_while(|it| *it != incumbent);
        let mut earlier = earlier.filter_map(|it| Some((it, all[it].well_since()?)));
        let back = match rules.failback {
            _ if promoted.is_some() => None,
            Failback::Never | Failback::Manual => None,
            Failback::AtOnce => earlier.next().map(|(it, _)| heir(it, Why::Failback)),
            Failback::After(wait) => {
                earlier.find(|(_, since)| now >= *since + wait).map(|(it, _)| heir(it, Why::FailbackWaited))
            }
        };
        return back.unwrap_or(heir(incumbent, Why::Stays));
    }
    let has_fallen = |it: &Candidate| !it.orders.demoted() && it.verdict.state != State::Unknown;
    if rules.failover == Failover::Manual && incumbent.is_some_and(|it| has_fallen(&all[it])) {
        return Heir { who: None, why: Why::Nobody };
    }
    Heir { who: order.into_iter().find(well), why: Why::Failover }
}
