//! The control thread: probes, admin port, reloads, signals, shutdown.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, timeout};

use super::begin::{Begun, begin};
use super::certificates::Certificates;
use super::listeners::Listeners;
use super::provisional::Changes;
use super::record::Recording;
use super::reload::Cause;
use super::supervisor::Supervisor;
use super::upgrade::{self, Leaving, Upgrades};
use super::workers::Workers;
use super::{Loaded, Loader, Signals, Start, StartError, Stopped};
use crate::config::fingerprint;
use crate::config::model::{Protocol, Site, Watch};
use crate::control::handover::{Ending, Ledger};
use crate::control::history::History;
use crate::control::orders::Orders;
use crate::control::records::Records;
use crate::control::{Life, Phase, ReloadRequest};
use crate::net::listen::Handles;
use crate::net::unix::SocketFile;
use crate::pool::events::Events;
use crate::probe::Schedule;
use crate::proxy::worker::Drain;
use crate::route::{Foundation, Published, Table};

/// The program calls itself ready when every backend has a verdict, and at the latest after this long.
pub(super) const FIRST_VERDICTS: Duration = Duration::from_secs(10);
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
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(20);

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
    pub(super) files: Vec<PathBuf>,
    pub(super) seen: u64,
    pub(super) certificates: Certificates,
    pub(super) history: Arc<History>,
    pub(super) records: Arc<Records>,
    pub(super) recording: Recording,
    pub(super) upgrades: Upgrades,
    pub(super) supervisor: Arc<Supervisor>,
    /// The admin port, while this process has it.
    pub(super) admin: Option<AdminPort>,
    /// Ends what keeps the orders: their file is another process's then.
    pub(super) keeper: AbortHandle,
    /// What reads the configuration in force, where that is not what the files say.
    pub(super) in_force: Option<Loader>,
    pub(super) changes: Changes,
}

/// The admin port, open until this is dropped.
#[derive(Debug)]
pub(super) struct AdminPort {
    pub(super) handles: Handles,
    pub(super) site: Site,
    /// Dropping it takes the file away.
    pub(super) file: Option<SocketFile>,
    pub(super) open: watch::Sender<()>,
    /// Ends when all has been answered.
    pub(super) answering: JoinHandle<()>,
}

impl AdminPort {
    /// Answers what has been asked, and ends; gives the file of its socket, and the task that answers.
    pub(super) fn close(self) -> (Option<SocketFile>, JoinHandle<()>) {
        drop(self.open);
        (self.file, self.answering)
    }
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

    /// Takes certificates by what this reads, which is not in the files.
    pub(super) fn set_in_force(&mut self, in_force: Option<Loader>) {
        self.in_force = in_force;
    }

