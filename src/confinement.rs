//! What this process is confined to: the user that it has become, and the files and calls that are still within reach.
//!
//! Set once, at the start, by whoever confines (`server`); everybody else only asks. It lies below all rooms, so that
//! whoever is refused a file can say why.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

static HERE: OnceLock<Confined> = OnceLock::new();

/// What a process is confined to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Confined {
    /// Who it has become, or was started as by the same wish; `None`: nobody in particular is wanted.
    pub user: Option<String>,
    /// Rights of root that it has kept, as capabilities(7) calls them.
    pub kept: Vec<String>,
    /// Whether files are out of reach (Landlock).
    pub files: Layer,
    /// Whether calls are refused (seccomp).
    pub calls: Layer,
    /// The files within reach, where that is limited.
    pub reach: Reach,
    /// By which an equal sandbox is known.
    pub mark: String,
}

/// One of the layers of a sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Layer {
    /// Nobody wants it.
    #[default]
    Off,
    /// It holds; what there is to say of it.
    On(String),
    /// The kernel has not got it; why.
    Missing(String),
}

/// Folders and files within reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// What may be read, with all below.
    pub read: Vec<PathBuf>,
    /// Where files and sockets may be made and written.
    pub write: Vec<PathBuf>,
    /// What may be run.
    pub run: Vec<PathBuf>,
}

/// What somebody wanted to do with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// To read it.
    Read,
    /// To make it or write to it.
    Write,
}

/// Notes what this process is confined to. Only the first call counts.
pub fn note(confined: Confined) {
    // Who is confined cannot be confined less.
    let _ = HERE.set(confined);
}

/// What this process is confined to; `None`: nothing.
pub fn here() -> Option<&'static Confined> {
    HERE.get()
}

/// Why a file was refused that may be there and good, and what to do about it; `None`: the confinement is not the cause.
pub fn why_refused(path: &Path, how: Use) -> Option<String> {
    here()?.why_refused(path, how)
}

impl Confined {
    fn why_refused(&self, path: &Path, how: Use) -> Option<String> {
        let (list, deed) = match how {
            Use::Read => (&self.reach.read, "read"),
            Use::Write => (&self.reach.write, "written to"),
        };
        let whole = real(path);
        if matches!(self.files, Layer::On(_)) && !list.iter().any(|within| whole.starts_with(within)) {
            return Some(format!(
                "the sandbox of this process (process.landlock) keeps it out of reach: it was fixed at the start, when no \
                 option named this place; restart evenkeel, or put it where files may be {deed} (`evenkeel security` lists \
                 these places)"
            ));
        }
        let user = self.user.as_deref()?;
        let path = path.display();
        Some(match how {
            Use::Read => format!(
                "this process runs as `{user}` (process.user), who may not read it: setfacl -m u:{user}:r {path}, or give \
                 it to a group of that user"
            ),
            Use::Write => format!(
                "this process runs as `{user}` (process.user), who may not write there: chown {user} {path}, or its folder \
                 where it is not there yet"
            ),
        })
    }
}

/// The path without links, as far as it exists.
fn real(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_nowhere| path.to_owned());
    if let Ok(real) = whole.canonicalize() {
        return real;
    }
    match (whole.parent(), whole.file_name()) {
        (Some(folder), Some(name)) => real(folder).join(name),
        _ => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_refuses_a_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().canonicalize().unwrap();
        let reach = Reach { read: vec![inside.clone()], ..Reach::default() };
        let user = Confined { user: Some("evenkeel".into()), reach, ..Confined::default() };
        let both = Confined { files: Layer::On("ABI 7".into()), ..user.clone() };
        let said = |confined: &Confined, path: &Path, how| confined.why_refused(path, how).unwrap_or_default();
        assert!(said(&user, Path::new("/elsewhere/key.pem"), Use::Read).contains("setfacl -m u:evenkeel:r"));
        assert!(said(&both, Path::new("/elsewhere/key.pem"), Use::Read).contains("process.landlock"));
        assert!(said(&both, &inside.join("not/yet.pem"), Use::Read).contains("process.user"));
        assert!(said(&both, &inside.join("log"), Use::Write).contains("process.landlock"));
        std::os::unix::fs::symlink("/elsewhere", inside.join("link")).unwrap();
        std::fs::create_dir(inside.join("real")).unwrap();
        std::os::unix::fs::symlink(inside.join("real"), inside.join("good")).unwrap();
        assert!(said(&both, &inside.join("good/key.pem"), Use::Read).contains("process.user"), "links are followed");
        assert_eq!(Confined::default().why_refused(Path::new("/x"), Use::Read), None);
    }
}
