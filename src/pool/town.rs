//! For the tests of this room: a pool whose backends are named by letters, and who gets how much of its work.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Ask, Backend, Bell, Lease, Local, Pool};
use crate::balance::rng::Rng;
use crate::config::model::{ZoneIndex, Zones};
use crate::config::{self, Source};
use crate::health::{Serves, State, Verdict};

/// A pool, and one worker's view of it.
pub(super) struct Town {
    pub pool: Pool,
    local: Local,
    rng: Rng,
}

/// Well, with all of its share.
pub(super) const WELL: Verdict =
    Verdict { state: State::Up, role: None, serves: Serves::Both, share: 100, connections: None };

impl Town {
    /// `backends` as the configuration has them, but for `zone`, which is a number; `keys` are further ones of the pool.
    pub(super) fn new(backends: &[(&str, u16)], keys: &str, zones: impl FnOnce(&mut Zones)) -> Self {
        let tables: Vec<String> = backends
            .iter()
            .enumerate()
            .map(|(at, (table, _))| {
                let name = char::from(b'a' + at as u8);
                format!("{{ name = '{name}', address = '10.0.0.1:{}'{table} }}", at + 1)
            })
            .collect();
        let text = format!(
            "[listener.l]\nbind = '127.0.0.1:0'\npool = 'p'\n[pool.p]\nbackends = [{}]\n{keys}",
            tables.join(", ")
        );
        let loaded = config::load(&Source::text(text)).unwrap_or_else(|problems| panic!("{problems:?}"));
        let mut config = (*loaded.config.pools[0]).clone();
        config.zones.names = ["za", "zb", "zc"].map(Into::into).to_vec();
        zones(&mut config.zones);
        for (member, (_, zone)) in config.members.iter_mut().zip(backends) {
            member.zone = (*zone > 0).then(|| ZoneIndex(zone - 1));
        }
        let config = Arc::new(config);
        let (evidence, _) = tokio::sync::mpsc::unbounded_channel();
        let made = config.members.iter().map(|member| {
            let (pool, name, address) = (Arc::clone(&config.name), Arc::clone(&member.name), member.address.clone());
            Arc::new(Backend::new(pool, name, address, 1, evidence.clone()))
        });
        let made = made.collect();
        let mut town = Self {
            pool: Pool::new(config, made, 1, Arc::<Bell>::default()),
            local: Local::new(7),
            rng: Rng::seeded(7),
        };
        let names: String = (0..backends.len()).map(|at| char::from(b'a' + at as u8)).collect();
        town.say(&names, WELL);
        town
    }

    /// What is decided of some backends.
    pub(super) fn say(&mut self, names: &str, verdict: Verdict) {
        names.chars().for_each(|name| self.backend(name).set_verdict(verdict));
        self.pool.refresh();
    }

    pub(super) fn backend(&self, name: char) -> &Arc<Backend> {
        &self.pool.backends[name as usize - 'a' as usize]
    }

    pub(super) fn pick(&mut self, ask: Ask, tried: &[u32]) -> Option<Lease> {
        self.pool.pick(&mut self.local, &mut self.rng, &ask, tried)
    }

    /// Who gets how many percent of the work.
    pub(super) fn percent(&mut self, ask: impl Fn(u64) -> Ask) -> BTreeMap<char, u64> {
        const PICKS: u64 = 20_000;
        let mut counts = BTreeMap::new();
        for turn in 0..PICKS {
            let lease = self.pick(ask(turn), &[]).expect("somebody serves");
            *counts.entry(lease.backend().name.chars().next().unwrap()).or_insert(0) += 1;
        }
        counts.into_iter().map(|(name, count)| (name, (count * 100 + PICKS / 2) / PICKS)).collect()
    }
}
