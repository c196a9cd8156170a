//! PURE decisions about health: streaks, expressions over checks, evidence of traffic, ejection. No socket, clock, task
//! or global: whoever calls says what happened and when.

pub mod agenda;
pub mod ejection;
pub mod evidence;
mod expression;
pub mod incident;
pub mod judge;
mod parse;
mod policy;
mod says;
mod streak;
mod timing;
mod verdict;

pub use ejection::Ejection;
pub use evidence::Symptom;
pub use expression::Expression;
pub use judge::Judge;
pub use parse::ParseError;
pub use policy::{
    AllDown, Disagree, Failback, Failover, Flaps, Mode, Outliers, Policy, ProbeFails, Settle, Succession, TrafficFails,
    TwoLeaders,
};
pub use says::{Role, Says, Standing, Wish};
pub use streak::{Sign, Streak};
pub use timing::{Initial, Timing, Urgency};
pub use verdict::{Serves, Verdict};

/// What is said of a check, or of a backend as the verdict over its checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// Nothing is known yet.
    Unknown = 0,
    /// Works.
    Up = 1,
    /// Does not work.
    Down = 2,
    /// Finishes what it has, gets nothing new.
    Draining = 3,
    /// Taken out by an operator.
    Maintenance = 4,
}

impl State {
    /// The word that configuration, metrics, log and API use.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
            Self::Draining => "draining",
            Self::Maintenance => "maintenance",
        }
    }
}
