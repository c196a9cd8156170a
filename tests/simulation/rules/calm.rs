//! When nothing has happened for long, everything is as the world is.

use std::time::Duration;

use evenkeel::health::judge::AlarmKind;
use evenkeel::health::{Mode, Role, Standing, State};

use super::{Rules, View};
use crate::program::machine_of;

/// No question waits longer for its turn.
const LONGEST: Duration = Duration::from_secs(5);

impl Rules {
    pub(crate) fn calm(&self, view: &View<'_>) {
        for (at, pool, judge) in view.pools() {
            let name = &pool.config.name;
            for (position, backend) in pool.backends.iter().enumerate() {
                let verdict = judge.verdict(position);
                let story = || format!("{name}/{}: {:?}", backend.name, judge.remarks(position, view.now));
                assert_eq!((verdict.state, verdict.share), (State::Up, 100), "in calm: {}", story());
                let role = view.world.machines[&machine_of(backend)].role.filter(|_| **name != *"plain");
                assert_eq!(verdict.role, role, "in calm: {}", story());
                // A standby that gets no work keeps the last word that traffic had on it.
                let is_settled = judge.disagreement(position).is_none() || backend.in_a_row().failures > 0;
                assert!(is_settled, "in calm: {}", story());
            }
            let waits = |kind| kind == AlarmKind::FailbackWaiting;
            let alarms: Vec<_> = judge.alarms().iter().filter(|it| !waits(it.kind)).collect();
            assert!(alarms.is_empty(), "in calm: {alarms:?}");
            let those = |standing: Standing| {
                let members = pool.backends.iter().zip(&pool.config.members);
                let those = members.filter(move |(_, member)| member.standing == standing);
                those.map(|(backend, _)| backend).collect::<Vec<_>>()
            };
            let works = pool.backends.iter().filter(|backend| backend.verdict().serves.work());
            let workers: Vec<u32> = works.map(|backend| machine_of(backend)).collect();
            match &view.program.root(at).1.config.policy.mode {
                Mode::ActiveActive => {
                    let regular = those(Standing::Regular).len();
                    let expected = if regular > 0 { regular } else { pool.backends.len() };
                    assert_eq!(workers.len(), expected, "in calm all of {name} work");
                }
                Mode::ActiveStandby(_) => assert_eq!(workers.len(), 1, "in calm one of {name} works"),
                Mode::Leader(_) => {
                    let leads = |it: &u32| view.world.machines[it].role == Some(Role::Active);
                    assert!(workers.len() == 1 && workers.iter().all(leads), "in calm {workers:?} of {name} lead");
                }
            }
        }
        let checks = view.program.table.pools.iter().map(|pool| pool.config.checks.len() * pool.backends.len());
        let expected: usize = checks.sum();
        let asked = self.probes.asked_since(view.now.saturating_sub(LONGEST));
        assert_eq!(asked, expected, "questions that are asked in calm, and those that should be");
    }
}
