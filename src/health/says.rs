//! What is said of a backend beyond that its checks are good: a role, a share of the work, a limit, a wish to be left;
//! and by the configuration, whether it works always.

use std::num::NonZeroU16;

/// What a backend is among its like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Role {
    /// The one that does the work.
    Active = 1,
    /// Ready to become the active one; gets reads where these may go to standbys.
    Standby = 2,
    /// Serves reads, and will not become active by itself.
    Read = 3,
}

impl Role {
    /// The word that configuration, metrics, log and API use.
    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Standby => "standby",
            Self::Read => "read",
        }
    }
}

/// Whether a backend works always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Always.
    Regular,
    /// `backup = true`: only when no regular backend is up.
    Backup,
}

/// How a backend that answers wants to be treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Wish {
    /// Work, as usual.
    #[default]
    Work,
    /// Let me finish what I have.
    Drain,
    /// Leave me alone: an operator works on me.
    Maintenance,
}

/// What a good answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Says {
    /// How it wants to be treated.
    pub wish: Wish,
    /// Its role, where the check tells one.
    pub role: Option<Role>,
    /// Percent of its configured weight that it wants, where the check tells; 0 is [`Wish::Drain`] said in numbers.
    pub share: Option<u16>,
    /// How much work it takes at once, where the check tells; more than `connections_max` or less.
    pub connections: Option<NonZeroU16>,
    /// Which of two leaders is the newer one, where the check tells: the greater number.
    pub epoch: Option<u64>,
}

impl Says {
    /// Only a role.
    pub fn role(role: Role) -> Self {
        Self { role: Some(role), ..Self::default() }
    }

    /// Only a wish.
    pub fn wish(wish: Wish) -> Self {
        Self { wish, ..Self::default() }
    }
}
