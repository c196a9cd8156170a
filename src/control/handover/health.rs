//! What is known of each backend: verdict, streaks, where its name points. With it the new process serves at once, without
//! a first probe.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock;
use crate::config::model::Address;
use crate::health::judge::Past;
use crate::health::{Role, Says, State, Verdict, Wish};
use crate::pool::{Backend, CheckStatus, Pool};
use crate::probe::{PastBackend, PastCheck};

/// What is known of the backends of one pool.
#[derive(Debug, Serialize, Deserialize)]
pub struct Known {
    pool: String,
    /// Who has the work, where one of several has it.
    leader: Option<String>,
    backends: Vec<KnownBackend>,
}

#[derive(Debug, Serialize, Deserialize)]
struct KnownBackend {
    name: String,
    address: String,
    /// Where its name points.
    at: Option<SocketAddr>,
    /// [`Verdict::pack`].
    verdict: u64,
    /// How long its state has stood.
    since_ms: u64,
    latency_micros: u32,
    checks: Vec<KnownCheck>,
}

/// What the API shows of a check, and behind it what the judge knows.
#[derive(Debug, Serialize, Deserialize)]
struct KnownCheck {
    name: String,
    /// By its word.
    state: String,
    reason: String,
    took_micros: u64,
    age_ms: u64,
    certificate_expires: Option<i64>,
    past: Option<KnownPast>,
}

#[derive(Debug, Serialize, Deserialize)]
struct KnownPast {
    /// Hash of what is asked.
    question: u64,
    state: String,
    against: u32,
    wish: String,
    role: Option<String>,
    share: Option<u16>,
    connections: Option<NonZeroU16>,
    epoch: Option<u64>,
}

/// All that is known of these pools; `past` is what their judges know.
pub fn known(pools: &[Arc<Pool>], past: Vec<PastBackend>) -> Vec<Known> {
    let mut past: HashMap<(Arc<str>, Arc<str>), Vec<PastCheck>> =
        past.into_iter().map(|it| ((it.pool, it.name), it.checks)).collect();
    let mut backend = |backend: &Arc<Backend>| {
        let past = past.remove(&(Arc::clone(&backend.pool), Arc::clone(&backend.name))).unwrap_or_default();
        KnownBackend::of(backend, &past)
    };
    let pools = pools.iter().map(|pool| Known {
        pool: pool.config.name.to_string(),
        leader: pool.leader().map(|name| name.to_string()),
        backends: pool.backends.iter().map(&mut backend).collect(),
    });
    pools.collect()
}

/// Gives these pools what is known of them; gives back what their judges are to know. Called before they are followed and
/// before anybody picks from them.
pub fn take_up(known: &[Known], pools: &[Arc<Pool>]) -> Vec<PastBackend> {
    let known: HashMap<&str, &Known> = known.iter().map(|known| (known.pool.as_str(), known)).collect();
    let mut past = Vec::new();
    for pool in pools {
        let Some(known) = known.get(&*pool.config.name) else { continue };
        pool.take_up_leader(known.leader.as_deref().map(Into::into));
        let backends: HashMap<&str, &KnownBackend> = known.backends.iter().map(|it| (it.name.as_str(), it)).collect();
        for backend in &pool.backends {
            let same = backends.get(&*backend.name).filter(|it| it.address == backend.address.to_string());
            past.extend(same.map(|known| known.give_to(backend)));
        }
    }
    past
}

impl KnownBackend {
    fn of(backend: &Backend, past: &[PastCheck]) -> Self {
        let checks = backend.checks().into_iter().map(|status| {
            let past = past.iter().find(|past| past.name == status.name);
            KnownCheck::of(&status, past)
        });
        Self {
            name: backend.name.to_string(),
            address: backend.address.to_string(),
            at: backend.site().and_then(|site| site.ip()),
            verdict: backend.verdict().pack(),
            since_ms: millis(backend.in_state_for()),
            latency_micros: backend.latency_micros(),
            checks: checks.collect(),
        }
    }

    fn give_to(&self, backend: &Backend) -> PastBackend {
        if let (Address::Name(..), Some(at)) = (&backend.address, self.at) {
            backend.set_socket_address(at);
        }
        let statuses = self.checks.iter().map(KnownCheck::status).collect();
        let stood = Duration::from_millis(self.since_ms);
        backend.take_up(Verdict::unpack(self.verdict), stood, self.latency_micros, statuses);
        let checks = self.checks.iter().filter_map(KnownCheck::past).collect();
        PastBackend { pool: Arc::clone(&backend.pool), name: Arc::clone(&backend.name), checks }
    }
}

impl KnownCheck {
    fn of(status: &CheckStatus, past: Option<&PastCheck>) -> Self {
        let past = past.map(|PastCheck { question, past, .. }| KnownPast {
            question: *question,
            state: past.state.word().to_owned(),
            against: past.against,
            wish: wish_word(past.says.wish).to_owned(),
            role: past.says.role.map(|role| role.word().to_owned()),
            share: past.says.share,
            connections: past.says.connections,
            epoch: past.says.epoch,
        });
        Self {
            name: status.name.to_string(),
            state: status.state.word().to_owned(),
            reason: status.reason.to_string(),
            took_micros: u64::try_from(status.duration.as_micros()).unwrap_or(u64::MAX),
            age_ms: millis(clock::since(status.at)),
            certificate_expires: status.certificate_expires,
            past,
        }
    }

    fn status(&self) -> CheckStatus {
        CheckStatus {
            name: self.name.as_str().into(),
            state: state(&self.state),
            reason: self.reason.as_str().into(),
            duration: Duration::from_micros(self.took_micros),
            at: clock::millis().saturating_sub(self.age_ms),
            certificate_expires: self.certificate_expires,
        }
    }

    fn past(&self) -> Option<PastCheck> {
        let known = self.past.as_ref()?;
        let says = Says {
            wish: wish(&known.wish),
            role: known.role.as_deref().and_then(role),
            share: known.share,
            connections: known.connections,
            epoch: known.epoch,
        };
        let past = Past { state: state(&known.state), against: known.against, says };
        // Of what has no answer yet, nothing is known here either.
        let is_known = past.state != State::Unknown;
        is_known.then(|| PastCheck { name: self.name.as_str().into(), question: known.question, past })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A check is up, down or unknown; a word that means nothing here is as good as none.
fn state(word: &str) -> State {
    let states = [State::Up, State::Down];
    states.into_iter().find(|state| state.word() == word).unwrap_or(State::Unknown)
}

fn role(word: &str) -> Option<Role> {
    [Role::Active, Role::Standby, Role::Read].into_iter().find(|role| role.word() == word)
}

fn wish_word(wish: Wish) -> &'static str {
    match wish {
        Wish::Work => "work",
        Wish::Drain => "drain",
        Wish::Maintenance => "maintenance",
    }
}

fn wish(word: &str) -> Wish {
    [Wish::Drain, Wish::Maintenance].into_iter().find(|wish| wish_word(*wish) == word).unwrap_or_default()
}
