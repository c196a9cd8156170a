//! What is decided of one backend: the state, the role, and which work it gets.

use std::num::NonZeroU16;

use super::{Role, State};

/// What is decided of one backend. Small enough to be published as one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The state.
    pub state: State,
    /// The role that its checks tell.
    pub role: Option<Role>,
    /// Which work it gets.
    pub serves: Serves,
    /// Percent of its configured weight: less while it starts slowly, or where a check, an agent or an operator says so.
    pub share: u16,
    /// How much work it takes at once, where a check or an agent says so: then `connections_max` does not count.
    pub connections: Option<NonZeroU16>,
}

/// Which work a backend gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Serves {
    /// None.
    Nothing = 0,
    /// All but reads that ask for standbys.
    Work = 1,
    /// Reads that ask for standbys (`reads = "standby"`).
    Reads = 2,
    /// Both.
    Both = 3,
}

impl Serves {
    /// Whether ordinary work goes there.
    pub fn work(self) -> bool {
        matches!(self, Self::Work | Self::Both)
    }

    /// Whether reads that ask for standbys go there.
    pub fn reads(self) -> bool {
        matches!(self, Self::Reads | Self::Both)
    }
}

impl Verdict {
    /// Nothing is known.
    pub const UNKNOWN: Self =
        Self { state: State::Unknown, role: None, serves: Serves::Nothing, share: 100, connections: None };

    /// A state without any role: those that are up get all work.
    pub fn plain(state: State) -> Self {
        let serves = if state == State::Up { Serves::Both } else { Serves::Nothing };
        Self { state, role: None, serves, share: 100, connections: None }
    }

    /// As one number.
    pub fn pack(self) -> u64 {
        let role = self.role.map_or(0, |role| role as u64);
        let connections = self.connections.map_or(0, |most| u64::from(most.get()));
        self.state as u64 | role << 8 | (self.serves as u64) << 16 | u64::from(self.share) << 32 | connections << 48
    }

    /// From one number, made by [`Verdict::pack`].
    pub fn unpack(number: u64) -> Self {
        let byte = |at: u32| (number >> at) as u8;
        Self {
            state: match byte(0) {
                1 => State::Up,
                2 => State::Down,
                3 => State::Draining,
                4 => State::Maintenance,
                _ => State::Unknown,
            },
            role: match byte(8) {
                1 => Some(Role::Active),
                2 => Some(Role::Standby),
                3 => Some(Role::Read),
                _ => None,
            },
            serves: match byte(16) {
                1 => Serves::Work,
                2 => Serves::Reads,
                3 => Serves::Both,
                _ => Serves::Nothing,
            },
            share: (number >> 32) as u16,
            connections: NonZeroU16::new((number >> 48) as u16),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verdict_survives_the_number() {
        let states = [State::Unknown, State::Up, State::Down, State::Draining, State::Maintenance];
        let roles = [None, Some(Role::Active), Some(Role::Standby), Some(Role::Read)];
        let all = [Serves::Nothing, Serves::Work, Serves::Reads, Serves::Both];
        for state in states {
            for role in roles {
                for serves in all {
                    for (share, connections) in [(0, 0), (1, u16::MAX), (100, 1), (u16::MAX, 300)] {
                        let connections = NonZeroU16::new(connections);
                        let verdict = Verdict { state, role, serves, share, connections };
                        assert_eq!(Verdict::unpack(verdict.pack()), verdict);
                    }
                }
            }
        }
    }
}
