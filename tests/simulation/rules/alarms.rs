//! Alarms say what is, no more and no less.

use evenkeel::health::judge::{AlarmKind, Source};
use evenkeel::health::{Mode, Role, State};

use super::{Rules, View};
use crate::program::source;

impl Rules {
    pub(super) fn alarms_say_what_is(view: &View<'_>, at: usize) {
        let (pool, judge) = view.pool(at);
        let is_raised = |kind| judge.alarms().iter().any(|alarm| alarm.kind == kind);
        let verdicts: Vec<_> = (0..pool.backends.len()).map(|it| judge.verdict(it)).collect();
        let up = verdicts.iter().filter(|it| it.state == State::Up).count();
        let is_known = verdicts.iter().all(|it| it.state != State::Unknown);
        let too_few = is_known && up < pool.config.policy.min_healthy as usize;
        let held = (0..verdicts.len()).any(|it| judge.held(it).is_some());
        let in_need = verdicts.iter().any(|it| it.state == State::Down && it.serves.work());
        let has_place = source(pool) != Source::Followed && pool.config.policy.mode != Mode::ActiveActive;
        let name = &pool.config.name;
        for (kind, expected) in [(AlarmKind::MinHealthy, too_few), (AlarmKind::Flapping, held)] {
            assert_eq!(is_raised(kind), expected, "{kind:?} of {name}: {verdicts:?}");
        }
        if source(pool) != Source::Followed {
            assert_eq!(is_raised(AlarmKind::ServingDown), in_need, "{name}: {verdicts:?}");
        }
        assert!(!is_raised(AlarmKind::NoLeader) || (has_place && judge.holder().is_none()), "{name} has a leader");
        if has_place && is_known && judge.holder().is_none() {
            assert!(is_raised(AlarmKind::NoLeader), "nobody has the work of {name}, and nobody says so: {verdicts:?}");
        }
        let leaders = verdicts.iter().filter(|it| it.state == State::Up && it.role == Some(Role::Active)).count();
        assert!(!is_raised(AlarmKind::TwoLeaders) || leaders > 1, "{name} has not two leaders: {verdicts:?}");
    }
}
