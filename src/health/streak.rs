//! What a row of results makes of one check: `rise` good ones in a row bring it up, `fall` bad ones take it down.
//!
//! A check of which nothing is known is decided by its first result, so that a start takes one probe and not `rise`.

use super::State;

/// The results of one check in a row, and what they make of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Streak {
    state: State,
    rise: u32,
    fall: u32,
    /// Results in a row that speak against `state`.
    against: u32,
}

/// One result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// The probe succeeded.
    Good,
    /// The probe failed.
    Bad,
}

impl Streak {
    /// Nothing seen yet; `initial` is up, down or unknown.
    pub fn new(rise: u32, fall: u32, initial: State) -> Self {
        Self { state: initial, rise: rise.max(1), fall: fall.max(1), against: 0 }
    }

    /// What another process has seen: it goes on from there.
    #[must_use]
    pub fn resumed(self, state: State, against: u32) -> Self {
        Self { state, against, ..self }
    }

    /// What the results make of the check.
    pub fn state(&self) -> State {
        self.state
    }

    /// Some results speak against the state, but not yet enough to flip it; or nothing is known.
    pub fn in_transition(&self) -> bool {
        self.against > 0 || self.state == State::Unknown
    }

    /// Results in a row that speak against the state.
    pub fn against(&self) -> u32 {
        self.against
    }

    /// How many results in a row against the state would flip it.
    pub fn needed(&self) -> u32 {
        match self.state {
            State::Up => self.fall,
            State::Unknown => 1,
            _ => self.rise,
        }
    }

    /// Takes one result; the new state when it flips the check.
    pub fn see(&mut self, sign: Sign) -> Option<State> {
        let (towards, needed) = match sign {
            Sign::Good => (State::Up, self.rise),
            Sign::Bad => (State::Down, self.fall),
        };
        if self.state == towards {
            self.against = 0;
            return None;
        }
        self.against += 1;
        if self.state == State::Unknown || self.against >= needed {
            return Some(self.flip(towards));
        }
        None
    }

    /// Takes the check down without waiting for `fall`: traffic and probe agree.
    pub fn condemn(&mut self) -> Option<State> {
        if self.state == State::Down {
            self.against = 0;
            return None;
        }
        Some(self.flip(State::Down))
    }

    /// A new configuration wants other numbers; what was seen stays.
    pub fn retune(&mut self, rise: u32, fall: u32) {
        self.rise = rise.max(1);
        self.fall = fall.max(1);
    }

    fn flip(&mut self, state: State) -> State {
        self.state = state;
        self.against = 0;
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(state: State) -> char {
        match state {
            State::Up => 'u',
            State::Down => 'd',
            _ => '?',
        }
    }

    #[test]
    fn streaks_flip_where_rise_and_fall_say() {
        // rise, fall, initial, results (+ and -), the state after each
        let rows: &[(u32, u32, State, &str, &str)] = &[
            (2, 3, State::Unknown, "+", "u"),
            (2, 3, State::Unknown, "-", "d"),
            (2, 3, State::Unknown, "-++", "ddu"),
            (2, 3, State::Unknown, "+---", "uuud"),
            (2, 3, State::Unknown, "+--+--+---", "uuuuuuuuud"),
            (2, 3, State::Unknown, "-+-++", "ddddu"),
            (2, 3, State::Up, "--", "uu"),
            (2, 3, State::Up, "---", "uud"),
            (2, 3, State::Down, "+", "d"),
            (2, 3, State::Down, "++", "du"),
            (1, 1, State::Up, "-+-", "dud"),
            (0, 0, State::Up, "-+", "du"),
        ];
        for (rise, fall, initial, results, expected) in rows {
            let mut streak = Streak::new(*rise, *fall, *initial);
            let mut seen = String::new();
            for result in results.chars() {
                let before = streak.state();
                let flip = streak.see(if result == '+' { Sign::Good } else { Sign::Bad });
                assert_eq!(flip, (before != streak.state()).then_some(streak.state()), "a flip is told once");
                seen.push(letter(streak.state()));
            }
            assert_eq!(&seen, expected, "rise {rise}, fall {fall}, {initial:?}, {results}");
        }
    }

    #[test]
    fn a_streak_is_in_transition_while_results_disagree_with_it() {
        let mut streak = Streak::new(2, 2, State::Unknown);
        assert!(streak.in_transition());
        streak.see(Sign::Good);
        assert!(!streak.in_transition());
        streak.see(Sign::Bad);
        assert!(streak.in_transition());
        streak.see(Sign::Bad);
        assert!(!streak.in_transition(), "it has flipped");
    }

    #[test]
    fn a_condemned_check_is_down_at_once_and_needs_the_whole_rise_again() {
        let mut streak = Streak::new(2, 5, State::Up);
        assert_eq!(streak.condemn(), Some(State::Down));
        assert_eq!(streak.condemn(), None);
        assert_eq!(streak.see(Sign::Good), None);
        assert_eq!(streak.condemn(), None);
        assert_eq!(streak.see(Sign::Good), None, "the row was broken");
        assert_eq!(streak.see(Sign::Good), Some(State::Up));
    }

    #[test]
    fn new_numbers_keep_what_was_seen() {
        let mut streak = Streak::new(2, 5, State::Up);
        streak.see(Sign::Bad);
        streak.see(Sign::Bad);
        streak.retune(2, 3);
        assert_eq!(streak.see(Sign::Bad), Some(State::Down));
    }
}
