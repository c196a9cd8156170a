//! Who serves which key, for the picks by key (source, uri, header, cookie).
//!
//! Made by control with the rest of what may serve; a lookup is one list access, or two while a backend has less than
//! its full share.
//!
//! # Why does a share not simply change the weights of the table?
//!
//! Every other weight lays the whole table anew, and some keys of backends that have nothing to do with it move: a
//! slow start in twenty steps would move as many clients as a backend that falls. So the table is laid by configured
//! weight, and a backend with half of its share serves half of its own keys. The others are spread by a second table,
//! laid by weight and share, which makes the sums come out right; they come home one by one as the share grows.

use std::sync::Arc;

use super::Backend;
use crate::balance::hash;
use crate::balance::maglev::Maglev;
use crate::config::model;

/// All of a backend's keys.
const ALL: u32 = u32::MAX;

/// Which backend serves which key. The tables are laid over all members of the pool, so that their size, and with it the
/// place of a key, does not depend on who is up.
#[derive(Debug)]
pub struct Spread {
    maglev: Maglev,
    /// Position in the group for each member.
    positions: Vec<u32>,
    lent: Option<Box<Lent>>,
}

/// Keys that are served elsewhere for the time being.
#[derive(Debug)]
struct Lent {
    /// Of each member's keys, the part that it serves itself, in 2^-32.
    kept: Vec<u32>,
    maglev: Maglev,
}

/// A member that serves, as the spread needs it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Server {
    /// Its number among the pool's members.
    pub member: usize,
    /// Percent of its weight.
    pub share: u16,
}

impl Spread {
    /// Spreads keys over `serving`, whose positions are those of a group.
    pub(super) fn over(config: &model::Pool, backends: &[Arc<Backend>], serving: &[Server]) -> Self {
        debug_assert_eq!(config.members.len(), backends.len());
        let full = serving.iter().map(|server| server.share).max().unwrap_or(0).max(1);
        // The name is the identity: a backend that changes its address keeps its keys.
        let mut own: Vec<(u64, u16)> = config.members.iter().map(|member| (hash(member.name.as_bytes()), 0)).collect();
        let mut reduced = own.clone();
        let mut positions = vec![0; own.len()];
        let mut kept = vec![ALL; own.len()];
        for (server, position) in serving.iter().zip(0..) {
            let weight = config.members[server.member].weight;
            positions[server.member] = position;
            own[server.member].1 = weight;
            reduced[server.member].1 = percent_of(weight, server.share, full);
            kept[server.member] = (u64::from(ALL) * u64::from(server.share) / u64::from(full)) as u32;
        }
        let lent = kept.iter().any(|kept| *kept != ALL);
        let lent = lent.then(|| Box::new(Lent { kept, maglev: Maglev::new(&reduced) }));
        Self { maglev: Maglev::new(&own), positions, lent }
    }

    /// The position in the group of the backend that serves a key.
    #[inline]
    pub fn lookup(&self, key: u64) -> usize {
        let mut member = self.maglev.lookup(key) as usize;
        if let Some(lent) = &self.lent {
            member = lent.lookup(key, member);
        }
        self.positions.get(member).map_or(0, |position| *position as usize)
    }
}

impl Lent {
    /// Mixed anew for each question: the answers must not depend on each other, nor on the bits that have led here.
    fn lookup(&self, key: u64, member: usize) -> usize {
        let mixed = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let kept = self.kept.get(member).is_none_or(|kept| (mixed >> 32) as u32 <= *kept);
        if kept {
            member
        } else {
            self.maglev.lookup((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)) as usize
        }
    }
}

