//! What a pool's configuration says of decisions: when a backend is well, who of those that are well gets work, and
//! what happens when nobody is left. Made by `config`, obeyed by [`super::Judge`].

use std::num::NonZeroU32;
use std::time::Duration;

use super::Expression;

/// The rules of one pool.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// When a backend counts as up, over the pool's checks.
    pub healthy_when: Expression,
    /// Who of those that are up gets work.
    pub mode: Mode,
    /// What happens when nobody is left.
    pub all_down: AllDown,
    /// Fewer backends up than this raise an alarm; 0: never.
    pub min_healthy: u32,
    /// A verdict must hold so long before it counts.
    pub settle: Settle,
    /// Damping of backends that go up and down; `None`: off.
    pub flaps: Option<Flaps>,
    /// How long a backend that has come back takes to its full share; zero: at once.
    pub slow_start: Duration,
    /// When traffic alone takes a backend out.
    pub outliers: Outliers,
    /// Who is believed when probes and traffic disagree.
    pub disagree: Disagree,
}

/// `mode`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// All that are up, but those whose checks say that they are standbys.
    ActiveActive,
    /// The one whose check says that it is the active one.
    Leader(TwoLeaders),
    /// The first in the list that is up.
    ActiveStandby(Succession),
}

/// `two_leaders`: what to do when two backends say that they lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TwoLeaders {
    /// The one that had the work keeps it; without one, the first in the list.
    Keep,
    /// Nobody gets work until one of them steps back.
    Refuse,
    /// The one with the greatest epoch; where epochs are equal or missing, as `Keep`.
    Newest,
}

/// Who follows whom in `mode = "active-standby"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Succession {
    /// When the active one falls.
    pub failover: Failover,
    /// When one before it in the list is well again.
    pub failback: Failback,
}

/// `failover`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failover {
    /// The next in the list takes over.
    Automatic,
    /// An operator promotes one.
    Manual,
}

/// `failback`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failback {
    /// The one that took over keeps the work until it falls itself.
    Never,
    /// So it does, and an alarm tells that an operator may promote the first one again.
    Manual,
    /// At once.
    AtOnce,
    /// When the earlier one has been well for so long.
    After(Duration),
}

/// `all_down`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllDown {
    /// Requests are refused.
    Fail,
    /// Requests wait in the queue.
    Hold,
    /// All of them get work as if they were up, but those that an operator has taken out.
    ServeAnyway,
    /// So do those for which this holds.
    ServeWhen(Expression),
}

/// `up_after`, `down_after`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settle {
    /// Before a verdict of up counts.
    pub up: Duration,
    /// Before a verdict of down counts.
    pub down: Duration,
}

/// `flaps = { max = 6, within = "1m", hold = "1m" }`: after `max` changes within the time, a backend that is up again
/// waits for `hold`, doubled with each repetition, at most ten times as long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flaps {
    /// Changes of the verdict.
    pub max: NonZeroU32,
    /// Counted over this time.
    pub within: Duration,
    /// How long a backend is kept out.
    pub hold: Duration,
}

/// `outliers`: what traffic must have seen to take a backend out although its probes are good.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outliers {
    /// So many failures in a row (broken answers, resets, timeouts); `None`: not by failures.
    pub failures: Option<NonZeroU32>,
    /// This share of the requests within `window` failed or were answered with 5xx; `None`: not by share.
    pub errors: Option<f32>,
    /// This many times the median response time of the pool's other backends; `None`: not by latency.
    pub latency: Option<f32>,
    /// Fewer requests than this within `window` say nothing (for `errors` and `latency`).
    pub requests: u32,
    /// The time that `errors` and `latency` look at.
    pub window: Duration,
    /// How long the first time out is; doubled by each repetition.
    pub time: Duration,
    /// How long it is at most.
    pub time_max: Duration,
    /// Never more than this share of the pool at once, and never the last one that is up.
    pub max_ejected: f32,
}

impl Default for Outliers {
    fn default() -> Self {
        Self {
            failures: NonZeroU32::new(5),
            errors: None,
            latency: None,
            requests: 20,
            window: Duration::from_secs(10),
            time: Duration::from_secs(10),
            time_max: Duration::from_secs(300),
            max_ejected: 0.5,
        }
    }
}

/// `disagree`: who is believed when probes and traffic contradict each other for long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disagree {
    /// Probes fail while traffic is fine.
    pub probe_fails: ProbeFails,
    /// Probes are fine while traffic fails.
    pub traffic_fails: TrafficFails,
}

/// `disagree.probe_fails`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeFails {
    /// The backend goes down.
    Down,
    /// It stays as long as traffic is fine.
    Keep,
}

/// `disagree.traffic_fails`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrafficFails {
    /// It is taken out for a while, by the rules of `outliers`.
    Eject,
    /// It is only reported.
    Report,
}

impl Default for Disagree {
    fn default() -> Self {
        Self { probe_fails: ProbeFails::Down, traffic_fails: TrafficFails::Eject }
    }
}

impl Policy {
    /// Whether its rules look at traffic over a window.
    pub fn wants_samples(&self) -> bool {
        let rules = &self.outliers;
        rules.errors.is_some() || rules.latency.is_some() || self.disagree.probe_fails == ProbeFails::Keep
    }

    /// What a pool without any policy of its own does.
    pub fn usual(healthy_when: Expression) -> Self {
        Self {
            healthy_when,
            mode: Mode::ActiveActive,
            all_down: AllDown::Fail,
            min_healthy: 0,
            settle: Settle::default(),
            flaps: None,
            slow_start: Duration::ZERO,
            outliers: Outliers::default(),
            disagree: Disagree::default(),
        }
    }
}
