//! `evenkeel import`: turns the configuration of another program into ours.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use evenkeel::config::import::uchiwa;

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
}

pub(super) fn import(arguments: &Arguments) -> anyhow::Result<Ending> {
    let From::Uchiwa { files, output } = &arguments.from;
    let imported = uchiwa::import_files(files)?;
    match output {
        Some(path) => write(path, &imported.toml)?,
        None => say(&imported.toml),
    }
    for note in &imported.notes {
        complain(&format!("note: {note}\n"));
    }
    Ok(Ending::Good)
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
