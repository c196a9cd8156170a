//! `evenkeel preset`: the pools that come with the program, to read and to paste.

use std::fmt::Write;

use anyhow::bail;
use clap::Args;
use evenkeel::config::PRESETS;

use super::Ending;
use super::terminal::say;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The preset to print; without it, all of them are listed
    name: Option<String>,
}

pub(super) fn preset(arguments: &Arguments) -> anyhow::Result<Ending> {
    let Some(name) = &arguments.name else {
        say(&list());
        return Ok(Ending::Good);
    };
    let Some(preset) = PRESETS.iter().find(|preset| preset.name == name) else {
        let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        bail!("there is no preset `{name}`; the presets are {}", names.join(", "));
    };
    say(preset.text);
    Ok(Ending::Good)
}

fn list() -> String {
    let width = PRESETS.iter().map(|preset| preset.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for preset in PRESETS {
        let _infallible = writeln!(text, "{:width$}  {}", preset.name, preset.summary());
    }
    text.push_str(
        "\nUse one with `preset = \"NAME\"` in a pool, whose own keys win; `evenkeel preset NAME` prints it.\n",
    );
    text
}
