//! `evenkeel run`: balances until it is told to stop.

use std::path::PathBuf;

use clap::Args;

use super::{Ending, source};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration: a TOML file, or a folder of them [default: `$EVENKEEL_CONFIG`, else the first
    /// of /etc/evenkeel/evenkeel.toml, /etc/evenkeel/conf.d, ./evenkeel.toml that exists]
    #[arg(short, long, value_name = "PATH")]
    pub(super) config: Option<PathBuf>,
    #[command(flatten)]
    pub(super) flags: Flags,
}

/// A listener and a pool without a file.
#[derive(Debug, Args)]
#[group(conflicts_with = "config")]
pub(super) struct Flags {
    /// Where to accept connections
    #[arg(long, value_name = "ADDRESS", requires = "backends")]
    pub(super) listen: Option<String>,
    /// A backend; repeat it for more
    #[arg(long = "backend", value_name = "ADDRESS", requires = "listen")]
    pub(super) backends: Vec<String>,
    /// A check: `tcp`, `http:/path`, `mysql:USER`, `apache`; repeat it for more
    #[arg(long = "check", value_name = "CHECK", requires = "listen")]
    pub(super) checks: Vec<String>,
    /// Where the admin port is [default: 127.0.0.1:8404]
    #[arg(long, value_name = "ADDRESS", requires = "listen")]
    pub(super) admin: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Ending> {
    let _source = source::find(arguments.config.as_deref())?;
    anyhow::bail!("not built in yet")
}
