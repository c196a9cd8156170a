//! What of a pool may serve right now, laid out so that a pick is a few loads.
//!
//! Made by control when a verdict flips, never at the pick; workers see it by a version number. There is one layout for
//! each kind of work (reads that go to standbys have one of their own only where these are others than do the work) and
//! each zone that work prefers: one in all, unless the configuration asks for more.
//!
//! # What does a zone keep when part of it is down?
//!
//! All of its work, as long as `spill_below` of its weight is up. With less, the part of its work that is up divided by
//! `spill_below`: the backends that are left never get more than they had at that point. The rest goes to all other
//! zones by weight. Where nobody is up in the zone, or nobody elsewhere, all of it goes where somebody is. Missing are
//! backends that are down, draining or in maintenance, and what one lacks of its share; one that is well and does not
//! serve this kind of work by its role is not. `first` gives all work to one backend anyway: its zone keeps all of it.

use std::sync::Arc;

use super::Backend;
use super::group::{Candidate, Group};
use super::pick::Ask;
use super::preferences::{Near, Preferences};
use crate::balance::Balance;
use crate::config::model::{self, Reads, Standing, ZoneIndex};
use crate::health::{Serves, State};

/// Nothing is given away.
pub(super) const ALL: u32 = u32::MAX;

/// The backends of a pool that may be picked.
#[derive(Debug, Default)]
pub struct Ready {
    /// There are backends, and all work goes by the one layout: what most pools need to know.
    is_plain: bool,
    work: Rack,
    /// Where other backends get reads than do the work.
    reads: Option<Box<Rack>>,
    /// Whether some backend takes only so much at once.
    is_limited: bool,
    /// Whether some backend has no verdict yet: then it is worth waiting for one.
    pub undecided: bool,
}

/// One kind of work: a layout for each zone that is preferred.
#[derive(Debug, Default)]
struct Rack {
    own: Layout,
    others: Vec<Layout>,
}

/// Where one kind of work goes.
#[derive(Debug, Default)]
pub struct Layout {
    /// The backends of the preferred zone; all where none is preferred or the zone has nobody.
    pub near: Group,
    /// The others.
    pub far: Option<Box<Far>>,
    /// Whether `near` is of one zone, because it is preferred.
    pub(super) has_zone: bool,
}

/// The backends of other zones than the preferred one.
#[derive(Debug)]
pub struct Far {
    /// They.
    pub group: Group,
    /// The part of the work that stays in the preferred zone, in 2^-32.
    pub stay: u32,
}

impl Ready {
    /// What of these may serve.
    pub fn of(config: &model::Pool, backends: &[Arc<Backend>], preferences: &Preferences) -> Self {
        let all: Vec<Candidate<'_>> = config
            .members
            .iter()
            .zip(backends)
            .enumerate()
            .map(|(index, (member, backend))| Candidate { index, member, backend, verdict: backend.verdict() })
            .collect();
        let mut plan = Plan { config, backends, preferences, all: &all, groups: 0 };
        let (work, reads) = (plan.serving(Serves::work), plan.serving(Serves::reads));
        let same = reads.is_empty() || work.iter().map(|it| it.index).eq(reads.iter().map(|it| it.index));
        let undecided = all.iter().any(|it| it.verdict.state == State::Unknown);
        let work = plan.rack(&work, Serves::work);
        let reads = (!same).then(|| Box::new(plan.rack(&reads, Serves::reads)));
        let is_limited = backends.iter().any(|backend| backend.connections_max().is_some());
        let one_layout = reads.is_none() && work.others.is_empty() && work.own.far.is_none();
        let is_plain = one_layout && !work.own.is_empty() && !is_limited && config.sticky.is_none();
        Self { is_plain, work, reads, is_limited, undecided }
    }

    /// The one group that all work goes to, where that is all there is to say.
    #[inline]
    pub(super) fn plain(&self) -> Option<&Group> {
        self.is_plain.then_some(&self.work.own.near)
    }

