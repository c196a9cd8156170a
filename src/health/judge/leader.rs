//! `mode = "leader"`: who of those that say they are the active one gets the work. The truth lies with the backends;
//! this only decides between two that claim it.

use crate::health::TwoLeaders;

/// What one backend says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// It is not the active one, or may not be.
    None,
    /// Nothing is known of it yet.
    Undecided,
    /// It says that it is the active one, and which epoch it leads.
    Active { epoch: Option<u64> },
}

/// What led to the present.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Past {
    /// Who has the work, or had it last.
    pub(super) incumbent: Option<usize>,
    /// Who is to have it by an operator's word.
    pub(super) promoted: Option<usize>,
}

/// Who gets the work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) holder: Option<usize>,
    /// Those that claim it; more than one is a conflict.
    pub(super) claimants: Vec<usize>,
    /// One of whom nothing is known yet could change this.
    pub(super) hasty: bool,
}

pub(super) fn choose(claims: &[Claim], past: Past, rule: TwoLeaders) -> Choice {
    let claimants: Vec<usize> = claims
        .iter()
        .enumerate()
        .filter(|(_, claim)| matches!(claim, Claim::Active { .. }))
        .map(|(at, _)| at)
        .collect();
    let claims_it = |who: Option<usize>| who.filter(|who| claimants.contains(who));
    let kept = claims_it(past.incumbent).or(claimants.first().copied());
    let holder = match (claims_it(past.promoted), &claimants[..]) {
        (Some(promoted), _) => Some(promoted),
        (None, []) => None,
        (None, [only]) => Some(*only),
        (None, _) => match rule {
            TwoLeaders::Keep => kept,
            TwoLeaders::Refuse => None,
            TwoLeaders::Newest => newest(claims).or(kept),
        },
    };
    let hasty = is_hasty(claims, past.incumbent, holder);
    Choice { holder, claimants, hasty }
}

/// The one with the greatest epoch, where each claim has one and no two share the greatest.
fn newest(claims: &[Claim]) -> Option<usize> {
    let mut epochs = Vec::new();
    for (at, claim) in claims.iter().enumerate() {
        if let Claim::Active { epoch } = claim {
            epochs.push(((*epoch)?, at));
        }
    }
    epochs.sort_unstable();
    match epochs[..] {
        [.., (second, _), (first, at)] if first > second => Some(at),
        [(_, only)] => Some(only),
        _ => None,
    }
}

/// Whether the answer of one that has not answered yet could take the work from `holder` again.
fn is_hasty(claims: &[Claim], incumbent: Option<usize>, holder: Option<usize>) -> bool {
    let is_open = |at: usize| claims.get(at) == Some(&Claim::Undecided);
    match (holder, incumbent) {
        (Some(holder), Some(incumbent)) => holder != incumbent && is_open(incumbent),
        (Some(holder), None) => (0..holder).any(is_open),
        (None, _) => (0..claims.len()).any(is_open),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a`: active, `5`: active with that epoch, `?`: undecided, `-`: not active.
    fn claims(text: &str) -> Vec<Claim> {
        text.chars()
            .map(|c| match c {
                '-' => Claim::None,
                '?' => Claim::Undecided,
                digit => Claim::Active { epoch: digit.to_digit(10).map(u64::from) },
            })
            .collect()
    }

    #[test]
    fn at_most_one_leads() {
        use TwoLeaders::{Keep, Newest, Refuse};
        // claims, incumbent, promoted, rule, holder
        let rows = [
            ("---", None, None, Keep, None),
            ("-a-", None, None, Keep, Some(1)),
            ("-a-", Some(0), None, Keep, Some(1)),
            ("-a-", Some(0), None, Refuse, Some(1)),
            ("aa-", Some(1), None, Keep, Some(1)),
            ("aa-", Some(2), None, Keep, Some(0)),
            ("aa-", None, None, Keep, Some(0)),
            ("aa-", Some(1), None, Refuse, None),
            ("aa-", Some(1), Some(1), Refuse, Some(1)),
            ("aa-", Some(1), Some(2), Refuse, None),
            ("aa-", Some(1), Some(0), Keep, Some(0)),
            ("-aa", Some(1), Some(0), Keep, Some(1)),
            ("-a-", Some(1), Some(0), Keep, Some(1)),
            ("45-", Some(0), None, Newest, Some(1)),
            ("54-", Some(1), None, Newest, Some(0)),
            ("55-", Some(1), None, Newest, Some(1)),
            ("5a-", Some(1), None, Newest, Some(1)),
            ("553", Some(1), None, Newest, Some(1)),
            ("545", None, None, Newest, Some(0)),
            ("5--", None, None, Newest, Some(0)),
        ];
        for (text, incumbent, promoted, rule, expected) in rows {
            let choice = choose(&claims(text), Past { incumbent, promoted }, rule);
            assert_eq!(choice.holder, expected, "{text} {incumbent:?} {promoted:?} {rule:?}");
            assert_eq!(choice.claimants.len(), text.chars().filter(|c| *c != '-').count());
        }
    }

    #[test]
    fn a_first_choice_knows_whom_it_should_hear() {
        let rows = [
            ("?a?", None, true),
            ("-a?", None, false),
            ("-a?", Some(2), true),
            ("?a-", Some(1), false),
            ("?a-", Some(2), false),
            ("?--", None, true),
            ("---", None, false),
        ];
        for (text, incumbent, expected) in rows {
            let choice = choose(&claims(text), Past { incumbent, promoted: None }, TwoLeaders::Keep);
            assert_eq!(choice.hasty, expected, "{text} {incumbent:?}");
        }
    }
}
