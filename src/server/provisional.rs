//! Wishes for another configuration, and the change that is taken back by itself unless somebody confirms it.
//!
//! While one waits for its confirmation nothing else changes: not by a command, not by a signal, not by a file, and no
//! other process takes over, which would know of no change. Taking it back reads nothing: what was in force is kept as it
//! was, so that it is the same to the last byte. A program that starts anew reads its files, as always: what was sent has
//! never been in them.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::Loader;
use super::control::Control;
use super::reload::{Cause, TakingBack, reload, written};
use crate::config::model::Config;
use crate::control::counted::counted;
use crate::control::guard::{Baseline, Guarded};
use crate::control::history::Generation;
use crate::control::in_force::{Awaiting, TakenBack};
use crate::control::plan::Masks;
use crate::control::{Done, Terms, Unchanged, Wanted, Who, written_at};
use crate::pool::events::{Event, EventKind};

/// How often live numbers are looked at while a change waits.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// What cannot be taken back, such as for want of an address, is tried again after this long.
const TRY_AGAIN: Duration = Duration::from_secs(2);
/// How often traffic is counted where nothing waits, for the measure of before.
const COUNT_EVERY: Duration = Duration::from_secs(5);

/// What control remembers for the sake of changes.
pub(super) struct Changes {
    /// What its clock counts from.
    began: Instant,
    baseline: Baseline,
    counted_at: Duration,
    waiting: Option<Provisional>,
}

/// A change that is taken back unless it is confirmed.
struct Provisional {
    generation: u64,
    until: Instant,
    /// When it is looked after.
    due: Instant,
    /// Why it is taken back, where that has been tried and did not work.
    over: Option<String>,
    guarded: Option<Guarded>,
    before: Before,
    /// For whoever wants something else meanwhile.
    sentence: String,
}

/// What was in force before a change, as it was.
#[derive(Clone)]
pub(super) struct Before {
    pub(super) config: Arc<Config>,
    pub(super) generation: Generation,
    pub(super) masks: Masks,
    pub(super) layer: Layer,
}

/// Where that came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layer {
    Files,
    Above,
}

impl Default for Changes {
    fn default() -> Self {
        Self { began: Instant::now(), baseline: Baseline::default(), counted_at: Duration::ZERO, waiting: None }
    }
}

impl Control {
    /// Does what somebody wishes, if that can be now.
    pub(super) async fn grant(
        &mut self,
        read: &Loader,
        wanted: Wanted,
        who: Who,
        only_over: Option<Vec<String>>,
    ) -> Result<Done, Unchanged> {
        let hash = self.life.in_force().hash().to_owned();
        if only_over.is_some_and(|hashes| !hashes.contains(&hash)) {
            return Err(Unchanged::Stale(format!("something else is in force by now, with the hash {hash}")));
        }
        match (wanted, self.waits()) {
            (Wanted::Confirmed, _) => self.confirm(&who),
            (Wanted::TakenBack, Some(_)) => {
                let by = who.owner.as_ref().map(|owner| format!(" by {owner}")).unwrap_or_default();
                self.take_back(format!("wanted{by}"), who).await
            }
            (Wanted::TakenBack, None) => Err(nothing_waits()),
            (_, Some(sentence)) => Err(Unchanged::Conflict(sentence)),
            (Wanted::Saved, None) => self.save(read, who).await,
            (Wanted::Files, None) => reload(self, read, Cause::Command(who)).await,
            (Wanted::Generation(number), None) => reload(self, read, Cause::Rollback(number, who)).await,
            (Wanted::Sent(text, terms), None) => self.apply(read, Cause::Sent(text, who), terms).await,
        }
    }

    /// The same for a signal or a file, whose outcome is told in the log only.
    pub(super) async fn follow_files(&mut self, read: &Loader, cause: Cause) {
        match self.waits() {
            None => {
                // The outcome has been logged.
                let _ = reload(self, read, cause).await;
            }
            Some(sentence) => {
                tracing::error!("the configuration is not read: {sentence}");
                self.tell(EventKind::ReloadRefused, sentence);
            }
        }
    }

    /// Where a change waits for its confirmation, the sentence for whoever wants something else meanwhile.
    pub(super) fn waits(&self) -> Option<String> {
        self.changes.waiting.as_ref().map(|waiting| waiting.sentence.clone())
    }

    /// Whether nothing changes now but by a confirmation or its absence.
    pub(super) fn is_waiting(&self) -> bool {
        self.changes.waiting.is_some()
    }

