//! Records of changes: what each reload, apply, rollback and upgrade that took effect meant for connections.
//!
//! `server` writes them: what is known when the change takes effect at once, and the rest as what drains comes to its end.
//! Kept beside the state file, in one file that is written whole; without one in memory.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::handover::Ending;
use super::state_file::{StateFile, write_whole};

/// So many are kept.
pub const MAX_RECORDS: usize = 50;
/// A longer file is none of ours.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// The form of the file.
const VERSION: u64 = 1;

/// What one change meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Record {
    /// The generation that it led to.
    pub generation: u64,
    /// The one before it.
    pub before: u64,
    /// When it took effect.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Why: `SIGHUP`, `command`, `watch`, `apply`, `rollback to 3`, `taking back 7`, `save`, `upgrade`.
    pub why: String,
    /// Who wanted it, as far as that was said.
    pub owner: Option<String>,
    /// What was said of it.
    pub reason: String,
    /// How long it took, from the wish to its effect, microseconds.
    pub took_micros: u64,
    /// What became of addresses.
    pub sockets: Sockets,
    /// What became of connections of clients.
    pub connections: Connections,
    /// Work that was under way at backends that are gone.
    pub work: Drained,
    /// Connections accepted around it.
    pub accepted: Accepted,
    /// How far it is.
    pub state: State,
    /// When the last of what drained had ended, milliseconds after the change.
    pub drained_after_ms: Option<u64>,
}

/// Addresses that listeners accept on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Sockets {
    /// Accepted on before and after.
    pub kept: u64,
    /// Bound anew.
    pub opened: u64,
    /// Given up.
    pub closed: u64,
    /// Taken over from the process before.
    pub handed_over: u64,
}

/// Connections of clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Connections {
    /// Open when it took effect.
    pub open: u64,
    /// Of these, those that go on as if nothing had happened.
    pub kept: u64,
    /// Of these, those that end after what they are at, or did.
    pub draining: u64,
    /// Of these, those that have.
    pub drained: u64,
    /// Of these, those that were cut because their time was over.
    pub cut: u64,
}

/// What ends after what it is at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Drained {
    /// So much was to.
    pub draining: u64,
    /// So much has.
    pub drained: u64,
}

/// Connections accepted in the seconds before a change and after it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Accepted {
    /// Before.
    pub before: u64,
    /// In so many seconds.
    pub before_seconds: u64,
    /// After; nothing where these seconds are not over, or the process has ended before.
    pub after: Option<u64>,
    /// In so many seconds.
    pub after_seconds: u64,
}

/// How far a change is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Something drains, or is counted.
    Draining,
    /// Everything has come to its end.
    Done,
    /// Nobody has counted to the end: the process has ended before.
    #[default]
    Unknown,
}

/// All that are kept.
#[derive(Debug, Default)]
pub struct Records {
    file: Option<PathBuf>,
    kept: Mutex<VecDeque<Record>>,
    /// One write at a time: they share the file that is renamed.
    writing: Mutex<()>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u64,
    changes: VecDeque<Record>,
}

impl Records {
    /// What is kept beside this file; without one, nothing yet.
    pub fn open(beside: Option<&StateFile>) -> Self {
        let Some(beside) = beside else { return Self::default() };
        let file = file_beside(beside);
        let records = Self { file: Some(file.clone()), ..Self::default() };
        match read(&file) {
            Ok(changes) => records.take_up(changes.into()),
            Err(why) => {
                tracing::warn!(path = %file.display(), %why, "records of earlier changes cannot be read");
            }
        }
        records
    }

    /// All of them, oldest first.
    pub fn list(&self) -> Vec<Record> {
        self.kept().iter().cloned().collect()
    }

    /// All of them, for another process; none where they stand on a disk.
    pub fn in_memory(&self) -> Vec<Record> {
        if self.file.is_some() { Vec::new() } else { self.list() }
    }

    /// Goes on by what another process has kept. Nobody counts what it has not finished.
    pub fn take_up(&self, records: Vec<Record>) {
        let mut kept = self.kept();
        kept.extend(records.into_iter().map(|record| match record.state {
            State::Draining => Record { state: State::Unknown, ..record },
            _ => record,
        }));
        let surplus = kept.len().saturating_sub(MAX_RECORDS);
        kept.drain(..surplus);
    }

    /// One more. [`Records::save`] puts it on the disk.
    pub fn add(&self, record: Record) {
        let mut kept = self.kept();
        kept.push_back(record);
        if kept.len() > MAX_RECORDS {
            kept.pop_front();
        }
    }

    /// Says more of the change that led to this generation, where it is kept.
    pub fn amend(&self, generation: u64, change: impl FnOnce(&mut Record)) {
        if let Some(record) = self.kept().iter_mut().rev().find(|record| record.generation == generation) {
            change(record);
        }
    }

