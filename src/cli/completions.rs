//! `evenkeel completions`: what a shell needs to know to complete the command line, from the grammar that reads it.

use clap::{Args, ValueEnum};
use clap_complete::{Generator, shells};
use serde_json::json;

use super::form::Form;
use super::{Ending, NAME, grammar};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    /// A file for /usr/share/bash-completion/completions, or `eval "$(evenkeel completions bash)"`
    Bash,
    /// A file `_evenkeel` for a folder in $fpath
    Zsh,
    /// A file for ~/.config/fish/completions
    Fish,
}

pub(super) fn completions(arguments: &Arguments, form: Form) -> anyhow::Result<Ending> {
    let (shell, script) = match arguments.shell {
        Shell::Bash => ("bash", script(shells::Bash)?),
        Shell::Zsh => ("zsh", script(shells::Zsh)?),
        Shell::Fish => ("fish", script(shells::Fish)?),
    };
    form.say(&json!({ "shell": shell, "script": script }), || script.clone())?;
    Ok(Ending::Good)
}

fn script(shell: impl Generator) -> anyhow::Result<String> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut grammar(), NAME, &mut text);
    Ok(String::from_utf8(text)?)
}
