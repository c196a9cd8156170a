//! What somebody should look at although the program copes: each pool has at most one alarm of a kind at a time.

/// One alarm of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// What it is about.
    pub kind: AlarmKind,
    /// For people, with names and numbers.
    pub message: String,
}

/// What an alarm is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AlarmKind {
    /// Fewer backends are up than `min_healthy` wants.
    MinHealthy,
    /// Two backends say that they are the active one.
    TwoLeaders,
    /// Nobody has the work of a pool with one active backend.
    NoLeader,
    /// One that is earlier in the list is well again, and `failback = "manual"`.
    FailbackWaiting,
    /// A backend went up and down too often and is kept out for a while.
    Flapping,
    /// All are down, and some get work all the same.
    ServingDown,
}

impl AlarmKind {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 6] =
        [Self::MinHealthy, Self::TwoLeaders, Self::NoLeader, Self::FailbackWaiting, Self::Flapping, Self::ServingDown];

    /// The word that metrics, events and API use.
    pub fn word(self) -> &'static str {
        match self {
            Self::MinHealthy => "min_healthy",
            Self::TwoLeaders => "two_leaders",
            Self::NoLeader => "no_leader",
            Self::FailbackWaiting => "failback_waiting",
            Self::Flapping => "flapping",
            Self::ServingDown => "serving_down",
        }
    }
}

/// The alarms of a pool that are raised.
#[derive(Debug, Default)]
pub(super) struct Alarms(Vec<Alarm>);

/// What has changed about them.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    Raised(Alarm),
    Eased(Alarm),
}

impl Alarms {
    pub(super) fn list(&self) -> &[Alarm] {
        &self.0
    }

    /// From now on these and no others; what that changes. Another message of a kind that is raised is no change.
    pub(super) fn become_these(&mut self, now: Vec<Alarm>) -> Vec<Change> {
        let has = |alarms: &[Alarm], kind| alarms.iter().any(|alarm| alarm.kind == kind);
        let eased = self.0.iter().filter(|alarm| !has(&now, alarm.kind)).cloned().map(Change::Eased);
        let raised = now.iter().filter(|alarm| !has(&self.0, alarm.kind)).cloned().map(Change::Raised);
        let changes = eased.chain(raised).collect();
        self.0 = now;
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_is_raised_once_and_eased_once() {
        let alarm = |kind, message: &str| Alarm { kind, message: message.to_owned() };
        let few = alarm(AlarmKind::MinHealthy, "1 of 3 up");
        let fewer = alarm(AlarmKind::MinHealthy, "0 of 3 up");
        let two = alarm(AlarmKind::TwoLeaders, "a and b");
        let mut alarms = Alarms::default();
        assert_eq!(alarms.become_these(vec![few.clone()]), [Change::Raised(few.clone())]);
        assert_eq!(alarms.become_these(vec![fewer.clone(), two.clone()]), [Change::Raised(two.clone())]);
        assert_eq!(alarms.list(), [fewer.clone(), two.clone()], "the newest message stands");
        assert_eq!(alarms.become_these(vec![two.clone()]), [Change::Eased(fewer)]);
        assert_eq!(alarms.become_these(vec![]), [Change::Eased(two)]);
    }

    #[test]
    fn every_kind_is_listed_once() {
        let mut kinds = AlarmKind::ALL.to_vec();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds, AlarmKind::ALL);
    }
}