    fn has_changed_files(&mut self) -> bool {
        // A process that takes over reads them itself.
        if self.published.load().config.watch == Watch::Off || self.life.is_handing_over() {
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
    start: Start,
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
        match begin(read, signals, start).await {
            Ok(Begun { started, control, wishes, calls }) => {
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

/// The signals obeyed: those that stop, the one that reloads, the one that opens logs anew, and the one that starts the
/// program anew.
pub(super) struct Calls {
    stop: Option<[Signal; 3]>,
    reload: Option<Signal>,
    reopen: Option<Signal>,
    upgrade: Option<Signal>,
}

impl Calls {
    pub(super) fn of(signals: Signals) -> std::io::Result<Self> {
        Ok(match signals {
            Signals::Ignore => Self { stop: None, reload: None, reopen: None, upgrade: None },
            Signals::Obey => Self {
                stop: Some([
                    signal(SignalKind::terminate())?,
                    signal(SignalKind::interrupt())?,
                    signal(SignalKind::quit())?,
                ]),
                reload: Some(signal(SignalKind::hangup())?),
                reopen: Some(signal(SignalKind::user_defined1())?),
                upgrade: Some(signal(SignalKind::user_defined2())?),
            },
        })
    }
}

async fn live(
    mut control: Control,
    read: &Loader,
    mut stops: mpsc::Receiver<()>,
    mut wishes: mpsc::Receiver<ReloadRequest>,
    calls: Calls,
) -> Stopped {
    let Calls { mut stop, mut reload, mut reopen, mut upgrade } = calls;
    let (life, supervisor) = (Arc::clone(&control.life), Arc::clone(&control.supervisor));
    let settled = control.schedule.settled();
    supervisor.watch_over(control.workers.pulse());
    tokio::spawn(async move {
        if timeout(FIRST_VERDICTS, settled).await.is_err() {
            tracing::warn!("some backends have no verdict yet");
        }
        if life.phase() == Phase::Starting {
            life.enter(Phase::Ready);
            tracing::info!("ready");
            supervisor.ready("serving");
        }
    });
    let mut watch = tokio::time::interval(WATCH_EVERY);
    let mut leaving = loop {
        let next_look = control.next_look();
        tokio::select! {
            () = told_to_stop(&mut stop, &mut stops) => break None,
            () = told(&mut upgrade) => upgrade::start_anew(&mut control).await,
            news = control.upgrades.news() => {
                if let Some(leaving) = upgrade::act_on(&mut control, news).await {
                    break Some(leaving);
                }
            }
            () = told(&mut reopen) => control.foundation.sinks.reopen(),
            () = told(&mut reload) => control.follow_files(read, Cause::Signal).await,
            Some(ReloadRequest { wanted, who, only_over, answer }) = wishes.recv() => {
                let outcome = control.grant(read, wanted, who, only_over).await;
                // Whoever asked may have gone.
                let _ = answer.send(outcome);
            }
            () = due(next_look) => control.look_after_change().await,
            _ = watch.tick() => {
                control.foundation.sinks.tidy(control.published.load().config.log_targets());
                let in_force = control.in_force.as_ref().unwrap_or(read);
                control.certificates.look(&control.published.load(), in_force);
                control.count();
                control.look_at_records();
                // What changes while something waits is seen when nothing does any more.
                if !control.is_waiting() && control.has_changed_files() {
                    control.follow_files(read, Cause::Watch).await;
                }
            }
        }
    };
    let stopped = match &mut leaving {
        None => shut_down(&mut control, &mut stops, &mut stop).await,
        Some(leaving) => {
            drop(wishes);
            upgrade::leave(&mut control, leaving, &mut stops, &mut stop).await
        }
    };
    finish(control, leaving, stopped, told_to_stop(&mut stop, &mut stops)).await;
    stopped
}

/// The end, once nothing is accepted and what was open is over, or its time is.
async fn finish(
    mut control: Control,
    leaving: Option<Leaving>,
    stopped: Stopped,
    told_again: impl Future<Output = ()>,
) {
    let ending = control.ending();
    // What is open now is cut with this.
    control.workers.end();
    if let Some(mut leaving) = leaving {
        let ending = Ending { cut: ending.open, open: 0, ended: true, ..ending };
        leaving.account(Ledger::of(&control.published.load(), &control.life), ending);
        leaving.answer_the_last().await;
    }
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
        () = told_again => {}
    }
    tracing::info!("stopped");
}

/// Not ready, lead time, no more accepting, finish or deadline.
async fn shut_down(control: &mut Control, stops: &mut mpsc::Receiver<()>, calls: &mut Option<[Signal; 3]>) -> Stopped {
    let shutdown = control.published.load().config.shutdown;
    control.life.enter(Phase::Stopping);
    control.supervisor.stopping();
    tracing::info!(lead = ?shutdown.lead, drain = ?shutdown.drain, "stopping");
    if timeout(shutdown.lead, told_to_stop(calls, stops)).await.is_ok() {
        return Stopped::AtOnce;
    }
    control.listeners.close();
    control.workers.drain(Drain::Idle);
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
pub(super) fn flows(table: &Table) -> u32 {
    let listeners = table.listeners.iter().filter(|listener| listener.config.protocol == Protocol::Udp);
    listeners.map(|listener| listener.open.load(Relaxed)).sum()
}

pub(super) async fn told_to_stop(calls: &mut Option<[Signal; 3]>, stops: &mut mpsc::Receiver<()>) {
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

/// A moment, where there is one.
async fn due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
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
