//! The world as it is: machines that work, die, hang and lead, whatever the balancer believes of them.

use std::time::Duration;

use evenkeel::health::judge::Answer;
use evenkeel::health::{Role, Says, Wish};

use super::chance::Chance;

/// A machine that a backend runs on.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) life: Life,
    /// Nothing passes between it and the balancer.
    pub(crate) cut_off: bool,
    /// Answers to traffic are broken although probes are fine.
    pub(crate) broken: bool,
    /// What it says of itself, where its pool has roles.
    pub(crate) role: Option<Role>,
    pub(crate) epoch: u64,
    pub(crate) wish: Wish,
    pub(crate) share: Option<u16>,
    /// Since when all of this has been so.
    pub(crate) since: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// It works.
    Well,
    /// It answers that it does not work.
    Ill,
    /// Nobody listens.
    Dead,
    /// It takes connections and says nothing.
    Hung,
}

impl Machine {
    pub(crate) fn new(role: Option<Role>) -> Self {
        Self {
            life: Life::Well,
            cut_off: false,
            broken: false,
            role,
            epoch: 1,
            wish: Wish::Work,
            share: None,
            since: Duration::ZERO,
        }
    }

    /// Whether a probe that reaches it now is good.
    pub(crate) fn answers(&self) -> bool {
        self.life == Life::Well && !self.cut_off
    }

    /// How long a probe takes, and what it finds.
    pub(crate) fn probe(&self, chance: &mut Chance, timeout: Duration) -> (Duration, Answer) {
        match self.life {
            _ if self.cut_off => (timeout, Answer::Bad),
            Life::Hung => (timeout, Answer::Bad),
            Life::Dead => (chance.ms(0, 1), Answer::Bad),
            Life::Ill => (chance.ms(1, 20), Answer::Bad),
            // The balancer itself lacks a descriptor now and then.
            Life::Well if chance.percent(1) && chance.percent(10) => (Duration::ZERO, Answer::Lost),
            Life::Well => (chance.ms(1, 20), Answer::Good(self.says())),
        }
    }

    pub(crate) fn says(&self) -> Says {
        Says { wish: self.wish, role: self.role, share: self.share, epoch: self.role.map(|_| self.epoch) }
    }
}
