//! Following a table by difference, as the schedule of probes does it: what stays keeps its judge and its streaks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::health::agenda::Asker;
use evenkeel::health::judge::{Location, Plan, Planned, PlannedCheck, Source};
use evenkeel::health::{Initial, Judge, State as Health, Timing, Urgency};
use evenkeel::pool::{Backend, Override, Pool};
use evenkeel::probe::orders_of;
use jiff::Timestamp;

use super::{Deed, KNOCK, Program, Question, Watch, machine_of, source};

impl Program {
    pub(super) fn follow(&mut self, before: Vec<Arc<Pool>>, now: Duration) {
        self.agenda.forget_askers();
        self.seats.clear();
        let mut old = std::mem::take(&mut self.watched);
        for (at, pool) in self.table.pools.iter().enumerate() {
            for (position, backend) in pool.backends.iter().enumerate() {
                let serial = backend.slot.serial;
                self.seats.insert(serial, (at, position));
                let known = old.remove(&serial).unwrap_or_default();
                let mut watches = Vec::new();
                for (check, (question, timing)) in questions(pool, backend, &known).into_iter().enumerate() {
                    let id = self.agenda.ask(&Arc::new(question), Asker { backend: serial, check });
                    if known.iter().all(|known| known.question != id) && timing.initial == Initial::Unknown {
                        self.agenda.soon(id, now);
                    }
                    watches.push(Watch { question: id, timing });
                }
                self.watched.insert(serial, watches);
            }
        }
        self.agenda.prune();
        self.seat_judges(before, now);
        self.start_asking(now);
        self.pass_on_orders();
        self.table.pools.iter().for_each(|pool| pool.refresh());
        self.deeds.push(Deed::Followed);
    }

    fn seat_judges(&mut self, before: Vec<Arc<Pool>>, now: Duration) {
        let names = before.into_iter().map(|pool| pool.config.name.to_string());
        let mut known: BTreeMap<String, Judge> = names.zip(std::mem::take(&mut self.judges)).collect();
        for pool in &self.table.pools {
            let (name, plan) = (&*pool.config.name, self.plan(pool));
            self.judges.push(match known.remove(name) {
                Some(mut judge) => {
                    judge.replan(plan, now);
                    judge
                }
                None => Judge::new(plan, self.remembered.get(name).map(String::as_str), now),
            });
        }
        for (at, pool) in self.table.pools.iter().enumerate() {
            let Some(followed) = pool.config.follows else { continue };
            for (position, backend) in self.table.pools[followed.0 as usize].backends.iter().enumerate() {
                self.judges[at].followed(position, backend.verdict());
            }
        }
    }

    fn plan(&self, pool: &Pool) -> Plan {
        let backends = pool.backends.iter().zip(&pool.config.members).map(|(backend, member)| {
            let names = pool.config.checks.iter().map(|check| Arc::clone(&check.name)).chain([Arc::from("knock")]);
            let checks = self.watched[&backend.slot.serial].iter().zip(names);
            let check = |(watch, name): (&Watch, _)| PlannedCheck {
                name,
                question: watch.question,
                timing: watch.timing,
                past: None,
            };
            Planned {
                id: backend.slot.serial,
                name: Arc::clone(&backend.name),
                standing: member.standing,
                location: Location::Known,
                stands: backend.verdict(),
                checks: checks.map(check).collect(),
            }
        });
        Plan { policy: pool.config.policy.clone(), source: source(pool), backends: backends.collect() }
    }

    fn start_asking(&mut self, now: Duration) {
        let (seats, judges, watched) = (&self.seats, &self.judges, &self.watched);
        let check_of = |asker: &Asker| {
            let (pool, position) = *seats.get(&asker.backend)?;
            let (streak, _) = judges[pool].check(position, asker.check)?;
            Some((streak, watched.get(&asker.backend)?.get(asker.check)?.timing))
        };
        let pace = |askers: &[Asker]| {
            let checks = askers.iter().filter_map(check_of);
            checks.map(|(streak, timing)| timing.pace(streak, Urgency::Usual)).min().unwrap_or(KNOCK.interval)
        };
        self.agenda.begin(now, |asked| {
            let mut checks = asked.askers.iter().filter_map(check_of);
            checks.all(|(streak, _)| streak.state() != Health::Unknown).then(|| pace(&asked.askers))
        });
        self.agenda.hasten(now, |asked| pace(&asked.askers));
    }

    /// Tells the judges what operators have ordered.
    pub(crate) fn pass_on_orders(&mut self) {
        for (pool, judge) in self.table.pools.iter().zip(&mut self.judges) {
            for (position, backend) in pool.backends.iter().enumerate() {
                let is_meant = |it: &&Override| it.pool == backend.pool && it.backend == backend.name;
                let these: Vec<&Override> = self.overrides.list().iter().filter(is_meant).collect();
                judge.ordered(position, orders_of(&these, Timestamp::UNIX_EPOCH), || "an operator".to_owned());
            }
        }
    }
}

/// What is asked of a backend: its checks, or the knock that goes on.
fn questions(pool: &Pool, backend: &Backend, known: &[Watch]) -> Vec<(Question, Timing)> {
    let machine = machine_of(backend);
    if source(pool) == Source::Traffic {
        return known.iter().map(|_| ((machine, 0), KNOCK)).collect();
    }
    pool.config.checks.iter().map(|check| ((machine, check.port.unwrap_or(80)), check.timing)).collect()
}
