//! Where a configuration comes from: a file, a folder of `*.toml`, or a text; and how to tell that it changed.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::problem::{Files, Problem, Problems};
use super::substitute::reason;
use crate::confinement::{Use, why_refused};

/// What to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file, or a folder whose `*.toml` files are merged in the order of their names.
    Path(PathBuf),
    /// A text that stands in no file.
    Text {
        /// What messages call it.
        name: String,
        /// TOML.
        text: String,
    },
    /// What has been read already.
    Written(Written),
}

/// The texts of a configuration as they are written, before anything is substituted in them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Written {
    /// The folder, where it is one.
    pub folder: Option<PathBuf>,
    /// The files in the order in which they are merged.
    pub files: Vec<WrittenFile>,
}

/// One text.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct WrittenFile {
    /// What messages call it.
    pub name: String,
    /// Where it was read; what it names is relative to the folder of that.
    pub path: Option<PathBuf>,
    /// TOML.
    pub text: String,
}

impl Written {
    /// Length of all texts, bytes.
    pub fn len(&self) -> usize {
        self.files.iter().map(|file| file.text.len()).sum()
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn of(files: &Files, folder: Option<PathBuf>) -> Self {
        let file = |file: &super::problem::File| WrittenFile {
            name: file.name.clone(),
            path: file.path.clone(),
            text: file.text.clone(),
        };
        Self { folder, files: files.iter().map(file).collect() }
    }
}

impl Source {
    /// The texts, for whoever has them judged elsewhere; paths are made absolute, so that they mean the same there.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn written(&self) -> Result<Written, Problems> {
        let (files, folder) = read(self)?;
        Ok(Written::of(&files, folder))
    }

    /// A text, for tests and examples.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { name: "evenkeel.toml".into(), text: text.into() }
    }
}

/// The texts, and the folder where there is one.
pub(super) fn read(source: &Source) -> Result<(Files, Option<PathBuf>), Problems> {
    let mut files = Files::default();
    let path = match source {
        Source::Text { name, text } => {
            files.add(name.clone(), None, text.clone());
            return Ok((files, None));
        }
        Source::Written(written) => {
            for WrittenFile { name, path, text } in &written.files {
                files.add(name.clone(), path.clone(), text.clone());
            }
            return Ok((files, written.folder.clone()));
        }
        Source::Path(path) => path,
    };
    if !path.is_dir() {
        add(&mut files, path)?;
        return Ok((files, None));
    }
    let paths = toml_files(path).map_err(|error| unreadable("folder", path, &error))?;
    if paths.is_empty() {
        let message = format!("the folder `{}` holds no `*.toml` file", path.display());
        let help = "put a file such as evenkeel.toml there, or name the file itself";
        return Err(Problems::of(Problem::placeless("no-file", message).help(help)));
    }
    for file in &paths {
        add(&mut files, file)?;
    }
    Ok((files, Some(absolute(path))))
}

/// What it names is found from there, and must be the same file for a process that stands in another folder.
fn add(files: &mut Files, path: &Path) -> Result<(), Problems> {
    let text = std::fs::read_to_string(path).map_err(|error| unreadable("configuration", path, &error))?;
    files.add(path.display().to_string(), Some(absolute(path)), text);
    Ok(())
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_no_folder| path.to_owned())
}

fn unreadable(what: &str, path: &Path, error: &std::io::Error) -> Problems {
    let message = format!("cannot read the {what} `{}`: {}", path.display(), reason(error));
    let problem = Problem::placeless("no-file", message);
    Problems::of(match error.kind() {
        std::io::ErrorKind::NotFound => {
            problem.help("name an existing file or folder; config/quickstart.toml is a small example")
        }
        std::io::ErrorKind::PermissionDenied => {
            let confined = why_refused(path, Use::Read);
            problem.help(confined.unwrap_or_else(|| "let the user who runs evenkeel read it".into()))
        }
        _ => problem,
    })
}

/// The `*.toml` files of a folder in name order, hidden ones left out.
fn toml_files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "toml") && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Hash of all content read and all variables used.
pub(super) fn hash(files: &Files, read: &[PathBuf], variables: &[(String, Option<String>)]) -> String {
    let mut hash = Xxh3::new();
    let mut feed = |bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    for file in files.iter() {
        feed(file.text.as_bytes());
    }
    let named = read.iter().filter(|path| !files.iter().any(|file| file.path.as_ref() == Some(path)));
    for path in named.filter(|path| path.is_file()) {
        feed(&std::fs::read(path).unwrap_or_default());
    }
    for (name, value) in variables {
        feed(name.as_bytes());
        feed(value.as_deref().unwrap_or_default().as_bytes());
    }
    format!("{:032x}", hash.digest128())
}

/// A number that changes when one of these files changes, or a `*.toml` file comes to or leaves one of these folders.
/// `watch = true` compares it every second.
pub fn fingerprint(paths: &[PathBuf]) -> u64 {
    let mut hash = Xxh3::new();
    for path in paths {
        hash.update(path.as_os_str().as_encoded_bytes());
        if path.is_dir() {
            for file in toml_files(path).unwrap_or_default() {
                hash.update(file.as_os_str().as_encoded_bytes());
            }
        } else {
            match std::fs::read(path) {
                Ok(content) => {
                    hash.update(&(content.len() as u64).to_le_bytes());
                    hash.update(&content);
                }
                Err(_) => hash.update(b"\xffabsent"),
            }
        }
    }
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_again_from_any_folder() {
        // Tests stand in the folder of the package.
        let (files, _) = read(&Source::Path("config/quickstart.toml".into())).unwrap();
        let file = files.iter().next().unwrap();
        assert_eq!(file.name, "config/quickstart.toml", "messages call it as it was called");
        assert!(file.path.as_ref().is_some_and(|path| path.is_absolute()));
        let (_, folder) = read(&Source::Path("config".into())).unwrap();
        assert!(folder.is_some_and(|folder| folder.is_absolute()));
    }
}
