//! `evenkeel import`: turns the configuration of another program into ours.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use evenkeel::config::import::{Imported, Lost, haproxy, nginx, uchiwa};
use serde_json::json;

use super::Ending;
use super::form::Form;
use super::terminal::complain;

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

pub(super) fn import(arguments: &Arguments, form: Form) -> anyhow::Result<Ending> {
    match &arguments.from {
        From::Uchiwa { files, output } => {
            let imported = uchiwa::import_files(files)?;
            hand_over(output.as_deref(), &imported.toml, json!({ "notes": &imported.notes }), form)?;
            if form == Form::Words {
                imported.notes.iter().for_each(|note| complain(&format!("note: {note}\n")));
            }
        }
        From::Haproxy(peer) => {
            let text = read(&peer.file)?;
            let named = |name: &str| named(&peer.file, name);
            report(&haproxy::import(&peer.file.display().to_string(), &text, &named), peer.output.as_deref(), form)?;
        }
        From::Nginx(peer) => {
            let text = read(&peer.file)?;
            let include = |pattern: &str| included(&peer.file, pattern);
            report(&nginx::import(&peer.file.display().to_string(), &text, &include), peer.output.as_deref(), form)?;
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

fn report(imported: &Imported, output: Option<&Path>, form: Form) -> anyhow::Result<()> {
    let lost = |it: &Lost| json!({ "file": &it.file, "line": it.line, "what": &it.what, "why": &it.why });
    let beside = json!({ "lost": imported.lost.iter().map(lost).collect::<Vec<_>>() });
    hand_over(output, &imported.toml, beside, form)?;
    if form == Form::Json {
        return Ok(());
    }
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

/// The configuration where it is wanted; a program is told what else there is to say in the same value.
fn hand_over(output: Option<&Path>, toml: &str, mut beside: serde_json::Value, form: Form) -> anyhow::Result<()> {
    if let Some(path) = output {
        write(path, toml)?;
        beside["written"] = json!(path.display().to_string());
    } else {
        beside["toml"] = json!(toml);
    }
    form.say(&beside, || if output.is_some() { String::new() } else { toml.to_owned() })
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
