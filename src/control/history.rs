//! Generations: every configuration that took effect, numbered and hashed, with its texts as they are written.
//!
//! Kept beside the state file, one file each, written whole and for its owner's eyes only; without a state file in
//! memory. `server` records, `admin` shows. What has been kept is never in the way: a file that cannot be read is told of
//! and passed over, and a write that fails leaves the generation in memory.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File};
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::plan::Masks;
use super::state_file::{StateFile, write_whole};
use crate::config::Written;

/// So many are kept.
pub const MAX_GENERATIONS: usize = 50;
/// Texts that are kept in memory where there is no folder, bytes.
const MAX_MEMORY_BYTES: usize = 32 * 1024 * 1024;
/// A longer file is none of ours.
const MAX_FILE_BYTES: u64 = 256 * 1024 * 1024;
/// The form of the files.
const VERSION: u64 = 1;

/// One configuration that took effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Its number; goes on over restarts where there is a state file.
    pub number: u64,
    /// SHA-256 of all that it says, secrets included, in hexadecimal digits.
    pub hash: String,
    /// When it took effect.
    pub at: Timestamp,
    /// Why: `start`, `SIGHUP`, `command`, `watch`, `rollback to 3`, `apply`, `taking back 7`.
    pub why: String,
    /// Who wanted it, as far as that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What whoever wanted it said of it; empty: nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The texts; absent where it comes from a command line, or is kept no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<Written>,
}

impl Generation {
    /// Without its texts.
    #[must_use]
    pub fn bare(&self) -> Self {
        let Self { number, hash, at, why, owner, reason, .. } = self;
        let (hash, why, owner, reason) = (hash.clone(), why.clone(), owner.clone(), reason.clone());
        Self { number: *number, hash, at: *at, why, owner, reason, written: None }
    }
}

/// A file of the folder.
#[derive(Serialize, Deserialize)]
struct Stored {
    version: u64,
    #[serde(flatten)]
    generation: Generation,
}

/// All that are kept.
#[derive(Debug, Default)]
pub struct History {
    folder: Option<PathBuf>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Oldest first; without texts where there is a folder that holds them.
    generations: VecDeque<Generation>,
    masks: Masks,
}

impl History {
    /// What is kept beside this file; without one, nothing yet.
    pub fn open(beside: Option<&StateFile>) -> Self {
        let Some(beside) = beside else { return Self::default() };
        let folder = folder_beside(beside);
        let mut generations = read_all(&folder);
        while generations.len() > MAX_GENERATIONS {
            generations.pop_front();
        }
        Self { folder: Some(folder), kept: Mutex::new(Kept { generations, masks: Masks::default() }) }
    }

    /// Where they are kept; `None`: in memory only.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// The number of the newest; 0 before the first.
    pub fn last(&self) -> u64 {
        self.kept().generations.back().map_or(0, |last| last.number)
    }

    /// All of them without their texts, oldest first.
    pub fn list(&self) -> Vec<Generation> {
        self.kept().generations.iter().map(Generation::bare).collect()
    }

    /// One of them, with its texts where they are kept.
    pub fn find(&self, number: u64) -> Option<Generation> {
        let found = self.kept().generations.iter().find(|it| it.number == number).cloned()?;
        match &self.folder {
            Some(folder) if found.written.is_none() => Some(read(&file(folder, number)).unwrap_or(found)),
            _ => Some(found),
        }
    }

    /// All of them with the texts that are kept in memory, for another process; none where they stand on a disk.
    pub fn in_memory(&self) -> Vec<Generation> {
        if self.folder.is_some() { Vec::new() } else { self.kept().generations.iter().cloned().collect() }
    }

    /// Goes on by what another process has kept in memory.
    pub fn take_up(&self, mut generations: Vec<Generation>) {
        let mut kept = self.kept();
        let last = kept.generations.back().map_or(0, |last| last.number);
        generations.retain(|it| it.number > last);
        generations.sort_by_key(|it| it.number);
        kept.generations.extend(generations);
        // Nothing of it stands on a disk.
        drop(kept.prune());
    }

    /// What must not be shown of the generation in force.
    pub fn masks(&self) -> Masks {
        self.kept().masks.clone()
    }

