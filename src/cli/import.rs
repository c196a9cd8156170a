//! `evenkeel import`: turns the configuration of another program into ours.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Ending;

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
    let _read = (files, output);
    anyhow::bail!("not built in yet")
}
