//! Whether an order of an operator makes sense for a pool as it is now, and what he should know about it.
//!
//! Refused is what can have no effect, and, unless forced, what would leave nobody to do the pool's work.

use super::overrides::{Force, words};
use crate::config::model::{Config, PoolIndex};
use crate::health::{Failover, Mode, Role, State};
use crate::pool::{Backend, Order, Pool};

/// What the operator should know of an order that is taken.
pub(super) type Notes = Vec<String>;

/// Judges an order on one backend of a pool; `promoted` is the one that is promoted already.
pub(super) fn judge(
    config: &Config,
    pool: &Pool,
    backend: &Backend,
    order: Order,
    promoted: Option<&str>,
    force: Force,
) -> Result<Notes, String> {
    let view = View { config, pool, backend, promoted };
    match order {
        Order::Promote => view.promote(),
        Order::Demote => view.succession("demoted").and_then(|()| view.leave(order, force)),
        Order::Weight(percent) if percent > 0 => Ok(view.share()),
        Order::Weight(_) | Order::Drain { .. } | Order::Maintenance => view.leave(order, force),
    }
}

struct View<'a> {
    config: &'a Config,
    pool: &'a Pool,
    backend: &'a Backend,
    promoted: Option<&'a str>,
}

impl View<'_> {
    fn mode(&self) -> &Mode {
        &self.pool.config.policy.mode
    }

    /// Whether the pool has an order of succession that operators can change.
    fn succession(&self, wanted: &str) -> Result<(), String> {
        let pool = &self.pool.config.name;
        if let Some(PoolIndex(index)) = self.pool.config.follows {
            let followed = self.config.pools.get(index as usize).map_or("?", |pool| &pool.name);
            return Err(format!("pool `{pool}` follows pool `{followed}`: give this order there"));
        }
        match self.mode() {
            Mode::ActiveActive => Err(format!(
                "every backend of pool `{pool}` that is up gets work (mode = \"active-active\"), so none can be \
                 {wanted}; `evenkeel weight` changes its share, `evenkeel drain` takes it out"
            )),
            Mode::Leader(_) | Mode::ActiveStandby(_) => Ok(()),
        }
    }

    fn promote(&self) -> Result<Notes, String> {
        self.succession("promoted")?;
        let (pool, name) = (&self.pool.config.name, &self.backend.name);
        let verdict = self.backend.verdict();
        if matches!(self.mode(), Mode::Leader(_)) && verdict.role != Some(Role::Active) {
            let is = verdict.role.map_or("says nothing of a role", |role| match role {
                Role::Standby => "says that it is a standby",
                _ => "says that it serves reads",
            });
            return Err(format!(
                "`{name}` does not lead: it {is}. In mode = \"leader\" the traffic of pool `{pool}` follows whoever \
                 leads: promote it in the application itself, and evenkeel follows within one interval"
            ));
        }
        Ok(match verdict.state {
            State::Up => Vec::new(),
            state => vec![format!("`{name}` is {}: it takes over as soon as it may serve", state.word())],
        })
    }

    /// The backend is to get no work: who else does it?
    fn leave(&self, order: Order, force: Force) -> Result<Notes, String> {
        if !self.backend.verdict().serves.work() || self.has_heir() {
            return Ok(Vec::new());
        }
        let (pool, name) = (&self.pool.config.name, &self.backend.name);
        let nobody = match self.mode() {
            Mode::ActiveActive => format!("`{name}` is the last backend of pool `{pool}` that is up"),
            Mode::Leader(_) => format!("`{name}` leads, and no other backend of pool `{pool}` does"),
            Mode::ActiveStandby(succession) if succession.failover == Failover::Manual => {
                format!("nobody takes over from `{name}` by itself (failover = \"manual\"): promote another one first")
            }
            Mode::ActiveStandby(_) => format!("no other backend of pool `{pool}` is up to take over from `{name}`"),
        };
        match force {
            Force::Yes => Ok(vec![format!("{nobody}: the pool has nobody left")]),
            Force::No => Err(format!("{nobody}; `--force` orders the {} all the same", words(order))),
        }
    }

    fn has_heir(&self) -> bool {
        let others = self.pool.backends.iter().filter(|other| other.name != self.backend.name);
        let mut well = others.filter(|other| other.state() == State::Up);
        match self.mode() {
            Mode::ActiveActive => well.next().is_some(),
            Mode::Leader(_) => well.any(|other| other.verdict().role == Some(Role::Active)),
            Mode::ActiveStandby(succession) => match succession.failover {
                Failover::Automatic => well.next().is_some(),
                Failover::Manual => well.any(|other| self.promoted == Some(&other.name)),
            },
        }
    }

    fn share(&self) -> Notes {
        match self.mode() {
            Mode::ActiveActive => Vec::new(),
            Mode::Leader(_) | Mode::ActiveStandby(_) => {
                vec!["one backend does all the work of this pool: a weight matters only for reads".to_owned()]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::mpsc;

    use super::*;
    use crate::config::{self, Source};
    use crate::health::{Failback, Serves, Succession, TwoLeaders, Verdict};
    use crate::pool::Bell;

    const DRAIN: Order = Order::Drain { deadline: None };

    /// A pool of three: the first serves, the second has the state and role given, the third is down.
    fn judged(
        mode: Mode,
        second: (State, Option<Role>),
        order: Order,
        of: usize,
        force: Force,
    ) -> Result<Notes, String> {
        let text = "listener.l = { bind = '127.0.0.1:0', pool = 'p' }\n\
                    pool.p.backends = [{ name = 'a', address = '127.0.0.1:1' }, { name = 'b', address = '127.0.0.1:2' }, \
                    { name = 'c', address = '127.0.0.1:3' }]";
        let config = config::load(&Source::text(text)).unwrap().config;
        let mut of_pool = (*config.pools[0]).clone();
        of_pool.policy.mode = mode;
        let backends = of_pool.members.iter().map(|member| {
            let (evidence, _) = mpsc::unbounded_channel();
            Arc::new(Backend::new("p".into(), Arc::clone(&member.name), member.address.clone(), 1, evidence))
        });
        let backends: Vec<_> = backends.collect();
        let active = Verdict { role: Some(Role::Active), ..Verdict::plain(State::Up) };
        backends[0].set_verdict(active);
        backends[1].set_verdict(Verdict {
            state: second.0,
            role: second.1,
            serves: Serves::Nothing,
            ..Verdict::UNKNOWN
        });
        backends[2].set_verdict(Verdict::plain(State::Down));
        let pool = Pool::new(Arc::new(of_pool), backends, 1, Arc::new(Bell::default()));
        judge(&config, &pool, &pool.backends[of], order, None, force)
    }

    fn standby(failover: Failover) -> Mode {
        Mode::ActiveStandby(Succession { failover, failback: Failback::Never })
    }

    #[test]
    fn what_can_have_no_effect_is_refused_whatever_the_force() {
        let leader = || Mode::Leader(TwoLeaders::Keep);
        let rows = [
            (Mode::ActiveActive, Order::Promote, 0, "none can be promoted"),
            (Mode::ActiveActive, Order::Demote, 0, "none can be demoted"),
            (leader(), Order::Promote, 1, "says that it is a standby. In mode"),
            (leader(), Order::Promote, 2, "says nothing of a role"),
        ];
        for (mode, order, of, words) in rows {
            for force in [Force::No, Force::Yes] {
                let refused = judged(mode.clone(), (State::Up, Some(Role::Standby)), order, of, force).unwrap_err();
                assert!(refused.contains(words), "{mode:?} {order:?} {of}: {refused}");
            }
        }
        let two = (State::Up, Some(Role::Active));
        assert_eq!(judged(leader(), two, Order::Promote, 1, Force::No), Ok(vec![]), "of two leaders one is chosen");
    }

    #[test]
    fn what_leaves_nobody_to_work_needs_force() {
        let (up, down) = ((State::Up, None), (State::Down, None));
        let auto = || standby(Failover::Automatic);
        let manual = || standby(Failover::Manual);
        let leader = || Mode::Leader(TwoLeaders::Keep);
        let rows = [
            (Mode::ActiveActive, up, DRAIN, 0, ""),
            (Mode::ActiveActive, down, DRAIN, 0, "last backend of pool `p` that is up; `--force` orders the drain"),
            (Mode::ActiveActive, down, Order::Maintenance, 0, "last backend"),
            (Mode::ActiveActive, down, Order::Weight(0), 0, "orders the weight 0%"),
            (Mode::ActiveActive, down, Order::Weight(1), 0, ""),
            (Mode::ActiveActive, down, DRAIN, 2, ""),
            (auto(), up, Order::Demote, 0, ""),
            (auto(), down, Order::Demote, 0, "no other backend of pool `p` is up"),
            (manual(), up, DRAIN, 0, "promote another one first"),
            (manual(), up, DRAIN, 1, ""),
            (leader(), (State::Up, Some(Role::Standby)), Order::Demote, 0, "leads, and no other"),
            (leader(), (State::Up, Some(Role::Active)), Order::Demote, 0, ""),
        ];
        for (mode, second, order, of, words) in rows {
            let judged = |force| judged(mode.clone(), second, order, of, force);
            match judged(Force::No) {
                Ok(notes) => assert!(words.is_empty(), "{mode:?} {second:?} {order:?} {of}: {notes:?}"),
                Err(refused) => {
                    assert!(!words.is_empty() && refused.contains(words), "{mode:?} {order:?} {of}: {refused}");
                    assert_eq!(judged(Force::Yes).unwrap().len(), 1, "forced, and told all the same");
                }
            }
        }
    }

    #[test]
    fn one_that_is_down_can_be_promoted_and_waits() {
        let notes = judged(standby(Failover::Manual), (State::Down, None), Order::Promote, 1, Force::No).unwrap();
        assert_eq!(notes, ["`b` is down: it takes over as soon as it may serve"]);
    }
}
