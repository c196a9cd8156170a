//! Where work goes: as the verdicts say, to one where one has it, and away in time from whoever is dead or leads no more.

use std::net::Ipv4Addr;
use std::time::Duration;

use evenkeel::config::model::{OnDown, Reads};
use evenkeel::health::{Mode, Role, Serves, State, Verdict};
use evenkeel::pool::pick::Ask;
use evenkeel::pool::{Lease, Pool};

use super::{Rules, View};
use crate::program::machine_of;

/// What answers, turns of the loop and room among the probes may take beside the intervals.
const SLACK: Duration = Duration::from_millis(500);

impl Rules {
    /// A pick is right by what is published, and stays in its zone while that is whole.
    pub(crate) fn picked(pool: &Pool, lease: &Lease, ask: &Ask, client: Ipv4Addr) {
        let (backend, reads) = (lease.backend(), ask.reads);
        let serves = backend.verdict().serves;
        let may = if reads == Reads::Active { serves.work() } else { serves != Serves::Nothing };
        assert!(may, "{} got {reads:?} and serves {serves:?}", backend.name);
        let zones = &pool.config.zones;
        let near = zones.clients.iter().find(|(network, _)| network.contains(&std::net::IpAddr::V4(client)));
        let Some(near) = near.map(|(_, zone)| *zone).or(zones.own) else { return };
        let member = |at: usize| &pool.config.members[at];
        let chosen = (0..pool.backends.len()).find(|at| pool.backends[*at].slot.serial == backend.slot.serial);
        let mut those = (0..pool.backends.len()).filter(|at| member(*at).zone == Some(near));
        let is_whole = |at: usize| {
            let verdict = pool.backends[at].verdict();
            let serves = if reads == Reads::Active { verdict.serves.work() } else { verdict.serves.reads() };
            verdict.state == State::Up && serves && verdict.share >= 100
        };
        let has_any = those.clone().next().is_some();
        let is_regular = |at: usize| member(at).standing == evenkeel::health::Standing::Regular;
        if has_any && those.all(|at| is_whole(at) && is_regular(at)) {
            let zone = chosen.and_then(|at| member(at).zone);
            assert_eq!(zone, Some(near), "{} got the work of another zone, which is whole", backend.name);
        }
    }

    /// What is published is what was decided; orders are obeyed; and where one has the work, one alone has it.
    pub(super) fn work_is_given_by_the_verdicts(&self, view: &View<'_>, at: usize) {
        let (pool, judge) = view.pool(at);
        let (root, root_pool) = view.program.root(at);
        let mut workers = Vec::new();
        for (position, backend) in pool.backends.iter().enumerate() {
            let verdict = backend.verdict();
            let told = self.books[at][position].verdict;
            assert_eq!(
                (verdict, told),
                (judge.verdict(position), verdict),
                "{}: what is published and told",
                backend.name
            );
            let orders = view.orders(pool, position);
            let story = || format!("{}/{} is {verdict:?} against {orders:?}", pool.config.name, backend.name);
            assert!(!orders.maintenance || verdict.state == State::Maintenance, "{}", story());
            assert!(!orders.leaves_alone() || verdict.serves == Serves::Nothing, "{}", story());
            let has_place = root_pool.config.policy.mode != Mode::ActiveActive;
            assert!(!(orders.demoted() && has_place && root == at && verdict.serves.work()), "{}", story());
            if root != at {
                let followed = view.program.judges[root].verdict(position).serves;
                assert!(verdict.serves == Serves::Nothing || verdict.serves == followed, "{}: {followed:?}", story());
            }
            if verdict.serves.work() {
                workers.push(&*backend.name);
            }
        }
        if root_pool.config.policy.mode != Mode::ActiveActive {
            assert!(workers.len() <= 1, "two have the work of {}: {workers:?}", pool.config.name);
            if root == at {
                assert_eq!(workers.first().copied(), judge.holder().map(|it| &**it), "who has the place has the work");
            }
        } else if root == at {
            everybody_works(pool);
        }
    }

    /// Sessions end with the role where the pool says so, and with the time of a drain.
    pub(super) fn sessions_end_in_time(&self, view: &View<'_>) {
        for session in view.sessions.values() {
            assert!(!session.lease.is_cut(), "a session outlives its end");
            let Some((at, pool, _)) = view.pools().find(|(_, pool, _)| pool.config.name == session.pool) else {
                continue;
            };
            let backend = session.lease.backend();
            let Some(position) = pool.backends.iter().position(|it| it.slot.serial == backend.slot.serial) else {
                continue;
            };
            let root = view.program.root(at).1;
            if root.config.policy.mode != Mode::ActiveActive
                && pool.config.on_role_loss == OnDown::Close
                && session.reads == Reads::Active
            {
                let judge = &view.program.judges[view.program.root(at).0];
                let holder = judge.holder().map(|it| &**it);
                // The rules may have been others when it began.
                assert!(
                    holder.is_some_and(|it| *it == *backend.name) || session.since <= self.followed,
                    "work goes on at {}, and {holder:?} has the work of {}",
                    backend.name,
                    pool.config.name
                );
            }
            if let Some(until) = view.orders(pool, position).cut_at {
                assert!(until > view.now, "a session outlives the drain of {}", backend.name);
            }
        }
    }

    /// Who is dead, or says that it leads no more, has no work when the checks had time to find out.
    pub(super) fn work_leaves_in_time(&self, view: &View<'_>) {
        for (at, pool, _) in view.pools() {
            let (root, judge) = view.pool(view.program.root(at).0);
            let Some(timing) = root.config.checks.iter().map(|check| check.timing).next() else { continue };
            let usual = timing.interval.max(timing.down_interval) + timing.timeout + SLACK;
            let hard =
                usual + (timing.fast_interval + timing.timeout) * timing.fall.get() + root.config.policy.settle.down;
            for (position, backend) in pool.backends.iter().enumerate() {
                let verdict = backend.verdict();
                let Some(machine) = view.world.machines.get(&machine_of(backend)) else { continue };
                let is_kept = judge.disagreement(position).is_some();
                if !verdict.serves.work() || verdict.state != State::Up || is_kept || view.now < machine.since {
                    continue;
                }
                // A start believes `initial` until it has heard enough.
                let gone = view.now.saturating_sub(machine.since.max(self.followed));
                if !machine.is_well() {
                    let story = (&pool.config.name, &backend.name, machine, hard, &self.books[at][position]);
                    assert!(gone < 2 * hard, "dead for {gone:?} and has the work: {story:?}");
                } else if machine.role == Some(Role::Standby) {
                    // One probe may be lost by a fault of the balancer's own.
                    assert!(gone < 2 * usual, "{} leads no more for {gone:?} and has the work", backend.name);
                }
            }
        }
    }
}

/// Where all that are up share the work, all do; backups where no other does.
fn everybody_works(pool: &Pool) {
    let may = |verdict: Verdict| verdict.state == State::Up && verdict.role != Some(Role::Standby);
    let members = || pool.backends.iter().zip(&pool.config.members);
    let is_regular = |member: &evenkeel::config::model::Member| member.standing == evenkeel::health::Standing::Regular;
    let any_regular = members().any(|(it, member)| may(it.verdict()) && is_regular(member));
    for (backend, member) in members().filter(|(it, _)| may(it.verdict())) {
        let works = backend.verdict().serves.work();
        assert_eq!(works, is_regular(member) || !any_regular, "{}/{}", pool.config.name, backend.name);
    }
}