    /// Keeps what took effect. Writes to the disk, where there is a folder.
    pub fn record(&self, generation: Generation, masks: Masks) {
        let stored = self.folder.as_deref().is_some_and(|folder| match write(folder, &generation) {
            Ok(()) => true,
            Err(error) => {
                let folder = folder.display();
                tracing::error!(%folder, %error, "this generation cannot be kept on disk; it is kept in memory");
                false
            }
        });
        let leaving = {
            let mut kept = self.kept();
            kept.masks = masks;
            let written = generation.written.clone().filter(|_| !stored);
            kept.generations.push_back(Generation { written, ..generation });
            kept.prune()
        };
        for number in leaving {
            if let Some(folder) = &self.folder {
                // It may have been in memory only.
                let _ = fs::remove_file(file(folder, number));
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Lets go of what is too much: first of those that the next one only repeats, then of the oldest. Gives their numbers.
    fn prune(&mut self) -> Vec<u64> {
        let mut leaving = Vec::new();
        while self.generations.len() > MAX_GENERATIONS {
            let repeated = (1..self.generations.len()).find(|at| {
                let (one, next) = (&self.generations[at - 1], &self.generations[*at]);
                one.hash == next.hash
            });
            leaving.extend(self.generations.remove(repeated.map_or(0, |at| at - 1)).map(|it| it.number));
        }
        let mut bytes = 0;
        for generation in self.generations.iter_mut().rev() {
            bytes += generation.written.as_ref().map_or(0, Written::len);
            if bytes > MAX_MEMORY_BYTES {
                generation.written = None;
            }
        }
        leaving
    }
}

/// The folder of generations that belongs to a state file.
pub fn folder_beside(state: &StateFile) -> PathBuf {
    state.path().with_extension("generations")
}

fn file(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number}.json"))
}

fn write(folder: &Path, generation: &Generation) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let stored = Stored { version: VERSION, generation: generation.clone() };
    let mut bytes = serde_json::to_vec_pretty(&stored)?;
    bytes.push(b'\n');
    write_whole(&file(folder, generation.number), &bytes)
}

fn read_all(folder: &Path) -> VecDeque<Generation> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            if error.kind() != std::io::ErrorKind::NotFound {
                let folder = folder.display();
                tracing::warn!(%folder, %error, "earlier generations cannot be read");
            }
            return VecDeque::new();
        }
    };
    let mut found = Vec::new();
    // What an interrupted write left ends in `.json.new` and is written over.
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| number(path).is_some()) {
        match read(&path) {
            Ok(generation) if number(&path) == Some(generation.number) => {
                found.push(Generation { written: None, ..generation });
            }
            Ok(_) => tracing::warn!(path = %path.display(), "this generation has another number than its file"),
            Err(why) => tracing::warn!(path = %path.display(), %why, "this generation cannot be read"),
        }
    }
    found.sort_by_key(|generation| generation.number);
    found.into()
}

/// The number that a file is named by.
fn number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(".json")?.parse().ok()
}

fn read(path: &Path) -> Result<Generation, String> {
    // Opening a pipe would wait for whoever writes into it.
    let about = fs::symlink_metadata(path).map_err(|error| error.to_string())?;
    if !about.is_file() || about.len() > MAX_FILE_BYTES {
        return Err("it is no plain file of a bearable length".to_owned());
    }
    let mut text = String::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(|error| error.to_string())?;
    let stored: Stored = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    if stored.version == VERSION { Ok(stored.generation) } else { Err(format!("its version is {}", stored.version)) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::WrittenFile;
    use crate::control::state_file::place;

    fn at(folder: &tempfile::TempDir) -> History {
        History::open(place(Some(&folder.path().join("state.json")), None).as_ref())
    }

    fn generation(number: u64, hash: &str) -> Generation {
        let file = WrittenFile { name: "evenkeel.toml".into(), path: None, text: format!("# {number}") };
        Generation {
            number,
            hash: hash.to_owned(),
            at: Timestamp::from_second(1_700_000_000).unwrap(),
            why: "start".into(),
            owner: None,
            reason: String::new(),
            written: Some(Written { folder: None, files: vec![file] }),
        }
    }

    #[test]
    fn what_is_kept_is_found_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let history = at(&folder);
        assert_eq!(history.last(), 0);
        history.record(generation(1, "a"), Masks::default());
        history.record(generation(2, "b"), Masks::default());
        let again = at(&folder);
        assert_eq!(again.last(), 2);
        assert_eq!(again.find(1), Some(generation(1, "a")));
        assert_eq!(again.find(3), None);
        let path = folder.path().join("state.generations");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(path.join("1.json")).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_is_broken_or_half_written_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        at(&folder).record(generation(1, "a"), Masks::default());
        let path = folder.path().join("state.generations");
        for (name, text) in
            [("2.json", "{\"version\": 1, \"num"), ("3.json.new", "{"), ("4.json", "{\"version\": 9}"), ("x", "")]
        {
            fs::write(path.join(name), text).unwrap();
        }
        fs::copy(path.join("1.json"), path.join("7.json")).unwrap();
        let history = at(&folder);
        assert_eq!(history.list().iter().map(|it| it.number).collect::<Vec<_>>(), [1]);
        history.record(generation(3, "c"), Masks::default());
        assert_eq!(at(&folder).last(), 3);
    }

    #[test]
    fn repetitions_go_before_the_oldest() {
        let folder = tempfile::tempdir().unwrap();
        let history = at(&folder);
        history.record(generation(1, "first"), Masks::default());
        for number in 2..=60 {
            history.record(generation(number, "same"), Masks::default());
        }
        let numbers: Vec<u64> = history.list().iter().map(|it| it.number).collect();
        assert_eq!((numbers.len(), numbers[0], numbers[49]), (MAX_GENERATIONS, 1, 60));
        assert_eq!(at(&folder).list().len(), MAX_GENERATIONS, "nor are they on the disk");
    }

    #[test]
    fn without_a_folder_they_are_in_memory() {
        let history = History::open(None);
        history.record(generation(1, "a"), Masks::default());
        assert_eq!(history.find(1), Some(generation(1, "a")));
        let nowhere = tempfile::tempdir().unwrap();
        fs::write(nowhere.path().join("state.generations"), "in the way").unwrap();
        let history = at(&nowhere);
        history.record(generation(1, "a"), Masks::default());
        assert_eq!(history.find(1), Some(generation(1, "a")), "what cannot be written stays in memory");
    }
}
