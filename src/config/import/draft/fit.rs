//! Takes out of what was written what our own reading refuses, and notes it as lost: a peer allows values that we do
//! not, and whoever imports a file wants one that loads.

use super::write::{self, Line, Part};
use super::{At, Draft};
use crate::config::{Source, load};

/// Rounds of reading: each takes out at least one line.
const ROUNDS_MAX: usize = 20;

/// Faults that are not the file's: what it names is not on this machine.
const ELSEWHERE: &[&str] = &["unreadable-file"];

pub(super) fn fit(draft: &mut Draft, lines: &mut Vec<Line>) {
    for _ in 0..ROUNDS_MAX {
        let text = write::text(lines);
        let Err(problems) = load(&Source::text(text)) else { return };
        let mut wrong: Vec<(usize, String)> = (problems.report().iter())
            .filter(|problem| problem.severity == "error" && !ELSEWHERE.contains(&problem.code))
            .filter_map(|problem| Some((problem.line?, problem.message.clone())))
            .collect();
        wrong.sort();
        wrong.dedup_by_key(|(line, _)| *line);
        let before = lines.len();
        for (line, why) in wrong.iter().rev() {
            take_out(draft, lines, line.saturating_sub(1), why);
        }
        if lines.len() == before {
            return;
        }
    }
}

fn take_out(draft: &mut Draft, lines: &mut Vec<Line>, index: usize, why: &str) {
    let Some(line) = lines.get(index).cloned() else { return };
    let why = format!("Evenkeel would refuse it: {why}");
    match line.part {
        Part::Frame => {}
        Part::Key => {
            draft.lose(line.at, line.text.trim(), why);
            lines.remove(index);
        }
        // A listener or a pool cannot be taken out alone: others name it.
        Part::Head if line.text.matches('.').count() < 2 && line.at != At::default() => {}
        Part::Head => {
            draft.lose(line.at, line.text.trim(), why);
            lines.retain(|other| other.table != line.table || other.part == Part::Frame);
        }
    }
}
