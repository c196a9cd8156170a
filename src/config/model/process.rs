//! `[process]`: as whom the program runs, and what of the system it can still reach.

use std::sync::Arc;

/// `[process]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Process {
    /// `user`: who the program becomes, by name or number; `None`: it stays who started it.
    pub user: Option<Arc<str>>,
    /// `group`: the only group that it keeps; `None`: those of that user.
    pub group: Option<Arc<str>>,
    /// `landlock`: whether files beyond what the configuration names are out of reach.
    pub landlock: Confine,
    /// `seccomp`: whether calls to the system that no balancer needs are refused.
    pub seccomp: Confine,
}

impl Process {
    /// Whether anything is wanted at all.
    pub fn is_any(&self) -> bool {
        self.user.is_some() || self.landlock != Confine::Off || self.seccomp != Confine::Off
    }
}

/// How much is asked of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Confine {
    /// Nothing.
    #[default]
    Off,
    /// As much as it has.
    BestEffort,
    /// The program does not start without.
    Required,
}
