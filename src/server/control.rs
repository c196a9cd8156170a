//! The control thread: probes, admin port, reloads, signals, shutdown.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use jiff::Timestamp;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::certificates::Certificates;
use super::listeners::Listeners;
use super::reload::{self, Cause, reload as apply};
use super::workers::Workers;
use super::{Loaded, Loader, Signals, StartError, Stopped};
use crate::admin::{self, AdminState};
use crate::config::fingerprint;
use crate::config::model::{ListenerTcp, Protocol, Site, Watch};
use crate::control::history::History;
use crate::control::orders::{Around, Orders};
use crate::control::state_file;
use crate::control::traces::Exporter;
use crate::control::{Life, Phase, ReloadRequest, Wanted};
use crate::log::sink::Sinks;
use crate::net::listen;
use crate::pool::Bell;
use crate::pool::events::Events;
use crate::probe::Schedule;
use crate::route::{Foundation, Published, Table};
use crate::trace::Traces;

/// The program calls itself ready when every backend has a verdict, and at the latest after this long.
const FIRST_VERDICTS: Duration = Duration::from_secs(10);
/// How often `watch = true` looks at the files. A look and not a notice of the kernel: that misses files which are
/// replaced by a link, as containers do.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// How long logins of probes that are under way at the end may take: one that breaks off is held against this address by
/// the server.
const LAST_LOGINS: Duration = Duration::from_secs(2);
/// The same for whoever has been told twice to stop.
const LAST_LOGINS_AT_ONCE: Duration = Duration::from_millis(100);
/// How long the last traces may take to go out.
const LAST_TRACES: Duration = Duration::from_secs(1);
/// How often a shutdown looks whether the last connection has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Where everything is bound.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) addresses: Vec<(Arc<str>, Site)>,
    pub(super) admin: Option<Site>,
}

/// What control holds.
pub(super) struct Control {
    pub(super) published: Arc<Published>,
    pub(super) foundation: Foundation,
    pub(super) schedule: Schedule,
    pub(super) listeners: Listeners,
    pub(super) workers: Workers,
    pub(super) workers_count: usize,
    pub(super) life: Arc<Life>,
    pub(super) events: Arc<Events>,
    pub(super) orders: Orders,
    files: Vec<PathBuf>,
    seen: u64,
    certificates: Certificates,
    pub(super) history: Arc<History>,
    /// What reads the configuration in force, where that is not what the files say.
    in_force: Option<Loader>,
}

impl Control {
    /// Remembers what the configuration was read from, to notice changes.
    pub(super) fn note_sources(&mut self, loaded: &Loaded) {
        self.in_force = None;
        self.files.clone_from(&loaded.files);
        self.seen = fingerprint(&self.files);
    }

    /// Also looks at what this was read from, and takes certificates by what is in force, which is not in the files.
    pub(super) fn note_also(&mut self, loaded: &Loaded, in_force: Loader) {
        self.in_force = Some(in_force);
        let further: Vec<_> = loaded.files.iter().filter(|file| !self.files.contains(file)).cloned().collect();
        self.files.extend(further);
        self.seen = fingerprint(&self.files);
    }

    fn has_changed_files(&mut self) -> bool {
        if self.published.load().config.watch == Watch::Off {
            return false;
        }
        let seen = fingerprint(&self.files);
        std::mem::replace(&mut self.seen, seen) != seen
    }
}

/// The thread, from start to stop.
pub(super) fn run(
    read: &Loader,
    signals: Signals,
    stops: mpsc::Receiver<()>,
    told: oneshot::Sender<Result<Started, StartError>>,
) -> Stopped {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            // Whoever started it is gone: nobody needs to know.
            let _ = told.send(Err(error.into()));
            return Stopped::AtOnce;
        }
    };
    runtime.block_on(async {
        match begin(read, signals) {
            Ok((started, control, wishes, calls)) => {
                // As above.
                let _ = told.send(Ok(started));
                live(control, read, stops, wishes, calls).await
            }
            Err(error) => {
                // As above.
                let _ = told.send(Err(error));
                Stopped::AtOnce
            }
        }
    })
}

/// The signals obeyed: those that stop, the one that reloads, and the one that opens logs anew.
struct Calls {
    stop: Option<[Signal; 3]>,
    reload: Option<Signal>,
    reopen: Option<Signal>,
}

impl Calls {
    fn of(signals: Signals) -> std::io::Result<Self> {
        Ok(match signals {
            Signals::Ignore => Self { stop: None, reload: None, reopen: None },
            Signals::Obey => Self {
                stop: Some([
                    signal(SignalKind::terminate())?,
                    signal(SignalKind::interrupt())?,
                    signal(SignalKind::quit())?,
                ]),
                reload: Some(signal(SignalKind::hangup())?),
                reopen: Some(signal(SignalKind::user_defined1())?),
            },
        })
    }
}

