//! Probes that evidence has brought, and that get no answer either: looked at before their time is over.
//!
//! Called by the runner. How long is suspicious follows from what the same question usually takes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::explanation::Kept;
use super::report::{Failure, Layer, Report};
use super::schedule::Runner;
use super::transcript::Transcript;
use crate::health::State;
use crate::health::agenda::{Asker, QuestionId};
use crate::health::judge::InARow;

/// No silence is suspicious before this.
const SILENCE: Duration = Duration::from_millis(300);
/// Nor before so many times what the answer took last time.
const USUAL: u32 = 4;

/// When to look at which question.
#[derive(Debug, Default)]
pub(super) struct Silences(VecDeque<(Duration, QuestionId)>);

impl Silences {
    /// The next time to look.
    pub(super) fn next(&self) -> Option<Duration> {
        self.0.iter().map(|(due, _)| *due).min()
    }

    fn take_due(&mut self, now: Duration) -> Vec<QuestionId> {
        let due = self.0.iter().filter(|(due, _)| *due <= now).map(|(_, id)| *id).collect();
        self.0.retain(|(due, _)| *due > now);
        due
    }

    fn add(&mut self, due: Duration, id: QuestionId) {
        // At most one for each question: evidence comes again and again.
        if !self.0.iter().any(|(_, known)| *known == id) {
            self.0.push_back((due, id));
        }
    }
}

impl Runner {
    /// Where evidence has brought this question, its silence is to be looked at: from when it is under way.
    pub(super) fn expect_answer(&mut self, id: QuestionId) {
        if !self.agenda.is_evidence(id) {
            return;
        }
        let (Some(since), Some(asked)) = (self.agenda.under_way_since(id), self.agenda.get(id)) else { return };
        let patience = self.patience(&asked.askers);
        if patience < asked.question.timeout {
            self.silences.add(since + patience, id);
        }
    }

    /// Looks at those whose time has come.
    pub(super) fn look_at_silences(&mut self, now: Duration) {
        for id in self.silences.take_due(now) {
            let (Some(since), Some(asked)) = (self.agenda.under_way_since(id), self.agenda.get(id)) else { continue };
            if since + self.patience(&asked.askers) > now {
                // It has been answered, and asked again.
                self.expect_answer(id);
                continue;
            }
            for asker in asked.askers.clone() {
                self.hold_silence_against(asker, now.saturating_sub(since));
            }
        }
    }

    fn patience(&self, askers: &[Asker]) -> Duration {
        let usual = askers.iter().filter_map(|asker| {
            let watch = self.watched.get(&asker.backend)?.checks.get(asker.check)?;
            Some(watch.last_good.as_ref()?.report.took)
        });
        usual.max().map_or(SILENCE, |usual| SILENCE.max(usual * USUAL))
    }

    fn hold_silence_against(&mut self, asker: Asker, silence: Duration) {
        let Some(watched) = self.watched.get(&asker.backend) else { return };
        let (pool, position) = (watched.pool, watched.position);
        let row = self.in_a_row(asker);
        let Some(judge) = self.judges.get_mut(pool) else { return };
        if !judge.silent((position, asker.check), row) {
            return;
        }
        let what = format!("no answer for {silence:.1?}, and it is waited for longer");
        let result = Err(Failure::new(Layer::Timeout, what));
        let report = Arc::new(Report { result, took: silence, transcript: Transcript::default() });
        let Some(watched) = self.watched.get_mut(&asker.backend) else { return };
        if let Some(watch) = watched.checks.get_mut(asker.check) {
            watch.keep(&Kept { at: Timestamp::now(), report: Arc::clone(&report) });
        }
        // Its own report is still to come, and is counted then.
        watched.show(asker.check, State::Down, &report);
        self.restless.push(pool);
    }

    /// What traffic says of a backend just now, or of those that take its verdict over.
    pub(super) fn in_a_row(&self, asker: Asker) -> InARow {
        let Some(watched) = self.watched.get(&asker.backend) else { return InARow::default() };
        let followers = self.followers.get(watched.pool).into_iter().flatten();
        let others = followers.filter_map(|pool| self.pools.get(*pool)?.backends.get(watched.position));
        others.fold(watched.backend.in_a_row(), |row, other| row.max(other.in_a_row()))
    }
}
