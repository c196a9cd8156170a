//! Who of those that are up gets which work.

use crate::health::{Role, Serves, Standing, State};

/// What is known of one backend when work is given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standpoint {
    pub(super) state: State,
    pub(super) role: Option<Role>,
    pub(super) standing: Standing,
}

impl Standpoint {
    pub(super) fn is_up(self) -> bool {
        self.state == State::Up
    }

    /// Up, and its checks do not say that another has the work.
    pub(super) fn may_work(self) -> bool {
        self.is_up() && self.role != Some(Role::Standby)
    }

    fn reads_only(self) -> bool {
        self.is_up() && self.role == Some(Role::Standby)
    }
}

/// `mode = "active-active"`: all that may work, backups only where no regular one does. Standbys get reads only, even
/// where nobody else is left: whoever writes to one would be refused.
pub(super) fn shared(field: &[Standpoint]) -> Vec<Serves> {
    let works = |standing: Standing| field.iter().any(|it| it.may_work() && it.standing == standing);
    let tier = if works(Standing::Regular) || !works(Standing::Backup) { Standing::Regular } else { Standing::Backup };
    let is_called = |it: &&Standpoint| it.standing == Standing::Regular || tier == Standing::Backup;
    let has_readers = field.iter().filter(is_called).any(|it| it.is_up() && is_reader(it.role));
    let serves = |it: &Standpoint| {
        if it.may_work() && it.standing == tier {
            if has_readers && it.role != Some(Role::Read) { Serves::Work } else { Serves::Both }
        } else if it.reads_only() && is_called(&it) {
            Serves::Reads
        } else {
            Serves::Nothing
        }
    };
    field.iter().map(serves).collect()
}

fn is_reader(role: Option<Role>) -> bool {
    matches!(role, Some(Role::Standby | Role::Read))
}

/// Who reads beside the one that has the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readers {
    /// Those whose checks say that they are standbys or replicas.
    ByRole,
    /// All that are up.
    All,
}

/// One backend has the work, and reads too where nobody else can.
pub(super) fn single(field: &[Standpoint], holder: Option<usize>, readers: Readers) -> Vec<Serves> {
    let reads = |at: usize, it: &Standpoint| {
        Some(at) != holder && it.is_up() && (readers == Readers::All || is_reader(it.role))
    };
    let has_readers = field.iter().enumerate().any(|(at, it)| reads(at, it));
    let serves = |(at, it): (usize, &Standpoint)| {
        if Some(at) == holder {
            if has_readers { Serves::Work } else { Serves::Both }
        } else if reads(at, it) {
            Serves::Reads
        } else {
            Serves::Nothing
        }
    };
    field.iter().enumerate().map(serves).collect()
}

/// Those among `allowed` that get work although all are down, in a pool that shares it: the regular ones, or the
/// backups where no regular one is allowed.
pub(super) fn in_need(field: &[Standpoint], allowed: &[usize]) -> Vec<usize> {
    let of = |standing: Standing| {
        let those = allowed.iter().copied().filter(move |at| field.get(*at).is_some_and(|it| it.standing == standing));
        those.collect::<Vec<_>>()
    };
    let regular = of(Standing::Regular);
    if regular.is_empty() { of(Standing::Backup) } else { regular }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `u` up, `a` up and active, `s` standby, `r` read, `-` down; capitals are backups.
    fn field(text: &str) -> Vec<Standpoint> {
        text.chars()
            .map(|c| Standpoint {
                state: if c == '-' { State::Down } else { State::Up },
                role: match c.to_ascii_lowercase() {
                    'a' => Some(Role::Active),
                    's' => Some(Role::Standby),
                    'r' => Some(Role::Read),
                    _ => None,
                },
                standing: if c.is_ascii_uppercase() { Standing::Backup } else { Standing::Regular },
            })
            .collect()
    }

    fn letters(serves: &[Serves]) -> String {
        let letter = |serves: &Serves| match serves {
            Serves::Nothing => '-',
            Serves::Work => 'w',
            Serves::Reads => 'r',
            Serves::Both => 'b',
        };
        serves.iter().map(letter).collect()
    }

    #[test]
    fn shared_work_goes_to_all_but_standbys_and_backups_that_are_not_needed() {
        let rows = [
            ("uu-", "bb-"),
            ("au", "bb"),
            ("us", "wr"),
            ("ur", "wb"),
            ("urs", "wbr"),
            ("ss", "rr"),
            ("uU", "b-"),
            ("-U", "-b"),
            ("sU", "rw"),
            ("uS", "b-"),
            ("-US", "-wr"),
            ("-S", "--"),
            ("---", "---"),
            ("", ""),
        ];
        for (text, expected) in rows {
            assert_eq!(letters(&shared(&field(text))), expected, "{text}");
        }
    }

    #[test]
    fn one_backend_has_the_work_and_others_read() {
        // field, holder, readers by role, all that are up
        let rows = [
            ("ass", Some(0), "wrr", "wrr"),
            ("a--", Some(0), "b--", "b--"),
            ("aa-", Some(1), "-b-", "rw-"),
            ("usr", None, "-rr", "rrr"),
            ("uu-", Some(1), "-b-", "rw-"),
            ("uU", Some(0), "b-", "wr"),
        ];
        for (text, holder, by_role, all) in rows {
            assert_eq!(letters(&single(&field(text), holder, Readers::ByRole)), by_role, "{text}");
            assert_eq!(letters(&single(&field(text), holder, Readers::All)), all, "{text}");
        }
    }

    #[test]
    fn in_need_regular_ones_come_first() {
        let mut field = field("uuUU");
        for it in &mut field {
            it.state = State::Down;
        }
        let rows: [(&[usize], &[usize]); 4] =
            [(&[0, 1, 2, 3], &[0, 1]), (&[1, 2], &[1]), (&[2, 3], &[2, 3]), (&[], &[])];
        for (allowed, expected) in rows {
            assert_eq!(in_need(&field, allowed), expected);
        }
    }
}
