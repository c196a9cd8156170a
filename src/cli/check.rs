//! `evenkeel check`: whether a configuration is good.

use std::path::PathBuf;

use clap::Args;

use super::{Ending, source};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration: a TOML file, or a folder of them [default: as for `run`]
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
    /// Print the problems as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn check(arguments: &Arguments) -> anyhow::Result<Ending> {
    let _source = (source::find(arguments.path.as_deref())?, arguments.json);
    anyhow::bail!("not built in yet")
}
