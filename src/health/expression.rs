//! `healthy_when`: an expression over the names of checks, decided in three values.
//!
//! Kleene's logic: a check of which nothing is known yet makes the whole undecided only where it could still matter,
//! so a backend is up or down as early as its checks allow.

use super::State;

/// An expression over checks, which it names by their position in the pool's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// One check.
    Check(usize),
    /// All of them; an empty list is up.
    All(Vec<Expression>),
    /// At least so many of them.
    AtLeast(usize, Vec<Expression>),
    /// The opposite.
    Not(Box<Expression>),
}

impl Expression {
    /// The default: all of `count` checks.
    pub fn all_of(count: usize) -> Self {
        Self::All((0..count).map(Self::Check).collect())
    }

    /// What it says when check `i` is in `state(i)`: up, down, or unknown while that cannot be decided.
    pub fn eval(&self, state: &impl Fn(usize) -> State) -> State {
        match self {
            Self::Check(check) => match state(*check) {
                known @ (State::Up | State::Down) => known,
                _ => State::Unknown,
            },
            Self::All(parts) => at_least(parts.len(), parts, state),
            Self::AtLeast(count, parts) => at_least(*count, parts, state),
            Self::Not(part) => match part.eval(state) {
                State::Up => State::Down,
                State::Down => State::Up,
                other => other,
            },
        }
    }

    /// The checks that make it what it is: those that would have to change for it to change.
    pub fn blame(&self, state: &impl Fn(usize) -> State) -> Vec<usize> {
        let mut blamed = Vec::new();
        self.collect_blame(self.eval(state), state, &mut blamed);
        blamed.sort_unstable();
        blamed.dedup();
        blamed
    }

    fn collect_blame(&self, is: State, state: &impl Fn(usize) -> State, blamed: &mut Vec<usize>) {
        match self {
            Self::Check(check) => blamed.push(*check),
            Self::Not(part) => part.collect_blame(part.eval(state), state, blamed),
            Self::All(parts) | Self::AtLeast(_, parts) => {
                let alike = parts.iter().filter(|part| part.eval(state) == is);
                alike.for_each(|part| part.collect_blame(is, state, blamed));
            }
        }
    }
}

fn at_least(count: usize, parts: &[Expression], state: &impl Fn(usize) -> State) -> State {
    let mut up = 0;
    let mut undecided = 0;
    for part in parts {
        match part.eval(state) {
            State::Up => up += 1,
            State::Down => {}
            _ => undecided += 1,
        }
    }
    if up >= count {
        State::Up
    } else if up + undecided < count {
        State::Down
    } else {
        State::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(text: &str) -> Vec<State> {
        text.chars()
            .map(|c| {
                if c == 'u' {
                    State::Up
                } else if c == 'd' {
                    State::Down
                } else {
                    State::Unknown
                }
            })
            .collect()
    }

    fn either(parts: Vec<Expression>) -> Expression {
        Expression::AtLeast(1, parts)
    }

    #[test]
    fn expressions_are_decided_as_early_as_their_checks_allow() {
        let check = Expression::Check;
        let two_of_three = Expression::AtLeast(2, vec![check(0), check(1), check(2)]);
        let not_first = Expression::Not(Box::new(check(0)));
        let mixed = Expression::All(vec![check(0), either(vec![check(1), Expression::Not(Box::new(check(2)))])]);
        let rows: &[(&Expression, &str, State)] = &[
            (&Expression::all_of(0), "", State::Up),
            (&either(vec![]), "", State::Down),
            (&Expression::AtLeast(0, vec![check(0)]), "d", State::Up),
            (&Expression::all_of(1), "?", State::Unknown),
            (&Expression::all_of(2), "uu", State::Up),
            (&Expression::all_of(2), "u?", State::Unknown),
            (&Expression::all_of(2), "?d", State::Down),
            (&either(vec![check(0), check(1)]), "?u", State::Up),
            (&either(vec![check(0), check(1)]), "?d", State::Unknown),
            (&either(vec![check(0), check(1)]), "dd", State::Down),
            (&two_of_three, "u?u", State::Up),
            (&two_of_three, "u?d", State::Unknown),
            (&two_of_three, "d?d", State::Down),
            (&two_of_three, "?d?", State::Unknown),
            (&not_first, "u", State::Down),
            (&not_first, "d", State::Up),
            (&not_first, "?", State::Unknown),
            (&mixed, "ud?", State::Unknown),
            (&mixed, "udd", State::Up),
            (&mixed, "udu", State::Down),
            (&mixed, "d??", State::Down),
            (&mixed, "uu?", State::Up),
        ];
        for (expression, checks, expected) in rows {
            let checks_now = states(checks);
            assert_eq!(expression.eval(&|i| checks_now[i]), *expected, "{expression:?} over {checks}");
        }
    }

    #[test]
    fn blamed_are_the_checks_that_matter_and_no_others() {
        let check = Expression::Check;
        let not = |part| Expression::Not(Box::new(part));
        let mixed = Expression::All(vec![check(0), either(vec![check(1), not(check(2))])]);
        let two_of_three = Expression::AtLeast(2, vec![check(0), check(1), check(2)]);
        let rows: &[(&Expression, &str, &[usize])] = &[
            (&mixed, "udu", &[1, 2]),
            (&mixed, "ddd", &[0]),
            (&mixed, "duu", &[0]),
            (&mixed, "uud", &[0, 1, 2]),
            (&mixed, "u?u", &[1]),
            (&two_of_three, "udd", &[1, 2]),
            (&two_of_three, "uud", &[0, 1]),
            (&not(two_of_three.clone()), "uud", &[0, 1]),
            (&Expression::all_of(0), "", &[]),
        ];
        for (expression, checks, expected) in rows {
            let checks_now = states(checks);
            assert_eq!(expression.blame(&|i| checks_now[i]), *expected, "{expression:?} over {checks}");
        }
    }

    #[test]
    fn what_is_decided_stays_so_whatever_the_unknown_turn_out_to_be() {
        let check = Expression::Check;
        let expression = Expression::AtLeast(
            2,
            vec![Expression::Not(Box::new(check(0))), Expression::all_of(2), either(vec![check(1), check(2)])],
        );
        let values = [State::Unknown, State::Up, State::Down];
        for code in 0..27 {
            let given = [values[code % 3], values[code / 3 % 3], values[code / 9]];
            let decided = expression.eval(&|i| given[i]);
            if decided == State::Unknown {
                continue;
            }
            for bits in 0..8 {
                let known = |i: usize| if given[i] == State::Unknown { values[1 + (bits >> i & 1)] } else { given[i] };
                assert_eq!(expression.eval(&known), decided, "{given:?} completed by {bits:03b}");
            }
        }
    }
}