type Begun = (Started, Control, mpsc::Receiver<ReloadRequest>, Calls);

fn begin(read: &Loader, signals: Signals) -> Result<Begun, StartError> {
    // First of all: a signal that comes while starting must not be lost.
    let calls = Calls::of(signals)?;
    let loaded = read().map_err(StartError::Configuration)?;
    let workers_count = loaded.config.workers.map_or_else(usable_cpus, |workers| workers.get() as usize);
    let (evidence, reports) = mpsc::unbounded_channel();
    let life = Arc::new(Life::default());
    let sinks = Arc::new(Sinks::new(Arc::clone(&life.access_log_dropped)));
    sinks.open(loaded.config.log_targets()).map_err(StartError::Log)?;
    let (traces, finished) = Traces::new(Arc::clone(&life.spans_dropped));
    let traces = Some(Arc::new(traces));
    let foundation = Foundation { workers: workers_count, evidence, bell: Arc::new(Bell::default()), sinks, traces };
    let mut table = Table::build(Arc::new(loaded.config.clone()), None, &foundation);
    let place = state_file::place(loaded.config.state_file.as_deref(), std::env::var_os("STATE_DIRECTORY"));
    let history = Arc::new(History::open(place.as_ref()));
    table.generation = history.last() + 1;
    let events = Arc::new(Events::default());
    let (schedule, runner) = Schedule::new(reports, Arc::clone(&events));
    schedule.limit(loaded.config.probes_at_once);
    let published = Arc::new(Published::new(table));
    let around = Around {
        table: Arc::clone(&published),
        schedule: schedule.clone(),
        events: Arc::clone(&events),
        life: Arc::clone(&life),
    };
    // Before anything is followed: what operators have ordered is obeyed from the first verdict on.
    let (orders, keeper) = Orders::start(around, place)?;
    let table = published.load();
    schedule.follow(&table.pools);
    table.pools.iter().for_each(|pool| pool.refresh());
    let workers = Workers::start(workers_count, &published, &foundation.bell)?;
    let mut control = Control {
        published,
        foundation,
        schedule,
        listeners: Listeners::default(),
        workers,
        workers_count,
        life,
        events,
        orders,
        files: Vec::new(),
        seen: 0,
        certificates: Certificates::default(),
        history,
        in_force: None,
    };
    let (wish, wishes) = mpsc::channel(16);
    let admin = serve_admin(&control, &loaded, wish)?;
    let warnings = loaded.warnings.clone();
    reload::first(&mut control, loaded)?;
    tokio::spawn(runner.run());
    tokio::spawn(keeper.run());
    let counts = (Arc::clone(&control.life.spans_exported), Arc::clone(&control.life.spans_dropped));
    tokio::spawn(Exporter::new(finished, counts.0, counts.1).run());
    let started = Started { addresses: control.listeners.sites(), admin };
    announce(&started, &warnings);
    Ok((started, control, wishes, calls))
}

/// Says where everything is.
fn announce(started: &Started, warnings: &str) {
    if !warnings.is_empty() {
        tracing::warn!("{warnings}");
    }
    for (name, address) in &started.addresses {
        tracing::info!(listener = %name, %address, "accepting");
    }
    if let Some(address) = &started.admin {
        tracing::info!(%address, "admin port");
    }
}

/// CPUs that this process may use: affinity and cgroup quota counted.
fn usable_cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn serve_admin(
    control: &Control,
    loaded: &Loaded,
    wish: mpsc::Sender<ReloadRequest>,
) -> Result<Option<Site>, StartError> {
    let Some(site) = &loaded.config.admin.bind else { return Ok(None) };
    let refused = |error| StartError::Bind { what: "the admin port".into(), site: site.clone(), error };
    let listen::Bound { mut sockets, site: local, file, .. } =
        listen::bind(site, loaded.config.admin.socket_mode, &ListenerTcp::default(), 1).map_err(refused)?;
    let socket = sockets.pop().ok_or_else(|| refused(std::io::Error::other("no socket")))?;
    let state = AdminState {
        table: Arc::clone(&control.published),
        life: Arc::clone(&control.life),
        events: Arc::clone(&control.events),
        orders: control.orders.clone(),
        schedule: control.schedule.clone(),
        history: Arc::clone(&control.history),
        reload: wish,
        first_token: loaded.config.admin.token.clone(),
        started: Timestamp::now(),
        version: env!("CARGO_PKG_VERSION"),
    };
    tokio::spawn(async move {
        // It goes with the runtime, when the process ends.
        let _file = file;
        let Err(error) = admin::serve(socket, Arc::new(state)).await;
        tracing::error!(%error, "the admin port has ended");
    });
    Ok(Some(local))
}

