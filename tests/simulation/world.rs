//! The world as it is: machines that work, die, hang, flap and lead, whatever the balancer believes of them.

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel::health::judge::Answer;
use evenkeel::health::{Role, Says, Wish};

use super::chance::Chance;

/// A machine that a backend runs on.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) life: Life,
    pub(crate) path: Path,
    pub(crate) answers: Answers,
    /// What it says of itself, where its pool has roles.
    pub(crate) role: Option<Role>,
    epoch: u64,
    wish: Wish,
    share: Option<u16>,
    /// Dies and comes back so often.
    flaps: Option<Duration>,
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

/// The way between it and the balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    Open,
    /// Nothing passes; whoever is behind it may go on leading.
    Cut,
}

/// What traffic gets from one that works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    Good,
    /// Broken ones, although probes are fine.
    Broken,
    /// Slow ones.
    Slow,
}

impl Machine {
    pub(crate) fn new(role: Option<Role>, since: Duration) -> Self {
        Self {
            life: Life::Well,
            path: Path::Open,
            answers: Answers::Good,
            role,
            epoch: 1,
            wish: Wish::Work,
            share: None,
            flaps: None,
            since,
        }
    }

    /// Whether a probe that reaches it now is good.
    pub(crate) fn is_well(&self) -> bool {
        self.life == Life::Well && self.path == Path::Open
    }

    /// How long a probe takes, and what it finds. A knock at the open port of one that is ill is good.
    pub(crate) fn probe(&self, knock: bool, timeout: Duration, chance: &mut Chance) -> (Duration, Answer) {
        match self.life {
            _ if self.path == Path::Cut => (timeout, Answer::Bad),
            Life::Hung => (timeout, Answer::Bad),
            Life::Dead => (chance.ms(0, 1), Answer::Bad),
            Life::Ill if !knock => (chance.ms(1, 20), Answer::Bad),
            // The balancer itself lacks a descriptor now and then.
            _ if chance.per_mille(1) => (Duration::ZERO, Answer::Lost),
            _ => (chance.ms(1, 20), Answer::Good(self.says())),
        }
    }

    fn says(&self) -> Says {
        Says {
            wish: self.wish,
            role: self.role,
            share: self.share,
            epoch: self.role.map(|_| self.epoch),
            ..Says::default()
        }
    }
}

/// All machines, by number.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) machines: BTreeMap<u32, Machine>,
    roles: Roles,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Roles {
    None,
    /// One leads.
    Told,
}

impl World {
    pub(crate) fn new(numbers: &[u32], roles: Roles) -> Self {
        let mut world = Self { machines: BTreeMap::new(), roles };
        for number in numbers {
            world.add(*number, Duration::ZERO);
        }
        world.lead(|number| number == 0, Duration::ZERO);
        world
    }

    /// A new one; it follows whoever leads.
    pub(crate) fn add(&mut self, number: u32, now: Duration) {
        let role = (self.roles == Roles::Told).then_some(Role::Standby);
        self.machines.insert(number, Machine::new(role, now));
    }

    /// Something happens to one of them, or to those that lead. How soon again, where one flaps.
    pub(crate) fn disturb(&mut self, now: Duration, chance: &mut Chance) -> Option<(u32, Duration)> {
        let numbers: Vec<u32> = self.machines.keys().copied().collect();
        if self.roles == Roles::Told && chance.percent(40) {
            self.move_leader(&numbers, now, chance);
            return None;
        }
        let number = chance.of(&numbers);
        let machine = self.machines.get_mut(&number)?;
        machine.since = now;
        match chance.below(14) {
            0 | 1 => machine.life = Life::Dead,
            2 => machine.life = Life::Hung,
            3 => machine.life = Life::Ill,
            4 => machine.path = if machine.path == Path::Open { Path::Cut } else { Path::Open },
            5 => machine.answers = Answers::Broken,
            6 => machine.answers = Answers::Slow,
            7 => machine.wish = chance.of(&[Wish::Work, Wish::Work, Wish::Drain, Wish::Maintenance]),
            8 => machine.share = chance.of(&[None, None, Some(0), Some(30), Some(250)]),
            9 => {
                let each = chance.ms(100, 3_000);
                machine.flaps = Some(each);
                return Some((number, each));
            }
            _ => {
                let (role, epoch) = (machine.role, machine.epoch);
                *machine = Machine { epoch, ..Machine::new(role, now) };
            }
        }
        None
    }

    /// One that flaps dies, or comes back; how soon again.
    pub(crate) fn flap(&mut self, number: u32, now: Duration) -> Option<Duration> {
        let machine = self.machines.get_mut(&number)?;
        let each = machine.flaps?;
        machine.life = if machine.life == Life::Well { Life::Dead } else { Life::Well };
        machine.since = now;
        Some(each)
    }

    /// The leader steps back, another steps forward, or two lead for a while.
    fn move_leader(&mut self, numbers: &[u32], now: Duration, chance: &mut Chance) {
        let to = chance.of(numbers);
        match chance.below(4) {
            // A planned move: one leads, all others follow.
            0 | 1 => self.lead(|number| number == to, now),
            // A gap: nobody leads.
            2 => self.lead(|_| false, now),
            // Two lead.
            _ => {
                let leaders: Vec<u32> = numbers.iter().copied().filter(|number| self.leads(*number)).collect();
                self.lead(|number| number == to || leaders.contains(&number), now);
            }
        }
        let epoch = self.machines.values().map(|machine| machine.epoch).max().unwrap_or(0);
        // Some that take over forget to count.
        let next = epoch + u64::from(chance.percent(80));
        if let Some(machine) = self.machines.get_mut(&to) {
            machine.epoch = next;
        }
    }

    fn leads(&self, number: u32) -> bool {
        self.machines.get(&number).is_some_and(|machine| machine.role == Some(Role::Active))
    }

    fn lead(&mut self, leads: impl Fn(u32) -> bool, now: Duration) {
        for (number, machine) in &mut self.machines {
            let role = if leads(*number) { Role::Active } else { Role::Standby };
            let role = (self.roles == Roles::Told).then_some(role);
            if machine.role != role {
                (machine.role, machine.since) = (role, now);
            }
        }
    }

    /// Everything is well, and one of these leads.
    pub(crate) fn heal(&mut self, numbers: &[u32], now: Duration, chance: &mut Chance) {
        let leader = chance.of(numbers);
        for machine in self.machines.values_mut() {
            *machine = Machine { epoch: machine.epoch, ..Machine::new(machine.role, now) };
        }
        self.lead(|number| number == leader, now);
    }
}