    async fn apply(&mut self, read: &Loader, cause: Cause, terms: Terms) -> Result<Done, Unchanged> {
        let Terms::Unless(time, guard) = terms else { return reload(self, read, cause).await };
        let (before, counts) = (self.before()?, counted(&self.published.load()));
        let guarded = guard.map(|guard| Guarded::new(guard, &self.changes.baseline, counts, self.changes.now()));
        let owner = cause.owner();
        let mut done = reload(self, read, cause).await?;
        let (now, until) = (Instant::now(), Timestamp::now() + time);
        let awaiting = Awaiting {
            generation: done.generation,
            before: before.generation.number,
            until,
            guard: guarded.as_ref().map(|it| it.guard().to_string().into()),
            owner: owner.clone(),
        };
        let by = owner.map(|owner| format!(", by {owner},")).unwrap_or_default();
        let at = written_at(until);
        let sentence = format!(
            "generation {}{by} waits for its confirmation until {at}: first `evenkeel confirm` it, or `evenkeel take-back`",
            done.generation
        );
        self.life.note(|it| it.awaiting = Some(awaiting));
        let (until, due) = (now + time, now + LOOK_EVERY.min(time));
        let generation = done.generation;
        self.changes.waiting = Some(Provisional { generation, until, due, over: None, guarded, before, sentence });
        // Writing to a text cannot fail.
        let _ = write!(done.message, "; it is taken back at {at} unless it is confirmed (evenkeel confirm)");
        Ok(done)
    }

    /// What is in force, as it is.
    fn before(&self) -> Result<Before, Unchanged> {
        let in_force = self.life.in_force();
        let layer = if in_force.above.is_some() { Layer::Above } else { Layer::Files };
        let number = in_force.generation().map_or(0, |generation| generation.number);
        let generation = self.history.find(number).or_else(|| in_force.generation().cloned());
        let generation = generation.ok_or_else(|| Unchanged::Conflict("nothing is in force yet".to_owned()))?;
        let config = Arc::clone(&self.published.load().config);
        Ok(Before { config, generation, masks: self.history.masks(), layer })
    }

    fn confirm(&mut self, who: &Who) -> Result<Done, Unchanged> {
        let waiting = self.changes.waiting.take().ok_or_else(nothing_waits)?;
        self.life.note(|it| it.awaiting = None);
        let by = who.owner.as_ref().map(|owner| format!(" by {owner}")).unwrap_or_default();
        let message = format!("generation {} is confirmed{by}", waiting.generation);
        tracing::info!("{message}");
        self.tell(EventKind::Confirmed, message.clone());
        let message =
            format!("{message}; the files are as they were, and the next reload or start takes what they say");
        Ok(Done { message, generation: waiting.generation, hash: self.life.in_force().hash().to_owned() })
    }

    /// Puts back in force what was before.
    async fn take_back(&mut self, why: String, who: Who) -> Result<Done, Unchanged> {
        let mut waiting = self.changes.waiting.take().ok_or_else(nothing_waits)?;
        let (of, before) = (waiting.generation, waiting.before.clone());
        let loader = before.generation.written.clone().map(written);
        let cause = Cause::TakingBack(Box::new(TakingBack { of, why: why.clone(), who, before }));
        // What it says is in memory; nothing is read.
        let nothing: Loader = Arc::new(|| Err("there is nothing to read".to_owned()));
        match reload(self, &nothing, cause).await {
            Ok(done) => {
                // Certificates go by what is in force, which the files may not say.
                self.set_in_force(loader);
                self.life.note(|it| {
                    it.awaiting = None;
                    it.taken_back = Some(TakenBack { generation: of, at: Timestamp::now(), why });
                });
                Ok(done)
            }
            Err(unchanged) => {
                waiting.due = Instant::now() + TRY_AGAIN;
                waiting.over = Some(why);
                self.changes.waiting = Some(waiting);
                Err(unchanged)
            }
        }
    }

    /// When a change that waits is to be looked after; `None`: none waits.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.changes.waiting.as_ref().map(|waiting| waiting.due)
    }

    /// Looks after the change that waits: whether its time is over, or its guard does not hold.
    pub(super) async fn look_after_change(&mut self) {
        let (now, since) = (Instant::now(), self.changes.now());
        let table = self.published.load();
        let Some(waiting) = &mut self.changes.waiting else { return };
        let why = match (&waiting.over, &mut waiting.guarded) {
            (Some(why), _) => Some(why.clone()),
            (None, _) if now >= waiting.until => Some("nobody has confirmed it in time".to_owned()),
            (None, None) => None,
            (None, Some(guarded)) => {
                guarded.look(since, counted(&table)).err().map(|why| format!("its guard does not hold: {why}"))
            }
        };
        let Some(why) = why else {
            waiting.due = (now + LOOK_EVERY).min(waiting.until);
            return;
        };
        // The outcome has been logged; what did not work is tried again.
        let _ = self.take_back(why, Who::default()).await;
    }

    /// Counts traffic, when it is time.
    pub(super) fn count(&mut self) {
        let now = self.changes.now();
        if now.saturating_sub(self.changes.counted_at) >= COUNT_EVERY && !self.is_waiting() {
            self.changes.counted_at = now;
            self.changes.baseline.add(now, counted(&self.published.load()));
        }
    }

    fn tell(&self, kind: EventKind, message: String) {
        self.events.add(Event { at: Timestamp::now(), pool: None, backend: None, kind, message });
    }
}

impl Changes {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

fn nothing_waits() -> Unchanged {
    Unchanged::Conflict("nothing waits for a confirmation".to_owned())
}
