//! Puts it together: workers, listeners, control, reload, shutdown. Decides nothing itself.
//!
//! Control runs on a thread of its own (`control::run`); [`Server::start`] returns when everything is bound.

mod begin;
mod certificates;
mod confine;
mod control;
mod counting;
mod given;
mod listeners;
mod proof;
mod provisional;
mod record;
mod reload;
mod saving;
mod supervisor;
mod takeover;
mod upgrade;
mod workers;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use crate::config::model::{Config, Site, UnixName};
use crate::config::{self, Color, Written};
use crate::confinement::{Use, why_refused};
use crate::control::state_file::StateError;
use crate::net::inherited::Inherited;

pub use confine::confine;
pub use takeover::{Takeover, TakeoverError};
pub use upgrade::{Program, TAKEOVER};

pub use proof::{load, prove};

/// Reads the configuration; called at the start and for each reload.
pub type Loader = Arc<dyn Fn() -> Result<Loaded, String> + Send + Sync>;

/// A configuration with what it was read from.
#[derive(Debug)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// What someone should look at all the same, rendered; empty when there is nothing.
    pub warnings: String,
    /// The files it was read from.
    pub files: Vec<PathBuf>,
    /// Its texts as they are written; `None`: it stands in no file.
    pub written: Option<Written>,
    /// What was substituted in them: as written, and the value.
    pub substituted: Vec<(String, String)>,
}

impl Loaded {
    /// The same with its warnings for people.
    pub fn of(loaded: config::Loaded) -> Self {
        let warnings = if loaded.warnings.is_empty() {
            String::new()
        } else {
            loaded.warnings.render(Color::Plain, "the configuration is used all the same")
        };
        let config::Loaded { config, files, written, substituted, .. } = loaded;
        Self { config, warnings, files, written, substituted }
    }
}

/// Why the program could not start, or a reload could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration has problems; the text shows them.
    #[error("{0}")]
    Configuration(String),
    /// An address cannot be bound.
    #[error("{what} cannot listen on {site}: {}", bind_advice(error, site))]
    Bind {
        /// Who wanted it.
        what: String,
        /// Where.
        site: Site,
        /// What the system said.
        error: std::io::Error,
    },
    /// What sockets are to be told cannot be done here; the text says what, and the remedy.
    #[error("{0}")]
    Sockets(String),
    /// An access log cannot be opened; the text says which and why.
    #[error("{0}")]
    Log(String),
    /// What operators have ordered cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// This process cannot become what `[process]` wants; the text says why.
    #[error("{0}")]
    Confinement(String),
    /// The process before this one goes on; the text says why.
    #[error(transparent)]
    Takeover(#[from] TakeoverError),
    /// The system refused a thread or a runtime.
    #[error("the system gave no thread: {0}")]
    Thread(#[from] std::io::Error),
}

fn bind_advice(error: &std::io::Error, site: &Site) -> String {
    let address = match site {
        Site::Ip(address) => address,
        Site::Unix(name) => return socket_advice(error, name),
    };
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!("another program listens there; `ss -lntup 'sport = :{}'` shows which", address.port())
        }
        std::io::ErrorKind::PermissionDenied => format!(
            "ports below 1024 need a right; run as root, or give CAP_NET_BIND_SERVICE, or lower \
             net.ipv4.ip_unprivileged_port_start to {}",
            address.port()
        ),
        std::io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        _ => error.to_string(),
    }
}

fn socket_advice(error: &std::io::Error, name: &UnixName) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!("a living process accepts there; `ss -lxp src '{}'` shows which", bare(name))
        }
        std::io::ErrorKind::AlreadyExists => "a file that is no socket stands there; it is left alone".to_owned(),
        std::io::ErrorKind::NotFound => {
            "its folder is missing; make it, or have systemd do so: RuntimeDirectory=".to_owned()
        }
        std::io::ErrorKind::PermissionDenied if confined(name).is_some() => confined(name).unwrap_or_default(),
        std::io::ErrorKind::PermissionDenied => {
            "the user that evenkeel runs as may not write in its folder, or not connect to the socket there".to_owned()
        }
        _ => error.to_string(),
    }
}

/// Why a confined process may make no socket there.
fn confined(name: &UnixName) -> Option<String> {
    why_refused(name.path()?, Use::Write)
}

fn bare(name: &UnixName) -> String {
    name.to_string().trim_start_matches("unix:").to_owned()
}

/// Who tells the program to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signals {
    /// SIGTERM, SIGINT and SIGQUIT stop, SIGHUP reloads, USR1 opens logs anew, USR2 starts the program anew.
    Obey,
    /// Only [`Server::stop`]; for tests.
    Ignore,
}

/// What a start goes on from, and how the program is started anew.
#[derive(Debug, Default)]
pub struct Start {
    /// What the process before this one hands over.
    pub takeover: Option<Takeover>,
    /// What USR2 starts; `None`: nothing.
    pub program: Option<Program>,
    /// Sockets that systemd has opened.
    pub inherited: Vec<Inherited>,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Everything was finished, or its time was up.
    InOrder,
    /// A second signal cut it short.
    AtOnce,
}

/// A running balancer.
#[derive(Debug)]
pub struct Server {
    /// Where each listener accepts.
    pub addresses: Vec<(Arc<str>, Site)>,
    /// Where the admin port is.
    pub admin: Option<Site>,
    stop: mpsc::Sender<()>,
    thread: JoinHandle<Stopped>,
}

impl Server {
    /// Starts it: returns when every listener accepts.
    ///
    /// # Errors
    /// Problems of the configuration, an address in use, no threads.
    pub fn start(loader: Loader, signals: Signals) -> Result<Self, StartError> {
        Self::start_from(loader, signals, Start::default())
    }

    /// The same, from where another process has left off.
    ///
    /// # Errors
    /// As [`Server::start`], and that the other process does not let go.
    pub fn start_from(loader: Loader, signals: Signals, start: Start) -> Result<Self, StartError> {
        let (stop, stops) = mpsc::channel(4);
        let (told, tell) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("control".into())
            .spawn(move || control::run(&loader, signals, start, stops, told))?;
        match tell.blocking_recv() {
            Ok(Ok(started)) => Ok(Self { addresses: started.addresses, admin: started.admin, stop, thread }),
            Ok(Err(error)) => Err(error),
            Err(_gone) => Err(StartError::Thread(std::io::Error::other("control ended by a panic"))),
        }
    }

    /// Tells it to stop, like SIGTERM; told twice, it stops at once.
    pub fn stop(&self) {
        // It has stopped already, or has been told often enough.
        let _ = self.stop.try_send(());
    }

    /// Waits for its end.
    pub fn wait(self) -> Stopped {
        let stop = self.stop;
        let ended = self.thread.join().unwrap_or(Stopped::AtOnce);
        drop(stop);
        ended
    }
}
