//! `mode = "active-standby"`: the order of the list decides who has the work, and the policy who follows whom.

use std::time::Duration;

use super::leader::Past;
use crate::health::{Failback, Failover, Succession};

/// Whether one backend may have the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fitness {
    /// It may not.
    Unfit,
    /// It may not, by an operator's word.
    Demoted,
    /// Nothing is known of it yet.
    Undecided,
    /// It may, since then.
    Fit(Duration),
}

/// Who gets the work.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Choice {
    pub(super) holder: Option<usize>,
    /// An earlier one is well again and waits for an operator.
    pub(super) waiting: Option<usize>,
    /// An earlier one takes over then, if it stays well.
    pub(super) due: Option<Duration>,
    /// One of whom nothing is known yet could change this.
    pub(super) hasty: bool,
}

/// `order` is the list, best first.
pub(super) fn choose(fitness: &[Fitness], order: &[usize], past: Past, rules: Succession, now: Duration) -> Choice {
    let of = |at: usize| fitness.get(at).copied().unwrap_or(Fitness::Unfit);
    let is_fit = |at: &usize| matches!(of(*at), Fitness::Fit(_));
    if let Some(promoted) = past.promoted.filter(is_fit) {
        return Choice { holder: Some(promoted), ..Choice::default() };
    }
    if let Some(incumbent) = past.incumbent.filter(is_fit) {
        // What an operator has promoted waits for him to say otherwise, even while another has to stand in.
        return if past.promoted.is_some() {
            Choice { holder: Some(incumbent), ..Choice::default() }
        } else {
            fail_back(&of, order, incumbent, rules.failback, now)
        };
    }
    let fallen = past.incumbent.is_some_and(|incumbent| of(incumbent) == Fitness::Unfit);
    if fallen && rules.failover == Failover::Manual {
        return Choice::default();
    }
    let holder = order.iter().copied().find(is_fit);
    let before = order.iter().copied().take_while(|at| Some(*at) != holder);
    let hasty = before.chain(past.incumbent).any(|at| of(at) == Fitness::Undecided);
    Choice { holder, hasty, ..Choice::default() }
}

/// The incumbent is well; perhaps an earlier one is, too.
fn fail_back(
    of: &impl Fn(usize) -> Fitness,
    order: &[usize],
    incumbent: usize,
    rule: Failback,
    now: Duration,
) -> Choice {
    let earlier = order.iter().copied().take_while(|at| *at != incumbent);
    let well = earlier.filter_map(|at| match of(at) {
        Fitness::Fit(since) => Some((at, since)),
        _ => None,
    });
    let mut choice = Choice { holder: Some(incumbent), ..Choice::default() };
    for (at, since) in well {
        match rule {
            Failback::Never => {}
            Failback::Manual => choice.waiting = choice.waiting.or(Some(at)),
            Failback::AtOnce => return Choice { holder: Some(at), ..Choice::default() },
            Failback::After(wait) if since + wait <= now => {
                return Choice { holder: Some(at), due: choice.due, ..Choice::default() };
            }
            Failback::After(wait) => {
                choice.due = Some(choice.due.map_or(since + wait, |due| due.min(since + wait)));
            }
        }
    }
    choice
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000);

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// `+`: fit for long, a digit: fit for so many seconds, `-`: unfit, `x`: demoted, `?`: undecided.
    fn fitness(text: &str) -> Vec<Fitness> {
        text.chars()
            .map(|c| match c {
                '-' => Fitness::Unfit,
                'x' => Fitness::Demoted,
                '?' => Fitness::Undecided,
                '+' => Fitness::Fit(s(0)),
                digit => Fitness::Fit(NOW.saturating_sub(s(u64::from(digit.to_digit(10).unwrap())))),
            })
            .collect()
    }

    fn run(text: &str, past: (Option<usize>, Option<usize>), failover: Failover, failback: Failback) -> Choice {
        let past = Past { incumbent: past.0, promoted: past.1 };
        choose(&fitness(text), &[0, 1, 2], past, Succession { failover, failback }, NOW)
    }

    #[test]
    fn the_order_decides_and_failover_is_automatic_or_not() {
        use Failover::{Automatic, Manual};
        let rows = [
            ("+++", None, None, Automatic, Some(0)),
            ("-++", None, None, Manual, Some(1)),
            ("-++", Some(0), None, Automatic, Some(1)),
            ("-++", Some(0), None, Manual, None),
            ("x++", Some(0), None, Manual, Some(1)),
            ("-x+", Some(0), None, Automatic, Some(2)),
            ("---", Some(0), None, Automatic, None),
            ("+++", Some(1), None, Automatic, Some(1)),
            ("+++", Some(1), Some(2), Automatic, Some(2)),
            ("++-", Some(1), Some(2), Automatic, Some(1)),
            ("-+-", Some(0), Some(2), Manual, None),
            ("-+-", Some(0), Some(1), Manual, Some(1)),
        ];
        for (text, incumbent, promoted, failover, expected) in rows {
            let choice = run(text, (incumbent, promoted), failover, Failback::Never);
            assert_eq!(choice.holder, expected, "{text} {incumbent:?} {promoted:?} {failover:?}");
        }
    }

    #[test]
    fn an_earlier_one_takes_over_again_as_the_policy_says() {
        use Failback::{After, AtOnce, Manual, Never};
        // fitness, incumbent, rule; holder, waiting, due
        let rows = [
            ("+++", 1, Never, 1, None, None),
            ("+++", 1, Manual, 1, Some(0), None),
            ("-++", 1, Manual, 1, None, None),
            ("x++", 1, Manual, 1, None, None),
            ("+++", 2, Manual, 2, Some(0), None),
            ("+++", 1, AtOnce, 0, None, None),
            ("-++", 2, AtOnce, 1, None, None),
            ("+++", 0, AtOnce, 0, None, None),
            ("4++", 1, After(s(5)), 1, None, Some(NOW + s(1))),
            ("5++", 1, After(s(5)), 0, None, None),
            ("19+", 2, After(s(5)), 1, None, Some(NOW + s(4))),
            ("12+", 2, After(s(5)), 2, None, Some(NOW + s(3))),
            ("-++", 1, After(s(5)), 1, None, None),
        ];
        for (text, incumbent, rule, holder, waiting, due) in rows {
            let choice = run(text, (Some(incumbent), None), Failover::Automatic, rule);
            assert_eq!(
                choice,
                Choice { holder: Some(holder), waiting, due, hasty: false },
                "{text} {incumbent} {rule:?}"
            );
        }
        let pinned = run("+++", (Some(1), Some(1)), Failover::Automatic, AtOnce);
        assert_eq!(pinned.holder, Some(1), "an operator's word stands above failback");
        let standing_in = run("++-", (Some(1), Some(2)), Failover::Automatic, AtOnce);
        assert_eq!(standing_in.holder, Some(1));
    }

    #[test]
    fn a_first_choice_knows_whom_it_should_hear() {
        let rows = [
            ("?+-", None, true),
            ("-+?", None, false),
            ("-+?", Some(2), true),
            ("?--", None, true),
            ("?+-", Some(1), false),
        ];
        for (text, incumbent, expected) in rows {
            let choice = run(text, (incumbent, None), Failover::Automatic, Failback::Never);
            assert_eq!(choice.hasty, expected, "{text} {incumbent:?}");
        }
    }
}
