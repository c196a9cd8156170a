//! What of a pool may serve right now, laid out so that a pick is a few loads.
//!
//! Made by control when a verdict flips, never at the pick; workers see it by a version number.

use std::collections::HashMap;
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
    /// For the picks by key: positions in `backends` by the key's hash.
    pub maglev: Option<Spread>,
    /// Whether some backend has no verdict yet: then it is worth waiting for one.
    pub undecided: bool,
}

/// Who serves which key. The table is laid over all members of the pool, so that its size, and with it the place of a
/// key, does not depend on who is up.
#[derive(Debug)]
pub struct Spread {
    maglev: Maglev,
    /// Position in [`Ready::backends`] for each member.
    positions: Vec<u32>,
}

impl Spread {
    /// The position in [`Ready::backends`] of the backend that serves a key.
    #[inline]
    pub fn lookup(&self, key: u64) -> usize {
        self.positions.get(self.maglev.lookup(key) as usize).map_or(0, |position| *position as usize)
    }
}

type Chosen<'a> = (&'a model::Member, &'a Arc<Backend>);

/// The weights as they are now. They count against each other only, so where every backend has its full share, they
/// are as configured, and hundredths of that otherwise.
fn weights(chosen: &[Chosen<'_>]) -> Vec<u16> {
    let shares: Vec<u16> = chosen.iter().map(|(_, backend)| backend.verdict().share).collect();
    if shares.iter().all(|share| *share == 100) {
        return chosen.iter().map(|(member, _)| member.weight).collect();
    }
    let now = |((member, _), share): (&Chosen<'_>, u16)| member.weight.saturating_mul(share).max(1);
    chosen.iter().zip(shares).map(now).collect()
}

fn spread(config: &model::Pool, backends: &[Arc<Backend>], chosen: &[Chosen<'_>], weights: &[u16]) -> Spread {
    let serving: HashMap<u64, u32> =
        chosen.iter().zip(0..).map(|((_, backend), at)| (backend.slot.serial, at)).collect();
    let mut positions = Vec::with_capacity(backends.len());
    let mut identities = Vec::with_capacity(backends.len());
    for (member, backend) in config.members.iter().zip(backends) {
        let position = serving.get(&backend.slot.serial);
        positions.push(position.copied().unwrap_or(0));
        // The name is the identity: a backend that changes its address keeps its keys.
        identities.push((
            crate::balance::hash(member.name.as_bytes()),
            position.map_or(0, |position| weights[*position as usize]),
        ));
    }
    Spread { maglev: Maglev::new(&identities), positions }
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
                .filter(move |(member, backend)| member.standing == standing && backend.verdict().serves.work())
        };
        let mut chosen: Vec<_> = up(Standing::Regular).collect();
        if chosen.is_empty() {
            chosen = up(Standing::Backup).collect();
        }
        let weights: Vec<u16> = weights(&chosen);
        let maglev = match config.balance {
            Balance::Source | Balance::Uri | Balance::Header(_) | Balance::Cookie(_) if !chosen.is_empty() => {
                Some(spread(config, backends, &chosen, &weights))
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
