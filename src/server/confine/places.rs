//! Files and folders that the program writes: handed to the user that it becomes where the program itself has made them,
//! and tried as that user before anything else begins.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::libc::{O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK};
use nix::unistd::{AccessFlags, access};

use super::account::Account;
use crate::config::model::{Config, Site};
use crate::confinement::{Use, why_refused};
use crate::control::{history, records, state_file};
use crate::log::Target;

/// What is written, with the option that says so.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub(super) state: Option<PathBuf>,
    pub(super) generations: Option<PathBuf>,
    changes: Option<PathBuf>,
    pub(super) logs: Vec<PathBuf>,
    /// The sockets that have a file.
    pub(super) sockets: Vec<(String, PathBuf)>,
}

impl Places {
    /// Those of a configuration.
    pub(super) fn of(config: &Config) -> Self {
        let state = state_file::place(config.state_file.as_deref(), std::env::var_os("STATE_DIRECTORY"));
        let logs = config.log_targets().filter_map(|target| match target {
            Target::File(path) => Some(path.to_path_buf()),
            _ => None,
        });
        let listeners = config.listeners.iter().flat_map(|listener| {
            let named = |site| (format!("listener.{}.bind", listener.name), site);
            listener.binds.iter().map(named)
        });
        let admin = config.admin.bind.iter().map(|site| ("admin.bind".to_owned(), site));
        let sockets = listeners.chain(admin).filter_map(|(option, site)| match site {
            Site::Unix(name) => Some((option, name.path()?.to_path_buf())),
            Site::Ip(_) => None,
        });
        let upgrade = config.upgrade.socket.iter().filter_map(|name| name.path());
        let upgrade = upgrade.map(|path| ("upgrade.socket".to_owned(), path.to_path_buf()));
        Self {
            generations: state.as_ref().map(history::folder_beside),
            changes: state.as_ref().map(records::file_beside),
            state: state.map(|state| state.path().to_path_buf()),
            logs: logs.collect(),
            sockets: sockets.chain(upgrade).collect(),
        }
    }

    /// Gives that user what the program has made as root. What belongs to somebody else, is a link or has a second name is
    /// left alone: whoever owns the folder may have put it there as a trap.
    pub(super) fn hand_over(&self, to: &Account) {
        for path in self.state.iter().chain(&self.changes).chain(&self.logs) {
            if let Some(file) = itself(path, 0) {
                give(&file, path, to);
            }
        }
        let Some(path) = &self.generations else { return };
        let Some(folder) = itself(path, O_DIRECTORY) else { return };
        give(&folder, path, to);
        // By the folder that is open, not by its name: that may be another one by now.
        let open = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
        for entry in std::fs::read_dir(&open).into_iter().flatten().filter_map(Result::ok) {
            let name = entry.file_name();
            let is_ours = name.to_str().and_then(|name| name.strip_suffix(".json")).is_some_and(is_number);
            if let Some(file) = is_ours.then(|| itself(&open.join(&name), 0)).flatten() {
                give(&file, &path.join(&name), to);
            }
        }
    }

    /// Whether this process, which is that user by now, can write where it has to.
    pub(super) fn are_usable_by(&self, user: &str) -> Result<(), String> {
        let mut problems = Vec::new();
        let mut wants_folder = |option: &str, path: &Path| {
            let folder = folder_of(path);
            if folder.is_dir() && access(folder, AccessFlags::W_OK | AccessFlags::X_OK).is_err() {
                problems.push(format!(
                    "{option}: `{user}` may not write to {folder}; install -d -o {user} {folder}, or name a folder of its own",
                    folder = folder.display()
                ));
            }
        };
        if let Some(state) = &self.state {
            wants_folder("state_file", state);
        }
        for (option, path) in &self.sockets {
            wants_folder(option, path);
        }
        for log in self.logs.iter().filter(|log| !log.exists()) {
            wants_folder("the access log", log);
        }
        let there = self.logs.iter().filter(|log| log.exists()).map(|log| ("the access log", log));
        for (option, path) in there.chain(self.state.iter().filter(|state| state.exists()).map(|it| ("state_file", it)))
        {
            if access(path, AccessFlags::W_OK).is_err() {
                let path = path.display();
                problems.push(format!("{option}: `{user}` may not write to {path}; chown {user} {path}"));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
    }
}

/// What has this name, where that is no link.
fn itself(path: &Path, further: i32) -> Option<File> {
    OpenOptions::new().read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK | further).open(path).ok()
}

fn give(file: &File, path: &Path, to: &Account) {
    let Ok(about) = file.metadata() else { return };
    let is_ours = about.uid() == 0 && (about.is_dir() || (about.is_file() && about.nlink() == 1));
    if is_ours && fchown(file, Some(to.uid.as_raw()), Some(to.gid.as_raw())).is_ok() {
        tracing::info!(path = %path.display(), user = %to.name, "handed to the user that this process becomes");
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The folder that a file lies in.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Says which files the start could read and a reload will not be able to.
pub(super) fn tell_of_unreadable(files: &[PathBuf]) {
    for path in files {
        let readable = if path.is_dir() { std::fs::read_dir(path).map(drop) } else { File::open(path).map(drop) };
        if let Err(error) = readable
            && error.kind() == std::io::ErrorKind::PermissionDenied
        {
            let why = why_refused(path, Use::Read).unwrap_or_default();
            tracing::warn!(path = %path.display(), "this start has read it, and a reload will not be able to: {why}");
        }
    }
}