    /// What a process that has handed over says of its end; whether it is the last that it says.
    pub fn ends(&self, ending: &Ending) -> bool {
        let mut kept = self.kept();
        let found = kept.iter_mut().rev().find(|it| it.why == UPGRADE && it.before == ending.generation);
        let Some(record) = found else { return false };
        let gone = record.connections.draining.saturating_sub(u64::from(ending.open));
        record.connections.cut = u64::from(ending.cut);
        record.connections.drained = gone.saturating_sub(record.connections.cut);
        record.state = if ending.ended { State::Done } else { State::Draining };
        if ending.open == 0 && record.drained_after_ms.is_none() {
            let after = Timestamp::now().duration_since(record.at).as_millis();
            record.drained_after_ms = Some(u64::try_from(after).unwrap_or(0));
        }
        ending.ended
    }

    /// The process with this last generation, which has handed over, has gone without a last word.
    pub fn lost(&self, generation: u64) {
        let mut kept = self.kept();
        let found = kept.iter_mut().rev().find(|it| it.why == UPGRADE && it.before == generation);
        if let Some(record) = found.filter(|record| record.state == State::Draining) {
            record.state = State::Unknown;
        }
    }

    /// Puts them on the disk, where there is a place for them. Blocks.
    pub fn save(&self) {
        let Some(file) = &self.file else { return };
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let stored = Stored { version: VERSION, changes: self.kept().clone() };
        let bytes = serde_json::to_vec_pretty(&stored).map_err(std::io::Error::from);
        if let Err(error) = bytes.and_then(|bytes| write_whole(file, &bytes)) {
            tracing::error!(path = %file.display(), %error, "the record of this change is in memory only");
        }
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Record>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The file that belongs to a state file.
pub fn file_beside(state: &StateFile) -> PathBuf {
    state.path().with_extension("changes.json")
}

/// Why a record is one of an upgrade.
pub const UPGRADE: &str = "upgrade";

fn read(file: &Path) -> Result<VecDeque<Record>, String> {
    let about = match fs::symlink_metadata(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(VecDeque::new()),
        about => about.map_err(|error| error.to_string())?,
    };
    if !about.is_file() || about.len() > MAX_FILE_BYTES {
        return Err("it is no plain file of a bearable length".to_owned());
    }
    let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
    let stored: Stored = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    if stored.version == VERSION { Ok(stored.changes) } else { Err(format!("its version is {}", stored.version)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::state_file::place;

    fn record(generation: u64, state: State) -> Record {
        Record { generation, before: generation - 1, why: "command".into(), state, ..Record::default() }
    }

    #[test]
    fn records_are_found_after_a_restart_and_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let at = place(Some(&folder.path().join("state.json")), None);
        let records = Records::open(at.as_ref());
        (2..=60).for_each(|number| records.add(record(number, State::Done)));
        records.add(record(61, State::Draining));
        records.amend(60, |record| record.connections.kept = 7);
        records.save();
        let again = Records::open(at.as_ref()).list();
        assert_eq!((again.len(), again[0].generation), (MAX_RECORDS, 12));
        assert_eq!((again[49].state, again[48].connections.kept), (State::Unknown, 7), "nobody has counted to the end");
        fs::write(folder.path().join("state.changes.json"), "{").unwrap();
        assert_eq!(Records::open(at.as_ref()).list(), [], "a broken one is in nobody's way");
    }

    #[test]
    fn the_end_of_the_process_before_is_part_of_its_upgrade() {
        let records = Records::default();
        let connections = Connections { open: 9, draining: 9, ..Connections::default() };
        let state = State::Draining;
        records.add(Record {
            generation: 5,
            before: 4,
            why: UPGRADE.into(),
            at: Timestamp::now(),
            connections,
            state,
            ..Record::default()
        });
        records.add(record(6, State::Done));
        let ending = |open, cut, ended| Ending { generation: 4, open, cut, ended, ..Ending::default() };
        assert!(!records.ends(&ending(3, 0, false)));
        assert_eq!((records.list()[0].connections.drained, records.list()[0].state), (6, State::Draining));
        assert!(records.ends(&ending(0, 2, true)));
        let found = &records.list()[0];
        assert_eq!((found.connections.drained, found.connections.cut, found.state), (7, 2, State::Done));
        assert!(found.drained_after_ms.is_some());
        records.lost(4);
        assert_eq!(records.list()[0].state, State::Done, "it had said its last word");
        assert!(!records.ends(&ending(1, 0, false)));
        records.lost(4);
        assert_eq!(records.list()[0].state, State::Unknown);
        assert!(!records.ends(&Ending { generation: 9, ended: true, ..Ending::default() }), "of nobody here");
    }
}
