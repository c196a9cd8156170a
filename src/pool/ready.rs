//! What of a pool may serve right now, laid out so that a pick is a few loads.
//!
//! Made by control when a verdict flips, never at the pick; workers see it by a version number.

use std::sync::Arc;

use super::Backend;
use crate::balance::Balance;
use crate::balance::maglev::Maglev;
use crate::balance::sequence::interleave;
use crate::config::model::{self, Standing};
use crate::health::State;

/// The backends of a pool that may be picked.
#[derive(Debug)]
pub struct Ready {
    /// Backends that are up: the regular ones, or the backups where no regular one is.
    pub backends: Vec<Arc<Backend>>,
    /// Their weights.
    pub weights: Vec<u16>,
    /// Positions in `backends` in the order of smooth weighted round-robin.
    pub order: Vec<u32>,
    /// For the picks by key.
    pub maglev: Option<Maglev>,
    /// Whether some backend has no verdict yet: then it is worth waiting for one.
    pub undecided: bool,
}

impl Ready {
    /// Nothing may serve.
    pub fn nothing() -> Self {
        Self { backends: Vec::new(), weights: Vec::new(), order: Vec::new(), maglev: None, undecided: false }
    }

    /// What of these may serve.
    pub fn of(config: &model::Pool, backends: &[Arc<Backend>]) -> Self {
        let up = |standing: Standing| {
            config
                .members
                .iter()
                .zip(backends)
                .filter(move |(member, backend)| member.standing == standing && backend.state() == State::Up)
        };
        let mut chosen: Vec<_> = up(Standing::Regular).collect();
        if chosen.is_empty() {
            chosen = up(Standing::Backup).collect();
        }
        let weights: Vec<u16> = chosen.iter().map(|(member, _)| member.weight).collect();
        let maglev = match config.balance {
            Balance::Source | Balance::Uri | Balance::Header(_) | Balance::Cookie(_) if !chosen.is_empty() => {
                // The name is the identity: a backend that changes its address keeps its keys.
                let identities: Vec<(u64, u16)> = chosen
                    .iter()
                    .map(|(member, _)| (crate::balance::hash(member.name.as_bytes()), member.weight))
                    .collect();
                Some(Maglev::new(&identities))
            }
            _ => None,
        };
        Self {
            order: interleave(&weights),
            weights,
            maglev,
            backends: chosen.into_iter().map(|(_, backend)| Arc::clone(backend)).collect(),
            undecided: backends.iter().any(|backend| backend.state() == State::Unknown),
        }
    }
}
