//! `evenkeel run`: balances until it is told to stop.

use std::path::PathBuf;

use clap::Args;
use evenkeel::config::{self, Loaded, Problems, Source};

use super::{Ending, check, source, terminal};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration: a TOML file, or a folder of them [default: `$EVENKEEL_CONFIG`, else the first
    /// of /etc/evenkeel/evenkeel.toml, /etc/evenkeel/conf.d, ./evenkeel.toml that exists]
    #[arg(value_name = "PATH", conflicts_with = "config")]
    path: Option<PathBuf>,
    /// The same, for those who are used to it
    #[arg(short, long, value_name = "PATH")]
    config: Option<PathBuf>,
    #[command(flatten)]
    pub(super) flags: Flags,
}

/// A listener and a pool without a file.
#[derive(Debug, Clone, Args)]
#[group(conflicts_with_all = ["config", "path"])]
pub(super) struct Flags {
    /// Where to accept connections; repeat it for more
    #[arg(long, value_name = "ADDRESS", requires = "backends")]
    pub(super) listen: Vec<String>,
    /// A backend; repeat it for more
    #[arg(long = "backend", value_name = "ADDRESS", requires = "listen")]
    pub(super) backends: Vec<String>,
    /// How backends are checked: `tcp`, `http:/path`, `mysql:USER` or `apache:/server-status?auto`
    #[arg(long, requires = "listen")]
    pub(super) check: Option<String>,
    /// How a backend is picked: `round-robin`, `least-requests`, ...
    #[arg(long, requires = "listen")]
    balance: Option<String>,
    /// What clients speak: `http` or `tcp`
    #[arg(long, requires = "listen")]
    protocol: Option<String>,
    /// Where the admin port is [default: 127.0.0.1:8404]
    #[arg(long, value_name = "ADDRESS", requires = "listen")]
    admin: Option<String>,
}

/// Where the configuration is read from, at the start and at each reload.
#[derive(Debug, Clone)]
enum Origin {
    /// A file or a folder.
    Files(Source),
    /// The command line: the same at each reload.
    Flags(Flags),
}

impl Origin {
    fn of(arguments: &Arguments) -> anyhow::Result<Self> {
        if arguments.flags.listen.is_empty() {
            return Ok(Self::Files(Source::Path(source::find(
                arguments.path.as_deref().or(arguments.config.as_deref()),
            )?)));
        }
        Ok(Self::Flags(arguments.flags.clone()))
    }

    fn load(&self) -> Result<Loaded, Problems> {
        match self {
            Self::Files(source) => config::load(source),
            Self::Flags(flags) => config::from_flags(&config::Flags {
                listen: &flags.listen,
                backends: &flags.backends,
                check: flags.check.as_deref(),
                balance: flags.balance.as_deref(),
                protocol: flags.protocol.as_deref(),
                admin: flags.admin.as_deref(),
            }),
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Ending> {
    let origin = Origin::of(arguments)?;
    let loaded = match origin.load() {
        Ok(loaded) => loaded,
        Err(problems) => {
            terminal::complain(&check::shown(&problems, "nothing was started"));
            return Ok(Ending::Bad);
        }
    };
    if !loaded.warnings.is_empty() {
        terminal::complain(&check::shown(&loaded.warnings, ""));
    }
    serve(loaded, origin)
}

/// Balances by `loaded` until it is told to stop; `origin` is loaded anew at each reload.
fn serve(loaded: Loaded, origin: Origin) -> anyhow::Result<Ending> {
    drop((loaded, origin));
    anyhow::bail!("not built in yet")
}
