//! `evenkeel run`: balances until it is told to stop.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use evenkeel::config::{self, Source};

use super::{Ending, serve, source};

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
    /// A check: `tcp`, `http:/path`, `mysql:USER`, `apache:/server-status?auto`, `postgres`, `redis`, `smtp`, `ldap`
    #[arg(long, value_name = "CHECK", requires = "listen")]
    pub(super) check: Option<String>,
    /// How to spread the work: `round-robin`, `least-requests`, `source`, ... [default: round-robin]
    #[arg(long, value_name = "BALANCE", requires = "listen")]
    pub(super) balance: Option<String>,
    /// `http` or `tcp` [default: http; tcp with a check of what does not speak HTTP]
    #[arg(long, value_name = "PROTOCOL", requires = "listen")]
    pub(super) protocol: Option<String>,
    /// Where the admin port is [default: 127.0.0.1:8404]
    #[arg(long, value_name = "ADDRESS", requires = "listen")]
    pub(super) admin: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Ending> {
    let read: Arc<serve::Read> = if arguments.flags.listen.is_empty() {
        let source = Source::Path(source::find(arguments.path.as_deref().or(arguments.config.as_deref()))?);
        Arc::new(move || config::load(&source))
    } else {
        let flags = arguments.flags.clone();
        Arc::new(move || {
            config::from_flags(&config::Flags {
                listen: &flags.listen,
                backends: &flags.backends,
                check: flags.check.as_deref(),
                balance: flags.balance.as_deref(),
                protocol: flags.protocol.as_deref(),
                admin: flags.admin.as_deref(),
            })
        })
    };
    serve::until_stopped(read, |_| {})
}