/// The weight times `share / full`, in percent of a weight, never 0.
fn percent_of(weight: u16, share: u16, full: u16) -> u16 {
    let percent = u64::from(weight) * 100 * u64::from(share) / u64::from(full);
    u16::try_from(percent).unwrap_or(u16::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::{Reads, ZoneIndex};
    use crate::health::{Serves, State, Verdict};
    use crate::pool::town::{Town, WELL};
    use crate::pool::{Ask, Near, Stick};

    const KEYS: u64 = 20_000;

    fn ask(key: u64) -> Ask {
        Ask { key: Some(hash(&key.to_le_bytes())), reads: Reads::Active, near: Near::OWN, stick: Stick::Free }
    }

    /// Who serves each key.
    fn map(town: &mut Town) -> String {
        (0..KEYS).map(|key| town.pick(ask(key), &[]).unwrap().backend().name.chars().next().unwrap()).collect()
    }

    fn moved(before: &str, after: &str) -> Vec<(char, char)> {
        before.chars().zip(after.chars()).filter(|(before, after)| before != after).collect()
    }

    #[test]
    fn keys_come_home_one_by_one_while_a_share_grows_and_no_other_moves() {
        let mut town = Town::new(&[("", 0); 5], "balance = 'source'", |_| {});
        let full = map(&mut town);
        town.say("b", Verdict { share: 10, ..WELL });
        let mut before = map(&mut town);
        assert!(moved(&full, &before).iter().all(|(owner, _)| *owner == 'b'));
        let (mut home, mut astray) = (moved(&before, &full).len(), 0);
        for share in [25, 50, 75, 100] {
            town.say("b", Verdict { share, ..WELL });
            let after = map(&mut town);
            astray += moved(&before, &after).iter().filter(|(_, to)| *to != 'b').count();
            let away = moved(&after, &full).len();
            assert!(away < home, "{share}: {away} of {home} are still away");
            (before, home) = (after, away);
        }
        assert_eq!(before, full);
        assert!(astray < KEYS as usize / 100, "{astray} keys of `b` moved between others meanwhile");
    }

    #[test]
    fn what_each_serves_is_its_part_of_weights_and_shares() {
        let mut town = Town::new(&[("", 0), ("", 0), (", weight = 2", 0)], "balance = 'source'", |_| {});
        town.say("a", Verdict { share: 50, ..WELL });
        town.say("b", Verdict { share: 25, ..WELL });
        let shares = town.percent(ask);
        for (name, ideal) in [('a', 18), ('b', 9), ('c', 73)] {
            assert!(shares[&name].abs_diff(ideal) <= 1, "{shares:?}");
        }
        // All at the same part: nothing is lent.
        town.say("ab", Verdict { share: 10, ..WELL });
        town.say("c", Verdict { share: 10, ..WELL });
        let tenth = map(&mut town);
        town.say("abc", WELL);
        assert_eq!(map(&mut town), tenth);
    }

    #[test]
    fn keys_keep_their_backend_while_their_zone_is_up() {
        let mut town = Town::new(&[("", 1), ("", 1), ("", 1), ("", 2), ("", 2)], "balance = 'source'", |zones| {
            zones.own = Some(ZoneIndex(0));
            zones.spill_below = 0.9;
        });
        let down = Verdict { state: State::Down, serves: Serves::Nothing, ..WELL };
        let full = map(&mut town);
        town.say("d", down);
        assert_eq!(map(&mut town), full, "nothing of the other zone matters");
        town.say("c", down);
        let without = map(&mut town);
        // 66.7 of 90 percent stay: 26 % go elsewhere, and of the others only those of `c` move.
        let away = without.chars().filter(|name| *name == 'e').count() as f64 / KEYS as f64;
        assert!((0.24..0.28).contains(&away), "{away}");
        let moved_within = moved(&full, &without).iter().filter(|(from, to)| *from != 'c' && *to != 'e').count();
        assert!(moved_within < KEYS as usize / 50, "{moved_within}");
        town.say("cd", WELL);
        assert_eq!(map(&mut town), full);
    }

    #[test]
    fn a_key_does_not_depend_on_who_picks() {
        let build = || Town::new(&[("", 0); 4], "balance = 'source'", |_| {});
        assert_eq!(map(&mut build()), map(&mut build()));
    }
}
