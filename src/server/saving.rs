//! What is in force is written into the file that the process was started with, so that the next start has it, too.
//!
//! Only one file over one file, only where it means the same there, and only by the rights of this process: a sandbox
//! leaves it nothing to write to beside its configuration, which is said.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use super::Loader;
use super::control::Control;
use super::proof;
use super::reload::{Cause, reload};
use crate::config::{Color, Source, Written, WrittenFile};
use crate::confinement::{Use, why_refused};
use crate::control::history::Generation;
use crate::control::plan;
use crate::control::{Done, Unchanged, Who};

impl Control {
    /// Writes what was sent or gone back to into the file, and reads that.
    pub(super) async fn save(&mut self, read: &Loader, who: Who) -> Result<Done, Unchanged> {
        let in_force = self.life.in_force();
        let (Some(above), Some(files)) = (in_force.above, in_force.files) else {
            return Err(Unchanged::Conflict("the files say what is in force: there is nothing to save".to_owned()));
        };
        let text = |of: &Generation| self.history.find(of.number).and_then(|found| found.written);
        let (text, place) = (text(&above), text(&files));
        let saved = tokio::task::spawn_blocking(move || {
            let (text, path) = fit(text, place)?;
            means_the_same(&text, &path, &above)?;
            write_over(&path, &text).map(|backup| (path, backup))
        });
        let saved = saved.await.map_err(|error| error.to_string()).and_then(|saved| saved);
        let (path, backup) = saved.map_err(Unchanged::Conflict)?;
        let mut done = reload(self, read, Cause::Saved(who)).await?;
        let (path, backup) = (path.display(), backup.display());
        done.message =
            format!("{path} says what is in force from now on; what it said is in {backup}; {}", done.message);
        Ok(done)
    }
}

/// The text, and the file that it belongs into.
fn fit(text: Option<Written>, place: Option<Written>) -> Result<(String, PathBuf), String> {
    let text = text.ok_or("the text of what is in force is kept no more")?;
    let place = place.ok_or("this process was started without a file, or its text is kept no more")?;
    let many = |count: usize| {
        format!("{count} files are more than can be saved by themselves: write them as `evenkeel show` has them")
    };
    if place.folder.is_some() || place.files.len() != 1 {
        return Err(many(place.files.len()));
    }
    let [one] = &text.files[..] else { return Err(many(text.files.len())) };
    let path = place.files.first().and_then(|file| file.path.clone());
    Ok((one.text.clone(), path.ok_or("this process was started without a file")?))
}

/// What a configuration names is found from the folder that it lies in.
fn means_the_same(text: &str, path: &Path, above: &Generation) -> Result<(), String> {
    let file = WrittenFile { name: path.display().to_string(), path: Some(path.to_owned()), text: text.to_owned() };
    let there = proof::load(&Source::Written(Written { folder: None, files: vec![file] }));
    let there =
        there.map_err(|problems| problems.render(Color::Plain, "nothing is saved; the change stays in force"))?;
    if plan::hash(&there.config) == above.hash {
        return Ok(());
    }
    Err(format!(
        "nothing is saved: in {} it would mean something else, since a path, a variable or a file that it names is another \
         one there; name whole paths",
        path.display()
    ))
}

/// Writes it so that there is the old file or the new one at any moment; gives where the old one is.
fn write_over(path: &Path, text: &str) -> Result<PathBuf, String> {
    let refused = |error: io::Error| {
        let confined =
            (error.kind() == io::ErrorKind::PermissionDenied).then(|| why_refused(path, Use::Write)).flatten();
        let why =
            confined.unwrap_or_else(|| "the user that evenkeel runs as must be able to write in its folder".to_owned());
        format!("nothing is saved, {} cannot be written: {error}; {why}", path.display())
    };
    // A link stays one.
    let path = path.canonicalize().map_err(refused)?;
    let (new, backup) = (beside(&path, ".new"), beside(&path, ".bak"));
    let written = fill(&path, &new, text).and_then(|()| replace(&path, &new, &backup));
    if written.is_err() {
        // Half a file is of no use to anybody.
        let _ = fs::remove_file(&new);
    }
    written.map_err(refused).map(|()| backup)
}

/// The new file, with the rights and the owner of the old one.
fn fill(path: &Path, new: &Path, text: &str) -> io::Result<()> {
    gone(new)?;
    let about = fs::metadata(path)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (about.uid(), about.gid()) {
        fchown(&file, Some(about.uid()), Some(about.gid()))?;
    }
    file.set_permissions(fs::Permissions::from_mode(about.mode() & 0o7777))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn replace(path: &Path, new: &Path, backup: &Path) -> io::Result<()> {
    gone(backup)?;
    fs::hard_link(path, backup)?;
    fs::rename(new, path)?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// No file has this name.
fn gone(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(end);
    path.with_file_name(name)
}
