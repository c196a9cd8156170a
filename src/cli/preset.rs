//! `evenkeel preset`: the pools that come with the program, to read and to paste.

use std::fmt::Write;

use anyhow::bail;
use clap::Args;
use evenkeel::config::PRESETS;
use serde_json::json;

use super::Ending;
use super::form::Form;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The preset to print; without it, all of them are listed
    name: Option<String>,
}

pub(super) fn preset(arguments: &Arguments, form: Form) -> anyhow::Result<Ending> {
    let Some(name) = &arguments.name else {
        let all: Vec<_> = PRESETS.iter().map(|it| json!({ "name": it.name, "summary": it.summary() })).collect();
        form.say(&all, list)?;
        return Ok(Ending::Good);
    };
    let Some(preset) = PRESETS.iter().find(|preset| preset.name == name) else {
        let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        bail!("there is no preset `{name}`; the presets are {}", names.join(", "));
    };
    let whole = json!({ "name": preset.name, "summary": preset.summary(), "text": preset.text });
    form.say(&whole, || preset.text.to_owned())?;
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
