//! What a judge wants done. Whoever asks it carries this out, in the given order.

use std::borrow::Cow;
use std::sync::Arc;

use super::alarm::Alarm;
use crate::health::Verdict;

/// One thing to be done. Backends are named by their position in the plan.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// A verdict has changed.
    Verdict {
        /// The backend.
        backend: usize,
        /// What was decided of it before.
        was: Verdict,
        /// What is decided now.
        now: Verdict,
        /// Why.
        because: Because,
    },
    /// Another backend has the work of a pool with one active backend.
    Leader {
        /// Who had it, by name.
        was: Option<Arc<str>>,
        /// Who has it now.
        now: Option<Arc<str>>,
        /// Why.
        because: Cow<'static, str>,
    },
    /// The backend is the active one no more: its sessions end where the pool says so.
    Lost(usize),
    /// The time of its drain is over: its sessions end.
    Cut(usize),
    /// Its checks are to be asked now.
    Ask(usize),
    /// The probes that evidence has brought have ended: traffic may bring others.
    EvidenceTaken(usize),
    /// Probes and traffic contradict each other, or do so no more.
    Disagreement(usize, Option<Disagreement>),
    /// An alarm begins.
    Raised(Alarm),
    /// It ends.
    Eased(Alarm),
}

/// Why a verdict has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Because {
    /// A check has flipped, or says something else; a further remark.
    Check(usize, Option<Cow<'static, str>>),
    /// Something else, for people.
    Said(Cow<'static, str>),
}

impl Because {
    /// A sentence.
    pub(super) fn said(sentence: impl Into<Cow<'static, str>>) -> Self {
        Self::Said(sentence.into())
    }
}

/// How probes and traffic contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Disagreement {
    /// Probes fail while traffic is fine.
    ProbeFails = 1,
    /// Probes are fine while traffic fails.
    TrafficFails = 2,
}

impl Disagreement {
    /// Both, for whoever lists them.
    pub const ALL: [Self; 2] = [Self::ProbeFails, Self::TrafficFails];

    /// The word that metrics and events use.
    pub fn word(self) -> &'static str {
        match self {
            Self::ProbeFails => "probe_fails",
            Self::TrafficFails => "traffic_fails",
        }
    }

    /// For people.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::ProbeFails => "probes fail while traffic is fine",
            Self::TrafficFails => "probes are fine while traffic fails",
        }
    }
}
