//! `evenkeel run`: balances until it is told to stop.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use evenkeel::config::{self, Source};
use evenkeel::net::inherited;
use evenkeel::server::{self, Program, Start, TAKEOVER, Takeover};

use super::form::Form;
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
    /// Take over from the evenkeel that listens at this socket (its `upgrade.socket`), without a dropped connection; where
    /// none does, start as usual
    #[arg(long, value_name = "SOCKET")]
    takeover: Option<PathBuf>,
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

pub(super) fn run(arguments: &Arguments, form: Form) -> anyhow::Result<Ending> {
    let read: Arc<serve::Read> = if arguments.flags.listen.is_empty() {
        let source = Source::Path(source::find(arguments.path.as_deref().or(arguments.config.as_deref()))?);
        Arc::new(move || server::load(&source))
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
    serve::until_stopped(
        read,
        || before(arguments.takeover.as_deref()),
        |server| form.say(&serve::places(server), String::new),
        form,
    )
}

/// Whose work this process takes over: of who has started it, or of who listens at the socket.
fn before(socket: Option<&Path>) -> anyhow::Result<Start> {
    let takeover = if std::env::var_os(TAKEOVER).is_some_and(|where_| where_ == "stdin") {
        let line = std::io::stdin().as_fd().try_clone_to_owned()?;
        // Nobody else may speak on it.
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        Some(Takeover::of_parent(line)?)
    } else if let Some(socket) = socket {
        let takeover = Takeover::ask(socket)?;
        if takeover.is_none() {
            tracing::info!(socket = %socket.display(), "no evenkeel listens there: this one starts as usual");
        }
        takeover
    } else {
        None
    };
    Ok(Start { takeover, program: Program::this().ok(), inherited: inherited::take() })
}
