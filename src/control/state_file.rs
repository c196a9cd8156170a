//! What must survive a restart, in one file: operators' orders, and who the active one of each pool is.
//!
//! Written whole beside itself and renamed, so that a reader finds the old or the new one and never half of either;
//! for its owner's eyes only. A file that cannot be understood stops the start and is never written over: what stands
//! in it was ordered by somebody.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::overrides::MAX_OVERRIDES;
use crate::pool::{Order, Override};

/// The form of the file that this program writes, and the only one that it reads.
const VERSION: u64 = 1;
/// A file that is longer is none of ours: [`MAX_OVERRIDES`] orders are some 5 MiB.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// What the file holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// What operators have ordered.
    pub overrides: Vec<Override>,
    /// The active backend of each pool that has one, by pool.
    pub active: BTreeMap<String, String>,
}

/// Where the state is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateFile(PathBuf);

/// Why the state cannot be read. Each says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The system does not give it.
    #[error("the state file {} cannot be read: {error}; {}", path.display(), remedy(path))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It is broken.
    #[error("the state file {} is not what evenkeel wrote: {what}; {}", path.display(), remedy(path))]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        what: String,
    },
    /// It is of another version.
    #[error(
        "the state file {} is of version {found}, and this evenkeel knows version {VERSION}: start the evenkeel that \
         wrote it; {}",
        path.display(), remedy(path)
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
}

fn remedy(path: &Path) -> String {
    let path = path.display();
    format!(
        "it holds what operators have ordered (drain, maintenance, promote), so evenkeel does not start without it; \
         repair it, or forget those orders: mv {path} {path}.old"
    )
}

/// Where the state is kept: at the place that the configuration names, else in the folder that systemd gives, else
/// nowhere.
pub fn place(configured: Option<&Path>, state_directory: Option<OsString>) -> Option<StateFile> {
    // systemd lists several folders with colons between them; the first one will do.
    let given = || {
        let folders = state_directory?.into_string().ok()?;
        let first = folders.split(':').next().filter(|first| !first.is_empty())?;
        Some(Path::new(first).join("state.json"))
    };
    configured.map(Path::to_path_buf).or_else(given).map(StateFile)
}

impl StateFile {
    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Reads it; a file that does not exist holds nothing.
    ///
    /// # Errors
    /// It cannot be read or understood.
    pub fn load(&self) -> Result<State, StateError> {
        let path = || self.0.clone();
        let broken = |what: String| StateError::Broken { path: path(), what };
        let mut text = String::new();
        match fs::metadata(&self.0) {
            // Opening a pipe would wait for whoever writes into it.
            Ok(about) if !about.is_file() => return Err(broken("it is no plain file".to_owned())),
            _ => {}
        }
        match File::open(&self.0) {
            Ok(file) => {
                let read = file.take(MAX_BYTES).read_to_string(&mut text);
                read.map_err(|error| StateError::Read { path: path(), error })?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::default()),
            Err(error) => return Err(StateError::Read { path: path(), error }),
        }
        let value: serde_json::Value = serde_json::from_str(&text).map_err(|error| broken(error.to_string()))?;
        match value["version"].as_u64() {
            Some(VERSION) => {}
            Some(found) => return Err(StateError::Version { path: path(), found }),
            None => return Err(broken("it has no version".to_owned())),
        }
        // From the text and not from the value: only then does a fault have a place.
        let written: Written = serde_json::from_str(&text).map_err(|error| broken(error.to_string()))?;
        if written.overrides.len() > MAX_OVERRIDES {
            return Err(broken(format!("it holds more than {MAX_OVERRIDES} orders")));
        }
        written.state().map_err(broken)
    }

    /// Writes it so that it is there whole, also after a loss of power.
    ///
    /// # Errors
    /// What the system said; the file is what it was before.
    pub fn save(&self, state: &State) -> io::Result<()> {
        let mut bytes = serde_json::to_vec_pretty(&Written::of(state))?;
        bytes.push(b'\n');
        write_whole(&self.0, &bytes)
    }

    /// Whether it can be written, tried before anything is ordered.
    ///
    /// # Errors
    /// What the system said.
    pub fn try_out(&self) -> io::Result<()> {
        let beside = self.beside();
        fresh(&beside)?;
        fs::remove_file(beside)
    }

