//! What happened in the stories, so that a test can tell that its rules had something to hold against.

use evenkeel::health::judge::{Action, AlarmKind, Because, Disagreement};
use evenkeel::health::{Serves, State};

use super::program::Deed;

macro_rules! counts {
    ($($name:ident),* $(,)?) => {
        /// How often each thing happened.
        #[derive(Debug, Default, Clone)]
        pub(crate) struct Counts { $(pub(crate) $name: u64),* }

        impl Counts {
            pub(crate) fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }

            fn list(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name)),*]
            }
        }
    };
}

counts! {
    picks, leases, sessions_ended, probes, tokens, tokens_run_out, waits_for_room, evidence, condemned, knocks,
    verdicts, downs, ups, slow_starts, flips_settled, ejections, pardons, holds, kept_against_probes,
    leaders, nobody_leads, failovers, failbacks, failbacks_waited, two_leaders_kept, two_leaders_refused,
    two_leaders_newest, incumbents_found_again, serving_down, cut,
    alarm_min_healthy, alarm_two_leaders, alarm_no_leader, alarm_failback_waiting, alarm_flapping, alarm_serving_down,
    orders, orders_ended, reloads, restarts, calms,
}

impl Counts {
    /// Everything that a rule is about has happened often.
    pub(crate) fn assert_rich(&self) {
        let rare: Vec<_> = self.list().into_iter().filter(|(_, count)| *count < 20).collect();
        assert!(rare.is_empty(), "hardly happened, so hardly proved: {rare:?}");
    }

    pub(crate) fn note(&mut self, deed: &Deed) {
        match deed {
            Deed::Asked { .. } => self.probes += 1,
            Deed::Paid(_) => self.tokens += 1,
            Deed::Suspected(..) => self.evidence += 1,
            Deed::Knocks(_) => self.knocks += 1,
            Deed::Concluded { actions, .. } => actions.iter().for_each(|action| self.note_action(action)),
            Deed::OrdersEnd(orders) => self.orders_ended += *orders as u64,
            Deed::Answered | Deed::Heard { .. } | Deed::KnocksNoMore(_) | Deed::Followed => {}
        }
    }

    fn note_action(&mut self, action: &Action) {
        match action {
            Action::Verdict { was, now, because, .. } => {
                self.verdicts += 1;
                self.downs += u64::from(was.state == State::Up && now.state == State::Down);
                self.ups += u64::from(was.state == State::Down && now.state == State::Up);
                self.slow_starts += u64::from(was.serves == Serves::Nothing && now.serves.work() && now.share <= 10);
                self.condemned += u64::from(matches!(because, Because::Check(_, Some(_))));
                self.serving_down += u64::from(now.state == State::Down && now.serves.work());
            }
            Action::Leader { now: Some(_), .. } => self.leaders += 1,
            Action::Leader { now: None, .. } => self.nobody_leads += 1,
            Action::Disagreement(_, Some(Disagreement::ProbeFails)) => self.kept_against_probes += 1,
            Action::Cut(_) => self.cut += 1,
            Action::Raised(alarm) => match alarm.kind {
                AlarmKind::MinHealthy => self.alarm_min_healthy += 1,
                AlarmKind::TwoLeaders => self.alarm_two_leaders += 1,
                AlarmKind::NoLeader => self.alarm_no_leader += 1,
                AlarmKind::FailbackWaiting => self.alarm_failback_waiting += 1,
                AlarmKind::Flapping => self.alarm_flapping += 1,
                AlarmKind::ServingDown => self.alarm_serving_down += 1,
            },
            Action::Disagreement(..)
            | Action::Lost(_)
            | Action::Ask(_)
            | Action::EvidenceTaken(_)
            | Action::Eased(_) => {}
        }
    }
}