async fn live(
    mut control: Control,
    read: &Loader,
    mut stops: mpsc::Receiver<()>,
    mut wishes: mpsc::Receiver<ReloadRequest>,
    calls: Calls,
) -> Stopped {
    let Calls { mut stop, mut reload, mut reopen } = calls;
    let life = Arc::clone(&control.life);
    let settled = control.schedule.settled();
    tokio::spawn(async move {
        if timeout(FIRST_VERDICTS, settled).await.is_err() {
            tracing::warn!("some backends have no verdict yet");
        }
        if life.phase() == Phase::Starting {
            life.enter(Phase::Ready);
            tracing::info!("ready");
        }
    });
    let mut watch = tokio::time::interval(WATCH_EVERY);
    loop {
        tokio::select! {
            () = told_to_stop(&mut stop, &mut stops) => break,
            () = told(&mut reopen) => control.foundation.sinks.reopen(),
            () = told(&mut reload) => {
                // The outcome has been logged.
                let _ = apply(&mut control, read, Cause::Signal).await;
            }
            Some(ReloadRequest { wanted, owner, answer }) = wishes.recv() => {
                let cause = match wanted {
                    Wanted::Files => Cause::Command(owner),
                    Wanted::Generation(number) => Cause::Rollback(number, owner),
                };
                let outcome = apply(&mut control, read, cause).await;
                // Whoever asked may have gone.
                let _ = answer.send(outcome);
            }
            _ = watch.tick() => {
                control.foundation.sinks.tidy(control.published.load().config.log_targets());
                let in_force = control.in_force.as_ref().unwrap_or(read);
                control.certificates.look(&control.published.load(), in_force);
                if control.has_changed_files() {
                    // As above.
                    let _ = apply(&mut control, read, Cause::Watch).await;
                }
            }
        }
    }
    let stopped = shut_down(&mut control, &mut stops, &mut stop).await;
    control.workers.end();
    // Lines are written while nothing else is left to do here.
    control.foundation.sinks.finish();
    if let Some(traces) = &control.foundation.traces {
        // A collector that is away has been complained of.
        let _ = timeout(LAST_TRACES, traces.finish()).await;
    }
    let limit = if stopped == Stopped::InOrder { LAST_LOGINS } else { LAST_LOGINS_AT_ONCE };
    tokio::select! {
        ended = timeout(limit, control.schedule.end()) => {
            if ended.is_err() {
                tracing::warn!("a database takes its time over the login of a probe: it is broken off");
            }
        }
        () = told_to_stop(&mut stop, &mut stops) => {}
    }
    tracing::info!("stopped");
    stopped
}

/// Not ready, lead time, no more accepting, finish or deadline.
async fn shut_down(control: &mut Control, stops: &mut mpsc::Receiver<()>, calls: &mut Option<[Signal; 3]>) -> Stopped {
    let shutdown = control.published.load().config.shutdown;
    control.life.enter(Phase::Stopping);
    tracing::info!(lead = ?shutdown.lead, drain = ?shutdown.drain, "stopping");
    if timeout(shutdown.lead, told_to_stop(calls, stops)).await.is_ok() {
        return Stopped::AtOnce;
    }
    control.listeners.close();
    control.workers.drain();
    let deadline = Instant::now() + shutdown.drain;
    // The workers first take what waits to be accepted.
    let mut looked = false;
    loop {
        let open = control.workers.open.load(Relaxed) + flows(&control.published.load());
        if open == 0 && std::mem::replace(&mut looked, true) {
            return Stopped::InOrder;
        }
        if Instant::now() >= deadline {
            tracing::warn!(open, "the time to drain is up; the rest is cut");
            return Stopped::InOrder;
        }
        if timeout(LOOK_EVERY, told_to_stop(calls, stops)).await.is_ok() {
            tracing::warn!(open, "told again: the rest is cut");
            return Stopped::AtOnce;
        }
    }
}

/// Flows of UDP that are open. They do not count as connections: whoever sends datagrams from many addresses must not
/// keep connections out.
fn flows(table: &Table) -> u32 {
    let listeners = table.listeners.iter().filter(|listener| listener.config.protocol == Protocol::Udp);
    listeners.map(|listener| listener.open.load(Relaxed)).sum()
}

async fn told_to_stop(calls: &mut Option<[Signal; 3]>, stops: &mut mpsc::Receiver<()>) {
    match calls {
        Some([terminate, interrupt, quit]) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = quit.recv() => {}
                Some(()) = stops.recv() => {}
            }
        }
        None => {
            if stops.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// A signal that does not stop.
async fn told(call: &mut Option<Signal>) {
    match call {
        Some(call) => {
            call.recv().await;
        }
        None => std::future::pending().await,
    }
}