    /// Whether some backend takes only so much at once.
    pub fn is_limited(&self) -> bool {
        self.is_limited
    }

    /// The backends of this zone that do the work, where there are any.
    pub(super) fn in_zone(&self, ask: &Ask, near: Near) -> Option<&Group> {
        let layout = self.layout(&Ask { near, ..*ask });
        layout.has_zone.then_some(&layout.near)
    }

    /// The layout for this work. A pool of an older table may know other zones: its work goes by the own one meanwhile.
    #[inline]
    pub fn layout(&self, ask: &Ask) -> &Layout {
        let rack = match (&self.reads, ask.reads) {
            (Some(reads), Reads::Standby) => reads,
            _ => &self.work,
        };
        match ask.near.index() {
            0 => &rack.own,
            near => rack.others.get(near - 1).unwrap_or(&rack.own),
        }
    }
}

impl Layout {
    /// All backends that the work can go to, those of the preferred zone first.
    pub fn backends(&self) -> impl Iterator<Item = &Arc<Backend>> {
        let far = self.far.as_ref().map_or(&[][..], |far| &far.group.backends);
        self.near.backends.iter().chain(far)
    }

    /// Whether there is nobody.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.near.backends.is_empty()
    }
}

/// What layouts are made from.
struct Plan<'a> {
    config: &'a model::Pool,
    backends: &'a [Arc<Backend>],
    preferences: &'a Preferences,
    all: &'a [Candidate<'a>],
    groups: usize,
}

