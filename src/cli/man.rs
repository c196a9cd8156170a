//! `evenkeel man`: a page of the manual for each command, from the grammar that reads the command line.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Command};
use clap_mangen::Man;
use serde::Serialize;
use serde_json::json;

use super::form::Form;
use super::{Ending, NAME, grammar};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Write a page for each command into this folder [default: print that of the program; `evenkeel man | man -l -`]
    #[arg(value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

/// A page of the manual.
#[derive(Debug, Serialize)]
struct Page {
    /// The command that it is about, with all its words.
    command: String,
    /// Its file.
    file: String,
    /// In the language of man pages.
    text: String,
}

pub(super) fn man(arguments: &Arguments, form: Form) -> anyhow::Result<Ending> {
    let pages = pages()?;
    if let Some(folder) = &arguments.folder {
        let written = written(&pages, folder)?;
        form.say(&json!({ "written": written }), String::new)?;
    } else {
        let first = || pages.first().map_or_else(String::new, |page| page.text.clone());
        form.say(&json!({ "pages": pages }), first)?;
    }
    Ok(Ending::Good)
}

fn written(pages: &[Page], folder: &Path) -> anyhow::Result<Vec<String>> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let mut written = Vec::new();
    for page in pages {
        let path = folder.join(&page.file);
        std::fs::write(&path, &page.text).with_context(|| format!("cannot write {}", path.display()))?;
        written.push(path.display().to_string());
    }
    Ok(written)
}

/// All of them, that of the program first.
fn pages() -> anyhow::Result<Vec<Page>> {
    // `evenkeel help` says what the pages say.
    let mut whole = grammar().disable_help_subcommand(true);
    whole.build();
    let mut pages = Vec::new();
    add(&whole, &mut pages)?;
    Ok(pages)
}

fn add(command: &Command, pages: &mut Vec<Page>) -> anyhow::Result<()> {
    let words = command.get_bin_name().unwrap_or(NAME).to_owned();
    let page = Man::new(command.clone()).source(concat!("evenkeel ", env!("CARGO_PKG_VERSION"))).manual("Evenkeel");
    let mut text = Vec::new();
    page.render(&mut text)?;
    pages.push(Page { file: page.get_filename(), text: String::from_utf8(text)?, command: words });
    command.get_subcommands().filter(|it| !it.is_hide_set()).try_for_each(|it| add(it, pages))
}
