//! Lines into a file, or into standard output: whole ones, in order, whatever the disk does.
//!
//! Used by the thread of a `sink`. A disk that is full is waited for, so that no line is cut in two; meanwhile the queue
//! in front fills, and what does not fit is dropped and counted there. A file that was deleted is made anew.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::sink::{Complaint, Gate, count};

/// How long to wait for a disk that is full, or for a reader of standard output that is slow and does not block.
const AGAIN: Duration = Duration::from_millis(100);

/// An open file, or standard output.
#[derive(Debug)]
pub(super) struct Lines {
    file: File,
    /// Where it is; `None`: standard output.
    path: Option<Arc<PathBuf>>,
    /// The wishes to open it anew that have been met.
    reopened: u64,
    complaint: Complaint,
    /// Nobody reads standard output any more.
    broken: bool,
}

impl Lines {
    /// Standard output. A descriptor of its own: the one of the library keeps lines back.
    pub(super) fn stdout() -> io::Result<Self> {
        let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        Ok(Self { file, path: None, reopened: 0, complaint: Complaint::new("stdout".into()), broken: false })
    }

    /// A file, made where there is none.
    pub(super) fn open(path: &Arc<PathBuf>) -> io::Result<Self> {
        let complaint = Complaint::new(path.display().to_string());
        Ok(Self { file: open(path)?, path: Some(Arc::clone(path)), reopened: 0, complaint, broken: false })
    }

    /// Its name in messages.
    pub(super) fn name(&self) -> &str {
        &self.complaint.log
    }

    /// Writes whole lines; says how many could not be.
    pub(super) fn write(&mut self, lines: &[u8], gate: &Gate) -> u64 {
        self.look(gate);
        if self.broken {
            return count(lines);
        }
        let mut done = 0;
        while done < lines.len() {
            match self.file.write(&lines[done..]) {
                Ok(0) => return self.give_up(&lines[done..], &ErrorKind::WriteZero.into()),
                Ok(written) => {
                    done += written;
                    self.complaint.is_over();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::BrokenPipe && self.path.is_none() => {
                    self.broken = true;
                    return self.give_up(&lines[done..], &error);
                }
                Err(error) => {
                    if error.kind() != ErrorKind::WouldBlock {
                        self.complaint.say(&error);
                    }
                    if gate.is_ending() {
                        return count(&lines[done..]);
                    }
                    gate.pause(AGAIN);
                    if self.look(gate) {
                        // The line that was cut is whole in the new file.
                        done = memchr::memrchr(b'\n', &lines[..done]).map_or(0, |end| end + 1);
                    }
                }
            }
        }
        0
    }

    fn give_up(&mut self, rest: &[u8], error: &io::Error) -> u64 {
        self.complaint.say(error);
        count(rest)
    }

    /// Opens the file anew where that was asked for, or where it was deleted; true when it is another one now.
    pub(super) fn look(&mut self, gate: &Gate) -> bool {
        let Some(path) = &self.path else { return false };
        let wished = gate.reopen();
        let gone = |data: Metadata| data.is_file() && data.nlink() == 0;
        if self.reopened == wished && !self.file.metadata().is_ok_and(gone) {
            return false;
        }
        self.reopened = wished;
        match open(path) {
            Ok(file) => {
                self.file = file;
                true
            }
            // The old one is better than none.
            Err(error) => {
                self.complaint.say(&error);
                false
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let own = path.starts_with("/dev") || path.starts_with("/proc");
    if !own && std::fs::metadata(path).is_ok_and(|data| data.file_type().is_fifo()) {
        // Opening it would wait for a reader.
        return Err(io::Error::other("it is a pipe: write to standard output and let that lead there"));
    }
    // Lines hold addresses of people: not for everybody on this machine.
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}