impl<'a> Plan<'a> {
    /// Regular backends that serve this kind of work, or the backups that do where no regular one does.
    fn serving(&self, kind: fn(Serves) -> bool) -> Vec<Candidate<'a>> {
        let of = |standing| {
            let serves = move |it: &&Candidate<'_>| it.member.standing == standing && kind(it.verdict.serves);
            self.all.iter().filter(serves).copied().collect::<Vec<_>>()
        };
        let regular = of(Standing::Regular);
        if regular.is_empty() { of(Standing::Backup) } else { regular }
    }

    fn rack(&mut self, serving: &[Candidate<'a>], kind: fn(Serves) -> bool) -> Rack {
        let preferences = self.preferences;
        let mut layouts = preferences.zones().iter().map(|zone| self.layout(serving, *zone, kind));
        Rack { own: layouts.next().unwrap_or_default(), others: layouts.collect() }
    }

    fn layout(&mut self, serving: &[Candidate<'a>], zone: Option<ZoneIndex>, kind: fn(Serves) -> bool) -> Layout {
        let is_near = |it: &Candidate<'_>| zone.is_none() || it.member.zone == zone;
        let (near, far): (Vec<_>, Vec<_>) = serving.iter().copied().partition(is_near);
        if near.is_empty() || far.is_empty() {
            let has_zone = zone.is_some() && !near.is_empty();
            return Layout { near: self.group(serving), far: None, has_zone };
        }
        let stay = if self.config.balance == Balance::First { ALL } else { self.stay(&near, zone, kind) };
        Layout { near: self.group(&near), far: Some(Box::new(Far { group: self.group(&far), stay })), has_zone: true }
    }

    fn group(&mut self, chosen: &[Candidate<'_>]) -> Group {
        self.groups += 1;
        Group::of(self.config, self.backends, chosen, self.groups - 1)
    }

    /// The part of its work that the zone keeps: `near` are its backends that serve.
    fn stay(&self, near: &[Candidate<'_>], zone: Option<ZoneIndex>, kind: fn(Serves) -> bool) -> u32 {
        let standing = near.first().map(|it| it.member.standing);
        let has_gone = |it: &&Candidate<'_>| {
            Some(it.member.standing) == standing
                && it.member.zone == zone
                && !kind(it.verdict.serves)
                && matches!(it.verdict.state, State::Down | State::Draining | State::Maintenance)
        };
        let whole = |it: &Candidate<'_>| u64::from(it.member.weight) * 100;
        let here: u64 = near.iter().map(|it| u64::from(it.weight()).min(whole(it))).sum();
        let all: u64 = near.iter().chain(self.all.iter().filter(has_gone)).map(whole).sum();
        let up = here as f64 / all.max(1) as f64;
        let below = f64::from(self.config.zones.spill_below);
        if up >= below { ALL } else { fraction(up / below) }
    }
}

/// A share between 0 and 1, in 2^-32.
#[expect(clippy::cast_sign_loss, reason = "a share of weights is not negative")]
fn fraction(share: f64) -> u32 {
    (share * f64::from(ALL)) as u32
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::config::model::Zones;
    use crate::health::{Role, Verdict};
    use crate::pool::town::{Town, WELL};

    const DOWN: Verdict = Verdict { state: State::Down, role: None, serves: Serves::Nothing, ..Verdict::UNKNOWN };
    const READS: Ask =
        Ask { key: None, reads: Reads::Standby, near: crate::pool::Near::OWN, stick: crate::pool::Stick::Free };

    fn own(zones: &mut Zones) {
        zones.own = Some(ZoneIndex(0));
        zones.spill_below = 0.7;
    }

    /// The shares of work, as `a33 b67`.
    fn shares(town: &mut Town, ask: Ask) -> String {
        let shares = town.percent(|_| ask);
        shares.iter().map(|(name, percent)| format!("{name}{percent}")).collect::<Vec<_>>().join(" ")
    }

    fn percent(share: u16) -> Verdict {
        Verdict { share, ..WELL }
    }

    /// The same within a percent, where chance decides.
    #[track_caller]
    fn about(town: &mut Town, expected: &str, what: &str) {
        let shares = shares(town, Ask::default());
        let part = |text: &str| (text[..1].to_owned(), text[1..].parse::<i32>().unwrap());
        let (found, wanted): (Vec<_>, Vec<_>) =
            (shares.split(' ').map(part).collect(), expected.split(' ').map(part).collect());
        let close = found.iter().zip(&wanted).all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() <= 1);
        assert!(found.len() == wanted.len() && close, "{what}: {shares}, not {expected}");
    }

    #[test]
    fn a_share_lowers_the_weight_and_never_to_nothing() {
        let mut town = Town::new(&[("", 0), ("", 0), (", weight = 2", 0)], "", |_| {});
        assert_eq!(shares(&mut town, Ask::default()), "a25 b25 c50");
        for (share, expected) in [(50, "a14 b29 c57"), (10, "a3 b32 c65"), (200, "a40 b20 c40")] {
            town.say("a", percent(share));
            assert_eq!(shares(&mut town, Ask::default()), expected, "{share}");
        }
        town.say("a", percent(0));
        assert!(town.percent(|_| Ask::default()).contains_key(&'a'), "one that serves gets some work");
    }

    #[test]
    fn shares_reach_every_balance() {
        for balance in ["random", "round-robin"] {
            let mut town = Town::new(&[("", 0), ("", 0)], &format!("balance = '{balance}'"), |_| {});
            town.say("a", percent(25));
            about(&mut town, "a20 b80", balance);
        }
        for balance in ["least-requests", "p2c", "peak-ewma"] {
            let mut town = Town::new(&[("", 0), ("", 0)], &format!("balance = '{balance}'"), |_| {});
            town.say("a", percent(25));
            for name in ['a', 'b'] {
                town.backend(name).answered(std::time::Duration::from_millis(1));
            }
            // Work that lasts: it settles where each has as much as its weight says.
            let held: Vec<_> = (0..100).map(|_| town.pick(Ask::default(), &[]).unwrap()).collect();
            let at_a = held.iter().filter(|lease| &*lease.backend().name == "a").count();
            // With peak-ewma the one that is passed over looks a little quicker each time.
            let most = if balance == "peak-ewma" { 35 } else { 22 };
            assert!((18..=most).contains(&at_a), "{balance}: {at_a}");
        }
    }

    #[test]
    fn backups_serve_when_no_regular_one_does() {
        let mut town = Town::new(&[("", 0), (", backup = true", 0), (", backup = true", 0)], "", |_| {});
        assert_eq!(shares(&mut town, Ask::default()), "a100");
        town.say("a", DOWN);
        assert_eq!(shares(&mut town, Ask::default()), "b50 c50");
        town.say("a", WELL);
        assert_eq!(shares(&mut town, Ask::default()), "a100");
    }

    #[test]
    fn without_zones_and_roles_there_is_one_layout() {
        let mut town = Town::new(&[("", 0), ("", 0)], "", |_| {});
        town.say("a", DOWN);
        let ready = Ready::of(&town.pool.config, &town.pool.backends, &Preferences::new(&town.pool.config.zones));
        assert!(ready.reads.is_none() && ready.work.others.is_empty() && ready.work.own.far.is_none());
    }

    #[test]
    fn reads_go_to_standbys_and_to_the_active_one_where_there_is_none() {
        let role = |role, serves| Verdict { role: Some(role), serves, ..WELL };
        let (active, standby) = (role(Role::Active, Serves::Work), role(Role::Standby, Serves::Reads));
        let mut town = Town::new(&[("", 0), ("", 0), ("", 0)], "", |_| {});
        town.say("a", active);
        town.say("bc", standby);
        assert_eq!(shares(&mut town, Ask::default()), "a100");
        assert_eq!(shares(&mut town, READS), "b50 c50");
        town.say("b", DOWN);
        assert_eq!(shares(&mut town, READS), "c100");
        town.say("c", DOWN);
        assert_eq!(shares(&mut town, READS), "a100");
        town.say("a", standby);
        assert!(town.pick(Ask::default(), &[]).is_none(), "work waits for an active one");
        assert_eq!(shares(&mut town, READS), "a100");
    }

    #[test]
    fn a_zone_keeps_what_its_backends_can_bear() {
        let three_and_two = [("", 1), ("", 1), ("", 1), ("", 2), ("", 0)];
        for (down, expected) in [
            ("", "a33 b33 c33"),
            // Two thirds are up, and 0.7 would suffice: 95 % stay.
            ("c", "a48 b48 d2 e2"),
            ("bc", "a48 d26 e26"),
            ("abc", "d50 e50"),
            ("d", "a33 b33 c33"),
            ("bcde", "a100"),
            ("acd", "b48 e52"),
        ] {
            let mut town = Town::new(&three_and_two, "balance = 'random'", own);
            town.say(down, DOWN);
            about(&mut town, expected, &format!("without {down:?}"));
            town.say(down, WELL);
            about(&mut town, "a33 b33 c33", &format!("with {down:?} again"));
        }
    }

    #[test]
    fn what_stays_is_the_same_for_every_balance() {
        for balance in ["round-robin", "least-requests", "p2c", "peak-ewma", "random", "source"] {
            let mut town = Town::new(&[("", 1), ("", 1), ("", 2)], &format!("balance = '{balance}'"), own);
            let ask = |turn: u64| Ask { key: Some(crate::balance::hash(&turn.to_le_bytes())), ..Ask::default() };
            assert!(!town.percent(ask).contains_key(&'c'), "{balance}");
            town.say("a", DOWN);
            let shares = town.percent(ask);
            assert!((70..=73).contains(&shares[&'b']), "{balance}: {shares:?}");
        }
        // One backend does all of it anyway.
        let mut town = Town::new(&[("", 1), ("", 1), ("", 2)], "balance = 'first'", own);
        town.say("a", DOWN);
        assert_eq!(shares(&mut town, Ask::default()), "b100");
    }

    #[test]
    fn a_part_of_a_share_is_a_part_of_the_zone() {
        let mut town = Town::new(&[("", 1), ("", 1), ("", 2)], "balance = 'random'", own);
        town.say("a", percent(10));
        // 55 % of the zone is there, and 55 / 70 of its work stays.
        about(&mut town, "a7 b72 c21", "a tenth");
        town.say("a", percent(200));
        about(&mut town, "a67 b33", "twice");
    }

    #[test]
    fn who_is_well_but_does_other_work_is_not_missed() {
        let mut town = Town::new(&[("", 1), ("", 1), ("", 1), ("", 2)], "", own);
        town.say("a", Verdict { serves: Serves::Work, ..WELL });
        town.say("bcd", Verdict { serves: Serves::Reads, ..WELL });
        assert_eq!(shares(&mut town, Ask::default()), "a100");
        assert_eq!(shares(&mut town, READS), "b50 c50");
        town.say("c", Verdict { state: State::Maintenance, ..DOWN });
        let reads = town.percent(|_| READS);
        assert!((70..=73).contains(&reads[&'b']), "{reads:?}");
        // The active one moves to the other zone, and so does the work.
        town.say("a", DOWN);
        town.say("d", Verdict { serves: Serves::Work, ..WELL });
        assert_eq!(shares(&mut town, Ask::default()), "d100");
    }

    #[test]
    fn clients_prefer_their_own_zone() {
        let mut town = Town::new(&[("", 1), ("", 2), ("", 3)], "", |zones| {
            own(zones);
            zones.clients =
                vec![("10.1.0.0/16".parse().unwrap(), ZoneIndex(1)), ("10.2.0.0/16".parse().unwrap(), ZoneIndex(2))];
        });
        for (client, name) in [("10.1.0.1", "b100"), ("10.2.0.1", "c100"), ("192.168.0.1", "a100")] {
            let near = town.pool.near(client.parse().unwrap());
            assert_eq!(shares(&mut town, Ask { near, ..Ask::default() }), name, "{client}");
        }
        let near = town.pool.near("10.1.0.1".parse().unwrap());
        town.say("b", DOWN);
        assert_eq!(shares(&mut town, Ask { near, ..Ask::default() }), "a50 c50");
    }

    #[test]
    fn a_full_zone_gives_work_away_and_a_full_world_does_not() {
        let full = |zones: &mut Zones| {
            own(zones);
            zones.spill_at = NonZeroU32::new(4);
        };
        for balance in ["round-robin", "least-requests", "p2c", "random", "first"] {
            let mut town = Town::new(&[("", 1), (", weight = 3", 1), ("", 2)], &format!("balance = '{balance}'"), full);
            let mut held = Vec::new();
            let mut at = |town: &mut Town, name: char| {
                while town.backend(name).in_flight()
                    < if name == 'b' {
                        6
                    } else if name == 'a' {
                        2
                    } else {
                        4
                    }
                {
                    held.push(town.pick(Ask::default(), &[]).unwrap());
                }
            };
            // A weight of 2 is the zone's average: `a` is full with 2, `b` with 6.
            at(&mut town, 'a');
            if balance != "first" {
                at(&mut town, 'b');
                assert_eq!(town.backend('c').in_flight(), 0, "{balance}");
                at(&mut town, 'c');
                let before = town.backend('a').in_flight() + town.backend('b').in_flight();
                held.push(town.pick(Ask::default(), &[]).unwrap());
                let after = town.backend('a').in_flight() + town.backend('b').in_flight();
                assert_eq!(after, before + 1, "{balance}: where all are full, it stays");
                held.clear();
                assert_eq!(town.percent(|_| Ask::default()).get(&'c'), None, "{balance}: back again");
            }
        }
    }

    #[test]
    fn a_retry_looks_in_the_own_zone_first_and_then_everywhere() {
        let mut town = Town::new(&[("", 1), ("", 1), ("", 2), ("", 3)], "", own);
        for _ in 0..50 {
            let mut tried = Vec::new();
            let mut order = String::new();
            while let Some(lease) = town.pick(Ask::default(), &tried) {
                tried.push(lease.backend().slot.index);
                order.push_str(&lease.backend().name);
            }
            assert!(["ab", "ba"].contains(&&order[..2]) && order.len() == 4, "{order}");
        }
    }
}
