//! `evenkeel import`: turns the configuration of another program into ours.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use evenkeel::config::import::{Imported, haproxy, nginx, uchiwa};

use super::Ending;
use super::terminal::{complain, say};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, Subcommand)]
enum From {
    /// Uchiwa's JSON: entries of one name become one pool
    Uchiwa {
        /// The files, or folders of them
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        /// Write there instead of to standard output; an existing file stays as it is
        #[arg(short, long, value_name = "PATH")]
        output: Option<PathBuf>,
    },
    /// HAProxy's configuration: frontends become listeners, backends pools
    Haproxy(Peer),
    /// nginx's configuration with all that it includes: servers become listeners, upstreams pools
    Nginx(Peer),
}

#[derive(Debug, Args)]
struct Peer {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write there instead of to standard output; an existing file stays as it is
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
}

pub(super) fn import(arguments: &Arguments) -> anyhow::Result<Ending> {
    match &arguments.from {
        From::Uchiwa { files, output } => {
            let imported = uchiwa::import_files(files)?;
            hand_over(output.as_deref(), &imported.toml)?;
            for note in &imported.notes {
                complain(&format!("note: {note}\n"));
            }
        }
        From::Haproxy(peer) => {
            let text = read(&peer.file)?;
            let named = |name: &str| named(&peer.file, name);
            report(&haproxy::import(&peer.file.display().to_string(), &text, &named), peer.output.as_deref())?;
        }
        From::Nginx(peer) => {
            let text = read(&peer.file)?;
            let include = |pattern: &str| included(&peer.file, pattern);
            report(&nginx::import(&peer.file.display().to_string(), &text, &include), peer.output.as_deref())?;
        }
    }
    Ok(Ending::Good)
}

/// A file that HAProxy's configuration names: as it stands there, or else beside that file.
fn named(main: &Path, name: &str) -> Option<String> {
    let beside = main.parent().unwrap_or(Path::new("")).join(Path::new(name).file_name()?);
    read(Path::new(name)).or_else(|_elsewhere| read(&beside)).ok()
}

/// The files of an `include`, relative to the folder of the main one; `*` may stand in the last part.
fn included(main: &Path, pattern: &str) -> Vec<(String, String)> {
    let path = main.parent().unwrap_or(Path::new("")).join(pattern);
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Vec::new();
    };
    let mut paths = match name.split_once('*') {
        None => vec![path.clone()],
        Some((start, end)) => {
            let entries = std::fs::read_dir(if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
            let fits = |path: &PathBuf| {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
            };
            entries.into_iter().flatten().flatten().map(|entry| entry.path()).filter(fits).collect()
        }
    };
    paths.sort();
    paths.retain(|path| path.is_file());
    paths.iter().filter_map(|path| Some((path.display().to_string(), read(path).ok()?))).collect()
}

fn read(path: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn report(imported: &Imported, output: Option<&Path>) -> anyhow::Result<()> {
    hand_over(output, &imported.toml)?;
    for lost in &imported.lost {
        complain(&format!("{}:{}: {}: {}\n", lost.file, lost.line, lost.what, lost.why));
    }
    if !imported.lost.is_empty() {
        complain(&format!(
            "{} not carried over as they were; they stand at the end of the file, too\n",
            imported.lost.len()
        ));
    }
    Ok(())
}

fn hand_over(output: Option<&Path>, toml: &str) -> anyhow::Result<()> {
    if let Some(path) = output {
        return write(path, toml);
    }
    say(toml);
    Ok(())
}

/// Its passwords are for nobody else: the file is its owner's alone.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;

    let written = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => file.write_all(text.as_bytes()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{} exists already; name another file, or remove it first", path.display())
        }
        Err(error) => Err(error),
    };
    written.with_context(|| format!("cannot write {}", path.display()))
}