    /// The file that is written first.
    fn beside(&self) -> PathBuf {
        beside(&self.0)
    }
}

/// Writes a file so that it is there whole, also after a loss of power.
///
/// # Errors
/// What the system said; the file is what it was before.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = beside(path);
    let mut file = fresh(&beside)?;
    let renamed = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&beside, path));
    if renamed.is_err() {
        // What is left of it would be in the way of nobody but a reader of the folder.
        let _ = fs::remove_file(&beside);
    }
    renamed?;
    // The new name itself must reach the disk.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    path.with_file_name(name)
}

/// A new empty file; one that an earlier attempt left is removed, and never written through a link.
fn fresh(beside: &Path) -> io::Result<File> {
    match fs::remove_file(beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u64,
    overrides: Vec<WrittenOverride>,
    active: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenOverride {
    pool: String,
    backend: String,
    order: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    percent: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deadline_ms: Option<u64>,
    owner: String,
    reason: String,
    since: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
}

impl State {
    /// As it stands in the file, for another process.
    pub fn written(&self) -> serde_json::Value {
        serde_json::to_value(Written::of(self)).unwrap_or_default()
    }

    /// What another process has written.
    ///
    /// # Errors
    /// What this one does not understand.
    pub fn read(value: serde_json::Value) -> Result<Self, String> {
        let written: Written = serde_json::from_value(value).map_err(|error| error.to_string())?;
        written.state()
    }
}

impl Written {
    fn of(state: &State) -> Self {
        let overrides = state.overrides.iter().map(WrittenOverride::of).collect();
        Self { version: VERSION, overrides, active: state.active.clone() }
    }

    fn state(self) -> Result<State, String> {
        let overrides = self.overrides.into_iter().map(WrittenOverride::read).collect::<Result<_, _>>()?;
        Ok(State { overrides, active: self.active })
    }
}

impl WrittenOverride {
    fn of(one: &Override) -> Self {
        let (percent, deadline) = match one.order {
            Order::Weight(percent) => (Some(percent), None),
            Order::Drain { deadline } => (None, deadline),
            _ => (None, None),
        };
        Self {
            pool: one.pool.to_string(),
            backend: one.backend.to_string(),
            order: one.order.word().to_owned(),
            percent,
            deadline_ms: deadline.map(|deadline| u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX)),
            owner: one.owner.to_string(),
            reason: one.reason.to_string(),
            since: one.since,
            until: one.until,
        }
    }

    fn read(self) -> Result<Override, String> {
        let order = match (self.order.as_str(), self.percent) {
            ("drain", None) => Order::Drain { deadline: self.deadline_ms.map(Duration::from_millis) },
            ("maintenance", None) => Order::Maintenance,
            ("promote", None) => Order::Promote,
            ("demote", None) => Order::Demote,
            ("weight", Some(percent)) => Order::Weight(percent),
            (order, _) => {
                let of = format!("{}/{}", self.pool, self.backend);
                return Err(format!("`{order}` of {of} is no order that evenkeel knows"));
            }
        };
        Ok(Override {
            pool: self.pool.into(),
            backend: self.backend.into(),
            order,
            owner: self.owner.into(),
            reason: self.reason.into(),
            since: self.since,
            until: self.until,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn at(folder: &tempfile::TempDir) -> StateFile {
        StateFile(folder.path().join("state.json"))
    }

    fn state() -> State {
        let one = |backend: &str, order| Override {
            pool: "p".into(),
            backend: backend.into(),
            order,
            owner: "alice \"the\" operator".into(),
            reason: "neue Platte\u{1f600}".into(),
            since: Timestamp::from_second(1_700_000_000).unwrap(),
            until: Some(Timestamp::from_second(1_700_007_200).unwrap()),
        };
        State {
            overrides: vec![
                one("a", Order::Drain { deadline: Some(Duration::from_millis(1_500)) }),
                one("b", Order::Drain { deadline: None }),
                one("c", Order::Maintenance),
                one("d", Order::Weight(35)),
                one("e", Order::Promote),
                Override { until: None, ..one("f", Order::Demote) },
            ],
            active: [("p".to_owned(), "e".to_owned())].into(),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = at(&folder);
        assert_eq!(file.load().unwrap(), State::default(), "there is none yet");
        file.try_out().unwrap();
        file.save(&State::default()).unwrap();
        file.save(&state()).unwrap();
        assert_eq!(file.load().unwrap(), state());
        assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["state.json"], "nothing else is left there");
    }

    #[test]
    fn what_an_interrupted_write_left_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        let file = at(&folder);
        file.save(&state()).unwrap();
        let other = folder.path().join("other");
        fs::write(&other, "precious").unwrap();
        std::os::unix::fs::symlink(&other, folder.path().join("state.json.new")).unwrap();
        assert_eq!(file.load().unwrap(), state(), "half a new one is not looked at");
        file.save(&State::default()).unwrap();
        assert_eq!(file.load().unwrap(), State::default());
        assert_eq!(fs::read_to_string(other).unwrap(), "precious", "no link is written through");
    }

    #[test]
    fn a_file_that_cannot_be_understood_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let file = at(&folder);
        let rows = [
            ("", "EOF"),
            ("{", "line 1 column 1"),
            ("[1, [], {}]", "no version"),
            ("{\"overrides\": [], \"active\": {}}", "no version"),
            ("{\"version\": 2, \"whatever\": []}", "version 2"),
            ("{\"version\": 1, \"overrides\": [], \"active\": {}, \"more\": 1}", "unknown field `more`"),
            ("{\"version\": 1, \"overrides\": [{}], \"active\": {}}", "missing field `pool`"),
            ("\u{0}\u{0}\u{0}\u{0}", "line 1"),
        ];
        for (text, named) in rows {
            fs::write(file.path(), text).unwrap();
            let error = file.load().unwrap_err().to_string();
            assert!(error.contains(named) && error.contains("state.json.old"), "{text}: {error}");
            assert_eq!(fs::read_to_string(file.path()).unwrap(), text, "it is not touched");
        }
        let unknown = serde_json::to_string(&Written { version: 1, overrides: vec![], active: BTreeMap::new() });
        let order =
            r#"[{"pool":"p","backend":"b","order":"explode","owner":"o","reason":"","since":"2025-01-01T00:00:00Z"}]"#;
        fs::write(file.path(), unknown.unwrap().replace("[]", order)).unwrap();
        let error = file.load().unwrap_err().to_string();
        assert!(error.contains("`explode` of p/b is no order"), "{error}");
        fs::write(file.path(), [0xff, 0xfe]).unwrap();
        assert!(file.load().is_err(), "no text at all");
    }

    #[test]
    fn what_is_no_plain_file_is_refused_without_waiting_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = at(&folder);
        assert!(std::process::Command::new("mkfifo").arg(file.path()).status().unwrap().success());
        let error = file.load().unwrap_err().to_string();
        assert!(error.contains("it is no plain file"), "{error}");
    }

    #[test]
    fn a_write_that_fails_leaves_the_file_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let file = at(&folder);
        file.save(&state()).unwrap();
        // A folder in the way of the new file: also root cannot write through it.
        fs::create_dir(folder.path().join("state.json.new")).unwrap();
        assert!(file.save(&State::default()).is_err());
        assert!(file.try_out().is_err());
        assert_eq!(file.load().unwrap(), state());
        let nowhere = StateFile(folder.path().join("gone/state.json"));
        assert!(nowhere.save(&state()).is_err());
        assert_eq!(nowhere.load().unwrap(), State::default());
    }

    #[test]
    fn the_place_is_the_configured_one_or_the_one_of_systemd() {
        let found = |configured: Option<&str>, given: Option<&str>| {
            let file = place(configured.map(Path::new), given.map(OsString::from));
            file.map(|file| file.path().display().to_string())
        };
        assert_eq!(found(Some("/a/s.json"), Some("/b")).as_deref(), Some("/a/s.json"));
        assert_eq!(found(None, Some("/var/lib/evenkeel")).as_deref(), Some("/var/lib/evenkeel/state.json"));
        assert_eq!(found(None, Some("/b:/c")).as_deref(), Some("/b/state.json"));
        assert_eq!(found(None, Some("")), None);
        assert_eq!(found(None, None), None);
    }
}
